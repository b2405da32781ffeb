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
mod tokens;
mod totals;
mod warnings;

pub use self::accounts::{Account, AddAccountError, Email, ParseEmailError, RemovedAccount};
pub use self::audit::{Actor, AuditEvent, AuditRow, Via};
pub use self::changes::{Change, Changes, FeedState, KeyChange};
pub use self::error::{StoreError, errors};
pub use self::github::{GithubLink, GithubOrigin, Imported, KeyFromGithub};
pub use self::handle::{Store, StoreLimits};
pub use self::host_credentials::{
    HostCredential, HostCredentialNumber, HostUse, NewHostCredential, RotateHostError,
};
pub use self::host_names::{HostId, HostName, ParseHostNameError};
pub use self::hosts::{AddHostError, Host};
pub use self::import::{ImportItem, ImportOutcome, ImportRefusal};
pub use self::keys::{KeyUse, StoredKey};
pub use self::mail::WaitingMail;
pub use self::oidc::{Identity, TieError};
pub use self::open::OpenStoreError;
pub use self::ownership::{CHALLENGE_AGE_MAX, Challenge, ReportKeyError};
pub use self::propagation::{HostAcknowledgement, Propagation};
pub use self::registration::{KeyToPut, PutKeyError};
pub use self::reports::{AccountRevocation, ConfirmedRevocation, ReportedRevocation};
pub use self::sessions::{Lifetimes, NewSession, Session, SessionInfo};
pub use self::snapshot::{Page, SNAPSHOTS_MAX, Snapshot};
pub use self::tokens::{NewToken, TokenInfo, TokenUse};
pub use self::totals::Totals;
pub use self::warnings::{Warning, WarningKind};
