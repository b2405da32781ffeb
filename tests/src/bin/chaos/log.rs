//! The log of a run: lines on standard output, all of them in a file, and the violations.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The number of recent faults that a violation names.
const FAULTS_NAMED: usize = 5;
/// The minimum interval of repeated messages.
const SOMETIMES: Duration = Duration::from_secs(5);
/// The maximum number of printed violations.
const PRINTED_MAX: usize = 20;

/// The log of a run, in its own folder.
#[derive(Debug)]
pub(crate) struct Log {
    began: Instant,
    folder: PathBuf,
    has_violation: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    faults: VecDeque<String>,
    violations: Vec<String>,
    /// The time of the last repeated message.
    sometimes: Option<Instant>,
    /// The reported violations, without their times.
    seen: BTreeSet<String>,
    /// Logs of programs, which are copied into the folder after a violation.
    programs: Vec<(String, PathBuf)>,
}

impl Log {
    /// A log in an empty folder.
    pub(crate) fn open(folder: PathBuf) -> Self {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder in the build directory");
        let file = File::create(folder.join("chaos.log")).expect("own file");
        let inner = Inner {
            file,
            faults: VecDeque::new(),
            violations: Vec::new(),
            sometimes: None,
            seen: BTreeSet::new(),
            programs: Vec::new(),
        };
        Self {
            began: Instant::now(),
            folder,
            has_violation: AtomicBool::new(false),
            inner: Mutex::new(inner),
        }
    }

    /// Logs an action of `actor` and its result.
    pub(crate) fn say(&self, actor: &str, what: &str) {
        println!("{}", self.note(actor, what));
    }

    /// Logs a repeated message, unless one was logged a moment ago; sets `is_told` if it is logged.
    pub(crate) fn say_sometimes(&self, actor: &str, what: &str, is_told: &AtomicBool) {
        {
            let mut inner = self.inner();
            if inner.sometimes.is_some_and(|last| last.elapsed() < SOMETIMES) {
                return;
            }
            inner.sometimes = Some(Instant::now());
        }
        is_told.store(true, Ordering::Relaxed);
        self.say(actor, what);
    }

    /// Logs to the file only. Returns the line.
    pub(crate) fn note(&self, actor: &str, what: &str) -> String {
        let line = format!("[{:8.3}] {actor:<10} {what}", self.began.elapsed().as_secs_f64());
        let _ = writeln!(self.inner().file, "{line}");
        line
    }

    /// Logs the beginning of a fault.
    pub(crate) fn fault(&self, what: &str) {
        self.say("fault", what);
        let line = format!("{:.1} s: {what}", self.began.elapsed().as_secs_f64());
        let mut inner = self.inner();
        inner.seen.clear();
        inner.sometimes = None;
        inner.faults.push_back(line);
        if inner.faults.len() > FAULTS_NAMED {
            inner.faults.pop_front();
        }
    }

    /// Logs a violation since `since`; once in a fault, even if it is detected repeatedly.
    pub(crate) fn violation(&self, actor: &str, what: &str, since: Instant) {
        self.has_violation.store(true, Ordering::Relaxed);
        if !self.inner().seen.insert(format!("{actor} {what}")) {
            return;
        }
        let line =
            self.note(actor, &format!("VIOLATION: {what} (for {:.1} s)", since.elapsed().as_secs_f64()));
        let mut inner = self.inner();
        if inner.violations.len() < PRINTED_MAX {
            println!("{line}");
        }
        inner.violations.push(line);
    }

    /// Whether there was a violation.
    pub(crate) fn has_violation(&self) -> bool {
        self.has_violation.load(Ordering::Relaxed)
    }

    /// Copies the log of a program, called `name`, if there is a violation.
    pub(crate) fn keeps(&self, name: &str, path: PathBuf) {
        self.inner().programs.push((name.to_owned(), path));
    }

    /// Writes a file beside the log.
    pub(crate) fn attach(&self, name: &str, text: &str) {
        let _ = fs::write(self.folder.join(name), text);
    }

    /// Copies the logs of programs, which are removed with the fleet.
    pub(crate) fn copy_logs(&self) {
        for (name, path) in &self.inner().programs {
            let _ = fs::copy(path, self.folder.join(format!("{name}.log")));
        }
    }

    /// The violations, and where to look.
    pub(crate) fn verdict(&self, replay: &str) -> String {
        let inner = self.inner();
        let mut text = String::new();
        let _ = writeln!(text, "{} violations; the first:", inner.violations.len());
        for line in inner.violations.iter().take(3) {
            let _ = writeln!(text, "  {line}");
        }
        let _ = writeln!(text, "the last faults:");
        for fault in &inner.faults {
            let _ = writeln!(text, "  {fault}");
        }
        let _ = write!(text, "logs: {}\nagain: {replay}", self.folder.display());
        text
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
