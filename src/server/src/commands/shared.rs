//! Shared by the commands.

use crate::config::Config;
use crate::database::Open;
use crate::store::{Account, Store};
use pushkeys_keys::Hinted;

/// The result of a command, shown by its exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
}

pub(super) async fn open_store(config: &Config) -> anyhow::Result<Store> {
    Ok(Store::open(&config.database, Open::Prepare, config.store_limits()).await?)
}

/// The account with the id or name `account`.
pub(super) async fn find_account(store: &Store, wanted: &str) -> anyhow::Result<Account> {
    let found = store.account(wanted).await?;
    found.ok_or_else(|| {
        Hinted::new(format!("there is no account `{wanted}`"), "pushkeys-server account list").into()
    })
}
