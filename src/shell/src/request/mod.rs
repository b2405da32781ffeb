//! The client's request. All of it is untrusted input.

mod git_command;
mod lfs_command;
mod repository_name;
mod words;

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;

pub(crate) use git_command::{Access, GitCommand, ParseGitCommandError, Service};
pub(crate) use lfs_command::{LfsCommand, LfsOperation, LfsProgram};
pub(crate) use repository_name::RepositoryName;

/// The longest part of a command that is shown and logged, in bytes; a client may send megabytes.
const COMMAND_SHOWN_BYTES_MAX: usize = 200;

/// The client's request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// A shell. The answer is a greeting.
    Shell,
    /// A command of a git client.
    Git(GitCommand),
    /// A command of a Git LFS client.
    Lfs(LfsCommand),
    /// A command of git or Git LFS that does not follow the grammar.
    Malformed(Command, ParseGitCommandError),
    /// Any other command or subsystem.
    Other(Command),
}

impl Request {
    /// The request in `SSH_ORIGINAL_COMMAND`, which sshd leaves unset when the client asks for a shell.
    pub(crate) fn of(original_command: Option<OsString>) -> Self {
        let Some(bytes) = original_command.filter(|bytes| !bytes.is_empty()) else { return Self::Shell };
        let git = || GitCommand::parse(bytes.as_bytes()).map(|parsed| parsed.map(Self::Git));
        let lfs = || LfsCommand::parse(bytes.as_bytes()).map(|parsed| parsed.map(Self::Lfs));
        match git().or_else(lfs) {
            Some(Ok(request)) => request,
            Some(Err(error)) => Self::Malformed(Command(bytes), error),
            None => Self::Other(Command(bytes)),
        }
    }
}

/// The request for the log. The client's own text comes last, so that it cannot look like another field.
impl fmt::Display for Request {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shell => out.write_str("shell"),
            Self::Git(command) => write!(out, "{} repository={}", command.service, command.repository),
            Self::Lfs(command) => write!(out, "{command}"),
            Self::Malformed(command, _) | Self::Other(command) => write!(out, "command command={command}"),
        }
    }
}

/// The client's exact bytes. When displayed they are truncated, but not escaped: see [`pushkeys_keys::escape`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command(OsString);

impl fmt::Display for Command {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_bytes();
        let shown = bytes.get(..COMMAND_SHOWN_BYTES_MAX).unwrap_or(bytes);
        for chunk in shown.utf8_chunks() {
            out.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                out.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        if shown.len() < bytes.len() { write!(out, "… ({} bytes)", bytes.len()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_a_command_a_shell_is_requested() {
        assert_eq!(Request::of(None), Request::Shell);
        assert_eq!(Request::of(Some("".into())), Request::Shell);
        assert!(matches!(Request::of(Some(" ".into())), Request::Other(_)));
    }

    #[test]
    fn commands_that_resemble_git_are_distinguished() {
        assert!(matches!(Request::of(Some("git-upload-pack 'app'".into())), Request::Git(_)));
        assert!(matches!(Request::of(Some("git-upload-pack 'app';id".into())), Request::Malformed(..)));
        assert!(matches!(Request::of(Some("git-shell 'app'".into())), Request::Other(_)));
    }

    #[test]
    fn a_long_command_is_truncated() {
        let check = |bytes: Vec<u8>, expected: &str| {
            assert_eq!(Command(OsString::from_vec(bytes)).to_string(), expected);
        };
        check(b"git-upload-pack 'a b'".to_vec(), "git-upload-pack 'a b'");
        check(b"a\xffb".to_vec(), "a\u{fffd}b");
        check(vec![b'x'; 200], &"x".repeat(200));
        check(vec![b'x'; 9999], &format!("{}… (9999 bytes)", "x".repeat(200)));
        check("é".repeat(101).into_bytes(), &format!("{}… (202 bytes)", "é".repeat(100)));
    }
    proptest! {
        #[test]
        fn a_request_is_shown_in_one_short_line(bytes in prop::collection::vec(any::<u8>(), 0..1000)) {
            let shown = pushkeys_keys::escape(&Command(OsString::from_vec(bytes)).to_string()).into_owned();
            prop_assert!(!shown.chars().any(char::is_control));
            // Each byte becomes at most six, as in `\u{7f}`, and the length follows.
            prop_assert!(shown.len() <= 6 * COMMAND_SHOWN_BYTES_MAX + 32, "{shown}");
        }
    }
}
