//! What `ssh git@host` shows.

use std::fmt::Write as _;

use cache::Entry;
use keys::Login;

/// The greeting of whoever holds the key of `entry`, and how to push as `login` if this host serves git. Names are
/// safe to show because they are [`keys::Name`]s.
pub(crate) fn greeting(entry: &Entry, login: &Login, serves_git: bool) -> String {
    let account = entry.account_name.as_ref().map_or(entry.account.as_str(), |name| name.as_str());
    let key = entry.key_name.as_ref().map_or(entry.key_id.as_str(), |name| name.as_str());
    let mut rows = vec![
        ("account", with_id(account, entry.account.as_str())),
        ("key", with_id(key, entry.key_id.as_str())),
        ("fingerprint", entry.fingerprint.to_string()),
    ];
    if let Ok(Some(expires_at)) = entry.expires_at() {
        rows.push(("expires", expires_at.to_string()));
    }
    let mut text = format!("Hello {account}, your key works.\n\n");
    for (what, value) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {what:<13}{value}");
    }
    if serves_git {
        // The name by which the client knows this host is not known here.
        let _ = write!(text, "\nTo push: git push {login}@HOST:app.git main\n");
    }
    text.push_str("\nThere is no shell here, so the connection ends now.\n");
    text
}

fn with_id(name: &str, id: &str) -> String {
    if name == id { name.to_owned() } else { format!("{name} ({id})") }
}

#[cfg(test)]
mod tests {
    use keys::{Fingerprint, Name};

    use super::*;

    fn entry() -> Entry {
        Entry {
            fingerprint: Fingerprint::of(b"ana"),
            logins: vec!["git".parse().unwrap()],
            account: "acct_7".parse().unwrap(),
            key_id: "key_42".parse().unwrap(),
            account_name: Name::nearest("ana"),
            key_name: Name::nearest("work \"laptop\" 🔑"),
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
        assert_eq!(greeting(&entry(), &"git".parse().unwrap(), true), expected);
    }

    #[test]
    fn nobody_is_told_to_push_where_git_is_not_served() {
        let text = greeting(&entry(), &"git".parse().unwrap(), false);
        assert!(text.contains("There is no shell here") && !text.contains("push"), "{text}");
    }

    #[test]
    fn without_names_the_ids_stand_for_them() {
        let line = "restrict,command=\"/x\" ssh-ed25519 AAAA".parse().unwrap();
        let nameless = Entry { account_name: None, key_name: None, line, ..entry() };
        let text = greeting(&nameless, &"git".parse().unwrap(), false);
        assert!(
            text.starts_with(
                "Hello acct_7, your key works.\n\n  account      acct_7\n  key          key_42\n"
            )
        );
        assert!(!text.contains("expires"));
    }
}
