//! The confirmed state of each key, and so the possible answers of hosts and the database.
//!
//! A key belongs to one user, who alone changes it, one request at a time. While a request is running, the key may exist or
//! not; a missing response leaves that open. What a database lost by a promotion or a restore is also
//! open until the database itself is read.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pushkeys_keys::Fingerprint;

/// How long states are kept.
const MEMORY: Duration = Duration::from_mins(5);

/// A user's key.
#[derive(Debug)]
pub(crate) struct UserKey {
    /// The account's id.
    pub(crate) account: String,
    /// The account's name.
    pub(crate) account_name: String,
    /// The key's name.
    pub(crate) name: String,
    /// The public key, without a comment.
    pub(crate) text: String,
    pub(crate) fingerprint: Fingerprint,
    /// The file of the private key, if there is one.
    pub(crate) path: Option<PathBuf>,
}

/// Whether a key may be registered, and whether it may not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct May {
    pub(crate) present: bool,
    pub(crate) absent: bool,
}

/// The result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The service confirmed it.
    Confirmed,
    /// The service refused it, so nothing changed.
    Refused,
    /// It may have been applied.
    Unknown,
}

/// A possible loss: commits since the first moment that were made before the second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loss {
    pub(crate) from: Instant,
    pub(crate) until: Instant,
}

/// A request that was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt(usize);

/// All keys of users.
#[derive(Debug)]
pub(crate) struct Model {
    keys: Vec<UserKey>,
    records: Vec<Mutex<Record>>,
}

#[derive(Debug)]
struct Record {
    /// The possible states of the key from each moment on; the first is also valid before.
    spans: Vec<(Instant, May)>,
    /// The last state in the database.
    settled: May,
    /// The requested changes since then.
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    is_put: bool,
    sent: Instant,
    answered: Instant,
    outcome: Outcome,
}

impl May {
    pub(crate) const ABSENT: Self = Self { present: false, absent: true };
    pub(crate) const PRESENT: Self = Self { present: true, absent: false };

    fn of(is_present: bool) -> Self {
        if is_present { Self::PRESENT } else { Self::ABSENT }
    }

    fn or(self, other: Self) -> Self {
        Self { present: self.present || other.present, absent: self.absent || other.absent }
    }

    pub(crate) fn allows(self, is_present: bool) -> bool {
        if is_present { self.present } else { self.absent }
    }
}

impl Model {
    /// A model of `keys`, none of which is registered yet.
    pub(crate) fn new(keys: Vec<UserKey>) -> Self {
        let now = Instant::now();
        let record = || Record { spans: vec![(now, May::ABSENT)], settled: May::ABSENT, changes: Vec::new() };
        let records = keys.iter().map(|_| Mutex::new(record())).collect();
        Self { keys, records }
    }

    pub(crate) fn keys(&self) -> &[UserKey] {
        &self.keys
    }

    fn record(&self, key: usize) -> MutexGuard<'_, Record> {
        let record = self.records.get(key).expect("a key of the model");
        record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request for `key` is about to be sent: to register it, or to remove it.
    pub(crate) fn sends(&self, key: usize, is_put: bool) -> Attempt {
        let mut record = self.record(key);
        let now = Instant::now();
        let may = record.last().or(May::of(is_put));
        record.spans.push((now, may));
        record.changes.push(Change { is_put, sent: now, answered: now, outcome: Outcome::Unknown });
        Attempt(key)
    }

    /// The request of `attempt` has ended.
    pub(crate) fn ends(&self, attempt: Attempt, outcome: Outcome) {
        let mut record = self.record(attempt.0);
        let now = Instant::now();
        let Some(change) = record.changes.last_mut() else { return };
        (change.answered, change.outcome) = (now, outcome);
        let is_put = change.is_put;
        match outcome {
            Outcome::Confirmed => record.spans.push((now, May::of(is_put))),
            Outcome::Refused => {
                // Restores the state before the request.
                let before = record.spans.len().checked_sub(2).and_then(|index| record.spans.get(index));
                let before = before.map_or(record.settled, |(_, may)| *may);
                record.spans.push((now, before));
            }
            Outcome::Unknown => {}
        }
        record.forget();
    }

    /// The possible states of `key` at any moment from `since` until now.
    pub(crate) fn may_be(&self, key: usize, since: Instant) -> May {
        let record = self.record(key);
        let later = record.spans.iter().skip(1).map(|(from, _)| Some(*from)).chain([None]);
        let within = record.spans.iter().zip(later).filter(|(_, end)| end.is_none_or(|end| end >= since));
        within.map(|((_, may), _)| *may).reduce(May::or).unwrap_or(record.settled)
    }

    /// Compares `key` with the database, while no changes are made. Returns the contradiction, if `losses` are all
    /// possible losses.
    pub(crate) fn settle(&self, key: usize, is_present: bool, losses: &[Loss]) -> Result<(), String> {
        let mut record = self.record(key);
        let mut may = record.settled;
        let mut last = None;
        for change in &record.changes {
            let target = May::of(change.is_put);
            let is_lost = losses.iter().any(|loss| change.answered >= loss.from && change.sent <= loss.until);
            match change.outcome {
                Outcome::Confirmed if !is_lost => (may, last) = (target, Some(change)),
                Outcome::Confirmed | Outcome::Unknown => may = may.or(target),
                Outcome::Refused => {}
            }
        }
        let verdict = if may.allows(is_present) {
            Ok(())
        } else {
            let verb = if is_present { "has" } else { "does not have" };
            let last = last.map_or_else(
                || "nothing was confirmed since it was last asked".to_owned(),
                |change| {
                    let what = if change.is_put { "registered" } else { "removed" };
                    format!("confirmed as {what} {:.1} s ago", change.answered.elapsed().as_secs_f64())
                },
            );
            let key = self.keys.get(key).expect("a key of the model");
            Err(format!(
                "the database {verb} the key {} of {} ({}): {last}",
                key.name, key.account_name, key.fingerprint
            ))
        };
        let settled = May::of(is_present);
        *record = Record { spans: vec![(Instant::now(), settled)], settled, changes: Vec::new() };
        verdict
    }
}

impl Record {
    fn last(&self) -> May {
        self.spans.last().map_or(self.settled, |(_, may)| *may)
    }

    /// Removes states that are no longer needed.
    fn forget(&mut self) {
        let old = self.spans.iter().skip(1).take_while(|(from, _)| from.elapsed() > MEMORY).count();
        self.spans.drain(..old);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        let key = UserKey {
            account: "acct_7".into(),
            account_name: "ana".into(),
            name: "laptop".into(),
            text: "ssh-ed25519 AAAA".into(),
            fingerprint: Fingerprint::of(b"key"),
            path: None,
        };
        Model::new(vec![key])
    }

    fn change(model: &Model, is_put: bool, outcome: Outcome) {
        let attempt = model.sends(0, is_put);
        model.ends(attempt, outcome);
    }

    const BOTH: May = May { present: true, absent: true };

    #[test]
    fn confirmed_changes_hold_and_others_are_open() {
        let model = model();
        assert_eq!(model.may_be(0, Instant::now()), May::ABSENT);
        let attempt = model.sends(0, true);
        assert_eq!(model.may_be(0, Instant::now()), BOTH, "while it is on its way");
        model.ends(attempt, Outcome::Confirmed);
        std::thread::sleep(Duration::from_millis(2));
        let then = Instant::now();
        assert_eq!(model.may_be(0, then), May::PRESENT);
        change(&model, false, Outcome::Refused);
        assert_eq!(model.may_be(0, Instant::now()), May::PRESENT);
        change(&model, false, Outcome::Unknown);
        assert_eq!(model.may_be(0, Instant::now()), BOTH);
        change(&model, false, Outcome::Confirmed);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(model.may_be(0, Instant::now()), May::ABSENT);
        assert_eq!(model.may_be(0, then), BOTH, "it was there a moment ago");
    }

    #[test]
    fn the_database_must_not_lose_confirmed_changes() {
        let model = model();
        change(&model, true, Outcome::Confirmed);
        assert!(model.settle(0, true, &[]).is_ok());
        change(&model, false, Outcome::Unknown);
        assert!(model.settle(0, true, &[]).is_ok());
        change(&model, false, Outcome::Confirmed);
        let wrong = model.settle(0, true, &[]).expect_err("it was removed");
        assert!(wrong.contains("has the key laptop of ana"), "{wrong}");
        assert_eq!(model.may_be(0, Instant::now()), May::PRESENT, "the database is right from then on");
    }

    #[test]
    fn a_promotion_may_lose_only_its_own_losses() {
        let model = model();
        let pause = || std::thread::sleep(Duration::from_millis(2));
        change(&model, true, Outcome::Confirmed);
        pause();
        let from = Instant::now();
        change(&model, false, Outcome::Confirmed);
        let losses = [Loss { from, until: Instant::now() }];
        pause();
        assert!(model.settle(0, true, &losses).is_ok(), "the removal was lost");
        change(&model, false, Outcome::Confirmed);
        assert!(model.settle(0, true, &losses).is_err(), "the new database confirmed this one");
    }
}
