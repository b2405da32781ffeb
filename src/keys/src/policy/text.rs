//! What people paste: the line of a `.pub` file, or one of many things that are none.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::algorithm::Algorithm;
use super::limits::KEY_TEXT_BYTES_MAX;
use super::refusal::Refusal;

/// The words of a key's line. Only the type is judged yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeyLine<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) base64: &'a str,
    pub(super) comment: Option<&'a str>,
}

/// What OpenSSH takes for a blank between words.
const BLANKS: [char; 2] = [' ', '\t'];
/// What may surround a line: a file ends in a newline, and a copied text begins with some.
const AROUND: [char; 4] = [' ', '\t', '\r', '\n'];

/// Texts that every file with a private key of some format holds. They are looked for wherever they
/// stand, so that indentation, lost line breaks or a key in a comment hide nothing. A comment that only
/// says so in capitals is refused with them. They are prepared once, for the million keys of a first sync.
static PRIVATE_KEY_MARKS: LazyLock<[Finder<'static>; 4]> = LazyLock::new(|| {
    [
        // PEM and OpenSSH armour of every kind, PGP, ssh.com's SSH2, and SSH protocol 1.
        "PRIVATE KEY",
        // PuTTY's PPK, whose public half never stands alone in this format.
        "PuTTY-User-Key-File-",
        "Private-Lines:",
        // The base64 of "openssh-key-v1", for an armour that lost its header.
        "b3BlbnNzaC1rZXktdjE",
    ]
    .map(Finder::new)
});

/// The longest name of a type that a refusal repeats, in bytes.
const TYPE_NAME_BYTES_MAX: usize = 64;
/// How types of keys and signatures in use begin. Whatever else stands first may be a secret that was
/// pasted by mistake, and is not repeated.
const TYPE_NAME_PREFIXES: [&str; 6] = ["ssh-", "sk-", "ecdsa-", "rsa-", "x509v3-", "webauthn-"];

/// The words of `text`.
pub(super) fn parse(text: &str) -> Result<KeyLine<'_>, Refusal> {
    let beginning = text.get(..text.floor_char_boundary(KEY_TEXT_BYTES_MAX)).unwrap_or(text);
    if PRIVATE_KEY_MARKS.iter().any(|mark| mark.find(beginning.as_bytes()).is_some()) {
        return Err(Refusal::PrivateKey);
    }
    if beginning.len() < text.len() {
        return Err(Refusal::TooLong);
    }
    let line = text.trim_matches(AROUND);
    if line.is_empty() {
        return Err(Refusal::Empty);
    }
    refuse_other_lines(line)?;
    let (first, rest) = split_word(line);
    let algorithm = Algorithm::named(first).ok_or_else(|| explain_first_word(first, rest))?;
    let (base64, comment) = split_word(rest);
    if base64.is_empty() {
        return Err(Refusal::DataMissing);
    }
    if comment.contains('\t') {
        return Err(Refusal::ControlCharacter('\t'.into()));
    }
    Ok(KeyLine { algorithm, base64, comment: (!comment.is_empty()).then_some(comment) })
}

/// Everything but one line of printable characters and blanks.
fn refuse_other_lines(line: &str) -> Result<(), Refusal> {
    let is_broken = line.contains(['\n', '\r']);
    if is_broken || line.starts_with("--") {
        refuse_documents(line)?;
    }
    if is_broken {
        return Err(Refusal::MoreThanOneLine);
    }
    match line.chars().find(|&character| character.is_control() && character != '\t') {
        Some(character) => Err(Refusal::ControlCharacter(character.into())),
        None => Ok(()),
    }
}

/// Public keys in the formats of other programs, which are recognised by their header.
fn refuse_documents(text: &str) -> Result<(), Refusal> {
    if text.contains("BEGIN SSH2 PUBLIC KEY") {
        Err(Refusal::Ssh2PublicKey)
    } else if text.contains("BEGIN RSA PUBLIC KEY") {
        Err(Refusal::Pkcs1PublicKey)
    } else if text.contains("BEGIN PUBLIC KEY") {
        Err(Refusal::Pkcs8PublicKey)
    } else if text.starts_with("--") {
        Err(Refusal::NotAKey)
    } else {
        Ok(())
    }
}

/// The first word of `text`, and what follows without the blanks between.
fn split_word(text: &str) -> (&str, &str) {
    text.split_once(BLANKS).map_or((text, ""), |(word, rest)| (word, rest.trim_start_matches(BLANKS)))
}

/// Why a line whose first word is not an accepted type is no key.
fn explain_first_word(first: &str, rest: &str) -> Refusal {
    if first == "ssh-dss" {
        Refusal::Dsa
    } else if is_certificate(first) {
        Refusal::Certificate
    } else if rest.split(BLANKS).any(is_type) {
        Refusal::Options
    } else if first.starts_with("AAAA") {
        Refusal::TypeMissing
    } else if is_type_name(first) {
        Refusal::UnknownType(first.into())
    } else {
        Refusal::NotAKey
    }
}

fn is_type(word: &str) -> bool {
    Algorithm::named(word).is_some() || word == "ssh-dss" || is_certificate(word)
}

fn is_certificate(word: &str) -> bool {
    ["-cert-v00@openssh.com", "-cert-v01@openssh.com"].iter().any(|suffix| word.ends_with(suffix))
}

fn is_type_name(word: &str) -> bool {
    word.len() <= TYPE_NAME_BYTES_MAX
        && TYPE_NAME_PREFIXES.iter().any(|prefix| word.starts_with(prefix))
        && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'@'))
}
