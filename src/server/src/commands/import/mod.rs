//! `import`

mod authorized_keys;
mod line;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use pushkeys_keys::{AccountName, Policy, ValidKey, shared_factors};
use serde::Serialize;
use tokio::sync::mpsc;

use self::authorized_keys::Names;
use self::line::{Wanted, WantedName, read_line, read_object};
use super::output::Output;
use super::shared::{Answer, open_store};
use crate::config::Config;
use crate::store::{ImportItem, ImportOutcome, Store};

/// Lines in one transaction: enough that waiting for the disk does not count, few enough that the
/// service's own writers wait about a second at most.
const LINES_PER_BATCH: usize = 40_000;
/// Keys that are judged at once: it takes a third of the time, and one bad one costs its neighbours that much.
const KEYS_JUDGED_AT_ONCE: usize = 512;
/// Batches that are judged ahead of the database.
const BATCHES_AHEAD: usize = 1;
/// Refused lines that are shown; the rest is counted.
const REFUSALS_SHOWN_MAX: u64 = 1_000;
/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Args)]
#[command(after_help = "\
Each line of FILE is one JSON object:
    {\"account\":\"ana\",\"name\":\"laptop\",\"key\":\"ssh-ed25519 AAAA… ana@laptop\"}

`account` is the account's name; an account that is missing is made. Keys are judged as the API judges \
them, and hosts are told of each. Nothing is replaced: a line whose key or name is taken is refused, and \
a line that was imported before counts as present. Refused lines are reported with their number and \
skipped; the exit status is then 1. Lines are stored 40,000 at a time, all of them or none, so that an import that was \
stopped can be run again. An account may get more keys than it could register itself; each is in its history, and one \
mail tells of them.")]
pub(super) struct Arguments {
    /// The file; `-` is standard input
    file: PathBuf,
    /// FILE has the lines of sshd's own kind instead, and all of its keys belong to this account
    #[arg(long, value_name = "ACCOUNT", value_parser = AccountName::parse)]
    authorized_keys_of: Option<AccountName>,
}

#[derive(Debug, Default, Serialize)]
struct Totals {
    stored: u64,
    present: u64,
    refused: u64,
}

pub(super) async fn run(config: &Config, arguments: Arguments, output: Output) -> anyhow::Result<Answer> {
    let policy = config.policy()?;
    let store = open_store(config).await?;
    store.expect_import().await?;
    let (batches, mut received) = mpsc::channel(BATCHES_AHEAD);
    let reader = tokio::task::spawn_blocking(move || read(&arguments, &policy, &batches));
    let mut progress = Progress::new();
    while let Some(batch) = received.recv().await {
        write(&store, batch, &mut progress).await?;
    }
    reader.await.context("the reader of the file broke down")??;
    store.close().await;
    let Totals { stored, present, refused } = progress.totals;
    let text = format!("{stored} stored, {present} present before, {refused} refused");
    output.answer(&progress.totals, &text)?;
    Ok(if refused == 0 { Answer::Yes } else { Answer::No })
}

/// Lines that were read and judged.
#[derive(Default)]
struct Batch {
    items: Vec<ImportItem>,
    /// The number of each item's line.
    numbers: Vec<u64>,
    refusals: Vec<(u64, String)>,
}

impl Batch {
    fn take(&mut self, number: u64, judged: Result<ImportItem, String>) {
        match judged {
            Ok(item) => {
                self.items.push(item);
                self.numbers.push(number);
            }
            Err(reason) => self.refusals.push((number, reason)),
        }
    }

    /// Judges the keys of `lines`, each with its number, and takes what came of them in their order.
    fn judge(&mut self, lines: &mut Vec<(u64, Wanted)>, names: &mut Names, policy: &Policy) {
        let keys = ValidKey::check_all(lines.iter().map(|(_, wanted)| wanted.text.as_str()), policy);
        // Keys of one file are often those of one kind of device.
        let broken = shared_factors(keys.iter().flatten().map(ValidKey::canonical_text));
        for ((number, wanted), key) in lines.drain(..).zip(keys) {
            let Wanted { account, name, text } = wanted;
            let judged = key.map_err(|refusal| refusal.to_string()).and_then(|key| {
                if broken.contains(&key.fingerprint()) {
                    return Err("this RSA key shares a prime factor with another one of the file, so anybody can break both".to_owned());
                }
                let name = match name {
                    WantedName::Given(name) => name,
                    WantedName::Comment(comment) => names.name(&comment, number)?,
                };
                Ok(ImportItem { account, name, key, text })
            });
            self.take(number, judged);
        }
    }

    fn len(&self) -> usize {
        self.items.len() + self.refusals.len()
    }
}

fn read(arguments: &Arguments, policy: &Policy, batches: &mpsc::Sender<Batch>) -> anyhow::Result<()> {
    let shown = arguments.file.display();
    let mut input: Box<dyn BufRead> = if arguments.file.as_os_str() == "-" {
        Box::new(BufReader::new(io::stdin()))
    } else {
        Box::new(BufReader::new(
            File::open(&arguments.file).with_context(|| format!("cannot read `{shown}`"))?,
        ))
    };
    let (mut batch, mut names) = (Batch::default(), Names::default());
    let (mut line, mut wanted) = (Vec::new(), Vec::new());
    for number in 1.. {
        if !read_line(&mut input, &mut line)
            .with_context(|| format!("cannot read `{shown}`, line {number}"))?
        {
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let read = match &arguments.authorized_keys_of {
            Some(account) => authorized_keys::read(&line, account).transpose(),
            None => Some(read_object(&line)),
        };
        match read {
            Some(Ok(read)) => wanted.push((number, read)),
            Some(Err(reason)) => batch.refusals.push((number, reason)),
            None => {}
        }
        let is_full = batch.len() + wanted.len() >= LINES_PER_BATCH;
        if is_full || wanted.len() >= KEYS_JUDGED_AT_ONCE {
            batch.judge(&mut wanted, &mut names, policy);
        }
        // The receiver is gone when the database failed, which is then reported.
        if is_full && batches.blocking_send(std::mem::take(&mut batch)).is_err() {
            return Ok(());
        }
    }
    batch.judge(&mut wanted, &mut names, policy);
    let _ = batches.blocking_send(batch);
    Ok(())
}

async fn write(store: &Store, mut batch: Batch, progress: &mut Progress) -> anyhow::Result<()> {
    batch.refusals.sort_unstable_by_key(|(number, _)| *number);
    for (number, reason) in &batch.refusals {
        progress.refuse(*number, reason);
    }
    let outcomes = store.import(&batch.items).await?;
    for (outcome, number) in outcomes.into_iter().zip(batch.numbers) {
        match outcome {
            ImportOutcome::Stored => progress.totals.stored += 1,
            ImportOutcome::Present => progress.totals.present += 1,
            ImportOutcome::Refused(refusal) => progress.refuse(number, &refusal.to_string()),
        }
    }
    progress.tell();
    Ok(())
}

/// What is told on standard error meanwhile.
struct Progress {
    totals: Totals,
    told_at: Instant,
}

impl Progress {
    fn new() -> Self {
        Self { totals: Totals::default(), told_at: Instant::now() }
    }

    fn refuse(&mut self, number: u64, reason: &str) {
        self.totals.refused += 1;
        match self.totals.refused {
            ..=REFUSALS_SHOWN_MAX => eprintln!("line {number}: {}", pushkeys_keys::escape(reason)),
            count if count == REFUSALS_SHOWN_MAX + 1 => eprintln!("further refused lines are only counted"),
            _ => {}
        }
    }

    fn tell(&mut self) {
        if self.told_at.elapsed() >= PROGRESS_INTERVAL {
            self.told_at = Instant::now();
            let Totals { stored, present, refused } = self.totals;
            eprintln!("{stored} stored, {present} present before, {refused} refused so far");
        }
    }
}
