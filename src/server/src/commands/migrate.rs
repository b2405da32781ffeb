//! `migrate`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use pushkeys_keys::ErrorReport;
use serde_json::json;

use super::output::Output;
use super::shared::Answer;
use crate::config::Config;
use crate::database::{DatabaseUrl, Open, TransferError, TransferProgress};
use crate::store::Store;

/// How often progress within a table is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Args)]
#[command(after_help = "\
Stop the service first. Everything is moved in one transaction, read back and compared, or nothing is: a move that was \
killed can simply be run again. Hosts go on where they are. \
The SQLite database stays as it was: set `database` in the configuration to the new URL, start the service, and then \
put the old file away, since what is changed from then on is not in it.")]
pub(super) struct Arguments {
    /// The new database, such as <postgres://pushkeys@db.example.com/pushkeys?sslmode=verify-full>
    #[arg(long, value_name = "URL")]
    to: DatabaseUrl,
    /// A file with the password for it; without one, PGPASSFILE counts
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

pub(super) async fn run(config: &Config, arguments: &Arguments, output: Output) -> anyhow::Result<Answer> {
    let to = arguments.to.clone().with_password_file(arguments.password_file.clone());
    if !matches!((&config.database, &to), (DatabaseUrl::Sqlite(_), DatabaseUrl::Postgres(_))) {
        return Err(TransferError::Kinds { from: config.database.clone(), to }.into());
    }
    // A schema of another version would not fit the new one's.
    let source = Store::open(&config.database, Open::Examine, config.store_limits()).await?;
    source.close().await;
    let target = Store::open(&to, Open::Prepare, config.store_limits()).await?;
    let mut told_at = Instant::now();
    let mut told = None;
    let tell = |TransferProgress { table, is_comparing, rows, of }: TransferProgress<'_>| {
        let what = if is_comparing { "compared" } else { "moved" };
        let line = format!("{table}: {rows} of {of} {what}");
        let is_news = rows == of || told_at.elapsed() >= PROGRESS_INTERVAL;
        if is_news && told.as_ref() != Some(&line) {
            told_at = Instant::now();
            eprintln!("{line}");
            told = Some(line);
        }
    };
    let moved =
        target.database().transfer_from(&config.database, &to, tell).await.context("nothing was moved")?;
    target.close().await;
    let next = format!("set `database = \"{to}\"` and start the service");
    let report = ErrorReport::hinted(&format!("{moved} rows moved"), &next);
    output.answer(&json!({ "rows": moved }), &report.lines())?;
    Ok(Answer::Yes)
}
