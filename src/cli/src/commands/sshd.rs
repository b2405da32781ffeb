//! `pushkeys sshd`: puts the keys of this host in force in sshd for the login `git`, or takes them out of force.
//!
//! The drop-in counts while a link to it is in sshd's own folder. Whatever goes wrong on the way leaves that folder as it was.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use glob::glob;
use pushkeys_keys::{Hint, Hinted, Login, escape};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::doctor::{Helper, Severity, Sshd};
use crate::accounts::{Shadow, User};
use crate::context::{Context, Outcome};
use crate::output::write_json;
use crate::program::{is_root, run as run_program};
use crate::sshd::{Effective, SshdError, Version, read_config_files, test};

/// The login of the drop-in's `Match` block.
const LOGIN: &str = "git";
/// Names of sshd's unit, by distribution.
const UNITS: [&str; 2] = ["ssh.service", "sshd.service"];
/// Present where systemd runs the machine.
const SYSTEMD: &str = "/run/systemd/system";
/// Bound on the words of `AuthorizedKeysFile` that are read; sshd's default has two.
const WORDS_MAX: usize = 32;

/// What to do about sshd.
#[derive(Debug, Subcommand)]
pub(crate) enum SshdCommand {
    /// Let the keys that this host knows open the login `git`, and nothing else
    Enable {
        /// Also where something else lets people in as `git` today, which ends
        #[arg(long)]
        replace: bool,
    },
    /// Let no key of pushkeys open a login
    Disable,
}

/// The files and programs that take part.
#[derive(Debug)]
struct Place {
    sshd: PathBuf,
    config: PathBuf,
    /// The drop-in as the package brings it.
    drop_in: PathBuf,
    /// Where a link to it puts it in force.
    link: PathBuf,
    helper: PathBuf,
}

#[derive(Serialize)]
struct SshdAnswer<'a> {
    login: &'static str,
    drop_in: &'a Path,
    enabled: bool,
    changed: bool,
}

/// Does what `command` says to this machine's sshd.
pub(crate) fn run(context: &Context, command: &SshdCommand, out: &mut dyn io::Write) -> Result<Outcome> {
    if !is_root() {
        bail!(Hinted::new(
            "this changes sshd's settings, which only root may",
            Hint::new("run it with sudo")
        ));
    }
    let place = Place::default();
    let (enabled, changed) = match command {
        SshdCommand::Enable { replace } => (true, place.enable(*replace)?),
        SshdCommand::Disable => (false, place.disable()?),
    };
    if context.json {
        write_json(out, &SshdAnswer { login: LOGIN, drop_in: &place.link, enabled, changed })?;
        return Ok(Outcome::Yes);
    }
    let told = match (enabled, changed) {
        (true, true) => format!("is in force: keys of this host's sources open the login `{LOGIN}`"),
        (true, false) => "is in force already".to_owned(),
        (false, true) => "is gone: no key of pushkeys opens a login".to_owned(),
        (false, false) => "is not there, or not this package's, so nothing was changed".to_owned(),
    };
    writeln!(out, "{} {told}", place.link.display())?;
    Ok(Outcome::Yes)
}

impl Default for Place {
    fn default() -> Self {
        Self {
            sshd: "/usr/sbin/sshd".into(),
            config: "/etc/ssh/sshd_config".into(),
            drop_in: "/usr/share/pushkeys/sshd_config.d/50-pushkeys.conf".into(),
            link: "/etc/ssh/sshd_config.d/50-pushkeys.conf".into(),
            helper: "/usr/libexec/pushkeys/pushkeys-lookup".into(),
        }
    }
}

impl Place {
    /// Whether anything was changed.
    fn enable(&self, replace: bool) -> Result<bool> {
        let login: Login = LOGIN.parse()?;
        if self.is_linked() {
            return self.check_in_force(&login).map(|()| false);
        }
        self.check_free()?;
        let Some(user) = User::find(LOGIN) else {
            let hint = Hint::new("/usr/libexec/pushkeys/prepare-host");
            bail!(Hinted::new(format!("there is no login `{LOGIN}`"), hint));
        };
        test(&self.sshd, &self.config).context("sshd rejects its configuration as it is")?;
        if !replace {
            self.check_ways_in(&user)?;
        }
        let folder = self.link.parent().unwrap_or(Path::new("/"));
        let is_new_folder = !folder.exists();
        fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        symlink(&self.drop_in, &self.link)
            .with_context(|| format!("cannot make `{}`", self.link.display()))?;
        let enabled = self.check_in_force(&login).and_then(|()| self.reload());
        if enabled.is_err() {
            self.unlink()?;
            if is_new_folder {
                // Something else may be in it by now, and stays.
                let _ = fs::remove_dir(folder);
            }
        }
        enabled.context("nothing was changed").map(|()| true)
    }

    /// Whether anything was changed.
    fn disable(&self) -> Result<bool> {
        if !self.is_linked() {
            return Ok(false);
        }
        self.unlink()?;
        self.reload().with_context(|| format!("{} is gone, and sshd was not told", self.link.display()))?;
        Ok(true)
    }

    fn is_linked(&self) -> bool {
        fs::read_link(&self.link).is_ok_and(|target| target == self.drop_in)
    }

    fn unlink(&self) -> Result<()> {
        fs::remove_file(&self.link).with_context(|| format!("cannot remove `{}`", self.link.display()))
    }

    fn check_free(&self) -> Result<()> {
        let (link, drop_in) = (self.link.display(), self.drop_in.display());
        if self.link.symlink_metadata().is_ok() {
            let hint = Hint::new(format!("diff {link} {drop_in}; take it away if it is not needed"));
            bail!(Hinted::new(format!("`{link}` is there and not from this package"), hint));
        }
        if !self.drop_in.exists() {
            let hint = Hint::new("install the package `pushkeys` again");
            bail!(Hinted::new(format!("there is no `{drop_in}`"), hint));
        }
        Ok(())
    }

    fn ask(&self) -> Result<Effective, SshdError> {
        Effective::ask(&self.sshd, &self.config, LOGIN)
    }

    /// Whether sshd asks the helper for the login, and every setting by which a session is tied to its account holds.
    fn check_in_force(&self, login: &Login) -> Result<()> {
        test(&self.sshd, &self.config).context("sshd rejects its configuration with the drop-in")?;
        let effective = self.ask()?;
        let settings = read_config_files(&self.config);
        let groups = User::find(LOGIN).map(|user| user.groups()).unwrap_or_default();
        let version = Version::ask(&self.sshd);
        let sshd = Sshd { effective: &effective, settings: &settings, login, groups: &groups, version };
        if Helper::of(&effective).is_none_or(|helper| helper.program() != self.helper) {
            let command = effective.value("AuthorizedKeysCommand").unwrap_or("none");
            let place = sshd.place("AuthorizedKeysCommand");
            let what =
                format!("sshd does not ask pushkeys-lookup for `{LOGIN}`, but `{}`{place}", escape(command));
            let is_read = settings.iter().any(|setting| setting.file == self.link);
            let hint = if is_read {
                format!("take the lines for `{LOGIN}` out that are read before {}", self.link.display())
            } else {
                let pattern = self.link.with_file_name("*.conf");
                format!(
                    "{} needs `Include {}` before any Match block",
                    self.config.display(),
                    pattern.display()
                )
            };
            bail!(Hinted::new(what, Hint::new(hint)));
        }
        match sshd.check().into_iter().find(|finding| finding.severity == Severity::Error) {
            Some(finding) => {
                let hint = Hint::new("take that line out, or move it below those of the drop-in");
                bail!(Hinted::new(format!("{}: {}", finding.what, finding.why), hint))
            }
            None => Ok(()),
        }
    }

    /// Refuses where something lets people in as the login today, which would end.
    fn check_ways_in(&self, user: &User) -> Result<()> {
        let replace = "pushkeys-sshd enable --replace, which ends that";
        let effective = self.ask()?;
        let is_yes = |keyword| effective.is(keyword, "yes") == Some(true);
        let set = |keyword| effective.value(keyword).filter(|value| *value != "none").map(escape);
        let (what, hint) = if let Some(command) = set("AuthorizedKeysCommand") {
            (format!("login `{LOGIN}` has an AuthorizedKeysCommand already: {command}"), replace.to_owned())
        } else if let Some(file) =
            authorized_keys_files(&effective, user).into_iter().find(|file| is_filled(file))
        {
            let import = "pushkeys-server import --help, to bring its keys to the service";
            (
                format!("`{}` lets people in as `{LOGIN}` today", file.display()),
                format!("{import}; then {replace}"),
            )
        } else if let Some(file) = set("TrustedUserCAKeys") {
            (
                format!("certificates by the keys in `{file}` let people in as `{LOGIN}` today"),
                replace.to_owned(),
            )
        } else if (is_yes("PasswordAuthentication") || is_yes("KbdInteractiveAuthentication"))
            && Shadow::find(LOGIN).is_some_and(|shadow| shadow.has_password())
        {
            (format!("login `{LOGIN}` has a password, and sshd takes passwords today"), replace.to_owned())
        } else {
            return Ok(());
        };
        Err(Hinted::new(what, Hint::new(hint)).into())
    }

    /// Has the running sshd read its configuration again, if one runs: what it has read counts for new connections.
    fn reload(&self) -> Result<()> {
        test(&self.sshd, &self.config)?;
        if Path::new(SYSTEMD).is_dir() {
            let is_active = |unit: &&str| {
                let finished = run_program(Command::new("systemctl").args(["--quiet", "is-active", unit]));
                finished.is_ok_and(|finished| finished.status.success())
            };
            for unit in UNITS.into_iter().filter(is_active) {
                let finished = run_program(Command::new("systemctl").args(["reload", unit]))?;
                if !finished.status.success() {
                    let hint = Hint::new(format!("systemctl status {unit}"));
                    let said = escape(finished.stderr.trim()).into_owned();
                    bail!(Hinted::new(format!("systemd cannot reload {unit}: {said}"), hint));
                }
            }
            return Ok(());
        }
        // A connection of its own for each client, as inetd and ssh.socket start it, reads the files anyway.
        let Some(pid) = self.running()? else { return Ok(()) };
        kill_process(pid, Signal::HUP).context("cannot have sshd read its configuration again")
    }

    /// The sshd that listens, by its own file of that.
    fn running(&self) -> Result<Option<Pid>> {
        let effective = self.ask()?;
        let Some(file) = effective.value("PidFile").filter(|file| *file != "none") else { return Ok(None) };
        let number = fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<i32>().ok());
        let pid = number.and_then(Pid::from_raw);
        // The number may be another program's by now.
        let is_sshd = |pid: &Pid| {
            let name = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
            name.is_ok_and(|name| name.trim() == "sshd")
        };
        Ok(pid.filter(is_sshd))
    }
}

/// The files in which sshd looks for keys of `user`. `sshd -T` prints names with blanks without quotes, so every run of words is
/// tried as one name.
fn authorized_keys_files(effective: &Effective, user: &User) -> Vec<PathBuf> {
    let Some(value) = effective.value("AuthorizedKeysFile").filter(|value| *value != "none") else {
        return Vec::new();
    };
    let words: Vec<&str> = value.split(' ').take(WORDS_MAX).collect();
    let runs = (0..words.len()).flat_map(|begin| (begin + 1..=words.len()).map(move |end| begin..end));
    let home = user.home.to_string_lossy();
    let expand = |pattern: String| {
        let path =
            pattern.replace("%h", &home).replace("%u", &user.name).replace("%U", &user.uid.to_string());
        user.home.join(path.replace("%%", "%"))
    };
    runs.filter_map(|run| words.get(run))
        .map(|run| expand(run.join(" ")))
        .flat_map(|pattern| glob(&pattern.to_string_lossy()).into_iter().flatten().flatten())
        .collect()
}

fn is_filled(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
}
