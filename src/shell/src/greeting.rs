//! What `ssh git@host` shows.

use std::fmt::Write as _;

use cache::Entry;

/// The greeting of whoever holds the key of `entry`. Names are safe to show because they are [`keys::Name`]s.
pub(crate) fn greeting(entry: &Entry) -> String {
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

There is no shell here, so the connection ends now.
";
        assert_eq!(greeting(&entry()), expected);
    }

    #[test]
    fn without_names_the_ids_stand_for_them() {
        let line = "restrict,command=\"/x\" ssh-ed25519 AAAA".parse().unwrap();
        let text = greeting(&Entry { account_name: None, key_name: None, line, ..entry() });
        assert!(
            text.starts_with(
                "Hello acct_7, your key works.\n\n  account      acct_7\n  key          key_42\n"
            )
        );
        assert!(!text.contains("expires"));
    }
}
