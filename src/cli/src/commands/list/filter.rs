//! The options of `pushkeys list`.

use clap::Args;
use pushkeys_daemon::Period;
use pushkeys_keys::{Login, SourceName};

use crate::prefix::FingerprintPrefix;

/// Which keys to list; a key must match every option.
#[derive(Debug, Default, Args)]
pub(crate) struct ListFilter {
    /// Only keys of the account with this id or name
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) account: Option<String>,
    /// Only keys that open this login
    #[arg(long, value_name = "LOGIN")]
    pub(crate) login: Option<Login>,
    /// Only keys from this source
    #[arg(long, value_name = "SOURCE")]
    pub(crate) source: Option<SourceName>,
    /// Only keys whose fingerprint begins with this
    #[arg(long, value_name = "PREFIX")]
    pub(crate) fingerprint: Option<FingerprintPrefix>,
    /// Only keys whose name, or whose account's name, contains this, in upper or lower case
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
    /// Only keys that expire within this time, such as 14d or 36h, or have expired
    #[arg(long, value_name = "TIME")]
    pub(crate) expires_within: Option<Period>,
    /// Only keys that have expired
    #[arg(long, conflicts_with = "expires_within")]
    pub(crate) expired: bool,
}
