//! A cache, and the program that looks at it.

use std::path::{Path, PathBuf};
use std::process::Command;

use pushkeys_cache::{Entry, Stamps, Writer};
use pushkeys_keys::{CommandTemplate, Fingerprint, Name, Policy, SourceName, ValidKey};

pub(crate) const ANA: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA1eqRm75Cn6V7qPQDeMAkRqexxT/MhuRsCwnzJoA66k";
pub(crate) const BEN: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAID17RZdCZryGPnnbvX9+dJEtTPPb8vhANizEKaLnNBhN";
pub(crate) const CY: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBFpyfw/BORzAyKqBnEfutRkOJgwfI31j+krB3lX9qQQihKkgNrGHa3q+4aK4R34o2v4SvTSmTmLAsSywum/mYqo=";
pub(crate) const UNKNOWN: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMOB+ymjP+LdYACnnmQSw8yC1RznD6Tvp1yEhUDXBMsj";

pub(crate) const SYNCED_AT: &str = "2026-11-23T16:54:00Z";

/// A push host's cache in a folder of its own.
pub(crate) struct Host {
    folder: tempfile::TempDir,
}

/// What the program printed. The cache's folder is `[cache]` in it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) fn fingerprint_of(key: &str) -> Fingerprint {
    ValidKey::check(key, &Policy::default()).unwrap().fingerprint()
}

/// The registration of `key` for the login `git`, rendered as syncd does it.
pub(crate) fn entry(key: &str, account: &str, key_id: &str) -> Entry {
    expiring_entry(key, account, key_id, None)
}

pub(crate) fn expiring_entry(key: &str, account: &str, key_id: &str, expires_at: Option<&str>) -> Entry {
    let template =
        "/usr/libexec/pushkeys/pushkeys-shell --account {account} --key {key_id} --fingerprint {fingerprint}";
    let template: CommandTemplate = template.parse().unwrap();
    let key = ValidKey::check(key, &Policy::default()).unwrap();
    let (account, key_id) = (account.parse().unwrap(), key_id.parse().unwrap());
    let expiry = expires_at.map(|time| time.parse().unwrap());
    Entry {
        fingerprint: key.fingerprint(),
        logins: vec!["git".parse().unwrap()],
        line: template.render(&key, &account, &key_id, expiry).unwrap(),
        account,
        key_id,
        account_name: None,
        key_name: None,
    }
}

/// The same entry with names for people.
pub(crate) fn named(entry: Entry, account: &str, key: &str) -> Entry {
    Entry { account_name: Name::parse(account).ok(), key_name: Name::parse(key).ok(), ..entry }
}

impl Host {
    /// A host without a cache.
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A host with what most tests need: three keys from `api`, of which one has expired, and one from `local`.
    pub(crate) fn with_keys() -> Self {
        let host = Self::new();
        let ana = named(entry(ANA, "acct_1", "key_1"), "ana", "work laptop");
        let ben = named(expiring_entry(BEN, "acct_2", "key_2", Some("2020-01-31T12:00:00Z")), "ben", "🔑 \\");
        host.put("api", [ana, ben]);
        let cy = Entry {
            logins: vec!["git".parse().unwrap(), "deploy".parse().unwrap()],
            ..entry(CY, "ops", "cy")
        };
        host.put("local", [cy]);
        host
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// The one file that holds the few keys of a source.
    pub(crate) fn shard(&self, source: &str) -> PathBuf {
        self.cache().join(source).join("g1/0")
    }

    pub(crate) fn writer(&self, source: &str) -> Writer {
        let source: SourceName = source.parse().unwrap();
        Writer::open(&self.cache(), &source).unwrap()
    }

    /// Puts `entries` in force, without a limit of validity.
    pub(crate) fn put(&self, source: &str, entries: impl IntoIterator<Item = Entry>) {
        self.put_until(source, entries, None);
    }

    pub(crate) fn put_until(
        &self,
        source: &str,
        entries: impl IntoIterator<Item = Entry>,
        valid_until: Option<&str>,
    ) {
        let mut entries: Vec<Entry> = entries.into_iter().collect();
        entries.sort_unstable_by_key(|entry| entry.fingerprint);
        let mut writer = self.writer(source);
        let mut next = writer.begin().unwrap();
        for entry in entries {
            next.push(entry).unwrap();
        }
        let valid_until = valid_until.map(|time| time.parse().unwrap());
        let stamps = Stamps { synced_at: SYNCED_AT.parse().unwrap(), valid_until };
        writer.commit(next.finish().unwrap(), Some("b1946ac9-4711"), stamps).unwrap();
    }

    /// The program with `arguments`, ready to start.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pushkeys"));
        command.arg("--cache").arg(self.cache()).args(arguments);
        command.env_remove("COLUMNS").env_remove("CLICOLOR_FORCE").stdin(std::process::Stdio::null());
        command
    }

    pub(crate) fn pushkeys(&self, arguments: &[&str]) -> Answer {
        self.answer_of(self.command(arguments))
    }

    pub(crate) fn answer_of(&self, mut command: Command) -> Answer {
        let output = command.output().unwrap();
        let text = |bytes| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(self.cache().to_str().unwrap(), "[cache]")
        };
        Answer { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Replaces `from` in the file at `path`, where it must be.
#[track_caller]
pub(crate) fn spoil(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

impl Answer {
    /// Checks the exit status, and that nothing was said on stderr.
    #[track_caller]
    pub(crate) fn is(self, status: i32) -> String {
        assert_eq!((self.status, self.stderr.as_str()), (Some(status), ""), "{}", self.stdout);
        self.stdout
    }
}
