//! One session: who asks for what, and what comes of it.

use jiff::Timestamp;
use keys::Login;

use crate::arguments::Arguments;
use crate::greeting::greeting;
use crate::registration::{self, Refusal};
use crate::request::Request;

/// Who asks for what.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) arguments: Arguments,
    pub(crate) login: Login,
    pub(crate) request: Request,
}

impl Session {
    /// The greeting, or why there is none. The key is checked before the request is looked at.
    pub(crate) fn answer(&self, now: Timestamp) -> Result<String, Refusal> {
        let entry = registration::check(&self.arguments, &self.login, now)?;
        match &self.request {
            Request::Shell => Ok(greeting(&entry)),
            Request::Command(command) => Err(Refusal::Command(command.clone())),
        }
    }

    /// The session in one line of `key=value` pairs.
    ///
    /// What the client asked for stands last and runs to the end of the line, so that no bytes of a client's can pass for another
    /// pair. The log escapes what is not printable.
    pub(crate) fn log_line(&self, answer: &Result<String, Refusal>) -> String {
        let Arguments { account, key_id, fingerprint, .. } = &self.arguments;
        let answered = match answer {
            Ok(_) => "greeted".to_owned(),
            Err(Refusal::CannotAnswer(why)) => format!("cannot-answer why=\"{}\"", authlog::chain(why)),
            Err(refusal) => refusal.word().to_owned(),
        };
        let asked = match &self.request {
            Request::Shell => "shell".to_owned(),
            Request::Command(command) => format!("command command={command}"),
        };
        let login = &self.login;
        format!(
            "session login={login} account={account} key={key_id} fingerprint={fingerprint} answered={answered} asked={asked}"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cache::{Entry, Stamps, Writer};
    use keys::{AuthorizedKeysLine, Fingerprint};

    use super::*;

    const NOW: i64 = 1_800_000_000;

    /// A cache in which the account `acct_7` has one key, `changed` somehow.
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
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(&folder.path().join("cache"), &"api".parse().unwrap()).unwrap();
        let mut next = writer.begin().unwrap();
        entries.into_iter().for_each(|entry| next.push(entry).unwrap());
        let stamps = Stamps { synced_at: at(NOW - 10), valid_until: Some(at(NOW + 10)) };
        writer.commit(next.finish().unwrap(), None, stamps).unwrap();
        Host { folder }
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
            },
            login: "git".parse().unwrap(),
            request: Request::of(command.map(Into::into)),
        }
    }

    impl Host {
        fn session(&self, command: Option<&str>) -> Session {
            session(&self.folder.path().join("cache"), command)
        }

        #[track_caller]
        fn check(&self, now: i64, expected: &str) {
            let answer = self.session(None).answer(at(now));
            assert_eq!(answer.map_or_else(|refusal| refusal.word(), |_| "greeted"), expected);
        }
    }

    #[test]
    fn c16_a_session_ends_unless_its_key_is_registered_as_it_was() {
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
    fn a_host_that_cannot_answer_never_says_that_a_key_is_gone() {
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
    fn commands_and_subsystems_are_refused() {
        let host = host([registered()]);
        for command in
            ["id", "sftp", "scp -t .", "git-receive-pack 'x'", "git-upload-pack '../x'", "-c", "\n"]
        {
            let refusal = host.session(Some(command)).answer(at(NOW)).unwrap_err();
            assert_eq!(refusal.word(), "command-refused", "{command:?}");
        }
        assert!(host.session(Some("")).answer(at(NOW)).is_ok());
    }

    #[test]
    fn a_removed_key_is_told_before_its_command_is_looked_at() {
        let refusal = host([]).session(Some("id")).answer(at(NOW)).unwrap_err();
        assert_eq!(refusal.word(), "key-removed");
    }

    #[test]
    fn a_refused_command_is_shown_without_its_control_characters() {
        let refusal = host([registered()]).session(Some("a\x1b[2J\n\u{202e}b")).answer(at(NOW)).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "`a\\u{1b}[2J\\n\\u{202e}b` is refused: there is no shell here, and no command is served\n\
             hint: connect without a command to see whose key this is"
        );
    }

    #[test]
    fn every_session_is_one_line_of_the_log() {
        let fingerprint = Fingerprint::of(b"ana");
        let begin =
            format!("session login=git account=acct_7 key=key_42 fingerprint={fingerprint} answered=");
        let host = host([registered()]);
        let check = |command, now, expected: &str| {
            let session = host.session(command);
            assert_eq!(session.log_line(&session.answer(at(now))), format!("{begin}{expected}"));
        };
        check(None, NOW, "greeted asked=shell");
        let forged = "id answered=greeted";
        check(Some(forged), NOW, "command-refused asked=command command=id answered=greeted");
        check(
            None,
            NOW + 10,
            "cannot-answer why=\"source `api` was last in step at 2027-01-15T07:59:50Z and was good until \
             2027-01-15T08:00:10Z\" asked=shell",
        );
    }
}
