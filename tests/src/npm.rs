//! Packages from npm: Clever Cloud's command line, and axe-core's accessibility rules.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process::run_within;
use crate::programs::build_directory;

/// The time limit of npm for downloading and unpacking a version.
const INSTALL_TIME_MAX: Duration = Duration::from_mins(5);

/// A package, and the one file of it that is used.
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

    /// The path of the file, which is installed once for all test runs.
    fn installed(&self) -> PathBuf {
        let (directory, Self { name, version, .. }) = (self.directory(), self);
        fs::create_dir_all(self.home()).expect("own directory");
        // Of concurrent tests, the first installs it.
        let lock = File::create(self.home().join("lock")).expect("own file");
        lock.lock().expect("own file");
        if let Some(file) = self.if_installed() {
            return file;
        }
        // Renamed when it is complete, since npm may be stopped at any moment.
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

/// Clever Cloud's command line in `version`, if it was installed before.
#[must_use]
pub fn clever_tools_if_installed(version: &str) -> Option<PathBuf> {
    clever(version).if_installed()
}

/// Clever Cloud's command line in `version`.
#[must_use]
pub fn clever_tools(version: &str) -> PathBuf {
    clever(version).installed()
}

/// The script of axe-core, which reports accessibility problems of a page.
#[must_use]
pub fn axe_core() -> String {
    let package = Package { name: "axe-core", version: "4.14.1", file: "node_modules/axe-core/axe.min.js" };
    fs::read_to_string(package.installed()).expect("own file")
}
