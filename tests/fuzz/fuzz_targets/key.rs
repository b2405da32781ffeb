//! Fuzzes the key policy: an accepted key has one canonical text, which is accepted again.

#![no_main]

use pushkeys_keys::{Policy, ValidKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let policy = Policy::default();
    if let Ok(key) = ValidKey::check(text, &policy) {
        let again = ValidKey::check(key.canonical_text(), &policy).unwrap();
        assert_eq!((again.canonical_text(), again.fingerprint()), (key.canonical_text(), key.fingerprint()));
        assert!(!key.canonical_text().contains(['\n', '\r', '\0', '"']));
    }
});
