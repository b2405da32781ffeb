//! The configuration file. Every setting has a default, and what is not known is refused.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keys::{CompromisedList, ParseCompromisedListError, Policy};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::api::Origin;
use crate::auth::PublicUrl;
use crate::console::ConsoleConfig;
use crate::percent::is_unreserved;
use crate::rate_limit::Rate;
use crate::store::{DatabaseUrl, StoreLimits};
use crate::{github, mail, oidc};

/// The longest configuration file in bytes.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;
/// The longest list of compromised keys in bytes: about a million fingerprints.
const COMPROMISED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The longest file with the secret of another service, in bytes.
const SECRET_BYTES_MAX: u64 = 4096;
/// The shortest and the longest time between two heartbeats.
const HEARTBEAT_MIN: Duration = Duration::from_millis(50);
const HEARTBEAT_MAX: Duration = Duration::from_mins(1);

/// The configuration of the service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where requests are served; port 0 takes a free one.
    pub listen: SocketAddr,
    /// A file that is written with the address once it is bound.
    pub address_file: Option<PathBuf>,
    /// Where clients reach the service, when it is behind a proxy: OAuth signatures are made over it.
    #[serde(deserialize_with = "optional")]
    pub public_url: Option<PublicUrl>,
    /// Whose pages may use the API from a browser.
    pub allowed_origins: Vec<Origin>,
    /// How often one account may use the API.
    pub account_rate: Rate,
    /// How often one address may, or one /64 of IPv6.
    pub address_rate: Rate,
    /// Proxies that are believed about the address of their peer.
    pub trusted_proxies: Vec<IpAddr>,
    /// Where everything is kept.
    #[serde(deserialize_with = "parsed")]
    pub database: DatabaseUrl,
    /// The password for a PostgreSQL database, one line; without a file, `PGPASSFILE` counts.
    pub database_password_file: Option<PathBuf>,
    /// The service's secret; made when it is missing.
    pub secret_file: PathBuf,
    /// The programs whose OAuth credentials are taken.
    #[serde(rename = "consumer")]
    pub consumers: Vec<Consumer>,
    /// Time between two heartbeats of the feed.
    #[serde(deserialize_with = "duration")]
    pub heartbeat: Duration,
    /// The most changes that are kept for hosts to resume from.
    pub changes_max: u64,
    /// The most keys that an account may register itself.
    pub keys_per_account_max: u64,
    /// More keys that are known to be compromised: one fingerprint or public key a line.
    pub compromised_keys_file: Option<PathBuf>,
    /// Where keys can be imported from.
    pub github: Option<github::Settings>,
    /// By whose word people sign in, beside their password.
    pub oidc: Option<oidc::Settings>,
    /// Who takes mails about changes.
    pub smtp: Option<mail::Settings>,
    /// The pages for users.
    pub console: ConsoleConfig,
    /// Where Prometheus reads: a loopback address, or the path of a socket.
    pub metrics: Option<::metrics::Address>,
}

/// A program that speaks OAuth 1.0a for accounts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// Its public name.
    pub key: String,
    /// Its own half of the signature.
    pub secret: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            address_file: None,
            public_url: None,
            allowed_origins: Vec::new(),
            account_rate: rate(200, 5_000),
            address_rate: rate(1_000, 20_000),
            trusted_proxies: Vec::new(),
            database: DatabaseUrl::at("/var/lib/pushkeys-server/pushkeys.db"),
            database_password_file: None,
            secret_file: "/var/lib/pushkeys-server/secret".into(),
            consumers: vec![Consumer::clever_tools()],
            heartbeat: Duration::from_secs(5),
            changes_max: 1_000_000,
            keys_per_account_max: 1_000,
            compromised_keys_file: None,
            github: None,
            oidc: None,
            smtp: None,
            console: ConsoleConfig::default(),
            metrics: None,
        }
    }
}

fn rate(per_second: u32, burst: u32) -> Rate {
    let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    Rate { per_second: at_least_one(per_second), burst: at_least_one(burst) }
}

impl Consumer {
    /// Clever Cloud's CLI, whose consumer secret is published in its source and protects nothing.
    fn clever_tools() -> Self {
        Self { key: "T5nFjKeHH4AIlEveuGhB5S3xg8T19e".into(), secret: "MgVMqTr6fWlf2M0tkC2MXOnhfqBWDT".into() }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Missing, or not for us.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else could decide what the service does.
    #[error("`{}` can be written by others than its owner (mode {mode:04o}), hint: chmod go-w {}", path.display(), path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others could have read a secret.
    #[error("`{}` holds a secret and can be read by everybody (mode {mode:04o}), hint: chmod o= {}", path.display(), path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Empty, or not one word.
    #[error("`{}` is to hold a secret: one line, without blanks", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
    },
    /// Somebody who is neither root nor the service's user could decide what it does.
    #[error("`{}` belongs to user {owner}, who is neither root nor the user of this process, hint: chown root {}", path.display(), path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// The numeric id of its owner.
        owner: u32,
    },
    /// More than it can sensibly hold.
    #[error("`{}` is longer than {max} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The bound.
        max: u64,
    },
    /// Not TOML, an unknown key, or a value that cannot be; the parser names line and column.
    #[error("cannot use the configuration `{}`", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong in which line.
        source: toml::de::Error,
    },
    /// A value outside its bounds.
    #[error("cannot use `{setting}` in the configuration `{}`: it is to be {expected}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key in it.
        setting: &'static str,
        /// What would be right.
        expected: &'static str,
    },
    /// The operator's list of compromised keys.
    #[error("cannot use the list of compromised keys `{}`", path.display())]
    Compromised {
        /// The file.
        path: PathBuf,
        /// What is wrong in which line.
        source: ParseCompromisedListError,
    },
}

impl Config {
    /// The configuration in the file at `path`.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read_trusted(path, CONFIG_BYTES_MAX)?;
        let mut config: Self = toml::from_str(&text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: shown(source, &text) })?;
        config.database = config.database.with_password_file(config.database_password_file.clone());
        match config.wrong_value() {
            None => Ok(config),
            Some((setting, expected)) => Err(ConfigError::Value { path: path.to_owned(), setting, expected }),
        }
    }

    /// The limits of the store.
    #[must_use]
    pub fn store_limits(&self) -> StoreLimits {
        StoreLimits {
            changes_max: self.changes_max,
            keys_per_account_max: self.keys_per_account_max,
            audit_age_max: self.console.history_max,
            sends_mail: self.smtp.is_some(),
        }
    }

    /// The key policy, with the operator's list of compromised keys.
    pub fn policy(&self) -> Result<Policy, ConfigError> {
        let Some(path) = &self.compromised_keys_file else { return Ok(Policy::default()) };
        let text = read_trusted(path, COMPROMISED_BYTES_MAX)?;
        let list: CompromisedList =
            text.parse().map_err(|source| ConfigError::Compromised { path: path.clone(), source })?;
        Ok(Policy::default().with_compromised(list))
    }

    fn wrong_value(&self) -> Option<(&'static str, &'static str)> {
        let is_token = |text: &str| !text.is_empty() && text.bytes().all(is_unreserved);
        if !(HEARTBEAT_MIN..=HEARTBEAT_MAX).contains(&self.heartbeat) {
            return Some(("heartbeat", "between 50ms and 60s"));
        }
        if self.changes_max == 0 || self.keys_per_account_max == 0 {
            return Some(("changes_max` or `keys_per_account_max", "at least 1"));
        }
        if !self.consumers.iter().all(|consumer| is_token(&consumer.key) && is_token(&consumer.secret)) {
            return Some(("consumer", "made of A-Z, a-z, 0-9, `-`, `.`, `_` and `~`"));
        }
        let github = self.github.as_ref().and_then(github::Settings::wrong_value);
        let oidc = || self.oidc.as_ref().and_then(oidc::Settings::wrong_value);
        let smtp = || self.smtp.as_ref().and_then(mail::Settings::wrong_value);
        github.or_else(oidc).or_else(smtp).or_else(|| self.console.wrong_value())
    }
}

/// `error` without the line of `text` that is wrong, where that line may be a URL with a password.
fn shown(mut error: toml::de::Error, text: &str) -> toml::de::Error {
    if error.span().and_then(|span| text.get(span)).is_some_and(|wrong| wrong.contains('@')) {
        error.set_input(None);
    }
    error
}

/// The secret that another service gave us, in a file that only root, we and a group of ours may read.
pub(crate) fn read_secret(path: &Path) -> Result<String, ConfigError> {
    let (text, mode) = read_with_mode(path, SECRET_BYTES_MAX)?;
    if mode & 0o007 != 0 {
        return Err(ConfigError::Readable { path: path.to_owned(), mode });
    }
    let secret = text.trim();
    if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ConfigError::Secret { path: path.to_owned() });
    }
    Ok(secret.to_owned())
}

/// The text of a file that nobody but root and we ourselves could have written.
fn read_trusted(path: &Path, bytes_max: u64) -> Result<String, ConfigError> {
    read_with_mode(path, bytes_max).map(|(text, _)| text)
}

/// The same with the file's permission bits.
fn read_with_mode(path: &Path, bytes_max: u64) -> Result<(String, u32), ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = check_trusted(path, &file.metadata().map_err(failed)?)?;
    let mut text = String::new();
    file.take(bytes_max + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > bytes_max {
        return Err(ConfigError::TooLong { path: path.to_owned(), max: bytes_max });
    }
    Ok((text, mode))
}

fn check_trusted(path: &Path, metadata: &fs::Metadata) -> Result<u32, ConfigError> {
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(ConfigError::Mode { path: path.to_owned(), mode });
    }
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(ConfigError::Owner { path: path.to_owned(), owner });
    }
    Ok(mode)
}

fn parsed<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

pub(crate) fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    parsed(deserializer).map(Some)
}

pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| {
        serde::de::Error::custom(format_args!(
            "`{}` is not a duration such as 500ms, 5s, 1m, 12h or 7d",
            keys::escape(&text)
        ))
    })
}

fn parse_duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(number.checked_mul(60 * 60)?)),
        "d" => Some(Duration::from_secs(number.checked_mul(24 * 60 * 60)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Loads `text` from a file with `mode`; gives the error with its causes.
    fn load(text: &str, mode: u32) -> Result<Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("server.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Config::load(&path).map_err(|error| crate::log::chain(&error))
    }

    #[test]
    fn an_empty_file_is_the_default_configuration() {
        assert_eq!(load("", 0o644).unwrap(), Config::default());
    }

    #[test]
    fn every_setting_is_read() {
        let config = load(
            r#"
            listen = "[::1]:0"
            address_file = "/run/address"
            public_url = "https://keys.example.com"
            allowed_origins = ["https://console.example.com"]
            account_rate = { per_second = 3, burst = 4 }
            trusted_proxies = ["::1"]
            database = "sqlite:///srv/keys.db"
            database_password_file = "/srv/password"
            secret_file = "/srv/secret"
            heartbeat = "500ms"
            changes_max = 5
            keys_per_account_max = 7
            compromised_keys_file = "/etc/pushkeys/compromised"
            [[consumer]]
            key = "k"
            secret = "s"
            [github]
            client_id = "app"
            client_secret_file = "/etc/pushkeys/github.secret"
            base_url = "https://ghe.example.com"
            api_url = "https://ghe.example.com/api/v3"
            [oidc]
            issuer = "https://id.example.com/realms/a"
            label = "Example"
            client_id = "us"
            client_secret_file = "/etc/pushkeys/oidc.secret"
            scopes = ["openid"]
            account_claim = "nickname"
            create_accounts = true
            [smtp]
            host = "smtp.example.com"
            tls = "implicit"
            username = "keys"
            password_file = "/etc/pushkeys/smtp.secret"
            from = "pushkeys <keys@example.com>"
            contact = "support@example.com"
            "#,
            0o600,
        )
        .unwrap();
        assert_eq!(config.listen.port(), 0);
        assert_eq!(config.public_url.as_ref().unwrap().as_str(), "https://keys.example.com");
        assert_eq!(config.allowed_origins, ["https://console.example.com".parse().unwrap()]);
        assert_eq!(config.account_rate, rate(3, 4));
        assert_eq!(config.trusted_proxies, ["::1".parse::<IpAddr>().unwrap()]);
        assert_eq!(config.database, DatabaseUrl::at("/srv/keys.db"));
        assert_eq!(config.heartbeat, Duration::from_millis(500));
        assert_eq!(config.store_limits().changes_max, 5);
        assert_eq!(config.consumers, [Consumer { key: "k".into(), secret: "s".into() }]);
        assert_eq!(config.github.unwrap().api_url.as_str(), "https://ghe.example.com/api/v3");
        assert!(config.oidc.unwrap().create_accounts);
        assert_eq!(config.smtp.unwrap().tls, mail::Tls::Implicit);
    }

    #[test]
    fn a_password_in_a_url_is_not_repeated() {
        for url in ["postgres://ana:hunter2@db/keys", "postgress://ana:hunter2@db/keys"] {
            let error = load(&format!("database = \"{url}\""), 0o600).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_secret_is_one_word_in_a_file_that_not_everybody_can_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let read = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read_secret(&path)
        };
        assert_eq!(read("hush\n", 0o640).unwrap(), "hush");
        assert!(matches!(read("hush", 0o644), Err(ConfigError::Readable { mode: 0o644, .. })));
        assert!(matches!(read("hush", 0o660), Err(ConfigError::Mode { .. })));
        for text in ["", "\n", "two words", "two\nlines"] {
            assert!(matches!(read(text, 0o600), Err(ConfigError::Secret { .. })), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let check = |text: &str, mode: u32, expected: &str| {
            let error = load(text, mode).unwrap_err();
            assert!(error.contains(expected), "{error:?} does not contain {expected:?}");
        };
        check("\nlisten_on = 1", 0o600, "unknown field `listen_on`");
        check("\nlisten_on = 1", 0o600, "line 2");
        check("heartbeat = \"5 parsecs\"", 0o600, "is not a duration");
        check("heartbeat = \"1ms\"", 0o600, "between 50ms and 60s");
        check("public_url = \"keys.example.com\"", 0o600, "is not a URL such as");
        check("allowed_origins = [\"*\"]", 0o600, "is not an origin such as");
        check("account_rate = { per_second = 0, burst = 1 }", 0o600, "nonzero");
        check("database = \"sqlite://a.db\"", 0o600, "not absolute");
        check("database = \"postgres://ana:pw@db/keys\"", 0o600, "holds a password");
        check("[[consumer]]\nkey = \"a&b\"\nsecret = \"s\"", 0o600, "consumer");
        check("", 0o620, "chmod go-w");
        let github = "[github]\nclient_id = \"a\"\nclient_secret_file = \"/b\"\n";
        check(&format!("{github}api_url = \"http://api.github.com\""), 0o600, "is not a URL such as https");
        check(&format!("{github}api_url = \"http://127.0.0.1:1\""), 0o600, "github.api_url");
        let oidc = "[oidc]\nclient_id = \"a\"\nclient_secret_file = \"/b\"\n";
        check(&format!("{oidc}issuer = \"http://127.0.0.1:1\""), 0o600, "oidc.issuer");
        check("[smtp]\nhost = \"a\"\nfrom = \"nobody\"", 0o600, "nobody");
        check("[smtp]\nhost = \"a\"\nfrom = \"a@b.example\"\ntls = \"none\"", 0o600, "smtp.tls");
        check("[smtp]\nhost = \"a\"\nfrom = \"a@b.example\"\nusername = \"c\"", 0o600, "smtp.password_file");
        check(&format!("{oidc}issuer = \"https://a\"\nscopes = [\"email\"]"), 0o600, "oidc.scopes");
    }
}
