//! `--check`: what can be said against a configuration without contacting anybody.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use crate::config::{Config, Kind, Settings, UnsafeFile, check_program};
use crate::credentials::Credentials;
use crate::error::chain;
use crate::source::check_directory;

/// One line of the result.
#[derive(Debug, Serialize)]
struct Finding {
    level: Level,
    what: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Error,
}

/// Checks the configuration and the files that it names.
pub(crate) fn run(path: &Path, json: bool) -> ExitCode {
    let findings = match Config::load(path) {
        Ok(config) => of_config(path, &config),
        Err(error) => vec![Finding { level: Level::Error, what: chain(&error) }],
    };
    // A closed pipe is the reader's decision.
    let _ = print(&findings, json);
    let has_error = findings.iter().any(|finding| finding.level == Level::Error);
    if has_error { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn of_config(path: &Path, config: &Config) -> Vec<Finding> {
    let read = format!(
        "`{}` is understood: {} sources, cache in `{}`",
        path.display(),
        config.sources.len(),
        config.cache.display()
    );
    let mut findings = vec![Finding { level: Level::Ok, what: read }];
    for settings in &config.sources {
        findings.push(of_program(settings));
        findings.push(of_source(settings));
    }
    findings.push(Finding {
        level: Level::Ok,
        what: "no source was contacted, and the cache was not opened".to_owned(),
    });
    findings
}

fn of_program(settings: &Settings) -> Finding {
    let name = &settings.name;
    match check_program(&settings.command_text) {
        Ok(()) => Finding {
            level: Level::Ok,
            what: format!("{name}: the program of `command` is there, and only root can replace it"),
        },
        Err(error @ UnsafeFile::Read { .. }) => Finding {
            level: Level::Warning,
            what: format!("{name}: every login fails as long as this does: {}", chain(&error)),
        },
        Err(error) => Finding { level: Level::Error, what: format!("{name}: {}", chain(&error)) },
    }
}

fn of_source(settings: &Settings) -> Finding {
    let name = &settings.name;
    let result = match &settings.kind {
        Kind::Feed(remote) | Kind::Poll { remote, .. } => Credentials::load(remote)
            .map(|_| {
                format!("{name}: {} of `{}`, its credentials can be used", settings.kind_name(), remote.url)
            })
            .map_err(|error| chain(&error)),
        Kind::Directory { path } => check_directory(path)
            .map(|(keys, skipped)| {
                format!("{name}: `{}` holds {keys} keys, and {skipped} lines are left out", path.display())
            })
            .map_err(|error| chain(&error)),
    };
    match result {
        Ok(what) => Finding { level: Level::Ok, what },
        Err(what) => Finding { level: Level::Error, what: format!("{name}: {what}") },
    }
}

fn print(findings: &[Finding], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, findings)?;
        return writeln!(out);
    }
    for Finding { level, what } in findings {
        let level = match level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        writeln!(out, "{level}: {what}")?;
    }
    Ok(())
}
