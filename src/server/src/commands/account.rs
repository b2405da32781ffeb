//! `account add | list | remove`

use clap::Subcommand;
use keys::{AccountId, Name};
use serde::Serialize;

use super::{Answer, Output, find_account, open_store};
use crate::config::Config;
use crate::store::{Account, Email};

/// Accounts that are read at once.
const PAGE: u32 = 1_000;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Add an account and print its id
    Add {
        /// What the account goes by; no two share a name
        #[arg(value_parser = Name::parse)]
        name: Name,
        /// Its mail address
        #[arg(long)]
        email: Option<Email>,
        /// Its id: 1 to 64 of a-z, 0-9, `_` and `-`; a new random one without this
        #[arg(long)]
        id: Option<AccountId>,
    },
    /// List all accounts
    List,
    /// Remove an account with its tokens and keys: every host refuses them within moments
    Remove {
        /// Its id or its name
        account: String,
    },
}

#[derive(Serialize)]
struct Row {
    id: String,
    name: String,
    email: Option<String>,
    keys: u64,
    created_at: String,
}

pub(super) async fn run(config: &Config, command: Command, output: Output) -> anyhow::Result<Answer> {
    let store = open_store(config).await?;
    match command {
        Command::Add { name, email, id } => {
            let id = store.add_account(&name, email.as_ref(), id).await?.to_string();
            output.answer(&serde_json::json!({ "id": id, "name": name.as_str() }), &id)?;
        }
        Command::List => list(&store, output).await?,
        Command::Remove { account } => {
            let account = find_account(&store, &account).await?;
            let removed = store.remove_account(&account.id).await?;
            let count = removed.map_or(0, |removed| removed.removals.len());
            let text = format!("removed {} with {count} keys", account.id);
            output.answer(&serde_json::json!({ "id": account.id.as_str(), "keys": count }), &text)?;
        }
    }
    store.close().await;
    Ok(Answer::Yes)
}

async fn list(store: &crate::store::Store, output: Output) -> anyhow::Result<()> {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let after = rows.last().map_or("", |row| row.name.as_str());
        let page = store.accounts(after, PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        rows.extend(page.iter().map(row));
        if is_last {
            break;
        }
    }
    output.list(&rows, &["ID", "NAME", "EMAIL", "KEYS", "ADDED"], |row| {
        vec![
            row.id.clone(),
            row.name.clone(),
            row.email.clone().unwrap_or_default(),
            row.keys.to_string(),
            row.created_at.clone(),
        ]
    })
}

fn row(account: &Account) -> Row {
    Row {
        id: account.id.to_string(),
        name: account.name.to_string(),
        email: account.email.as_ref().map(Email::to_string),
        keys: account.keys,
        created_at: account.created_at.to_string(),
    }
}
