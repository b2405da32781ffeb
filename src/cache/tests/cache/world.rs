//! A cache in a folder of its own, and the keys that stand in it.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use pushkeys_cache::{Applied, Cache, Change, Entry, ReadError, Stamps, Verdict, WriteError, Writer};
use pushkeys_keys::{ErrorReport, Fingerprint, Login, Name};

pub(crate) struct World {
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A cache whose one generation holds `entries`.
    pub(crate) fn with(entries: Vec<Entry>) -> Self {
        let world = Self::new();
        take(&mut world.writer(), entries, Some("e-1")).unwrap();
        world
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    pub(crate) fn writer(&self) -> Writer {
        Writer::open(&self.path(), &api()).unwrap()
    }

    pub(crate) fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join("api").join(name)
    }

    pub(crate) fn find(&self, fingerprint: &Fingerprint) -> Result<Option<Entry>, ReadError> {
        Ok(Cache::open(&self.path())?.source(&api())?.find(fingerprint)?.1)
    }

    /// What sshd would be told: the account, or nothing, or why there is no answer.
    pub(crate) fn ask(&self, login: &str, fingerprint: &Fingerprint) -> Result<Option<String>, String> {
        let login: Login = login.parse().unwrap();
        let cache = Cache::open(&self.path()).map_err(|error| told(&error))?;
        let consulted = cache.consult(fingerprint).map_err(|error| told(&error))?;
        match Verdict::of(consulted, &login, Timestamp::now()).map_err(|error| told(&error))? {
            Verdict::Known { entry, .. } => Ok(Some(entry.account.to_string())),
            Verdict::UnknownKey | Verdict::OtherLogin | Verdict::Revoked(_) => Ok(None),
        }
    }
}

pub(crate) fn api() -> pushkeys_keys::SourceName {
    "api".parse().unwrap()
}

/// The `number`th key, held by the account `acct_<holder>`.
pub(crate) fn entry(number: u32, holder: u32) -> Entry {
    let fingerprint = fingerprint(number);
    let command = format!("/x --account acct_{holder} --key key_{number} --fingerprint {fingerprint}");
    Entry {
        fingerprint,
        logins: vec!["git".parse().unwrap()],
        account: format!("acct_{holder}").parse().unwrap(),
        key_id: format!("key_{number}").parse().unwrap(),
        account_name: Name::parse("ana").ok(),
        key_name: Name::parse(&"laptop ".repeat(number as usize % 7 + 1)).ok(),
        line: format!("restrict,command=\"{command}\" ssh-ed25519 AAAA{number}").parse().unwrap(),
    }
}

pub(crate) fn fingerprint(number: u32) -> Fingerprint {
    Fingerprint::of(&number.to_be_bytes())
}

pub(crate) fn forever() -> Stamps {
    Stamps { synced_at: Timestamp::now(), valid_until: None }
}

/// Puts a generation of `entries` in force.
pub(crate) fn take(
    writer: &mut Writer,
    mut entries: Vec<Entry>,
    cursor: Option<&str>,
) -> Result<(), WriteError> {
    entries.sort_by_key(|entry| entry.fingerprint);
    let mut next = writer.begin()?;
    for entry in entries {
        next.push(entry)?;
    }
    writer.commit(next.finish()?, cursor, forever())
}

pub(crate) fn apply(writer: &mut Writer, changes: &[Change], cursor: &str) -> Applied {
    writer.apply(changes, Some(cursor), forever()).unwrap()
}

fn told(error: &(dyn std::error::Error + 'static)) -> String {
    ErrorReport::of(error).to_string()
}
