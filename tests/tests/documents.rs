//! The documents say nothing that is not there.

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pushkeys_tests::{Double, PushHost, response, until};
use sha2::{Digest as _, Sha256};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("`{name}`: {error}"))
}

/// The names of all functions in the sources below `folder`.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of sources").map(|entry| entry.expect("a name").path())
    {
        if entry.is_dir() && !entry.ends_with("target") {
            functions(&entry, names);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&entry).expect("sources are text");
            let after_fn = text.split("fn ").skip(1);
            names.extend(after_fn.filter_map(|rest| rest.split('(').next()).map(str::to_owned));
        }
    }
}

/// What stands between backticks in `text`.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_that_the_security_page_names_is_there() {
    let mut names = BTreeSet::new();
    functions(&root().join("src"), &mut names);
    functions(&root().join("tests"), &mut names);
    let page = read("SECURITY.md");
    let is_test = |word: &&str| {
        word.len() > 12 && word.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
    };
    let wanted: Vec<&str> =
        page.lines().filter(|line| line.starts_with("| ")).flat_map(quoted).filter(is_test).collect();
    assert!(wanted.len() > 15, "the table names its tests: {wanted:?}");
    let missing: Vec<_> =
        wanted.iter().filter(|name| name.contains('_') && !names.contains(**name)).collect();
    assert!(missing.is_empty(), "not there: {missing:?}");
}

#[test]
fn every_make_target_that_a_document_names_is_there() {
    let makefile = read("Makefile");
    assert!(read("README.md").contains("make bench-lookup"), "there is something to find");
    let is_target = |name: &str| {
        makefile
            .lines()
            .any(|line| line.split(':').next().is_some_and(|names| names.split(' ').any(|word| word == name)))
    };
    for document in ["README.md", "ARCHITECTURE.md"] {
        let text = read(document);
        let named = text.split("make ").skip(1).filter_map(|rest| rest.split([' ', '\n', '`']).next());
        let named: BTreeSet<&str> = named
            .filter(|name| name.starts_with("bench-") || ["demo", "test", "install"].contains(name))
            .collect();
        for name in named {
            assert!(is_target(name), "{document} names `make {name}`");
        }
    }
}

#[test]
fn every_file_that_a_document_links_to_is_there() {
    for document in [
        "README.md",
        "ARCHITECTURE.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "docs/operating.md",
        "docs/own-key-api.md",
    ] {
        let text = read(document);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let is_elsewhere = target.starts_with("http");
            assert!(is_elsewhere || root().join(target).exists(), "{document} links to `{target}`");
        }
    }
}

#[test]
fn every_place_on_the_map_is_there_and_every_crate_is_on_it() {
    let map = read("ARCHITECTURE.md");
    let crates =
        fs::read_dir(root().join("src")).expect("crates").map(|entry| entry.expect("a name").file_name());
    for name in crates {
        let place = format!("`src/{}`", name.to_string_lossy());
        assert!(
            map.lines().any(|line| line.starts_with("| ") && line.contains(&place)),
            "{place} is not on the map"
        );
    }
    for place in map.lines().filter(|line| line.starts_with("| `")).filter_map(|line| quoted(line).next()) {
        assert!(root().join(place).exists(), "the map shows `{place}`");
    }
}

#[test]
fn the_list_that_the_guide_for_own_key_services_shows_is_one() {
    let guide = read("docs/own-key-api.md");
    let shown = guide.split("```ndjson\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a list");
    let (signed, _) = shown.split_once("{\"end\"").expect("a last line");
    let digest = format!("{:x}", Sha256::digest(signed));
    let fingerprint = shown.split('"').find(|word| word.starts_with("SHA256:")).expect("a fingerprint");
    let list = |digest: &str| response("200 OK", "application/x-ndjson", &shown.replace('…', digest));

    let (server, key) = (Double::start(list(&digest)), fingerprint.parse().expect("a fingerprint"));
    let host = PushHost::start_polling(&server);
    let answer = host.lookup("git", &key);
    assert!(answer.stdout.contains("--account acct_7 --key key_42"), "{answer:?}");
    server.answers(list("0000"));
    until("a wrong last line is noticed", || host.syncd.log().contains("trailer"));
    assert_eq!(host.lookup("git", &key), answer, "and what was in force stays");
}
