//! `--help`, manual pages, completions and example configurations agree.

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use pushkeys_tests::{Finished, Program, Room, as_user, program, run};

/// More than the depth of nested commands: `pushkeys-server host keys accept` is three deep.
const DEPTH_MAX: usize = 4;

/// The long options in `text`.
fn flags(text: &str) -> BTreeSet<String> {
    let is_flag = |byte: char| byte.is_ascii_lowercase() || byte == '-';
    let starts = text.match_indices("--").map(|(at, _)| text.get(at..).expect("a boundary"));
    let words = starts.map(|rest| rest.split(|byte| !is_flag(byte)).next().expect("a first part"));
    words.filter(|word| word.len() > 3).map(str::to_owned).collect()
}

/// `page` without its markup.
fn plain(page: &str) -> String {
    page.replace("\\fB", "").replace("\\fI", "").replace("\\fR", "").replace('\\', "")
}

/// The part of `help` below the line `title`, up to the next empty line.
fn part<'a>(help: &'a str, title: &str) -> &'a str {
    help.split_once(&format!("{title}:\n"))
        .map_or("", |(_, rest)| rest.split("\n\n").next().expect("a first part"))
}

/// Compares the help of the command `words` of `program` with its page, and those of its subcommands.
fn check(program: Program, section: &str, words: &[&str], prefix: &Path, depth: usize) -> usize {
    assert!(depth < DEPTH_MAX, "{words:?} is too deep");
    let mut command = as_user("root", crate::program(program));
    // One line for each option; a wrapped line could look like an option.
    let help = run(command.args(words).arg("-h").env("COLUMNS", "1000")).output();
    let name = [&[program.name()], words].concat().join("-");
    let page = fs::read_to_string(prefix.join(format!("share/man/man{section}/{name}.{section}")))
        .unwrap_or_else(|error| panic!("the page of {name}: {error}"));
    let page = plain(&page);
    let options = page.split("\n.SH OPTIONS").nth(1).expect("options").split("\n.SH").next().expect("a part");
    let options: Vec<&str> = options.lines().filter(|line| line.starts_with('-')).collect();
    assert_eq!(flags(part(&help, "Options")), flags(&options.join("\n")), "{name}");
    let bash = fs::read_to_string(prefix.join("share/bash-completion/completions").join(program.name()));
    let missing: Vec<_> =
        flags(part(&help, "Options")).difference(&flags(&bash.expect("completions"))).cloned().collect();
    assert!(missing.is_empty(), "not completed: {missing:?}");

    // Lines with more indentation continue the previous one.
    let below = part(&help, "Commands").lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let below: Vec<&str> = below.filter(|command| !command.is_empty() && *command != "help").collect();
    let pages = below.iter().map(|inner| {
        assert!(page.contains(&format!("{name}-{inner}({section})")), "{name} names {inner}");
        check(program, section, &[words, &[inner]].concat(), prefix, depth + 1)
    });
    1 + pages.sum::<usize>()
}

#[test]
fn every_option_of_every_command_is_in_its_help_its_page_and_its_completions() {
    for (program, section, pages_min) in
        [(Program::Cli, "1", 7), (Program::Syncd, "8", 5), (Program::Server, "8", 15)]
    {
        let room = Room::temporary();
        let written = run(as_user("root", crate::program(program)).arg("manual").arg(room.path()));
        let _ = written.output();
        let pages = check(program, section, &[], room.path(), 0);
        assert!(pages >= pages_min, "{} has {pages} pages", program.name());
    }
}

#[test]
fn manual_pages_of_what_sshd_starts_name_every_option_and_status() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/man");
    let read = |path: &Path| fs::read_to_string(path).expect("a text");
    for name in ["lookup", "shell"] {
        let page = plain(&read(&folder.join(format!("pushkeys-{name}.8"))));
        let source = read(&folder.join(format!("../../src/{name}/src/arguments.rs")));
        let source = source.split("#[cfg(test)]").next().expect("a first part").to_owned();
        let options = source.split("Arg::Long(\"").skip(1).filter_map(|rest| rest.split('"').next());
        for option in options {
            assert!(flags(&page).contains(&format!("--{option}")), "--{option} of {name}");
        }
        let main = read(&folder.join(format!("../../src/{name}/src/main.rs")));
        let table = main.lines().filter_map(|line| line.strip_prefix("//! | ")?.split(' ').next());
        let statuses: Vec<&str> = table.filter(|status| status.parse::<u8>().is_ok()).collect();
        assert!(statuses.len() > 2, "{statuses:?}");
        for status in statuses {
            assert!(page.contains(&format!("\n.B {status}\n")), "status {status} of {name}");
        }
    }
}

/// The settings that `program` lists when it finds an unknown one.
fn offered(finished: &Finished) -> BTreeSet<String> {
    let said = format!("{}{}", finished.stdout, finished.stderr);
    let (_, list) = said.split_once("expected one of ").unwrap_or_else(|| panic!("no list in: {said}"));
    list.split('`').skip(1).step_by(2).filter(|name| !name.contains(' ')).map(str::to_owned).collect()
}

#[test]
fn example_configurations_explain_every_setting() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/etc");
    let room = Room::temporary();
    let check = |program: Program, file: &str, wrong: &str, action: &str| {
        let path = room.write_with_mode("wrong.toml", wrong, 0o644);
        let mut command: Command = as_user("root", crate::program(program));
        let settings = offered(&run(command.arg("--config").arg(path).arg(action)));
        let example = fs::read_to_string(folder.join(file)).expect("an example");
        let explained: BTreeSet<String> = example
            .lines()
            .filter_map(|line| line.trim_start_matches(['#', '[']).split([' ', ']', '=']).next())
            .map(str::to_owned)
            .collect();
        let missing: Vec<_> = settings.difference(&explained).collect();
        assert!(settings.len() > 3 && missing.is_empty(), "{file} does not explain {missing:?}");
    };
    check(Program::Server, "server.toml", "no_such_setting = 1\n", "check");
    check(Program::Syncd, "syncd.toml", "no_such_setting = 1\n", "check");
    check(Program::Syncd, "syncd.toml", "[[source]]\nno_such_setting = 1\n", "check");
}
