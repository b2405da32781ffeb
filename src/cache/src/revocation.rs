//! What a sysadmin has revoked on this host: it counts at once, whatever the sources say, with every daemon down.
//!
//! ```text
//! <cache>/REVOKED       which keys and accounts, since when; missing as long as nothing is revoked
//! <cache>/REVOKED.lock  held by the process that replaces it
//! ```
//!
//! One that is there and cannot be trusted or read leaves every lookup without an answer: what it revokes
//! is then unknown.

use std::fmt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pushkeys_keys::{AccountId, Fingerprint, Hint};
use rustix::fs::FlockOperation;

use crate::checksum::{append_checksum, verified_lines};
use crate::error::{Damage, ReadError, WriteError};
use crate::files::Directory;
use crate::head::to_second;

/// The file in the cache's folder. No source can be called so.
pub const REVOKED_FILE: &str = "REVOKED";

/// A host holds at most so many: they are for the hours until the service agrees.
pub const REVOCATIONS_MAX: usize = 1024;

const LOCK_FILE: &str = "REVOKED.lock";
const FORMAT: &str = "format=1\n";
const BYTES_MAX: usize = 128 * 1024;
/// `account`, an id of 64 characters, a time to the second, two tabs and a newline.
const LINE_BYTES_MAX: usize = 7 + 64 + 20 + 3;
const _: () = assert!(FORMAT.len() + REVOCATIONS_MAX * LINE_BYTES_MAX + 64 <= BYTES_MAX);

/// Another process that replaces the file takes milliseconds.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);
const LOCK_WAIT: Duration = Duration::from_millis(20);

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revoked {
    /// One key, of any account.
    Key(Fingerprint),
    /// Every key of an account, those that it adds later too.
    Account(AccountId),
}

impl fmt::Display for Revoked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(fingerprint) => write!(out, "key {fingerprint}"),
            Self::Account(account) => write!(out, "account {account}"),
        }
    }
}

/// What is revoked, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// What no longer opens anything here.
    pub what: Revoked,
    /// Since when, to the second.
    pub since: Timestamp,
}

/// All that is revoked on a host.
///
/// Invariant: sorted, each thing once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations(Vec<Revocation>);

impl Revocations {
    /// All of them, keys first.
    pub fn iter(&self) -> impl Iterator<Item = &Revocation> {
        self.0.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The revocation of exactly `what`.
    #[must_use]
    pub fn of(&self, what: &Revoked) -> Option<&Revocation> {
        self.0.iter().find(|revocation| revocation.what == *what)
    }

    /// The revocation by which `fingerprint`, a key of `account`'s, opens nothing.
    #[must_use]
    pub fn of_key(&self, fingerprint: &Fingerprint, account: &AccountId) -> Option<&Revocation> {
        self.0.iter().find(|revocation| match &revocation.what {
            Revoked::Key(key) => key == fingerprint,
            Revoked::Account(id) => id == account,
        })
    }

    /// Revokes `what` from `now` on. What was revoked before keeps its time. `false`: it was.
    pub fn add(&mut self, what: Revoked, now: Timestamp) -> bool {
        match self.0.binary_search_by(|revocation| revocation.what.cmp(&what)) {
            Ok(_) => false,
            Err(position) => {
                self.0.insert(position, Revocation { what, since: to_second(now) });
                true
            }
        }
    }

    /// Takes the revocation of `what` back. `false`: there was none.
    pub fn remove(&mut self, what: &Revoked) -> bool {
        let before = self.0.len();
        self.0.retain(|revocation| revocation.what != *what);
        self.0.len() < before
    }

    fn to_text(&self) -> String {
        let mut text = String::from(FORMAT);
        for Revocation { what, since } in &self.0 {
            let line = match what {
                Revoked::Key(fingerprint) => format!("key\t{fingerprint}\t{since}\n"),
                Revoked::Account(account) => format!("account\t{account}\t{since}\n"),
            };
            text.push_str(&line);
        }
        append_checksum(&mut text);
        text
    }

    fn parse(bytes: &[u8]) -> Result<Self, Damage> {
        let lines = verified_lines(bytes, FORMAT)?;
        let revocations: Vec<Revocation> =
            lines.split_terminator('\n').map(parse_line).collect::<Result<_, _>>()?;
        if revocations.is_sorted_by(|one, next| one.what < next.what) {
            Ok(Self(revocations))
        } else {
            Err(Damage::Order)
        }
    }

    /// What the file in the folder `root` says.
    pub(crate) fn read(root: &Directory) -> Result<Self, ReadError> {
        let bytes = root.read_file(REVOKED_FILE, BYTES_MAX)?;
        Self::parse(&bytes).map_err(|damage| ReadError::damaged(&root.path().join(REVOKED_FILE), damage))
    }
}

fn parse_line(line: &str) -> Result<Revocation, Damage> {
    let mut fields = line.split('\t');
    let mut next = || fields.next().ok_or(Damage::Fields);
    let (kind, id, since) = (next()?, next()?, next()?);
    let what = match kind {
        "key" => Revoked::Key(id.parse().map_err(|_| Damage::Fields)?),
        "account" => Revoked::Account(id.parse().map_err(|_| Damage::Fields)?),
        _ => return Err(Damage::Fields),
    };
    let since = since.parse().map_err(|_| Damage::Fields)?;
    if fields.next().is_some() { Err(Damage::Fields) } else { Ok(Revocation { what, since }) }
}

/// What is revoked on the host of the cache in the folder `cache`.
pub fn revocations(cache: &Path) -> Result<Revocations, ReadError> {
    optional(&Directory::open_root(cache)?)
}

/// Replaces, durably, what is revoked by what `change` makes of it, and gives what `change` gives.
///
/// Concurrent callers wait. root may, and leaves files that are the cache's owner's.
pub fn change_revocations<T>(
    cache: &Path,
    change: impl FnOnce(&mut Revocations) -> T,
) -> Result<T, WriteError> {
    let root = Directory::open_root(cache)?;
    let _lock = lock(&root)?;
    let before = optional(&root)?;
    let mut after = before.clone();
    let result = change(&mut after);
    if after.len() > REVOCATIONS_MAX {
        let hint = Hint::new("remove the others at the key service");
        return Err(WriteError::TooManyRevocations { max: REVOCATIONS_MAX, hint });
    }
    if after.is_empty() {
        root.remove(REVOKED_FILE)?;
        root.sync()?;
    } else if after != before {
        root.replace(REVOKED_FILE, after.to_text().as_bytes())?;
    } else {
        // What another has put in place and was killed may not be durable yet, and the caller says that it is.
        root.sync()?;
    }
    Ok(result)
}

fn optional(root: &Directory) -> Result<Revocations, ReadError> {
    match Revocations::read(root) {
        Err(ReadError::Missing(_)) => Ok(Revocations::default()),
        other => other,
    }
}

fn lock(root: &Directory) -> Result<std::fs::File, WriteError> {
    let file = root.open_lock(LOCK_FILE)?;
    let end = Instant::now() + LOCK_WAIT_MAX;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < end => thread::sleep(LOCK_WAIT),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(WriteError::Locked(root.path().join(REVOKED_FILE)));
            }
            Err(source) => return Err(WriteError::io("lock", &root.path().join(LOCK_FILE), source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Revocations {
        let mut revocations = Revocations::default();
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        assert!(revocations.add(Revoked::Account("acct_7".parse().unwrap()), now));
        assert!(revocations.add(Revoked::Key(Fingerprint::of(b"ana")), now));
        assert!(!revocations.add(Revoked::Key(Fingerprint::of(b"ana")), now));
        revocations
    }

    #[test]
    fn the_file_is_text_that_a_sysadmin_can_read() {
        let text = some().to_text();
        let expected = format!(
            "format=1\nkey\t{}\t2027-01-15T08:00:00Z\naccount\tacct_7\t2027-01-15T08:00:00Z\nchecksum=",
            Fingerprint::of(b"ana")
        );
        assert!(text.starts_with(&expected), "{text}");
        assert_eq!(Revocations::parse(text.as_bytes()), Ok(some()));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let text = some().to_text().into_bytes();
        for position in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[position / 8] ^= 1 << (position % 8);
            assert!(Revocations::parse(&flipped).is_err(), "bit {position}");
        }
        for end in 0..text.len() {
            assert!(Revocations::parse(&text[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn what_is_taken_back_is_revoked_no_longer() {
        let mut revocations = some();
        let (ana, account) = (Fingerprint::of(b"ana"), "acct_7".parse().unwrap());
        let other = "acct_8".parse().unwrap();
        assert!(revocations.of_key(&ana, &other).is_some());
        assert!(revocations.of_key(&Fingerprint::of(b"ben"), &account).is_some());
        assert!(revocations.of_key(&Fingerprint::of(b"ben"), &other).is_none());
        assert!(revocations.remove(&Revoked::Key(ana)) && !revocations.remove(&Revoked::Key(ana)));
        assert!(revocations.of_key(&ana, &other).is_none());
        assert!(revocations.of_key(&ana, &account).is_some());
    }
}
