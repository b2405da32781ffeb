//! The configuration file as it is written, and its resolution into settings.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pushkeys_daemon::{Period, PeriodOrNever};
use pushkeys_feed::HOST_KEYS_MAX;
use pushkeys_files::{ReadFileError, Trust};
use pushkeys_keys::{Hint, Login, SourceName, shell_word};
use reqwest::Url;
use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use super::removal_limit::RemovalLimit;
use super::settings::{Config, Remote, SourceKind, SourceSettings, is_loopback};
use super::values::{ForcedCommand, Parsed, ShareOrNever};

/// A configuration is read up to this size.
const CONFIG_BYTES_MAX: usize = 1024 * 1024;
/// One lookup consults every source, so there are few; readers of the cache rely on this bound.
const SOURCES_MAX: usize = 64;

const CACHE_DEFAULT: &str = "/var/lib/pushkeys/cache";
const LOGIN_DEFAULT: &str = "git";
const COMMAND_DEFAULT: &str =
    "/usr/libexec/pushkeys/pushkeys-shell --account {account} --key {key_id} --fingerprint {fingerprint}";
const MAX_STALE_DEFAULT: Duration = Duration::from_hours(24);
const INTERVAL_DEFAULT: Duration = Duration::from_secs(30);
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// A few heartbeats of a service that sends one every few seconds.
const SILENCE_DEFAULT: Duration = Duration::from_secs(20);
const SILENCE_MIN: Duration = Duration::from_millis(100);
/// HEAD counts whole seconds.
const MAX_STALE_MIN: Duration = Duration::from_secs(1);

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error(transparent)]
    File(#[from] ReadFileError),
    #[error("`{}`, line {line}: {what}", path.display())]
    Content {
        path: PathBuf,
        line: usize,
        what: String,
        #[source]
        hint: Hint,
    },
}

/// Reads the configuration at `path`, and refuses it if others could have written it.
pub(crate) fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = pushkeys_files::read_text(path, Trust::ROOT_OR_SELF, CONFIG_BYTES_MAX)?;
    let config = parse(&text).map_err(|fault| ConfigError::Content {
        path: path.to_owned(),
        line: line_of(&text, fault.offset),
        what: fault.what,
        hint: Hint::new(format!(
            "edit it, then run: pushkeys-syncd --config {} check",
            shell_word(&path.to_string_lossy())
        )),
    })?;
    for source in &config.sources {
        match pushkeys_files::check(source.program(), Trust::ROOT_OR_SELF) {
            // A program that is missing can be installed later.
            Err(ReadFileError::Io { .. }) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(config)
}

/// What is wrong, and where in the text.
#[derive(Debug)]
struct ConfigFault {
    offset: usize,
    what: String,
}

fn parse(text: &str) -> Result<Config, ConfigFault> {
    let raw: RawConfig = toml::from_str(text).map_err(|error| ConfigFault {
        offset: error.span().map_or(0, |span| span.start),
        what: error.message().to_owned(),
    })?;
    let common = Common::of(&raw).map_err(|what| ConfigFault { offset: 0, what })?;
    let mut sources: Vec<SourceSettings> = Vec::new();
    for source in raw.source {
        let offset = source.span().start;
        let settings = common.source(source.into_inner()).map_err(|what| ConfigFault { offset, what })?;
        if sources.iter().any(|other| other.name == settings.name) {
            return Err(ConfigFault {
                offset,
                what: format!("there are two sources called `{}`", settings.name),
            });
        }
        sources.push(settings);
    }
    if sources.is_empty() || sources.len() > SOURCES_MAX {
        return Err(ConfigFault {
            offset: 0,
            what: format!("1 to {SOURCES_MAX} [[source]] are needed, and there are {}", sources.len()),
        });
    }
    sources.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let cache = raw.cache.unwrap_or_else(|| CACHE_DEFAULT.into());
    if !cache.is_absolute() {
        return Err(ConfigFault { offset: 0, what: "`cache` is not an absolute path".to_owned() });
    }
    if raw.revoked_keys_file.as_ref().is_some_and(|path| !path.is_absolute()) {
        return Err(ConfigFault {
            offset: 0,
            what: "`revoked_keys_file` is not an absolute path".to_owned(),
        });
    }
    let host_keys = raw.host_keys;
    if host_keys.iter().flatten().any(|path| !path.is_absolute()) {
        return Err(ConfigFault {
            offset: 0,
            what: "`host_keys` names a path that is not absolute".to_owned(),
        });
    }
    if host_keys.as_ref().is_some_and(|files| files.len() > HOST_KEYS_MAX) {
        let what = format!("`host_keys` names more than {HOST_KEYS_MAX} files");
        return Err(ConfigFault { offset: 0, what });
    }
    Ok(Config { cache, revoked_keys_file: raw.revoked_keys_file, host_keys, sources, metrics: raw.metrics })
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    cache: Option<PathBuf>,
    revoked_keys_file: Option<PathBuf>,
    host_keys: Option<Vec<PathBuf>>,
    logins: Option<Vec<Parsed<Login>>>,
    command: Option<Parsed<ForcedCommand>>,
    max_stale: Option<PeriodOrNever>,
    metrics: Option<pushkeys_daemon::metrics::Address>,
    #[serde(default)]
    source: Vec<Spanned<RawSource>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    name: Parsed<SourceName>,
    kind: RawKind,
    url: Option<Parsed<Url>>,
    path: Option<PathBuf>,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_key: Option<PathBuf>,
    interval: Option<Period>,
    silence_max: Option<Period>,
    logins: Option<Vec<Parsed<Login>>>,
    command: Option<Parsed<ForcedCommand>>,
    max_stale: Option<PeriodOrNever>,
    shrink_max: Option<Parsed<ShareOrNever>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum RawKind {
    Feed,
    Poll,
    Directory,
}

/// The settings of every source that does not have its own.
struct Common {
    logins: Vec<Login>,
    command: ForcedCommand,
    max_stale: Option<Duration>,
}

impl Common {
    fn of(raw: &RawConfig) -> Result<Self, String> {
        let git = || {
            LOGIN_DEFAULT
                .parse()
                .map(|login| vec![Parsed(login)])
                .map_err(|error: pushkeys_keys::ParseIdError| error.to_string())
        };
        let command = match &raw.command {
            Some(command) => command.0.clone(),
            None => COMMAND_DEFAULT
                .parse()
                .map_err(|error: pushkeys_keys::ParseTemplateError| error.to_string())?,
        };
        Ok(Self {
            logins: logins(raw.logins.clone().map_or_else(git, Ok)?)?,
            command,
            max_stale: raw.max_stale.map_or(Some(MAX_STALE_DEFAULT), |period| period.0),
        })
    }

    fn source(&self, raw: RawSource) -> Result<SourceSettings, String> {
        let is_directory = raw.kind == RawKind::Directory;
        let command = raw.command.as_ref().map_or_else(|| self.command.clone(), |command| command.0.clone());
        let max_stale = raw.max_stale.map(|period| period.0);
        // A folder on this host is always in reach, so its keys go stale only if that is configured.
        let inherited = if is_directory { None } else { self.max_stale };
        let max_stale = at_least("max_stale", max_stale.unwrap_or(inherited), MAX_STALE_MIN)?;
        let shrink_default = if is_directory { None } else { Some(RemovalLimit::DEFAULT) };
        Ok(SourceSettings {
            name: raw.name.0.clone(),
            logins: raw.logins.clone().map_or_else(|| Ok(self.logins.clone()), logins)?,
            command: command.template,
            command_text: command.text,
            max_stale,
            removal_limit: raw.shrink_max.as_ref().map_or(shrink_default, |share| share.0.0),
            kind: kind(raw)?,
        })
    }
}

fn logins(logins: Vec<Parsed<Login>>) -> Result<Vec<Login>, String> {
    let mut logins: Vec<Login> = logins.into_iter().map(|login| login.0).collect();
    logins.sort_unstable();
    logins.dedup();
    if (1..=pushkeys_cache::LOGINS_MAX).contains(&logins.len()) {
        Ok(logins)
    } else {
        Err(format!("`logins` names 1 to {} logins", pushkeys_cache::LOGINS_MAX))
    }
}

fn at_least(key: &str, span: Option<Duration>, least: Duration) -> Result<Option<Duration>, String> {
    match span {
        Some(span) if span < least => Err(format!("`{key}` is less than {} ms", least.as_millis())),
        span => Ok(span),
    }
}

fn kind(raw: RawSource) -> Result<SourceKind, String> {
    let misplaced = misplaced(&raw);
    if let Some(key) = misplaced {
        return Err(format!("`{key}` has no meaning for a source of this kind"));
    }
    if raw.kind == RawKind::Directory {
        let path = raw.path.ok_or("a source of the kind `directory` needs a `path`")?;
        return if path.is_absolute() {
            Ok(SourceKind::Directory { path })
        } else {
            Err("`path` is not absolute".to_owned())
        };
    }
    let is_poll = raw.kind == RawKind::Poll;
    let interval = raw.interval.map_or(INTERVAL_DEFAULT, |period| period.0);
    at_least("interval", Some(interval), INTERVAL_MIN)?;
    let remote = remote(raw)?;
    if is_poll {
        return Ok(SourceKind::Poll { remote, interval });
    }
    if remote.url.query().is_some() {
        return Err("`url` of a feed has no query".to_owned());
    }
    Ok(SourceKind::Feed(remote))
}

/// A key that another kind of source has.
fn misplaced(raw: &RawSource) -> Option<&'static str> {
    let is_directory = raw.kind == RawKind::Directory;
    [
        ("url", raw.url.is_some(), is_directory),
        ("token_file", raw.token_file.is_some(), is_directory),
        ("ca_file", raw.ca_file.is_some(), is_directory),
        ("client_certificate", raw.client_certificate.is_some(), is_directory),
        ("client_key", raw.client_key.is_some(), is_directory),
        ("silence_max", raw.silence_max.is_some(), is_directory),
        ("interval", raw.interval.is_some(), raw.kind != RawKind::Poll),
        ("path", raw.path.is_some(), !is_directory),
    ]
    .into_iter()
    .find_map(|(key, is_there, is_misplaced)| (is_there && is_misplaced).then_some(key))
}

fn remote(raw: RawSource) -> Result<Remote, String> {
    let url = raw.url.ok_or("a source of the kinds `feed` and `poll` needs a `url`")?.0;
    check_url(&url)?;
    let client = match (raw.client_certificate, raw.client_key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err("`client_certificate` and `client_key` go together".to_owned()),
    };
    let silence_max = raw.silence_max.map_or(SILENCE_DEFAULT, |period| period.0);
    at_least("silence_max", Some(silence_max), SILENCE_MIN)?;
    Ok(Remote { url, token_file: raw.token_file, ca_file: raw.ca_file, client, silence_max })
}

fn check_url(url: &Url) -> Result<(), String> {
    let Some(host) = url.host_str() else { return Err("`url` names no host".to_owned()) };
    let is_loopback = is_loopback(host);
    if !url.username().is_empty() || url.password().is_some() {
        return Err("`url` holds a password; put a token into the file of `token_file`".to_owned());
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback => Ok(()),
        "http" => {
            Err("`url` begins with http://, which is for addresses of this host only; use https://"
                .to_owned())
        }
        other => Err(format!("`url` begins with {other}://, and only https:// is known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "[[source]]\nname = \"api\"\nkind = \"feed\"\nurl = \"https://keys.example.com\"\n";

    #[test]
    fn settings_have_defaults() {
        let config = parse(MINIMAL).unwrap();
        let source = &config.sources[0];
        assert_eq!(config.cache, Path::new(CACHE_DEFAULT));
        assert_eq!(source.logins, vec!["git".parse().unwrap()]);
        assert_eq!(source.max_stale, Some(MAX_STALE_DEFAULT));
        assert_eq!(source.removal_limit, Some(RemovalLimit::DEFAULT));
        let local =
            parse("[[source]]\nname = \"local\"\nkind = \"directory\"\npath = \"/etc/keys\"\n").unwrap();
        assert_eq!((local.sources[0].max_stale, local.sources[0].removal_limit), (None, None));
    }

    #[test]
    fn a_source_may_have_its_own_settings() {
        let text = format!(
            "max_stale = \"7d\"\nlogins = [\"a\"]\n{MINIMAL}max_stale = \"never\"\nlogins = [\"b\"]\nshrink_max = \"50%\"\ncommand = \"/bin/x {{account}}\"\n"
        );
        let config = parse(&text).unwrap();
        let source = &config.sources[0];
        assert_eq!((source.max_stale, source.logins[0].as_str()), (None, "b"));
        assert_eq!(source.removal_limit.unwrap().to_string(), "50%");
        assert_eq!(source.command_text, "/bin/x {account}");
    }

    #[test]
    fn settings_that_change_the_line_change_the_tag() {
        let tag = |extra: &str| parse(&format!("{MINIMAL}{extra}")).unwrap().sources[0].renderer_tag();
        assert_eq!(tag(""), tag("max_stale = \"1h\"\n"));
        assert_ne!(tag(""), tag("logins = [\"deploy\"]\n"));
        assert_ne!(tag(""), tag("command = \"/bin/x {account}\"\n"));
    }

    #[test]
    fn a_fault_is_named_with_its_line() {
        let check = |text: &str, line: usize, expected: &str| {
            let fault = parse(text).unwrap_err();
            assert!(fault.what.contains(expected), "{text}: {}", fault.what);
            assert_eq!(line_of(text, fault.offset), line, "{text}: {}", fault.what);
        };
        let with = |extra: &str| format!("{MINIMAL}{extra}\n");
        let url = |url: &str| MINIMAL.replace("https://keys.example.com", url);
        check("", 1, "[[source]]");
        check("metrics = \"0.0.0.0:9184\"\n", 1, "loopback");
        check(&format!("revoked_keys_file = \"keys.krl\"\n{MINIMAL}"), 1, "not an absolute path");
        check("cash = \"/x\"\n", 1, "unknown field `cash`");
        check(&with("tokenfile = \"/x\""), 5, "unknown field `tokenfile`");
        check(&with("max_stale = \"soon\""), 5, "like 500ms");
        check(&with("max_stale = \"0s\""), 1, "less than 1000 ms");
        check(&with("logins = [\"Root\"]"), 5, "not a login name");
        check(&with("logins = []"), 1, "1 to 16 logins");
        check(&with("command = \"/bin/x\""), 5, "{account}");
        check(&with("command = \"x {account}\""), 5, "absolute path");
        check(&with("shrink_max = \"150%\""), 5, "like \"20%\"");
        check(&with("path = \"/x\""), 1, "`path` has no meaning");
        check(&with("interval = \"5s\""), 1, "`interval` has no meaning");
        check(&with("client_key = \"/x\""), 1, "go together");
        check(&with(MINIMAL), 5, "two sources called `api`");
        check(&MINIMAL.replace("api", "../x"), 2, "not a source name");
        check(&MINIMAL.replace("feed", "ldap"), 3, "unknown variant");
        check(&MINIMAL.replace("url", "# url"), 1, "needs a `url`");
        check(&url("http://keys.example.com"), 1, "use https://");
        check(&url("ftp://keys.example.com"), 1, "only https://");
        check(&url("https://a:b@keys.example.com"), 1, "token_file");
        check(&url("keys"), 4, "relative URL");
        check("[[source]]\nname = \"l\"\nkind = \"directory\"\npath = \"keys\"\n", 1, "not absolute");
        check("[[source]]\nname = \"l\"\nkind = \"directory\"\n", 1, "needs a `path`");
        check(
            "cache = \"x\"\n[[source]]\nname = \"l\"\nkind = \"directory\"\npath = \"/k\"\n",
            1,
            "not an absolute path",
        );
        for url in ["http://127.0.0.1:80", "http://[::1]", "http://localhost:8080/x", "https://k.example"] {
            assert!(parse(&MINIMAL.replace("https://keys.example.com", url)).is_ok(), "{url}");
        }
    }
}
