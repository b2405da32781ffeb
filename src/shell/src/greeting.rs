//! The greeting of `ssh -T git@host`.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use pushkeys_cache::Entry;

use crate::identity::Identity;
use crate::remote::RemoteHost;
use crate::repository::Root;
use crate::request::RepositoryName;
use crate::serve::repositories_of;
use crate::settings::{Create, Locate, Settings};

/// The greeting warns of an expiry within this time.
const EXPIRY_NEAR: SignedDuration = SignedDuration::from_hours(14 * 24);
/// The maximum number of repositories that are listed.
const LISTED_MAX: usize = 20;

/// The greeting at `now` for the account with the key of `entry`. `settings` is `None` on a host that serves no git.
pub(crate) struct Greeting<'a> {
    pub(crate) entry: &'a Entry,
    pub(crate) identity: &'a Identity,
    pub(crate) remote: &'a RemoteHost,
    pub(crate) settings: Option<&'a Settings>,
    pub(crate) now: Timestamp,
}

/// Names are safe to show, since they were validated before they were written to the cache.
impl fmt::Display for Greeting<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entry, identity, now, .. } = self;
        let mut rows = vec![
            ("account", identity.account_with_id()),
            ("key", identity.key_with_id()),
            ("fingerprint", entry.fingerprint.to_string()),
        ];
        let expires_at = entry.expires_at().ok().flatten();
        if let Some(expires_at) = expires_at {
            rows.push(("expires", expires_at.to_string()));
        }
        write!(out, "Hello {}, your key works.\n\n", identity.account())?;
        for (what, value) in rows {
            writeln!(out, "  {what:<13}{value}")?;
        }
        if let Some(left) = expires_at.map(|expiry| expiry.after(*now)).filter(|left| *left <= EXPIRY_NEAR) {
            write!(
                out,
                "\nThis key expires {}: add a new one at the key service before that.\n",
                soon(left)
            )?;
        }
        if let Some(settings) = self.settings {
            self.write_repositories(settings, out)?;
        }
        out.write_str("\nThere is no shell here, so the connection ends now.\n")
    }
}

impl Greeting<'_> {
    fn write_repositories(&self, settings: &Settings, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = |repository: &str| self.remote.url(&self.identity.login, repository);
        let repositories = self.repositories(settings);
        if !repositories.is_empty() {
            let count = repositories.len();
            writeln!(out, "\nYour repositories on this host:\n")?;
            for repository in repositories.iter().take(LISTED_MAX) {
                writeln!(out, "  {}", url(repository.as_str()))?;
            }
            if count > LISTED_MAX {
                writeln!(out, "  and more")?;
            }
        }
        let what = match (&settings.locate, settings.create) {
            (_, Create::FirstPush) if !repositories.is_empty() => "A first push creates another",
            (_, Create::FirstPush) | (Locate::Program { .. }, Create::Never) => "To push",
            (Locate::Template(_), Create::Never) => return Ok(()),
        };
        writeln!(out, "\n{what}: git push {} main", url("app"))
    }

    /// The account's repositories, at most one more than are listed.
    fn repositories(&self, settings: &Settings) -> Vec<RepositoryName> {
        let Ok(root) = Root::open(&settings.root) else { return Vec::new() };
        repositories_of(&root, settings, &self.identity.account, LISTED_MAX + 1)
    }
}

/// The time left, as text.
fn soon(left: SignedDuration) -> String {
    match left.as_hours() {
        ..1 => "within the hour".to_owned(),
        1..48 => format!("in {} h", left.as_hours()),
        hours => format!("in {} days", hours / 24),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use pushkeys_keys::{Fingerprint, Name};

    use super::*;
    use crate::arguments::Arguments;

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

    /// The greeting on a host whose settings are `settings` after the root, if it serves git.
    fn greeting(entry: &Entry, settings: Option<&str>, now: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        for name in ["acct_7/app.git", "acct_7/team/site.git", "acct_8/secret.git"] {
            fs::create_dir_all(root.join(name)).unwrap();
            fs::write(root.join(name).join("HEAD"), "").unwrap();
        }
        let file = folder.path().join("shell.toml");
        let settings = settings.map(|settings| {
            fs::write(&file, format!("root = \"{}\"\n{settings}", root.display())).unwrap();
            Settings::read(&file).unwrap()
        });
        let arguments = Arguments {
            account: entry.account.clone(),
            key_id: entry.key_id.clone(),
            fingerprint: entry.fingerprint,
            cache: PathBuf::new(),
            settings: file,
        };
        let identity = Identity::new(&arguments, &"git".parse().unwrap(), None).named(entry);
        let remote = RemoteHost::new(Some(&"push.example.com".parse().unwrap()), None);
        let now = now.parse().unwrap();
        Greeting { entry, identity: &identity, remote: &remote, settings: settings.as_ref(), now }.to_string()
    }

    #[test]
    fn a_greeting_names_account_key_fingerprint_expiry_and_repositories() {
        let expected = "\
Hello ana, your key works.

  account      ana (acct_7)
  key          work \"laptop\" 🔑 (key_42)
  fingerprint  SHA256:JNS5b1jabUqFEjE7vQKijr8MqV3sbkyG73jOfwHniKw
  expires      2027-01-31T12:00:00Z

Your repositories on this host:

  git@push.example.com:app.git
  git@push.example.com:team/site.git

A first push creates another: git push git@push.example.com:app.git main

There is no shell here, so the connection ends now.
";
        assert_eq!(greeting(&entry(), Some("create = \"first-push\""), "2027-01-01T12:00:00Z"), expected);
    }

    #[test]
    fn a_push_is_suggested_where_it_is_possible() {
        let check = |settings: &str, account: &str, expected: Option<&str>| {
            let entry = Entry { account: account.parse().unwrap(), ..entry() };
            let text = greeting(&entry, Some(settings), "2027-01-01T12:00:00Z");
            assert_eq!(text.lines().find(|line| line.contains("git push")), expected, "{text}");
            assert!(!text.contains("secret"), "{text}");
        };
        let push = "To push: git push git@push.example.com:app.git main";
        check("create = \"first-push\"", "acct_9", Some(push));
        check("", "acct_9", None);
        check("", "acct_7", None);
        check("authorize = \"/bin/false\"", "acct_7", Some(push));
    }

    #[test]
    fn the_greeting_warns_of_an_expiry_that_is_near() {
        let check = |now: &str, expected: Option<&str>| {
            let text = greeting(&entry(), None, now);
            let warned = text.lines().find_map(|line| line.strip_prefix("This key expires "));
            let rest = ": add a new one at the key service before that.";
            assert_eq!(warned.map(|text| text.strip_suffix(rest).unwrap()), expected, "{now}");
        };
        check("2027-01-17T11:59:59Z", None);
        check("2027-01-17T12:00:00Z", Some("in 14 days"));
        check("2027-01-29T12:00:00Z", Some("in 2 days"));
        check("2027-01-29T12:00:01Z", Some("in 47 h"));
        check("2027-01-31T11:00:00Z", Some("in 1 h"));
        check("2027-01-31T11:00:01Z", Some("within the hour"));
    }

    #[test]
    fn a_push_is_not_suggested_where_git_is_not_served() {
        let text = greeting(&entry(), None, "2027-01-01T12:00:00Z");
        assert!(text.contains("There is no shell here") && !text.contains("push"), "{text}");
    }

    #[test]
    fn ids_replace_missing_names() {
        let line = "restrict,command=\"/x\" ssh-ed25519 AAAA".parse().unwrap();
        let nameless = Entry { account_name: None, key_name: None, line, ..entry() };
        let text = greeting(&nameless, None, "2027-01-01T12:00:00Z");
        assert!(
            text.starts_with(
                "Hello acct_7, your key works.\n\n  account      acct_7\n  key          key_42\n"
            )
        );
        assert!(!text.contains("expires"));
    }
}
