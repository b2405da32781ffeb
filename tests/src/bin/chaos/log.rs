//! What happened, when: the lines on standard output, all of it in a file, and what was wrong.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many of the last faults a violation names.
const FAULTS_NAMED: usize = 5;
/// What comes and goes is told at most so often.
const SOMETIMES: Duration = Duration::from_secs(5);
/// Violations that are printed; more of them say nothing new.
const PRINTED_MAX: usize = 20;

/// The log of one run, in a folder of its own.
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
    /// When something was told last that comes and goes.
    sometimes: Option<Instant>,
    /// What was told of, without its time.
    seen: BTreeSet<String>,
    /// Logs of programs, copied into the folder when something was wrong.
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

    /// Tells what `actor` did, and how it went.
    pub(crate) fn say(&self, actor: &str, what: &str) {
        println!("{}", self.note(actor, what));
    }

    /// Tells what comes and goes, unless it was told a moment ago; sets `is_told` where it is told.
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

    /// Writes to the file alone. Gives the line.
    pub(crate) fn note(&self, actor: &str, what: &str) -> String {
        let line = format!("[{:8.3}] {actor:<10} {what}", self.began.elapsed().as_secs_f64());
        let _ = writeln!(self.inner().file, "{line}");
        line
    }

    /// Tells that a fault begins.
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

    /// Tells that something that must hold does not, `since` when; once in a fault, however often it is seen.
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

    /// Whether anything was wrong so far.
    pub(crate) fn has_violation(&self) -> bool {
        self.has_violation.load(Ordering::Relaxed)
    }

    /// Keeps the log of a program, called `name`, when something is wrong in the end.
    pub(crate) fn keeps(&self, name: &str, path: PathBuf) {
        self.inner().programs.push((name.to_owned(), path));
    }

    /// Writes a file beside the log.
    pub(crate) fn attach(&self, name: &str, text: &str) {
        let _ = fs::write(self.folder.join(name), text);
    }

    /// Copies the logs of programs, which end with the fleet, beside this one.
    pub(crate) fn copy_logs(&self) {
        for (name, path) in &self.inner().programs {
            let _ = fs::copy(path, self.folder.join(format!("{name}.log")));
        }
    }

    /// Says what was wrong and where to look.
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
