//! The documents are true: commands, settings, paths, links and names of tests exist.

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pushkeys_tests::{Double, Program, PushHost, Room, give_to_syncd, program, response, run, until};
use sha2::{Digest as _, Sha256};

/// The documents with commands and settings.
const GUIDES: [&str; 3] = ["README.md", "docs/operating.md", "docs/own-key-api.md"];
/// All documents except the manual pages, which have their own tests.
const DOCUMENTS: [&str; 7] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/operating.md",
    "docs/own-key-api.md",
];

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

/// The texts between backticks in `text`.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Fenced blocks with their languages.
fn blocks(document: &str) -> Vec<(String, String)> {
    let text = read(document);
    let fenced = text.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
    fenced.map(|(language, text)| (language.to_owned(), text.to_owned())).collect()
}

/// Panics unless every name of a test in the tables of `document` is a function; returns their number.
#[track_caller]
fn tests_named_in(document: &str) -> usize {
    let mut names = BTreeSet::new();
    functions(&root().join("src"), &mut names);
    functions(&root().join("tests"), &mut names);
    let page = read(document);
    let is_test = |word: &&str| {
        word.len() > 16
            && word.contains('_')
            && word.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
    };
    let wanted: Vec<&str> =
        page.lines().filter(|line| line.starts_with("| ")).flat_map(quoted).filter(is_test).collect();
    let missing: Vec<_> = wanted.iter().filter(|name| !names.contains(**name)).collect();
    assert!(missing.is_empty(), "not there: {missing:?}");
    wanted.len()
}

#[test]
fn every_test_in_the_security_page_exists() {
    assert!(tests_named_in("SECURITY.md") > 15);
}

#[test]
fn every_outage_in_the_guide_has_its_test() {
    let guide = read("docs/operating.md");
    let (_, table) = guide.split_once("| what fails |").expect("a table of outages");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(rows.iter().flatten().all(|cell| !cell.is_empty()), "a cell is empty: {rows:?}");
    assert!(rows.len() > 8 && tests_named_in("docs/operating.md") == rows.len(), "{rows:?}");
}

/// `sh`: run on a machine by the tests of packages, in this file for documents of a certain subject, or, for
/// `make`, below. `sh tls`: all run by `tests/tests/tls.rs`. `sshd_config`: given to each sshd that supports it by the tests of
/// packages. `python`: run by `src/syncd/tests/syncd/own_service.rs`. `toml` and `ndjson`: below.
#[test]
fn every_code_block_has_a_language_that_is_tested() {
    for document in DOCUMENTS {
        let is_guide = GUIDES.contains(&document);
        for (language, text) in blocks(document) {
            match language.as_str() {
                "sh" | "toml" | "ndjson" => assert!(is_guide, "{document}: {text}"),
                "python" => assert_eq!(document, "docs/own-key-api.md", "{text}"),
                "sh tls" | "sshd_config" => assert_eq!(document, "docs/operating.md", "{text}"),
                // Drawings, and contents of files.
                "" => {
                    let words =
                        text.lines().filter_map(|line| line.trim_start_matches("$ ").split(' ').next());
                    let commands =
                        ["pushkeys", "make", "systemctl", "ssh", "curl", "apt-get", "runuser", "sudo"];
                    let command =
                        words.into_iter().find(|word| commands.iter().any(|name| word.starts_with(name)));
                    assert_eq!(command, None, "{document}: a command that nothing runs: {text}");
                }
                other => panic!("{document}: nothing runs or checks a block of `{other}`"),
            }
        }
    }
}

#[test]
fn the_make_commands_of_the_readme_are_tested() {
    let (pipeline, mut sources) = (read(".ci/run"), String::new());
    for name in ["packages/made.rs", "demo.rs"] {
        sources.push_str(&read(&format!("tests/tests/{name}")));
    }
    let readme = read("README.md");
    let named = readme.lines().filter_map(|line| line.strip_prefix("make ")?.split(' ').next());
    let named: BTreeSet<&str> = named.collect();
    assert!(named.len() > 2, "{named:?}");
    for name in named {
        let is_made = pipeline.lines().any(|line| line == format!("make {name}"))
            || sources.contains(&format!("\"{name}\""))
            || sources.contains(&format!("CARGO_BIN_EXE_{name}"));
        assert!(is_made, "nothing runs `make {name}`");
    }
}

/// Texts between backticks that begin with one of our programs: their subcommands and options exist.
#[test]
fn every_command_in_a_sentence_exists() {
    let mut count = 0;
    for document in DOCUMENTS {
        // A block ends with the same number of backticks as it begins with, so an even number is left.
        let text = read(document).replace("```", "");
        for command in quoted(&text).map(|command| command.replace('\n', " ")) {
            let mut words = command.split(' ').map(|word| word.trim_end_matches(',')).peekable();
            let program = match words.next() {
                Some("pushkeys") => program(Program::Cli),
                Some("pushkeys-server") => program(Program::Server),
                Some("pushkeys-syncd") => program(Program::Syncd),
                _ => continue,
            };
            let mut help = Command::new(program);
            let is_name = |word: &&str| word.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase());
            while let Some(word) = words.next_if(|word| is_name(word) && !word.starts_with('-')) {
                help.arg(word);
            }
            let finished = run(help.arg("--help"));
            assert!(finished.status.success(), "{document}: `{command}`: {finished:?}");
            for option in
                words.filter_map(|word| word.split('=').next()).filter(|word| word.starts_with("--"))
            {
                assert!(finished.stdout.contains(option), "{document}: `{command}` has no {option}");
            }
            count += 1;
        }
    }
    assert!(count > 20, "{count} commands were found");
}

/// Each fragment, appended to the packaged file, is accepted by its program.
#[test]
fn the_settings_in_the_guides_are_valid() {
    let mut count = 0;
    for (document, fragment) in GUIDES.iter().flat_map(|guide| {
        let blocks = blocks(guide).into_iter().filter(|(language, _)| language == "toml");
        blocks.map(move |(_, fragment)| (guide, fragment))
    }) {
        let room = Room::root_owned();
        let is_host = fragment.contains("[[source]]");
        let name = if is_host { "syncd.toml" } else { "server.toml" };
        let mut text = read(&format!("packaging/etc/{name}"));
        text.push_str(&fragment);
        for folder in ["/run/credentials/pushkeys-syncd.service", "/run/credentials/pushkeys-server.service"]
        {
            text = text.replace(folder, &room.path().display().to_string());
        }
        for file in text.split('"').filter(|value| value.starts_with(&room.path().display().to_string())) {
            let file = room.write(file.rsplit('/').next().expect("a name"), "secret\n");
            // Like a credential of systemd.
            if is_host {
                give_to_syncd(&file, 0o600);
            }
        }
        let file = room.write_with_mode(name, &text, 0o644);
        let program = program(if is_host { Program::Syncd } else { Program::Server });
        let mut command = Command::new(program);
        command.arg("--config").arg(file).args(["check", "--json"]);
        let finished = run(&mut command);
        // Other parts of the settings, such as a database, do not exist here.
        let is_read = if is_host {
            finished.status.success()
        } else {
            finished.stdout.contains(r#"{"what":"configuration","ok":true"#)
        };
        assert!(is_read, "{document}: {fragment}{finished:?}");
        count += 1;
    }
    assert!(count > 2, "{count} fragments were found");
}

#[test]
fn every_make_target_in_a_document_exists() {
    let makefile = read("Makefile");
    let targets: BTreeSet<&str> = makefile
        .lines()
        .filter_map(|line| line.split_once(':'))
        .flat_map(|(names, _)| names.split(' '))
        .collect();
    let mut count = 0;
    for document in DOCUMENTS {
        let text = read(document).replace("```", "");
        for name in quoted(&text).filter_map(|command| command.strip_prefix("make ")?.split(' ').next()) {
            assert!(targets.contains(name), "{document} names `make {name}`");
            count += 1;
        }
    }
    assert!(count > 20, "{count} targets were found");
}

#[test]
fn every_path_in_a_document_exists() {
    let mut count = 0;
    for document in DOCUMENTS {
        let text = read(document).replace("```", "");
        let is_path = |word: &&str| {
            ["src/", "tests/", "scripts/", "packaging/", "systemd/", "docs/", ".ci/"]
                .iter()
                .any(|folder| word.starts_with(folder))
                && !word.contains([' ', '*', '…'])
        };
        for path in quoted(&text).filter(is_path) {
            assert!(root().join(path).exists(), "{document} names `{path}`");
            count += 1;
        }
    }
    assert!(count > 40, "{count} paths were found");
}

#[test]
fn every_link_in_a_document_has_a_target() {
    for document in DOCUMENTS {
        let text = read(document);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let is_elsewhere = target.starts_with("http");
            assert!(is_elsewhere || root().join(target).exists(), "{document} links to `{target}`");
        }
    }
}

#[test]
fn the_map_of_the_architecture_is_complete() {
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
fn the_list_in_the_guide_for_own_key_services_is_valid() {
    let guide = read("docs/own-key-api.md");
    let shown = guide.split("```ndjson\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a list");
    let (signed, _) = shown.split_once("{\"end\"").expect("a last line");
    let digest = format!("{:x}", Sha256::digest(signed));
    let fingerprint = shown.split('"').find(|word| word.starts_with("SHA256:")).expect("a fingerprint");
    let list = |digest: &str| response("200 OK", "application/x-ndjson", &shown.replace('…', digest));

    let (server, key) = (Double::start(list(&digest)), fingerprint.parse().expect("a fingerprint"));
    let host = PushHost::start_polling(&server);
    for (_, commands) in blocks("docs/own-key-api.md").into_iter().filter(|(language, _)| language == "sh") {
        let programs = program(Program::Syncd).parent().expect("a folder").display().to_string();
        let mut shell = Command::new("sh");
        shell.args(["-euxc", &commands]).env("PATH", format!("{programs}:/usr/bin:/bin"));
        let printed = run(shell.env("PUSHKEYS_SYNCD_CONFIG", host.syncd.configuration())).output();
        assert!(printed.contains("ok: api"), "{printed}");
    }
    let answer = host.lookup("git", &key);
    assert!(answer.stdout.contains("--account acct_7 --key key_42"), "{answer:?}");
    server.answers(list("0000"));
    until("a wrong last line is detected", || host.syncd.log().contains("trailer"));
    assert_eq!(host.lookup("git", &key), answer, "and the keys in force stay");
}
