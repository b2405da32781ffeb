//! Properties of all inputs.

use proptest::prelude::*;
use pushkeys_keys::{Algorithm, Policy, ValidKey};

use crate::oracle;
use crate::vectors::{ED25519, twins};

/// Checks that the canonical text of an accepted key is accepted as the same key, and that OpenSSH reads it as that key.
fn check_accepted(text: &str, policy: &Policy) -> Result<(), TestCaseError> {
    let Ok(key) = ValidKey::check(text, policy) else { return Ok(()) };
    let again = ValidKey::check(key.canonical_text(), policy).expect("a canonical text is accepted");
    prop_assert_eq!(again.canonical_text(), key.canonical_text());
    prop_assert_eq!((again.fingerprint(), again.comment()), (key.fingerprint(), None));
    if key.algorithm() != Algorithm::MlDsa44Ed25519 || oracle::knows_type(text) {
        let (bits, fingerprint, _) =
            oracle::list(key.canonical_text(), "sha256").expect("ssh-keygen reads it");
        prop_assert_eq!((bits, fingerprint), (key.bits(), key.fingerprint().to_string()));
    }
    Ok(())
}

fn types() -> impl Strategy<Value = &'static str> {
    prop::sample::select(Algorithm::ALL.map(Algorithm::name).to_vec())
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        check_accepted(&text, &Policy::default())?;
    }

    #[test]
    fn no_encoding_panics(name in types(), fields in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..5)) {
        let fields: Vec<_> = fields.iter().map(|field| crate::wire::string(field)).collect();
        check_accepted(&crate::wire::line(name, &fields), &Policy::default())?;
    }

    #[test]
    fn any_32_bytes_that_are_accepted_are_the_same_key_in_openssh(point in any::<[u8; 32]>()) {
        check_accepted(&crate::wire::ed25519(&point), &Policy::default())?;
    }

    #[test]
    fn blanks_and_comments_never_change_the_key(
        before in "[ \t]{0,3}", between in "[ \t]{1,3}", comment in "[ -~]{0,40}", after in "[ \t]{0,2}(\r?\n)?",
    ) {
        let (name, base64) = ED25519.split_once(' ').unwrap();
        let text = format!("{before}{name}{between}{base64} {comment}{after}");
        let key = ValidKey::check(&text, &Policy::default()).expect("a valid line is accepted");
        prop_assert_eq!(key.canonical_text(), ED25519);
        prop_assert_eq!(key.comment().unwrap_or_default(), comment.trim());
    }
}

#[test]
fn a_changed_byte_never_gives_a_key_that_openssh_reads_differently() {
    let policy = Policy::default();
    // Changes in a comment are irrelevant.
    for twin in twins().iter().filter(|twin| twin.split_whitespace().count() == 2) {
        // The step is a prime, so that over all keys each position in a group of base64 is changed.
        for place in (0..twin.len()).step_by(37) {
            for byte in [b' ', b'A', b'/', b'=', b'\n'] {
                let mut changed = twin.clone().into_bytes();
                changed[place] = byte;
                check_accepted(&String::from_utf8(changed).unwrap(), &policy).unwrap();
            }
        }
    }
}
