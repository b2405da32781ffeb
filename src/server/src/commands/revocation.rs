//! `revocation list | confirm | dismiss`

use clap::Subcommand;
use pushkeys_keys::Hinted;
use serde::Serialize;

use super::output::Output;
use super::shared::{Answer, open_store};
use crate::config::Config;
use crate::store::{ReportedRevocation, Store};

#[derive(Subcommand)]
pub(super) enum RevocationCommand {
    /// List revocations that were made on push hosts with `pushkeys revoke`
    List,
    /// Remove the key, or all keys of the account, everywhere; they can never be registered again
    Confirm {
        /// Its id in the list
        id: String,
    },
    /// Keep the key or account; it stays revoked on that host until its operator undoes it
    Dismiss {
        /// Its id in the list
        id: String,
    },
}

#[derive(Serialize)]
struct ListedRevocation {
    id: String,
    host: String,
    fingerprint: Option<String>,
    account: Option<String>,
    since: String,
    dismissed_at: Option<String>,
}

pub(super) async fn run(
    config: &Config,
    command: RevocationCommand,
    output: Output,
) -> anyhow::Result<Answer> {
    let store = open_store(config).await?;
    match command {
        RevocationCommand::List => list(&store, output).await?,
        RevocationCommand::Confirm { id } => {
            let Some(changes) = store.confirm_revocation(&id).await? else {
                return Err(no_such(&id).into());
            };
            let removed: Vec<String> = changes.iter().map(|change| change.fingerprint.to_string()).collect();
            let value = serde_json::json!({ "id": id, "removed": removed });
            output.answer(&value, &format!("removed {} keys from every host", removed.len()))?;
        }
        RevocationCommand::Dismiss { id } => {
            if !store.dismiss_revocation(&id).await? {
                return Err(no_such(&id).into());
            }
            output.answer(
                &serde_json::json!({ "id": id }),
                &format!("dismissed `{id}`: it stays revoked on that host only"),
            )?;
        }
    }
    store.close().await;
    Ok(Answer::Yes)
}

fn no_such(id: &str) -> Hinted {
    Hinted::new(format!("there is no revocation `{id}`"), "pushkeys-server revocation list")
}

async fn list(store: &Store, output: Output) -> anyhow::Result<()> {
    let rows: Vec<ListedRevocation> = store.host_revocations().await?.into_iter().map(row).collect();
    output.list(&rows, &["ID", "HOST", "KEY", "ACCOUNT", "SINCE", "KEPT SINCE"], |row| {
        let or =
            |value: &Option<String>, otherwise: &str| value.clone().unwrap_or_else(|| otherwise.to_owned());
        vec![
            row.id.clone(),
            row.host.clone(),
            or(&row.fingerprint, "all"),
            or(&row.account, "-"),
            row.since.clone(),
            or(&row.dismissed_at, "-"),
        ]
    })
}

fn row(revocation: ReportedRevocation) -> ListedRevocation {
    ListedRevocation {
        id: revocation.id,
        host: revocation.host,
        fingerprint: revocation.fingerprint.map(|fingerprint| fingerprint.to_string()),
        account: revocation.account.map(|account| account.to_string()),
        since: revocation.since.to_string(),
        dismissed_at: revocation.dismissed_at.map(|instant| instant.to_string()),
    }
}
