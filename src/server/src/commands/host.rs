//! `host add | list | rotate | revoke`

use clap::Subcommand;
use pushkeys_keys::Hinted;
use serde::Serialize;

use super::output::Output;
use super::shared::{Answer, open_store};
use crate::config::Config;
use crate::secret::Token;
use crate::store::{HostCredential, HostName, NewHostCredential, Store};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Add a push host and print its token: this is the only time it is shown
    #[command(after_help = "\
Put the token into /etc/pushkeys/host.token on the host, root's and mode 0600: systemd hands it to the daemon.
With --certificate there is no token: the host shows a certificate (`client_certificate` and `client_key` there) that an
authority in `client_ca` has signed for the host's name, as a DNS name among its subject alternative names.")]
    Add {
        /// What the host goes by
        name: HostName,
        /// Know it by a client certificate for its name
        #[arg(long)]
        certificate: bool,
    },
    /// List all hosts, and by what they are known
    List,
    /// Give a host a second credential, and later end the first: it is never without one
    #[command(after_help = "\
Example:
  pushkeys-server host rotate push-1              # prints a new token; the old one goes on to be good
  # put it into the token file on push-1, then: systemctl restart pushkeys-syncd
  pushkeys-server host rotate push-1 --finish     # ends the old one")]
    Rotate {
        /// Its name
        name: HostName,
        /// Change over to a client certificate for its name, which needs no rotation here afterwards
        #[arg(long)]
        certificate: bool,
        /// End the first credential, once the host has come with the second
        #[arg(long, conflicts_with = "certificate")]
        finish: bool,
    },
    /// Make a host's credentials worthless and end its streams
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
    credentials: Vec<CredentialRow>,
}

#[derive(Serialize)]
struct CredentialRow {
    kind: &'static str,
    created_at: String,
    used: bool,
}

pub(super) async fn run(config: &Config, command: Command, output: Output) -> anyhow::Result<Answer> {
    let store = open_store(config).await?;
    match command {
        Command::Add { name, certificate } => {
            let (credential, token) = new_credential(config, &name, certificate)?;
            let id = store.add_host(&name, credential).await?.to_string();
            tell(&name, Some(&id), token.as_ref(), output)?;
        }
        Command::List => list(&store, output).await?,
        Command::Rotate { name, finish: true, .. } => {
            store.finish_rotation(&name).await?;
            let text = format!("{name} is known by its new credential alone");
            output.answer(&serde_json::json!({ "name": name.as_str() }), &text)?;
        }
        Command::Rotate { name, certificate, .. } => {
            let (credential, token) = new_credential(config, &name, certificate)?;
            store.rotate_host(&name, credential).await?;
            tell(&name, None, token.as_ref(), output)?;
        }
        Command::Revoke { name } => {
            if !store.revoke_host(&name).await? {
                return Err(
                    Hinted::new(format!("there is no host `{name}`"), "pushkeys-server host list").into()
                );
            }
            output.answer(&serde_json::json!({ "name": name.as_str() }), &format!("revoked {name}"))?;
        }
    }
    store.close().await;
    Ok(Answer::Yes)
}

/// What the host `name` is to show: a token, which is told once, or a certificate.
fn new_credential(
    config: &Config,
    name: &HostName,
    by_certificate: bool,
) -> anyhow::Result<(NewHostCredential, Option<Token>)> {
    if !by_certificate {
        let token = Token::new("pkh")?;
        return Ok((NewHostCredential::Token(token.digest()), Some(token)));
    }
    let authorities = config.tls.as_ref().and_then(|tls| tls.client_ca.as_ref());
    if authorities.is_none() {
        let hint = "name the authorities that sign them in `client_ca` in [tls]";
        return Err(Hinted::new("no client is asked for a certificate", hint).into());
    }
    if name.as_str().bytes().any(|byte| byte.is_ascii_uppercase()) {
        let lower = name.as_str().to_ascii_lowercase();
        let hint = format!("pushkeys-server host add {lower} --certificate");
        return Err(Hinted::new("certificates are compared in lower case", hint).into());
    }
    Ok((NewHostCredential::Certificate, None))
}

fn tell(name: &HostName, id: Option<&str>, token: Option<&Token>, output: Output) -> anyhow::Result<()> {
    let mut value = serde_json::json!({ "name": name.as_str() });
    let members = [("id", id), ("token", token.map(Token::reveal))];
    if let Some(value) = value.as_object_mut() {
        for (member, text) in members {
            value.extend(text.map(|text| (member.to_owned(), text.into())));
        }
    }
    let by_certificate = format!("{name} is known by a client certificate for {name}");
    output.answer(&value, token.map_or(&by_certificate, Token::reveal))
}

async fn list(store: &Store, output: Output) -> anyhow::Result<()> {
    let hosts = store.hosts().await?.into_iter();
    let rows: Vec<Row> = hosts
        .map(|host| Row {
            id: host.id.to_string(),
            name: host.name,
            created_at: host.created_at.to_string(),
            credentials: host.credentials.iter().map(CredentialRow::of).collect(),
        })
        .collect();
    output.list(&rows, &["ID", "NAME", "ADDED", "KNOWN BY"], |row| {
        let known_by: Vec<String> = row.credentials.iter().map(CredentialRow::text).collect();
        vec![row.id.clone(), row.name.clone(), row.created_at.clone(), known_by.join(", then ")]
    })
}

impl CredentialRow {
    fn of(credential: &HostCredential) -> Self {
        Self {
            kind: if credential.is_certificate { "certificate" } else { "token" },
            created_at: credential.created_at.to_string(),
            used: credential.is_used,
        }
    }

    fn text(&self) -> String {
        let unused = if self.used { "" } else { " (not used yet)" };
        format!("{}{unused}", self.kind)
    }
}
