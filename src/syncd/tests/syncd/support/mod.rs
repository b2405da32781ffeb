//! The daemon itself, a key service that can be made to misbehave, and keys in any number.

mod service;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use data_encoding::BASE64;
use pushkeys_cache::status::{SourceStatus, State, Status};
use pushkeys_keys::Fingerprint;

pub(crate) use service::{Answer, Service, snapshot, snapshot_of, with_type};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `probe` has an answer.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(found) = probe() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("waited in vain for {what}");
}

/// The valid Ed25519 key number `number`, as `type base64`.
pub(crate) fn key(number: u64) -> (Fingerprint, String) {
    let point: EdwardsPoint = ED25519_BASEPOINT_POINT * Scalar::from(number + 1_000_000);
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend_from_slice(point.compress().as_bytes());
    let text = format!("ssh-ed25519 {}", BASE64.encode(&blob));
    (Fingerprint::of(&blob), text)
}

/// The entry of the key `number`, held by `account`.
pub(crate) fn entry(number: u64, account: &str) -> pushkeys_feed::Entry {
    let (fingerprint, key) = key(number);
    pushkeys_feed::Entry {
        fingerprint,
        key,
        account: account.parse().unwrap(),
        key_id: format!("key_{number}").parse().unwrap(),
        account_name: None,
        name: None,
        logins: None,
        expires_at: None,
    }
}

/// A folder with a cache, a configuration, and at times a daemon.
pub(crate) struct Host {
    folder: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), daemon: None }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    pub(crate) fn write(&self, name: &str, mode: u32, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(name);
        let next = self.path(".next");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&next, text).unwrap();
        std::fs::set_permissions(&next, std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::rename(&next, &path).unwrap();
        path
    }

    /// Writes the configuration: the cache here, a template that needs no program, and `sources`.
    pub(crate) fn configure(&self, sources: &str) -> PathBuf {
        let cache = self.cache();
        let text = format!(
            "cache = \"{}\"\ncommand = \"/missing/shell --account {{account}} --key {{key_id}}\"\n{sources}",
            cache.display()
        );
        self.write("syncd.toml", 0o644, &text)
    }

    /// A source `name` of the local key files in `folder`.
    pub(crate) fn directory(&self, name: &str, folder: &str) -> String {
        let path = self.path(folder);
        format!("[[source]]\nname = \"{name}\"\nkind = \"directory\"\npath = \"{}\"\n", path.display())
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pushkeys-syncd"));
        command
            .arg("--config")
            .arg(self.path("syncd.toml"))
            .env_remove("NOTIFY_SOCKET")
            .env_remove("JOURNAL_STREAM");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    pub(crate) fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        self.daemon = Some(self.command().stdin(Stdio::null()).stderr(log).spawn().unwrap());
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let daemon = self.daemon.as_ref().unwrap();
        let id = rustix::process::Pid::from_raw(i32::try_from(daemon.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Ends the daemon as a service manager does.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        let status = self.daemon.take().unwrap().wait().unwrap();
        assert!(status.success(), "{status}\n{}", self.log());
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|daemon| daemon.try_wait().unwrap().is_none())
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until the log holds `text`.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_for(text, || self.log().contains(text).then_some(()));
    }

    pub(crate) fn status(&self) -> Option<Status> {
        Status::read(&self.cache()).ok()
    }

    /// Waits until what the status says of `source` is as `probe` wants it.
    #[track_caller]
    pub(crate) fn wait_for(
        &self,
        source: &str,
        what: &str,
        probe: impl Fn(&SourceStatus) -> bool,
    ) -> SourceStatus {
        let mut last = None;
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let found =
                self.status().and_then(|status| status.sources.into_iter().find(|one| one.name == source));
            if let Some(found) = found {
                if probe(&found) {
                    return found;
                }
                last = Some(found);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("waited in vain for {what} of {source}: {last:#?}\n{}", self.log());
    }

    /// Waits until `source` is in sync with this number of keys.
    #[track_caller]
    pub(crate) fn wait_in_sync(&self, source: &str, keys: u64) -> SourceStatus {
        self.wait_for(source, &format!("{keys} keys in sync"), |status| {
            status.state == State::InStep && status.keys == keys
        })
    }

    /// Waits until the last error of `source`, with its hint as a log line has it, holds `text`.
    #[track_caller]
    pub(crate) fn wait_for_error(&self, source: &str, text: &str) -> SourceStatus {
        self.wait_for(source, &format!("the error `{text}`"), |status| {
            status.last_error.as_ref().is_some_and(|error| {
                let hint = error.hint.as_deref().unwrap_or_default();
                format!("{}; hint: {hint}", error.what).contains(text)
            })
        })
    }

    /// What `source` holds for the key `number`.
    pub(crate) fn found(&self, source: &str, number: u64) -> Option<pushkeys_cache::Entry> {
        let source =
            pushkeys_cache::Cache::open(&self.cache()).unwrap().source(&source.parse().unwrap()).unwrap();
        source.find(&key(number).0).unwrap().1
    }

    /// The account that `source` gives the key `number` to.
    pub(crate) fn account(&self, source: &str, number: u64) -> Option<String> {
        self.found(source, number).map(|entry| entry.account.to_string())
    }

    /// Every file of `source`, byte by byte.
    pub(crate) fn bytes(&self, source: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(&self.cache().join(source), &mut files);
        files
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}
