//! Parses the text that users paste: the line of a `.pub` file, or something else that is recognised and refused.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::algorithm::Algorithm;
use super::limits::KEY_TEXT_BYTES_MAX;
use super::refusal::Refusal;

/// The words of a key's line. Only the type is validated.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeyLine<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) base64: &'a str,
    pub(super) comment: Option<&'a str>,
}

/// The characters that OpenSSH treats as blanks between words.
const BLANKS: [char; 2] = [' ', '\t'];
/// The characters that are trimmed: a file ends with a newline, and a copied text can begin with some.
const AROUND: [char; 4] = [' ', '\t', '\r', '\n'];

/// Each file with a private key holds one of these texts. They are searched for everywhere in the text,
/// so that indentation, lost line breaks or a key in a comment hide nothing. A comment with
/// one of them is refused, too. The finders are built once, for the million keys of a first sync.
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
/// The prefixes of known types of keys and signatures. Any other first word may be a secret that was
/// pasted by mistake, and is not repeated.
const TYPE_NAME_PREFIXES: [&str; 6] = ["ssh-", "sk-", "ecdsa-", "rsa-", "x509v3-", "webauthn-"];

/// The beginning of the base64 of every key: the high bytes of the length of its type's name.
const DATA_BEGINNING: &str = "AAAA";
/// Commands of tutorials that users paste instead of their output.
const COMMANDS: [&str; 4] = ["ssh-keygen", "ssh-add", "ssh-copy-id", "ssh-keyscan"];

/// The former name of ML-DSA: OpenSSH 10.4 made such keys, and 10.6 does not read them.
const EXPERIMENTAL_MLDSA: &str = "ssh-mldsa44-ed25519@openssh.com";
/// The suffixes of certificate types. The newest one has no version.
const CERTIFICATE_SUFFIXES: [&str; 3] = ["-cert-v00@openssh.com", "-cert-v01@openssh.com", "-cert"];

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
    // The place of the first occurrence of a refused character.
    let place = |refused: char| 1 + text.chars().take_while(|&character| character != refused).count();
    if let Some(character) = line.chars().find(|&character| character.is_control() && character != '\t') {
        return Err(Refusal::ControlCharacter { character, place: place(character) });
    }
    let (first, rest) = split_word(line);
    let (base64, comment) = split_word(rest);
    let stray = [first, base64].into_iter().flat_map(str::chars).find(|character| !character.is_ascii());
    let stray = stray.map(|character| Refusal::StrayCharacter { character, place: place(character) });
    let Some(algorithm) = Algorithm::named(first) else {
        return Err(match explain_first_word(first, rest) {
            Refusal::NotAKey if line.contains(DATA_BEGINNING) => stray.unwrap_or(Refusal::NotAKey),
            refusal => refusal,
        });
    };
    if base64.is_empty() {
        return Err(Refusal::DataMissing);
    }
    if let Some(refusal) = stray {
        return Err(refusal);
    }
    if let Some((_, after)) = comment.split_once('\t') {
        let place = text.trim_end_matches(AROUND).chars().count() - after.chars().count();
        return Err(Refusal::ControlCharacter { character: '\t', place });
    }
    Ok(KeyLine { algorithm, base64, comment: (!comment.is_empty()).then_some(comment) })
}

/// Refuses texts of more than one line.
fn refuse_other_lines(line: &str) -> Result<(), Refusal> {
    let is_broken = line.contains(['\n', '\r']);
    if is_broken || line.starts_with("--") {
        refuse_documents(line)?;
    }
    if is_broken { Err(Refusal::MoreThanOneLine) } else { Ok(()) }
}

/// Refuses public keys in the formats of other programs, which are recognised by their header.
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
    } else if first == EXPERIMENTAL_MLDSA {
        Refusal::ExperimentalType
    } else if is_certificate(first) {
        Refusal::Certificate
    } else if rest.split(BLANKS).any(is_type) {
        Refusal::Options
    } else if COMMANDS.contains(&first) {
        Refusal::Command
    } else if first.starts_with(DATA_BEGINNING) {
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
    word.starts_with(TYPE_NAME_PREFIXES[0])
        && CERTIFICATE_SUFFIXES.iter().any(|suffix| word.ends_with(suffix))
}

fn is_type_name(word: &str) -> bool {
    word.len() <= TYPE_NAME_BYTES_MAX
        && TYPE_NAME_PREFIXES.iter().any(|prefix| word.starts_with(prefix))
        && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'@'))
}
