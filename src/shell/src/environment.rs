//! The environment of what a session starts, built from nothing.
//!
//! What sshd passed on to this process, client's wishes among it, ends here, but for a protocol version that is one.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::process::Command;

use pushkeys_cache::Entry;

use crate::arguments::Arguments;
use crate::request::{Access, GitCommand};
use crate::settings::{Deploy, Settings};

/// Where git and what an operator's program calls are looked for.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// No configuration of git's is at home here.
const HOME: &str = "/nonexistent";

/// The longest list of protocol parameters: git's own clients send one.
const PROTOCOL_BYTES_MAX: usize = 64;

/// Gives `command` an environment in which nothing of this process's is left.
pub(crate) fn clear(command: &mut Command) {
    command.env_clear().env("PATH", PATH).env("HOME", HOME);
}

/// Gives `process` the environment of git for `command` of `entry`'s holder, who asked for `protocol`.
pub(crate) fn set_for_git(
    process: &mut Command,
    settings: &Settings,
    arguments: &Arguments,
    entry: &Entry,
    command: &GitCommand,
    protocol: Option<&OsStr>,
) {
    clear(process);
    process
        .env("PUSHKEYS_ACCOUNT", arguments.account.as_str())
        .env("PUSHKEYS_KEY_ID", arguments.key_id.as_str())
        .env("PUSHKEYS_FINGERPRINT", arguments.fingerprint.to_string())
        .env("PUSHKEYS_REPOSITORY", command.repository.as_str());
    if let Some(protocol) = protocol.filter(|protocol| is_protocol(protocol)) {
        process.env("GIT_PROTOCOL", protocol);
    }
    let deploy = settings.deploy.as_ref().filter(|_| command.service.access() == Access::Write);
    if let Some(deploy) = deploy {
        process.env("PUSHKEYS_DEPLOY", &deploy.program).env("PUSHKEYS_SESSION", session(entry, command));
    }
    configure(process, settings, deploy);
}

/// Settings of git's own, which count before those of `/etc/gitconfig` and of the repository.
fn configure(process: &mut Command, settings: &Settings, deploy: Option<&Deploy>) {
    let mut pairs: Vec<(&str, &OsStr)> = vec![
        // Whose repository it is was decided by path; who owns the files does not matter any more.
        ("safe.directory", OsStr::new("*")),
        ("uploadpack.allowFilter", OsStr::new("true")),
        // A partial clone fetches what it lacks by id. Protocol 2 serves every object of the repository, advertised or not;
        // clients that cannot send GIT_PROTOCOL (plink, dropbear, many graphical ones) speak protocol 0, and get the same.
        ("uploadpack.allowAnySHA1InWant", OsStr::new("true")),
        // Housekeeping after a push stays in the session, so that nothing outlives it.
        ("gc.autoDetach", OsStr::new("false")),
        ("maintenance.autoDetach", OsStr::new("false")),
    ];
    if settings.fsck {
        pairs.push(("receive.fsckObjects", OsStr::new("true")));
    }
    if settings.push_options {
        pairs.push(("receive.advertisePushOptions", OsStr::new("true")));
    }
    if let Some(deploy) = deploy {
        pairs.push(("core.hooksPath", deploy.hooks.as_os_str()));
    }
    process.env("GIT_CONFIG_COUNT", pairs.len().to_string());
    for (number, (key, value)) in pairs.into_iter().enumerate() {
        process.env(format!("GIT_CONFIG_KEY_{number}"), key).env(format!("GIT_CONFIG_VALUE_{number}"), value);
    }
}

/// Whether `text` is `version=N`, once or several times with colons between (git(1), `GIT_PROTOCOL`).
fn is_protocol(text: &OsStr) -> bool {
    let Some(text) = text.to_str().filter(|text| text.len() <= PROTOCOL_BYTES_MAX) else { return false };
    text.split(':').all(|parameter| {
        let version = parameter.strip_prefix("version=").map(str::as_bytes);
        matches!(version, Some([digit]) if digit.is_ascii_digit())
    })
}

/// Who pushes to what, in one line of JSON: the first line of the operator's program's input.
///
/// It is the only variable with text of a user's in it. The hook that is shipped writes it out and does nothing else
/// with it.
fn session(entry: &Entry, command: &GitCommand) -> String {
    let name = |name: &Option<pushkeys_keys::Name>| name.as_ref().map(|name| name.as_str().to_owned());
    let fields = [
        ("account", Some(entry.account.to_string())),
        ("account_name", name(&entry.account_name)),
        ("key_id", Some(entry.key_id.to_string())),
        ("key_name", name(&entry.key_name)),
        ("fingerprint", Some(entry.fingerprint.to_string())),
        ("repository", Some(command.repository.to_string())),
    ];
    let mut json = String::from("{");
    for (field, value) in fields {
        let Some(value) = value else { continue };
        if json.len() > 1 {
            json.push(',');
        }
        let _ = write!(json, "\"{field}\":\"");
        push_escaped(&mut json, &value);
        json.push('"');
    }
    json.push('}');
    json
}

/// Appends `text` as it stands inside a JSON string (RFC 8259 section 7).
fn push_escaped(json: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\0'..='\x1f' => {
                // Writing to a String cannot fail.
                let _ = write!(json, "\\u{:04x}", u32::from(character));
            }
            _ => json.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use pushkeys_keys::{Fingerprint, Name};

    use super::*;

    #[test]
    fn only_a_protocol_version_passes() {
        let check = |text: &str, expected: bool| {
            assert_eq!(is_protocol(OsStr::new(text)), expected, "{text:?}");
        };
        check("version=2", true);
        check("version=1:version=2", true);
        for text in [
            "",
            "version=",
            "version=22",
            "version=a",
            "version=2:",
            "Version=2",
            "version=2\n",
            "version=2 ",
            "x:version=2",
            "$(id)",
        ] {
            check(text, false);
        }
        check(&["version=2"; 7].join(":"), false);
        assert!(!is_protocol(std::os::unix::ffi::OsStrExt::from_bytes(b"version=\xff")));
    }

    #[test]
    fn a_session_is_one_line_of_json_whatever_the_names_are() {
        let mut entry = Entry {
            fingerprint: Fingerprint::of(b"ana"),
            logins: vec!["git".parse().unwrap()],
            account: "acct_7".parse().unwrap(),
            key_id: "key_42".parse().unwrap(),
            account_name: None,
            key_name: Name::parse("my \"key\" \\ 🔑").ok(),
            line: "restrict,command=\"/x\" ssh-ed25519 AAAA".parse().unwrap(),
        };
        let command = GitCommand::parse(b"git-receive-pack 'team/app.git'").unwrap().unwrap();
        let rest = "\"fingerprint\":\"SHA256:JNS5b1jabUqFEjE7vQKijr8MqV3sbkyG73jOfwHniKw\",\"repository\":\"team/app\"}";
        let expected = format!(
            "{{\"account\":\"acct_7\",\"key_id\":\"key_42\",\"key_name\":\"my \\\"key\\\" \\\\ 🔑\",{rest}"
        );
        assert_eq!(session(&entry, &command), expected);
        entry.key_name = None;
        entry.account_name = Name::parse("ana").ok();
        let expected =
            format!("{{\"account\":\"acct_7\",\"account_name\":\"ana\",\"key_id\":\"key_42\",{rest}");
        assert_eq!(session(&entry, &command), expected);
        let mut json = String::new();
        push_escaped(&mut json, "\n\0\"");
        assert_eq!(json, "\\u000a\\u0000\\\"");
    }
}
