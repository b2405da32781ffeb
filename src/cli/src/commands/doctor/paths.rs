//! The rule by which sshd runs a helper: only root can have written it and the folders above it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::finding::{Finding, quoted};

const WRITABLE_BY_OTHERS: u32 = 0o022;
const EXECUTABLE_BY_ALL: u32 = 0o111;

const WHY: &str = "sshd does not run a program that other users than root could replace, and then every login fails; where \
                   it does run it, any user who can write there decides who logs in";

/// What is wrong with `path`, which only root should be able to replace. Links are resolved.
pub(super) fn check_program(check: &'static str, path: &Path) -> Vec<Finding> {
    let resolved = match resolve(check, path) {
        Ok(resolved) => resolved,
        Err(finding) => return vec![*finding],
    };
    let mut findings = check_strict(check, &resolved);
    match fs::metadata(&resolved) {
        Ok(metadata) if !metadata.is_file() => {
            findings.push(Finding::error(check, format!("`{}` is not a file", path.display()), WHY));
        }
        Ok(metadata) if metadata.mode() & EXECUTABLE_BY_ALL != EXECUTABLE_BY_ALL => findings.push(
            Finding::error(
                check,
                format!("`{}` cannot be run by everybody", path.display()),
                "sshd runs it as a user of its own, and the login runs the forced command as itself",
            )
            .cured_by(format!("chmod 0755 {}", quoted(&resolved.to_string_lossy()))),
        ),
        _ => {}
    }
    findings
}

/// The same for a file that is read and not run; a file that is not there is fine.
pub(super) fn check_file(check: &'static str, path: &Path) -> Vec<Finding> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        _ => match resolve(check, path) {
            Ok(resolved) => check_strict(check, &resolved),
            Err(finding) => vec![*finding],
        },
    }
}

fn resolve(check: &'static str, path: &Path) -> Result<PathBuf, Box<Finding>> {
    path.canonicalize().map_err(|error| {
        Box::new(Finding::error(check, format!("cannot resolve `{}`: {error}", path.display()), WHY))
    })
}

/// Owner and mode of `resolved` and of every folder above it.
fn check_strict(check: &'static str, resolved: &Path) -> Vec<Finding> {
    resolved.ancestors().filter_map(|path| check_one(check, path)).collect()
}

fn check_one(check: &'static str, path: &Path) -> Option<Finding> {
    let shown = quoted(&path.to_string_lossy());
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            return Some(Finding::error(check, format!("cannot look at `{}`: {error}", path.display()), WHY));
        }
    };
    if metadata.uid() != 0 {
        let what = format!("`{}` belongs to user {}, not to root", path.display(), metadata.uid());
        return Some(Finding::error(check, what, WHY).cured_by(format!("chown root {shown}")));
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        let what = format!(
            "`{}` is writable by group or others (mode {:04o})",
            path.display(),
            metadata.mode() & 0o7777
        );
        return Some(Finding::error(check, what, WHY).cured_by(format!("chmod go-w {shown}")));
    }
    None
}
