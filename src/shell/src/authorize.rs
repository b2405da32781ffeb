//! Asks the operator's program for access to a repository.
//!
//! ```text
//! PROGRAM ACCOUNT KEY_ID REPOSITORY read|write
//! ```
//!
//! Exit status 0 allows access, and the first line of stdout is the repository's path. Exit status 1 denies it, and stderr
//! is a reason for the user. Anything else is an error.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use pushkeys_files::{ReadFileError, Trust};
use thiserror::Error;

use crate::arguments::Arguments;
use crate::environment;
use crate::process::program::{self, Finished, ProgramError};
use crate::request::{Access, RepositoryName};

/// Limits of the reason that is shown.
const REASON_LINES_MAX: usize = 10;
const REASON_LINE_CHARACTERS_MAX: usize = 200;

/// The program's decision.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Access is allowed; the repository's path.
    Yes(PathBuf),
    /// Access is denied; lines of the reason that are safe to show.
    No(Vec<String>),
}

/// Why there is no decision.
#[derive(Debug, Error)]
pub(crate) enum AuthorizeError {
    #[error(transparent)]
    File(#[from] ReadFileError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("`{}` ended with {status}, and only 0 (allowed) and 1 (denied) are answers", program.display())]
    Status { program: PathBuf, status: ExitStatus },
    #[error("`{}` allowed access and printed no path", .0.display())]
    NoPath(PathBuf),
}

/// Asks `program` whether the account of `arguments` has `access` to `repository`.
pub(crate) fn ask(
    program: &Path,
    limit: Duration,
    arguments: &Arguments,
    repository: &RepositoryName,
    access: Access,
) -> Result<Decision, AuthorizeError> {
    pushkeys_files::check_program(program, Trust::ROOT)?;
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
    fn an_approval_names_the_repository() {
        let yes = |path: &str| Decision::Yes(PathBuf::from(path));
        assert_eq!(answer("echo apps/1.git; echo more; echo log >&2").unwrap(), yes("apps/1.git"));
        assert_eq!(answer("echo \"$*\"").unwrap(), yes("acct_7 key_42 team/app write"));
        assert!(matches!(answer("exit 0"), Err(AuthorizeError::NoPath(_))));
    }

    #[test]
    fn a_denial_has_the_operators_reason_escaped_and_limited() {
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
    fn other_results_of_the_program_are_errors() {
        for script in ["exit 2", "echo apps/1.git; exit 3", "kill -9 $$"] {
            assert!(matches!(answer(script), Err(AuthorizeError::Status { .. })), "{script}");
        }
        assert!(matches!(answer("yes"), Err(AuthorizeError::Program(_))));
    }

    #[test]
    fn the_program_gets_a_minimal_environment() {
        let yes = answer("echo $(env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= | sort)").unwrap();
        assert_eq!(yes, Decision::Yes("HOME=/nonexistent PATH=/usr/local/bin:/usr/bin:/bin".into()));
    }
}
