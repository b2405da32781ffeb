//! The database: the one place that holds SQL, behind methods in the words of the service.
//!
//! - A method is one transaction. What it returned `Ok` for is on disk (`synchronous=FULL`) and
//!   survives a power cut; what it returned `Err` for did not happen. (A contested registration leaves
//!   its warnings.)
//! - Every change to keys is numbered in the transaction that makes it. The number comes from a row
//!   of `service`, which also puts writers in order, so the sequence has no holes and no number is
//!   seen before a smaller one.
//! - The unique indexes decide who holds a key and a name, whatever was looked up before.
//! - Every change to keys, credentials, sessions and links is written into the account's trail ([`AuditEvent`])
//!   in the transaction that makes it.
//! - SQLite and PostgreSQL are asked in the same words: see [`sql`], which also says how to add a query or a
//!   migration. On PostgreSQL, whoever writes more than one statement first locks the row of `service`, so
//!   that writers of all replicas stand in one queue.

mod accounts;
mod acknowledgements;
mod audit;
mod changes;
mod cli_logins;
mod columns;
mod compromised;
mod epoch;
mod error;
mod github;
mod handle;
mod host_credentials;
mod host_names;
mod hosts;
mod import;
mod key_facts;
mod keys;
mod mail;
mod oidc;
mod open;
mod ownership;
mod propagation;
mod registration;
mod replicas;
mod reports;
mod sessions;
mod snapshot;
#[cfg(test)]
mod tests;
mod tokens;
mod totals;
mod warnings;

pub(crate) use self::accounts::{Account, Email};
pub(crate) use self::audit::{Actor, AuditEvent, AuditRow, Via};
pub(crate) use self::changes::{Change, Changes, FeedState};
pub(crate) use self::error::{StoreError, errors};
pub(crate) use self::github::{GithubLink, GithubOrigin, Imported, KeyFromGithub};
pub(crate) use self::handle::{Store, StoreLimits};
pub(crate) use self::host_credentials::{HostCredential, HostCredentialNumber, HostUse, NewHostCredential};
pub(crate) use self::host_names::{HostId, HostName};
pub(crate) use self::import::{ImportItem, ImportOutcome};
pub(crate) use self::keys::{KeyUse, StoredKey};
pub(crate) use self::mail::WaitingMail;
pub(crate) use self::oidc::{Identity, TieError};
pub(crate) use self::open::OpenStoreError;
pub(crate) use self::ownership::{Challenge, ReportKeyError};
pub(crate) use self::propagation::Propagation;
pub(crate) use self::registration::{KeyToPut, PutKeyError};
pub(crate) use self::reports::{AccountRevocation, ReportedRevocation};
pub(crate) use self::sessions::{Lifetimes, NewSession, Session, SessionInfo};
pub(crate) use self::snapshot::{SNAPSHOTS_MAX, Snapshot};
pub(crate) use self::tokens::{NewToken, TokenInfo, TokenUse};
pub(crate) use self::totals::Totals;
pub(crate) use self::warnings::{Warning, WarningKind};
