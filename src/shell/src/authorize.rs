//! Asking the operator's program whose repository it is.
//!
//! ```text
//! PROGRAM ACCOUNT KEY_ID REPOSITORY read|write
//! ```
//!
//! Yes is status 0 and the repository's path as the first line of stdout; no is status 1, with a reason for the user on
//! stderr. Nothing else is an answer.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use thiserror::Error;

use crate::arguments::Arguments;
use crate::environment;
use crate::process::program::{self, Finished, ProgramError};
use crate::request::{Access, RepositoryName};
use crate::trusted::{self, Untrusted};

/// So many lines of a reason are shown, and so many characters of each.
const REASON_LINES_MAX: usize = 10;
const REASON_LINE_CHARACTERS_MAX: usize = 200;

/// What the program decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The repository is here.
    Yes(PathBuf),
    /// Not for this account; lines that are safe to show.
    No(Vec<String>),
}

/// Why there is no decision.
#[derive(Debug, Error)]
pub(crate) enum AuthorizeError {
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("`{}` ended with {status}, which is neither yes nor no", program.display())]
    Status { program: PathBuf, status: ExitStatus },
    #[error("`{}` said yes and no path", .0.display())]
    NoPath(PathBuf),
}

/// Asks `program` whether who `arguments` speak of has `access` to `repository`.
pub(crate) fn ask(
    program: &Path,
    limit: Duration,
    arguments: &Arguments,
    repository: &RepositoryName,
    access: Access,
) -> Result<Decision, AuthorizeError> {
    trusted::check_program(program)?;
    let mut command = Command::new(program);
    command.args([arguments.account.as_str(), arguments.key_id.as_str(), repository.as_str(), access.word()]);
    environment::clear(&mut command);
    decision(program, program::run(&mut command, limit)?)
}

fn decision(program: &Path, finished: Finished) -> Result<Decision, AuthorizeError> {
    let Finished { status, stdout, stderr } = finished;
    match status.code() {
        Some(0) => match stdout.split(|&byte| byte == b'\n').next() {
            None | Some([]) => Err(AuthorizeError::NoPath(program.to_owned())),
            Some(line) => Ok(Decision::Yes(PathBuf::from(OsStr::from_bytes(line)))),
        },
        Some(1) => Ok(Decision::No(reason(&stderr))),
        _ => Err(AuthorizeError::Status { program: program.to_owned(), status }),
    }
}

fn reason(stderr: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stderr);
    let lines = text.lines().take(REASON_LINES_MAX);
    lines
        .map(|line| line.chars().take(REASON_LINE_CHARACTERS_MAX).collect::<String>())
        .map(|line| pushkeys_keys::escape(&line).into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use pushkeys_keys::Fingerprint;

    use super::*;
    use crate::settings::SETTINGS_FILE;

    fn answer(script: &str) -> Result<Decision, AuthorizeError> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("ask");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let arguments = Arguments {
            account: "acct_7".parse().unwrap(),
            key_id: "key_42".parse().unwrap(),
            fingerprint: Fingerprint::of(b"ana"),
            cache: "/nonexistent".into(),
            settings: SETTINGS_FILE.into(),
        };
        ask(&program, Duration::from_mins(1), &arguments, &"team/app".parse().unwrap(), Access::Write)
    }

    #[test]
    fn a_yes_names_the_repository() {
        let yes = |path: &str| Decision::Yes(PathBuf::from(path));
        assert_eq!(answer("echo apps/1.git; echo more; echo log >&2").unwrap(), yes("apps/1.git"));
        assert_eq!(answer("echo \"$*\"").unwrap(), yes("acct_7 key_42 team/app write"));
        assert!(matches!(answer("exit 0"), Err(AuthorizeError::NoPath(_))));
    }

    #[test]
    fn a_no_is_told_in_the_operators_words_escaped_and_bounded() {
        let no = |lines: &[&str]| Decision::No(lines.iter().map(ToString::to_string).collect());
        assert_eq!(answer("exit 1").unwrap(), no(&[]));
        assert_eq!(
            answer("printf 'not yours\\n\\033[2Jask ana\\n' >&2; exit 1").unwrap(),
            no(&["not yours", "\\u{1b}[2Jask ana"])
        );
        let Decision::No(lines) = answer("seq 1 50 >&2; exit 1").unwrap() else { panic!("yes") };
        assert_eq!(lines.len(), REASON_LINES_MAX);
    }

    #[test]
    fn nothing_else_is_an_answer() {
        for script in ["exit 2", "echo apps/1.git; exit 3", "kill -9 $$"] {
            assert!(matches!(answer(script), Err(AuthorizeError::Status { .. })), "{script}");
        }
        assert!(matches!(answer("yes"), Err(AuthorizeError::Program(_))));
    }

    #[test]
    fn the_program_gets_no_environment_but_ours() {
        let yes = answer("echo $(env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= | sort)").unwrap();
        assert_eq!(yes, Decision::Yes("HOME=/nonexistent PATH=/usr/local/bin:/usr/bin:/bin".into()));
    }
}
