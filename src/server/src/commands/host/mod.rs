//! `host add | list | keys | serves | rotate | revoke`

mod keys;
mod list;

use clap::Subcommand;
use pushkeys_keys::Hinted;

use super::output::Output;
use super::shared::{Answer, open_store};
use crate::config::Config;
use crate::push_host::PushHost;
use crate::secret::Token;
use crate::store::{HostName, NewHostCredential};

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
    /// List the hosts: their credentials, what they have applied, and how many changes they lag behind
    #[command(
        after_help = "Example: the hosts that are behind\n  pushkeys-server host list --json | jq -r 'select(.lag > 0) | .name'"
    )]
    List,
    /// List the keys by which clients know hosts, and decide which are published
    Keys(keys::HostKeyArguments),
    /// Set what users connect to in order to reach a host, if it is not `push_host` of the configuration
    #[command(group = clap::ArgGroup::new("what").required(true))]
    Serves {
        /// Its name
        name: HostName,
        /// Such as `git.example.com`, or `git.example.com:2222`
        #[arg(group = "what")]
        push_host: Option<PushHost>,
        /// Use `push_host` of the configuration again
        #[arg(long, group = "what")]
        default: bool,
    },
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

pub(super) async fn run(config: &Config, command: HostCommand, output: Output) -> anyhow::Result<Answer> {
    let store = open_store(config).await?;
    match command {
        HostCommand::Add { name, certificate } => {
            let (credential, token) = new_credential(config, &name, certificate)?;
            let id = store.add_host(&name, credential).await?.to_string();
            print(&name, Some(&id), token.as_ref(), output)?;
        }
        HostCommand::List => list::run(&store, false, output).await?,
        HostCommand::Keys(arguments) => keys::run(&store, arguments, output).await?,
        HostCommand::Serves { name, push_host, .. } => {
            let push_host = push_host.as_ref();
            if !store.set_push_host(&name, push_host).await? {
                return Err(no_host(&name).into());
            }
            let what =
                push_host.map_or_else(|| "`push_host` of the configuration".to_owned(), ToString::to_string);
            let value =
                serde_json::json!({ "name": name.as_str(), "push_host": push_host.map(ToString::to_string) });
            output.answer(&value, &format!("{name} serves {what}"))?;
        }
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
                return Err(no_host(&name).into());
            }
            output.answer(&serde_json::json!({ "name": name.as_str() }), &format!("revoked {name}"))?;
        }
    }
    store.close().await;
    Ok(Answer::Yes)
}

/// `hosts`, the former name of `host list`.
pub(super) async fn list_by_old_name(config: &Config, output: Output) -> anyhow::Result<Answer> {
    let store = open_store(config).await?;
    list::run(&store, true, output).await?;
    store.close().await;
    Ok(Answer::Yes)
}

fn no_host(name: &HostName) -> Hinted {
    Hinted::new(format!("there is no host `{name}`"), "pushkeys-server host list")
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
