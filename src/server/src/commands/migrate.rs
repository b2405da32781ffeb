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

/// How often progress within a table is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Args)]
#[command(after_help = "\
Stop the service first. All rows are copied, read back and compared in one transaction: if the command fails or is \
killed, nothing was copied, and it can be run again. Hosts continue from their position. The SQLite database is not \
changed. Set `database` in the configuration to the new URL, start the service, and then move the old file away: it does \
not get later changes.")]
pub(super) struct MigrateArguments {
    /// The new database, such as <postgres://pushkeys@db.example.com/pushkeys?sslmode=verify-full>
    #[arg(long, value_name = "URL")]
    to: DatabaseUrl,
    /// A file with the password for it; without one, PGPASSFILE counts
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

pub(super) async fn run(
    config: &Config,
    arguments: &MigrateArguments,
    output: Output,
) -> anyhow::Result<Answer> {
    let to = arguments.to.clone().with_password_file(arguments.password_file.clone());
    if !matches!((&config.database, &to), (DatabaseUrl::Sqlite(_), DatabaseUrl::Postgres(_))) {
        return Err(TransferError::Kinds { from: config.database.clone(), to }.into());
    }
    // Both schemas must be of the same version.
    let source = Store::open(&config.database, Open::Examine, config.store_limits()).await?;
    source.close().await;
    let target = Store::open(&to, Open::Prepare, config.store_limits()).await?;
    let mut shown_at = Instant::now();
    let mut shown = None;
    let show = |TransferProgress { table, is_comparing, rows, of }: TransferProgress<'_>| {
        let what = if is_comparing { "compared" } else { "copied" };
        let line = format!("{table}: {rows} of {of} {what}");
        let is_due = rows == of || shown_at.elapsed() >= PROGRESS_INTERVAL;
        if is_due && shown.as_ref() != Some(&line) {
            shown_at = Instant::now();
            eprintln!("{line}");
            shown = Some(line);
        }
    };
    let copied =
        target.database().transfer_from(&config.database, &to, show).await.context("nothing was copied")?;
    target.close().await;
    let next = format!("set `database = \"{to}\"` and start the service");
    let report = ErrorReport::hinted(&format!("{copied} rows copied"), &next);
    output.answer(&json!({ "rows": copied }), &report.lines())?;
    Ok(Answer::Yes)
}
