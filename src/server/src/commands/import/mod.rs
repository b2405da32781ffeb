//! `import`

mod authorized_keys;
mod line;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pushkeys_keys::{AccountName, Hinted, Policy, ValidKey, shared_factors};
use serde::Serialize;
use tokio::sync::mpsc;

use self::authorized_keys::{KeysFile, Names};
use self::line::{ImportLine, LineName, read_line, read_object};
use super::output::Output;
use super::shared::{Answer, open_store};
use crate::config::Config;
use crate::store::{ImportItem, ImportMode, ImportOutcome, ImportRefusal, Store};

/// Lines per transaction: enough to amortize the wait for the disk, few enough that the service's writers wait about a
/// second at most.
const LINES_PER_BATCH: usize = 40_000;
/// Keys that are validated together, which takes a third of the time unless one of them is invalid.
const KEYS_PER_VALIDATION: usize = 512;
/// Batches that are validated ahead of the database.
const BATCHES_AHEAD: usize = 1;
/// Refused lines that are shown; further ones are only counted.
const REFUSALS_SHOWN_MAX: u64 = 1_000;
/// The byte order marks of UTF-16, and the one that Windows puts before UTF-8.
const UTF_16: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
const UTF_8_MARK: &[u8] = b"\xef\xbb\xbf";
/// How often progress is shown.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Args)]
#[command(after_help = "\
Each line of FILE is one JSON object:
    {\"account\":\"ana\",\"name\":\"laptop\",\"key\":\"ssh-ed25519 AAAA… ana@laptop\"}

`account` is the account's name; `\"expires_at\":\"2027-01-31T12:00:00Z\"` may be added. Keys are validated as by the API, \
and hosts receive each change. Nothing is replaced: a line whose key or name is taken is refused, and a line that was \
imported before counts as present. Refused lines are reported with their number and skipped; the exit status is then 1. \
Lines are stored in transactions of 40,000, so an import that was interrupted can be run again. An account may get more \
keys than it could register itself; each is in its activity, and the account gets one mail about all of them.

Keys of an `authorized_keys` file are named after their comments, or after their type and the end of their fingerprint. \
The options `restrict` and `no-*` are dropped, since registered keys have none of these permissions, and `expiry-time` \
becomes the expiry. A line with any other option is refused.")]
pub(super) struct ImportArguments {
    /// The file to import; `-` for standard input
    file: PathBuf,
    /// FILE is an `authorized_keys` file instead, and all its keys belong to this account
    #[arg(long, value_name = "ACCOUNT", value_parser = AccountName::parse)]
    authorized_keys_of: Option<AccountName>,
    /// Create accounts that do not exist
    #[arg(long)]
    create: bool,
    /// Show what would be stored and refused, and store nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Default, Serialize)]
struct ImportTotals {
    stored: u64,
    present: u64,
    refused: u64,
}

pub(super) async fn run(
    config: &Config,
    arguments: ImportArguments,
    output: Output,
) -> anyhow::Result<Answer> {
    let policy = config.policy()?;
    let store = open_store(config).await?;
    let mode = ImportMode { creates_accounts: arguments.create, is_dry_run: arguments.dry_run };
    if let Some(account) = arguments.authorized_keys_of.as_ref().filter(|_| !mode.creates_accounts) {
        anyhow::ensure!(
            store.account(account.as_str()).await?.is_some(),
            Hinted::new(
                format!("there is no account `{account}`"),
                "check the name with `pushkeys-server account list`, or let the import create it with `--create`"
            )
        );
    }
    store.expect_import().await?;
    let (batches, mut received) = mpsc::channel(BATCHES_AHEAD);
    let reader = tokio::task::spawn_blocking(move || read(&arguments, &policy, &batches));
    let mut progress = ImportProgress::new();
    while let Some(batch) = received.recv().await {
        write(&store, batch, mode, &mut progress).await?;
    }
    reader.await.context("the task that reads the file failed")??;
    store.close().await;
    let ImportTotals { stored, present, refused } = progress.totals;
    let stores = if mode.is_dry_run { "would be stored" } else { "stored" };
    let text = format!("{stored} {stores}, {present} already present, {refused} refused");
    output.answer(&progress.totals, &text)?;
    Ok(if refused == 0 { Answer::Yes } else { Answer::No })
}

/// Lines whose keys are validated.
#[derive(Default)]
struct ImportBatch {
    items: Vec<ImportItem>,
    /// The line number of each item.
    numbers: Vec<u64>,
    refusals: Vec<(u64, String)>,
}

impl ImportBatch {
    fn take(&mut self, number: u64, checked: Result<ImportItem, String>) {
        match checked {
            Ok(item) => {
                self.items.push(item);
                self.numbers.push(number);
            }
            Err(reason) => self.refusals.push((number, reason)),
        }
    }

    /// Validates the keys of `lines`, each with its number, and adds the results in the same order.
    fn validate(&mut self, lines: &mut Vec<(u64, ImportLine)>, names: &mut Names, policy: &Policy) {
        let keys = ValidKey::check_all(lines.iter().map(|(_, line)| line.text.as_str()), policy);
        // Keys of one file are often those of one kind of device.
        let broken = shared_factors(keys.iter().flatten().map(ValidKey::canonical_text));
        for ((number, line), key) in lines.drain(..).zip(keys) {
            let ImportLine { account, name, text, expires_at } = line;
            let checked = key.map_err(|refusal| refusal.to_string()).and_then(|key| {
                if broken.contains(&key.fingerprint()) {
                    return Err("this RSA key shares a prime factor with another one of the file, so anyone can break both".to_owned());
                }
                let (name, fallback) = match name {
                    LineName::Given(name) => (name, None),
                    LineName::Comment(comment) => {
                        let (name, fallback) = names.of(&comment, &key)?;
                        (name, Some(fallback))
                    }
                };
                Ok(ImportItem { account, name, fallback, key, text, expires_at })
            });
            self.take(number, checked);
        }
    }

    fn len(&self) -> usize {
        self.items.len() + self.refusals.len()
    }
}

fn read(
    arguments: &ImportArguments,
    policy: &Policy,
    batches: &mpsc::Sender<ImportBatch>,
) -> anyhow::Result<()> {
    let shown = arguments.file.display();
    let mut input: Box<dyn BufRead> = if arguments.file.as_os_str() == "-" {
        Box::new(BufReader::new(io::stdin()))
    } else {
        Box::new(BufReader::new(
            File::open(&arguments.file).with_context(|| format!("cannot read `{shown}`"))?,
        ))
    };
    let now = Timestamp::now();
    let keys_of = arguments.authorized_keys_of.clone();
    let keys_file = keys_of.map(|account| KeysFile { account, zone: TimeZone::system(), now });
    let (mut batch, mut names) = (ImportBatch::default(), Names::default());
    let (mut line, mut lines) = (Vec::new(), Vec::new());
    for number in 1.. {
        if !read_line(&mut input, &mut line)
            .with_context(|| format!("cannot read `{shown}`, line {number}"))?
        {
            break;
        }
        if number == 1 {
            anyhow::ensure!(
                !UTF_16.iter().any(|mark| line.starts_with(mark)),
                Hinted::new(format!("`{shown}` is in UTF-16"), "iconv -f UTF-16 -t UTF-8 FILE")
            );
            if line.starts_with(UTF_8_MARK) {
                line.drain(..UTF_8_MARK.len());
            }
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let read = match &keys_file {
            Some(file) => file.read(&line).transpose(),
            None => Some(read_object(&line, now)),
        };
        match read {
            Some(Ok(read)) => lines.push((number, read)),
            Some(Err(reason)) => batch.refusals.push((number, reason)),
            None => {}
        }
        let is_full = batch.len() + lines.len() >= LINES_PER_BATCH;
        if is_full || lines.len() >= KEYS_PER_VALIDATION {
            batch.validate(&mut lines, &mut names, policy);
        }
        // The receiver is gone if the database failed, and that error is reported.
        if is_full && batches.blocking_send(std::mem::take(&mut batch)).is_err() {
            return Ok(());
        }
    }
    batch.validate(&mut lines, &mut names, policy);
    let _ = batches.blocking_send(batch);
    Ok(())
}

async fn write(
    store: &Store,
    mut batch: ImportBatch,
    mode: ImportMode,
    progress: &mut ImportProgress,
) -> anyhow::Result<()> {
    batch.refusals.sort_unstable_by_key(|(number, _)| *number);
    for (number, reason) in &batch.refusals {
        progress.refuse(*number, reason);
    }
    let outcomes = store.import(&batch.items, mode).await?;
    let mut again = ImportBatch::default();
    for ((outcome, number), mut item) in outcomes.into_iter().zip(batch.numbers).zip(batch.items) {
        match (outcome, &item.fallback) {
            (ImportOutcome::Refused(ImportRefusal::NameTaken), Some(fallback)) if item.name != *fallback => {
                item.name = fallback.clone();
                again.take(number, Ok(item));
            }
            (outcome, _) => progress.count(number, outcome),
        }
    }
    let outcomes = store.import(&again.items, mode).await?;
    for (outcome, number) in outcomes.into_iter().zip(again.numbers) {
        progress.count(number, outcome);
    }
    progress.show();
    Ok(())
}

/// Progress and refused lines, shown on standard error.
struct ImportProgress {
    totals: ImportTotals,
    told_at: Instant,
}

impl ImportProgress {
    fn new() -> Self {
        Self { totals: ImportTotals::default(), told_at: Instant::now() }
    }

    fn count(&mut self, number: u64, outcome: ImportOutcome) {
        match outcome {
            ImportOutcome::Stored => self.totals.stored += 1,
            ImportOutcome::Present => self.totals.present += 1,
            ImportOutcome::Refused(refusal) => self.refuse(number, &refusal.to_string()),
        }
    }

    fn refuse(&mut self, number: u64, reason: &str) {
        self.totals.refused += 1;
        match self.totals.refused {
            ..=REFUSALS_SHOWN_MAX => eprintln!("line {number}: {}", pushkeys_keys::escape(reason)),
            count if count == REFUSALS_SHOWN_MAX + 1 => eprintln!("further refused lines are only counted"),
            _ => {}
        }
    }

    fn show(&mut self) {
        if self.told_at.elapsed() >= PROGRESS_INTERVAL {
            self.told_at = Instant::now();
            let ImportTotals { stored, present, refused } = self.totals;
            eprintln!("{stored} stored, {present} already present, {refused} refused so far");
        }
    }
}
