//! The database beneath the store: its URL, connections, statements, migrations, backup, and the move to PostgreSQL.
//!
//! SQLite and PostgreSQL get the same SQL: see [`statement`], which also says how to add a query or a migration. The
//! meaning of the tables belongs to the store; the only table known here is `service`, which identifies the database.

mod backup;
mod connection;
mod error;
mod migrations;
mod open;
mod pools;
mod postgres;
mod primary;
mod replication;
mod sqlite;
mod sqlite_file;
mod statement;
mod transaction;
mod transfer;
mod url;

pub(crate) use self::backup::BACKUP;
pub(crate) use self::connection::{Database, On};
pub(crate) use self::error::OpenError;
pub(crate) use self::open::Open;
pub(crate) use self::pools::READ_CONNECTIONS;
pub(crate) use self::primary::Primary;
pub(crate) use self::statement::{Value, many, sql};
pub(crate) use self::transaction::{Held, Transaction};
pub(crate) use self::transfer::{TransferError, TransferProgress};
pub(crate) use self::url::DatabaseUrl;
