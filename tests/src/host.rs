//! A push host: sshd, pushkeys-syncd, and the cache between them.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use pushkeys_keys::Fingerprint;

use crate::process::{Finished, run};
use crate::{
    Certified, Double, Key, Login, Program, Registration, Room, Service, Sshd, SshdSettings, Syncd, Syslog,
    as_user, program, until,
};

/// The hooks of the package.
const HOOKS: [(&str, &str); 2] = [
    ("pre-receive", include_str!("../../packaging/hooks/pre-receive")),
    ("post-receive", include_str!("../../packaging/hooks/post-receive")),
];

/// The root of the repositories of [`HostFiles::install_git`] in its room.
const REPOSITORIES: &str = "repositories";

/// The files of [`HostFiles::source_with_certificate`].
const CERTIFICATE_AND_KEY: [&str; 2] = ["host.pem", "host.key"];

/// A push host on this machine: its sshd runs pushkeys-lookup, and its pushkeys-syncd maintains the cache.
#[derive(Debug)]
pub struct PushHost {
    /// The daemon that maintains the cache.
    pub syncd: Syncd,
    /// The ssh server.
    pub sshd: Sshd,
    files: HostFiles,
}

/// The installed files of a push host, and the cache.
#[derive(Debug)]
pub struct HostFiles {
    room: Room,
    programs: Room,
    cache: PathBuf,
}

/// The result of the helper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupOutput {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output, which sshd reads.
    pub stdout: String,
    /// Its standard error, which would be sshd's.
    pub stderr: String,
}

impl PushHost {
    /// A host of `service` whose daemon is in sync and whose sshd is listening.
    #[must_use]
    pub fn start(service: &Service) -> Self {
        Self::start_with(service, |_| {})
    }

    /// A host of `service` that connects to the base URL `url`, such as a [`Balancer`](crate::Balancer)'s.
    #[must_use]
    pub fn start_at(service: &Service, url: &str) -> Self {
        let files = HostFiles::install();
        let source = files.source(service).replace(&service.url(), url);
        Self::assemble(files, &source, |_| {})
    }

    /// A host of `service` with changed sshd settings.
    #[must_use]
    pub fn start_with(service: &Service, change: impl FnOnce(&mut SshdSettings)) -> Self {
        let files = HostFiles::install();
        let source = files.source(service);
        Self::assemble(files, &source, change)
    }

    /// A host of `service` whose helper and forced command write to `syslog`.
    #[must_use]
    pub fn start_with_syslog(service: &Service, syslog: &Syslog) -> Self {
        Self::start_with(service, |sshd| sshd.prelude = Some(syslog.prelude()))
    }

    /// A host that polls `double` at the shortest interval.
    #[must_use]
    pub fn start_polling(double: &Double) -> Self {
        let url = double.url();
        let source =
            format!("[[source]]\nname = \"api\"\nkind = \"poll\"\nurl = \"{url}\"\ninterval = \"100ms\"\n");
        Self::assemble(HostFiles::install(), &source, |_| {})
    }

    /// A host with `sources` in its daemon's configuration; waits until the source `api` is in the cache.
    #[must_use]
    pub fn assemble(files: HostFiles, sources: &str, change: impl FnOnce(&mut SshdSettings)) -> Self {
        let mut syncd = Syncd::configure(&files.room, &files.syncd_configuration(sources));
        syncd.start();
        let mut settings = SshdSettings::new(&files.helper());
        change(&mut settings);
        let host = Self { syncd, sshd: Sshd::start(&settings), files };
        until("the source is in the cache", || host.cache().join("api/HEAD").exists());
        host
    }

    /// An attempt to log in as `login` with `key`.
    #[must_use]
    pub fn login(&self, login: &str, key: &Key) -> Login {
        self.login_without_key(login).with_key(key)
    }

    /// An attempt to log in as `login`, with no key yet.
    #[must_use]
    pub fn login_without_key(&self, login: &str) -> Login {
        Login::new(&self.sshd, login)
    }

    /// Runs the helper as sshd does.
    #[track_caller]
    #[must_use]
    pub fn lookup(&self, login: &str, fingerprint: &Fingerprint) -> LookupOutput {
        LookupOutput::from(run(self.helper().arg(login).arg(fingerprint.to_string())))
    }

    /// The helper's command as sshd starts it, without login and fingerprint.
    #[must_use]
    pub fn helper(&self) -> Command {
        let mut command = as_user("pushkeys-lookup", self.files.programs.join("pushkeys-lookup"));
        command.arg("--cache").arg(self.cache());
        command
    }

    /// Waits until `key` is in the cache.
    #[track_caller]
    pub fn learns(&self, key: &Key) {
        until("the host learns of the key", || !self.lookup("git", &key.fingerprint()).stdout.is_empty());
    }

    /// Waits until `key` is no longer in the cache.
    #[track_caller]
    pub fn forgets(&self, key: &Key) {
        until("the host forgets the key", || self.lookup("git", &key.fingerprint()).is_unknown());
    }

    /// Runs `pushkeys` over the host's cache, as root.
    #[track_caller]
    #[must_use]
    pub fn pushkeys(&self, arguments: &[&str]) -> Finished {
        run(as_user("root", program(Program::Cli)).arg("--cache").arg(self.cache()).args(arguments))
    }

    /// All registrations in its cache.
    #[track_caller]
    #[must_use]
    pub fn registrations(&self) -> BTreeSet<Registration> {
        let lines = self.pushkeys(&["list", "--json"]).output();
        lines.lines().map(|line| Registration::of(&serde_json::from_str(line).expect("JSON lines"))).collect()
    }

    /// The folder of the cache.
    #[must_use]
    pub fn cache(&self) -> &Path {
        &self.files.cache
    }

    /// The installed files.
    #[must_use]
    pub fn files(&self) -> &HostFiles {
        &self.files
    }
}

impl HostFiles {
    /// Installs helper and forced command in a folder that only root can write to, and creates an empty cache.
    #[must_use]
    pub fn install() -> Self {
        let (room, programs) = (Room::temporary(), Room::root_owned());
        for program in [Program::Lookup, Program::Shell] {
            let path = programs.join(program.name());
            fs::copy(crate::program(program), &path).expect("a copy of the program");
            fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("own file");
        }
        let cache = room.join("cache");
        fs::create_dir(&cache).expect("own directory");
        give_to_syncd(&cache, 0o750);
        Self { room, programs, cache }
    }

    /// The folder of the host's own files, which only root can write to.
    #[must_use]
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// The folder of helper and forced command.
    #[must_use]
    pub fn programs(&self) -> &Room {
        &self.programs
    }

    /// The folder of the cache.
    #[must_use]
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// The helper and its options, as before `%u %f`.
    #[must_use]
    pub fn helper(&self) -> String {
        format!("{} --cache {}", self.programs.join("pushkeys-lookup").display(), self.cache.display())
    }

    /// The configuration of a source `api` for `service`, with a new token.
    #[must_use]
    pub fn source(&self, service: &Service) -> String {
        let token_file = self.room.write("token", &service.host_token(&self.name()));
        give_to_syncd(&token_file, 0o400);
        format!("{}token_file = \"{}\"\n", self.source_without_token(service), token_file.display())
    }

    /// The same without a token: the host uses the certificate `identity`, which [`HostFiles::shows`] can replace.
    #[must_use]
    pub fn source_with_certificate(&self, service: &Service, identity: &Certified) -> String {
        self.shows(identity);
        let [certificate, key] = CERTIFICATE_AND_KEY.map(|name| self.room.join(name));
        format!(
            "{}client_certificate = \"{}\"\nclient_key = \"{}\"\n",
            self.source_without_token(service),
            certificate.display(),
            key.display()
        )
    }

    /// Replaces the host's certificate by `identity`.
    pub fn shows(&self, identity: &Certified) {
        for (name, text) in CERTIFICATE_AND_KEY.into_iter().zip([&identity.certificate, &identity.key]) {
            // Renamed, so that no process reads a half-written file.
            let new = self.room.write(&format!("{name}.new"), text);
            give_to_syncd(&new, 0o400);
            fs::rename(new, self.room.join(name)).expect("own file");
        }
    }

    fn source_without_token(&self, service: &Service) -> String {
        let source = format!("[[source]]\nname = \"api\"\nkind = \"feed\"\nurl = \"{}\"\n", service.url());
        let Some(authority) = service.authority() else { return source };
        let file = self.room.write_with_mode("ca.pem", authority, 0o644);
        format!("{source}ca_file = \"{}\"\n", file.display())
    }

    /// The folder of the repositories of [`HostFiles::source_with_git`].
    #[must_use]
    pub fn repositories(&self) -> PathBuf {
        self.room.join(REPOSITORIES)
    }

    /// The same source on a host that also serves git: each account has its own repositories, which are created by the first
    /// push. `settings` are appended to the host's `shell.toml`.
    #[must_use]
    pub fn source_with_git(&self, service: &Service, settings: &str) -> String {
        let configuration = Self::install_git(&self.room, settings);
        let (shell, cache) = (self.programs.join("pushkeys-shell"), self.cache.display());
        format!(
            "{}command = \"{} --cache {cache} --config {} --account {{account}} --key {{key_id}} \
             --fingerprint {{fingerprint}}\"\n",
            self.source(service),
            shell.display(),
            configuration.display()
        )
    }

    /// Sets up git in `room` as a host that serves it needs it: the root of the repositories, which is the login's, the hooks of the
    /// package, and a `shell.toml` that names both and ends with `settings`; returns the path of that.
    #[must_use]
    pub fn install_git(room: &Room, settings: &str) -> PathBuf {
        let repositories = room.join(REPOSITORIES);
        fs::create_dir(&repositories).expect("own directory");
        let _ = run(Command::new("chown").arg("git:git").arg(&repositories)).output();
        let hooks = room.join("hooks");
        fs::create_dir(&hooks).expect("own directory");
        for (name, text) in HOOKS {
            let _ = room.write_with_mode(&format!("hooks/{name}"), text, 0o755);
        }
        let text = format!(
            "root = \"{}\"\nhooks = \"{}\"\ncreate = \"first-push\"\n{settings}",
            repositories.display(),
            hooks.display()
        );
        room.write_with_mode("shell.toml", &text, 0o644)
    }

    /// Installs `program`, which runs after a push that changes any reference; returns the settings for it.
    #[must_use]
    pub fn deploying(&self, program: &str) -> String {
        let program = self.room.write_with_mode("deploy", program, 0o755);
        format!("[deploy]\nprogram = \"{}\"\nbranch = \"*\"\n", program.display())
    }

    /// The host's name at the key service: the last part of its folder's.
    #[must_use]
    pub fn name(&self) -> String {
        let directory = self.room.path().file_name().expect("a room has a name");
        directory.to_string_lossy().into_owned()
    }

    /// The daemon's configuration, which ends with `sources`. Unless `sources` begins with `host_keys`, it reports no host keys, rather than
    /// those of the machine that runs the tests.
    #[must_use]
    pub fn syncd_configuration(&self, sources: &str) -> String {
        let (cache, shell) = (self.cache.display(), self.programs.join("pushkeys-shell"));
        let host_keys = if sources.starts_with("host_keys") { "" } else { "host_keys = []\n" };
        format!(
            "cache = \"{cache}\"\nlogins = [\"git\"]\n\
             command = \"{} --cache {cache} --account {{account}} --key {{key_id}} --fingerprint {{fingerprint}}\"\n\n\
             {host_keys}{sources}",
            shell.display()
        )
    }
}

impl LookupOutput {
    /// Whether this is the answer for an unknown key: no output, and success.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.code == Some(0) && self.stdout.is_empty() && self.stderr.is_empty()
    }
}

impl From<Finished> for LookupOutput {
    fn from(finished: Finished) -> Self {
        Self { code: finished.status.code(), stdout: finished.stdout, stderr: finished.stderr }
    }
}

/// Gives `path` to the daemon's user.
pub fn give_to_syncd(path: &Path, mode: u32) {
    let _ = run(Command::new("chown").arg("pushkeys:pushkeys").arg(path)).output();
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("own file");
}
