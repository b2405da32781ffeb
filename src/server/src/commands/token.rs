//! `token add | list | revoke`

use clap::Subcommand;
use pushkeys_keys::{Hinted, Name};
use serde::Serialize;

use super::output::Output;
use super::shared::{Answer, find_account, open_store};
use crate::config::Config;
use crate::secret::{self, ServiceSecret, Token};
use crate::store::{Actor, NewToken, Store};

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Add a token and print it; it is shown only once
    #[command(after_help = "\
The bearer token is for curl and API clients:
    curl -H 'Authorization: Bearer TOKEN' …/v2/self
The OAuth token and secret are for the clever CLI:
    API_HOST=… CLEVER_TOKEN=… CLEVER_SECRET=… clever ssh-keys")]
    Add {
        /// Id or name of the account
        account: String,
        /// A label for it
        #[arg(long, value_parser = Name::parse)]
        label: Option<Name>,
    },
    /// List the tokens of an account
    List {
        /// Id or name of the account
        account: String,
    },
    /// Revoke a token
    Revoke {
        /// Its id, from `token list`
        token_id: String,
    },
}

#[derive(Serialize)]
struct Issued<'a> {
    id: &'a str,
    account: &'a str,
    bearer: &'a str,
    oauth_token: &'a str,
    oauth_secret: &'a str,
}

#[derive(Serialize)]
struct ListedToken {
    id: String,
    label: Option<String>,
    created_at: String,
}

pub(super) async fn run(config: &Config, command: TokenCommand, output: Output) -> anyhow::Result<Answer> {
    let store = open_store(config).await?;
    match command {
        TokenCommand::Add { account, label } => add(config, &store, &account, label.as_ref(), output).await?,
        TokenCommand::List { account } => list(&store, &account, output).await?,
        TokenCommand::Revoke { token_id } => {
            let shown = pushkeys_keys::escape(&token_id);
            if !store.revoke_token(None, &token_id, &Actor::operator()).await? {
                let what = format!("there is no token `{token_id}`");
                return Err(Hinted::new(what, "pushkeys-server token list ACCOUNT").into());
            }
            output.answer(&serde_json::json!({ "id": token_id }), &format!("revoked {shown}"))?;
        }
    }
    store.close().await;
    Ok(Answer::Yes)
}

async fn add(
    config: &Config,
    store: &Store,
    account: &str,
    label: Option<&Name>,
    output: Output,
) -> anyhow::Result<()> {
    let service_secret = ServiceSecret::load_or_make(&config.secret_file)?;
    let account = find_account(store, account).await?;
    let id = secret::random_id("tok")?;
    let bearer = Token::new("pkt")?;
    let oauth_token = secret::random_id("oauth")?;
    let new = NewToken { id: &id, bearer: bearer.digest(), oauth_token: &oauth_token, expires_at: None };
    let added = store.add_token(&account.id, &new, label, &Actor::operator()).await?;
    anyhow::ensure!(added, "the account was removed in the meantime");
    let oauth_secret = service_secret.oauth_secret(&oauth_token);
    let issued = Issued {
        id: &id,
        account: account.id.as_str(),
        bearer: bearer.reveal(),
        oauth_token: &oauth_token,
        oauth_secret: &oauth_secret,
    };
    let text = format!(
        "id            {id}\nbearer        {}\noauth token   {oauth_token}\noauth secret  {oauth_secret}",
        bearer.reveal()
    );
    output.answer(&issued, &text)
}

async fn list(store: &Store, account: &str, output: Output) -> anyhow::Result<()> {
    let account = find_account(store, account).await?;
    let rows: Vec<ListedToken> = store
        .tokens(&account.id)
        .await?
        .into_iter()
        .map(|token| ListedToken {
            id: token.id,
            label: token.label,
            created_at: token.created_at.to_string(),
        })
        .collect();
    output.list(&rows, &["ID", "LABEL", "ADDED"], |row| {
        vec![row.id.clone(), row.label.clone().unwrap_or_default(), row.created_at.clone()]
    })
}
