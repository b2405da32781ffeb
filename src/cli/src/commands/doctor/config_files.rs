//! The files that sshd reads, line by line: to tell where a setting comes from, and to name the line that cures it.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// `Include` nests no deeper in OpenSSH.
const INCLUDE_DEPTH_MAX: usize = 16;
const FILES_MAX: usize = 256;
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// One setting where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) file: PathBuf,
    /// From 1.
    pub(super) line: usize,
    /// In lower case.
    pub(super) keyword: String,
    pub(super) value: String,
    /// The criteria of the `Match` block that it stands in.
    pub(super) block: Option<String>,
}

/// Every setting of `config` and of what it includes, in the order in which sshd meets them.
pub(super) fn read(config: &Path) -> Vec<Setting> {
    let mut reader = Reader { settings: Vec::new(), files: 0 };
    reader.file(config, None, 0);
    reader.settings
}

struct Reader {
    settings: Vec<Setting>,
    files: usize,
}

impl Reader {
    /// What cannot be read is passed over: `sshd -T` is the one to say what is wrong with it.
    fn file(&mut self, path: &Path, mut block: Option<String>, depth: usize) {
        self.files += 1;
        if depth > INCLUDE_DEPTH_MAX || self.files > FILES_MAX {
            return;
        }
        let mut text = String::new();
        if File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)).is_err() {
            return;
        }
        for (number, line) in (1..).zip(text.lines()) {
            let Some((keyword, value)) = split(line) else { continue };
            match keyword.as_str() {
                // What an included file says of `Match` ends with it.
                "include" => {
                    for pattern in value.split_ascii_whitespace() {
                        for included in expand(path, pattern.trim_matches('"')) {
                            self.file(&included, block.clone(), depth + 1);
                        }
                    }
                }
                "match" => block = (!value.eq_ignore_ascii_case("all")).then(|| value.clone()),
                _ => {}
            }
            let (file, block) = (path.to_owned(), block.clone());
            self.settings.push(Setting { file, line: number, keyword, value, block });
        }
    }
}

/// Keyword and value; they may be parted by a `=`.
fn split(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line
        .find(|character: char| character.is_ascii_whitespace() || character == '=')
        .unwrap_or(line.len());
    let (keyword, rest) = line.split_at_checked(end)?;
    let value = rest.trim_start().trim_start_matches('=').trim();
    Some((keyword.to_ascii_lowercase(), value.to_owned()))
}

/// The files that a pattern of `Include` stands for, sorted. Only `*` in the file's name is known, as in `*.conf`.
fn expand(from: &Path, pattern: &str) -> Vec<PathBuf> {
    // Relative names are relative to sshd's own folder (sshd_config(5)), which is where the main file is.
    let pattern = from.parent().unwrap_or(Path::new("/etc/ssh")).join(pattern);
    let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((before, after)) = name.split_once('*') else { return vec![pattern] };
    let Some(folder) = pattern.parent() else { return Vec::new() };
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
                name.len() >= before.len() + after.len()
                    && !name.starts_with('.')
                    && name.starts_with(before)
                    && name.ends_with(after)
            })
        })
        .collect();
    files.sort_unstable();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_told_with_file_line_and_block() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("sshd_config");
        fs::create_dir(folder.path().join("d")).unwrap();
        fs::write(
            &main,
            "# x\nInclude d/*.conf\nUsePAM=no\nMatch User root\n  PermitTTY no\nMatch all\nBanner none\n",
        )
        .unwrap();
        fs::write(folder.path().join("d/10-b.conf"), "Match User git\n\tAcceptEnv  A B\n").unwrap();
        fs::write(folder.path().join("d/05-a.conf"), "permitTunnel \"yes\"\n").unwrap();
        fs::write(folder.path().join("d/ignored.txt"), "Port 1\n").unwrap();
        let found: Vec<String> = read(&main)
            .into_iter()
            .map(|setting| {
                let file = setting.file.file_name().unwrap().to_str().unwrap().to_owned();
                let block = setting.block.unwrap_or_default();
                format!("{file}:{} [{block}] {} {}", setting.line, setting.keyword, setting.value)
            })
            .collect();
        assert_eq!(
            found,
            [
                "05-a.conf:1 [] permittunnel \"yes\"",
                "10-b.conf:1 [User git] match User git",
                "10-b.conf:2 [User git] acceptenv A B",
                "sshd_config:2 [] include d/*.conf",
                "sshd_config:3 [] usepam no",
                "sshd_config:4 [User root] match User root",
                "sshd_config:5 [User root] permittty no",
                "sshd_config:6 [] match all",
                "sshd_config:7 [] banner none",
            ]
        );
    }

    #[test]
    fn a_file_that_includes_itself_ends() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("sshd_config");
        fs::write(&main, format!("Include {0}\nInclude {0}\n", main.display())).unwrap();
        assert!(read(&main).len() <= 2 * FILES_MAX);
    }
}
