//! What the forced command tells the daemon of a session: one datagram, from a process that may read the cache.
//!
//! The sender runs on the client's side of the door. What it says is as good as an entry of the cache that agrees with
//! it, and nothing is decided by it.

use std::str::FromStr;

use pushkeys_keys::{AccountId, Fingerprint, KeyId, UseKind};
use thiserror::Error;

/// The daemon's socket in the cache's folder. No source can be called so.
pub const USAGE_SOCKET: &str = "USAGE.sock";

/// The longest datagram in bytes: a fingerprint, two ids, a kind, and what is between them.
pub const USED_BYTES_MAX: usize = 256;
const _: () = assert!(2 + 50 + 64 + 64 + 8 + 4 <= USED_BYTES_MAX);

const FORMAT: &str = "1";

/// One use of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// Which key.
    pub fingerprint: Fingerprint,
    /// Whose.
    pub account: AccountId,
    /// Which registration of it.
    pub key_id: KeyId,
    /// What for.
    pub kind: UseKind,
}

/// Why a datagram is none of the forced command's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "it is not `{FORMAT}`, a fingerprint, an account, a key id and a kind of use, with tabs between them"
)]
pub struct ParseUsedError;

impl Used {
    /// The datagram.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { fingerprint, account, key_id, kind } = self;
        format!("{FORMAT}\t{fingerprint}\t{account}\t{key_id}\t{kind}")
    }

    /// What the datagram `bytes` says.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseUsedError> {
        fn field<T: FromStr>(text: Option<&str>) -> Result<T, ParseUsedError> {
            text.and_then(|text| text.parse().ok()).ok_or(ParseUsedError)
        }
        if bytes.len() > USED_BYTES_MAX {
            return Err(ParseUsedError);
        }
        let text = str::from_utf8(bytes).map_err(|_| ParseUsedError)?;
        let mut fields = text.split('\t');
        if fields.next() != Some(FORMAT) {
            return Err(ParseUsedError);
        }
        let used = Self {
            fingerprint: field(fields.next())?,
            account: field(fields.next())?,
            key_id: field(fields.next())?,
            kind: field(fields.next())?,
        };
        if fields.next().is_some() { Err(ParseUsedError) } else { Ok(used) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn used() -> Used {
        Used {
            fingerprint: Fingerprint::of(b"ana"),
            account: "acct_7".parse().unwrap(),
            key_id: "key_42".parse().unwrap(),
            kind: UseKind::Push,
        }
    }

    #[test]
    fn a_use_reads_as_it_was_written() {
        assert_eq!(Used::parse(used().to_text().as_bytes()), Ok(used()));
    }

    #[test]
    fn whatever_else_is_sent_is_refused() {
        let text = used().to_text();
        let longer = format!("{text}\tmore");
        for other in [
            "",
            "1",
            &longer,
            &text.replace("1\t", "2\t"),
            &text.replace("acct_7", "../x"),
            &text.replace("key_42", ""),
            &text.replace("push", "push\n"),
            &text.replace("SHA256:", "MD5:"),
            &text.replace("acct_7", &"a".repeat(200)),
        ] {
            assert_eq!(Used::parse(other.as_bytes()), Err(ParseUsedError), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn no_datagram_panics(bytes in any::<Vec<u8>>()) {
            let _ = Used::parse(&bytes);
        }
    }
}
