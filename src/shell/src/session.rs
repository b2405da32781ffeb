//! One session: the request and its outcome.

use std::ffi::OsString;
use std::time::Duration;

use jiff::Timestamp;
use pushkeys_cache::Entry;
use pushkeys_keys::{ErrorReport, Login};

use crate::arguments::Arguments;
use crate::greeting::Greeting;
use crate::identity::{Identity, quoted};
use crate::refusal::Refusal;
use crate::registration;
use crate::remote::{Connection, RemoteHost};
use crate::request::{Access, RepositoryName, Request};
use crate::serve::{GitService, LfsAnswer, RepositoryRequest, Served, serve_lfs};
use crate::settings::{Settings, SettingsError};
use crate::{usage, user_auth};

/// A session's identity and request.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) arguments: Arguments,
    pub(crate) login: Login,
    pub(crate) request: Request,
    /// Both ends of the connection, if sshd provides them.
    pub(crate) connection: Option<Connection>,
    /// The file in which sshd lists the keys that authenticated, if it exists.
    pub(crate) user_auth: Option<OsString>,
    /// `GIT_PROTOCOL` as the client sent it.
    pub(crate) protocol: Option<OsString>,
}

/// The outcome of a session.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) answer: Result<Answer, Refusal>,
    identity: Identity,
    remote: RemoteHost,
}

/// The answer to a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The greeting, which is to be printed.
    Greeting(String),
    /// A response for Git LFS, which is to be printed.
    LfsToken(String),
    /// git or another program has ended.
    Served(Served),
}

impl Session {
    /// Answers the request, or refuses it. The key is checked first.
    pub(crate) fn answer(&self, now: Timestamp) -> Outcome {
        let settings = Settings::read(&self.arguments.settings);
        let host = settings.as_ref().ok().and_then(|settings| settings.host.as_ref());
        let remote = RemoteHost::new(host, self.connection.as_ref());
        let address = self.connection.map(|connection| connection.client.to_canonical());
        let identity = Identity::new(&self.arguments, &self.login, address);
        match self.check(now) {
            Ok(entry) => {
                let identity = identity.named(&entry);
                usage::report(&self.arguments, &self.request);
                let answer = self.answer_to(&entry, &identity, &remote, settings, now);
                Outcome { answer, identity, remote }
            }
            Err(refusal) => Outcome { answer: Err(refusal), identity, remote },
        }
    }

    fn answer_to(
        &self,
        entry: &Entry,
        identity: &Identity,
        remote: &RemoteHost,
        settings: Result<Settings, SettingsError>,
        now: Timestamp,
    ) -> Result<Answer, Refusal> {
        match &self.request {
            Request::Shell => {
                let settings = settings.ok();
                let greeting = Greeting { entry, identity, remote, settings: settings.as_ref(), now };
                Ok(Answer::Greeting(greeting.to_string()))
            }
            Request::Git(command) => {
                let settings = &settings.map_err(no_settings)?;
                let (repository, access) = (&command.repository, command.service.access());
                let request = self.about(repository, access, identity, remote, settings);
                let service = GitService { service: command.service, protocol: self.protocol.as_deref() };
                service.serve(&request, || self.revoked(Timestamp::now())).map(Answer::Served)
            }
            Request::Lfs(command) => {
                let settings = &settings.map_err(no_settings)?;
                let (repository, access) = (&command.repository, command.operation.access());
                let request = self.about(repository, access, identity, remote, settings);
                match serve_lfs(command, &request, now, || self.revoked(Timestamp::now()))? {
                    LfsAnswer::Token(answer) => Ok(Answer::LfsToken(answer)),
                    LfsAnswer::Transferred(served) => Ok(Answer::Served(served)),
                }
            }
            Request::Malformed(command, why) => {
                Err(Refusal::Malformed { command: command.clone(), why: *why })
            }
            Request::Other(command) => Err(Refusal::Command(command.clone())),
        }
    }

    fn about<'a>(
        &'a self,
        repository: &'a RepositoryName,
        access: Access,
        identity: &'a Identity,
        remote: &'a RemoteHost,
        settings: &'a Settings,
    ) -> RepositoryRequest<'a> {
        RepositoryRequest { arguments: &self.arguments, identity, settings, remote, repository, access }
    }

    /// The registration of the session's key, if sshd and the cache agree at `now` that it is valid for this session.
    fn check(&self, now: Timestamp) -> Result<Entry, Refusal> {
        user_auth::check(self.user_auth.as_deref(), &self.arguments.fingerprint)
            .map_err(Refusal::OtherKey)?;
        registration::check(&self.arguments, &self.login, now)
    }

    /// Why a running session must end, if it must.
    fn revoked(&self, now: Timestamp) -> Option<Refusal> {
        registration::check(&self.arguments, &self.login, now).err().filter(Refusal::ends_session)
    }
}

impl Outcome {
    /// The log line of the session: one line of `key=value` pairs.
    ///
    /// The client's request comes last and extends to the end of the line, so that it cannot look like another pair. The log
    /// escapes control characters.
    pub(crate) fn log_line(&self, request: &Request, duration: Duration) -> String {
        let (word, status) = match &self.answer {
            Ok(Answer::Greeting(_)) => ("greeted", 0),
            Ok(Answer::LfsToken(_)) => ("served", 0),
            Ok(Answer::Served(served)) => (served.word, served.status),
            Err(refusal) => (refusal.word(), 1),
        };
        let why = self.fault().map(|why| format!(" why={}", quoted(&ErrorReport::of(why).to_string())));
        let why = why.unwrap_or_default();
        let traffic = match &self.answer {
            Ok(Answer::Served(Served { traffic: Some(traffic), .. })) => {
                format!(" read_bytes={} written_bytes={}", traffic.read_bytes, traffic.written_bytes)
            }
            _ => String::new(),
        };
        let (ids, details) = (self.identity.ids(), self.identity.details());
        let duration_ms = duration.as_millis();
        format!(
            "session {ids} answered={word}{details}{why} status={status} duration_ms={duration_ms}{traffic} \
             asked={request}"
        )
    }

    /// The message of `refusal` for this session's client.
    pub(crate) fn explain(&self, refusal: &Refusal) -> String {
        refusal.explain(&self.identity, &self.remote.greeting_command(&self.identity.login))
    }

    /// What the host's operator has to fix, if anything.
    pub(crate) fn fault(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.answer {
            Ok(Answer::Greeting(_) | Answer::LfsToken(_)) => None,
            Ok(Answer::Served(served)) => served.refusal.as_ref()?.fault(),
            Err(refusal) => refusal.fault(),
        }
    }
}

fn no_settings(error: SettingsError) -> Refusal {
    match error {
        SettingsError::Missing { .. } => Refusal::NotSetUp(error),
        error => Refusal::CannotServe(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use pushkeys_cache::{Entry, Stamps, Writer};
    use pushkeys_keys::{AuthorizedKeysLine, Fingerprint, Name};

    use super::*;

    const NOW: i64 = 1_800_000_000;

    /// A cache with the keys of the account `acct_7`.
    struct Host {
        folder: tempfile::TempDir,
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn line(options: &str) -> AuthorizedKeysLine {
        format!("restrict,command=\"/x --account acct_7\"{options} ssh-ed25519 AAAA").parse().unwrap()
    }

    fn host(entries: impl IntoIterator<Item = Entry>) -> Host {
        let host = Host { folder: tempfile::tempdir().unwrap() };
        host.write("api", entries);
        host
    }

    fn registered() -> Entry {
        Entry {
            fingerprint: Fingerprint::of(b"ana"),
            logins: vec!["git".parse().unwrap()],
            account: "acct_7".parse().unwrap(),
            key_id: "key_42".parse().unwrap(),
            account_name: None,
            key_name: None,
            line: line(""),
        }
    }

    fn session(cache: &Path, command: Option<&str>) -> Session {
        Session {
            arguments: Arguments {
                account: "acct_7".parse().unwrap(),
                key_id: "key_42".parse().unwrap(),
                fingerprint: Fingerprint::of(b"ana"),
                cache: cache.to_owned(),
                settings: "/nonexistent/shell.toml".into(),
            },
            login: "git".parse().unwrap(),
            request: Request::of(command.map(Into::into)),
            connection: Connection::parse("192.0.2.1 50022 198.51.100.7 22"),
            user_auth: None,
            protocol: None,
        }
    }

    impl Host {
        fn write(&self, source: &str, entries: impl IntoIterator<Item = Entry>) {
            let mut writer =
                Writer::open(&self.folder.path().join("cache"), &source.parse().unwrap()).unwrap();
            let mut next = writer.begin().unwrap();
            entries.into_iter().for_each(|entry| next.push(entry).unwrap());
            let stamps = Stamps { synced_at: at(NOW - 10), valid_until: Some(at(NOW + 10)) };
            writer.commit(next.finish().unwrap(), None, stamps).unwrap();
        }

        fn session(&self, command: Option<&str>) -> Session {
            session(&self.folder.path().join("cache"), command)
        }

        #[track_caller]
        fn check(&self, now: i64, expected: &str) {
            let answer = self.session(None).answer(at(now));
            assert_eq!(answer.answer.map_or_else(|refusal| refusal.word(), |_| "greeted"), expected);
        }
    }

    #[test]
    fn c16_a_session_ends_when_the_registration_of_its_key_changes() {
        let registered = registered();
        host([registered.clone()]).check(NOW, "greeted");
        host([]).check(NOW, "key-removed");
        let other = Entry { fingerprint: Fingerprint::of(b"ben"), ..registered.clone() };
        host([other]).check(NOW, "key-removed");
        let deploy = Entry { logins: vec!["deploy".parse().unwrap()], ..registered.clone() };
        host([deploy]).check(NOW, "login-removed");
        let moved = Entry { account: "acct_8".parse().unwrap(), ..registered.clone() };
        host([moved]).check(NOW, "registration-changed");
        let again = Entry { key_id: "key_43".parse().unwrap(), ..registered };
        host([again]).check(NOW, "registration-changed");
    }

    #[test]
    fn a_session_ends_when_its_key_has_expired() {
        let expiring = Entry { line: line(",expiry-time=\"20270115080003Z\""), ..registered() };
        let host = host([expiring]);
        host.check(NOW + 2, "greeted");
        host.check(NOW + 3, "key-expired");
    }

    #[test]
    fn an_unavailable_cache_is_not_reported_as_a_removed_key() {
        let good = host([registered()]);
        good.check(NOW + 9, "greeted");
        good.check(NOW + 10, "cannot-answer");
        let damaged = host([registered()]);
        std::fs::write(damaged.folder.path().join("cache/api/g1/0"), "").unwrap();
        damaged.check(NOW, "cannot-answer");
        std::fs::remove_dir_all(damaged.folder.path().join("cache")).unwrap();
        damaged.check(NOW, "cannot-answer");
    }

    #[test]
    fn a_running_session_survives_an_outage_and_not_a_removed_key() {
        let check = |host: &Host, expected: Option<&str>| {
            let revoked = host.session(None).revoked(at(NOW));
            assert_eq!(revoked.map(|refusal| refusal.word()), expected);
        };
        check(&host([registered()]), None);
        check(&host([]), Some("key-removed"));
        check(
            &host([Entry { account: "acct_8".parse().unwrap(), ..registered() }]),
            Some("registration-changed"),
        );
        check(
            &host([Entry { line: line(",expiry-time=\"20270115080000Z\""), ..registered() }]),
            Some("key-expired"),
        );
        let contested = host([registered()]);
        contested.write("local", [Entry { account: "acct_8".parse().unwrap(), ..registered() }]);
        check(&contested, Some("key-contested"));
        let stale = host([registered()]);
        assert!(stale.session(None).revoked(at(NOW + 10)).is_none());
        std::fs::remove_dir_all(stale.folder.path().join("cache")).unwrap();
        check(&stale, None);
    }

    #[test]
    fn a_session_belongs_to_the_key_that_signed() {
        let host = host([registered()]);
        let check = |signed: &str, expected: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), signed).unwrap();
            let session = Session { user_auth: Some(file.path().into()), ..host.session(None) };
            assert_eq!(
                session.answer(at(NOW)).answer.map_or_else(|refusal| refusal.word(), |_| "greeted"),
                expected
            );
        };
        check("publickey ssh-ed25519 YW5h\n", "greeted");
        check("publickey ssh-ed25519 YmVu\n", "other-key");
    }

    #[test]
    fn commands_and_subsystems_are_refused() {
        let host = host([registered()]);
        let check = |command: &str, expected: &str| {
            let refusal = host.session(Some(command)).answer(at(NOW)).answer.unwrap_err();
            assert_eq!(refusal.word(), expected, "{command:?}");
        };
        for command in ["id", "sftp", "scp -t .", "git-shell", "-c", "\n"] {
            check(command, "command-refused");
        }
        check("git-upload-pack '../x'", "command-malformed");
        check("git-upload-pack $x", "command-malformed");
        check("git-upload-pack x", "not-set-up");
        assert!(host.session(Some("")).answer(at(NOW)).answer.is_ok());
    }

    #[test]
    fn a_removed_key_is_refused_before_its_command_is_parsed() {
        let refusal = host([]).session(Some("id")).answer(at(NOW)).answer.unwrap_err();
        assert_eq!(refusal.word(), "key-removed");
    }

    #[test]
    fn a_refused_command_is_shown_without_its_control_characters() {
        let outcome = host([registered()]).session(Some("a\x1b[2J\n\u{202e}b")).answer(at(NOW));
        assert_eq!(
            outcome.explain(outcome.answer.as_ref().unwrap_err()),
            "`a\\u{1b}[2J\\n\\u{202e}b` is refused: there is no shell here, and no file transfer; this host serves \
             `git push`, `git clone` and `git fetch`\nyou are known here as acct_7, by key key_42\n\
             hint: `ssh -T git@198.51.100.7` shows whose key this is"
        );
    }

    #[test]
    fn a_refusal_names_account_and_key() {
        let named = Entry {
            account_name: Name::parse("ana").ok(),
            key_name: Name::parse("laptop").ok(),
            ..registered()
        };
        let explained = |host: &Host| {
            let outcome = host.session(Some("id")).answer(at(NOW));
            outcome.explain(outcome.answer.as_ref().unwrap_err())
        };
        let known = "\nyou are known here as ana (acct_7), by key laptop (key_42)\nhint: ";
        assert!(explained(&host([named])).contains(known));
        // The names were removed with the key.
        assert!(explained(&host([])).contains("\nyou are known here as acct_7, by key key_42\nhint: "));
    }

    #[test]
    fn every_session_is_one_log_line() {
        let fingerprint = Fingerprint::of(b"ana");
        let begin =
            format!("session login=git account=acct_7 key=key_42 fingerprint={fingerprint} answered=");
        let host = host([registered()]);
        let check = |command, now, expected: &str| {
            let session = host.session(command);
            let line = session.answer(at(now)).log_line(&session.request, Duration::from_millis(12));
            assert_eq!(line, format!("{begin}{expected}"));
        };
        check(None, NOW, "greeted address=192.0.2.1 status=0 duration_ms=12 asked=shell");
        let forged = "id answered=greeted";
        check(
            Some(forged),
            NOW,
            "command-refused address=192.0.2.1 status=1 duration_ms=12 asked=command command=id answered=greeted",
        );
        check(
            Some("git-upload-pack 'team/app.git'"),
            NOW,
            "not-set-up address=192.0.2.1 why=\"git is not set up: there is no `/nonexistent/shell.toml`; hint: install -D \
             /usr/share/doc/pushkeys/examples/shell.toml /nonexistent/shell.toml\" status=1 duration_ms=12 \
             asked=git-upload-pack repository=team/app",
        );
        check(
            None,
            NOW + 10,
            "cannot-answer address=192.0.2.1 why=\"source `api` was last in step at 2027-01-15T07:59:50Z and was good until \
             2027-01-15T08:00:10Z\" status=1 duration_ms=12 asked=shell",
        );
    }

    #[test]
    fn a_name_cannot_forge_a_log_field() {
        let forged = "x\" address=203.0.113.9 \\";
        let entry = Entry {
            account_name: Name::parse(forged).ok(),
            key_name: Name::parse("laptop").ok(),
            ..registered()
        };
        let host = host([entry]);
        let session = host.session(None);
        let line = session.answer(at(NOW)).log_line(&session.request, Duration::ZERO);
        let expected = " answered=greeted account_name=\"x\\\" address=203.0.113.9 \\\\\" key_name=\"laptop\" address=192.0.2.1 status=0";
        assert!(line.contains(expected), "{line}");
    }
}
