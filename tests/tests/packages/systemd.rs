//! The promises of the units, tested with the real systemd: from the packages' installation to their removal.

use pushkeys_tests::until;

use crate::booted::Booted;
use crate::made::{BEFORE, deb};
use crate::root::{Debian, Machine};
use crate::{NO_PORT, key_kinds};

const UNITS: [&str; 2] = ["pushkeys-syncd.service", "pushkeys-server.service"];
/// As in `units.rs`, but for running units, including the distribution's drop-ins.
const EXPOSURE_MAX: &str = "15";
const SSH: &str = "ssh -i /root/ana -o BatchMode=yes -o StrictHostKeyChecking=accept-new git@127.0.0.1";

#[test]
fn systemd_of_debian_12_runs_a_service_and_a_host_as_the_units_require() {
    a_service_and_a_host_in_one_machine(Debian::Bookworm);
}

#[test]
fn systemd_and_sshd_of_debian_13_run_a_service_and_a_host() {
    a_service_and_a_host_in_one_machine(Debian::Trixie);
}

#[test]
fn systemd_and_sshd_of_the_next_debian_run_a_service_and_a_host() {
    a_service_and_a_host_in_one_machine(Debian::Forky);
}

fn a_service_and_a_host_in_one_machine(debian: Debian) {
    let machine = Machine::copy(debian, NO_PORT);
    let booted = Booted::boot(&machine);
    packages_start_the_right_units(&booted);
    a_host_with_a_token_gets_a_key(&booted);
    a_login_with_a_key_is_logged_in_the_journal(&booted);
    let verdict = doctor_knows_where_it_is(&booted, debian);
    key_kinds::each_logs_in_and_pushes(&machine, &booted, debian, &verdict);
    units_are_confined(&booted);
    a_daemon_that_hangs_is_restarted(&booted);
    a_restart_of_the_service_refuses_no_request(&booted);
    let booted = booted.reboots();
    the_daemon_is_ready_before_sshd_starts(&booted);
    removal_stops_everything(&booted);
    booted.ends();
}

fn packages_start_the_right_units(booted: &Booted) {
    booted.installs(&deb("pushkeys", BEFORE));
    booted.installs(&deb("pushkeys-server", BEFORE));
    booted.runs("systemctl is-enabled pushkeys-syncd.service");
    until("the daemon is ready", || booted.property("pushkeys-syncd.service", "ActiveState") == "active");
    assert_eq!(
        booted.property("pushkeys-server.service", "ActiveState"),
        "inactive",
        "until the first request"
    );
    booted.runs("systemctl enable --now pushkeys-server.service");
    assert_eq!(booted.property("pushkeys-server.socket", "ActiveState"), "active");
}

/// As in docs/operating.md: the token belongs to root, mode 0600, and systemd passes it on.
fn a_host_with_a_token_gets_a_key(booted: &Booted) {
    booted.runs(
        r"
        ssh-keygen -q -t ed25519 -N '' -C laptop -f /root/ana
        as_service='runuser -u pushkeys-server -- pushkeys-server'
        $as_service account add ana
        $as_service import --authorized-keys-of ana - </root/ana.pub
        install -m 0600 /dev/null /etc/pushkeys/host.token
        $as_service host add push-1 >/etc/pushkeys/host.token
        sed -i -e '/^# A key service/,/^$/ s/^#\([[a-z]\)/\1/' -e 's,https://keys.example.com,http://127.0.0.1:8080,' \
            /etc/pushkeys/syncd.toml
        systemctl restart pushkeys-syncd.service
        pushkeys-syncd check",
    );
    until("the key is in force", || booted.runs("pushkeys list").contains("laptop"));
    for user in ["git", "pushkeys-lookup", "pushkeys-server"] {
        let peek = format!(
            "runuser -u {user} -- cat /etc/pushkeys/host.token /run/credentials/pushkeys-syncd.service/*"
        );
        let finished = booted.tries(&["sh", "-c", &peek]);
        assert!(finished.stdout.is_empty(), "the token is secret: {user}");
    }
}

fn a_login_with_a_key_is_logged_in_the_journal(booted: &Booted) {
    booted.runs("pushkeys-sshd enable");
    booted.runs("install -m 0644 /usr/share/doc/pushkeys/examples/shell.toml /etc/pushkeys/shell.toml");
    booted.runs("install -d -o git -g git -m 0750 /srv/git");
    until("sshd has read its configuration again", || is_greeted(booted));
    booted.runs(
        r"
        git init --quiet --initial-branch=main /root/app
        cd /root/app
        git -c user.name=ana -c user.email=ana@example.com commit --quiet --allow-empty --message=first
        GIT_SSH_COMMAND='ssh -i /root/ana -o BatchMode=yes' git push ssh://git@127.0.0.1/app.git main",
    );
    assert!(!booted.tries(&["sh", "-c", &format!("{SSH} 'rm -rf /srv'")]).status.success());
    booted.runs("ssh-keygen -q -t ed25519 -N '' -f /root/stranger");
    let stranger = SSH.replace("/root/ana", "/root/stranger -o IdentitiesOnly=yes");
    assert!(!booted.tries(&["sh", "-c", &stranger]).status.success());
    until("the journal has the stranger's key", || {
        booted
            .tries(&["pushkeys", "explain", "git", "/root/stranger.pub"])
            .stdout
            .contains("Failed publickey for git")
    });
    until("the journal has the line", || {
        let (top, explained) =
            (booted.runs("pushkeys top --once"), booted.runs("pushkeys explain git /root/ana.pub"));
        let is_told = top.contains("asked=git-receive-pack repository=app");
        is_told && explained.contains("from the journal") && explained.contains("command=rm -rf /srv")
    });
}

fn is_greeted(booted: &Booted) -> bool {
    booted.tries(&["sh", "-c", SSH]).stdout.contains("your key works")
}

fn doctor_knows_where_it_is(booted: &Booted, debian: Debian) -> String {
    let said = booted.runs("pushkeys doctor");
    let sshd = format!("sshd {}", debian.openssh());
    assert!(said.contains("nothing is wrong") && said.contains(&sshd), "{said}");
    said.lines().last().unwrap_or_default().to_owned()
}

fn units_are_confined(booted: &Booted) {
    for unit in UNITS {
        booted.runs(&format!("systemd-analyze security --no-pager --threshold={EXPOSURE_MAX} {unit}"));
        let process = booted.property(unit, "MainPID");
        let status = booted.runs(&format!("cat /proc/{process}/status"));
        for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapBnd:\t0000000000000000"] {
            assert!(status.contains(line), "{unit}: {line}: {status}");
        }
        let cannot = |what: &str| {
            let script = format!("nsenter --target {process} --mount {what}");
            let finished = booted.tries(&["sh", "-c", &script]);
            assert!(!finished.status.success(), "{unit} cannot {what}: {finished:?}");
            finished.stderr
        };
        assert!(cannot("touch /usr/bin/intruder").contains("Read-only file system"));
        assert!(cannot("touch /etc/pushkeys/intruder").contains("Read-only file system"));
        let _ = cannot("ls /root/ana");
    }
    let inside = booted.property("pushkeys-syncd.service", "MainPID");
    booted.runs(&format!("nsenter --target {inside} --mount test -w /var/lib/pushkeys/cache"));
}

/// A stopped process is silent, like one that hangs.
fn a_daemon_that_hangs_is_restarted(booted: &Booted) {
    let place = "/run/systemd/system/pushkeys-syncd.service.d";
    booted.runs(&format!(
        "mkdir -p {place}
        printf '[Service]\\nWatchdogSec=3s\\nTimeoutAbortSec=1s\\n' >{place}/quick.conf
        systemctl daemon-reload
        systemctl restart pushkeys-syncd.service
        kill -STOP \"$(systemctl show --property MainPID --value pushkeys-syncd.service)\""
    ));
    until("systemd has restarted it", || {
        booted.property("pushkeys-syncd.service", "NRestarts") != "0"
            && booted.property("pushkeys-syncd.service", "ActiveState") == "active"
    });
    assert!(booted.runs("journalctl --no-pager -u pushkeys-syncd").contains("Watchdog timeout"));
    booted.runs(&format!("rm -r {place}; systemctl daemon-reload; systemctl restart pushkeys-syncd.service"));
    assert!(is_greeted(booted));
}

fn a_restart_of_the_service_refuses_no_request(booted: &Booted) {
    let visits = booted.runs(
        r"
        {
            count=0
            until [ -e /run/over ]; do
                (exec 3<>/dev/tcp/127.0.0.1/8080) || exit 1
                count=$((count + 1))
            done
            echo $count
        } &
        for time in 1 2 3; do systemctl restart pushkeys-server.service; done
        touch /run/over
        wait $!",
    );
    assert!(visits.trim().parse::<u32>().expect("a number") > 3, "{visits}");
}

fn the_daemon_is_ready_before_sshd_starts(booted: &Booted) {
    let ready = booted.property("pushkeys-syncd.service", "ActiveEnterTimestampMonotonic");
    let sshd = booted.property("ssh.service", "ExecMainStartTimestampMonotonic");
    let (ready, sshd) = (ready.parse::<u64>().expect("µs"), sshd.parse::<u64>().expect("µs"));
    assert!(0 < ready && ready <= sshd, "{ready} {sshd}");
    assert!(is_greeted(booted));
    until("the service has recovered, too", || {
        booted.runs("pushkeys status").contains("nothing is wrong")
            && booted.property("pushkeys-server.service", "ActiveState") == "active"
    });
}

fn removal_stops_everything(booted: &Booted) {
    booted.runs("dpkg --remove pushkeys pushkeys-server");
    for unit in UNITS {
        assert_eq!(booted.property(unit, "ActiveState"), "inactive", "{unit}");
    }
    let failed = booted.runs("systemctl list-units --failed --plain --no-legend");
    assert!(!failed.contains("pushkeys"), "{failed}");
    assert_eq!(booted.property("ssh.service", "ActiveState"), "active");
    until("no login works any more", || !is_greeted(booted));
    booted.runs("dpkg --purge pushkeys pushkeys-server");
}
