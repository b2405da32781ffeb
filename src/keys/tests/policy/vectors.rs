//! A vector for every rule of the policy: a text that violates it, and a similar text, its twin, that is accepted.

use std::collections::BTreeSet;

use base64ct::{Base64, Encoding};
use curve25519_dalek::constants::{ED25519_BASEPOINT_COMPRESSED, EIGHT_TORSION};
use num_bigint::BigUint;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use pushkeys_keys::{Algorithm, KEY_TEXT_BYTES_MAX, Policy, Refusal, ValidKey};

use crate::rsa::{self, f4};
use crate::wire::{self, mpint, string};

/// The key of a recorded client.
pub(crate) const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFKttpn0/QsZEPeH+MsCNvWPakMx1ZJyylMXCyyOheGO";

/// One rule.
pub(crate) struct Vector {
    pub(crate) rule: &'static str,
    pub(crate) refused: String,
    pub(crate) refusal: Refusal,
    pub(crate) twin: String,
}

fn vector(
    rule: &'static str,
    refused: impl Into<String>,
    refusal: Refusal,
    twin: impl Into<String>,
) -> Vector {
    Vector { rule, refused: refused.into(), refusal, twin: twin.into() }
}

/// All rules, in the order in which they are checked.
pub(crate) fn vectors() -> Vec<Vector> {
    [texts(), stray_characters(), encodings(), ed25519(), mldsa(), ecdsa(), rsa_numbers(), rsa_weaknesses()]
        .into_iter()
        .flatten()
        .collect()
}

/// The accepted texts, each once.
pub(crate) fn twins() -> BTreeSet<String> {
    vectors().into_iter().map(|vector| vector.twin).collect()
}

#[test]
fn a_text_that_violates_a_rule_is_refused_for_it() {
    for Vector { rule, refused, refusal, .. } in vectors() {
        assert_eq!(
            ValidKey::check(&refused, &Policy::default().thorough()),
            Err(refusal),
            "{rule}: {refused}"
        );
    }
}

#[test]
fn a_text_that_barely_satisfies_a_rule_is_accepted() {
    for Vector { rule, twin, .. } in vectors() {
        let result = ValidKey::check(&twin, &Policy::default().thorough());
        assert!(result.is_ok(), "{rule}: {result:?}: {twin}");
    }
}

#[test]
fn many_keys_are_validated_like_single_keys() {
    let policy = Policy::default();
    let check = |texts: &[&str]| {
        // A few keys would be checked one by one.
        let texts = texts.repeat(200);
        let expected: Vec<_> = texts.iter().map(|text| ValidKey::check(text, &policy)).collect();
        assert_eq!(ValidKey::check_all(texts.iter().copied(), &policy), expected);
    };
    let (vectors, twins) = (vectors(), twins());
    check(&twins.iter().map(String::as_str).collect::<Vec<_>>());
    // Once with a point off the curve among them, once without.
    let is_off_curve = |vector: &&Vector| vector.refusal == Refusal::Ed25519OffCurve;
    check(&vectors.iter().flat_map(|vector| [&*vector.refused, &*vector.twin]).collect::<Vec<_>>());
    check(
        &vectors
            .iter()
            .filter(|vector| !is_off_curve(vector))
            .map(|vector| &*vector.refused)
            .collect::<Vec<_>>(),
    );
    check(&[]);
}

/// The line of `length` bytes.
fn padded(length: usize) -> String {
    format!("{ED25519} {}", "x".repeat(length - ED25519.len() - 1))
}

fn texts() -> Vec<Vector> {
    use Refusal as R;
    let base64 = ED25519.strip_prefix("ssh-ed25519 ").unwrap();
    let certificate = "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29t";
    vec![
        vector("blanks only", " \t\r\n", R::Empty, format!(" \t\r\n{ED25519}")),
        vector("length of the text", padded(KEY_TEXT_BYTES_MAX + 1), R::TooLong, padded(KEY_TEXT_BYTES_MAX)),
        vector(
            "private key",
            format!("{ED25519} -----BEGIN OPENSSH PRIVATE KEY-----"),
            R::PrivateKey,
            format!("{ED25519} not my private key"),
        ),
        vector("SSH2", "---- BEGIN SSH2 PUBLIC KEY ----\nAAAA", R::Ssh2PublicKey, format!("{ED25519}\r\n")),
        vector(
            "PKCS #8",
            "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----",
            R::Pkcs8PublicKey,
            format!("{ED25519} -----BEGIN PUBLIC KEY-----"),
        ),
        vector("PKCS #1", "-----BEGIN RSA PUBLIC KEY-----\nMIIB", R::Pkcs1PublicKey, ED25519),
        vector("one line", format!("{ED25519}\n{ED25519}"), R::MoreThanOneLine, format!("{ED25519}\n")),
        vector(
            "control characters",
            format!("{ED25519} a\u{1b}[2J"),
            R::ControlCharacter { character: '\x1b', place: ED25519.len() + 3 },
            format!("{ED25519} é\u{2028}🔑"),
        ),
        vector(
            "options",
            format!("command=\"a b\" {ED25519}"),
            R::Options,
            format!("{ED25519} command=\"a b\""),
        ),
        vector("type missing", base64, R::TypeMissing, ED25519),
        vector("other text", "hunter2 hunter3", R::NotAKey, ED25519),
        vector("type", "ssh-ed448 AAAAC3NzaC1lZDI1NTE5AAAAIFKt", R::UnknownType("ssh-ed448".into()), ED25519),
        vector("certificate", "ssh-mldsa44-ed25519-cert AAAAGHNzaC1tbGRzYTQ0", R::Certificate, ED25519),
        vector(
            "experiment",
            "ssh-mldsa44-ed25519@openssh.com AAAAH3NzaC1tbGRzYTQ0",
            R::ExperimentalType,
            mldsa_twin(),
        ),
        vector("certificate", certificate, R::Certificate, format!("{ED25519} {certificate}")),
        vector("DSA", "ssh-dss AAAAB3NzaC1kc3MAAACB", R::Dsa, format!("{ED25519} ssh-dss")),
        vector("key missing", "ssh-ed25519 ", R::DataMissing, ED25519),
        vector(
            "published key",
            wire::ed25519(&hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")),
            R::Published,
            ED25519,
        ),
    ]
}

/// Pages, mails and word processors insert characters into copied text.
fn stray_characters() -> Vec<Vector> {
    let (kind, base64) = ED25519.split_once(' ').unwrap();
    let stray = |rule, refused: String, character: char, place: usize| {
        vector(rule, refused, Refusal::StrayCharacter { character, place }, ED25519)
    };
    vec![
        stray("BOM", format!("\u{feff}{ED25519} ana"), '\u{feff}', 1),
        stray("zero width space first", format!(" \u{200b}{ED25519}"), '\u{200b}', 2),
        stray("no-break space after the type", format!("{kind}\u{a0}{base64} ana"), '\u{a0}', 12),
        stray("ideographic space", format!("{kind}\u{3000}{base64}"), '\u{3000}', 12),
        stray("en dash", format!("ssh\u{2013}ed25519 {base64}"), '\u{2013}', 4),
        stray("quotes", format!("\u{201c}{ED25519} ana\u{201d}"), '\u{201c}', 1),
        stray(
            "zero width space after the key",
            format!("{ED25519}\u{200b} ana"),
            '\u{200b}',
            ED25519.len() + 1,
        ),
        stray("no-break space after the key", format!("{ED25519}\u{a0}ana"), '\u{a0}', ED25519.len() + 1),
        vector("in a comment", "é", Refusal::NotAKey, format!("{ED25519} é\u{200d}\u{a0}")),
        vector("command", "ssh-keygen -t ed25519 -C ana", Refusal::Command, format!("{ED25519} ssh-keygen")),
    ]
}

fn encodings() -> Vec<Vector> {
    use Refusal as R;
    let point = ED25519_BASEPOINT_COMPRESSED.to_bytes();
    let twin = wire::ed25519(&point);
    let (_, base64) = ED25519.split_once(' ').unwrap();
    let (begin, end) = base64.split_at(32);
    let sk_twin = wire::sk_ed25519(&point, b"ssh:");
    assert!(sk_twin.ends_with("aDo="), "{sk_twin}");
    let unused_bits = sk_twin.replace("aDo=", "aDp=");
    let unpadded = sk_twin.trim_end_matches('=');
    let sound = rsa::sound(2048);
    let rsa_twin = wire::rsa(&f4(), &sound);
    let rsa = |exponent: Vec<u8>, modulus: Vec<u8>| wire::line("ssh-rsa", &[exponent, modulus]);
    let two_zeros = [&[0, 0][..], &sound.to_bytes_be()].concat();
    vec![
        vector("base64 alphabet", ED25519.replace('+', "-"), R::Base64, ED25519),
        vector("base64 unused bits", unused_bits, R::Base64, &sk_twin),
        vector("base64 padding", unpadded, R::Base64, &sk_twin),
        vector("base64 needless padding", format!("{ED25519}="), R::Base64, format!("{ED25519} =")),
        vector("base64 in pieces", format!("ssh-ed25519 {begin} {end}"), R::Truncated, ED25519),
        vector("cut short", wire::ed25519(&point).split_at(60).0, R::Truncated, &twin),
        vector("length beyond the end", wire::line("ssh-ed25519", &[vec![0xff; 4]]), R::Truncated, &twin),
        vector(
            "trailing bytes",
            wire::line("ssh-ed25519", &[string(&point), vec![0]]),
            R::TrailingBytes,
            &twin,
        ),
        vector("type of line and key", format!("ssh-rsa {base64}"), R::TypeMismatch(Algorithm::Rsa), ED25519),
        vector(
            "type of security key",
            wire::line_of(
                "ssh-ed25519",
                &[string(b"sk-ssh-ed25519@openssh.com"), string(&point), string(b"ssh:")],
            ),
            R::TypeMismatch(Algorithm::Ed25519),
            &sk_twin,
        ),
        vector("zeros before exponent", rsa(string(&[0, 1, 0, 1]), mpint(&sound)), R::Number, &rsa_twin),
        vector("zeros before modulus", rsa(mpint(&f4()), string(&two_zeros)), R::Number, &rsa_twin),
        vector("zero as a byte", rsa(string(&[0]), mpint(&sound)), R::Number, &rsa_twin),
        vector("negative exponent", rsa(string(&[0x81, 0, 1]), mpint(&sound)), R::Negative, &rsa_twin),
        vector("negative modulus", rsa(mpint(&f4()), string(&sound.to_bytes_be())), R::Negative, &rsa_twin),
        vector(
            "empty application",
            wire::sk_ed25519(&point, b""),
            R::SkApplication,
            wire::sk_ed25519(&point, b"s"),
        ),
        vector(
            "long application",
            wire::sk_ed25519(&point, &[b'a'; 256]),
            R::SkApplication,
            wire::sk_ed25519(&point, &[b'a'; 255]),
        ),
        vector(
            "application with a control character",
            wire::sk_ecdsa(&p256_generator(), b"ssh:\n"),
            R::SkApplication,
            wire::sk_ecdsa(&p256_generator(), b"ssh:laptop 2"),
        ),
    ]
}

fn ed25519() -> Vec<Vector> {
    use Refusal as R;
    let point = ED25519_BASEPOINT_COMPRESSED.to_bytes();
    let twin = wire::ed25519(&point);
    let sk_twin = wire::sk_ed25519(&point, b"ssh:");
    let mut off_curve = [0; 32];
    off_curve[0] = 2;
    let mut vectors = vec![
        vector("31 bytes", wire::ed25519(&point[1..]), R::Ed25519Length(31), &twin),
        vector("33 bytes", wire::ed25519(&[0; 33]), R::Ed25519Length(33), &twin),
        vector("off the curve", wire::ed25519(&off_curve), R::Ed25519OffCurve, &twin),
        vector("off the curve, sk", wire::sk_ed25519(&off_curve, b"ssh:"), R::Ed25519OffCurve, &sk_twin),
    ];
    for small in small_order_points() {
        vectors.push(vector("small order", wire::ed25519(&small), R::Ed25519SmallOrder, &twin));
        vectors.push(vector(
            "small order, sk",
            wire::sk_ed25519(&small, b"ssh:"),
            R::Ed25519SmallOrder,
            &sk_twin,
        ));
    }
    // y from p to 2^255 - 1, with both signs of x.
    for (lowest, highest) in (0xed..=0xff).flat_map(|lowest| [(lowest, 0x7f), (lowest, 0xff)]) {
        let mut unreduced = [0xff; 32];
        (unreduced[0], unreduced[31]) = (lowest, highest);
        vectors.push(vector("y not reduced", wire::ed25519(&unreduced), R::Ed25519NonCanonical, &twin));
    }
    vectors
}

/// The eight points of small order, as known from attacks on other programs, and the two second
/// encodings with a sign of zero.
fn small_order_points() -> Vec<Vec<u8>> {
    let mut points: Vec<_> = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ]
    .map(hex)
    .into();
    let mut expected = EIGHT_TORSION.map(|point| point.compress().to_bytes().to_vec());
    points.sort();
    expected.sort();
    assert_eq!(points, expected);
    points.push(hex("0100000000000000000000000000000000000000000000000000000000000080"));
    points.push(hex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"));
    points
}

/// The key that OpenSSH 10.6 made.
fn mldsa_twin() -> String {
    let line = include_str!("mldsa44_ed25519.pub");
    line.rsplit_once(' ').unwrap().0.to_owned()
}

fn mldsa() -> Vec<Vector> {
    use Refusal as R;
    let blob = Base64::decode_vec(mldsa_twin().split_once(' ').unwrap().1).unwrap();
    let key = &blob[4 + "ssh-mldsa44-ed25519".len() + 4..];
    let changed = |change: &dyn Fn(&mut [u8])| {
        let mut key = key.to_vec();
        change(&mut key);
        wire::mldsa44_ed25519(&key)
    };
    // Each of four polynomials takes 320 bytes: five for four coefficients.
    let polynomial = |number: usize| 32 + 320 * number..32 + 320 * (number + 1);
    let degenerate =
        |rule, change: &dyn Fn(&mut [u8])| vector(rule, changed(change), R::MlDsaDegenerate, mldsa_twin());
    vec![
        vector("1343 bytes", wire::mldsa44_ed25519(&key[1..]), R::MlDsaLength(1343), mldsa_twin()),
        vector(
            "1345 bytes",
            wire::mldsa44_ed25519(&[key, &[0]].concat()),
            R::MlDsaLength(1345),
            mldsa_twin(),
        ),
        vector("ML-DSA alone", wire::mldsa44_ed25519(&key[..1312]), R::MlDsaLength(1312), mldsa_twin()),
        degenerate("t1 is zero", &|key| key[32..1312].fill(0)),
        degenerate("t1 is minus one", &|key| key[32..1312].fill(0xff)),
        degenerate("one polynomial is zero", &|key| key[polynomial(2)].fill(0)),
        vector(
            "129 of 256 coefficients near zero",
            changed(&|key| {
                key[polynomial(3)].copy_from_slice(&[0x55; 320]);
                key[polynomial(3)][..161].fill(0);
                // The 129th is eight bits of this byte and two of the next.
                key[polynomial(3)][161] = 0x54;
            }),
            R::MlDsaDegenerate,
            changed(&|key| {
                key[polynomial(3)].copy_from_slice(&[0x55; 320]);
                key[polynomial(3)][..160].fill(0);
            }),
        ),
        vector("small order", changed(&|key| key[1312..].fill(0)), R::Ed25519SmallOrder, mldsa_twin()),
        vector("not canonical", changed(&|key| key[1312..].fill(0xff)), R::Ed25519NonCanonical, mldsa_twin()),
        vector(
            "off the curve",
            changed(&|key| {
                key[1312..].fill(0);
                key[1312] = 2;
            }),
            R::Ed25519OffCurve,
            mldsa_twin(),
        ),
    ]
}

fn p256_generator() -> Vec<u8> {
    p256::AffinePoint::GENERATOR.to_encoded_point(false).as_bytes().to_vec()
}

/// The first point of P-256 whose x is `start` or more.
fn p256_point(start: &BigUint) -> Vec<u8> {
    let mut x = start.clone();
    loop {
        let mut compressed = [&[2; 33][..]].concat();
        let bytes = x.to_bytes_be();
        compressed[1..].fill(0);
        compressed[33 - bytes.len()..].copy_from_slice(&bytes);
        if let Ok(key) = p256::PublicKey::from_sec1_bytes(&compressed) {
            return key.to_encoded_point(false).as_bytes().to_vec();
        }
        x += 1_u32;
    }
}

fn ecdsa() -> Vec<Vector> {
    use Refusal as R;
    let point = p256_generator();
    let twin = wire::ecdsa("nistp256", &point);
    let compressed = p256::AffinePoint::GENERATOR.to_encoded_point(true).as_bytes().to_vec();
    let hybrid = [&[6], &point[1..]].concat();
    let order = BigUint::parse_bytes(b"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
        .unwrap();
    let half: BigUint = BigUint::from(1_u32) << 128_u32;
    let mut vectors = vec![
        vector(
            "name of the curve",
            wire::line("ecdsa-sha2-nistp384", &[string(b"nistp256"), string(&point)]),
            R::EcdsaCurve(Algorithm::EcdsaP384),
            &twin,
        ),
        vector(
            "name of the curve, sk",
            wire::line(
                "sk-ecdsa-sha2-nistp256@openssh.com",
                &[string(b"nistp384"), string(&point), string(b"ssh:")],
            ),
            R::EcdsaCurve(Algorithm::SkEcdsaP256),
            wire::sk_ecdsa(&point, b"ssh:"),
        ),
        vector("identity", wire::ecdsa("nistp256", &[0]), R::EcdsaIdentity, &twin),
        vector("compressed", wire::ecdsa("nistp256", &compressed), R::EcdsaCompressed, &twin),
        vector("hybrid", wire::ecdsa("nistp256", &hybrid), R::EcdsaForm(Algorithm::EcdsaP256), &twin),
        vector("length", wire::ecdsa("nistp256", &point[..64]), R::EcdsaForm(Algorithm::EcdsaP256), &twin),
        vector("empty", wire::ecdsa("nistp256", &[]), R::EcdsaForm(Algorithm::EcdsaP256), &twin),
        vector(
            "small coordinate",
            wire::ecdsa("nistp256", &p256_point(&BigUint::from(1_u32))),
            R::EcdsaCoordinate,
            wire::ecdsa("nistp256", &p256_point(&half)),
        ),
        vector(
            "coordinate not below the order",
            wire::ecdsa("nistp256", &p256_point(&order)),
            R::EcdsaCoordinate,
            wire::ecdsa("nistp256", &p256_point(&(&order - 1000_u32))),
        ),
    ];
    let p384 = p384::AffinePoint::GENERATOR.to_encoded_point(false).as_bytes().to_vec();
    let p521 = p521::AffinePoint::GENERATOR.to_encoded_point(false).as_bytes().to_vec();
    for (curve, point) in [("nistp256", point.clone()), ("nistp384", p384), ("nistp521", p521)] {
        let mut off_curve = point.clone();
        *off_curve.last_mut().unwrap() ^= 1;
        vectors.push(vector(
            "off the curve",
            wire::ecdsa(curve, &off_curve),
            R::EcdsaOffCurve,
            wire::ecdsa(curve, &point),
        ));
    }
    let mut off_curve = point.clone();
    off_curve[64] ^= 1;
    vectors.push(vector(
        "off the curve, sk",
        wire::sk_ecdsa(&off_curve, b"ssh:"),
        R::EcdsaOffCurve,
        wire::sk_ecdsa(&point, b"ssh:"),
    ));
    vectors
}

fn rsa_numbers() -> Vec<Vector> {
    use Refusal as R;
    let sound = rsa::sound(2048);
    let twin = wire::rsa(&f4(), &sound);
    let (two, zero) = (BigUint::from(2_u32), BigUint::ZERO);
    let largest: BigUint = (BigUint::from(1_u32) << 2047_u32) - 1_u32;
    vec![
        vector("2047 bits", wire::rsa(&f4(), &largest), R::RsaTooSmall(2047), &twin),
        vector("1024 bits", wire::rsa(&f4(), &rsa::sound(1024)), R::RsaTooSmall(1024), &twin),
        vector("no modulus", wire::rsa(&f4(), &zero), R::RsaTooSmall(0), &twin),
        vector(
            "16385 bits",
            wire::rsa(&f4(), &rsa::sound(16385)),
            R::RsaTooLarge(16385),
            wire::rsa(&f4(), &rsa::sound(16384)),
        ),
        vector("even modulus", wire::rsa(&f4(), &(&sound + 1_u32)), R::RsaModulusEven, &twin),
        vector(
            "even exponent",
            wire::rsa(&(f4() + 1_u32), &sound),
            R::RsaExponentEven,
            wire::rsa(&(f4() + &two), &sound),
        ),
        vector("no exponent", wire::rsa(&zero, &sound), R::RsaExponentEven, &twin),
        vector("exponent one", wire::rsa(&BigUint::from(1_u32), &sound), R::RsaExponentSmall, &twin),
        vector("exponent 65535", wire::rsa(&(f4() - &two), &sound), R::RsaExponentSmall, &twin),
        vector(
            "exponent n",
            wire::rsa(&sound, &sound),
            R::RsaExponentLarge,
            wire::rsa(&(&sound - &two), &sound),
        ),
        vector("exponent above n", wire::rsa(&rsa::sound(2049), &sound), R::RsaExponentLarge, &twin),
        vector(
            "exponent of 65 bits",
            wire::rsa(&((BigUint::from(1_u32) << 64_u32) + 1_u32), &rsa::sound(3073)),
            R::RsaExponentLong(65),
            wire::rsa(&((BigUint::from(1_u32) << 64_u32) - 1_u32), &rsa::sound(3073)),
        ),
        vector(
            "modulus of 3073 bits with a long exponent",
            wire::rsa(&((BigUint::from(1_u32) << 999_u32) + 1_u32), &rsa::sound(3073)),
            R::RsaExponentLong(1000),
            wire::rsa(&((BigUint::from(1_u32) << 999_u32) + 1_u32), &rsa::sound(3072)),
        ),
    ]
}

fn rsa_weaknesses() -> Vec<Vector> {
    use Refusal as R;
    let key = |modulus: &BigUint| wire::rsa(&f4(), modulus);
    let infineon = rsa::infineon();
    assert_eq!(infineon.bits(), 2048);
    let (near, far) = (BigUint::from(2_u32), BigUint::from(1_u32) << 600_u32);
    let cofactor = rsa::sound(2040);
    let near_prime = rsa::next_prime(BigUint::from(3_u32) << 2046_u32);
    let (short, long) = (rsa::with_private_exponent(505), rsa::with_private_exponent(520));
    let square = rsa::sound(1025).pow(2);
    vec![
        vector("ROCA", key(&infineon), R::Roca, key(&rsa::sound(2048))),
        vector(
            "close primes",
            key(&rsa::of_primes_apart(&near)),
            R::ClosePrimes,
            key(&rsa::of_primes_apart(&far)),
        ),
        vector("100 steps of Fermat's", key(&rsa::fermat(100)), R::ClosePrimes, key(&rsa::fermat(101))),
        vector("square", key(&square), R::ClosePrimes, key(&rsa::sound(2049))),
        vector("factor 8191", key(&(&cofactor * 8191_u32)), R::SmallFactor, key(&rsa::sound(2053))),
        // The last prime below 2^20, and the next one.
        vector(
            "factor 1048573",
            key(&(&cofactor * 1_048_573_u32)),
            R::SmallFactor,
            key(&(&cofactor * 1_048_583_u32)),
        ),
        vector("one prime", key(&near_prime), R::RsaModulusPrime, key(&rsa::of_primes_apart(&far))),
        vector(
            "private exponent",
            wire::rsa(&short.0, &short.1),
            R::RsaPrivateExponentShort,
            wire::rsa(&long.0, &long.1),
        ),
        vector("factor 3", key(&(rsa::sound(2047) * 3_u32)), R::SmallFactor, key(&rsa::sound(3072))),
    ]
}

fn hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}
