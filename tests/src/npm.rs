//! What tests take from npm: Clever Cloud's own command line, and the rules of accessible pages.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::run_within;
use crate::programs::build_directory;

/// The longest that npm may take to download and unpack a version.
const INSTALL_TIME_MAX: Duration = Duration::from_mins(5);

/// A package, and the one file of it that is asked for.
struct Package<'a> {
    name: &'static str,
    version: &'a str,
    file: &'static str,
}

impl Package<'_> {
    fn home(&self) -> PathBuf {
        build_directory().join("tmp").join(self.name)
    }

    fn directory(&self) -> PathBuf {
        self.home().join(self.version)
    }

    fn if_installed(&self) -> Option<PathBuf> {
        Some(self.directory().join(self.file)).filter(|file| file.exists())
    }

    /// The file, installed once for all runs of the tests.
    fn installed(&self) -> PathBuf {
        let (directory, Self { name, version, .. }) = (self.directory(), self);
        fs::create_dir_all(self.home()).expect("own directory");
        // Of tests that start together, the first installs it.
        let lock = File::create(self.home().join("lock")).expect("own file");
        lock.lock().expect("own file");
        if let Some(file) = self.if_installed() {
            return file;
        }
        // Moved into place once it is whole: npm may be stopped at any moment.
        let draft = directory.with_extension("new");
        fs::create_dir_all(&draft).expect("own directory");
        fs::write(draft.join("package.json"), "{\"private\":true}").expect("own file");
        let mut npm = Command::new("npm");
        npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund"]).arg(format!("{name}@{version}"));
        let finished = run_within(npm.current_dir(&draft), INSTALL_TIME_MAX);
        assert!(
            finished.status.success(),
            "npm cannot install {name} {version}\nhint: `npm ping` shows whether its registry can be reached: {}",
            finished.stderr,
        );
        let _ = fs::remove_dir_all(&directory);
        fs::rename(&draft, &directory).expect("own directory");
        directory.join(self.file)
    }
}

fn clever(version: &str) -> Package<'_> {
    Package { name: "clever-tools", version, file: "node_modules/.bin/clever" }
}

/// Clever Cloud's command line in `version`, where it was installed before.
#[must_use]
pub fn clever_tools_if_installed(version: &str) -> Option<PathBuf> {
    clever(version).if_installed()
}

/// Clever Cloud's command line in `version`.
#[must_use]
pub fn clever_tools(version: &str) -> PathBuf {
    clever(version).installed()
}

/// The script of axe-core, which says what of a page people with a screen reader, a keyboard or weak eyes cannot use.
#[must_use]
pub fn axe_core() -> String {
    let package = Package { name: "axe-core", version: "4.14.1", file: "node_modules/axe-core/axe.min.js" };
    fs::read_to_string(package.installed()).expect("own file")
}
