//! Parses the commands of Git LFS clients over ssh.
//!
//! ```text
//! command    = "git-lfs-authenticate" SP path SP operation [ SP object-id ]
//!            / "git-lfs-transfer" SP path SP operation
//! operation  = "upload" / "download"
//! ```
//!
//! The first asks for a token and the URL of an HTTP server, the second for a transfer over this connection.

use std::fmt;

use super::git_command::{Access, ParseGitCommandError};
use super::repository_name::RepositoryName;
use super::words::Words;

/// The longest command in bytes.
const COMMAND_BYTES_MAX: usize = 4096;

/// How files of Git LFS are transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LfsProgram {
    /// By an HTTP server, whose URL the client asks for.
    Authenticate,
    /// Over this connection.
    Transfer,
}

/// The operation on files of Git LFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LfsOperation {
    Upload,
    Download,
}

/// The command of a Git LFS client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LfsCommand {
    pub(crate) program: LfsProgram,
    pub(crate) operation: LfsOperation,
    pub(crate) repository: RepositoryName,
}

impl LfsCommand {
    /// The Git LFS command in `bytes`, or `None` if it is another command.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Result<Self, ParseGitCommandError>> {
        let mut words = Words::of(bytes);
        let program = match words.next()?.ok()?.as_str() {
            "git-lfs-authenticate" => LfsProgram::Authenticate,
            "git-lfs-transfer" => LfsProgram::Transfer,
            _ => return None,
        };
        if bytes.len() > COMMAND_BYTES_MAX {
            return Some(Err(ParseGitCommandError::TooLong(bytes.len())));
        }
        Some(arguments(words, program).map(|(repository, operation)| Self { program, operation, repository }))
    }
}

impl LfsProgram {
    fn word(self) -> &'static str {
        match self {
            Self::Authenticate => "git-lfs-authenticate",
            Self::Transfer => "git-lfs-transfer",
        }
    }
}

impl LfsOperation {
    /// The operation's name in the protocol.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Download => "download",
        }
    }

    /// The access that the operation needs.
    pub(crate) fn access(self) -> Access {
        match self {
            Self::Upload => Access::Write,
            Self::Download => Access::Read,
        }
    }
}

impl fmt::Display for LfsCommand {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} operation={} repository={}",
            self.program.word(),
            self.operation.word(),
            self.repository
        )
    }
}

fn arguments(
    words: Words<'_>,
    program: LfsProgram,
) -> Result<(RepositoryName, LfsOperation), ParseGitCommandError> {
    let words: Vec<String> = words.collect::<Result<_, _>>()?;
    let (path, operation) = match (program, words.as_slice()) {
        // Clients before version 1.5 also send an object id, which is not needed.
        (_, [path, operation]) | (LfsProgram::Authenticate, [path, operation, _]) => (path, operation),
        (_, []) => return Err(ParseGitCommandError::Missing),
        (_, [_]) => return Err(ParseGitCommandError::NoOperation),
        _ => return Err(ParseGitCommandError::Trailing),
    };
    let operation = match operation.as_str() {
        "upload" => LfsOperation::Upload,
        "download" => LfsOperation::Download,
        _ => return Err(ParseGitCommandError::NoOperation),
    };
    Ok((path.parse()?, operation))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(command: &str) -> Option<Result<String, String>> {
        let parsed = LfsCommand::parse(command.as_bytes())?;
        Some(parsed.map(|command| command.to_string()).map_err(|error| error.to_string()))
    }

    #[test]
    fn the_commands_of_clients_are_accepted() {
        let check = |command: &str, expected: &str| {
            assert_eq!(parse(command), Some(Ok(expected.to_owned())), "{command}");
        };
        let authenticate = "git-lfs-authenticate operation=upload repository=team/app";
        check("git-lfs-authenticate /team/app.git upload", authenticate);
        check("git-lfs-authenticate 'team/app' 'upload'", authenticate);
        check("git-lfs-authenticate team/app upload 0123", authenticate);
        check("git-lfs-transfer app.git download", "git-lfs-transfer operation=download repository=app");
    }

    #[test]
    fn every_refusal_has_its_own_message() {
        let check = |command: &str, expected: &str| {
            assert_eq!(parse(command), Some(Err(expected.to_owned())), "{command}");
        };
        check("git-lfs-authenticate", "no repository is named");
        check("git-lfs-transfer app", "neither `upload` nor `download` is named");
        check("git-lfs-transfer app delete", "neither `upload` nor `download` is named");
        check("git-lfs-transfer app upload 0123", "something follows the path");
        check("git-lfs-authenticate app upload 0 1", "something follows the path");
        check("git-lfs-authenticate -x upload", "the path begins with `-`, like an option");
        check(
            &format!("git-lfs-transfer {} upload", "x".repeat(5000)),
            "the command is 5024 bytes long, and at most 4096 are accepted",
        );
        for other in ["git-lfs", "git lfs-authenticate app upload", "git-upload-pack app", ""] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_command_panics(text in "git-lfs-(transfer|authenticate) \\PC{0,30}") {
            prop_assert!(LfsCommand::parse(text.as_bytes()).is_some());
        }
    }
}
