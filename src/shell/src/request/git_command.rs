//! Parses the commands of git clients: a service, and the repository's path as its only argument.
//!
//! ```text
//! command    = ( "git-" verb / "git" SP verb ) SP path         verb = "receive-pack" / "upload-pack" / "upload-archive"
//! ```
//!
//! Each word may be quoted in any way that [`Words`] accepts.

use std::fmt;

use thiserror::Error;

use super::repository_name::{RepositoryName, RepositoryNameError};
use super::words::{WordError, Words};

/// The longest command in bytes. git's own clients send only the path of a URL.
const COMMAND_BYTES_MAX: usize = 4096;

/// The git service on the server's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// `git push`.
    ReceivePack,
    /// `git clone` and `git fetch`.
    UploadPack,
    /// `git archive --remote`.
    UploadArchive,
}

/// The access to a repository that a service needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// The command of a git client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GitCommand {
    pub(crate) service: Service,
    pub(crate) repository: RepositoryName,
}

/// Why a command that names a service of git or Git LFS cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum ParseGitCommandError {
    #[error("the command is {0} bytes long, and at most {COMMAND_BYTES_MAX} are accepted")]
    TooLong(usize),
    #[error("no repository is named")]
    Missing,
    #[error("neither `upload` nor `download` is named")]
    NoOperation,
    #[error("something follows the path")]
    Trailing,
    #[error(transparent)]
    Words(#[from] WordError),
    #[error(transparent)]
    Name(#[from] RepositoryNameError),
}

impl GitCommand {
    /// The git command in `bytes`, or `None` if it is another command.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Result<Self, ParseGitCommandError>> {
        let mut words = Words::of(bytes);
        let service = match words.next()?.ok()?.as_str() {
            "git" => Service::by_verb(&words.next()?.ok()?)?,
            first => Service::by_verb(first.strip_prefix("git-")?)?,
        };
        let repository = if bytes.len() > COMMAND_BYTES_MAX {
            Err(ParseGitCommandError::TooLong(bytes.len()))
        } else {
            path(words)
        };
        Some(repository.map(|repository| Self { service, repository }))
    }
}

impl Service {
    const ALL: [Self; 3] = [Self::ReceivePack, Self::UploadPack, Self::UploadArchive];

    /// The word after `git`.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::ReceivePack => "receive-pack",
            Self::UploadPack => "upload-pack",
            Self::UploadArchive => "upload-archive",
        }
    }

    /// The access that the service needs.
    pub(crate) fn access(self) -> Access {
        match self {
            Self::ReceivePack => Access::Write,
            Self::UploadPack | Self::UploadArchive => Access::Read,
        }
    }

    fn by_verb(verb: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.verb() == verb)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "git-{}", self.verb())
    }
}

impl Access {
    /// The word for the operator's program.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// The repository named by the only remaining word.
fn path(mut words: Words<'_>) -> Result<RepositoryName, ParseGitCommandError> {
    let path = words.next().ok_or(ParseGitCommandError::Missing)??;
    match words.next() {
        None => Ok(path.parse()?),
        Some(Err(error)) => Err(error.into()),
        Some(Ok(_)) => Err(ParseGitCommandError::Trailing),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(command: &[u8]) -> Option<Result<String, ParseGitCommandError>> {
        let parsed = GitCommand::parse(command)?;
        Some(parsed.map(|command| format!("{} {}", command.service, command.repository)))
    }

    #[test]
    fn the_commands_of_git_clients_are_accepted() {
        let check = |command: &str, expected: &str| {
            assert_eq!(parse(command.as_bytes()), Some(Ok(expected.to_owned())), "{command}");
        };
        // git, libgit2, JGit and go-git.
        check("git-receive-pack 'app.git'", "git-receive-pack app");
        check("git-upload-pack '/team/app.git'", "git-upload-pack team/app");
        check("git-upload-archive 'app'", "git-upload-archive app");
        // dulwich, which quotes like Python.
        check("git-upload-pack app.git", "git-upload-pack app");
        check("git-upload-pack /app.git", "git-upload-pack app");
        // git by two words, as `git-upload-pack` is set to on some clients.
        check("git receive-pack '/team/app.git/'", "git-receive-pack team/app");
        check("git upload-pack app", "git-upload-pack app");
        // Clients on Windows, and those that quote the program too.
        check("git-upload-pack \"/app.git\"", "git-upload-pack app");
        check("'git-upload-pack' '/app.git'", "git-upload-pack app");
        check("\"git\" 'upload-pack' '~/app.git'", "git-upload-pack app");
    }

    #[test]
    fn other_commands_are_not_git_commands() {
        for command in [
            "",
            "git",
            "git-shell",
            "git status",
            "git-receive-packs 'x'",
            "git  receive-pack 'x'",
            " git-receive-pack 'x'",
            "git-receive-pack\t'x'",
            "git-receive-pack\n'x'",
            "git-receive-pack;id",
            "\ngit-receive-pack 'x'",
            "'git-receive-pack 'x'",
            "scp -t .",
            "-c id",
        ] {
            assert_eq!(parse(command.as_bytes()), None, "{command:?}");
        }
    }

    #[test]
    fn every_refusal_has_its_own_message() {
        let check = |command: &[u8], expected: &str| {
            let error = parse(command).unwrap().unwrap_err().to_string();
            assert_eq!(error, expected, "{}", String::from_utf8_lossy(command));
        };
        check(b"git-receive-pack", "no repository is named");
        check(b"git upload-pack", "no repository is named");
        check(b"git-receive-pack ", "a blank is at the beginning, at the end, or doubled");
        check(b"git-receive-pack  'app'", "a blank is at the beginning, at the end, or doubled");
        check(b"git-receive-pack 'a'\nid", "a newline is not accepted");
        check(b"git-receive-pack 'a\x1b'", "the control character U+001B is not accepted");
        check(b"git-receive-pack 'a\xff'", "a word is not UTF-8");
        check(b"git-receive-pack 'app", "a quote is not closed");
        check(b"git-receive-pack 'a' 'b'", "something follows the path");
        check(b"git-upload-pack -- 'app'", "something follows the path");
        check(
            b"git-receive-pack 'a';id",
            "`;` has a meaning in a shell, and is accepted inside single quotes only",
        );
        check(
            b"git-receive-pack $HOME",
            "`$` has a meaning in a shell, and is accepted inside single quotes only",
        );
        check(b"git-upload-pack --help", "the path begins with `-`, like an option");
        check(
            b"git-receive-pack '../b'",
            "the path has a segment `..`, which leads out of the account's repositories",
        );
        check(
            &[b"git-receive-pack '", "x".repeat(5000).as_bytes(), b"'"].concat(),
            "the command is 5019 bytes long, and at most 4096 are accepted",
        );
    }

    proptest! {
        #[test]
        fn no_command_panics(bytes in any::<Vec<u8>>(), verb in 0..3_usize) {
            let _ = GitCommand::parse(&bytes);
            let command = [b"git-", Service::ALL[verb].verb().as_bytes(), b" ", &bytes].concat();
            prop_assert!(GitCommand::parse(&command).is_some());
        }

        #[test]
        fn an_accepted_command_has_two_words_and_names_its_path(text in "[a-c./'\"!~ -]{0,12}|\\PC{0,40}") {
            if let Some(Ok(command)) = GitCommand::parse(format!("git-receive-pack {text}").as_bytes()) {
                let words: Vec<String> = Words::of(text.as_bytes()).collect::<Result<_, _>>().unwrap();
                prop_assert_eq!(words.len(), 1);
                prop_assert!(words[0].contains(command.repository.as_str()));
            }
        }
    }
}
