//! What a host reports to its key service: which keys were used, which it has revoked by itself, and its host keys.

use std::fmt::Display;
use std::str::FromStr;

use jiff::Timestamp;
use pushkeys_keys::{AccountId, Fingerprint, KeyId, UseKind};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::protocol::{REPORT_BYTES_MAX, REPORT_ITEMS_MAX};

/// A use or a revocation in JSON: 50 bytes of fingerprint, an id of 64, a time with its nanoseconds, and what is around them.
const ITEM_BYTES_MAX: usize = 320;
const _: () = assert!(REPORT_ITEMS_MAX * ITEM_BYTES_MAX + 64 <= REPORT_BYTES_MAX);

/// Uses of keys, in no order. Of several uses of one kind the last is enough.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageReport {
    /// At most [`REPORT_ITEMS_MAX`].
    pub uses: Vec<Use>,
}

/// One use of a key, after sshd had accepted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    /// Which key.
    #[serde(with = "text")]
    pub fingerprint: Fingerprint,
    /// Which registration of it: one that was made again since then was not used.
    #[serde(with = "text")]
    pub key_id: KeyId,
    /// What for.
    #[serde(with = "text")]
    pub kind: UseKind,
    /// When, by the host's clock.
    #[serde(with = "text")]
    pub at: Timestamp,
}

/// Everything that is revoked on a host at this moment: what it said before and says no more, it has taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedReport {
    /// At most [`REPORT_ITEMS_MAX`], each thing once.
    pub revoked: Vec<HostRevocation>,
}

/// One thing that is revoked on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRevocation {
    /// What.
    pub what: RevokedThing,
    /// Since when, by the host's clock.
    #[serde(with = "text")]
    pub since: Timestamp,
}

/// What a host has revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RevokedThing {
    /// One key.
    Fingerprint(#[serde(with = "text")] Fingerprint),
    /// All keys of an account.
    Account(#[serde(with = "text")] AccountId),
}

/// What the service says to a [`RevokedReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedReply {
    /// One for each thing of the report, in its order.
    pub answers: Vec<RevokedAnswer>,
}

/// What the service says to one revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RevokedAnswer {
    /// The service's operator has not decided.
    Pending,
    /// The service has no such key, so that its feed can be relied on again.
    Settled,
    /// The service's operator keeps the key.
    Dismissed,
}

/// All public host keys of a host's sshd at this moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostKeysReport {
    /// At most [`HOST_KEYS_MAX`](crate::HOST_KEYS_MAX) texts of the form `type base64`.
    pub keys: Vec<String>,
}

/// The answer of the service to a [`HostKeysReport`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostKeysReply {
    /// What users connect to, if it is configured at the service.
    pub push_host: Option<String>,
    /// Fingerprints of the keys that are not published until the operator accepts them.
    pub waiting: Vec<String>,
}

/// A value by its one text.
mod text {
    use serde::de::Error as _;

    use super::{Deserialize, Deserializer, Display, FromStr, Serializer};

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        "2026-11-24T11:00:00Z".parse().unwrap()
    }

    #[test]
    fn reports_read_as_they_are_written() {
        let fingerprint = Fingerprint::of(b"ana");
        let used = Use { fingerprint, key_id: "key_42".parse().unwrap(), kind: UseKind::Push, at: at() };
        let report = UsageReport { uses: vec![used] };
        let json = serde_json::to_string(&report).unwrap();
        let expected = format!(
            "{{\"uses\":[{{\"fingerprint\":\"{fingerprint}\",\"key_id\":\"key_42\",\"kind\":\"push\",\"at\":\"2026-11-24T11:00:00Z\"}}]}}"
        );
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<UsageReport>(&json).unwrap(), report);

        let revocation = |what| HostRevocation { what, since: at() };
        let account = RevokedThing::Account("acct_7".parse().unwrap());
        let report = RevokedReport {
            revoked: vec![revocation(RevokedThing::Fingerprint(fingerprint)), revocation(account)],
        };
        let json = serde_json::to_string(&report).unwrap();
        let expected = format!(
            "{{\"revoked\":[{{\"what\":{{\"fingerprint\":\"{fingerprint}\"}},\"since\":\"2026-11-24T11:00:00Z\"}},\
             {{\"what\":{{\"account\":\"acct_7\"}},\"since\":\"2026-11-24T11:00:00Z\"}}]}}"
        );
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<RevokedReport>(&json).unwrap(), report);
    }

    #[test]
    fn the_longest_item_is_within_its_bound() {
        let used = Use {
            fingerprint: Fingerprint::of(b"ana"),
            key_id: "k".repeat(64).parse().unwrap(),
            kind: UseKind::Check,
            at: "2026-11-24T11:00:00.123456789Z".parse().unwrap(),
        };
        assert!(serde_json::to_string(&used).unwrap().len() < ITEM_BYTES_MAX);
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let good = "{\"uses\":[{\"fingerprint\":\"SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww\",\
                    \"key_id\":\"key_1\",\"kind\":\"check\",\"at\":\"2026-11-24T11:00:00Z\"}]}";
        let is_read = |json: &str| serde_json::from_str::<UsageReport>(json).is_ok();
        assert!(is_read(good));
        for (from, to) in [
            ("SHA256:D", "SHA256:"),
            ("key_1", "Key 1"),
            ("check", "login"),
            ("2026-11-24", "yesterday"),
            ("\"kind\"", "\"account\":\"acct_1\",\"kind\""),
        ] {
            assert!(!is_read(&good.replace(from, to)), "{from} -> {to}");
        }
    }
}
