//! The grammar of what git clients send. Pure: bytes in, a service and a repository's name out.
//!
//! ```text
//! command    = service SP quoted
//! service    = "git-" verb | "git " verb      verb = "receive-pack" | "upload-pack" | "upload-archive"
//! quoted     = run *( "\" ( "'" | "!" ) run )          as git's quote.c writes it
//! run        = "'" *( any character but "'" ) "'"
//! path       = ["/"] segment *( "/" segment ) [".git"] ["/"]
//! segment    = 1*100( ALPHA / DIGIT / "." / "_" / "-" ), beginning with neither "." nor "-"
//! ```

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use thiserror::Error;

/// The longest command in bytes. git's own clients send the path of a URL and nothing more.
pub(crate) const COMMAND_BYTES_MAX: usize = 4096;
/// A repository is `app` or `group/app`.
pub(crate) const SEGMENTS_MAX: usize = 2;
/// The longest segment in bytes; with `.git` it is well within what every file system takes (255).
pub(crate) const SEGMENT_BYTES_MAX: usize = 100;

const _: () = assert!(SEGMENTS_MAX * SEGMENT_BYTES_MAX < COMMAND_BYTES_MAX);

/// What git does on this side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// `git push`.
    ReceivePack,
    /// `git clone` and `git fetch`.
    UploadPack,
    /// `git archive --remote`.
    UploadArchive,
}

/// What a service does to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A repository as a client names it: one or two segments, without `.git`, that are safe in any path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RepositoryName(Box<str>);

/// What a git client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GitCommand {
    pub(crate) service: Service,
    pub(crate) repository: RepositoryName,
}

/// Why a command that begins like git's is none of a git client, or names nothing that could be a repository here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum ParseGitCommandError {
    #[error("the command is {0} bytes long, and at most {COMMAND_BYTES_MAX} are accepted")]
    TooLong(usize),
    #[error("no repository is named")]
    Missing,
    #[error("the command contains a newline")]
    Newline,
    #[error("the command contains the control character U+{0:04X}")]
    Control(u32),
    #[error("the command is not UTF-8")]
    NotUtf8,
    #[error("the path is not in the quotes that git clients put around it")]
    Unquoted,
    #[error("the quotes around the path do not end")]
    Unterminated,
    #[error("something follows the path")]
    Trailing,
    #[error("the path is empty")]
    Empty,
    #[error("the path begins with `-`, like an option")]
    Option,
    #[error("the path has a segment `..`, which leads out of the account's repositories")]
    Parent,
    #[error("the path has an empty segment")]
    EmptySegment,
    #[error("the path has {0} segments, and at most {SEGMENTS_MAX} are accepted")]
    TooManySegments(usize),
    #[error("a segment of the path is {0} bytes long, and at most {SEGMENT_BYTES_MAX} are accepted")]
    SegmentTooLong(usize),
    #[error("a segment of the path begins with `{0}`")]
    SegmentBegins(char),
    #[error("the path contains U+{0:04X}, and only letters, digits, `.`, `_` and `-` are accepted")]
    Character(u32),
    #[error("a segment of the path ends in `.git` inside the repository's name")]
    GitSuffix,
}

impl GitCommand {
    /// The git command in `bytes`, or `None` when they ask for something else.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Result<Self, ParseGitCommandError>> {
        let (service, rest) = Service::strip(bytes)?;
        Some(parse_path(bytes.len(), rest).map(|repository| Self { service, repository }))
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

    /// What the service does to a repository.
    pub(crate) fn access(self) -> Access {
        match self {
            Self::ReceivePack => Access::Write,
            Self::UploadPack | Self::UploadArchive => Access::Read,
        }
    }

    /// The service that `command` begins with, and what follows its name.
    fn strip(command: &[u8]) -> Option<(Self, &[u8])> {
        let rest = command.strip_prefix(b"git-").or_else(|| command.strip_prefix(b"git "))?;
        Self::ALL.into_iter().find_map(|service| {
            let rest = rest.strip_prefix(service.verb().as_bytes())?;
            (rest.is_empty() || rest.starts_with(b" ")).then_some((service, rest))
        })
    }
}

impl fmt::Display for Service {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "git-{}", self.verb())
    }
}

impl Access {
    /// The word for it, as the operator's program gets it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl RepositoryName {
    /// The name as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromStr for RepositoryName {
    type Err = ParseGitCommandError;

    /// The name in the path of a client's URL.
    fn from_str(path: &str) -> Result<Self, ParseGitCommandError> {
        if path.starts_with('-') {
            return Err(ParseGitCommandError::Option);
        }
        let name = path.strip_prefix('/').unwrap_or(path);
        let name = name.strip_suffix('/').unwrap_or(name);
        let name = name.strip_suffix(".git").unwrap_or(name);
        if name.is_empty() {
            return Err(ParseGitCommandError::Empty);
        }
        for segment in name.split('/') {
            check_segment(segment)?;
        }
        match name.split('/').count() {
            count if count > SEGMENTS_MAX => Err(ParseGitCommandError::TooManySegments(count)),
            _ => Ok(Self(name.into())),
        }
    }
}

fn parse_path(command_bytes: usize, rest: &[u8]) -> Result<RepositoryName, ParseGitCommandError> {
    if command_bytes > COMMAND_BYTES_MAX {
        return Err(ParseGitCommandError::TooLong(command_bytes));
    }
    let rest = std::str::from_utf8(rest).map_err(|_| ParseGitCommandError::NotUtf8)?;
    match rest.chars().find(|character| character.is_control()) {
        Some('\n') => return Err(ParseGitCommandError::Newline),
        Some(control) => return Err(ParseGitCommandError::Control(control.into())),
        None => {}
    }
    match rest.strip_prefix(' ') {
        None | Some("") => Err(ParseGitCommandError::Missing),
        Some(quoted) => unquote(quoted)?.parse(),
    }
}

/// The text that git's `sq_quote` made `quoted` of.
fn unquote(quoted: &str) -> Result<String, ParseGitCommandError> {
    let mut text = String::with_capacity(quoted.len());
    let mut rest = quoted.strip_prefix('\'').ok_or(ParseGitCommandError::Unquoted)?;
    loop {
        let (run, after) = rest.split_once('\'').ok_or(ParseGitCommandError::Unterminated)?;
        text.push_str(run);
        if after.is_empty() {
            return Ok(text);
        }
        let escaped = after.strip_prefix('\\').and_then(|after| after.split_at_checked(1));
        let (character @ ("'" | "!"), after) = escaped.unwrap_or_default() else {
            return Err(ParseGitCommandError::Trailing);
        };
        text.push_str(character);
        rest = after.strip_prefix('\'').ok_or(ParseGitCommandError::Trailing)?;
    }
}

fn check_segment(segment: &str) -> Result<(), ParseGitCommandError> {
    let is_accepted = |character: char| character.is_ascii_alphanumeric() || ".-_".contains(character);
    match segment.chars().next() {
        None => return Err(ParseGitCommandError::EmptySegment),
        Some(_) if segment == ".." => return Err(ParseGitCommandError::Parent),
        Some(first @ ('.' | '-')) => return Err(ParseGitCommandError::SegmentBegins(first)),
        Some(_) => {}
    }
    if let Some(character) = segment.chars().find(|&character| !is_accepted(character)) {
        return Err(ParseGitCommandError::Character(character.into()));
    }
    if segment.len() > SEGMENT_BYTES_MAX {
        return Err(ParseGitCommandError::SegmentTooLong(segment.len()));
    }
    // `app.git/hooks` would lie inside the repository `app`.
    let extension = Path::new(segment).extension();
    let is_inside = extension.is_some_and(|extension| extension.eq_ignore_ascii_case("git"));
    if is_inside { Err(ParseGitCommandError::GitSuffix) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    fn parse(command: &[u8]) -> Option<Result<String, ParseGitCommandError>> {
        let parsed = GitCommand::parse(command)?;
        Some(parsed.map(|command| format!("{} {}", command.service, command.repository)))
    }

    #[track_caller]
    fn accepts(command: &str, expected: &str) {
        assert_eq!(parse(command.as_bytes()), Some(Ok(expected.to_owned())), "{command}");
    }

    #[track_caller]
    fn refuses(command: &[u8], expected: &str) {
        let error = parse(command).unwrap().unwrap_err().to_string();
        assert_eq!(error, expected, "{}", String::from_utf8_lossy(command));
    }

    #[test]
    fn the_commands_of_git_clients_are_accepted() {
        accepts("git-receive-pack 'app.git'", "git-receive-pack app");
        accepts("git-upload-pack '/app.git'", "git-upload-pack app");
        accepts("git-upload-archive 'app'", "git-upload-archive app");
        accepts("git receive-pack '/team/app.git/'", "git-receive-pack team/app");
        accepts("git upload-pack 'A.b-c_9'", "git-upload-pack A.b-c_9");
        accepts("git-upload-pack 'app.github'", "git-upload-pack app.github");
        let longest = "x".repeat(SEGMENT_BYTES_MAX);
        accepts(&format!("git-upload-pack '{longest}.git'"), &format!("git-upload-pack {longest}"));
    }

    #[test]
    fn what_is_not_gits_is_told_apart() {
        for command in [
            "",
            "git",
            "git-shell",
            "git status",
            "git-receive-packs 'x'",
            "git  receive-pack 'x'",
            " git-receive-pack 'x'",
            "git-receive-pack\t'x'",
            "\ngit-receive-pack 'x'",
            "scp -t .",
            "-c id",
        ] {
            assert_eq!(parse(command.as_bytes()), None, "{command:?}");
        }
    }

    #[test]
    fn every_refusal_has_its_own_message() {
        refuses(b"git-receive-pack", "no repository is named");
        refuses(b"git-receive-pack ", "no repository is named");
        refuses(b"git-receive-pack ''", "the path is empty");
        refuses(b"git-receive-pack '/'", "the path is empty");
        refuses(b"git-receive-pack '.git'", "the path is empty");
        refuses(b"git-receive-pack 'a'\nid", "the command contains a newline");
        refuses(b"git-receive-pack 'a\x1b'", "the command contains the control character U+001B");
        refuses(b"git-receive-pack 'a\xff'", "the command is not UTF-8");
        refuses(b"git-receive-pack app", "the path is not in the quotes that git clients put around it");
        refuses(b"git-receive-pack  'app'", "the path is not in the quotes that git clients put around it");
        refuses(b"git-upload-pack --help", "the path is not in the quotes that git clients put around it");
        refuses(b"git-receive-pack \"app\"", "the path is not in the quotes that git clients put around it");
        refuses(b"git-receive-pack 'app", "the quotes around the path do not end");
        refuses(b"git-receive-pack 'app'\\''", "the quotes around the path do not end");
        refuses(b"git-receive-pack 'a' 'b'", "something follows the path");
        refuses(b"git-receive-pack 'a';id", "something follows the path");
        refuses(b"git-receive-pack 'a'\\$'b'", "something follows the path");
        refuses("git-receive-pack 'a'\\é'b'".as_bytes(), "something follows the path");
        refuses(b"git-receive-pack '-x'", "the path begins with `-`, like an option");
        refuses(b"git-receive-pack '/-x'", "a segment of the path begins with `-`");
        refuses(b"git-receive-pack '--upload-pack=id'", "the path begins with `-`, like an option");
        let parent = "the path has a segment `..`, which leads out of the account's repositories";
        refuses(b"git-receive-pack '../b'", parent);
        refuses(b"git-receive-pack '/../../etc/passwd'", parent);
        refuses(b"git-receive-pack 'a/..'", parent);
        refuses(b"git-receive-pack '//etc'", "the path has an empty segment");
        refuses(b"git-receive-pack 'a//b'", "the path has an empty segment");
        refuses(b"git-receive-pack '/srv/git/a'", "the path has 3 segments, and at most 2 are accepted");
        refuses(b"git-receive-pack '.ssh'", "a segment of the path begins with `.`");
        refuses(
            b"git-receive-pack 'a.git/hooks'",
            "a segment of the path ends in `.git` inside the repository's name",
        );
        refuses(
            b"git-receive-pack 'a.git.git'",
            "a segment of the path ends in `.git` inside the repository's name",
        );
        let character = "and only letters, digits, `.`, `_` and `-` are accepted";
        refuses(b"git-receive-pack '~/app'", &format!("the path contains U+007E, {character}"));
        refuses(b"git-receive-pack 'it'\\''s'", &format!("the path contains U+0027, {character}"));
        refuses(b"git-receive-pack 'a'\\!''", &format!("the path contains U+0021, {character}"));
        refuses("git-receive-pack 'é'".as_bytes(), &format!("the path contains U+00E9, {character}"));
        refuses(
            &[b"git-receive-pack '", "x".repeat(101).as_bytes(), b"'"].concat(),
            "a segment of the path is 101 bytes long, and at most 100 are accepted",
        );
        refuses(
            &[b"git-receive-pack '", "x".repeat(5000).as_bytes(), b"'"].concat(),
            "the command is 5019 bytes long, and at most 4096 are accepted",
        );
    }

    /// As git's quote.c.
    fn quote(text: &str) -> String {
        format!("'{}'", text.replace('\'', "'\\''").replace('!', "'\\!'"))
    }

    proptest! {
        #[test]
        fn no_command_panics(bytes in any::<Vec<u8>>(), verb in 0..3_usize) {
            let _ = GitCommand::parse(&bytes);
            let command = [b"git-", Service::ALL[verb].verb().as_bytes(), b" ", &bytes].concat();
            prop_assert!(GitCommand::parse(&command).is_some_and(|parsed| parsed.is_err() || bytes.starts_with(b"'")));
        }

        #[test]
        fn unquoting_undoes_gits_quoting(text in "\\PC*") {
            prop_assert_eq!(unquote(&quote(&text)), Ok(text));
        }

        #[test]
        fn whatever_is_accepted_is_a_clean_relative_path(text in "[a-c./'!~-]{0,12}|\\PC{0,40}|[a-z]{90,110}") {
            if let Some(Ok(command)) = GitCommand::parse(format!("git-receive-pack {}", quote(&text)).as_bytes()) {
                let path = Path::new(command.repository.as_str());
                prop_assert!(path.components().all(|component| matches!(component, Component::Normal(_))));
                prop_assert!((1..=SEGMENTS_MAX).contains(&path.components().count()));
                for segment in path {
                    let segment = segment.to_str().unwrap();
                    prop_assert!(segment.len() <= SEGMENT_BYTES_MAX);
                    prop_assert!(!segment.starts_with(['.', '-']) && Path::new(segment).extension() != Some("git".as_ref()));
                }
                prop_assert!(text.contains(command.repository.as_str()));
            }
        }
    }
}
