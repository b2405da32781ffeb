//! What is stored: accounts, keys, hosts, changes, and everything else, behind methods in the terms of the service.
//!
//! Names of methods: a noun reads (`session`: one or none; `sessions`: a list; `account_by_identity`: how it is found);
//! `is_`, `has_` answer yes or no; `add_` refuses what exists and `put_` replaces it; `set_` writes one value;
//! `remove_` deletes; `take_` reads and deletes; `record_` stores a report of others; other verbs are those of the service
//! (`import`, `prove_key`, `revoke_token`, `rotate_host`, `confirm_revocation`).
//!
//! - A method is one transaction. If it returns `Ok`, its changes are on disk (`synchronous=FULL`) and survive a power
//!   cut; if it returns `Err`, it changed nothing. (A registration that ends in an ownership conflict leaves warnings.)
//! - Every change to keys is numbered in its transaction, from a row of `service` that is also the writer lock. So the
//!   numbers have no gap, and become visible in order.
//! - Unique indexes decide which account has a key and which key has a name, whatever was read before.
//! - Every change to keys, credentials, sessions and links is recorded in the audit log ([`AuditEvent`]) in its
//!   transaction. Changes to keys are also logged, in one place (`changes.rs`).

mod accounts;
mod acknowledgements;
mod audit;
mod changes;
mod cli_logins;
mod columns;
mod compromised;
mod error;
mod github;
mod handle;
mod health;
mod history;
mod host_credentials;
mod host_keys;
mod host_names;
mod hosts;
mod import;
mod key_facts;
mod keys;
mod mail;
mod oidc;
mod open;
mod ownership;
mod process_state;
mod propagation;
mod registration;
mod replicas;
mod reports;
mod self_check;
mod sessions;
mod snapshot;
#[cfg(test)]
mod tests;
mod tokens;
mod totals;
mod warnings;

pub(crate) use self::accounts::{Account, Email, mail_address};
pub(crate) use self::audit::{Actor, AuditEvent, AuditRow, Via};
pub(crate) use self::changes::{Change, Changes};
pub(crate) use self::error::{StoreError, errors};
pub(crate) use self::github::{GithubLink, GithubOrigin, Imported, KeyFromGithub};
pub(crate) use self::handle::{Store, StoreLimits};
pub(crate) use self::history::FeedState;
pub(crate) use self::history::epochs_begun;
pub(crate) use self::host_credentials::{HostCredential, HostCredentialNumber, HostUse, NewHostCredential};
pub(crate) use self::host_keys::{HostKey, ShownKeys, hosts_with_waiting_keys};
pub(crate) use self::host_names::{HostId, HostName};
pub(crate) use self::hosts::Host;
pub(crate) use self::import::{ImportItem, ImportMode, ImportOutcome, ImportRefusal};
pub(crate) use self::keys::{KeyUse, StoredKey};
pub(crate) use self::mail::WaitingMail;
pub(crate) use self::oidc::{Identity, SetIdentityError};
pub(crate) use self::open::OpenStoreError;
pub(crate) use self::ownership::{Challenge, ReportKeyError};
pub(crate) use self::process_state::HostAcknowledgement;
pub(crate) use self::propagation::{Propagation, SilentHost};
pub(crate) use self::registration::{KeyToPut, PutKeyError};
pub(crate) use self::replicas::Nonce;
pub(crate) use self::reports::{AccountRevocation, ReportedRevocation};
pub(crate) use self::self_check::{SumDifference, sum_differences};
pub(crate) use self::sessions::{Lifetimes, NewSession, Session, SessionInfo};
pub(crate) use self::snapshot::{SNAPSHOTS_MAX, Snapshot};
pub(crate) use self::tokens::{NewToken, TokenInfo, TokenUse};
pub(crate) use self::totals::Totals;
pub(crate) use self::warnings::{Warning, WarningKind};
