//! The rule by which sshd runs a helper: only root can have written it and the folders above it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::finding::Finding;
use pushkeys_files::Trust;
use pushkeys_keys::shell_word;

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
            .cured_by(format!("chmod 0755 {}", shell_word(&resolved.to_string_lossy()))),
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
    // A resolved path holds no link.
    let error = pushkeys_files::check(path, Trust::ROOT).err()?;
    Some(Finding::of_error(check, &error, WHY))
}
