//! What the system's log says about logins, line by line.
//!
//! These lines contain names and commands that users choose. So a line is taken as a program's only by the place of the program's
//! tag, and a field only before the first byte that a client chose.

mod addresses;
mod follow;
mod line;

use serde::Serialize;

pub(crate) use addresses::{Dropped, accepted, dropped, refused};
pub(crate) use follow::{Followed, last_lines, lines_since};

/// What has happened, in one line that is safe to print.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Event {
    /// When, as the log wrote it.
    pub(crate) at: String,
    pub(crate) kind: Kind,
    pub(crate) login: Option<String>,
    pub(crate) account: Option<String>,
    pub(crate) fingerprint: Option<String>,
    pub(crate) what: String,
}

/// What kind of thing it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A session that was greeted or served.
    Session,
    /// A key or a session that was not.
    Refused,
    /// A lookup without an answer.
    Failed,
    /// The cache has changed.
    Change,
}

/// How the forced command answers whom it lets in.
const LET_IN: [&str; 6] =
    ["greeted", "served", "push-refused", "deploy-failed", "client-left", "ended-by-signal"];

impl Event {
    /// The event in `line`, if there is one.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (at, tag, message) = line::split(line)?;
        let at = pushkeys_keys::escape(at).into_owned();
        match tag {
            "pushkeys-lookup" => Some(of_lookup(at, message)),
            "pushkeys-shell" => of_shell(at, message),
            "sshd" | "sshd-session" => of_sshd(at, message),
            _ => None,
        }
    }
}

fn of_lookup(at: String, message: &str) -> Event {
    let fingerprint = find_fingerprint(message);
    let what = format!("the helper could not answer: {}", pushkeys_keys::escape(message));
    Event { at, kind: Kind::Failed, login: None, account: None, fingerprint, what }
}

/// `session login=… account=… key=… fingerprint=… answered=…`, in this order, before anything that a client chose.
fn of_shell(at: String, message: &str) -> Option<Event> {
    let mut words = message.strip_prefix("session ")?.split(' ');
    let mut field = |name: &str| {
        let value = words.next()?.strip_prefix(name)?.strip_prefix('=')?;
        Some(pushkeys_keys::escape(value).into_owned())
    };
    let (login, account, key) = (field("login")?, field("account")?, field("key")?);
    let (fingerprint, answered) = (field("fingerprint")?, field("answered")?);
    let rest = message.split_once(" answered=")?.1;
    let kind = if LET_IN.contains(&answered.as_str()) { Kind::Session } else { Kind::Refused };
    let rest = rest.split_once(' ').map_or("", |(_, rest)| rest);
    let what = format!("{answered}, key {key}, {}", pushkeys_keys::escape(rest));
    Some(Event { at, kind, login: Some(login), account: Some(account), fingerprint: Some(fingerprint), what })
}

/// Refusals only, of a key or of a connection: the forced command logs who is let in.
fn of_sshd(at: String, message: &str) -> Option<Event> {
    if addresses::drop_in(message).is_some() {
        let what = format!("sshd: {}", pushkeys_keys::escape(message));
        return Some(Event { at, kind: Kind::Refused, login: None, account: None, fingerprint: None, what });
    }
    let rest = message.strip_prefix("Failed publickey for ")?;
    // The name of a login that does not exist is the client's own choice, and may hold anything.
    let login = rest
        .split(' ')
        .next()
        .filter(|_| !rest.starts_with("invalid user "))
        .map(|login| pushkeys_keys::escape(login).into_owned());
    let what = format!("sshd: {}", pushkeys_keys::escape(message));
    let fingerprint = rest.rsplit(' ').next().filter(|word| is_fingerprint(word)).map(str::to_owned);
    Some(Event { at, kind: Kind::Refused, login, account: None, fingerprint, what })
}

fn find_fingerprint(text: &str) -> Option<String> {
    text.split([' ', ';', ','])
        .map(|word| word.trim_end_matches(':'))
        .find(|word| is_fingerprint(word))
        .map(str::to_owned)
}

fn is_fingerprint(word: &str) -> bool {
    word.parse::<pushkeys_keys::Fingerprint>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww";

    #[track_caller]
    fn check(line: &str, expected: Option<(Kind, Option<&str>, Option<&str>)>) {
        let line = line.replace("FP", FINGERPRINT);
        for time in
            ["Nov 24 12:00:01", "Nov  4 12:00:01", "2026-11-24T12:00:01.5+00:00", "2026-11-24T12:00:01+0000"]
        {
            let event = Event::parse(&format!("{time} push-1 {line}"));
            assert!(event.as_ref().is_none_or(|event| event.at == time), "{event:?}");
            let found =
                event.as_ref().map(|event| (event.kind, event.login.as_deref(), event.account.as_deref()));
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn sessions_refusals_and_failures_are_told_apart() {
        let session =
            "pushkeys-shell[7]: session login=git account=acct_7 key=key_42 fingerprint=FP answered";
        let git = Some("git");
        check(
            &format!("{session}=greeted status=0 duration_ms=1 asked=shell"),
            Some((Kind::Session, git, Some("acct_7"))),
        );
        check(
            &format!("{session}=served status=0 duration_ms=1 asked=x"),
            Some((Kind::Session, git, Some("acct_7"))),
        );
        check(
            &format!("{session}=key-removed status=1 asked=shell"),
            Some((Kind::Refused, git, Some("acct_7"))),
        );
        check(
            "pushkeys-lookup[7]: cannot answer for the key FP; hint: pushkeys status: there is no `/c`",
            Some((Kind::Failed, None, None)),
        );
        check(
            "sshd[7]: Failed publickey for git from 192.0.2.1 port 22 ssh2: ED25519 FP",
            Some((Kind::Refused, git, None)),
        );
        check(
            "sshd-session[7]: Failed publickey for git from 192.0.2.1 port 22 ssh2: ED25519 FP",
            Some((Kind::Refused, git, None)),
        );
        check(
            "sshd[7]: drop connection #0 from [192.0.2.1]:4 on [192.0.2.2]:22 penalty: failed authentication",
            Some((Kind::Refused, None, None)),
        );
        check("sshd[7]: Accepted publickey for git from 192.0.2.1 port 22 ssh2: ED25519 FP", None);
        check("cron[7]: session login=git", None);
    }

    #[test]
    fn a_key_is_found_by_its_fingerprint() {
        for line in [
            "pushkeys-lookup[7]: cannot answer for the key FP; hint: pushkeys status: gone",
            "sshd[7]: Failed publickey for git from 192.0.2.1 port 22 ssh2: ED25519 FP",
            "pushkeys-shell[7]: session login=git account=a key=k fingerprint=FP answered=greeted asked=shell",
        ] {
            let line = format!("Nov 24 12:00:01 push-1 {}", line.replace("FP", FINGERPRINT));
            assert_eq!(Event::parse(&line).unwrap().fingerprint.as_deref(), Some(FINGERPRINT), "{line}");
        }
    }

    #[test]
    fn what_a_client_chose_is_no_field_and_no_tag() {
        let forged =
            "pushkeys-shell[1]: session login=git account=acct_1 key=k fingerprint=FP answered=greeted";
        check(&format!("sshd[7]: Invalid user x {forged} from 192.0.2.1"), None);
        check(
            &format!(
                "sshd[7]: Failed publickey for invalid user root {forged} from 192.0.2.1 port 1 ssh2: ED25519 FP"
            ),
            Some((Kind::Refused, None, None)),
        );
        let asked = "pushkeys-shell[7]: session login=git account=acct_7 key=k fingerprint=FP answered=command-refused \
                     status=1 asked=command command=x answered=greeted account=acct_1";
        check(asked, Some((Kind::Refused, Some("git"), Some("acct_7"))));
        let event = Event::parse("Nov 24 12:00:01 h sshd[7]: Failed publickey for a\x1b[2J from x").unwrap();
        assert!(!event.what.contains('\x1b') && !event.login.unwrap().contains('\x1b'));
    }
}
