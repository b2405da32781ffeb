//! `pushkeys explain`: what sshd is told about a key, and why.
//!
//! The steps show what the lookup finds. The conclusion is the lookup's own decision.

use std::io;
use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;
use pushkeys_cache::{Cache, Consultation, Consulted, Entry, Head, NoAnswer, ReadError, Revocation, Verdict};
use pushkeys_keys::{ErrorReport, Fingerprint, Login, Policy, SourceName, ValidKey};
use serde::Serialize;

use crate::context::{Context, Outcome, warn_of_stale};
use crate::hint;
use crate::log::{Dropped, Event, Kind, dropped, last_lines, refused};
use crate::output::{BAD, FAINT, GOOD, STRONG, count, distance, from_now, write_hint, write_json};
use crate::record;

/// How many past refusals are shown.
const REFUSALS_MAX: usize = 10;
/// How many addresses that sshd dropped connections of.
const ADDRESSES_MAX: usize = 5;

/// How the lookup comes to its answer.
#[derive(Debug, Serialize)]
struct Explanation {
    login: String,
    fingerprint: String,
    accepted: bool,
    steps: Vec<Step>,
    conclusion: String,
    line: Option<String>,
    hint: Option<String>,
    log: PastRefusals,
}

/// What the log says about the key.
#[derive(Debug, Serialize)]
struct PastRefusals {
    /// The log that was read; absent if none could be.
    read: Option<String>,
    /// The last first, at most [`REFUSALS_MAX`].
    refusals: Vec<Event>,
    /// Addresses whose connections sshd dropped before any key was asked for: first those from which this key was refused, and of
    /// each kind the last first, at most [`ADDRESSES_MAX`].
    dropped: Vec<DroppedConnections>,
    error: Option<String>,
}

/// An address, and whether this key came from it.
#[derive(Debug, Serialize)]
struct DroppedConnections {
    #[serde(flatten)]
    dropped: Dropped,
    of_this_key: bool,
}

#[derive(Debug, Serialize)]
struct Step {
    source: String,
    check: &'static str,
    /// Absent if the step decides nothing.
    holds: Option<bool>,
    text: String,
}

/// Explains what `login` and `fingerprint` lead to.
pub(crate) fn run(
    context: &Context,
    login: &Login,
    fingerprint: Fingerprint,
    log: Option<&Path>,
    out: &mut dyn io::Write,
) -> Result<Outcome> {
    match context.open() {
        Ok((cache, names)) => warn_of_stale(context, &cache, &names),
        // What this user may not read says nothing of what sshd is told.
        Err(ReadError::Io { path, source }) if source.kind() == io::ErrorKind::PermissionDenied => {
            return Err(ReadError::Io { path, source }.into());
        }
        // Lookups fail of it as well, which is explained.
        Err(_) => {}
    }
    let explanation = explain(context, login, &fingerprint, log);
    if context.json {
        write_json(out, &explanation)?;
    } else {
        write_text(out, &explanation)?;
    }
    Ok(Outcome::yes_if(explanation.accepted))
}

fn explain(context: &Context, login: &Login, fingerprint: &Fingerprint, log: Option<&Path>) -> Explanation {
    let mut steps = Steps(Vec::new());
    let result = consult(context, fingerprint).map_err(NoAnswer::from).and_then(|(cache, consulted)| {
        for one in &consulted.sources {
            let file = cache.source(&one.source).ok().map(|source| source.shard_path(fingerprint));
            let file = file.map_or_else(String::new, |file| file.display().to_string());
            steps.of_source(one, &file, login, context.now);
        }
        Verdict::of(consulted, login, context.now)
    });
    let is_usable = match &result {
        Ok(Verdict::Known { entry, .. }) => is_accepted_by_sshd(entry, fingerprint, context.now),
        _ => Ok(()),
    };
    let (conclusion, hint) = conclude(&result, &is_usable);
    let line = match &result {
        Ok(Verdict::Known { entry, .. }) => Some(entry.line.to_string()),
        _ => None,
    };
    Explanation {
        login: login.to_string(),
        fingerprint: fingerprint.to_string(),
        accepted: line.is_some() && is_usable.is_ok(),
        steps: steps.0,
        conclusion,
        line,
        hint,
        log: past_of(login, fingerprint, log),
    }
}

fn past_of(login: &Login, fingerprint: &Fingerprint, log: Option<&Path>) -> PastRefusals {
    let fingerprint = fingerprint.to_string();
    match last_lines(log) {
        Ok((read, lines)) => {
            let refusals = lines
                .iter()
                .rev()
                .filter(|line| line.contains(&fingerprint))
                .filter_map(|line| Event::parse(line))
                .filter(|event| {
                    event.kind != Kind::Session && event.fingerprint.as_ref() == Some(&fingerprint)
                })
                .take(REFUSALS_MAX)
                .collect();
            PastRefusals {
                read: Some(read),
                refusals,
                dropped: dropped_of(&lines, login, &fingerprint),
                error: None,
            }
        }
        Err(error) => {
            let error = Some(ErrorReport::of(&error).to_string());
            PastRefusals { read: None, refusals: Vec::new(), dropped: Vec::new(), error }
        }
    }
}

fn dropped_of(lines: &[String], login: &Login, fingerprint: &str) -> Vec<DroppedConnections> {
    let of_key = refused(lines, login, fingerprint);
    let of_this_key = |dropped: &Dropped| of_key.contains(&dropped.address);
    let mut all: Vec<_> = dropped(lines)
        .into_iter()
        .map(|dropped| DroppedConnections { of_this_key: of_this_key(&dropped), dropped })
        .collect();
    all.sort_by_key(|connections| !connections.of_this_key);
    all.truncate(ADDRESSES_MAX);
    all
}

fn consult(context: &Context, fingerprint: &Fingerprint) -> Result<(Cache, Consultation), ReadError> {
    let cache = Cache::open(&context.cache)?;
    let consulted = cache.consult(fingerprint)?;
    Ok((cache, consulted))
}

/// Whether sshd accepts the line that it is given.
fn is_accepted_by_sshd(entry: &Entry, fingerprint: &Fingerprint, now: Timestamp) -> Result<(), String> {
    match entry.expires_at() {
        Ok(Some(expires_at)) if expires_at.is_past(now) => {
            return Err(format!("the key expired at {expires_at}"));
        }
        Ok(_) => {}
        Err(_) => return Err("sshd cannot read its expiry-time".to_owned()),
    }
    match ValidKey::check(entry.line.public_key(), &Policy::default()) {
        Ok(key) if key.fingerprint() == *fingerprint => Ok(()),
        Ok(key) => Err(format!("the key in it is another one, {}", key.fingerprint())),
        Err(refusal) => Err(format!("syncd would not have written it: {}", ErrorReport::of(&refusal))),
    }
}

fn conclude(result: &Result<Verdict, NoAnswer>, is_usable: &Result<(), String>) -> (String, Option<String>) {
    const NO_ANSWER: &str = "sshd gets no answer, which it logs and treats as a refusal";
    let (conclusion, hint) = match (result, is_usable) {
        (Ok(Verdict::Known { source, .. }), Ok(())) => {
            (format!("sshd accepts the key: it gets the line of source `{source}`"), None)
        }
        (Ok(Verdict::Known { source, .. }), Err(why)) => {
            (format!("sshd refuses the key, although it gets the line of source `{source}`: {why}"), None)
        }
        (Ok(Verdict::UnknownKey), _) => (
            "sshd refuses the key: no source has it".to_owned(),
            Some("add it at the key service; pushkeys status shows whether this host is in sync"),
        ),
        (Ok(Verdict::OtherLogin), _) => {
            ("sshd refuses the key: it opens other logins".to_owned(), Some("pushkeys show KEY"))
        }
        (Ok(Verdict::Revoked(Revocation { what, since })), _) => (
            format!("sshd refuses the key: the {what} was revoked on this host at {since}"),
            Some("pushkeys revoke --list"),
        ),
        (Err(NoAnswer::Unreadable(error)), _) => {
            let report = hint::report(error);
            return (format!("{NO_ANSWER}: {}", report.text()), report.hint);
        }
        (Err(error @ NoAnswer::Stale { .. }), _) => {
            (format!("{NO_ANSWER}: {error}"), Some("pushkeys status"))
        }
        (Err(error @ NoAnswer::Conflict { .. }), _) => {
            (format!("{NO_ANSWER}: {error}"), Some("remove the key from one of the two"))
        }
    };
    (conclusion, hint.map(str::to_owned))
}

struct Steps(Vec<Step>);

impl Steps {
    fn of_source(&mut self, consulted: &Consulted, file: &str, login: &Login, now: Timestamp) {
        let name = &consulted.source;
        match &consulted.found {
            Err(error) => self.add(name, "readable", Some(false), ErrorReport::of(error).to_string()),
            Ok((head, entry)) => {
                self.of_head(name, head, now);
                if let Some(entry) = entry {
                    self.of_entry(name, entry, file, login, now);
                } else {
                    let text = format!("the key is not in `{file}`: the lines around its place are intact");
                    self.add(name, "registered", None, text);
                }
            }
        }
    }

    fn of_head(&mut self, name: &SourceName, head: &Head, now: Timestamp) {
        let text =
            format!("HEAD is readable: generation {}, in sync at {}", head.generation, head.stamps.synced_at);
        self.add(name, "readable", Some(true), text);
        let text = match head.stamps.valid_until {
            None => "it is valid without limit".to_owned(),
            Some(until) if head.is_valid_at(now) => {
                format!("it is valid until {until}, {}", distance(until, now))
            }
            Some(until) => format!("it was valid until {until}, {}", distance(until, now)),
        };
        self.add(name, "valid", Some(head.is_valid_at(now)), text);
    }

    fn of_entry(&mut self, name: &SourceName, entry: &Entry, file: &str, login: &Login, now: Timestamp) {
        self.add(name, "registered", Some(true), format!("the key is in `{file}`, and its checksum matches"));
        let text = format!("it belongs to account {}, as key {}", record::account(entry), record::key(entry));
        self.add(name, "account", None, text);
        let logins = record::logins(entry);
        let text = if entry.opens(login) {
            format!("it opens `{login}`")
        } else {
            format!("it opens `{logins}`, and not `{login}`")
        };
        self.add(name, "login", Some(entry.opens(login)), text);
        let (holds, text) = match entry.expires_at() {
            Ok(None) => (true, "it does not expire".to_owned()),
            Ok(Some(at)) if at.is_past(now) => {
                (false, format!("it expired at {at}, {}", from_now(at.after(now))))
            }
            Ok(Some(at)) => (true, format!("it expires at {at}, {}", from_now(at.after(now)))),
            Err(_) => (false, "its expiry-time cannot be read".to_owned()),
        };
        self.add(name, "expiry", Some(holds), text);
    }

    fn add(&mut self, name: &SourceName, check: &'static str, holds: Option<bool>, text: String) {
        self.0.push(Step { source: name.to_string(), check, holds, text });
    }
}

fn write_text(out: &mut dyn io::Write, explanation: &Explanation) -> io::Result<()> {
    let Explanation { login, fingerprint, accepted, steps, conclusion, line, hint, log } = explanation;
    writeln!(out, "{STRONG}pushkeys-lookup {login} {fingerprint}{STRONG:#}")?;
    let mut source = "";
    for step in steps {
        if source != step.source {
            source = &step.source;
            writeln!(out, "\nsource `{source}`")?;
        }
        let (style, mark) = match step.holds {
            Some(true) => (GOOD, "yes"),
            Some(false) => (BAD, "no"),
            None => (FAINT, "-"),
        };
        writeln!(out, "  {style}{mark:<3}{style:#}  {}", step.text)?;
    }
    let style = if *accepted { GOOD } else { BAD };
    writeln!(out, "\n{style}{conclusion}{style:#}")?;
    if let Some(line) = line {
        writeln!(out, "  {line}")?;
    }
    write_hint(out, hint.as_deref())?;
    write_past(out, log)
}

fn write_past(
    out: &mut dyn io::Write,
    PastRefusals { read, refusals, dropped, error }: &PastRefusals,
) -> io::Result<()> {
    if let Some(error) = error {
        return writeln!(out, "\n{FAINT}past refusals are unknown: {error}{FAINT:#}");
    }
    let read = read.as_deref().unwrap_or_default();
    if refusals.is_empty() {
        writeln!(out, "\n{FAINT}{read} has no refusal of this key{FAINT:#}")?;
    } else {
        writeln!(out, "\n{STRONG}refused before, from {read}, newest first{STRONG:#}")?;
        refusals.iter().try_for_each(|Event { at, what, .. }| writeln!(out, "  {at}  {what}"))?;
    }
    if dropped.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{STRONG}sshd dropped connections from these addresses, whatever their keys{STRONG:#}")?;
    for DroppedConnections { dropped: Dropped { address, times, last_at, reason }, of_this_key } in dropped {
        let times = count(*times, "time", "times");
        let of_this_key = if *of_this_key { ", where this key was refused" } else { "" };
        writeln!(out, "  {last_at}  {address}, {times}: {reason}{of_this_key}")?;
    }
    write_hint(out, Some("pushkeys doctor, which names addresses to exempt (PerSourcePenaltyExemptList)"))
}
