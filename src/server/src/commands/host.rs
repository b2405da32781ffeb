//! `host add | list | revoke`

use clap::Subcommand;
use serde::Serialize;

use super::{Answer, Output, open_store};
use crate::config::Config;
use crate::secret::Token;
use crate::store::{HostName, Store};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Add a push host and print its token: this is the only time it is shown
    #[command(
        after_help = "Put the token into the file that `token_file` names in the host's syncd.toml, mode 0600."
    )]
    Add {
        /// What the host goes by
        name: HostName,
    },
    /// List all hosts
    List,
    /// Make a host's token worthless and end its streams
    Revoke {
        /// Its name
        name: HostName,
    },
}

#[derive(Serialize)]
struct Row {
    id: String,
    name: String,
    created_at: String,
}

pub(super) async fn run(config: &Config, command: Command, output: Output) -> anyhow::Result<Answer> {
    let store = open_store(config).await?;
    match command {
        Command::Add { name } => {
            let token = Token::new("pkh")?;
            let id = store.add_host(&name, token.digest()).await?.to_string();
            let value = serde_json::json!({ "id": id, "name": name.as_str(), "token": token.reveal() });
            output.answer(&value, token.reveal())?;
        }
        Command::List => list(&store, output).await?,
        Command::Revoke { name } => {
            if !store.revoke_host(&name).await? {
                anyhow::bail!("there is no host `{name}`, hint: pushkeys-server host list");
            }
            output.answer(&serde_json::json!({ "name": name.as_str() }), &format!("revoked {name}"))?;
        }
    }
    store.close().await;
    Ok(Answer::Yes)
}

async fn list(store: &Store, output: Output) -> anyhow::Result<()> {
    let hosts = store.hosts().await?.into_iter();
    let rows: Vec<Row> = hosts
        .map(|host| Row { id: host.id.to_string(), name: host.name, created_at: host.created_at.to_string() })
        .collect();
    output.list(&rows, &["ID", "NAME", "ADDED"], |row| {
        vec![row.id.clone(), row.name.clone(), row.created_at.clone()]
    })
}
