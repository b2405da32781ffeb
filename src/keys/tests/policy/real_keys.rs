//! Keys made by `ssh-keygen`, whose output is the expectation.

use num_bigint::BigUint;
use pushkeys_keys::{Algorithm, Policy, Refusal, ValidKey, shared_factors};

use crate::vectors::{twins, vectors};
use crate::{oracle, rsa, wire};

/// Checks that the key in `line` is accepted, and that OpenSSH and the crate `ssh-key` agree on its properties.
#[track_caller]
fn check(line: &str) -> ValidKey {
    let key = ValidKey::check(line, &Policy::default()).unwrap_or_else(|refusal| panic!("{refusal}: {line}"));
    let expected = oracle::list(line, "sha256").unwrap_or_else(|| panic!("ssh-keygen refuses {line}"));
    let found = (key.bits(), key.fingerprint().to_string(), key.algorithm().short_name().to_owned());
    assert_eq!(found, expected, "{line}");
    let (_, md5, _) = oracle::list(line, "md5").unwrap();
    assert_eq!(format!("MD5:{}", key.md5()), md5, "{line}");
    // The crate does not support this type.
    if key.algorithm() != Algorithm::MlDsa44Ed25519 {
        let peer = ssh_key::PublicKey::from_openssh(key.canonical_text()).unwrap();
        assert_eq!(peer.fingerprint(ssh_key::HashAlg::Sha256).to_string(), expected.1, "{line}");
    }
    key
}

#[test]
fn every_type_that_ssh_keygen_makes_is_accepted_with_the_properties_that_openssh_prints() {
    let check = |arguments: &[&str], algorithm: Algorithm, bits: u32| {
        let line = oracle::generate(arguments).unwrap();
        let key = check(&line);
        assert_eq!((key.algorithm(), key.bits(), key.comment()), (algorithm, bits, Some("ana@laptop")));
        assert_eq!(line, format!("{} ana@laptop\n", key.canonical_text()));
        assert!(line.starts_with(&format!("{algorithm} ")));
    };
    check(&["-t", "ed25519"], Algorithm::Ed25519, 256);
    check(&["-t", "ecdsa", "-b", "256"], Algorithm::EcdsaP256, 256);
    check(&["-t", "ecdsa", "-b", "384"], Algorithm::EcdsaP384, 384);
    check(&["-t", "ecdsa", "-b", "521"], Algorithm::EcdsaP521, 521);
    check(&["-t", "rsa", "-b", "2048"], Algorithm::Rsa, 2048);
    check(&["-t", "rsa", "-b", "3072"], Algorithm::Rsa, 3072);
    check(&["-t", "rsa", "-b", "4096"], Algorithm::Rsa, 4096);
}

/// The expectation is the output of `ssh-keygen -lf` of OpenSSH 10.6, which made the key.
#[test]
fn a_key_of_openssh_10_6_has_the_properties_that_its_ssh_keygen_prints() {
    let line = include_str!("mldsa44_ed25519.pub");
    let key = ValidKey::check(line, &Policy::default()).unwrap();
    let found = (key.bits(), key.fingerprint().to_string(), key.algorithm().short_name());
    let expected = "SHA256:wJ9n7lMWnCIsNqU6PFENUPjTsWe8yhFfTW8nIs0Y/ws".to_owned();
    assert_eq!(found, (512, expected, "MLDSA44-ED25519"));
    assert_eq!(line, format!("{} ana@laptop\n", key.canonical_text()));
    if let Some(made_here) = oracle::generate(&["-t", "mldsa44-ed25519"]) {
        check(&made_here);
    }
}

#[test]
fn weak_types_that_ssh_keygen_makes_are_refused() {
    let check = |arguments: &[&str], expected: Refusal| {
        // Newer releases no longer make them.
        if let Some(line) = oracle::generate(arguments) {
            assert_eq!(ValidKey::check(&line, &Policy::default()), Err(expected), "{line}");
        }
    };
    check(&["-t", "dsa"], Refusal::Dsa);
    check(&["-t", "rsa", "-b", "1024"], Refusal::RsaTooSmall(1024));
    check(&["-t", "rsa", "-b", "2047"], Refusal::RsaTooSmall(2047));
}

#[test]
fn openssh_agrees_on_every_accepted_key() {
    for twin in twins() {
        if oracle::knows_type(&twin) {
            check(&twin);
        }
    }
}

#[test]
fn keys_of_a_set_that_share_a_prime_are_found() {
    let prime = |start: u32| rsa::next_prime(BigUint::from(start) << 1018_u32);
    let (shared, others) = (prime(48), [prime(50), prime(52), prime(54)]);
    let key = |factors: [&BigUint; 2]| wire::rsa(&rsa::f4(), &(factors[0] * factors[1]));
    let (first, second) = (key([&shared, &others[0]]), key([&shared, &others[1]]));
    let (alone, other_type) = (key([&others[2], &prime(56)]), wire::ed25519(&[9; 32]));
    let set = [&*first, &*alone, "no key", "ssh-rsa AAAA", &*other_type, &*second, &*second];
    let fingerprint = |key: &str| ValidKey::check(key, &Policy::default()).unwrap().fingerprint();
    assert_eq!(shared_factors(set), [fingerprint(&first), fingerprint(&second)].into());
    // One key twice shares nothing with another.
    assert_eq!(shared_factors([&*second, &*second, &*alone]), [].into());
    assert_eq!(shared_factors([]), [].into());
}

/// C9: sshd asks for the fingerprint of its own encoding of a key.
#[test]
fn c9_an_encoding_that_openssh_would_write_differently_is_refused() {
    let modulus = rsa::sound(2048);
    let canonical = wire::rsa(&rsa::f4(), &modulus);
    let padded = wire::line("ssh-rsa", &[wire::string(&[0, 1, 0, 1]), wire::mpint(&modulus)]);
    assert_eq!(oracle::list(&padded, "sha256"), oracle::list(&canonical, "sha256"));
    assert_eq!(ValidKey::check(&padded, &Policy::default()), Err(Refusal::Number));
    check(&canonical);
}

/// C15: anyone can sign for these keys.
#[test]
fn c15_degenerate_keys_are_refused_although_openssh_reads_them() {
    let check = |line: &str, expected: Refusal| {
        assert!(oracle::list(line, "sha256").is_some(), "{line}");
        assert_eq!(ValidKey::check(line, &Policy::default()), Err(expected), "{line}");
    };
    check(&wire::ed25519(&[0; 32]), Refusal::Ed25519SmallOrder);
    check(&wire::sk_ed25519(&[0; 32], b"ssh:"), Refusal::Ed25519SmallOrder);
    check(&wire::rsa(&BigUint::from(1_u32), &rsa::sound(2048)), Refusal::RsaExponentSmall);
}

/// OpenSSH refuses these points, too, so no user loses a working key.
#[test]
fn points_that_openssh_does_not_read_are_refused() {
    use Refusal as R;
    let refusals = [R::EcdsaCompressed, R::EcdsaIdentity, R::EcdsaCoordinate, R::EcdsaOffCurve];
    for vector in vectors().into_iter().filter(|vector| refusals.contains(&vector.refusal)) {
        assert_eq!(oracle::list(&vector.refused, "sha256"), None, "{}", vector.rule);
    }
}
