//! `check`

use std::time::Duration;

use pushkeys_keys::ErrorReport;
use serde::Serialize;

use super::output::Output;
use super::shared::Answer;
use crate::config::Config;
use crate::database::{Open, OpenError};
use crate::mail;
use crate::secret::{SecretFileError, ServiceSecret};
use crate::store::{OpenStoreError, Store, SumDifference};
use crate::tls;

/// The result of one check.
#[derive(Serialize)]
struct Finding {
    what: &'static str,
    ok: bool,
    /// `ok`, `warning` or `wrong`.
    state: &'static str,
    detail: String,
    /// What to do about what is wrong.
    hint: Option<String>,
    /// Both in one line, for people.
    #[serde(skip)]
    line: String,
}

impl Finding {
    fn good(what: &'static str, detail: impl Into<String>) -> Self {
        Self::of(what, true, ErrorReport::of_message(&detail.into()))
    }

    fn bad(what: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::of(what, false, ErrorReport::of(error))
    }

    fn of(what: &'static str, ok: bool, report: ErrorReport) -> Self {
        let state = if ok { "ok" } else { "wrong" };
        Self { what, ok, state, detail: report.text(), line: report.to_string(), hint: report.hint }
    }

    fn warning(what: &'static str, detail: &str, hint: &str) -> Self {
        Self { state: "warning", ..Self::of(what, true, ErrorReport::hinted(detail, hint)) }
    }
}

pub(super) async fn run(config: &Config, output: Output) -> anyhow::Result<Answer> {
    let mut findings = vec![
        // It was loaded before this command started.
        Finding::good("configuration", "is valid"),
        listen(config),
        policy(config),
        secret(config),
    ];
    findings.extend(database(config).await);
    if let Some(settings) = &config.smtp {
        findings.push(mail_server(settings).await);
    }
    output.list(&findings, &["WHAT", "STATE", "DETAIL"], |finding| {
        vec![finding.what.to_owned(), finding.state.to_owned(), finding.line.clone()]
    })?;
    Ok(if findings.iter().all(|finding| finding.ok) { Answer::Yes } else { Answer::No })
}

fn listen(config: &Config) -> Finding {
    if let Err(error) = config.check_exposure(config.listen) {
        return Finding::bad("listen", &error);
    }
    match config.tls.as_ref().map(tls::check) {
        None => Finding::good("listen", "uses plain HTTP"),
        Some(Ok(())) => Finding::good("listen", "uses TLS, and its files are valid"),
        Some(Err(error)) => Finding::bad("listen", &error),
    }
}

fn policy(config: &Config) -> Finding {
    match config.policy() {
        Ok(_) => Finding::good("key policy", "is valid"),
        Err(error) => Finding::bad("key policy", &error),
    }
}

fn secret(config: &Config) -> Finding {
    match ServiceSecret::load(&config.secret_file) {
        Ok(_) => Finding::good("secret file", "is valid"),
        Err(SecretFileError::Missing(_)) => {
            Finding::good("secret file", "does not exist yet: `serve` creates it")
        }
        Err(error) => Finding::bad("secret file", &error),
    }
}

async fn mail_server(settings: &mail::SmtpSettings) -> Finding {
    match mail::check(settings).await {
        Ok(()) => Finding::good("mail server", "accepts the connection"),
        Err(error) => Finding::bad("mail server", &error),
    }
}

async fn database(config: &Config) -> Vec<Finding> {
    let store = match Store::open(&config.database, Open::Examine, config.store_limits()).await {
        Ok(store) => store,
        Err(OpenStoreError::Database(OpenError::Missing(_))) => {
            return vec![Finding::good("database", "does not exist yet: `serve` creates it")];
        }
        Err(error) => return vec![Finding::bad("database", &error)],
    };
    let mut findings = vec![tables(&store).await, digest(&store).await];
    findings.extend(replication(&store).await);
    store.close().await;
    findings
}

async fn tables(store: &Store) -> Finding {
    match store.check().await {
        Ok(damage) if damage == "ok" => Finding::good("database", "is intact, and its schema is up to date"),
        Ok(damage) => Finding::of("database", false, ErrorReport::of_message(&damage)),
        Err(error) => Finding::bad("database", &error),
    }
}

async fn digest(store: &Store) -> Finding {
    match store.find_sum_difference(Duration::ZERO).await {
        Ok(None) => Finding::good("digest of all keys", "is that of the table of keys"),
        Ok(Some(SumDifference { told, found })) => {
            let what = format!(
                "hosts are told of {told}, and the table has {found}: something else has written to it"
            );
            let hint = "a running service repairs it within an hour, and a minute after it starts";
            Finding::of("digest of all keys", false, ErrorReport::hinted(&what, hint))
        }
        Err(error) => Finding::bad("digest of all keys", &error),
    }
}

async fn replication(store: &Store) -> Option<Finding> {
    const HINT: &str = "set synchronous_commit and synchronous_standby_names: see docs/operating.md, \"What a failover can lose\"";
    Some(match store.database().replication().await.transpose()? {
        Ok(replication) => match replication.risk() {
            Some(risk) => Finding::warning("replication", risk, HINT),
            None if replication.standbys == 0 => Finding::good("replication", "no standby is connected"),
            None => Finding::good("replication", "a commit waits for a standby"),
        },
        Err(error) => Finding::bad("replication", &error),
    })
}
