//! Key files in a local folder: `ACCOUNT.pub`, a key per line, for break-glass accounts and hosts without a service.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pushkeys_cache::status::State;
use pushkeys_keys::{AccountId, Fingerprint, KeyId, Policy, ValidKey};
use thiserror::Error;

use super::{Context, accepted};
use crate::apply::applier::{Applier, Outcome};
use crate::backoff::Backoff;
use crate::config::{UnsafeFile, check_trusted, hex};
use crate::source::error::SyncError;
use crate::source::snapshot::Pipeline;
use crate::validate::Skip;
use crate::watch::Watch;

/// The bounds of a folder; a fleet with more accounts than this has a key service.
const FILES_MAX: usize = 10_000;
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const KEYS_MAX: usize = 100_000;

/// Notifications can be lost, on network file systems above all, so the folder is looked at this often anyway.
const SCAN_INTERVAL: Duration = Duration::from_mins(1);

/// Why a folder is refused as a whole. What is in force stays.
#[derive(Debug, Error)]
pub(crate) enum DirectoryError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Unsafe(#[from] UnsafeFile),
    #[error("`{}` is a link to a place outside its folder", .0.display())]
    Outside(PathBuf),
    #[error("`{}` is neither a file nor a link to one", .0.display())]
    NotAFile(PathBuf),
    #[error("`{}` is longer than {FILE_BYTES_MAX} bytes", .0.display())]
    FileTooLong(PathBuf),
    #[error("`{}` holds more than {FILES_MAX} files or {KEYS_MAX} keys", .0.display())]
    TooMany(PathBuf),
}

/// Looks at the folder whenever something in it changes, until something goes wrong.
pub(super) async fn follow(
    context: &Context,
    applier: &Applier,
    path: &Path,
    backoff: &mut Backoff,
) -> Result<(), SyncError> {
    loop {
        // Watching begins anew each time, since a folder that was removed and made again is another one; and it
        // begins before the look, so that no change falls between the two.
        let mut watch = Watch::on([path]);
        let outcome = scan(context, applier, path).await;
        if let Ok(outcome) = &outcome {
            backoff.reset();
            let is_held = matches!(outcome, Outcome::Held(_));
            tokio::select! {
                () = watch.changed() => {}
                () = context.pause(SCAN_INTERVAL) => {}
                () = accepted(context, is_held) => {}
                () = applier.stopped() => return Err(SyncError::Stopped),
            }
        } else if !applier.has_stopped()
            && let Err(error) = outcome
        {
            context.report(&error);
            tokio::select! {
                () = watch.changed() => {}
                () = context.pause(backoff.next()) => {}
            }
        } else {
            return Err(SyncError::Stopped);
        }
    }
}

/// Makes the cache equal to the folder.
pub(super) async fn scan(context: &Context, applier: &Applier, path: &Path) -> Result<Outcome, SyncError> {
    if context.board.state_of(&context.settings.name) == Some(State::Starting) {
        context.board.state(&context.settings.name, State::Syncing);
    }
    let folder = path.to_owned();
    let listing = tokio::task::spawn_blocking(move || Listing::read(&folder))
        .await
        .map_err(|_| SyncError::Stopped)??;
    let mut pipeline = Pipeline::begin(context, applier).await?;
    for skip in listing.skipped {
        pipeline.skip(skip).await?;
    }
    for entry in listing.entries {
        pipeline.push(entry).await?;
    }
    pipeline.end(None).await
}

/// How many keys the folder holds, and how many lines or keys would be left out.
pub(crate) fn check(path: &Path) -> Result<(usize, usize), DirectoryError> {
    let listing = Listing::read(path)?;
    Ok((listing.entries.len(), listing.skipped.len()))
}

/// The keys that the folder holds, in the order of their fingerprints' bytes.
pub(crate) fn entries(path: &Path) -> Result<Vec<pushkeys_feed::Entry>, DirectoryError> {
    Ok(Listing::read(path)?.entries)
}

/// What a folder says.
#[derive(Debug, Default)]
struct Listing {
    /// In the order of their fingerprints' bytes.
    entries: Vec<pushkeys_feed::Entry>,
    skipped: Vec<Skip>,
}

#[derive(Debug, Error)]
enum LineFault {
    #[error("`{path}`, line {line}", path = path.display())]
    Refused { path: PathBuf, line: usize, source: pushkeys_keys::Refusal },
    #[error("`{}` is not named after an account", path.display())]
    FileName { path: PathBuf, source: pushkeys_keys::ParseIdError },
    #[error("the accounts `{0}` and `{1}` both claim the key, so neither gets it")]
    TwoAccounts(AccountId, AccountId),
}

impl Listing {
    fn read(folder: &Path) -> Result<Self, DirectoryError> {
        let failed = |source| DirectoryError::Read { path: folder.to_owned(), source };
        check_trusted(folder, &std::fs::metadata(folder).map_err(failed)?)?;
        let root = folder.canonicalize().map_err(failed)?;
        let mut files = Vec::new();
        for file in std::fs::read_dir(&root).map_err(failed)? {
            let path = file.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == "pub") {
                files.push(path);
            }
            if files.len() > FILES_MAX {
                return Err(DirectoryError::TooMany(folder.to_owned()));
            }
        }
        files.sort_unstable();
        let mut claims = Claims::default();
        for path in files {
            let text = read_file(&root, &path)?;
            claims.file(&path, &text);
            if claims.keys.len() > KEYS_MAX {
                return Err(DirectoryError::TooMany(folder.to_owned()));
            }
        }
        Ok(claims.settle())
    }
}

fn read_file(root: &Path, path: &Path) -> Result<String, DirectoryError> {
    let failed = |source| DirectoryError::Read { path: path.to_owned(), source };
    // Kubernetes and configuration managers put links to files deeper in the same folder.
    let target = path.canonicalize().map_err(failed)?;
    if !target.starts_with(root) {
        return Err(DirectoryError::Outside(path.to_owned()));
    }
    let file: File = rustix::fs::open(
        &target,
        // A pipe in place of a file must not keep us waiting.
        rustix::fs::OFlags::RDONLY
            | rustix::fs::OFlags::NOFOLLOW
            | rustix::fs::OFlags::NONBLOCK
            | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(|error| failed(error.into()))?
    .into();
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(DirectoryError::NotAFile(path.to_owned()));
    }
    check_trusted(path, &metadata)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(DirectoryError::FileTooLong(path.to_owned()));
    }
    // What is not UTF-8 can only be in a comment; a key that holds it is refused by itself.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Who claims which key.
#[derive(Default)]
struct Claims {
    keys: BTreeMap<Fingerprint, Claim>,
    skipped: Vec<Skip>,
}

struct Claim {
    entry: pushkeys_feed::Entry,
    /// A second account that claims the key.
    rival: Option<AccountId>,
}

impl Claims {
    fn file(&mut self, path: &Path, text: &str) {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
        let account: AccountId = match stem.parse() {
            Ok(account) => account,
            Err(source) => {
                let fault = LineFault::FileName { path: path.to_owned(), source };
                return self.skipped.push(Skip::new(None, &fault));
            }
        };
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match ValidKey::check(line, &Policy::default()) {
                Ok(key) => self.key(&key, &account),
                Err(source) => {
                    let fault = LineFault::Refused { path: path.to_owned(), line: index + 1, source };
                    self.skipped.push(Skip::new(None, &fault));
                }
            }
        }
    }

    fn key(&mut self, key: &ValidKey, account: &AccountId) {
        let fingerprint = key.fingerprint();
        match self.keys.entry(fingerprint) {
            Slot::Occupied(mut slot) if slot.get().entry.account != *account => {
                slot.get_mut().rival = Some(account.clone());
            }
            Slot::Occupied(_) => {}
            Slot::Vacant(slot) => {
                let Ok(key_id) = key_id(&fingerprint) else { return };
                let entry = pushkeys_feed::Entry {
                    fingerprint,
                    key: key.canonical_text().to_owned(),
                    account: account.clone(),
                    key_id,
                    account_name: None,
                    name: key.comment().map(str::to_owned),
                    logins: None,
                    expires_at: None,
                };
                slot.insert(Claim { entry, rival: None });
            }
        }
    }

    fn settle(self) -> Listing {
        let mut listing = Listing { entries: Vec::new(), skipped: self.skipped };
        for (fingerprint, Claim { entry, rival }) in self.keys {
            match rival {
                None => listing.entries.push(entry),
                Some(rival) => {
                    let fault = LineFault::TwoAccounts(entry.account, rival);
                    listing.skipped.push(Skip::new(Some(fingerprint), &fault));
                }
            }
        }
        listing
    }
}

/// A key keeps its id when its file is renamed or sorted anew.
fn key_id(fingerprint: &Fingerprint) -> Result<KeyId, pushkeys_keys::ParseIdError> {
    format!("file_{}", hex(fingerprint.as_bytes().iter().take(10))).parse()
}
