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
pub(super) enum HostCommand {
    /// Add a push host and print its token, which is shown only once
    #[command(after_help = "\
Put the token into /etc/pushkeys/host.token on the host, owned by root, mode 0600: systemd passes it to the daemon.
With --certificate there is no token: the host presents a certificate (`client_certificate` and `client_key` there) that
a CA in `client_ca` has signed, with the host's name as a DNS name among its subject alternative names.")]
    Add {
        /// Its name
        name: HostName,
        /// Authenticate it by a client certificate for its name
        #[arg(long)]
        certificate: bool,
    },
    /// List all hosts and their credentials
    List,
    /// Give a host a second credential, and later revoke the first
    #[command(after_help = "\
Example:
  pushkeys-server host rotate push-1              # prints a new token; the old one stays valid
  # put it into the token file on push-1, then: systemctl restart pushkeys-syncd
  pushkeys-server host rotate push-1 --finish     # revokes the old one")]
    Rotate {
        /// Its name
        name: HostName,
        /// Switch to a client certificate for its name, which needs no further rotation here
        #[arg(long)]
        certificate: bool,
        /// Revoke the first credential, once the host has used the second
        #[arg(long, conflicts_with = "certificate")]
        finish: bool,
    },
    /// Revoke a host's credentials and end its streams
    Revoke {
        /// Its name
        name: HostName,
    },
}

#[derive(Serialize)]
struct ListedHost {
    id: String,
    name: String,
    created_at: String,
    credentials: Vec<ListedCredential>,
}

#[derive(Serialize)]
struct ListedCredential {
    kind: &'static str,
    created_at: String,
    used: bool,
}

pub(super) async fn run(config: &Config, command: HostCommand, output: Output) -> anyhow::Result<Answer> {
    let store = open_store(config).await?;
    match command {
        HostCommand::Add { name, certificate } => {
            let (credential, token) = new_credential(config, &name, certificate)?;
            let id = store.add_host(&name, credential).await?.to_string();
            print(&name, Some(&id), token.as_ref(), output)?;
        }
        HostCommand::List => list(&store, output).await?,
        HostCommand::Rotate { name, finish: true, .. } => {
            store.finish_rotation(&name).await?;
            let text = format!("{name}: revoked the old credential");
            output.answer(&serde_json::json!({ "name": name.as_str() }), &text)?;
        }
        HostCommand::Rotate { name, certificate, .. } => {
            let (credential, token) = new_credential(config, &name, certificate)?;
            store.rotate_host(&name, credential).await?;
            print(&name, None, token.as_ref(), output)?;
        }
        HostCommand::Revoke { name } => {
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

/// The credential of the host `name`: a token, which is shown only once, or a certificate.
fn new_credential(
    config: &Config,
    name: &HostName,
    by_certificate: bool,
) -> anyhow::Result<(NewHostCredential, Option<Token>)> {
    if !by_certificate {
        let token = Token::new("pkh")?;
        return Ok((NewHostCredential::Token(token.digest()), Some(token)));
    }
    let client_ca = config.tls.as_ref().and_then(|tls| tls.client_ca.as_ref());
    if client_ca.is_none() {
        let hint = "set `client_ca` in [tls] to the CAs that sign them";
        return Err(Hinted::new("client certificates are not configured", hint).into());
    }
    if name.as_str().bytes().any(|byte| byte.is_ascii_uppercase()) {
        let lower = name.as_str().to_ascii_lowercase();
        let hint = format!("pushkeys-server host add {lower} --certificate");
        return Err(Hinted::new("names in certificates are in lower case", hint).into());
    }
    Ok((NewHostCredential::Certificate, None))
}

fn print(name: &HostName, id: Option<&str>, token: Option<&Token>, output: Output) -> anyhow::Result<()> {
    let mut value = serde_json::json!({ "name": name.as_str() });
    let members = [("id", id), ("token", token.map(Token::reveal))];
    if let Some(value) = value.as_object_mut() {
        for (member, text) in members {
            value.extend(text.map(|text| (member.to_owned(), text.into())));
        }
    }
    let by_certificate = format!("{name} authenticates by a client certificate for {name}");
    output.answer(&value, token.map_or(&by_certificate, Token::reveal))
}

async fn list(store: &Store, output: Output) -> anyhow::Result<()> {
    let hosts = store.hosts().await?.into_iter();
    let rows: Vec<ListedHost> = hosts
        .map(|host| ListedHost {
            id: host.id.to_string(),
            name: host.name,
            created_at: host.created_at.to_string(),
            credentials: host.credentials.iter().map(ListedCredential::of).collect(),
        })
        .collect();
    output.list(&rows, &["ID", "NAME", "ADDED", "CREDENTIALS"], |row| {
        let credentials: Vec<String> = row.credentials.iter().map(ListedCredential::text).collect();
        vec![row.id.clone(), row.name.clone(), row.created_at.clone(), credentials.join(", then ")]
    })
}

impl ListedCredential {
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
