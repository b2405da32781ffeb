//! The settings in force for one login, as `sshd -T` prints them.
//!
//! A line is a keyword and its value. Keywords are lower case up to OpenSSH 10.3 and mixed case from 10.4 on. A keyword of several
//! values has a line for each (`HostKey`, `AcceptEnv`, `AllowUsers`), or one line for all (`AuthorizedKeysFile`, `RevokedKeys`),
//! where blanks inside a value are not told from those between two. A setting that is cleared is `none`, or has no line
//! (`RevokedKeys none`, `AuthorizedKeysFile none` from 10.4 on); a keyword that this sshd does not know has none either.

use std::path::{Path, PathBuf};
use std::process::Command;

use pushkeys_keys::Hint;
use thiserror::Error;

use crate::program::{ProgramError, run};

/// Where the client is said to come from: documentation addresses, which no `Match Address` should know.
const CLIENT: &str = "host=client.example.com,addr=192.0.2.1";
/// What every sshd prints, whatever its settings. An answer without one of them is in a format that is not known here, and
/// concluding from it that something is not set would be wrong.
const ALWAYS_PRINTED: [&str; 4] =
    ["AuthenticationMethods", "AuthorizedKeysCommand", "DisableForwarding", "PubkeyAuthentication"];
/// What sshd says where the folder is missing that its unit makes at its first start.
const NO_FOLDER: &str = "Missing privilege separation directory: ";

/// The settings in force for one login.
#[derive(Debug, Default)]
pub(crate) struct Effective(Vec<(String, String)>);

/// Why sshd's settings are not known.
#[derive(Debug, Error)]
pub(crate) enum SshdError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// `said` are the first lines of its standard error.
    #[error("`{command}` ended with {ending}: {said}")]
    Refused { command: String, ending: String, said: String, source: Hint },
    #[error("`{command}` does not print `{keyword}`, so what it prints cannot be relied on")]
    Unreadable { command: String, keyword: &'static str, source: Hint },
}

/// Whether `sshd` takes the configuration `config`, as it asks itself before it starts.
pub(crate) fn test(sshd: &Path, config: &Path) -> Result<(), SshdError> {
    ask(sshd, config, &["-t"]).map(|_| ())
}

fn ask(sshd: &Path, config: &Path, arguments: &[&str]) -> Result<(String, String), SshdError> {
    let command = format!("{} {} -f {}", sshd.display(), arguments.join(" "), config.display());
    // What it warns of, such as an option that this build does not have, says nothing about whether it succeeds.
    let finished = run(Command::new(sshd).args(arguments).arg("-f").arg(config))?;
    if !finished.status.success() {
        let said = finished.stderr.lines().take(3).collect::<Vec<_>>().join("; ");
        let hint = match said.split_once(NO_FOLDER) {
            Some((_, folder)) => {
                format!("mkdir -m 0755 {}", folder.split([';', ' ']).next().unwrap_or_default())
            }
            None => format!("{} -t -f {}", sshd.display(), config.display()),
        };
        return Err(SshdError::Refused { command, ending: finished.ending(), said, source: Hint::new(hint) });
    }
    Ok((command, finished.stdout))
}

impl Effective {
    /// Asks `sshd` for the settings that `config` leads to for `login`.
    pub(crate) fn ask(sshd: &Path, config: &Path, login: &str) -> Result<Self, SshdError> {
        let (command, printed) = ask(sshd, config, &["-T", "-C", &format!("user={login},{CLIENT}")])?;
        let effective = Self::parse(&printed);
        match ALWAYS_PRINTED.into_iter().find(|keyword| effective.value(keyword).is_none()) {
            Some(keyword) => {
                let source = Hint::new(command.clone());
                Err(SshdError::Unreadable { command, keyword, source })
            }
            None => Ok(effective),
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        let pair = |line: &str| {
            let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
            (keyword.to_owned(), value.trim().to_owned())
        };
        Self(text.lines().map(pair).collect())
    }

    /// The first value of `keyword`, unless it is cleared or unknown to this sshd.
    pub(crate) fn value<'a>(&'a self, keyword: &'a str) -> Option<&'a str> {
        self.values(keyword).next()
    }

    /// Every value of a keyword that sshd prints on a line for each.
    pub(crate) fn values<'a>(&'a self, keyword: &str) -> impl Iterator<Item = &'a str> {
        let is_wanted = move |(name, _): &&(String, String)| name.eq_ignore_ascii_case(keyword);
        self.0.iter().filter(is_wanted).map(|(_, value)| value.as_str())
    }

    /// Whether `keyword` has the value `wanted`: in any case, and with `true` for `yes` as some are printed since 10.4. Nothing
    /// where it has none.
    pub(crate) fn is(&self, keyword: &str, wanted: &str) -> Option<bool> {
        let canonical = |value: &str| match value.to_ascii_lowercase().as_str() {
            "true" => "yes".to_owned(),
            "false" => "no".to_owned(),
            other => other.to_owned(),
        };
        Some(canonical(self.value(keyword)?) == canonical(wanted))
    }

    /// The files of a keyword that takes absolute paths and has them on one line. Blanks are not quoted there, so a path is what
    /// begins with `/` at the line's beginning or after a blank.
    pub(crate) fn paths(&self, keyword: &str) -> Vec<PathBuf> {
        let mut paths: Vec<String> = Vec::new();
        for word in self.values(keyword).flat_map(|line| line.split(' ')) {
            match paths.last_mut() {
                Some(path) if !word.starts_with('/') => {
                    path.push(' ');
                    path.push_str(word);
                }
                _ => paths.push(word.to_owned()),
            }
        }
        paths.into_iter().map(PathBuf::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use pushkeys_keys::ErrorReport;

    use super::*;

    /// As OpenSSH 9.2, 10.0 and 10.6 print the same settings.
    const OLD: &str = "permittty yes\nrevokedkeys /etc/a\nacceptenv A B\nacceptenv C\nauthorizedkeysfile none\n\
                       authorizedkeyscommand /x \"%u\" %f\n";
    const NEW: &str = "PermitTTY true\nRevokedKeys /etc/a b /etc/c\nAcceptEnv A B\nAcceptEnv C\n\
                       AuthorizedKeysCommand /x \"%u\" %f\n";

    #[test]
    fn settings_are_read_whatever_the_release_makes_of_them() {
        let (old, new) = (Effective::parse(OLD), Effective::parse(NEW));
        for effective in [&old, &new] {
            assert_eq!(effective.values("AcceptEnv").collect::<Vec<_>>(), ["A B", "C"]);
            assert_eq!(effective.value("authorizedkeyscommand"), Some("/x \"%u\" %f"));
            assert_eq!(effective.is("PermitTTY", "yes"), Some(true));
            assert_eq!(effective.is("PermitTTY", "no"), Some(false));
            assert_eq!(effective.is("RefuseConnection", "no"), None);
        }
        assert_eq!((old.value("AuthorizedKeysFile"), new.value("AuthorizedKeysFile")), (Some("none"), None));
        assert_eq!(old.paths("RevokedKeys"), [Path::new("/etc/a")]);
        assert_eq!(new.paths("RevokedKeys"), [Path::new("/etc/a b"), Path::new("/etc/c")]);
    }

    #[test]
    fn an_sshd_that_does_not_answer_is_told_from_one_without_settings() {
        let folder = tempfile::tempdir().unwrap();
        let ask = |script: &str| {
            let program = folder.path().join("sshd");
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            Effective::ask(&program, Path::new("/c"), "git")
        };
        let all = "echo AuthenticationMethods any; echo authorizedkeyscommand none; echo DisableForwarding no; \
                   echo pubkeyauthentication yes";
        assert!(ask(&format!("{all}; echo warned >&2")).is_ok());
        let error = ask("echo AuthenticationMethods: any").unwrap_err();
        assert!(matches!(error, SshdError::Unreadable { keyword: "AuthenticationMethods", .. }), "{error}");
        let hint = |script: &str| ErrorReport::of(&ask(script).unwrap_err()).hint.unwrap();
        let missing = "echo 'Missing privilege separation directory: /run/sshd' >&2; exit 255";
        assert_eq!(hint(missing), "mkdir -m 0755 /run/sshd");
        assert!(hint("echo 'line 3: bad' >&2; exit 255").ends_with("sshd -t -f /c"));
    }
}
