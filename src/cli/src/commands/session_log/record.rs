//! A line of the log, as pushkeys-shell writes it and syncd puts the time before it.
//!
//! ```text
//! TIME session login=… account=… key=… fingerprint=… answered=… [account_name="…"] [key_name="…"] [address=…] … asked=…
//! TIME push login=… account=… key=… fingerprint=… […] repository=… path=… old=… new=… ref=…
//! ```
//!
//! Texts are quoted, and the whole line is escaped after that. What a client chose comes last and runs to the end.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// How many digits of a commit's id are shown.
const ID_DIGITS: usize = 12;

/// One session, or one reference that a push changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SessionRecord {
    #[serde(serialize_with = "as_text")]
    pub(crate) at: Timestamp,
    pub(crate) login: String,
    pub(crate) account: String,
    pub(crate) account_name: Option<String>,
    #[serde(rename = "key_id")]
    pub(crate) key: String,
    pub(crate) key_name: Option<String>,
    pub(crate) fingerprint: String,
    pub(crate) address: Option<String>,
    pub(crate) repository: Option<String>,
    /// The repository's path below the root.
    pub(crate) path: Option<String>,
    /// How a session ended.
    pub(crate) answered: Option<String>,
    /// What a session's client asked for.
    pub(crate) asked: Option<String>,
    /// The reference that a push changed, and its commits before and after. All zeros stand for none.
    pub(crate) reference: Option<String>,
    pub(crate) old: Option<String>,
    pub(crate) new: Option<String>,
    /// How many references of a push are not logged by name.
    pub(crate) more: Option<u64>,
}

impl SessionRecord {
    /// The record of `line`, if it is one.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (at, line) = line.split_once(' ')?;
        let line = pushkeys_keys::unescape(line)?;
        let (kind, rest) = line.split_once(' ')?;
        if !matches!(kind, "session" | "push") {
            return None;
        }
        let fields = fields(rest)?;
        let get = |name: &str| fields.iter().find(|field| field.0 == name).map(|field| field.1.clone());
        let asked = get("asked");
        let repository = get("repository").or_else(|| repository_in(asked.as_deref()?));
        Some(Self {
            at: at.parse().ok()?,
            login: get("login")?,
            account: get("account")?,
            account_name: get("account_name"),
            key: get("key")?,
            key_name: get("key_name"),
            fingerprint: get("fingerprint")?,
            address: get("address"),
            repository,
            path: get("path"),
            answered: get("answered"),
            asked,
            reference: get("ref"),
            old: get("old"),
            new: get("new"),
            more: get("more").and_then(|more| more.parse().ok()),
        })
    }

    /// Whether it changed references.
    pub(crate) fn is_push(&self) -> bool {
        self.reference.is_some() || self.more.is_some()
    }

    /// Whether it is about `repository`: a name as users type it, or a path below the root.
    pub(crate) fn is_about(&self, repository: &str) -> bool {
        let name = repository.strip_suffix(".git").unwrap_or(repository);
        self.repository.as_deref() == Some(name) || self.path.as_deref() == Some(repository)
    }

    /// What was done, in words.
    pub(crate) fn what(&self) -> String {
        let repository = self.repository.as_deref().unwrap_or("?");
        if let (Some(reference), Some(old), Some(new)) = (&self.reference, &self.old, &self.new) {
            let short = |id: &String| id.get(..ID_DIGITS).unwrap_or(id).to_owned();
            let is_none = |id: &String| id.bytes().all(|digit| digit == b'0');
            return match (is_none(old), is_none(new)) {
                (true, _) => format!("pushed {reference} to {repository}, new at {}", short(new)),
                (_, true) => format!("deleted {reference} of {repository}, which was at {}", short(old)),
                _ => format!("pushed {reference} to {repository}, {}..{}", short(old), short(new)),
            };
        }
        if let Some(more) = self.more {
            return format!("pushed {more} more references to {repository}");
        }
        let unknown = "?".to_owned();
        let (asked, answered) =
            (self.asked.as_ref().unwrap_or(&unknown), self.answered.as_ref().unwrap_or(&unknown));
        format!("asked for {asked}: {answered}")
    }
}

fn as_text<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

/// The repository that a session `asked` for, if it asked for something that pushkeys-shell understood.
fn repository_in(asked: &str) -> Option<String> {
    let understood = asked.starts_with("git-").then_some(asked)?;
    Some(understood.split_once(" repository=")?.1.to_owned())
}

/// The fields of `text`, in their order: `NAME=VALUE` or `NAME="VALUE"`. What a client chose is all that is left.
fn fields(mut text: &str) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once('=')?;
        let (value, rest) = match name {
            "asked" | "ref" => (rest.to_owned(), ""),
            _ if rest.starts_with('"') => quoted(rest.get(1..)?)?,
            _ => rest.split_once(' ').map_or((rest.to_owned(), ""), |(value, rest)| (value.to_owned(), rest)),
        };
        fields.push((name.to_owned(), value));
        text = rest;
    }
    Some(fields)
}

/// The text up to the quote that ends it, and what follows the blank after that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            '"' => {
                let rest = text.get(at + 1..)?;
                return Some((value, rest.strip_prefix(' ').unwrap_or(rest)));
            }
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "2026-11-28T13:42:24Z push login=git account=acct_7 key=key_42 fingerprint=SHA256:x";

    #[test]
    fn a_push_says_who_did_what_to_which_reference() {
        let check = |old: &str, new: &str, expected: &str| {
            let line = format!(
                "{BEGIN} account_name=\"ana\" key_name=\"my \\\\\"work\\\\\" laptop\" address=192.0.2.1 repository=app \
                 path=acct_7/app.git old={} new={} ref=refs/heads/x old=y",
                old.repeat(40),
                new.repeat(40)
            );
            let record = SessionRecord::parse(&line).unwrap();
            assert_eq!(record.key_name.as_deref(), Some("my \"work\" laptop"));
            assert_eq!(record.address.as_deref(), Some("192.0.2.1"));
            assert_eq!(record.repository.as_deref(), Some("app"));
            assert_eq!(record.reference.as_deref(), Some("refs/heads/x old=y"), "it runs to the end");
            assert_eq!(record.what(), expected);
        };
        check("0", "1", "pushed refs/heads/x old=y to app, new at 111111111111");
        check("1", "0", "deleted refs/heads/x old=y of app, which was at 111111111111");
        check("1", "2", "pushed refs/heads/x old=y to app, 111111111111..222222222222");
        let more = SessionRecord::parse(&format!("{BEGIN} repository=app path=p more=7")).unwrap();
        assert_eq!(more.what(), "pushed 7 more references to app");
    }

    #[test]
    fn a_session_says_what_was_asked_and_answered() {
        let check = |rest: &str, repository: Option<&str>, expected: &str| {
            let line = format!("{} answered={rest}", BEGIN.replace("push", "session"));
            let record = SessionRecord::parse(&line).unwrap();
            assert_eq!(record.repository.as_deref(), repository, "{rest}");
            assert_eq!(record.what(), expected, "{rest}");
        };
        check(
            "served address=::1 status=0 duration_ms=3 asked=git-upload-pack repository=team/app",
            Some("team/app"),
            "asked for git-upload-pack repository=team/app: served",
        );
        check("greeted status=0 asked=shell", None, "asked for shell: greeted");
        check(
            "command-refused asked=command command=git-x repository=app",
            None,
            "asked for command command=git-x repository=app: command-refused",
        );
    }

    #[test]
    fn no_name_passes_for_a_field() {
        let line = format!(
            "{BEGIN} account_name=\"x\\\\\" address=203.0.113.9 \\\\\\\\\" address=192.0.2.1 repository=app"
        );
        let record = SessionRecord::parse(&line).unwrap();
        assert_eq!(record.account_name.as_deref(), Some("x\" address=203.0.113.9 \\"));
        assert_eq!(record.address.as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn a_damaged_line_is_no_record() {
        for line in [
            "",
            "2026-11-28T13:42:24Z",
            "2026-11-28T13:42:24Z misuse: x",
            "yesterday push login=git account=a key=k fingerprint=f",
            "2026-11-28T13:42:24Z push login=git key=k fingerprint=f",
            "2026-11-28T13:42:24Z push login=git account=\"a key=k fingerprint=f",
            "2026-11-28T13:42:24Z push \\x",
        ] {
            assert_eq!(SessionRecord::parse(line), None, "{line}");
        }
    }
}
