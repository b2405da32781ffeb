//! What is wrong with a configuration and the files that it names. Sources are contacted only on request.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use pushkeys_keys::ErrorReport;
use serde::Serialize;

use super::contact::{self, Sample};
use crate::config::{self, Config, SourceKind, SourceSettings, UnsafeFile, check_program};
use crate::remote::credentials::Credentials;
use crate::source::key_files;
use crate::validate::Validator;

/// Certificates, tokens and expiries depend on clocks; one that is off by more than this will be noticed.
const CLOCK_DIFFERENCE_S_MAX: u64 = 5;

/// One line of the result.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    what: String,
    /// A key that the source has, where one was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<Sample>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Error,
}

/// Checks the configuration and the files that it names.
pub(super) async fn run(path: &Path, contact: bool, json: bool) -> ExitCode {
    let findings = match config::load(path) {
        Ok(config) => config_findings(path, &config, contact).await,
        Err(error) => vec![Finding::new(Level::Error, ErrorReport::of(&error).to_string())],
    };
    // A closed pipe is the reader's decision.
    let _ = print(&findings, json);
    let has_error = findings.iter().any(|finding| finding.level == Level::Error);
    if has_error { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn config_findings(path: &Path, config: &Config, contact: bool) -> Vec<Finding> {
    let read = format!(
        "`{}` is understood: {} sources, cache in `{}`",
        path.display(),
        config.sources.len(),
        config.cache.display()
    );
    let mut findings = vec![Finding::new(Level::Ok, read)];
    for settings in &config.sources {
        findings.push(program_finding(settings));
        let source = source_finding(settings);
        let is_usable = source.level != Level::Error;
        findings.push(source);
        if contact && is_usable {
            findings.extend(contact_findings(settings).await);
        }
    }
    if !contact {
        let what = "no source was contacted, and the cache was not opened".to_owned();
        findings.push(Finding::new(Level::Ok, what));
    }
    findings
}

async fn contact_findings(settings: &SourceSettings) -> Vec<Finding> {
    let name = &settings.name;
    match contact::ask(settings).await {
        Ok(None) => Vec::new(),
        Ok(Some(contact)) => {
            let what = format!("{name}: it answers, and takes this host's credentials");
            let answers = Finding { sample: contact.sample, ..Finding::new(Level::Ok, what) };
            let ahead = contact.clock_ahead_s.filter(|ahead| ahead.unsigned_abs() > CLOCK_DIFFERENCE_S_MAX);
            let clock = ahead.map(|ahead| {
                let direction = if ahead > 0 { "ahead of" } else { "behind" };
                let seconds = ahead.unsigned_abs();
                let what = format!(
                    "{name}: this host's clock is {seconds} s {direction} the source's; hint: timedatectl set-ntp true"
                );
                Finding::new(Level::Warning, what)
            });
            [Some(answers), clock].into_iter().flatten().collect()
        }
        Err(error) => vec![Finding::new(Level::Error, format!("{name}: {}", ErrorReport::of(&error)))],
    }
}

fn program_finding(settings: &SourceSettings) -> Finding {
    let name = &settings.name;
    let (level, what) = match check_program(&settings.command_text) {
        Ok(()) => (Level::Ok, "the program of `command` is there, and only root can replace it".to_owned()),
        Err(error @ UnsafeFile::Read { .. }) => {
            (Level::Warning, format!("every login fails as long as this does: {}", ErrorReport::of(&error)))
        }
        Err(error) => (Level::Error, ErrorReport::of(&error).to_string()),
    };
    Finding::new(level, format!("{name}: {what}"))
}

fn source_finding(settings: &SourceSettings) -> Finding {
    let name = &settings.name;
    let result = match &settings.kind {
        SourceKind::Feed(remote) | SourceKind::Poll { remote, .. } => Credentials::load(remote)
            .map(|_| {
                format!("{name}: {} of `{}`, its credentials can be used", settings.kind_name(), remote.url)
            })
            .map_err(|error| ErrorReport::of(&error).to_string()),
        SourceKind::Directory { path } => key_files::read(path, &Validator::of(settings))
            .map(|keys| {
                let (keys, skipped) = (keys.entries.len(), keys.skipped.len());
                format!("{name}: `{}` holds {keys} keys, and {skipped} lines are left out", path.display())
            })
            .map_err(|error| ErrorReport::of(&error).to_string()),
    };
    match result {
        Ok(what) => Finding::new(Level::Ok, what),
        Err(what) => Finding::new(Level::Error, format!("{name}: {what}")),
    }
}

impl Finding {
    fn new(level: Level, what: String) -> Self {
        Self { level, what, sample: None }
    }
}

fn print(findings: &[Finding], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, findings)?;
        return writeln!(out);
    }
    for Finding { level, what, .. } in findings {
        let level = match level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        writeln!(out, "{level}: {what}")?;
    }
    Ok(())
}
