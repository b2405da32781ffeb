//! Lines of an `authorized_keys` file, for accounts that move in from one.

use std::collections::HashSet;

use keys::{Name, Policy, ValidKey};

use crate::store::ImportItem;

/// What key types begin with; another first word is options.
const TYPES: [&str; 3] = ["ssh-", "ecdsa-", "sk-"];

/// The file of one account, line by line.
pub(super) struct AuthorizedKeys {
    account: Name,
    /// The names that are taken by lines before: many files have one comment on every key.
    names: HashSet<Name>,
}

impl AuthorizedKeys {
    pub(super) fn of(account: Name) -> Self {
        Self { account, names: HashSet::new() }
    }

    /// The key in line `number`, named after its comment; nothing where there is none.
    pub(super) fn judge(
        &mut self,
        line: &[u8],
        number: u64,
        policy: &Policy,
    ) -> Result<Option<ImportItem>, String> {
        let line = std::str::from_utf8(line).map_err(|_| "the line is not text".to_owned())?.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        if !TYPES.iter().any(|kind| line.starts_with(kind)) {
            // Without them the key could do more than before, so a person has to decide.
            return Err(
                "the line begins with options or is no key; hint: take the options away, and import it \
                        again if the key may then do what every other key may"
                    .to_owned(),
            );
        }
        let key = ValidKey::check(line, policy).map_err(|refusal| refusal.to_string())?;
        let comment = line.split_ascii_whitespace().skip(2).collect::<Vec<_>>().join(" ");
        let name = self.name(&comment, number)?;
        Ok(Some(ImportItem { account: self.account.clone(), name, key, text: line.to_owned() }))
    }

    fn name(&mut self, comment: &str, number: u64) -> Result<Name, String> {
        let wanted = Name::parse(comment).ok().filter(|name| !self.names.contains(name));
        let name = match wanted {
            Some(name) => name,
            None => Name::parse(&format!("line {number}")).map_err(|error| error.to_string())?,
        };
        self.names.insert(name.clone());
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFKttpn0/QsZEPeH+MsCNvWPakMx1ZJyylMXCyyOheGO";

    #[test]
    fn lines_become_keys_named_after_their_comments_and_options_are_refused() {
        let mut file = AuthorizedKeys::of(Name::parse("ana").unwrap());
        let mut check = |line: &str, number: u64, expected: Result<Option<&str>, &str>| {
            let judged = file.judge(line.as_bytes(), number, &Policy::default());
            match (judged, expected) {
                (Ok(item), Ok(name)) => {
                    assert_eq!(item.as_ref().map(|item| item.name.as_str()), name, "{line}");
                }
                (Err(reason), Err(part)) => assert!(reason.contains(part), "{reason}"),
                (judged, expected) => panic!("{line}: {:?} instead of {expected:?}", judged.err()),
            }
        };
        check("", 1, Ok(None));
        check("  # ana's", 2, Ok(None));
        check(&format!("{KEY} ana@laptop\r\n"), 3, Ok(Some("ana@laptop")));
        check(&format!("{KEY} ana@laptop"), 4, Ok(Some("line 4")));
        check(KEY, 5, Ok(Some("line 5")));
        check(&format!("from=\"10.0.0.0/8\" {KEY} x"), 6, Err("options"));
        check(&format!("cert-authority {KEY}"), 7, Err("options"));
        check("ssh-ed25519 AAAA", 8, Err(""));
        check("-----BEGIN OPENSSH PRIVATE KEY-----", 9, Err("no key"));
    }
}
