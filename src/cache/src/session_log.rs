//! What the forced command tells the daemon of sessions and pushes, for a log on the host: one line in one datagram.
//!
//! The daemon alone can write to that log, so what is in it stays as it was, whatever becomes of the login as which the
//! forced command runs.

/// The daemon's socket in the cache's folder. No source can have this name.
pub const SESSION_SOCKET: &str = "SESSIONS.sock";

/// The folder of the log in the cache's folder, a file for each day. No source can have this name.
pub const SESSION_LOG: &str = "SESSIONS";

/// How many days of the log are kept, today included.
pub const SESSION_LOG_DAYS: u32 = 31;

/// The longest line in bytes, without the time that the daemon puts before it.
pub const SESSION_LINE_BYTES_MAX: usize = 1800;

/// The account that `line` is about, if it is a line for the log: of a session or a push, and printable.
#[must_use]
pub fn session_line_account(line: &[u8]) -> Option<&str> {
    let line = str::from_utf8(line).ok().filter(|line| line.len() <= SESSION_LINE_BYTES_MAX)?;
    if line.chars().any(char::is_control) {
        return None;
    }
    let mut words = line.split(' ');
    let (Some("session" | "push"), Some(_), Some(account)) = (words.next(), words.next(), words.next())
    else {
        return None;
    };
    account.strip_prefix("account=").filter(|account| !account.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_of_a_session_or_a_push_and_names_its_account() {
        let account = |line: &str| session_line_account(line.as_bytes()).map(str::to_owned);
        assert_eq!(account("session login=git account=acct_7 key=k").as_deref(), Some("acct_7"));
        assert_eq!(account("push login=git account=acct_7").as_deref(), Some("acct_7"));
        for line in [
            "",
            "session",
            "session login=git",
            "session login=git account=",
            "session account=acct_7 login=git",
            "misuse login=git account=acct_7",
            "session login=git account=acct_7\n2026-01-01T00:00:00Z session",
            "session login=git account=acct_7 \u{1b}[2J",
            &format!("session login=git account=acct_7 {}", "x".repeat(1800)),
        ] {
            assert_eq!(account(line), None, "{line:?}");
        }
        assert_eq!(session_line_account(b"session login=git account=acct_7 \xff"), None);
    }
}
