//! `backup` and `new-epoch`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::output::Output;
use super::shared::{Answer, open_store};
use crate::config::Config;

#[derive(Args)]
#[command(after_help = "\
The copy is consistent and readable by its owner only. To restore it, stop the service and its socket, which would \
start it again, replace the database with a copy of FILE, remove the -wal and -shm files beside it, and start both. The \
service detects the restore, and every host takes a snapshot. Changes made after the backup are lost. For example:
  systemctl stop pushkeys-server.socket pushkeys-server.service
  cd /var/lib/pushkeys-server && rm -f pushkeys.db-wal pushkeys.db-shm
  runuser -u pushkeys-server -- cp FILE pushkeys.db
  systemctl start pushkeys-server.socket pushkeys-server.service

The service's secret file is not in the copy: back it up separately.")]
pub(super) struct BackupArguments {
    /// The file to create; must not exist
    file: PathBuf,
}

pub(super) async fn run(
    config: &Config,
    arguments: &BackupArguments,
    output: Output,
) -> anyhow::Result<Answer> {
    let store = open_store(config).await?;
    store.database().back_up(&config.database, &arguments.file).await?;
    store.close().await;
    let file = arguments.file.display().to_string();
    output.answer(&json!({ "file": file }), &format!("copied to {file}"))?;
    Ok(Answer::Yes)
}

pub(super) async fn begin_epoch(config: &Config, output: Output) -> anyhow::Result<Answer> {
    let store = open_store(config).await?;
    let epoch = store.begin_epoch().await?;
    store.close().await;
    let text = format!("epoch {epoch}: every host takes a snapshot now");
    output.answer(&json!({ "epoch": epoch.as_str() }), &text)?;
    Ok(Answer::Yes)
}
