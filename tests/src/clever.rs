//! Clever Cloud's own command line, from npm.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::run_within;
use crate::programs::build_directory;

/// The longest that npm may take to download and unpack a version.
const INSTALL_TIME_MAX: Duration = Duration::from_mins(5);
/// Where npm puts the program.
const PROGRAM: &str = "node_modules/.bin/clever";

fn directory(version: &str) -> PathBuf {
    build_directory().join("tmp/clever-tools").join(version)
}

/// The program of `version`, where it was installed before.
#[must_use]
pub fn clever_tools_if_installed(version: &str) -> Option<PathBuf> {
    Some(directory(version).join(PROGRAM)).filter(|program| program.exists())
}

/// The program of `version`, installed once for all runs of the tests.
#[must_use]
pub fn clever_tools(version: &str) -> PathBuf {
    fs::create_dir_all(directory("")).expect("own directory");
    // Of tests that start together, the first installs it.
    let lock = File::create(directory("lock")).expect("own file");
    lock.lock().expect("own file");
    if let Some(program) = clever_tools_if_installed(version) {
        return program;
    }
    let directory = directory(version);
    // Moved into place once it is whole: npm may be stopped at any moment.
    let draft = directory.with_extension("new");
    fs::create_dir_all(&draft).expect("own directory");
    fs::write(draft.join("package.json"), "{\"private\":true}").expect("own file");
    let mut npm = Command::new("npm");
    npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund"])
        .arg(format!("clever-tools@{version}"));
    let finished = run_within(npm.current_dir(&draft), INSTALL_TIME_MAX);
    assert!(
        finished.status.success(),
        "npm cannot install clever-tools {version}, hint: `npm ping` shows whether its registry can be reached: {}",
        finished.stderr,
    );
    let _ = fs::remove_dir_all(&directory);
    fs::rename(&draft, &directory).expect("own directory");
    directory.join(PROGRAM)
}
