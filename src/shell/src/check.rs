//! The settings of this host, and what they name, for `pushkeys doctor`: read by the code that sessions read them by.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pushkeys_files::{Trust, check_program};
use pushkeys_keys::ErrorReport;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::environment;
use crate::hook;
use crate::lfs_token::LfsKey;
use crate::repository::Root;
use crate::settings::{Create, Locate, Settings};

/// The option that makes this program check a file of settings. It is run as the login, whose rights count.
pub(crate) const OPTION: &str = "--check";

/// Prints each fault of the settings in the file `path`, with its hint in a line of its own. The status is 1 if there is any.
pub(crate) fn run(path: &OsStr) -> ExitCode {
    let faults = match Settings::read(Path::new(path)) {
        Ok(settings) => faults(&settings),
        Err(error) => vec![ErrorReport::of(&error)],
    };
    let mut out = std::io::stdout();
    for fault in &faults {
        // Without a reader there is nobody to tell.
        let _ = writeln!(out, "{}", fault.lines());
    }
    ExitCode::from(u8::from(!faults.is_empty()))
}

fn faults(settings: &Settings) -> Vec<ErrorReport> {
    let mut faults = Vec::new();
    faults.extend(root_fault(settings));
    if environment::find_program("git").is_none() {
        let what = format!("there is no git in {}, where sessions look for it", environment::PATH);
        faults.push(ErrorReport::hinted(&what, "apt-get install git, or dnf install git"));
    }
    let mut programs: Vec<PathBuf> = hook::programs(&hook::folder(settings)).collect();
    programs.extend(settings.deploy.as_ref().map(|deploy| deploy.program.clone()));
    if let Locate::Program { path, .. } = &settings.locate {
        programs.push(path.clone());
    }
    if let Some(lfs) = &settings.lfs {
        programs.extend(lfs.program.clone());
        let key = lfs.server.as_ref().map(|server| LfsKey::read(&server.key_file));
        faults.extend(key.and_then(Result::err).map(|error| ErrorReport::of(&error)));
    }
    let untrusted = programs.iter().filter_map(|path| check_program(path, Trust::ROOT).err());
    faults.extend(untrusted.map(|error| ErrorReport::of(&error)));
    faults
}

/// Why repositories cannot be found below the root, or the first push of one cannot be stored.
fn root_fault(settings: &Settings) -> Option<ErrorReport> {
    let root = &settings.root;
    if let Err(error) = Root::open(root) {
        let hint = format!("install -d -o git -g git {}", root.display());
        return Some(ErrorReport::hinted(&ErrorReport::of(&error).text(), &hint));
    }
    // Where the operator's program creates repositories, it says who may.
    let is_created = settings.create == Create::FirstPush;
    let access = if is_created { Access::WRITE_OK | Access::EXEC_OK } else { Access::EXEC_OK };
    accessat(CWD, root, access, AtFlags::EACCESS).err().map(|error| {
        let verb = if is_created { "create a repository" } else { "open a repository" };
        let what = format!("this login cannot {verb} in `{}`: {error}", root.display());
        ErrorReport::hinted(&what, &format!("chown git:git {}", root.display()))
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A host that is set up; its settings end with `more`.
    fn found(more: &str, change: impl FnOnce(&Path)) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("srv")).unwrap();
        fs::create_dir(path("hooks")).unwrap();
        for name in ["hooks/pre-receive", "hooks/post-receive", "program"] {
            fs::write(path(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(path(name), Permissions::from_mode(0o755)).unwrap();
        }
        let text = format!("root = \"DIR/srv\"\nhooks = \"DIR/hooks\"\n{more}\n");
        fs::write(path("shell.toml"), text.replace("DIR", folder.path().to_str().unwrap())).unwrap();
        change(folder.path());
        let settings = match Settings::read(&path("shell.toml")) {
            Ok(settings) => faults(&settings),
            Err(error) => vec![ErrorReport::of(&error)],
        };
        settings.iter().map(|fault| fault.text().replace(folder.path().to_str().unwrap(), "DIR")).collect()
    }

    #[test]
    fn what_settings_name_is_there_and_only_roots() {
        let check = |more: &str, change: fn(&Path), expected: &[&str]| {
            assert_eq!(found(more, change), expected, "{more}");
        };
        let nothing: fn(&Path) = |_| {};
        let deploy = "[deploy]\nprogram = \"DIR/program\"";
        let authorize = "authorize = \"DIR/program\"";
        let writable: fn(&Path) = |folder| {
            fs::set_permissions(folder.join("program"), Permissions::from_mode(0o777)).unwrap();
        };
        check("", nothing, &[]);
        check(deploy, nothing, &[]);
        check(authorize, nothing, &[]);
        check(deploy, writable, &["`DIR/program` is writable by group or others (mode 0777)"]);
        check(authorize, writable, &["`DIR/program` is writable by group or others (mode 0777)"]);
        check(
            "",
            |folder| fs::remove_dir(folder.join("srv")).unwrap(),
            &["cannot open `DIR/srv`: No such file or directory (os error 2)"],
        );
        check(
            "",
            |folder| fs::remove_file(folder.join("hooks/pre-receive")).unwrap(),
            &["cannot read `DIR/hooks/pre-receive`: No such file or directory (os error 2)"],
        );
        check(
            "path = \"{repository}\"\nauthorize = \"DIR/program\"",
            nothing,
            &["`DIR/shell.toml`: `authorize` and `path` exclude each other"],
        );
        let unknown = found("roots = 1", nothing);
        assert!(
            unknown.len() == 1
                && unknown[0].starts_with("cannot parse `DIR/shell.toml`, line 3: unknown field")
        );
    }
}
