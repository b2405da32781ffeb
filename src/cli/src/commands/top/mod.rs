//! `pushkeys top`: logins and changes as they happen.
//!
//! It follows the system's log, and reads syncd's status.json once a second. It asks nothing of the programs that serve logins, so
//! watching costs them nothing.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use pushkeys_cache::status::Status;

use super::status;
use crate::context::{Context, Outcome};
use crate::log::{Event, Followed, Kind, last_lines};
use crate::output::{BAD, FAINT, GOOD, STRONG, count, with_commas, write_json_line};
use crate::terminal::Screen;

const PAUSE: Duration = Duration::from_secs(1);
/// The events that are kept; a terminal shows fewer.
const EVENTS_MAX: usize = 200;
/// How many events `--once` shows.
const EVENTS_SHOWN_ONCE: usize = 20;

/// What is known so far.
#[derive(Default)]
struct Top {
    /// The newest last, at most [`EVENTS_MAX`].
    events: VecDeque<Event>,
    sessions: u64,
    refused: u64,
    failed: u64,
    /// Each source's keys and cursor when the status was last read.
    sources: BTreeMap<String, (u64, Option<String>)>,
}

/// Shows events until the user leaves.
pub(crate) fn run(context: &Context, log: Option<&Path>, once: bool, out: &mut dyn Write) -> Result<Outcome> {
    let mut top = Top::default();
    if once {
        let (read, lines) = last_lines(log)?;
        for event in lines.iter().filter_map(|line| Event::parse(line)) {
            top.add(event);
        }
        top.read_status(context);
        if context.json {
            top.events.iter().try_for_each(|event| write_json_line(out, event))?;
        } else {
            write!(out, "{}", top.frame(context, EVENTS_SHOWN_ONCE))?;
            writeln!(out, "{FAINT}logins are from {read}{FAINT:#}")?;
        }
        return Ok(Outcome::Yes);
    }
    let mut followed = Followed::begin(log)?;
    top.read_status(context);
    let screen = if context.json { None } else { Screen::open() };
    loop {
        let mut events: Vec<Event> = followed.lines().iter().filter_map(|line| Event::parse(line)).collect();
        events.extend(top.read_status(context));
        if screen.is_none() {
            // A reader of lines gets them at once, and ends this by closing the pipe.
            events.iter().try_for_each(|event| write_event(out, event, context.json))?;
            out.flush()?;
        }
        for event in events {
            top.add(event);
        }
        match &screen {
            None => std::thread::sleep(PAUSE),
            Some(screen) => {
                Screen::show(
                    &top.frame(&Context { now: Timestamp::now(), ..context.clone() }, Screen::size().1),
                )?;
                if screen.is_left_within(PAUSE) {
                    return Ok(Outcome::Yes);
                }
            }
        }
    }
}

fn write_event(out: &mut dyn Write, event: &Event, json: bool) -> io::Result<()> {
    if json { write_json_line(out, event) } else { writeln!(out, "{}", line_of(event)) }
}

impl Top {
    fn add(&mut self, event: Event) {
        match event.kind {
            Kind::Session => self.sessions += 1,
            Kind::Refused => self.refused += 1,
            Kind::Failed => self.failed += 1,
            Kind::Change => {}
        }
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// What has changed in the cache since the last call.
    fn read_status(&mut self, context: &Context) -> Vec<Event> {
        let Ok(status) = Status::read(&context.cache) else { return Vec::new() };
        let sources: BTreeMap<String, (u64, Option<String>)> = status
            .sources
            .iter()
            .map(|source| (source.name.clone(), (source.keys, source.cursor.clone())))
            .collect();
        let events = sources
            .iter()
            .filter_map(|(name, (keys, cursor))| {
                let (keys_before, cursor_before) = self.sources.get(name)?;
                if (keys_before, cursor_before) == (keys, cursor) {
                    return None;
                }
                let cursor = cursor.as_deref().unwrap_or("no cursor");
                let what = format!(
                    "source {}: {}, {} before; at {}",
                    pushkeys_keys::escape(name),
                    count(*keys, "key", "keys"),
                    with_commas(*keys_before),
                    pushkeys_keys::escape(cursor)
                );
                let at = pushkeys_keys::escape(&status.written_at).into_owned();
                Some(Event { at, kind: Kind::Change, login: None, account: None, fingerprint: None, what })
            })
            .collect();
        self.sources = sources;
        events
    }

    /// One screen of `lines` lines.
    fn frame(&self, context: &Context, lines: usize) -> String {
        let mut text = String::new();
        let Self { sessions, refused, failed, .. } = self;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{STRONG}pushkeys top{STRONG:#}  {GOOD}{} let in{GOOD:#}, {} refused, {BAD}{failed} without an answer{BAD:#}",
            with_commas(*sessions),
            with_commas(*refused)
        );
        let overview = status::lines(context).unwrap_or_else(|error| vec![format!("{BAD}{error}{BAD:#}")]);
        for line in &overview {
            let _ = writeln!(text, "{line}");
        }
        let _ = writeln!(text);
        let room = lines.saturating_sub(overview.len() + 4);
        for event in self.events.iter().rev().take(room) {
            let _ = writeln!(text, "{}", line_of(event));
        }
        text
    }
}

fn line_of(event: &Event) -> String {
    let Event { at, kind, login, account, fingerprint, what } = event;
    let (style, word) = match kind {
        Kind::Session => (GOOD, "session"),
        Kind::Refused => (STRONG, "refused"),
        Kind::Failed => (BAD, "failed"),
        Kind::Change => (FAINT, "change"),
    };
    let who: Vec<&str> = [login, account, fingerprint].into_iter().flatten().map(String::as_str).collect();
    format!("{FAINT}{at}{FAINT:#} {style}{word:<7}{style:#} {} {what}", who.join(" "))
}
