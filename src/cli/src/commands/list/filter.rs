//! The filter of `pushkeys list`, as it is given.

use clap::Args;
use jiff::SignedDuration;
use pushkeys_keys::{AccountId, Login, SourceName};

use crate::prefix::FingerprintPrefix;

/// Which keys to list; a key must match everything that is given.
#[derive(Debug, Default, Args)]
pub(crate) struct ListFilter {
    /// Only keys of this account
    #[arg(long, value_name = "ID")]
    pub(crate) account: Option<AccountId>,
    /// Only keys that open this login
    #[arg(long, value_name = "LOGIN")]
    pub(crate) login: Option<Login>,
    /// Only keys from this source
    #[arg(long, value_name = "SOURCE")]
    pub(crate) source: Option<SourceName>,
    /// Only keys whose fingerprint begins so
    #[arg(long, value_name = "PREFIX")]
    pub(crate) fingerprint: Option<FingerprintPrefix>,
    /// Only keys in whose name, or in whose account's name, this stands, in capitals or not
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
    /// Only keys that expire within this time, such as 14d or 36h, or have expired
    #[arg(long, value_name = "TIME", value_parser = crate::span::parse)]
    pub(crate) expires_within: Option<SignedDuration>,
    /// Only keys that have expired
    #[arg(long, conflicts_with = "expires_within")]
    pub(crate) expired: bool,
}
