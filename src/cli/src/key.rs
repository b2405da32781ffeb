//! A key as it is named on the command line: by its fingerprint, its file or its text.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use pushkeys_keys::{
    Fingerprint, Hint, KEY_TEXT_BYTES_MAX, ParseFingerprintError, Policy, Refusal, ValidKey,
};
use thiserror::Error;

/// Why an argument names no key. No variant repeats the text: it may be a private key.
#[derive(Debug, Error)]
pub(crate) enum KeyArgumentError {
    #[error("this is not a fingerprint")]
    Fingerprint(#[source] Hint),
    #[error("cannot read the key file `{}`", path.display())]
    Read { path: PathBuf, source: Hint },
    #[error("no source can have this key")]
    Refused(#[from] Refusal),
}

const ACCEPTED: &str =
    "ssh-keygen -lf KEY.pub prints the fingerprint; a .pub file or the text of a key will do too";

/// The fingerprint of the key that `argument` names.
pub(crate) fn fingerprint_of(argument: &str) -> Result<Fingerprint, KeyArgumentError> {
    if argument.starts_with("SHA256:") || argument.starts_with("MD5:") {
        return argument.parse().map_err(|error: ParseFingerprintError| {
            KeyArgumentError::Fingerprint(Hint::because(ACCEPTED, error))
        });
    }
    // The type and the base64 of a key's text are two words; a file's name with a blank in it can be given as `./NAME`.
    let is_text = argument.contains(char::is_whitespace) && !argument.starts_with(['/', '.']);
    let key = if is_text { check(argument)? } else { check(&read(PathBuf::from(argument))?)? };
    Ok(key.fingerprint())
}

fn check(text: &str) -> Result<ValidKey, Refusal> {
    ValidKey::check(text, &Policy::default())
}

fn read(path: PathBuf) -> Result<String, KeyArgumentError> {
    let mut bytes = Vec::new();
    // One byte more than is accepted, so that what is too long is refused as such.
    let bytes_max = KEY_TEXT_BYTES_MAX as u64 + 1;
    File::open(&path)
        .and_then(|file| file.take(bytes_max).read_to_end(&mut bytes))
        .map_err(|error| KeyArgumentError::Read { path, source: Hint::because(ACCEPTED, error) })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA1eqRm75Cn6V7qPQDeMAkRqexxT/MhuRsCwnzJoA66k";

    fn error_of(argument: &str) -> String {
        pushkeys_keys::ErrorReport::of(&fingerprint_of(argument).unwrap_err()).to_string()
    }

    #[test]
    fn fingerprint_text_and_file_name_the_same_key() {
        let fingerprint = fingerprint_of(KEY).unwrap();
        assert_eq!(fingerprint_of(&fingerprint.to_string()).unwrap(), fingerprint);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my key.pub");
        std::fs::write(&path, format!("{KEY} ana@laptop\n")).unwrap();
        assert_eq!(fingerprint_of(path.to_str().unwrap()).unwrap(), fingerprint);
    }

    #[test]
    fn what_names_no_key_is_not_repeated() {
        let private = error_of("-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0");
        assert!(private.contains("private key") && !private.contains("c2VjcmV0"), "{private}");
        assert!(error_of("MD5:01:0e").starts_with("this is not a fingerprint: "));
        assert!(
            error_of("/nonexistent/\x1b.pub")
                .starts_with("cannot read the key file `/nonexistent/\\u{1b}.pub`: ")
        );
    }
}
