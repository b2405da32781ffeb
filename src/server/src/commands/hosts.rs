//! `hosts`: what each host has applied.

use jiff::Timestamp;
use serde::Serialize;

use super::output::Output;
use super::shared::{Answer, open_store};
use crate::config::Config;
use crate::store::Propagation;

#[derive(Serialize)]
struct HostState {
    host: String,
    connected: bool,
    applied: Option<u64>,
    /// Changes that the host has not applied; absent if it has sent no acknowledgement of this epoch.
    lag: Option<u64>,
    seen_at: Option<String>,
}

/// Lists every host, and the number on which the last change is live.
pub(super) async fn run(config: &Config, output: Output) -> anyhow::Result<Answer> {
    let store = open_store(config).await?;
    let (acknowledgements, head, now) =
        (store.acknowledgements().await?, store.feed_state().await?.head, Timestamp::now());
    let Propagation { applied, of } = Propagation::of(&acknowledgements, &head, now);
    let rows: Vec<HostState> = acknowledgements
        .into_iter()
        .map(|host| {
            let here = host.applied.as_ref().filter(|at| at.epoch == head.epoch);
            HostState {
                connected: host.is_connected(now),
                applied: host.applied.as_ref().map(|at| at.sequence),
                lag: here.map(|at| head.sequence.saturating_sub(at.sequence)),
                seen_at: host.seen_at.map(|at| at.to_string()),
                host: host.host,
            }
        })
        .collect();
    output.list(&rows, &["HOST", "APPLIED", "LAG", "SEEN"], |row| {
        let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let seen = match &row.seen_at {
            Some(at) if row.connected => at.clone(),
            Some(at) => format!("{at} (gone)"),
            None => "never".to_owned(),
        };
        vec![row.host.clone(), number(row.applied), number(row.lag), seen]
    })?;
    let total = serde_json::json!({ "sequence": head.sequence, "applied": applied, "of": of });
    output.answer(&total, &format!("change {} is live on {applied} of {of} hosts", head.sequence))?;
    store.close().await;
    Ok(Answer::Yes)
}
