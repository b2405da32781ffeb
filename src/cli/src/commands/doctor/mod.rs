//! `pushkeys doctor`: whether this host is set up so that logins work, and only for accounts.
//!
//! It asks sshd for the settings in force, the helper for answers, and the daemon's own `check` about its sources. It changes
//! nothing: each finding says what is wrong, why it matters, and which command fixes it.

mod access;
mod advisories;
pub(crate) mod daemon;
mod finding;
mod helper;
mod host_keys;
mod options;
mod paths;
mod settings;
mod users;

pub(super) use finding::Severity;
pub(super) use helper::Helper;
pub(super) use settings::Sshd;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use anyhow::Result;
use pushkeys_cache::status::Status;
use serde::Serialize;

use crate::accounts::{Shadow, User};
use crate::context::{Context, Outcome};
use crate::log::last_lines;
use crate::output::{BAD, FAINT, GOOD, STRONG, WARN, count, write_json};
use crate::program::{as_user, is_root, run as run_program};
use crate::sshd::{Effective, Package, Setting, Version, read_config_files};
use finding::Finding;
pub(crate) use options::{DoctorOptions, SyncdOptions};

/// The drop-in as packages install it.
const DROP_IN: &str = include_str!("../../../../../packaging/sshd_config.d/50-pushkeys.conf");
/// The forced command, beside the helper.
const SHELL: &str = "pushkeys-shell";

/// What the doctor found.
#[derive(Serialize)]
struct DoctorReport<'a> {
    ok: bool,
    login: &'a str,
    sshd: Option<String>,
    findings: &'a [Finding],
}

/// Examines the host, and writes what it found.
pub(crate) fn run(context: &Context, options: &DoctorOptions, out: &mut dyn io::Write) -> Result<Outcome> {
    if options.drop_in {
        out.write_all(DROP_IN.as_bytes())?;
        return Ok(Outcome::Yes);
    }
    let version = Version::ask(&options.sshd);
    let mut findings = examine(context, options, version);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let worst = findings.iter().map(|finding| finding.severity).max();
    if context.json {
        let sshd = version.map(|version| version.to_string());
        let ok = worst.is_none_or(|worst| worst == Severity::Note);
        write_json(out, &DoctorReport { ok, login: options.login.as_str(), sshd, findings: &findings })?;
    } else {
        write_text(out, options, version, &findings)?;
    }
    Ok(match worst {
        Some(Severity::Error) => Outcome::No,
        Some(Severity::Warning) => Outcome::Doubtful,
        Some(Severity::Note) | None => Outcome::Yes,
    })
}

fn examine(context: &Context, options: &DoctorOptions, version: Option<Version>) -> Vec<Finding> {
    let mut findings = settings::of_version(version);
    if !is_root() {
        let what = "this is not root, so some things could not be looked at";
        let why = "sshd reads its keys, and the helper's user is root's to become";
        findings.push(Finding::warning("not-root", what, why).cured_by("sudo pushkeys doctor"));
    }
    let (of_daemon, mut samples) = daemon::check_sources(context, options);
    let helper = match Effective::ask(&options.sshd, &options.sshd_config, options.login.as_str()) {
        Ok(effective) => {
            let settings = read_config_files(&options.sshd_config);
            let groups = User::find(options.login.as_str()).map(|user| user.groups()).unwrap_or_default();
            let (login, effective, settings) = (&options.login, &effective, &settings);
            let sshd = Sshd { effective, settings, login, groups: &groups, version };
            findings.extend(examine_sshd(context, options, &sshd));
            findings.extend(examine_users(context, options, effective));
            Helper::of(effective)
        }
        Err(error) => {
            let why = "an sshd that cannot read its configuration does not start again";
            findings.push(Finding::of_error("sshd", &error, why));
            None
        }
    };
    findings.extend(examine_files(options));
    findings.extend(daemon::check_status(context, options));
    findings.extend(daemon::check_clock(context));
    findings.extend(daemon::check_room(context));
    findings.extend(of_daemon);
    // A helper that is started wrongly answers wrongly: one finding is enough.
    let is_startable =
        !findings.iter().any(|finding| matches!(finding.check, "command-tokens" | "command-user"));
    if let Some(helper) = helper.filter(|_| is_startable) {
        if samples.is_empty() {
            samples.extend(daemon::any_key(context));
        }
        findings.extend(helper::check_answers(context, options, &helper, &samples));
    }
    findings
}

fn examine_sshd(context: &Context, options: &DoctorOptions, sshd: &Sshd<'_>) -> Vec<Finding> {
    let mut findings = helper::check(context, sshd, options);
    findings.extend(sshd.check());
    // Without a log nothing is known of addresses, which others than root may not read.
    let lines = last_lines(options.log.as_deref()).map(|(_, lines)| lines).unwrap_or_default();
    findings.extend(access::check(sshd, &lines, &options.sshd_config));
    if let Some(version) = sshd.version {
        findings.extend(advisories::check(version, Package::of(&options.sshd).as_ref(), sshd.effective));
    }
    if let Ok(status) = Status::read(&context.cache) {
        let sources = status.sources.iter();
        let services: Vec<_> =
            sources.filter_map(|source| Some((source.name.as_str(), source.host_keys.as_ref()?))).collect();
        findings.extend(host_keys::check(sshd.effective, &services, &status.config));
    }
    let files: BTreeSet<&Path> = sshd
        .settings
        .iter()
        .map(|Setting { file, .. }| file.as_path())
        .chain([options.sshd_config.as_path()])
        .collect();
    findings.extend(files.into_iter().flat_map(|file| paths::check_file("sshd-config", file)));
    if let Ok(root) = Effective::ask(&options.sshd, &options.sshd_config, "root") {
        findings.extend(helper::check_root(&root, sshd));
    }
    findings
}

fn examine_users(context: &Context, options: &DoctorOptions, effective: &Effective) -> Vec<Finding> {
    let mut findings = Vec::new();
    let login = options.login.as_str();
    let user = User::find(login);
    match &user {
        Some(user) => {
            let shadow = Shadow::find(login);
            let uses_pam = effective.is("UsePAM", "yes") == Some(true);
            findings.extend(users::check_login(user, shadow.as_ref(), uses_pam, context.now));
            findings.extend(users::check_home(user));
            findings.extend(users::check_nologin(&users::NO_LOGINS.map(Path::new)));
        }
        None => findings.push(
            Finding::error("login-user", format!("there is no user `{login}`"), "sshd refuses logins that are no user's")
                .cured_by(format!(
                    "useradd --system --user-group --groups pushkeys --no-create-home --home-dir /var/lib/pushkeys/git \
                     --shell /bin/sh --password '*' {login}"
                )),
        ),
    }
    let helper = Helper::of(effective).and_then(|helper| User::find(&helper.user));
    let readers: Vec<&User> = user.iter().chain(&helper).collect();
    findings.extend(daemon::check_access(context, &readers));
    findings
}

fn examine_files(options: &DoctorOptions) -> Vec<Finding> {
    let mut findings = paths::check_file("shell-config", &options.shell_config);
    let shell = options.helper.with_file_name(SHELL);
    if shell.exists() {
        findings.extend(paths::check_program("shell-path", &shell));
        // Without a file git is not set up, which is an operator's choice.
        if is_root() && findings.is_empty() && options.shell_config.exists() {
            findings.extend(check_shell(options, &shell));
        }
    }
    findings
}

/// Has the forced command itself check what it reads and starts, as the login.
fn check_shell(options: &DoctorOptions, shell: &Path) -> Vec<Finding> {
    let why = "users cannot push, clone or fetch as long as this is so, or what they push is not deployed";
    let mut command = as_user(options.login.as_str(), shell);
    let finished = match run_program(command.arg("--check").arg(&options.shell_config)) {
        Ok(finished) => finished,
        Err(error) => return vec![Finding::of_error("shell-config", &error, why)],
    };
    let mut findings: Vec<Finding> = Vec::new();
    for line in finished.stdout.lines() {
        match (line.strip_prefix("hint: "), findings.pop()) {
            (Some(hint), Some(finding)) => findings.push(finding.cured_by(pushkeys_keys::escape(hint))),
            (_, last) => {
                findings.extend(last);
                findings.push(Finding::error("shell-config", pushkeys_keys::escape(line), why));
            }
        }
    }
    if findings.is_empty() && !finished.status.success() {
        let what = format!("`{} --check` ended with {}", shell.display(), finished.ending());
        findings.push(Finding::error("shell-config", what, why));
    }
    findings
}

fn write_findings(out: &mut dyn io::Write, findings: &[Finding]) -> io::Result<()> {
    for Finding { severity, check, what, why, cure } in findings {
        let (style, word) = match severity {
            Severity::Error => (BAD, "error"),
            Severity::Warning => (WARN, "warning"),
            Severity::Note => (FAINT, "note"),
        };
        writeln!(out, "{style}{word}:{style:#} {STRONG}{what}{STRONG:#} {FAINT}[{check}]{FAINT:#}")?;
        writeln!(out, "  why:  {why}")?;
        if let Some(cure) = cure {
            writeln!(out, "  cure: {cure}")?;
        }
    }
    Ok(())
}

/// What is printed of `problems`, and whether that makes the answer no.
#[cfg(test)]
pub(super) fn text_of_problems(problems: Vec<super::status::Problem>) -> (String, bool) {
    let findings: Vec<Finding> = problems.into_iter().map(daemon::of_problem).collect();
    let mut text = Vec::new();
    // Writing to memory cannot fail.
    let _ = write_findings(&mut text, &findings);
    (
        String::from_utf8_lossy(&text).into_owned(),
        findings.iter().any(|finding| finding.severity == Severity::Error),
    )
}

fn write_text(
    out: &mut dyn io::Write,
    options: &DoctorOptions,
    version: Option<Version>,
    findings: &[Finding],
) -> io::Result<()> {
    write_findings(out, findings)?;
    let of = |wanted| findings.iter().filter(|finding| finding.severity == wanted).count() as u64;
    let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
    let version =
        version.map_or_else(|| "of a version that cannot be told".to_owned(), |version| version.to_string());
    if errors + warnings == 0 {
        return writeln!(
            out,
            "{GOOD}nothing is wrong{GOOD:#} with login `{}` at sshd {version}",
            options.login
        );
    }
    let style = if errors > 0 { BAD } else { WARN };
    writeln!(
        out,
        "{style}{}, {}{style:#}; after a change of sshd's settings: sshd -t && systemctl reload ssh",
        count(errors, "error", "errors"),
        count(warnings, "warning", "warnings")
    )
}
