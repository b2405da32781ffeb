//! What sshd is told, and why: one decision for the lookup, the forced command and the sysadmin.

use jiff::Timestamp;
use pushkeys_keys::{Fingerprint, Login, SourceName};
use thiserror::Error;

use crate::entry::Entry;
use crate::error::ReadError;
use crate::head::Head;
use crate::revocation::{Revocation, Revocations, Revoked};

/// All that a cache says of one key.
#[derive(Debug)]
pub struct Consultation {
    /// The key.
    pub fingerprint: Fingerprint,
    /// What every source says, in the order of their names.
    pub sources: Vec<Consulted>,
    /// What is revoked on this host.
    pub revocations: Revocations,
}

/// What one source says of one key.
#[derive(Debug)]
pub struct Consulted {
    /// The source.
    pub source: SourceName,
    /// Its head, and its entry of the key if it has one.
    pub found: Result<(Head, Option<Entry>), ReadError>,
}

/// What sshd is told of a login and a key.
#[derive(Debug)]
pub enum Verdict {
    /// The key opens the login: sshd gets the entry's line.
    Known {
        /// The source that says so.
        source: SourceName,
        /// What it says.
        entry: Entry,
    },
    /// No source has the key.
    UnknownKey,
    /// The key is known, and opens other logins.
    OtherLogin,
    /// The key, or its account, was revoked on this host.
    Revoked(Revocation),
}

/// Why sshd gets no answer. This is never the same as an unknown key.
#[derive(Debug, Error)]
pub enum NoAnswer {
    /// The cache itself, or a source that could have had the key, cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// The source was last in sync too long ago.
    #[error("source `{name}` was last in step at {synced_at} and was good until {valid_until}")]
    Stale {
        /// The source.
        name: SourceName,
        /// See [`Stamps`](crate::Stamps).
        synced_at: Timestamp,
        /// See [`Stamps`](crate::Stamps).
        valid_until: Timestamp,
    },
    /// Two sources give the key to different accounts.
    #[error("source `{first}` gives the key to account `{}`, source `{second}` to `{}`", accounts.0, accounts.1)]
    Conflict {
        /// The one source.
        first: SourceName,
        /// The other.
        second: SourceName,
        /// Whom they give it to.
        accounts: Box<(pushkeys_keys::AccountId, pushkeys_keys::AccountId)>,
    },
}

impl Verdict {
    /// Decides by what a cache says, at `now`.
    ///
    /// - What is revoked here opens nothing, whatever the sources say.
    /// - Two accounts for one key are a conflict, whatever else holds.
    /// - An entry of a source that is in sync is an answer; what another, unreadable source would have said of the
    ///   key is unknown, and must not lock out the accounts for which a second source exists.
    /// - Nobody having the key is an answer only if everybody could be asked.
    pub fn of(consultation: Consultation, login: &Login, now: Timestamp) -> Result<Self, NoAnswer> {
        let Consultation { fingerprint, sources, revocations } = consultation;
        if let Some(revocation) = revocations.of(&Revoked::Key(fingerprint)) {
            return Ok(Self::Revoked(revocation.clone()));
        }
        check_conflict(&sources)?;
        let mut verdict = Self::UnknownKey;
        let mut obstacle = None;
        for Consulted { source, found } in sources {
            match found {
                Err(error) => obstacle = obstacle.or(Some(error.into())),
                Ok((head, _)) if !head.is_valid_at(now) => {
                    obstacle = obstacle.or(stale(source, &head));
                }
                Ok((_, Some(entry))) if entry.opens(login) => {
                    return Ok(match revocations.of_key(&fingerprint, &entry.account) {
                        Some(revocation) => Self::Revoked(revocation.clone()),
                        None => Self::Known { source, entry },
                    });
                }
                Ok((_, Some(_))) => verdict = Self::OtherLogin,
                Ok((_, None)) => {}
            }
        }
        obstacle.map_or(Ok(verdict), Err)
    }
}

fn check_conflict(consulted: &[Consulted]) -> Result<(), NoAnswer> {
    let mut holders = consulted.iter().filter_map(|one| match &one.found {
        Ok((_, Some(entry))) => Some((&one.source, &entry.account)),
        _ => None,
    });
    let Some((first, account)) = holders.next() else { return Ok(()) };
    match holders.find(|(_, other)| *other != account) {
        Some((second, other)) => Err(NoAnswer::Conflict {
            first: first.clone(),
            second: second.clone(),
            accounts: Box::new((account.clone(), other.clone())),
        }),
        None => Ok(()),
    }
}

fn stale(name: SourceName, head: &Head) -> Option<NoAnswer> {
    let valid_until = head.stamps.valid_until?;
    Some(NoAnswer::Stale { name, synced_at: head.stamps.synced_at, valid_until })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{Damage, Stamps};

    const NOW: i64 = 1_800_000_000;

    fn entry(account: &str) -> Entry {
        Entry {
            fingerprint: Fingerprint::of(b"key"),
            logins: vec!["git".parse().unwrap()],
            account: account.parse().unwrap(),
            key_id: "key_1".parse().unwrap(),
            account_name: None,
            key_name: None,
            line: "restrict,command=\"/x\" ssh-ed25519 AAAA".parse().unwrap(),
        }
    }

    fn says(source: &str, until: i64, account: Option<&str>) -> Consulted {
        let stamps = Stamps {
            synced_at: Timestamp::from_second(NOW - 60).unwrap(),
            valid_until: Some(Timestamp::from_second(until).unwrap()),
        };
        let head = Head { generation: 1, bits: 0, keys: 1, cursor: None, stamps, notes: None };
        Consulted { source: source.parse().unwrap(), found: Ok((head, account.map(entry))) }
    }

    fn is_damaged(source: &str) -> Consulted {
        let error = ReadError::Damaged { path: PathBuf::from("HEAD"), source: Damage::Checksum };
        Consulted { source: source.parse().unwrap(), found: Err(error) }
    }

    #[track_caller]
    fn check(consulted: Vec<Consulted>, login: &str, expected: &str) {
        check_revoked(consulted, &[], login, expected);
    }

    #[track_caller]
    fn check_revoked(sources: Vec<Consulted>, revoked: &[Revoked], login: &str, expected: &str) {
        let now = Timestamp::from_second(NOW).unwrap();
        let mut revocations = Revocations::default();
        assert!(revoked.iter().all(|what| revocations.add(what.clone(), now)));
        let consultation = Consultation { fingerprint: Fingerprint::of(b"key"), sources, revocations };
        let verdict = Verdict::of(consultation, &login.parse().unwrap(), now);
        let word = match verdict {
            Ok(Verdict::Known { source, entry }) => format!("{source} {}", entry.account),
            Ok(Verdict::UnknownKey) => "unknown".to_owned(),
            Ok(Verdict::OtherLogin) => "other login".to_owned(),
            Ok(Verdict::Revoked(revocation)) => format!("revoked {}", revocation.what),
            Err(NoAnswer::Unreadable(_)) => "unreadable".to_owned(),
            Err(NoAnswer::Stale { name, .. }) => format!("stale {name}"),
            Err(NoAnswer::Conflict { .. }) => "conflict".to_owned(),
        };
        assert_eq!(word, expected);
    }

    #[test]
    fn the_holder_gets_in_and_nobody_else_does() {
        check(vec![says("api", NOW + 1, Some("ana"))], "git", "api ana");
        check(vec![says("api", NOW + 1, Some("ana"))], "root", "other login");
        check(vec![says("api", NOW + 1, None)], "git", "unknown");
    }

    #[test]
    fn what_is_revoked_opens_nothing_whatever_the_sources_say() {
        let (key, other) = (Revoked::Key(Fingerprint::of(b"key")), Revoked::Key(Fingerprint::of(b"other")));
        let account = |id: &str| Revoked::Account(id.parse().unwrap());
        let by_key = format!("revoked {key}");
        let ana = || vec![says("api", NOW + 1, Some("ana"))];
        check_revoked(ana(), std::slice::from_ref(&key), "git", &by_key);
        check_revoked(vec![is_damaged("api")], &[key], "git", &by_key);
        check_revoked(ana(), &[account("ana")], "git", "revoked account ana");
        check_revoked(ana(), &[account("ben"), other], "git", "api ana");
    }

    #[test]
    fn past_its_validity_a_source_gives_no_answer() {
        check(vec![says("api", NOW, Some("ana"))], "git", "stale api");
        check(vec![says("api", NOW, None)], "git", "stale api");
    }

    #[test]
    fn an_identity_is_never_guessed() {
        check(
            vec![says("api", NOW + 1, Some("ana")), says("local", NOW + 1, Some("ben"))],
            "git",
            "conflict",
        );
        check(vec![says("api", NOW, Some("ana")), says("local", NOW + 1, Some("ben"))], "git", "conflict");
        check(vec![says("api", NOW + 1, Some("ana")), says("local", NOW + 1, Some("ana"))], "git", "api ana");
    }

    #[test]
    fn a_second_source_serves_while_the_first_cannot() {
        check(vec![is_damaged("api"), says("local", NOW + 1, Some("ops"))], "git", "local ops");
        check(vec![says("api", NOW, None), says("local", NOW + 1, Some("ops"))], "git", "local ops");
    }

    #[test]
    fn an_outage_is_never_an_unknown_key() {
        check(vec![is_damaged("api"), says("local", NOW + 1, None)], "git", "unreadable");
        check(vec![says("api", NOW, None), says("local", NOW + 1, None)], "git", "stale api");
        check(vec![is_damaged("api"), says("local", NOW + 1, Some("ops"))], "root", "unreadable");
    }
}
