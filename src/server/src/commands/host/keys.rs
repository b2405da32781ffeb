//! `host keys [accept | withdraw]`: the host keys of push hosts, and which of them are published.

use clap::{Args, Subcommand};
use pushkeys_keys::{Fingerprint, Hinted};
use serde::Serialize;

use crate::commands::output::{Output, print_lines};
use crate::store::{HostKey, Store};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::commands) struct HostKeyArguments {
    /// Print the published keys as SSHFP records, for a signed DNS zone
    #[arg(long, conflicts_with = "known_hosts")]
    sshfp: bool,
    /// Print the published keys as lines of `known_hosts`, like `GET /known_hosts`
    #[arg(long)]
    known_hosts: bool,
    #[command(subcommand)]
    command: Option<HostKeyCommand>,
}

#[derive(Subcommand)]
enum HostKeyCommand {
    /// Publish keys that hosts report, after comparing them on the hosts
    Accept {
        /// As `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints it on the host
        #[arg(required = true, value_name = "FINGERPRINT")]
        fingerprints: Vec<Fingerprint>,
    },
    /// Stop publishing keys, at the end of a rotation or after a theft
    Withdraw {
        /// As `pushkeys-server host keys` lists it
        #[arg(required = true, value_name = "FINGERPRINT")]
        fingerprints: Vec<Fingerprint>,
    },
}

#[derive(Serialize)]
struct HostKeyRow {
    push_host: String,
    kind: String,
    fingerprint: String,
    published_at: Option<String>,
    seen_at: String,
    shown_by: Vec<String>,
}

pub(super) async fn run(store: &Store, arguments: HostKeyArguments, output: Output) -> anyhow::Result<()> {
    match arguments.command {
        Some(HostKeyCommand::Accept { fingerprints }) => {
            for fingerprint in fingerprints {
                if !store.accept_host_key(&fingerprint).await? {
                    return Err(no_key(format!("no host key {fingerprint} waits to be accepted")).into());
                }
                let value = serde_json::json!({ "fingerprint": fingerprint.to_string(), "published": true });
                output.answer(&value, &format!("{fingerprint} is published"))?;
            }
        }
        Some(HostKeyCommand::Withdraw { fingerprints }) => {
            for fingerprint in fingerprints {
                if !store.withdraw_host_key(&fingerprint).await? {
                    return Err(no_key(format!("no host key {fingerprint} is published")).into());
                }
                let value = serde_json::json!({ "fingerprint": fingerprint.to_string(), "published": false });
                output.answer(&value, &format!("{fingerprint} is no longer published"))?;
            }
        }
        None if arguments.sshfp => {
            print_lines(store.published_host_keys().await?.iter().filter_map(HostKey::sshfp_record))?;
        }
        None if arguments.known_hosts => {
            print_lines(store.published_host_keys().await?.iter().filter_map(HostKey::known_hosts_line))?;
        }
        None => list(store, output).await?,
    }
    Ok(())
}

fn no_key(message: String) -> Hinted {
    Hinted::new(message, "pushkeys-server host keys")
}

async fn list(store: &Store, output: Output) -> anyhow::Result<()> {
    let rows: Vec<HostKeyRow> = store.host_keys().await?.into_iter().map(HostKeyRow::of).collect();
    output.list(&rows, &["PUSH HOST", "TYPE", "FINGERPRINT", "PUBLISHED", "HOSTS"], |row| {
        let published = row.published_at.clone().unwrap_or_else(|| "no: waits to be accepted".to_owned());
        let shown_by = if row.shown_by.is_empty() { "no host".to_owned() } else { row.shown_by.join(", ") };
        vec![row.push_host.clone(), row.kind.clone(), row.fingerprint.clone(), published, shown_by]
    })
}

impl HostKeyRow {
    fn of(key: HostKey) -> Self {
        Self {
            push_host: key.push_host.to_string(),
            kind: key.kind().to_owned(),
            fingerprint: key.fingerprint.to_string(),
            published_at: key.accepted_at.map(|at| at.to_string()),
            seen_at: key.seen_at.to_string(),
            shown_by: key.shown_by,
        }
    }
}
