//! The `Link` header (RFC 8288), as far as it leads from one page to the next.
//!
//! A parser of its own, by appendix B.2 of the RFC: crates that read the header split it at commas and semicolons, which may stand
//! in its URLs and quoted texts. It reads each character once, and at most [`LINKS_MAX`] links.

use std::borrow::Cow;

/// The most links that are looked at.
const LINKS_MAX: usize = 64;

/// The target of the first link in `field`, a whole field value, whose relation is `relation`; it may be relative.
pub(super) fn target<'a>(field: &'a str, relation: &str) -> Option<&'a str> {
    let mut rest = field;
    for _ in 0..LINKS_MAX {
        let link = rest.trim_start_matches([' ', '\t', ',']).strip_prefix('<')?;
        let (target, after) = link.split_once('>')?;
        let parameters;
        (parameters, rest) = Parameters::read(after);
        let relations = parameters.relations.unwrap_or_default();
        // One with an anchor is a link of another page than the one that was asked for.
        if !parameters.has_anchor
            && relations.split_ascii_whitespace().any(|one| one.eq_ignore_ascii_case(relation))
        {
            return Some(target.trim());
        }
    }
    None
}

/// What is said of a link.
#[derive(Default)]
struct Parameters<'a> {
    /// Of the first `rel`, which alone counts; names with blanks between them.
    relations: Option<Cow<'a, str>>,
    has_anchor: bool,
}

impl<'a> Parameters<'a> {
    /// The parameters at the beginning of `text`, and what follows them.
    fn read(text: &'a str) -> (Self, &'a str) {
        let mut parameters = Self::default();
        let mut rest = text.trim_start();
        while let Some(after) = rest.strip_prefix(';') {
            let (name, after) = after.split_at(after.find(['=', ';', ',']).unwrap_or(after.len()));
            let (value, after) = match after.strip_prefix('=') {
                Some(after) => value(after.trim_start()),
                None => (Cow::default(), after),
            };
            match name.trim() {
                name if name.eq_ignore_ascii_case("rel") => {
                    parameters.relations = parameters.relations.or(Some(value));
                }
                name if name.eq_ignore_ascii_case("anchor") => parameters.has_anchor = true,
                _ => {}
            }
            rest = after.trim_start();
        }
        (parameters, rest)
    }
}

/// The value at the beginning of `text`, a word or a quoted text, and what follows it.
fn value(text: &str) -> (Cow<'_, str>, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = text.split_at(text.find([';', ',']).unwrap_or(text.len()));
        return (Cow::Borrowed(word.trim()), rest);
    };
    let (mut value, mut characters) = (String::new(), quoted.chars());
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => value.extend(characters.next()),
            _ => value.push(character),
        }
    }
    (Cow::Owned(value), characters.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_next_page_is_where_the_header_says() {
        #[track_caller]
        fn check(field: &str, expected: Option<&str>) {
            assert_eq!(target(field, "next"), expected, "{field}");
        }
        check(
            "<https://a/?page=2>; rel=\"next\", <https://a/?page=9>; rel=\"last\"",
            Some("https://a/?page=2"),
        );
        check(
            "<https://a/?page=1>; rel=\"prev\", <https://a/?page=3>; rel=\"next\"",
            Some("https://a/?page=3"),
        );
        check("<https://a/?x=a,b;c>; rel=\"next\"", Some("https://a/?x=a,b;c"));
        check("<https://a/>; rel=next", Some("https://a/"));
        check("< https://a/ > ; REL = \"last Next\"", Some("https://a/"));
        check("<https://a/>; title=\"a, b; \\\"rel=next\\\" <c>\"; rel=\"next\"", Some("https://a/"));
        check("<https://a/>; title=\"; rel=next\"; rel=last, <https://b/>; rel=next", Some("https://b/"));
        check("<https://a/>; rel=last; rel=next", None);
        check("<https://a/>; anchor=\"#x\"; rel=next, </b>;rel=next", Some("/b"));
        check("<https://a/>; crossorigin; rel=next;", Some("https://a/"));
        check(", ,<?page=2>;rel=next", Some("?page=2"));
        check("<https://a/?page=1>; rel=\"first\"", None);
        check("<https://a/>; rel=\"nextish\"", None);
        check("<https://a/>; rel", None);
        check("https://a/; rel=next", None);
        check("<https://a/; rel=next", None);
        check("", None);
    }

    #[test]
    fn only_so_many_links_are_looked_at() {
        let field = |before: usize| format!("{}<b>;rel=next", "<a>;rel=x,".repeat(before));
        assert_eq!(target(&field(LINKS_MAX - 1), "next"), Some("b"));
        assert_eq!(target(&field(LINKS_MAX), "next"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(field in "[<>;,=\" \\\\a-cé]{0,40}|\\PC{0,40}") {
            let _ = target(&field, "next");
        }
    }
}
