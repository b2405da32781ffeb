//! `host list`

use std::collections::HashMap;

use jiff::Timestamp;
use pushkeys_feed::Cursor;
use serde::Serialize;

use crate::commands::output::Output;
use crate::store::{Host, HostAcknowledgement, HostCredential, Store, hosts_with_waiting_keys};

#[derive(Serialize)]
struct ListedHost {
    id: String,
    name: String,
    /// The name again, as `hosts` called it.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    created_at: String,
    credentials: Vec<ListedCredential>,
    connected: bool,
    applied: Option<u64>,
    /// Changes that the host has not applied; absent if it has sent no acknowledgement of this epoch.
    lag: Option<u64>,
    seen_at: Option<String>,
    /// Whether it has a host key that is not published.
    host_keys_wait: bool,
}

#[derive(Serialize)]
struct ListedCredential {
    kind: &'static str,
    created_at: String,
    used: bool,
}

/// Lists every host, and the number of hosts on which the last change is live. `is_old_name`: called as `hosts`, whose
/// JSON named the host `host` and ended with that number.
pub(super) async fn run(store: &Store, is_old_name: bool, output: Output) -> anyhow::Result<()> {
    let (hosts, acknowledgements) = (store.hosts().await?, store.acknowledgements().await?);
    let (head, now) = (store.feed_state().await?.head.cursor, Timestamp::now());
    let connected = acknowledgements.iter().filter(|one| one.is_connected(now));
    let (applied, of) = (connected.clone().filter(|one| one.has_applied(&head)).count(), connected.count());
    let by_name: HashMap<&str, &HostAcknowledgement> =
        acknowledgements.iter().map(|one| (one.host.as_str(), one)).collect();
    let host_keys = store.host_keys().await?;
    let waiting = hosts_with_waiting_keys(&host_keys);
    let rows: Vec<ListedHost> = hosts
        .into_iter()
        .map(|host| {
            let acknowledgement = by_name.get(host.name.as_str()).copied();
            ListedHost {
                host: is_old_name.then(|| host.name.clone()),
                host_keys_wait: waiting.contains(host.name.as_str()),
                ..ListedHost::of(host, acknowledgement, &head, now)
            }
        })
        .collect();
    output.list(
        &rows,
        &["NAME", "CREDENTIALS", "APPLIED", "LAG", "SEEN", "HOST KEYS", "ADDED", "ID"],
        ListedHost::cells,
    )?;
    if is_old_name || !output.is_json() {
        let total = serde_json::json!({ "sequence": head.sequence, "applied": applied, "of": of });
        output.answer(&total, &format!("change {} is live on {applied} of {of} hosts", head.sequence))?;
    }
    Ok(())
}

impl ListedHost {
    fn of(host: Host, acknowledgement: Option<&HostAcknowledgement>, head: &Cursor, now: Timestamp) -> Self {
        let applied = acknowledgement.and_then(|one| one.applied.as_ref());
        let in_epoch = applied.filter(|at| at.epoch == head.epoch);
        Self {
            id: host.id.to_string(),
            name: host.name,
            host: None,
            created_at: host.created_at.to_string(),
            credentials: host.credentials.iter().map(ListedCredential::of).collect(),
            connected: acknowledgement.is_some_and(|one| one.is_connected(now)),
            applied: applied.map(|at| at.sequence),
            lag: in_epoch.map(|at| head.sequence.saturating_sub(at.sequence)),
            seen_at: acknowledgement.and_then(|one| one.seen_at).map(|at| at.to_string()),
            host_keys_wait: false,
        }
    }

    fn cells(&self) -> Vec<String> {
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let seen = match &self.seen_at {
            Some(at) if self.connected => at.clone(),
            Some(at) => format!("{at} (gone)"),
            None => "never".to_owned(),
        };
        let credentials: Vec<String> = self.credentials.iter().map(ListedCredential::text).collect();
        vec![
            self.name.clone(),
            credentials.join(", then "),
            number(self.applied),
            number(self.lag),
            seen,
            if self.host_keys_wait { "not published".to_owned() } else { String::new() },
            self.created_at.clone(),
            self.id.clone(),
        ]
    }
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
