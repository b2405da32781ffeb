//! Splits a command into words, like a POSIX shell.
//!
//! ```text
//! command = word *( SP word )
//! word    = 1*( single / double / escaped / plain )
//! single  = "'" *( any character but "'" ) "'"
//! double  = DQUOTE *( any character but DQUOTE "$" "`" "\" ) DQUOTE
//! escaped = "\" any printable ASCII character
//! plain   = ALPHA / DIGIT / one of "%+,-./:=@_~"
//! ```
//!
//! git and most clients put the path in single quotes (git's quote.c), Python's quote it only if necessary
//! (`shlex.quote`), and some use `"` or quote every word. All of these give the same words. Characters with a special
//! meaning in a shell (`$`, `;`, `*`, a newline…) are an error, since no client sends them.

use thiserror::Error;

/// Characters that are literal outside quotes. A `~` is not expanded.
const PLAIN: &[u8] = b"%+,-./:=@_~";

/// Why a command cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum WordError {
    #[error("a quote is not closed")]
    Unterminated,
    #[error("a newline is not accepted")]
    Newline,
    #[error("the control character U+{0:04X} is not accepted")]
    Control(u32),
    #[error("`{0}` has a meaning in a shell, and is accepted inside single quotes only")]
    Special(char),
    #[error("a word is not UTF-8")]
    NotUtf8,
    #[error("a blank is at the beginning, at the end, or doubled")]
    Blanks,
}

/// An iterator over the words of a command. It ends after an error.
#[derive(Debug, Clone)]
pub(crate) struct Words<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Words<'a> {
    /// The words of `command`.
    pub(crate) fn of(command: &'a [u8]) -> Self {
        Self { rest: Some(command) }
    }
}

impl Iterator for Words<'_> {
    type Item = Result<String, WordError>;

    fn next(&mut self) -> Option<Self::Item> {
        // There is no word after an error.
        let rest = self.rest.take()?;
        Some(word(rest).map(|(word, rest)| {
            self.rest = rest;
            word
        }))
    }
}

/// The first word of `bytes`, and the rest after the blank that follows it.
fn word(bytes: &[u8]) -> Result<(String, Option<&[u8]>), WordError> {
    let (mut text, mut rest) = (Vec::new(), bytes);
    while let Some((&first, after)) = rest.split_first() {
        rest = match first {
            b' ' if rest.len() == bytes.len() => return Err(WordError::Blanks),
            b' ' => return Ok((utf8(text)?, Some(after))),
            b'\'' => quoted(after, b'\'', &mut text)?,
            b'"' => quoted(after, b'"', &mut text)?,
            b'\\' => match after.split_first() {
                Some((&escaped, after)) if escaped.is_ascii_graphic() => {
                    text.push(escaped);
                    after
                }
                _ => return Err(WordError::Special('\\')),
            },
            _ if first.is_ascii_alphanumeric() || PLAIN.contains(&first) => {
                text.push(first);
                after
            }
            _ => return Err(refused(rest)),
        };
    }
    // An empty `bytes` means that the command is empty or ends with a blank.
    if bytes.is_empty() { Err(WordError::Blanks) } else { Ok((utf8(text)?, None)) }
}

/// Appends the text before the closing `quote` to `text`, and returns the rest after it.
fn quoted<'a>(bytes: &'a [u8], quote: u8, text: &mut Vec<u8>) -> Result<&'a [u8], WordError> {
    let end = bytes.iter().position(|&byte| byte == quote).ok_or(WordError::Unterminated)?;
    let (inside, rest) = bytes.split_at(end);
    for (index, &byte) in inside.iter().enumerate() {
        if byte.is_ascii_control() || quote == b'"' && b"$`\\".contains(&byte) {
            return Err(refused(inside.get(index..).unwrap_or_default()));
        }
    }
    text.extend_from_slice(inside);
    Ok(rest.get(1..).unwrap_or_default())
}

/// The error for the first character of `bytes`.
fn refused(bytes: &[u8]) -> WordError {
    let text = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    match text.chars().next() {
        None => WordError::NotUtf8,
        Some('\n') => WordError::Newline,
        Some(character) if character.is_control() => WordError::Control(character.into()),
        Some(character) => WordError::Special(character),
    }
}

fn utf8(bytes: Vec<u8>) -> Result<String, WordError> {
    let word = String::from_utf8(bytes).map_err(|_| WordError::NotUtf8)?;
    match word.chars().find(|character| character.is_control()) {
        None => Ok(word),
        Some(control) => Err(WordError::Control(control.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn words(command: &[u8]) -> Result<Vec<String>, WordError> {
        Words::of(command).collect()
    }

    /// Quotes like git's quote.c.
    fn quote_like_git(text: &str) -> String {
        format!("'{}'", text.replace('\'', "'\\''").replace('!', "'\\!'"))
    }

    /// Quotes like Python's `shlex.quote`.
    fn quote_like_python(text: &str) -> String {
        let is_plain = !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte));
        if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\"'\"'")) }
    }

    #[test]
    fn words_are_split_and_unquoted() {
        let check = |command: &str, expected: &[&str]| {
            assert_eq!(words(command.as_bytes()).unwrap(), expected, "{command}");
        };
        check("git-upload-pack 'app.git'", &["git-upload-pack", "app.git"]);
        check("git-upload-pack /app.git", &["git-upload-pack", "/app.git"]);
        check("\"git-upload-pack\" \"/it's\"", &["git-upload-pack", "/it's"]);
        check("'git' 'upload-pack' a", &["git", "upload-pack", "a"]);
        check("a'b'\"c\"\\'d", &["abc'd"]);
        check("'' x", &["", "x"]);
        check("'it'\\''s' 'a'\\!''", &["it's", "a!"]);
        check("'$(id);`id`\\'", &["$(id);`id`\\"]);
        check("'é'", &["é"]);
    }

    #[test]
    fn special_characters_of_a_shell_are_refused() {
        let check = |command: &[u8], expected: WordError| {
            assert_eq!(words(command), Err(expected), "{}", String::from_utf8_lossy(command));
        };
        for special in ["$", "`", ";", "&", "|", "<", ">", "(", ")", "*", "?", "[", "#", "!", "{", "^", "é"]
        {
            check(format!("x a{special}b").as_bytes(), WordError::Special(special.chars().next().unwrap()));
        }
        check(b"x \"$HOME\"", WordError::Special('$'));
        check(b"x \"a\\b\"", WordError::Special('\\'));
        check(b"x \\", WordError::Special('\\'));
        check(b"x 'a", WordError::Unterminated);
        check(b"x \"a", WordError::Unterminated);
        check(b"x\ny", WordError::Newline);
        check(b"x 'a\nb'", WordError::Newline);
        check(b"x\ty", WordError::Control(9));
        check("x 'a\u{85}b'".as_bytes(), WordError::Control(0x85));
        check(b"x 'a\0b'", WordError::Control(0));
        check(b"x '\xff'", WordError::NotUtf8);
        check(b"x \xff", WordError::NotUtf8);
        check(b"", WordError::Blanks);
        check(b" x", WordError::Blanks);
        check(b"x  y", WordError::Blanks);
        check(b"x ", WordError::Blanks);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in any::<Vec<u8>>()) {
            let _ = words(&bytes);
        }

        #[test]
        fn quoting_of_clients_round_trips(texts in prop::collection::vec("\\PC*", 1..4), is_git in any::<bool>()) {
            let quote = if is_git { quote_like_git } else { quote_like_python };
            let command = texts.iter().map(|text| quote(text)).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(words(command.as_bytes()), Ok(texts));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// A real shell is the oracle: accepted commands have the same words there.
        #[test]
        fn a_shell_splits_accepted_commands_alike(command in "[ab'\"\\\\ ./~$;*-]{1,12}") {
            if let Ok(words) = words(command.as_bytes()) {
                // A shell expands a tilde.
                prop_assume!(!words.iter().any(|word| word.starts_with('~')));
                let script = format!("printf '%s\\0' {command}");
                let output = Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
                let expected = words.join("\0") + "\0";
                prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{}", command);
            }
        }
    }
}
