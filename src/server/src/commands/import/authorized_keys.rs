//! Parsing of lines of an `authorized_keys` file.

use std::collections::HashSet;

use pushkeys_keys::{AccountName, KeyName};

use super::line::{ImportLine, LineName};

/// Prefixes of key types; a line that begins otherwise begins with options.
const TYPES: [&str; 3] = ["ssh-", "ecdsa-", "sk-"];

/// The key in a line of the file of `account`, not validated yet; `None` for an empty line or a comment.
pub(super) fn read(line: &[u8], account: &AccountName) -> Result<Option<ImportLine>, String> {
    let line = std::str::from_utf8(line).map_err(|_| "the line is not text".to_owned())?.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    if !TYPES.iter().any(|kind| line.starts_with(kind)) {
        // Without its options the key would be allowed more, so the operator has to decide.
        return Err("the line begins with options or is not a key: remove the options and import it \
                    again, if the key may have the same rights as any other key"
            .to_owned());
    }
    let comment = line.split_ascii_whitespace().skip(2).collect::<Vec<_>>().join(" ");
    let (name, text) = (LineName::Comment(comment), line.to_owned());
    Ok(Some(ImportLine { account: account.clone(), name, text }))
}

/// The names taken by earlier lines: in many files all keys have the same comment.
#[derive(Default)]
pub(super) struct Names(HashSet<KeyName>);

impl Names {
    /// The name of the key in line `number`.
    pub(super) fn name(&mut self, comment: &str, number: u64) -> Result<KeyName, String> {
        let wanted = KeyName::parse(comment).ok().filter(|name| !self.0.contains(name));
        let name = match wanted {
            Some(name) => name,
            None => KeyName::parse(&format!("line {number}")).map_err(|error| error.to_string())?,
        };
        self.0.insert(name.clone());
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFKttpn0/QsZEPeH+MsCNvWPakMx1ZJyylMXCyyOheGO";

    #[test]
    fn lines_become_keys_named_after_their_comments_and_options_are_refused() {
        let (ana, mut names) = (AccountName::parse("ana").unwrap(), Names::default());
        let mut check = |line: &str, number: u64, expected: Result<Option<&str>, &str>| {
            let read = read(line.as_bytes(), &ana).map(|wanted| {
                let LineName::Comment(comment) = wanted?.name else { return None };
                Some(names.name(&comment, number).unwrap())
            });
            match (read, expected) {
                (Ok(name), Ok(expected)) => {
                    assert_eq!(name.as_ref().map(KeyName::as_str), expected, "{line}");
                }
                (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason}"),
                (read, expected) => panic!("{line}: {read:?} instead of {expected:?}"),
            }
        };
        check("", 1, Ok(None));
        check("  # ana's", 2, Ok(None));
        check(&format!("{KEY} ana@laptop\r\n"), 3, Ok(Some("ana@laptop")));
        check(&format!("{KEY} ana@laptop"), 4, Ok(Some("line 4")));
        check(KEY, 5, Ok(Some("line 5")));
        check(&format!("from=\"10.0.0.0/8\" {KEY} x"), 6, Err("options"));
        check(&format!("cert-authority {KEY}"), 7, Err("options"));
        check("-----BEGIN OPENSSH PRIVATE KEY-----", 9, Err("not a key"));
    }
}
