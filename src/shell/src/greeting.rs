//! What `ssh git@host` shows.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use pushkeys_cache::Entry;
use pushkeys_keys::Login;

/// An expiry that is so near is told as something to act on.
const EXPIRY_NEAR: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The greeting, at `now`, of whoever holds the key of `entry`, and how to push as `login` if this host serves git. Names are
/// safe to show because they are [`pushkeys_keys::Name`]s.
pub(crate) fn greeting(entry: &Entry, login: &Login, serves_git: bool, now: Timestamp) -> String {
    let account = entry.account_name.as_ref().map_or(entry.account.as_str(), |name| name.as_str());
    let key = entry.key_name.as_ref().map_or(entry.key_id.as_str(), |name| name.as_str());
    let mut rows = vec![
        ("account", with_id(account, entry.account.as_str())),
        ("key", with_id(key, entry.key_id.as_str())),
        ("fingerprint", entry.fingerprint.to_string()),
    ];
    let expires_at = entry.expires_at().ok().flatten();
    if let Some(expires_at) = expires_at {
        rows.push(("expires", expires_at.to_string()));
    }
    let mut text = format!("Hello {account}, your key works.\n\n");
    for (what, value) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {what:<13}{value}");
    }
    if let Some(left) = expires_at.map(|at| at.duration_since(now)).filter(|left| *left <= EXPIRY_NEAR) {
        let _ = write!(
            text,
            "\nThis key expires {}: add a new one at the key service before that.\n",
            soon(left)
        );
    }
    if serves_git {
        // The name by which the client knows this host is not known here.
        let _ = write!(text, "\nTo push: git push {login}@HOST:app.git main\n");
    }
    text.push_str("\nThere is no shell here, so the connection ends now.\n");
    text
}

/// How soon something is that is at most some days away.
fn soon(left: SignedDuration) -> String {
    match left.as_hours() {
        ..1 => "within the hour".to_owned(),
        1..48 => format!("in {} h", left.as_hours()),
        hours => format!("in {} days", hours / 24),
    }
}

fn with_id(name: &str, id: &str) -> String {
    if name == id { name.to_owned() } else { format!("{name} ({id})") }
}

#[cfg(test)]
mod tests {
    use pushkeys_keys::{Fingerprint, Name};

    use super::*;

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    fn entry() -> Entry {
        Entry {
            fingerprint: Fingerprint::of(b"ana"),
            logins: vec!["git".parse().unwrap()],
            account: "acct_7".parse().unwrap(),
            key_id: "key_42".parse().unwrap(),
            account_name: Name::parse("ana").ok(),
            key_name: Name::parse("work \"laptop\" 🔑").ok(),
            line: "restrict,command=\"/x\",expiry-time=\"20270131120000Z\" ssh-ed25519 AAAA".parse().unwrap(),
        }
    }

    #[test]
    fn a_greeting_names_account_key_fingerprint_and_expiry() {
        let expected = "\
Hello ana, your key works.

  account      ana (acct_7)
  key          work \"laptop\" 🔑 (key_42)
  fingerprint  SHA256:JNS5b1jabUqFEjE7vQKijr8MqV3sbkyG73jOfwHniKw
  expires      2027-01-31T12:00:00Z

To push: git push git@HOST:app.git main

There is no shell here, so the connection ends now.
";
        assert_eq!(greeting(&entry(), &"git".parse().unwrap(), true, at("2027-01-01T12:00:00Z")), expected);
    }

    #[test]
    fn an_expiry_that_is_near_is_told_as_something_to_act_on() {
        let check = |now: &str, expected: Option<&str>| {
            let text = greeting(&entry(), &"git".parse().unwrap(), true, at(now));
            let told = text.lines().find_map(|line| line.strip_prefix("This key expires "));
            let rest = ": add a new one at the key service before that.";
            assert_eq!(told.map(|told| told.strip_suffix(rest).unwrap()), expected, "{now}");
        };
        check("2027-01-17T11:59:59Z", None);
        check("2027-01-17T12:00:00Z", Some("in 14 days"));
        check("2027-01-29T12:00:00Z", Some("in 2 days"));
        check("2027-01-29T12:00:01Z", Some("in 47 h"));
        check("2027-01-31T11:00:00Z", Some("in 1 h"));
        check("2027-01-31T11:00:01Z", Some("within the hour"));
    }

    #[test]
    fn nobody_is_told_to_push_where_git_is_not_served() {
        let text = greeting(&entry(), &"git".parse().unwrap(), false, at("2027-01-01T12:00:00Z"));
        assert!(text.contains("There is no shell here") && !text.contains("push"), "{text}");
    }

    #[test]
    fn without_names_the_ids_stand_for_them() {
        let line = "restrict,command=\"/x\" ssh-ed25519 AAAA".parse().unwrap();
        let nameless = Entry { account_name: None, key_name: None, line, ..entry() };
        let text = greeting(&nameless, &"git".parse().unwrap(), false, at("2027-01-01T12:00:00Z"));
        assert!(
            text.starts_with(
                "Hello acct_7, your key works.\n\n  account      acct_7\n  key          key_42\n"
            )
        );
        assert!(!text.contains("expires"));
    }
}
