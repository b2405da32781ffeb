//! A stock sshd with the packages' drop-in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::port::{ATTEMPTS_MAX, free_port};
use crate::process::Process;
use crate::{Room, as_user, eventually, run};

/// The drop-in of the package.
const DROP_IN: &str = include_str!("../../packaging/sshd_config.d/50-pushkeys.conf");
/// The helper's path in it, which tests replace.
const SHIPPED_HELPER: &str = "/usr/libexec/pushkeys/pushkeys-lookup";

const SHIPPED_FILE: &str = "AuthorizedKeysFile none";

/// The file of the host key in the room.
const HOST_KEY: &str = "host_key";

/// The host's name in the file of known hosts, for any port.
pub(crate) const HOST_KEY_ALIAS: &str = "push";

/// What differs from a push host as packages set it up.
#[derive(Debug, Clone)]
pub struct SshdSettings {
    /// The helper's path and its options, before `%u %f`.
    pub helper: String,
    /// The value of `AuthorizedKeysFile` in the drop-in: `none`, or a file that is read before the helper runs.
    pub authorized_keys_file: String,
    /// The private halves of its host keys; if there is none, one is generated.
    pub host_keys: Vec<PathBuf>,
    /// Whether the drop-in is installed.
    pub drop_in: bool,
    /// Global lines after the drop-in, as of a distribution or an operator.
    pub global: String,
    /// A shell command that runs first, in sshd's own mount namespace.
    pub prelude: Option<String>,
}

/// A running sshd on a loopback port.
#[derive(Debug)]
pub struct Sshd {
    process: Process,
    port: u16,
    configuration: PathBuf,
    known_hosts: PathBuf,
    room: Room,
}

impl SshdSettings {
    /// A push host whose helper is `helper`.
    #[must_use]
    pub fn new(helper: &str) -> Self {
        Self {
            helper: helper.to_owned(),
            authorized_keys_file: "none".to_owned(),
            host_keys: Vec::new(),
            drop_in: true,
            global: String::new(),
            prelude: None,
        }
    }
}

impl Sshd {
    /// Starts sshd and waits until it listens.
    #[must_use]
    pub fn start(settings: &SshdSettings) -> Self {
        let room = Room::temporary();
        let configuration = Self::configure(&room, settings);
        for _ in 0..ATTEMPTS_MAX {
            let port = free_port();
            let known_hosts = write_known_hosts(&room, port);
            let log = room.join(&format!("sshd-{port}.log"));
            let mut process = Process::spawn("sshd", command(settings, &configuration, port), &log);
            if eventually("sshd listens or gives up", || is_listening(&mut process)) {
                return Self { process, port, configuration, known_hosts, room };
            }
            assert!(
                process.log().contains("Address already in use"),
                "sshd does not start: {}",
                process.log()
            );
        }
        panic!("no port of {ATTEMPTS_MAX} stayed free");
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A file for ssh's `UserKnownHostsFile`.
    #[must_use]
    pub fn known_hosts(&self) -> &Path {
        &self.known_hosts
    }

    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// sshd's log, at level VERBOSE.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Writes the configuration of an sshd with `settings`, and returns the main file.
    #[must_use]
    pub fn configure(room: &Room, settings: &SshdSettings) -> PathBuf {
        let host_key = room.join(HOST_KEY);
        let _ = run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&host_key))
            .output();
        configure(room, settings)
    }

    /// The settings in force for `login`, one `keyword value` per line, as `sshd -T` prints them.
    #[must_use]
    pub fn settings_for(&self, login: &str) -> String {
        let connection = format!("user={login},host=client.example.com,addr=192.0.2.1");
        run(Command::new("/usr/sbin/sshd")
            .arg("-T")
            .arg("-f")
            .arg(&self.configuration)
            .args(["-C", &connection]))
        .output()
    }
}

/// Like Debian's `sshd_config`: the drop-ins first, then settings that are more permissive than a push host's.
fn configure(room: &Room, settings: &SshdSettings) -> PathBuf {
    let shipped = if settings.drop_in { DROP_IN } else { "" };
    for value in [SHIPPED_HELPER, SHIPPED_FILE] {
        assert!(!settings.drop_in || shipped.contains(value), "the drop-in has `{value}`");
    }
    let file = format!("AuthorizedKeysFile {}", settings.authorized_keys_file);
    let text = shipped.replace(SHIPPED_HELPER, &settings.helper).replace(SHIPPED_FILE, &file);
    let drop_in = room.write("50-pushkeys.conf", &text);
    let own = [room.join(HOST_KEY)];
    let host_keys = if settings.host_keys.is_empty() { &own[..] } else { &settings.host_keys };
    let host_keys: Vec<String> = host_keys.iter().map(|key| format!("HostKey {}", key.display())).collect();
    let text = format!(
        "Include {}\n{}\nPidFile none\nLogLevel VERBOSE\nListenAddress 127.0.0.1\nMaxStartups 200\n\
         AcceptEnv LANG LC_*\nX11Forwarding yes\nAllowTcpForwarding yes\nPermitTunnel yes\n\
         Subsystem sftp internal-sftp\n{}\n",
        drop_in.display(),
        host_keys.join("\n"),
        settings.global
    );
    room.write("sshd_config", &text)
}

fn command(settings: &SshdSettings, configuration: &Path, port: u16) -> Command {
    let mut command = if let Some(prelude) = &settings.prelude {
        let mut command = as_user("root", "unshare");
        let script = format!("{prelude}\nexec \"$@\"");
        command.args(["--mount", "--propagation", "private", "sh", "-euc", &script, "sh", "/usr/sbin/sshd"]);
        command
    } else {
        as_user("root", "/usr/sbin/sshd")
    };
    command.args(["-D", "-e", "-p", &port.to_string(), "-f"]).arg(configuration);
    command
}

fn is_listening(process: &mut Process) -> Option<bool> {
    if process.log().contains("Server listening on") {
        return Some(true);
    }
    process.ended().map(|_| false)
}

fn write_known_hosts(room: &Room, port: u16) -> PathBuf {
    let host_key = room.join(HOST_KEY);
    let public = fs::read_to_string(host_key.with_extension("pub")).expect("ssh-keygen wrote the public key");
    room.write("known_hosts", &format!("{HOST_KEY_ALIAS},[127.0.0.1]:{port} {public}"))
}
