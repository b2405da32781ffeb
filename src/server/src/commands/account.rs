//! `account add | list | remove`

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};

use anyhow::Context as _;
use clap::Subcommand;
use pushkeys_keys::{AccountId, AccountName};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde::Serialize;

use super::output::Output;
use super::shared::{Answer, find_account, open_store};
use crate::config::Config;
use crate::password::{PASSWORD_BYTES_MAX, Password, Passwords};
use crate::store::{Account, Actor, Email, Store};

/// Accounts per read.
const PAGE: u32 = 1_000;
/// Longer than any password, so that one that is too long is refused and not truncated.
const LINE_BYTES_MAX: u64 = 2 * PASSWORD_BYTES_MAX as u64;

#[derive(Subcommand)]
pub(super) enum AccountCommand {
    /// Add an account and print its id
    Add {
        /// Its name, which must be unique
        #[arg(value_parser = AccountName::parse)]
        name: AccountName,
        /// Its e-mail address
        #[arg(long)]
        email: Option<Email>,
        /// Its id: 1 to 64 of a-z, 0-9, `_` and `-`; random by default
        #[arg(long)]
        id: Option<AccountId>,
    },
    /// Set its password for the console, read from standard input, and end its sessions
    Password {
        /// Its id or its name
        account: String,
    },
    /// List all accounts
    List,
    /// Remove an account with its tokens and keys; hosts refuse the keys within seconds
    Remove {
        /// Its id or its name
        account: String,
    },
}

#[derive(Serialize)]
struct ListedAccount {
    id: String,
    name: String,
    email: Option<String>,
    keys: u64,
    created_at: String,
}

pub(super) async fn run(config: &Config, command: AccountCommand, output: Output) -> anyhow::Result<Answer> {
    let store = open_store(config).await?;
    match command {
        AccountCommand::Add { name, email, id } => {
            let id = store.add_account(&name, email.as_ref(), id).await?.to_string();
            output.answer(&serde_json::json!({ "id": id, "name": name.as_str() }), &id)?;
        }
        AccountCommand::Password { account } => set_password(&store, &account, output).await?,
        AccountCommand::List => list(&store, output).await?,
        AccountCommand::Remove { account } => {
            let account = find_account(&store, &account).await?;
            let removed = store.remove_account(&account.id).await?;
            let count = removed.map_or(0, |changes| changes.len());
            let text = format!("removed {} with {count} keys", account.id);
            output.answer(&serde_json::json!({ "id": account.id.as_str(), "keys": count }), &text)?;
        }
    }
    store.close().await;
    Ok(Answer::Yes)
}

/// On a terminal it prompts for the password and does not echo it.
async fn set_password(store: &Store, account: &str, output: Output) -> anyhow::Result<()> {
    let account = find_account(store, account).await?;
    let password = Password::new(read_password()?)?;
    let hash = Passwords::default().hash(password).await?;
    let set = store.set_password(&account.id, &hash, None, &Actor::operator()).await?;
    anyhow::ensure!(set, "the account was removed in the meantime");
    let text = format!("set the password of {}", account.id);
    output.answer(&serde_json::json!({ "id": account.id.as_str() }), &text)
}

fn read_password() -> anyhow::Result<String> {
    let stdin = io::stdin();
    let is_terminal = stdin.is_terminal();
    if is_terminal {
        eprint!("Password: ");
    }
    let mut line = String::new();
    let without_echo = if is_terminal { Some(EchoOff::begin()?) } else { None };
    let read = stdin.lock().take(LINE_BYTES_MAX).read_line(&mut line);
    if without_echo.is_some() {
        eprintln!();
    }
    drop(without_echo);
    read.context("cannot read the password from standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Turns off the terminal's echo until it is dropped.
struct EchoOff(Termios);

impl EchoOff {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        // Fails only if the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

async fn list(store: &Store, output: Output) -> anyhow::Result<()> {
    let mut rows: Vec<ListedAccount> = Vec::new();
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

fn row(account: &Account) -> ListedAccount {
    ListedAccount {
        id: account.id.to_string(),
        name: account.name.to_string(),
        email: account.email.as_ref().map(Email::to_string),
        keys: account.keys,
        created_at: account.created_at.to_string(),
    }
}
