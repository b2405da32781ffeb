//! A repository's name, parsed from the path of a client's URL.
//!
//! ```text
//! path       = ["/"] ["~/"] segment *( "/" segment ) [".git"] ["/"]
//! segment    = 1*100( ALPHA / DIGIT / "." / "_" / "-" ), beginning with neither "." nor "-"
//! ```
//!
//! For git, `host:app.git` and `host:~/app.git` are the same path, below the login's home. Here, the home is the account's
//! own set of repositories.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use thiserror::Error;

/// A repository is `app` or `group/app`.
const SEGMENTS_MAX: usize = 2;
/// The longest segment in bytes; with `.git` it stays within the 255 bytes that file systems allow.
const SEGMENT_BYTES_MAX: usize = 100;

/// A repository's name: one or two segments, without `.git`, that are safe in any path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RepositoryName(Box<str>);

/// Why a path is not a repository's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum RepositoryNameError {
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
    type Err = RepositoryNameError;

    /// Parses the path of a client's URL.
    fn from_str(path: &str) -> Result<Self, RepositoryNameError> {
        if path.starts_with('-') {
            return Err(RepositoryNameError::Option);
        }
        let name = path.strip_prefix('/').unwrap_or(path);
        let name = name.strip_prefix("~/").unwrap_or(name);
        let name = name.strip_suffix('/').unwrap_or(name);
        let name = name.strip_suffix(".git").unwrap_or(name);
        if name.is_empty() {
            return Err(RepositoryNameError::Empty);
        }
        for segment in name.split('/') {
            check_segment(segment)?;
        }
        match name.split('/').count() {
            count if count > SEGMENTS_MAX => Err(RepositoryNameError::TooManySegments(count)),
            _ => Ok(Self(name.into())),
        }
    }
}

fn check_segment(segment: &str) -> Result<(), RepositoryNameError> {
    let is_accepted = |character: char| character.is_ascii_alphanumeric() || ".-_".contains(character);
    match segment.chars().next() {
        None => return Err(RepositoryNameError::EmptySegment),
        Some(_) if segment == ".." => return Err(RepositoryNameError::Parent),
        Some(first @ ('.' | '-')) => return Err(RepositoryNameError::SegmentBegins(first)),
        Some(_) => {}
    }
    if let Some(character) = segment.chars().find(|&character| !is_accepted(character)) {
        return Err(RepositoryNameError::Character(character.into()));
    }
    if segment.len() > SEGMENT_BYTES_MAX {
        return Err(RepositoryNameError::SegmentTooLong(segment.len()));
    }
    // `app.git/hooks` would be inside the repository `app`.
    let extension = Path::new(segment).extension();
    let is_inside = extension.is_some_and(|extension| extension.eq_ignore_ascii_case("git"));
    if is_inside { Err(RepositoryNameError::GitSuffix) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_of_a_path_names_one_repository() {
        for path in ["app", "app.git", "/app.git", "app/", "/app.git/", "~/app", "/~/app.git"] {
            assert_eq!(path.parse::<RepositoryName>().unwrap().as_str(), "app", "{path}");
        }
        for name in ["A.b-c_9", "team/app", "app.github", &"x".repeat(SEGMENT_BYTES_MAX)] {
            assert_eq!(name.parse::<RepositoryName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn every_refusal_has_its_own_message() {
        let check = |path: &str, expected: &str| {
            assert_eq!(path.parse::<RepositoryName>().unwrap_err().to_string(), expected, "{path}");
        };
        for path in ["", "/", ".git", "~/", "/~/.git"] {
            check(path, "the path is empty");
        }
        check("-x", "the path begins with `-`, like an option");
        check("--upload-pack=id", "the path begins with `-`, like an option");
        check("/-x", "a segment of the path begins with `-`");
        let parent = "the path has a segment `..`, which leads out of the account's repositories";
        for path in ["../b", "/../../etc/passwd", "a/..", "~/../b"] {
            check(path, parent);
        }
        check("//etc", "the path has an empty segment");
        check("a//b", "the path has an empty segment");
        check("/srv/git/a", "the path has 3 segments, and at most 2 are accepted");
        check(".ssh", "a segment of the path begins with `.`");
        for path in ["a.git/hooks", "a.GIT/hooks", "a.git.git"] {
            check(path, "a segment of the path ends in `.git` inside the repository's name");
        }
        let character = "and only letters, digits, `.`, `_` and `-` are accepted";
        for (path, code) in [
            ("~root/app", "007E"),
            ("~", "007E"),
            ("it's", "0027"),
            ("a!", "0021"),
            ("é", "00E9"),
            ("a b", "0020"),
        ] {
            check(path, &format!("the path contains U+{code}, {character}"));
        }
        check(&"x".repeat(101), "a segment of the path is 101 bytes long, and at most 100 are accepted");
    }

    proptest! {
        #[test]
        fn an_accepted_name_is_a_normalized_relative_path(text in "[a-c./'!~-]{0,12}|\\PC{0,40}|[a-z]{90,110}") {
            if let Ok(name) = text.parse::<RepositoryName>() {
                let path = Path::new(name.as_str());
                prop_assert!(path.components().all(|component| matches!(component, Component::Normal(_))));
                prop_assert!((1..=SEGMENTS_MAX).contains(&path.components().count()));
                for segment in path {
                    let segment = segment.to_str().unwrap();
                    prop_assert!(segment.len() <= SEGMENT_BYTES_MAX);
                    prop_assert!(!segment.starts_with(['.', '-']) && Path::new(segment).extension() != Some("git".as_ref()));
                }
                prop_assert!(text.contains(name.as_str()));
            }
        }
    }
}
