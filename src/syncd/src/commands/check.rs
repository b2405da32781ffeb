//! What is wrong with a configuration and the files that it names. Sources are contacted only on request.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use pushkeys_files::{ReadFileError, Trust};
use pushkeys_keys::ErrorReport;
use serde::Serialize;

use super::contact::{self, Extent, Sample, WholeContact};
use crate::config::{self, Config, SourceKind, SourceSettings};
use crate::remote::credentials::Credentials;
use crate::source::key_files;
use crate::validate::Validator;

/// Certificates, tokens and expiries depend on clocks; one that is off by more than this will be noticed.
const CLOCK_DIFFERENCE_S_MAX: u64 = 5;

/// One line of the result.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    #[serde(flatten)]
    report: ErrorReport,
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
pub(super) async fn run(path: &Path, contact: Option<Extent>, json: bool) -> ExitCode {
    let findings = match config::load(path) {
        Ok(config) => config_findings(path, &config, contact).await,
        Err(error) => vec![Finding::wrong(Level::Error, ErrorReport::of(&error))],
    };
    // A closed pipe is the reader's decision.
    let _ = print(&findings, json);
    let has_error = findings.iter().any(|finding| finding.level == Level::Error);
    if has_error { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn config_findings(path: &Path, config: &Config, contact: Option<Extent>) -> Vec<Finding> {
    let read = format!(
        "`{}` is understood: {} sources, cache in `{}`",
        path.display(),
        config.sources.len(),
        config.cache.display()
    );
    let mut findings = vec![Finding::ok(&read)];
    for settings in &config.sources {
        findings.push(program_finding(settings));
        let source = source_finding(settings);
        let is_usable = source.level != Level::Error;
        findings.push(source);
        if let Some(extent) = contact.filter(|_| is_usable) {
            findings.extend(contact_findings(settings, extent).await);
        }
    }
    if contact.is_none() {
        findings.push(Finding::ok("no source was contacted, and the cache was not opened"));
    }
    findings
}

async fn contact_findings(settings: &SourceSettings, extent: Extent) -> Vec<Finding> {
    let name = &settings.name;
    match contact::ask(settings, extent).await {
        Ok(None) => Vec::new(),
        Ok(Some(contact)) => {
            let what = format!("{name}: it answers, and takes this host's credentials");
            let answers = Finding { sample: contact.sample, ..Finding::ok(&what) };
            let ahead = contact.clock_ahead_s.filter(|ahead| ahead.unsigned_abs() > CLOCK_DIFFERENCE_S_MAX);
            let clock = ahead.map(|ahead| {
                let direction = if ahead > 0 { "ahead of" } else { "behind" };
                let seconds = ahead.unsigned_abs();
                let what = format!("{name}: this host's clock is {seconds} s {direction} the source's");
                Finding::wrong(Level::Warning, ErrorReport::hinted(&what, "timedatectl set-ntp true"))
            });
            let mut findings: Vec<Finding> = [Some(answers), clock].into_iter().flatten().collect();
            findings.extend(contact.whole.iter().flat_map(|whole| whole_findings(settings, whole)));
            findings
        }
        Err(error) => vec![Finding::wrong(Level::Error, ErrorReport::of(&error).within(name))],
    }
}

fn whole_findings(settings: &SourceSettings, whole: &WholeContact) -> Vec<Finding> {
    let name = &settings.name;
    let WholeContact { position, entries, skipped, stream } = whole;
    let cursor = &position.cursor;
    let mut findings = vec![if skipped.count == 0 {
        Finding::ok(&format!(
            "{name}: its snapshot of change `{cursor}` is whole, and each of {entries} entries can be used"
        ))
    } else {
        let first = skipped.first.first().map(|skip| format!("; the first: {skip}")).unwrap_or_default();
        let what = format!(
            "{name}: its snapshot of change `{cursor}` is whole, and {} of {entries} entries are left out{first}",
            skipped.count
        );
        Finding::wrong(Level::Warning, ErrorReport::hinted(&what, "fix them at the source"))
    }];
    if let Some(stream) = stream {
        findings.push(Finding::ok(&format!(
            "{name}: its stream of changes goes on from the snapshot, with {stream}, and resets a host that it does not know"
        )));
    }
    findings
}

fn program_finding(settings: &SourceSettings) -> Finding {
    let name = &settings.name;
    match pushkeys_files::check_program(settings.program(), Trust::ROOT_OR_SELF) {
        Ok(()) => {
            Finding::ok(&format!("{name}: the program of `command` is there, and only root can replace it"))
        }
        Err(error @ ReadFileError::Io { .. }) => {
            let context = format!("{name}: every login fails as long as this does");
            Finding::wrong(Level::Warning, ErrorReport::of(&error).within(context))
        }
        Err(error) => Finding::wrong(Level::Error, ErrorReport::of(&error).within(name)),
    }
}

fn source_finding(settings: &SourceSettings) -> Finding {
    let name = &settings.name;
    let result = match &settings.kind {
        SourceKind::Feed(remote) | SourceKind::Poll { remote, .. } => Credentials::load(remote)
            .map(|_| {
                format!("{name}: {} of `{}`, its credentials can be used", settings.kind_name(), remote.url)
            })
            .map_err(|error| ErrorReport::of(&error)),
        SourceKind::Directory { path } => key_files::read(path, &Validator::of(settings), |_| Ok(Vec::new()))
            .map(|keys| {
                let (keys, skipped) = (keys.entries.len(), keys.skipped.len());
                format!("{name}: `{}` holds {keys} keys, and {skipped} lines are left out", path.display())
            })
            .map_err(|error| ErrorReport::of(&error)),
    };
    match result {
        Ok(what) => Finding::ok(&what),
        Err(report) => Finding::wrong(Level::Error, report.within(name)),
    }
}

impl Finding {
    fn ok(what: &str) -> Self {
        Self { level: Level::Ok, report: ErrorReport::of_message(what), sample: None }
    }

    fn wrong(level: Level, report: ErrorReport) -> Self {
        Self { level, report, sample: None }
    }
}

fn print(findings: &[Finding], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, findings)?;
        return writeln!(out);
    }
    for Finding { level, report, .. } in findings {
        let level = match level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        writeln!(out, "{level}: {report}")?;
    }
    Ok(())
}
