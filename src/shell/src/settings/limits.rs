//! The limits of accounts, pushes and repositories.

use serde::{Deserialize, Deserializer};

const MIB: u64 = 1024 * 1024;

/// The table `[limits]`. Each limit has a default, and 0 removes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Concurrent sessions of one account.
    #[serde(deserialize_with = "number")]
    pub(crate) sessions: Option<u32>,
    /// Seconds in which no process of a session reads or writes anything.
    #[serde(deserialize_with = "number")]
    pub(crate) idle_s: Option<u32>,
    /// Memory of one git process.
    #[serde(rename = "memory_mib", deserialize_with = "mebibytes")]
    pub(crate) memory_bytes: Option<u64>,
    /// Size of one push.
    #[serde(rename = "push_mib", deserialize_with = "mebibytes")]
    pub(crate) push_bytes: Option<u64>,
    /// Size of one repository on disk.
    #[serde(rename = "repository_mib", deserialize_with = "mebibytes")]
    pub(crate) repository_bytes: Option<u64>,
    /// Size of all repositories of one account on disk.
    #[serde(rename = "account_mib", deserialize_with = "mebibytes")]
    pub(crate) account_bytes: Option<u64>,
    /// Repositories of one account.
    #[serde(deserialize_with = "number")]
    pub(crate) repositories: Option<u32>,
    /// References of one repository.
    #[serde(deserialize_with = "number")]
    pub(crate) refs: Option<u32>,
    /// Length of a reference's name, in bytes.
    #[serde(deserialize_with = "number")]
    pub(crate) ref_name_bytes: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Machines that share an account may push at the same moment.
            sessions: Some(64),
            // A client is silent while it compresses, and while its pre-push hook uploads files to an LFS server.
            idle_s: Some(600),
            memory_bytes: Some(256 * MIB),
            push_bytes: Some(2 * 1024 * MIB),
            repository_bytes: Some(10 * 1024 * MIB),
            account_bytes: Some(50 * 1024 * MIB),
            repositories: Some(1_000),
            refs: Some(10_000),
            ref_name_bytes: Some(200),
        }
    }
}

fn number<'a, D: Deserializer<'a>>(value: D) -> Result<Option<u32>, D::Error> {
    Ok(Some(u32::deserialize(value)?).filter(|&limit| limit > 0))
}

fn mebibytes<'a, D: Deserializer<'a>>(value: D) -> Result<Option<u64>, D::Error> {
    Ok(number(value)?.map(|mib| u64::from(mib) * MIB))
}
