//! Moving a service from SQLite to PostgreSQL: everything in one transaction of the new database, or nothing.
//!
//! What was written is read back before the commit, and compared by a digest over each table's rows in the order of their
//! keys: PostgreSQL prints rows exactly as they are sent to it. If the program is killed, nothing was moved. Epoch and
//! sequence are moved too, so hosts resume where they are.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use data_encoding::HEXLOWER;
use futures_util::TryStreamExt as _;
use pushkeys_keys::Hint;
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _, ValueRef as _};
use thiserror::Error;

use super::connection::Database;
use super::sqlite;
use super::transaction::Transaction;
use super::url::DatabaseUrl;

/// Bytes that are sent to the new database at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Why nothing was moved.
#[derive(Debug, Error)]
pub(crate) enum TransferError {
    #[error(
        "a service moves from SQLite to PostgreSQL: the configuration names `{from}`, and `--to` names `{to}`"
    )]
    Kinds { from: DatabaseUrl, to: DatabaseUrl },
    #[error("something has the database `{url}` open")]
    InUse { url: DatabaseUrl, source: Hint },
    #[error("the new database holds rows in `{table}` already")]
    NotEmpty {
        table: String,
        #[source]
        hint: Hint,
    },
    #[error("cannot move the table `{table}`")]
    Table { table: String, source: sqlx::Error },
    /// A trigger or rule there changes, drops or adds rows.
    #[error("the table `{table}` is not what was sent: {sent} rows were, and {found} are there")]
    Contents {
        table: String,
        sent: u64,
        found: u64,
        #[source]
        hint: Hint,
    },
    #[error("cannot begin or end the transaction in the new database")]
    Transaction(#[source] sqlx::Error),
}

/// Progress of the move.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TransferProgress<'a> {
    /// The current table.
    pub(crate) table: &'a str,
    /// Whether its rows are being read back.
    pub(crate) is_comparing: bool,
    /// Rows sent or read back so far.
    pub(crate) rows: u64,
    /// Rows in all.
    pub(crate) of: u64,
}

/// A table, its columns, and the columns of its key.
struct Table {
    name: String,
    columns: Vec<String>,
    key: Vec<String>,
}

impl Table {
    /// Selects all rows, in the same order in both databases.
    fn select(&self) -> String {
        format!("SELECT {} FROM {} ORDER BY {}", self.columns.join(", "), self.name, self.key.join(", "))
    }
}

/// Count and digest of rows in COPY's text format.
#[derive(PartialEq, Eq)]
struct Rows {
    count: u64,
    digest: [u8; 32],
}

/// Moves everything from the SQLite database at `path` to `target`, which is empty. Returns the number of rows.
async fn transfer(
    path: &Path,
    target: &Database,
    mut progress: impl FnMut(TransferProgress<'_>),
) -> Result<u64, TransferError> {
    let url = DatabaseUrl::Sqlite(path.to_owned());
    let mut source = sqlite::connect_alone(path).await.map_err(|source| {
        let stop = "stop the service first: systemctl stop pushkeys-server.socket pushkeys-server.service";
        TransferError::InUse { url, source: Hint::because(stop, source) }
    })?;
    let mut transaction = target.begin_write().await.map_err(TransferError::Transaction)?;
    // The caller has checked that the target is PostgreSQL.
    let Transaction::Postgres(held) = &mut transaction else { return Ok(0) };
    let (to, _) = held.connection().map_err(TransferError::Transaction)?;
    let tables = tables(&mut source).await.map_err(of_table("sqlite_master"))?;
    for table in &tables {
        check_empty(to, &table.name).await?;
    }
    // So that bytes are printed as they are sent.
    execute(to, "pg_settings", "SET LOCAL bytea_output = 'hex'").await?;
    // The row that the migrations inserted is replaced by the one with epoch and sequence.
    execute(to, "service", "DELETE FROM service").await?;
    let mut rows = 0;
    for table in &tables {
        rows += move_table(&mut source, to, table, &mut progress).await?;
    }
    renumber(to).await.map_err(of_table("information_schema.columns"))?;
    transaction.commit().await.map_err(TransferError::Transaction)?;
    Ok(rows)
}

fn of_table(table: &str) -> impl FnOnce(sqlx::Error) -> TransferError {
    let table = table.to_owned();
    move |source| TransferError::Table { table, source }
}

/// All tables, each after the ones that it references.
async fn tables(source: &mut SqliteConnection) -> sqlx::Result<Vec<Table>> {
    let mut names: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
             AND name <> '_sqlx_migrations' ORDER BY name",
    )
    .fetch_all(&mut *source)
    .await?;
    let mut tables: Vec<Table> = Vec::new();
    // Each round places at least one table, since references have no cycle.
    for _ in 0..names.len() {
        let mut later = Vec::new();
        for name in names {
            let parents: Vec<String> = sqlx::query_scalar(
                "SELECT DISTINCT \"table\" FROM pragma_foreign_key_list($1) WHERE \"table\" <> $1",
            )
            .bind(&name)
            .fetch_all(&mut *source)
            .await?;
            let placed: HashSet<&str> = tables.iter().map(|table| table.name.as_str()).collect();
            if parents.iter().all(|parent| placed.contains(parent.as_str())) {
                let columns =
                    sqlx::query_scalar("SELECT '\"' || name || '\"' FROM pragma_table_info($1) ORDER BY cid")
                        .bind(&name)
                        .fetch_all(&mut *source)
                        .await?;
                let key = sqlx::query_scalar(
                    "SELECT '\"' || name || '\"' FROM pragma_table_info($1) WHERE pk > 0 ORDER BY pk",
                )
                .bind(&name)
                .fetch_all(&mut *source)
                .await?;
                tables.push(Table { name, columns, key });
            } else {
                later.push(name);
            }
        }
        names = later;
    }
    Ok(tables)
}

async fn check_empty(to: &mut PgConnection, table: &str) -> Result<(), TransferError> {
    let filled = if table == "service" { " WHERE sequence > 0" } else { "" };
    let exists = AssertSqlSafe(format!("SELECT EXISTS (SELECT 1 FROM {table}{filled})"));
    let exists: bool = sqlx::query_scalar(exists).fetch_one(to).await.map_err(of_table(table))?;
    if !exists {
        return Ok(());
    }
    let hint = Hint::new("name an empty one: createdb --encoding=UTF8 NAME");
    Err(TransferError::NotEmpty { table: table.to_owned(), hint })
}

async fn execute(to: &mut PgConnection, table: &str, statement: &'static str) -> Result<(), TransferError> {
    sqlx::query(statement).execute(to).await.map_err(of_table(table))?;
    Ok(())
}

async fn move_table(
    source: &mut SqliteConnection,
    to: &mut PgConnection,
    table: &Table,
    progress: &mut impl FnMut(TransferProgress<'_>),
) -> Result<u64, TransferError> {
    let name = table.name.as_str();
    // The name comes from our own schema.
    let count = AssertSqlSafe(format!("SELECT count(*) FROM {name}"));
    let of: i64 = sqlx::query_scalar(count).fetch_one(&mut *source).await.map_err(of_table(name))?;
    let of = u64::try_from(of).unwrap_or(0);
    let mut report = |is_comparing, rows| progress(TransferProgress { table: name, is_comparing, rows, of });
    report(false, 0);
    let sent = copy_rows(source, to, table, &mut |rows| report(false, rows)).await;
    let sent = sent.map_err(of_table(name))?;
    let found = read_back(to, table, &mut |rows| report(true, rows)).await.map_err(of_table(name))?;
    if found == sent {
        Ok(sent.count)
    } else {
        let hint = "name a database without triggers and rules of others: createdb --encoding=UTF8 NAME";
        Err(TransferError::Contents {
            table: name.to_owned(),
            sent: sent.count,
            found: found.count,
            hint: Hint::new(hint),
        })
    }
}

/// Sends the rows by COPY, in constant memory.
async fn copy_rows(
    source: &mut SqliteConnection,
    to: &mut PgConnection,
    table: &Table,
    report: &mut impl FnMut(u64),
) -> sqlx::Result<Rows> {
    let columns = table.columns.join(", ");
    let mut rows = sqlx::query(AssertSqlSafe(table.select())).fetch(source);
    let mut copy = to.copy_in_raw(&format!("COPY {} ({columns}) FROM STDIN", table.name)).await?;
    let (mut piece, mut sent, mut digest) = (String::new(), 0, Sha256::new());
    while let Some(row) = rows.try_next().await? {
        push_row(&row, &mut piece)?;
        sent += 1;
        if piece.len() >= PIECE_BYTES {
            digest.update(&piece);
            copy.send(piece.as_bytes()).await?;
            piece.clear();
            report(sent);
        }
    }
    digest.update(&piece);
    copy.send(piece.as_bytes()).await?;
    copy.finish().await?;
    report(sent);
    Ok(Rows { count: sent, digest: digest.finalize().into() })
}

/// Reads the rows back by COPY, in constant memory.
async fn read_back(to: &mut PgConnection, table: &Table, report: &mut impl FnMut(u64)) -> sqlx::Result<Rows> {
    let mut pieces = to.copy_out_raw(&format!("COPY ({}) TO STDOUT", table.select())).await?;
    let (mut count, mut digest) = (0, Sha256::new());
    while let Some(piece) = pieces.try_next().await? {
        digest.update(&piece);
        // A line break within a row is escaped.
        count += piece.split(|byte| *byte == b'\n').skip(1).count() as u64;
        report(count);
    }
    Ok(Rows { count, digest: digest.finalize().into() })
}

/// One line of COPY's text format.
fn push_row(row: &SqliteRow, line: &mut String) -> sqlx::Result<()> {
    for at in 0..row.len() {
        if at > 0 {
            line.push('\t');
        }
        let value = row.try_get_raw(at)?;
        // A NULL has the type of its column, and would be read as 0.
        let kind = if value.is_null() { String::new() } else { value.type_info().to_string() };
        match kind.as_str() {
            "INTEGER" => push(line, format_args!("{}", row.try_get::<i64, _>(at)?)),
            "TEXT" => push_text(line, row.try_get(at)?),
            "BLOB" => {
                line.push_str("\\\\x");
                HEXLOWER.encode_append(row.try_get(at)?, line);
            }
            "" => line.push_str("\\N"),
            other => return Err(sqlx::Error::Protocol(format!("a value of the type {other}"))),
        }
    }
    line.push('\n');
    Ok(())
}

fn push(line: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = line.write_fmt(what);
}

fn push_text(line: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            '\u{8}' => line.push_str("\\b"),
            '\u{b}' => line.push_str("\\v"),
            '\u{c}' => line.push_str("\\f"),
            other => line.push(other),
        }
    }
}

/// Sets the sequences of identity columns beyond the moved rows.
async fn renumber(to: &mut PgConnection) -> sqlx::Result<()> {
    let numbered: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text FROM information_schema.columns
         WHERE is_identity = 'YES' AND table_schema = current_schema()",
    )
    .fetch_all(&mut *to)
    .await?;
    for (table, column) in numbered {
        let statement = format!(
            "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), coalesce(max({column}), 0) + 1, false) FROM {table}"
        );
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *to).await?;
    }
    Ok(())
}

impl Database {
    /// Moves everything from the SQLite database at `from` to this empty PostgreSQL database, which is at `to`. Returns the
    /// number of rows.
    pub(crate) async fn transfer_from(
        &self,
        from: &DatabaseUrl,
        to: &DatabaseUrl,
        progress: impl FnMut(TransferProgress<'_>),
    ) -> Result<u64, TransferError> {
        match (from, self) {
            (DatabaseUrl::Sqlite(path), Self::Postgres(_)) => transfer(path, self, progress).await,
            _ => Err(TransferError::Kinds { from: from.clone(), to: to.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_means_something_to_copy_is_escaped() {
        let mut line = String::new();
        push_text(&mut line, "a\\N\tb\nc\rd é\u{8}\u{b}\u{c}\u{7f}");
        assert_eq!(line, "a\\\\N\\tb\\nc\\rd é\\b\\v\\f\u{7f}");
    }
}
