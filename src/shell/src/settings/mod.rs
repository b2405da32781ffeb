//! `/etc/pushkeys/shell.toml`: where repositories are, how access is decided, and what happens after a push.
//!
//! It decides which repository is opened, so only root may have written it.

mod lfs;
mod limits;
mod path_template;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lfs::WrittenLfs;
pub(crate) use lfs::{Lfs, LfsServer};
pub(crate) use limits::Limits;
pub(crate) use path_template::PathTemplate;
use pushkeys_files::{ReadFileError, Trust};
use pushkeys_keys::{Hint, shell_word};
use serde::Deserialize;
use thiserror::Error;

use crate::remote::RemoteHost;

/// The default file of settings.
pub(crate) const SETTINGS_FILE: &str = "/etc/pushkeys/shell.toml";
/// The hooks of the package, which git starts before and after it stores a push.
const HOOKS_DIRECTORY: &str = "/usr/libexec/pushkeys/hooks";
/// The longest file of settings in bytes; real ones have a few lines.
const SETTINGS_BYTES_MAX: usize = 64 * 1024;
const AUTHORIZE_LIMIT_S: u64 = 5;
/// The client is not watched while the operator's program runs, and no child may outlive the client by ten seconds.
pub(crate) const AUTHORIZE_LIMIT_S_MAX: u64 = 5;

/// The settings as resolved.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The folder of all repositories.
    pub(crate) root: PathBuf,
    pub(crate) locate: Locate,
    pub(crate) create: Create,
    /// Whether git checks every pushed object (`receive.fsckObjects`).
    pub(crate) fsck: bool,
    /// Whether `git push --push-option` is accepted. Hooks and the operator's program get the options as variables.
    pub(crate) push_options: bool,
    /// The name of this host for users.
    pub(crate) host: Option<RemoteHost>,
    /// The folder of the hooks that git starts before and after it stores a push.
    pub(crate) hooks: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) lfs: Option<Lfs>,
    pub(crate) deploy: Option<Deploy>,
}

/// How a repository is found, and how access is decided.
#[derive(Debug)]
pub(crate) enum Locate {
    /// By a path below the root that consists of the account and the repository's name.
    Template(PathTemplate),
    /// By an operator's program.
    Program { path: PathBuf, limit: Duration },
}

/// When a repository is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Create {
    /// By the first push of an account with access.
    FirstPush,
    /// Only by the operator.
    Never,
}

/// The operator's program that runs after a push.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deploy {
    pub(crate) program: PathBuf,
    /// The branch whose pushes start it.
    #[serde(default)]
    pub(crate) branch: DeployedBranch,
    /// Whether a push fails if the program fails. What was pushed is stored in any case.
    #[serde(default)]
    pub(crate) required: bool,
}

/// The branch that is deployed.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum DeployedBranch {
    /// Changes of any reference.
    All,
    /// Changes of one branch.
    Named(String),
}

/// Why the settings cannot be used.
#[derive(Debug, Error)]
pub(crate) enum SettingsError {
    #[error("git is not set up: there is no `{}`", path.display())]
    Missing {
        path: PathBuf,
        #[source]
        hint: Hint,
    },
    #[error(transparent)]
    File(#[from] ReadFileError),
    #[error("cannot parse `{}`, line {line}: {message}", path.display())]
    Parse { path: PathBuf, line: usize, message: String },
    #[error("`{}`: {why}", path.display())]
    Invalid { path: PathBuf, why: &'static str },
}

/// The settings as they are parsed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    root: PathBuf,
    path: Option<PathTemplate>,
    authorize: Option<PathBuf>,
    authorize_limit_s: Option<u64>,
    #[serde(default = "never")]
    create: Create,
    #[serde(default)]
    fsck: bool,
    #[serde(default)]
    push_options: bool,
    host: Option<String>,
    #[serde(default = "hooks_directory")]
    hooks: PathBuf,
    #[serde(default)]
    limits: Limits,
    lfs: Option<WrittenLfs>,
    deploy: Option<Deploy>,
}

impl Default for DeployedBranch {
    fn default() -> Self {
        Self::Named("main".to_owned())
    }
}

impl TryFrom<String> for DeployedBranch {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_accepted = |character: char| !character.is_control() && !" ~^:?*[\\".contains(character);
        match text.as_str() {
            "*" => Ok(Self::All),
            name if !name.is_empty() && !name.starts_with("refs/") && name.chars().all(is_accepted) => {
                Ok(Self::Named(text))
            }
            _ => Err("`branch` is the name of a branch, without `refs/heads/`, or `*`"),
        }
    }
}

impl Settings {
    /// Reads the settings in the file `path`.
    pub(crate) fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = read_text(path)?;
        let written: Written = toml::from_str(&text).map_err(|error| SettingsError::Parse {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| line_of(&text, span.start)),
            message: error.message().to_owned(),
        })?;
        written.resolve().map_err(|why| SettingsError::Invalid { path: path.to_owned(), why })
    }
}

impl Written {
    fn resolve(self) -> Result<Settings, &'static str> {
        let programs = [self.authorize.as_ref(), self.deploy.as_ref().map(|deploy| &deploy.program)];
        let paths = [&self.root, &self.hooks].into_iter().chain(programs.into_iter().flatten());
        if !paths.into_iter().all(|path| path.is_absolute()) {
            return Err("`root`, `authorize`, `hooks` and `deploy.program` are absolute paths");
        }
        let host = self.host.as_deref().map(str::parse).transpose()?;
        let locate = match (self.authorize, self.path, self.authorize_limit_s) {
            (Some(_), Some(_), _) => return Err("`authorize` and `path` exclude each other"),
            (None, _, Some(_)) => return Err("`authorize_limit_s` needs `authorize`"),
            (None, path, None) => Locate::Template(path.unwrap_or_default()),
            (Some(path), None, limit_s) => match limit_s.unwrap_or(AUTHORIZE_LIMIT_S) {
                limit_s @ 1..=AUTHORIZE_LIMIT_S_MAX => {
                    Locate::Program { path, limit: Duration::from_secs(limit_s) }
                }
                _ => return Err("`authorize_limit_s` is from 1 to 5"),
            },
        };
        let lfs = self.lfs.map(WrittenLfs::resolve).transpose()?;
        let Self { root, create, fsck, push_options, hooks, limits, deploy, .. } = self;
        Ok(Settings { root, locate, create, fsck, push_options, host, hooks, limits, lfs, deploy })
    }
}

fn read_text(path: &Path) -> Result<String, SettingsError> {
    pushkeys_files::read_text(path, Trust::ROOT, SETTINGS_BYTES_MAX).map_err(|error| match error {
        ReadFileError::Io { path, source } if source.kind() == io::ErrorKind::NotFound => {
            let shown = shell_word(&path.to_string_lossy());
            let hint = Hint::new(format!("install -D /usr/share/doc/pushkeys/examples/shell.toml {shown}"));
            SettingsError::Missing { path, hint }
        }
        error => error.into(),
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}

fn hooks_directory() -> PathBuf {
    PathBuf::from(HOOKS_DIRECTORY)
}

fn never() -> Create {
    Create::Never
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const EXAMPLE: &str = include_str!("../../../../packaging/examples/shell.toml");

    fn read(text: &str) -> Result<Settings, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shell.toml");
        fs::write(&path, text).unwrap();
        Settings::read(&path)
    }

    #[test]
    fn only_the_root_is_required() {
        let settings = read("root = \"/srv/git\"").unwrap();
        assert_eq!(settings.root, PathBuf::from("/srv/git"));
        assert_eq!((settings.create, settings.fsck), (Create::Never, false));
        let Locate::Template(template) = settings.locate else { panic!("no template") };
        let path = template.expand(&"acct_7".parse().unwrap(), &"team/app".parse().unwrap());
        assert_eq!(path, PathBuf::from("acct_7/team/app.git"));
    }

    #[test]
    fn everything_can_be_set() {
        let settings = read(
            "root = \"/srv/git\"\nauthorize = \"/usr/local/bin/ask\"\nauthorize_limit_s = 3\ncreate = \"first-push\"\n\
             fsck = true\npush_options = true\nhost = \"push.example.com\"\nhooks = \"/opt/hooks\"\n[limits]\nsessions = 7\n\
             push_mib = 3\nrefs = 0\n[deploy]\nprogram = \"/usr/local/bin/deploy\"\nbranch = \"live\"\nrequired = true",
        )
        .unwrap();
        assert_eq!((settings.create, settings.fsck, settings.push_options), (Create::FirstPush, true, true));
        assert!(matches!(settings.locate, Locate::Program { limit, .. } if limit == Duration::from_secs(3)));
        assert_eq!(settings.hooks, PathBuf::from("/opt/hooks"));
        assert_eq!(settings.host, Some("push.example.com".parse().unwrap()));
        let expected =
            Limits { sessions: Some(7), push_bytes: Some(3 << 20), refs: None, ..Limits::default() };
        assert_eq!(settings.limits, expected);
        let deploy = settings.deploy.unwrap();
        assert_eq!((deploy.branch, deploy.required), (DeployedBranch::Named("live".to_owned()), true));
    }

    #[test]
    fn the_packaged_example_is_valid() {
        let settings = read(EXAMPLE).unwrap();
        assert_eq!(settings.create, Create::FirstPush);
        // The commented-out settings must be valid, too. `authorize` and `path` exclude each other.
        let is_setting =
            |text: &str| text.starts_with(|first: char| first == '[' || first.is_ascii_lowercase());
        let uncommented = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| is_setting(rest)).unwrap_or(line));
        let all: Vec<&str> = uncommented.filter(|line| !line.starts_with("path = ")).collect();
        let settings = read(&all.join("\n")).unwrap();
        assert!(settings.deploy.is_some() && matches!(settings.locate, Locate::Program { .. }));
        let Lfs { server, program } = settings.lfs.unwrap();
        let server = server.unwrap();
        assert_eq!(server.url("acct_7/app.git"), "https://lfs.example.com/acct_7/app.git/info/lfs");
        assert!(server.lifetime_s == 1800 && program.is_some());
        assert_eq!(settings.limits, Limits::default(), "the example states the defaults");
    }

    #[test]
    fn invalid_settings_are_reported_with_their_line() {
        let check = |text: &str, expected: &str| {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        };
        check("", "missing field `root`");
        check("root = \"/srv/git\"\nroots = 1", "line 2: unknown field `roots`");
        check("root = \"srv\"", "absolute");
        check("root = \"/a\"\nauthorize = \"ask\"", "absolute");
        check("root = \"/a\"\n[deploy]\nprogram = \"x\"", "absolute");
        check("root = \"/a\"\nhooks = \"x\"", "absolute");
        check("root = \"/a\"\nhost = \"-x\"", "`host` is the name");
        check("root = \"/a\"\n[limits]\nsession = 1", "line 3: unknown field `session`");
        check("root = \"/a\"\n[limits]\nrefs = -1", "line 3: invalid value: integer `-1`");
        check(
            "root = \"/a\"\n[deploy]\nprogram = \"/x\"\nbranch = \"refs/heads/main\"",
            "line 4: `branch` is the name",
        );
        let lfs = |rest: &str| format!("root = \"/a\"\n[lfs]\n{rest}");
        check(&lfs(""), "names a server");
        check(&lfs("url = \"https://x/{path}\""), "belong together");
        check(&lfs("program = \"x\""), "absolute");
        check(&lfs("key_file = \"/k\"\nurl = \"http://lfs.example.com/{path}\""), "begins with https://");
        check(
            &lfs("key_file = \"/k\"\nurl = \"http://127.0.0.1.example.com/{path}\""),
            "begins with https://",
        );
        check(&lfs("key_file = \"/k\"\nurl = \"https://lfs.example.com\""), "contains `{path}` once");
        check(&lfs("key_file = \"k\"\nurl = \"https://x/{path}\""), "absolute");
        check(&lfs("key_file = \"/k\"\nurl = \"https://x/{path}\"\nlifetime_s = 0"), "from 1 to 86400");
        check("root = \"/a\"\npath = \"{account}\"", "line 2: `path` contains `{repository}`");
        check("root = \"/a\"\npath = \"../{repository}\"", "line 2: `path` is relative");
        check("root = \"/a\"\npath = \"/{repository}\"", "line 2: `path` is relative");
        check("root = \"/a\"\npath = \"{login}/{repository}\"", "line 2: `path` knows");
        check("root = \"/a\"\npath = \"{repository}\"\nauthorize = \"/b\"", "exclude each other");
        check("root = \"/a\"\nauthorize_limit_s = 1", "needs `authorize`");
        check("root = \"/a\"\nauthorize = \"/b\"\nauthorize_limit_s = 6", "from 1 to 5");
        check("root = \"/a\"\nauthorize = \"/b\"\nauthorize_limit_s = 0", "from 1 to 5");
        check("root = \"/a\"\ncreate = \"always\"", "line 2: unknown variant `always`");
        check(&"#".repeat(70_000), "longer than 65536 bytes");
    }

    #[test]
    fn settings_that_others_could_have_written_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shell.toml");
        assert!(matches!(Settings::read(&path), Err(SettingsError::Missing { .. })));
        fs::write(&path, "root = \"/srv/git\"").unwrap();
        for (mode, is_trusted) in [(0o644, true), (0o600, true), (0o664, false), (0o646, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(Settings::read(&path).is_ok(), is_trusted, "{mode:o}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
        assert!(matches!(Settings::read(&path), Err(SettingsError::File(ReadFileError::Untrusted(_)))));
        assert!(matches!(
            Settings::read(folder.path()),
            Err(SettingsError::File(ReadFileError::Untrusted(_)))
        ));
    }
}
