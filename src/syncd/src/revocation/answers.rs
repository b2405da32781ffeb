//! What key services answer to the revocations of this host.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pushkeys_cache::status::{ReportAnswer, RevocationReport};
use pushkeys_cache::{Revocation, Revoked};
use pushkeys_keys::SourceName;
use tokio::sync::watch;

/// The answers of every key service, kept as long as the daemon runs.
#[derive(Debug, Default)]
pub(crate) struct RevocationAnswers(watch::Sender<Services>);

pub(crate) type Services = BTreeMap<SourceName, BTreeMap<Revoked, RevocationAnswer>>;

/// What one key service answers to one revocation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RevocationAnswer {
    pub(crate) at: Timestamp,
    pub(crate) answer: ReportAnswer,
}

impl RevocationAnswers {
    /// Counts on the answers of the key service `name`, which has given none.
    pub(crate) fn add_service(&self, name: &SourceName) {
        self.record(name, BTreeMap::new());
    }

    pub(crate) fn remove_service(&self, name: &SourceName) {
        self.0.send_modify(|services| drop(services.remove(name)));
    }

    /// The key service `name` has answered, to everything that is revoked here.
    pub(crate) fn record(&self, name: &SourceName, answers: BTreeMap<Revoked, RevocationAnswer>) {
        self.0.send_modify(|services| drop(services.insert(name.clone(), answers)));
    }

    /// Whether every key service has answered to `revocation`, after it was made, that it has no such key.
    ///
    /// On a host without a key service the other sources alone decide.
    pub(crate) fn is_settled(&self, revocation: &Revocation) -> bool {
        self.0.borrow().values().all(|answers| {
            answers.get(&revocation.what).is_some_and(|RevocationAnswer { at, answer }| {
                *answer == ReportAnswer::Settled && *at > revocation.since
            })
        })
    }

    /// The answers as often as they change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Services> {
        self.0.subscribe()
    }

    /// The answers as `status.json` shows them.
    pub(crate) fn to_status(&self) -> Vec<RevocationReport> {
        let services = self.0.borrow();
        let answers = services
            .iter()
            .flat_map(|(source, answers)| answers.iter().map(move |(what, answer)| (source, what, answer)));
        answers
            .map(|(source, what, RevocationAnswer { at, answer })| RevocationReport {
                what: what.to_string(),
                source: source.to_string(),
                told_at: at.to_string(),
                answer: *answer,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use pushkeys_keys::Fingerprint;

    use super::*;

    #[test]
    fn a_revocation_is_settled_when_every_service_has_answered_so_after_it() {
        let since: Timestamp = "2026-11-24T11:00:00Z".parse().unwrap();
        let key = Revocation { what: Revoked::Key(Fingerprint::of(b"ana")), since };
        let check = |services: &[&str], given: &[(&str, ReportAnswer, &str)], expected: bool| {
            let answers = RevocationAnswers::default();
            for service in services {
                answers.add_service(&service.parse().unwrap());
            }
            for (service, answer, at) in given {
                let answer = RevocationAnswer { at: at.parse().unwrap(), answer: *answer };
                answers.record(&service.parse().unwrap(), [(key.what.clone(), answer)].into());
            }
            assert_eq!(answers.is_settled(&key), expected, "{services:?} {given:?}");
        };
        let (before, after) = ("2026-11-24T10:59:00Z", "2026-11-24T11:00:01Z");
        check(&[], &[], true);
        check(&["api"], &[], false);
        check(&["api"], &[("api", ReportAnswer::Settled, after)], true);
        check(&["api"], &[("api", ReportAnswer::Settled, before)], false);
        check(&["api"], &[("api", ReportAnswer::Pending, after)], false);
        check(&["api"], &[("api", ReportAnswer::Dismissed, after)], false);
        check(&["api", "other"], &[("api", ReportAnswer::Settled, after)], false);
    }

    #[test]
    fn a_service_that_is_removed_is_no_longer_waited_for() {
        let key = Revocation { what: Revoked::Key(Fingerprint::of(b"ana")), since: Timestamp::UNIX_EPOCH };
        let (answers, api) = (RevocationAnswers::default(), "api".parse().unwrap());
        answers.add_service(&api);
        assert!(!answers.is_settled(&key));
        answers.remove_service(&api);
        assert!(answers.is_settled(&key));
    }
}
