//! The database beneath the store: connections, statements, migrations, its URL, and whole copies of it.
//!
//! SQLite and PostgreSQL are asked in the same words: see [`statement`], which also says how to add a query or a
//! migration. What the tables mean is the store's: nothing here knows a table but `service`, which says which database
//! this is.

mod backup;
mod connection;
mod error;
mod identity;
mod migrations;
mod open;
mod postgres;
mod sqlite;
mod statement;
mod transfer;
mod url;

pub(crate) use self::connection::{Database, READ_CONNECTIONS, Transaction};
pub(crate) use self::error::OpenError;
pub(crate) use self::identity::origin;
pub(crate) use self::open::Open;
pub(crate) use self::statement::{Value, many, sql};
pub(crate) use self::transfer::{TransferError, TransferProgress};
pub(crate) use self::url::DatabaseUrl;
