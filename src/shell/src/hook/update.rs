//! Parses the changes that git passes to its hooks, one per line: `OLD NEW REF` (githooks(5)).

use thiserror::Error;

/// The longest id of an object, in hexadecimal digits (SHA-256).
const ID_DIGITS_MAX: usize = 64;

/// A change of one reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefUpdate {
    pub(crate) old: String,
    pub(crate) new: String,
    /// The reference's full name, such as `refs/heads/main`.
    pub(crate) name: String,
}

/// A line is not a change of a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("git passed a change to the hook in an unknown format")]
pub(crate) struct ParseRefUpdateError;

impl RefUpdate {
    /// The changes in `text`.
    pub(crate) fn parse_all(text: &str) -> Result<Vec<Self>, ParseRefUpdateError> {
        text.lines().map(|line| Self::parse(line).ok_or(ParseRefUpdateError)).collect()
    }

    /// Whether the reference is new.
    pub(crate) fn is_creation(&self) -> bool {
        is_null(&self.old)
    }

    /// Whether the reference is removed.
    pub(crate) fn is_deletion(&self) -> bool {
        is_null(&self.new)
    }

    /// The branch's name, if it is one.
    pub(crate) fn branch(&self) -> Option<&str> {
        self.name.strip_prefix("refs/heads/")
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(3, ' ');
        let (old, new, name) = (words.next()?, words.next()?, words.next()?);
        let is_id = |id: &str| {
            !id.is_empty() && id.len() <= ID_DIGITS_MAX && id.bytes().all(|digit| digit.is_ascii_hexdigit())
        };
        let is_name = name.starts_with("refs/") && !name.contains([' ', '\0']);
        (is_id(old) && is_id(new) && is_name).then(|| Self {
            old: old.to_owned(),
            new: new.to_owned(),
            name: name.to_owned(),
        })
    }
}

fn is_null(id: &str) -> bool {
    id.bytes().all(|digit| digit == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_from_git_are_parsed() {
        let (one, none) = ("1".repeat(40), "0".repeat(40));
        let text = format!("{none} {one} refs/heads/a\n{one} {none} refs/tags/b\n{one} {one} refs/heads/ü\n");
        let updates = RefUpdate::parse_all(&text).unwrap();
        let read: Vec<_> = updates
            .iter()
            .map(|update| (update.is_creation(), update.is_deletion(), update.branch()))
            .collect();
        assert_eq!(read, [(true, false, Some("a")), (false, true, None), (false, false, Some("ü"))]);
        assert!(RefUpdate::parse_all("").unwrap().is_empty());
        for text in ["\n", "1 2", "1  refs/heads/a", "x 1 refs/heads/a", "1 2 main", "1 2 refs/heads/a b"] {
            assert!(RefUpdate::parse_all(text).is_err(), "{text:?}");
        }
    }
}
