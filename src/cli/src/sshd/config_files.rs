//! The files that sshd reads, line by line: to show where a setting comes from, and to name the line to change.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, glob_with};
use pushkeys_keys::Login;

use super::pattern::matches_list;
use super::words::words;

/// `Include` nests no deeper in OpenSSH.
const INCLUDE_DEPTH_MAX: usize = 16;
const FILES_MAX: usize = 256;
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Where a relative `Include` is looked for, wherever it stands.
const FOLDER: &str = "/etc/ssh";
/// As glob(3) does it.
const GLOB: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// One setting where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) file: PathBuf,
    /// From 1.
    pub(crate) line: usize,
    /// In lower case.
    pub(crate) keyword: String,
    pub(crate) words: Vec<String>,
    /// The `Match` blocks that it stands in, the outermost first: that of its own file, after those of the `Include` lines that
    /// led to it. All of them must match.
    pub(crate) blocks: Vec<Criteria>,
}

/// What a `Match` line asks of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Criteria(Vec<(String, String)>);

/// Every setting of `config` and of what it includes, in the order in which sshd meets them.
pub(crate) fn read(config: &Path) -> Vec<Setting> {
    let mut reader = Reader { settings: Vec::new(), files: 0 };
    reader.file(config, &[], 0);
    reader.settings
}

impl Setting {
    /// Whether it holds for every connection.
    pub(crate) fn is_global(&self) -> bool {
        self.blocks.iter().all(Criteria::is_all)
    }

    /// Whether it can hold for `login`, which is in `groups`; what depends on the connection can.
    pub(crate) fn may_hold(&self, login: &Login, groups: &[String]) -> bool {
        self.blocks.iter().all(|criteria| criteria.may_match(login, groups))
    }

    /// Whether it is the first line of a block for `login` and nothing else.
    pub(crate) fn begins_block_of(&self, login: &Login) -> bool {
        self.keyword == "match"
            && self.blocks.iter().filter(|criteria| !criteria.is_all()).count() == 1
            && self.blocks.last().is_some_and(|criteria| criteria.is_for(login))
    }
}

impl Criteria {
    fn parse(words: &[String]) -> Self {
        let mut criteria = Vec::new();
        // `User git` may be written `User=git`.
        let mut words = words.iter().flat_map(|word| word.splitn(2, '=').map(str::to_owned));
        while let Some(name) = words.next() {
            let name = name.to_ascii_lowercase();
            let takes_value = !matches!(name.as_str(), "all" | "invalid-user");
            let value = if takes_value { words.next().unwrap_or_default() } else { String::new() };
            criteria.push((name, value));
        }
        Self(criteria)
    }

    fn is_all(&self) -> bool {
        self.0.iter().all(|(name, _)| name == "all")
    }

    fn is_for(&self, login: &Login) -> bool {
        matches!(self.0.as_slice(), [(name, list)] if name == "user" && list.split(',').any(|user| user == login.as_str()))
    }

    fn may_match(&self, login: &Login, groups: &[String]) -> bool {
        self.0.iter().all(|(name, list)| match name.as_str() {
            "user" => matches_list([login.as_str()], list),
            "group" => matches_list(groups.iter().map(String::as_str), list),
            "invalid-user" => false,
            _ => true,
        })
    }
}

struct Reader {
    settings: Vec<Setting>,
    files: usize,
}

impl Reader {
    /// What cannot be read is passed over: `sshd -T` is the one to say what is wrong with it.
    fn file(&mut self, path: &Path, outer: &[Criteria], depth: usize) {
        self.files += 1;
        if depth > INCLUDE_DEPTH_MAX || self.files > FILES_MAX {
            return;
        }
        let mut text = String::new();
        if File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text)).is_err() {
            return;
        }
        // What an included file says of `Match` ends with it.
        let mut blocks = outer.to_vec();
        for (number, line) in (1..).zip(text.lines()) {
            let Some((keyword, words)) = split(line) else { continue };
            match keyword.as_str() {
                "include" => {
                    for included in words.iter().flat_map(|pattern| expand(pattern)) {
                        self.file(&included, &blocks, depth + 1);
                    }
                }
                "match" => {
                    blocks.truncate(outer.len());
                    blocks.push(Criteria::parse(&words));
                }
                _ => {}
            }
            let (file, blocks) = (path.to_owned(), blocks.clone());
            self.settings.push(Setting { file, line: number, keyword, words, blocks });
        }
    }
}

/// Keyword, in lower case, and the words after it; they may be parted by a `=`.
fn split(line: &str) -> Option<(String, Vec<String>)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line
        .find(|character: char| character.is_ascii_whitespace() || character == '=')
        .unwrap_or(line.len());
    let (keyword, rest) = line.split_at_checked(end)?;
    let rest = rest.trim_start();
    let keyword = keyword.trim_matches('"').to_ascii_lowercase();
    Some((keyword, words(rest.strip_prefix('=').unwrap_or(rest))))
}

/// The files that a pattern of `Include` stands for, sorted.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let pattern = Path::new(FOLDER).join(pattern);
    let mut files: Vec<PathBuf> =
        glob_with(&pattern.to_string_lossy(), GLOB).into_iter().flatten().flatten().collect();
    files.sort_unstable();
    files
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn settings_are_told_with_file_line_and_block() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("sshd_config");
        let root = folder.path().display();
        fs::create_dir(folder.path().join("d")).unwrap();
        fs::write(
            &main,
            format!(
                "# x\nInclude \"{root}/d/[01]*.conf\" # all\nUsePAM=no\nMatch User root\n  PermitTTY no\n\
                 Include {root}/d/nested\nMatch all\nBanner none\n"
            ),
        )
        .unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join("d").join(name), text).unwrap();
        write("10-b.conf", "Match User=git\n\tAcceptEnv  A \"B C\"\n");
        write("05-a.conf", "permitTunnel \"yes\"\n");
        write("nested", "Match Address 10.0.0.0/8\nPermitTTY yes\n");
        write("ignored.txt", "Port 1\n");
        let found: Vec<String> = read(&main)
            .into_iter()
            .map(|setting| {
                let file = setting.file.file_name().unwrap().to_str().unwrap().to_owned();
                let criteria = setting.blocks.iter().flat_map(|criteria| &criteria.0);
                let blocks: Vec<String> = criteria.map(|(name, value)| format!("{name} {value}")).collect();
                let (line, words) = (setting.line, setting.words.join("|"));
                format!("{file}:{line} [{}] {} {words}", blocks.join(", "), setting.keyword)
            })
            .map(|line| line.replace(&root.to_string(), ""))
            .collect();
        assert_eq!(
            found,
            [
                "05-a.conf:1 [] permittunnel yes",
                "10-b.conf:1 [user git] match User=git",
                "10-b.conf:2 [user git] acceptenv A|B C",
                "sshd_config:2 [] include /d/[01]*.conf",
                "sshd_config:3 [] usepam no",
                "sshd_config:4 [user root] match User|root",
                "sshd_config:5 [user root] permittty no",
                "nested:1 [user root, address 10.0.0.0/8] match Address|10.0.0.0/8",
                "nested:2 [user root, address 10.0.0.0/8] permittty yes",
                "sshd_config:6 [user root] include /d/nested",
                "sshd_config:7 [all ] match all",
                "sshd_config:8 [all ] banner none",
            ]
        );
    }

    #[test]
    fn a_block_holds_for_whom_it_can_match() {
        let (login, groups) = ("git".parse().unwrap(), ["git".to_owned(), "pushkeys".to_owned()]);
        let check = |line: &str, may_hold, is_own| {
            let (keyword, words) = split(line).unwrap();
            let blocks = vec![Criteria::parse(&words)];
            let setting = Setting { file: PathBuf::new(), line: 1, keyword, words, blocks };
            let found = (setting.may_hold(&login, &groups), setting.begins_block_of(&login));
            assert_eq!(found, (may_hold, is_own), "{line}");
        };
        check("Match User git", true, true);
        check("match user=git", true, true);
        check("Match User root,git", true, true);
        check("Match User g*", true, false);
        check("Match User *,!git", false, false);
        check("Match User root", false, false);
        check("Match User git Address 10.0.0.0/8", true, false);
        check("Match Group push*", true, false);
        check("Match Group wheel", false, false);
        check("Match Group wheel User git", false, false);
        check("Match Address 10.0.0.0/8", true, false);
        check("Match Invalid-User", false, false);
        check("Match all", true, false);
    }

    #[test]
    fn a_file_that_includes_itself_ends() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("sshd_config");
        fs::write(&main, format!("Include {0}\nInclude {0}\n", main.display())).unwrap();
        assert!(read(&main).len() <= 2 * FILES_MAX);
    }
}
