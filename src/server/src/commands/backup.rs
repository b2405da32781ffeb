//! `backup`, and `new-epoch` for what was restored without it.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::output::Output;
use super::shared::{Answer, open_store};
use crate::config::Config;

#[derive(Args)]
#[command(after_help = "\
The copy is consistent and for its owner alone. To restore it, stop the service and its socket, which would start it \
again, put a copy of FILE in the place of the database, remove the files beside it whose names end in -wal and -shm, and \
start both: the service notices, and every host takes a snapshot. What was changed since the copy is gone. For example:
  systemctl stop pushkeys-server.socket pushkeys-server.service
  cd /var/lib/pushkeys-server && rm -f pushkeys.db-wal pushkeys.db-shm
  runuser -u pushkeys-server -- cp FILE pushkeys.db
  systemctl start pushkeys-server.socket pushkeys-server.service

The service's secret file is not in the copy, and is needed with it.")]
pub(super) struct Arguments {
    /// Where the copy goes; must not exist
    file: PathBuf,
}

pub(super) async fn run(config: &Config, arguments: &Arguments, output: Output) -> anyhow::Result<Answer> {
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
