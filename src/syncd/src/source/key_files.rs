//! Key files in a local folder: `ACCOUNT.pub`, a key per line, for break-glass accounts and hosts without a service.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use pushkeys_cache::{Cache, Entry, ReadError};
use pushkeys_files::{Folder, ReadFileError, Trust};
use pushkeys_keys::{
    AccountId, Fingerprint, KeyId, KeyName, ParseIdError, Refusal, RenderError, SourceName, ValidKey,
};
use thiserror::Error;

use crate::validate::{Registration, Skip, Validated, Validator};

/// The bounds of a folder; a fleet with more accounts than this has a key service.
const FILES_MAX: usize = 10_000;
const FILE_BYTES_MAX: usize = 1024 * 1024;
const KEYS_MAX: usize = 100_000;

/// Why a folder is refused as a whole. What is in force stays.
#[derive(Debug, Error)]
pub(crate) enum KeyFilesError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Folder(#[from] ReadFileError),
    #[error("what is in force cannot be read, and a file that is refused leaves it as it is")]
    InForce(#[from] ReadError),
    #[error("`{}` holds more than {FILES_MAX} files or {KEYS_MAX} keys", .0.display())]
    TooMany(PathBuf),
}

/// Why a file is refused. What is in force of its account stays.
#[derive(Debug, Error)]
enum FileFault {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    File(#[from] ReadFileError),
    #[error("`{}` is a link to a place outside its folder", .0.display())]
    Outside(PathBuf),
}

#[derive(Debug, Error)]
enum LineFault {
    #[error("`{path}`, line {line}", path = path.display())]
    Refused { path: PathBuf, line: usize, source: Refusal },
    #[error("`{path}`, line {line}: it cannot be rendered", path = path.display())]
    Render { path: PathBuf, line: usize, source: RenderError },
    #[error("`{}` is not named after an account", path.display())]
    FileName { path: PathBuf, source: ParseIdError },
    #[error("the accounts `{0}` and `{1}` both claim the key, so neither gets it")]
    TwoAccounts(AccountId, AccountId),
}

/// The keys in `folder`, in the order of their fingerprints' bytes. Of an account whose file is refused, they are those that
/// `in_force` says are in force.
pub(crate) fn read(
    folder: &Path,
    validator: &Validator,
    in_force: impl FnOnce(&BTreeSet<AccountId>) -> Result<Vec<Entry>, ReadError>,
) -> Result<Validated, KeyFilesError> {
    let failed = |source| KeyFilesError::Read { path: folder.to_owned(), source };
    pushkeys_files::check(folder, Trust::ROOT_OR_SELF)?;
    let root = folder.canonicalize().map_err(failed)?;
    let mut files = Vec::new();
    for file in std::fs::read_dir(&root).map_err(failed)? {
        let path = file.map_err(failed)?.path();
        // What is hidden belongs to editors and to those who deploy files.
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "pub") {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            return Err(KeyFilesError::TooMany(folder.to_owned()));
        }
    }
    files.sort_unstable();
    let mut claims = Claims { validator, keys: BTreeMap::new(), skipped: Vec::new() };
    let mut frozen = BTreeSet::new();
    for path in files {
        match read_file(&root, &path) {
            Ok(text) => claims.file(&path, &text),
            Err(fault) => {
                claims.skipped.push(Skip::new(None, &fault));
                frozen.extend(account_of(&path));
            }
        }
        if claims.keys.len() > KEYS_MAX {
            return Err(KeyFilesError::TooMany(folder.to_owned()));
        }
    }
    if !frozen.is_empty() {
        in_force(&frozen)?.into_iter().for_each(|entry| claims.keep(entry));
    }
    Ok(claims.settle())
}

/// The keys of `accounts` that are in force in the source `name` of the cache in the folder `cache`.
pub(crate) fn in_force(
    cache: &Path,
    name: &SourceName,
    accounts: &BTreeSet<AccountId>,
) -> Result<Vec<Entry>, ReadError> {
    let source = match Cache::open(cache).and_then(|cache| cache.source(name)) {
        Err(ReadError::Missing(_)) => return Ok(Vec::new()),
        other => other?,
    };
    let is_theirs = |entry: &Result<Entry, ReadError>| {
        entry.as_ref().map_or(true, |entry| accounts.contains(&entry.account))
    };
    source.entries().filter(is_theirs).collect()
}

fn account_of(path: &Path) -> Result<AccountId, ParseIdError> {
    path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default().parse()
}

fn read_file(root: &Path, path: &Path) -> Result<String, FileFault> {
    let failed = |source| FileFault::Read { path: path.to_owned(), source };
    // Kubernetes and configuration managers put links to files deeper in the same folder.
    let target = path.canonicalize().map_err(failed)?;
    if !target.starts_with(root) {
        return Err(FileFault::Outside(path.to_owned()));
    }
    let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(FileFault::Outside(path.to_owned()));
    };
    // What it led to a moment ago is not a link; one that has taken its place since is not followed.
    let mut bytes = Vec::new();
    Folder::open(folder)?.read_into(name, Trust::ROOT_OR_SELF, FILE_BYTES_MAX, &mut bytes)?;
    // What is not UTF-8 can only be in a comment: a key that holds it is refused.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Which account claims which key.
struct Claims<'a> {
    validator: &'a Validator,
    keys: BTreeMap<Fingerprint, Claim>,
    skipped: Vec<Skip>,
}

struct Claim {
    entry: Entry,
    /// A second account that claims the key.
    rival: Option<AccountId>,
}

impl Claims<'_> {
    fn file(&mut self, path: &Path, text: &str) {
        let account = match account_of(path) {
            Ok(account) => account,
            Err(source) => return self.skip(None, &LineFault::FileName { path: path.to_owned(), source }),
        };
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let claimed = match self.validator.key(line) {
                Ok(key) => self.key(&key, &account).map_err(|source| LineFault::Render {
                    path: path.to_owned(),
                    line: index + 1,
                    source,
                }),
                Err(source) => Err(LineFault::Refused { path: path.to_owned(), line: index + 1, source }),
            };
            if let Err(fault) = claimed {
                self.skip(None, &fault);
            }
        }
    }

    fn key(&mut self, key: &ValidKey, account: &AccountId) -> Result<(), RenderError> {
        let fingerprint = key.fingerprint();
        match self.keys.entry(fingerprint) {
            Slot::Occupied(mut slot) if slot.get().entry.account != *account => {
                slot.get_mut().rival = Some(account.clone());
            }
            Slot::Occupied(_) => {}
            Slot::Vacant(slot) => {
                let Ok(key_id) = key_id(&fingerprint) else { return Ok(()) };
                let registration = Registration {
                    account: account.clone(),
                    key_id,
                    account_name: None,
                    key_name: key.comment().and_then(KeyName::nearest),
                    logins: None,
                    expires_at: None,
                };
                let entry = self.validator.render(key, registration)?;
                slot.insert(Claim { entry, rival: None });
            }
        }
        Ok(())
    }

    /// Adds a key that is in force, as far as it is still valid.
    fn keep(&mut self, in_force: Entry) {
        let Entry { fingerprint, account, key_name, line, .. } = in_force;
        let Ok(key) = self.validator.key(line.public_key()) else { return };
        let is_new = !self.keys.contains_key(&fingerprint);
        if self.key(&key, &account).is_ok()
            && is_new
            && let Some(claim) = self.keys.get_mut(&fingerprint)
        {
            claim.entry.key_name = key_name;
        }
    }

    fn settle(mut self) -> Validated {
        let mut entries = Vec::with_capacity(self.keys.len());
        for (fingerprint, Claim { entry, rival }) in std::mem::take(&mut self.keys) {
            match rival {
                None => entries.push(entry),
                Some(rival) => {
                    self.skip(Some(fingerprint), &LineFault::TwoAccounts(entry.account, rival));
                }
            }
        }
        Validated { entries, skipped: self.skipped }
    }

    fn skip(&mut self, fingerprint: Option<Fingerprint>, fault: &LineFault) {
        self.skipped.push(Skip::new(fingerprint, fault));
    }
}

/// A key keeps its id when its file is renamed or sorted.
fn key_id(fingerprint: &Fingerprint) -> Result<KeyId, ParseIdError> {
    format!("file_{:.20}", HEXLOWER.encode(fingerprint.as_bytes())).parse()
}
