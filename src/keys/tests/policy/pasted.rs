//! Texts that users paste.

use std::process::Command;

use pushkeys_keys::{CompromisedList, Policy, Refusal, ValidKey};

use crate::oracle;
use crate::vectors::ED25519;

#[track_caller]
fn check(text: &str, expected: &Refusal) {
    assert_eq!(ValidKey::check(text, &Policy::default()).as_ref(), Err(expected), "{text}");
}

/// Checks that a private key file is recognised in every form that a web form, a shell or an editor gives it.
#[track_caller]
fn check_private(file: &str) {
    let indented: String = file.lines().map(|line| ["    ", line, "\r\n"].concat()).collect();
    let shapes = [
        file.to_owned(),
        indented,
        file.replace('\n', " "),
        file.replace('\n', "\\n"),
        file.replace('\n', "\r\n"),
        file.replace('\n', ""),
        format!("my key:\n{file}"),
        format!("{ED25519} {}", file.replace('\n', " ")),
        format!("{ED25519}\n{file}{ED25519}\n"),
        format!("\u{feff}{file}"),
    ];
    for shape in shapes {
        check(&shape, &Refusal::PrivateKey);
    }
}

/// Runs `program` in `directory`, where it leaves or changes the file `key`.
fn run(directory: &std::path::Path, program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_private_key_that_openssh_writes_is_refused_by_name_in_every_shape() {
    let check = |arguments: &[&str]| {
        let directory = tempfile::tempdir().unwrap();
        run(directory.path(), "ssh-keygen", &[&["-q", "-f", "key"], arguments].concat());
        check_private(&std::fs::read_to_string(directory.path().join("key")).unwrap());
    };
    check(&["-t", "ed25519", "-N", ""]);
    check(&["-t", "ed25519", "-N", "passphrase"]);
    check(&["-t", "rsa", "-b", "2048", "-N", "", "-m", "PEM"]);
    check(&["-t", "rsa", "-b", "2048", "-N", "passphrase", "-m", "PEM"]);
    check(&["-t", "ecdsa", "-N", "", "-m", "PEM"]);
    check(&["-t", "rsa", "-b", "2048", "-N", "", "-m", "PKCS8"]);
    check(&["-t", "rsa", "-b", "2048", "-N", "passphrase", "-m", "PKCS8"]);
}

#[test]
fn a_private_key_of_another_program_is_refused_by_name_in_every_shape() {
    check_private("-----BEGIN DSA PRIVATE KEY-----\nMIIBuwIBAAKBgQ\n-----END DSA PRIVATE KEY-----\n");
    check_private(
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIFHDBOBgkq\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    check_private("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQOYBF\n-----END PGP PRIVATE KEY BLOCK-----\n");
    check_private(
        "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nP2/56wAA\n---- END SSH2 ENCRYPTED PRIVATE KEY ----\n",
    );
    check_private(
        "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPublic-Lines: 2\nAAAA\nPrivate-Lines: 1\nAAAA\n",
    );
    check_private("PuTTY-User-Key-File-2: ssh-rsa\nEncryption: aes256-cbc\nPrivate-Lines: 1\nAAAA\n");
    check_private("SSH PRIVATE KEY FILE FORMAT 1.1\n\0\0\0\0");
    // The body without its header.
    check_private("b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ\nAAAA\n");
}

#[test]
fn a_private_key_in_a_long_text_is_still_refused_by_name() {
    let long = "x".repeat(20_000);
    check(&format!("-----BEGIN PRIVATE KEY-----\n{long}"), &Refusal::PrivateKey);
    check(&"é".repeat(20_000), &Refusal::TooLong);
}

#[test]
fn a_public_key_in_another_format_is_refused_with_the_command_that_converts_it() {
    let check = |format: &str, expected: &Refusal| {
        let directory = tempfile::tempdir().unwrap();
        run(directory.path(), "ssh-keygen", &["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "key"]);
        let mut export = Command::new("ssh-keygen");
        let export = export
            .args(["-e", "-m", format, "-f", "key.pub"])
            .current_dir(directory.path())
            .output()
            .unwrap();
        let exported = String::from_utf8(export.stdout).unwrap();
        check(&exported, expected);
        check(&exported.replace('\n', "\r\n"), expected);
        check(&exported.replace('\n', " "), expected);

        std::fs::write(directory.path().join("FILE"), &exported).unwrap();
        let message = expected.to_string();
        let command = message.split('`').nth(1).unwrap();
        let mut words = command.split(' ');
        let convert =
            Command::new(words.next().unwrap()).args(words).current_dir(directory.path()).output().unwrap();
        let line = String::from_utf8(convert.stdout).unwrap();
        assert!(ValidKey::check(&line, &Policy::default()).is_ok(), "{command}: {line}");
    };
    check("RFC4716", &Refusal::Ssh2PublicKey);
    check("PKCS8", &Refusal::Pkcs8PublicKey);
    check("PEM", &Refusal::Pkcs1PublicKey);
}

#[test]
fn a_certificate_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), "ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", "key"]);
    run(directory.path(), "ssh-keygen", &["-q", "-s", "key", "-I", "ana", "-n", "git", "key.pub"]);
    let read = |name| std::fs::read_to_string(directory.path().join(name)).unwrap();
    check(&read("key-cert.pub"), &Refusal::Certificate);
    assert!(ValidKey::check(&read("key.pub"), &Policy::default()).is_ok());
}

#[test]
fn text_before_a_key_is_refused() {
    for before in [
        "restrict",
        "command=\"a b\",no-pty",
        "from=\"10.*\" ",
        "github.com",
        "environment=\"A=b\"",
        "\"",
        "*",
    ] {
        check(&format!("{before} {ED25519}"), &Refusal::Options);
    }
}

#[test]
fn a_text_that_may_be_secret_is_not_repeated() {
    for text in [
        "correct horse battery staple",
        "hunter2",
        "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC",
        "ssh-HUNTER",
        "ssh-a_b",
    ] {
        check(text, &Refusal::NotAKey);
        check(&format!("{text}\n"), &Refusal::NotAKey);
    }
    check(&format!("ssh-{}", "a".repeat(61)), &Refusal::NotAKey);
    check(
        &format!("ssh-{}", "a".repeat(60)),
        &Refusal::UnknownType(format!("ssh-{}", "a".repeat(60)).into()),
    );
}

#[test]
fn every_kind_of_line_break_separates_lines() {
    for broken in ["\n", "\r\n", "\r", "\n\n"] {
        check(&format!("{ED25519}{broken}{ED25519}"), &Refusal::MoreThanOneLine);
        check(&format!("{ED25519} a{broken}b"), &Refusal::MoreThanOneLine);
        check(&ED25519.replace("C3Nz", &format!("C3Nz{broken}")), &Refusal::MoreThanOneLine);
        assert!(ValidKey::check(&format!("{broken}{ED25519}{broken}"), &Policy::default()).is_ok());
    }
}

#[test]
fn control_characters_are_refused_everywhere() {
    for control in ['\0', '\u{7}', '\u{b}', '\u{c}', '\u{7f}', '\u{85}', '\u{9b}'] {
        let refusal = |place| Refusal::ControlCharacter { character: control, place };
        check(&format!("{ED25519} a{control}b"), &refusal(ED25519.len() + 3));
        check(&ED25519.replace(' ', &format!("{control} ")), &refusal(12));
        check(&format!("{ED25519}{control}"), &refusal(ED25519.len() + 1));
    }
    let tab = Refusal::ControlCharacter { character: '\t', place: ED25519.len() + 4 };
    check(&format!("{ED25519} éa\tb"), &tab);
    check(&format!("{ED25519}\téa\tb  \n"), &tab);
}

#[test]
fn blanks_are_accepted_where_openssh_accepts_them() {
    let (name, base64) = ED25519.split_once(' ').unwrap();
    for text in [
        format!("{name}\t{base64}\tana"),
        format!("  {name}   {base64}   ana  "),
        format!("\t{name} \t {base64} ana\r\n"),
        format!("{name} {base64} ana\n\n"),
    ] {
        let key = ValidKey::check(&text, &Policy::default()).unwrap();
        assert_eq!((key.canonical_text(), key.comment()), (ED25519, Some("ana")), "{text:?}");
        assert!(oracle::list(&text, "sha256").is_some(), "{text:?}");
    }
}

#[test]
fn a_comment_is_kept_as_it_was_typed() {
    for comment in ["ana@laptop", "a  b", "%u `id` $(id) \"q\" 'q' \\", "# no", "é 🔑", "ssh-ed25519 AAAA"]
    {
        let key = ValidKey::check(&format!("{ED25519} {comment}"), &Policy::default()).unwrap();
        assert_eq!((key.comment(), key.canonical_text()), (Some(comment), ED25519));
    }
    assert_eq!(ValidKey::check(ED25519, &Policy::default()).unwrap().comment(), None);
}

#[test]
fn an_operator_can_add_to_the_list_of_compromised_keys() {
    let list: CompromisedList = format!("# found in an image\n{ED25519}\n").parse().unwrap();
    let policy = Policy::default().with_compromised(list);
    assert_eq!(ValidKey::check(&format!("{ED25519} ana"), &policy), Err(Refusal::Published));
    assert!(ValidKey::check(ED25519, &Policy::default()).is_ok());

    let vagrant = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN1YdxBpNlzxDqfJyw/QKow1F+wvG9hXGoqiysfJOn5Y vagrant";
    assert_eq!(ValidKey::check(vagrant, &policy), Err(Refusal::Published));
}
