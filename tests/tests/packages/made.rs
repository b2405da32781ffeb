//! The packages for the tests: two versions, made from the current programs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

use pushkeys_tests::{run, run_within};

/// The time limit for two versions of the two packages, with programs that are already built.
const PACKAGES_TIME_MAX: Duration = Duration::from_mins(10);
pub(crate) const BEFORE: &str = "0.0.1";
pub(crate) const AFTER: &str = "0.0.2";

static MADE: Once = Once::new();

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The package `name` for Debian.
pub(crate) fn deb(name: &str, version: &str) -> PathBuf {
    MADE.call_once(make_once);
    let architecture = run(Command::new("dpkg").arg("--print-architecture")).output();
    repository().join(format!("target/packages/{name}_{version}_{}.deb", architecture.trim()))
}

/// The package `name` for Fedora and related distributions.
pub(crate) fn rpm(name: &str, version: &str) -> PathBuf {
    MADE.call_once(make_once);
    repository().join(format!("target/packages/{name}-{version}-1.{}.rpm", std::env::consts::ARCH))
}

/// The tests of one run share them, although nextest starts a process for each.
fn make_once() {
    let folder = repository().join("target/packages");
    fs::create_dir_all(&folder).expect("target/");
    let lock = File::create(folder.join("lock")).expect("own file");
    lock.lock().expect("a lock");
    let (stamp, run) = (folder.join("made-by"), std::env::var("NEXTEST_RUN_ID").ok());
    if run.is_some() && run == fs::read_to_string(&stamp).ok() {
        return;
    }
    make();
    fs::write(&stamp, run.unwrap_or_default()).expect("own file");
}

fn make() {
    let mut first = Command::new("make");
    first.arg("-C").arg(repository()).args(["packages", "PROFILE=dev", &format!("VERSION={BEFORE}")]);
    let _ = run_within(&mut first, PACKAGES_TIME_MAX).output();
    let mut second = Command::new(repository().join("scripts/packages"));
    let _ = run_within(second.arg(AFTER), PACKAGES_TIME_MAX).output();
}
