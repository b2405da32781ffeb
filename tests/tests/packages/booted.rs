//! A machine booted by its own systemd, with its own network, which has only loopback.

use std::path::Path;
use std::process::Command;

use pushkeys_tests::{Finished, Process, as_user, eventually, run, run_within, until};

use crate::root::{Machine, PATH, STEP_TIME_MAX, succeeded};

/// Starts systemd-nspawn in control groups that systemd can manage.
const BOOT: &str = r#"
name="$1"
shift
if [ ! -d /run/systemd/system ]; then
    # Without delegation here, a systemd that starts at the root would take over all control groups.
    for groups in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
        [ -e "$groups/cgroup.procs" ] || continue
        mkdir -p "$groups/$name"
        echo $$ >"$groups/$name/cgroup.procs"
    done
    set -- --keep-unit "$@"
fi
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec systemd-nspawn --machine="$name" "$@"
"#;

/// The running machine.
pub(crate) struct Booted<'a> {
    machine: &'a Machine,
    nspawn: Process,
    name: String,
    /// The process id of its first process, on the host.
    first: String,
}

impl<'a> Booted<'a> {
    /// Boots `machine`, and waits until its units have started.
    pub(crate) fn boot(machine: &'a Machine) -> Self {
        let name = format!("pushkeys-test-{}", std::process::id());
        let mut command = as_user("root", "sh");
        command.args(["-euc", BOOT, "sh", &name, "--boot", "--register=no", "--private-network"]);
        command.args([
            "--quiet",
            "--console=pipe",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
        ]);
        command.arg("--directory").arg(machine.path("/"));
        let nspawn = Process::spawn("systemd-nspawn", command, &machine.path("/boot.log"));
        let mut booted = Self { machine, nspawn, name, first: String::new() };
        booted.waits_for_its_units();
        booted
    }

    fn waits_for_its_units(&mut self) {
        let parent = self.nspawn.pid().to_string();
        self.first = eventually("the machine has booted", || {
            assert!(self.nspawn.ended().is_none(), "systemd-nspawn ended: {}", self.nspawn.log());
            let children = run(Command::new("pgrep").args(["--parent", &parent, "--exact", "systemd"]));
            children.stdout.lines().next().map(str::to_owned)
        });
        until("the units have started", || {
            let state = self.tries(&["systemctl", "is-system-running"]).stdout;
            // Other problems of a root folder in a container are not relevant.
            ["running", "degraded"].contains(&state.trim())
        });
    }

    /// Reboots it.
    pub(crate) fn reboots(self) -> Self {
        let machine = self.machine;
        self.ends();
        Self::boot(machine)
    }

    /// Shuts it down.
    pub(crate) fn ends(mut self) {
        let _ = self.nspawn.stop();
    }

    /// Runs `words` in the machine, as root.
    #[track_caller]
    pub(crate) fn tries(&self, words: &[&str]) -> Finished {
        let mut command = as_user("root", "nsenter");
        command.args([
            "--target",
            &self.first,
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--cgroup",
            "--",
        ]);
        command.args(words).env("PATH", PATH).env("HOME", "/root").env("DEBIAN_FRONTEND", "noninteractive");
        run_within(&mut command, STEP_TIME_MAX)
    }

    /// Runs `script` in the machine, as root; panics unless it succeeds.
    #[track_caller]
    pub(crate) fn runs(&self, script: &str) -> String {
        succeeded(&[script], self.tries(&["bash", "-euc", script]))
    }

    /// Installs our package `file`.
    #[track_caller]
    pub(crate) fn installs(&self, file: &Path) {
        let inside = self.machine.receives(file, "/var/cache");
        self.runs(&format!("dpkg --install {inside}"));
    }

    /// The value of `unit`'s `property`.
    #[track_caller]
    pub(crate) fn property(&self, unit: &str, property: &str) -> String {
        self.runs(&format!("systemctl show --property {property} --value {unit}")).trim().to_owned()
    }
}

impl Drop for Booted<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.tries(&["journalctl", "--no-pager", "--lines", "60"]).stdout);
        }
        self.nspawn.kill();
        let mut remove = Command::new("find");
        remove.args(["/sys/fs/cgroup", "-depth", "-type", "d", "-path", &format!("*/{}*", self.name)]);
        let _ = run(remove.args(["-exec", "rmdir", "{}", ";"]));
    }
}
