//! The key service.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::port::{ATTEMPTS_MAX, free_port};
use crate::process::{Daemon, Finished, run_within};
use crate::programs::environment_of;
use crate::{
    Account, Authority, Client, Clock, PATIENCE, PostgresDatabase, Program, Registration, Room, as_user,
    eventually, program,
};

/// A pushkeys-server, on SQLite by default, on a loopback port that it keeps over restarts.
#[derive(Debug)]
pub struct Service {
    room: Room,
    database: String,
    secret: PathBuf,
    address: String,
    daemon: Daemon,
    /// Its database, if it belongs to this service.
    _own: Option<PostgresDatabase>,
    /// Additional tables of the configuration.
    settings: String,
    /// The CA certificate of its certificate, in PEM, if it serves TLS.
    authority: Option<String>,
    /// The token by which the test itself reads the feed.
    observer: OnceLock<String>,
}

impl Service {
    /// Starts a service without accounts, and waits until it answers.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with("", &[])
    }

    /// The same with additional tables of configuration, in which `{room}` is the folder of `files`, each
    /// with its name and text.
    #[must_use]
    pub fn start_with(settings: &str, files: &[(&str, &str)]) -> Self {
        let room = Room::temporary();
        let database = format!("sqlite://{}", room.join("pushkeys.db").display());
        Self::start_in(room, database, settings, files, None)
    }

    /// A service with TLS and a certificate of `authority`, which accepts hosts' certificates of `clients`.
    #[must_use]
    pub fn start_with_tls(authority: &Authority, clients: &Authority) -> Self {
        let (room, own) = (Room::temporary(), authority.signs_for_server(&["127.0.0.1"]));
        let settings = "[tls]\ncertificate = \"{room}/tls.pem\"\nkey = \"{room}/tls.key\"\n\
                        client_ca = \"{room}/hosts.pem\"\n";
        let files = [("tls.pem", &*own.certificate), ("tls.key", &own.key), ("hosts.pem", &clients.pem())];
        let database = format!("sqlite://{}", room.join("pushkeys.db").display());
        Self::start_in(room, database, settings, &files, Some(authority.pem()))
    }

    /// The same on its own PostgreSQL database, on the server that tests share.
    #[must_use]
    pub fn start_on_postgres_with(settings: &str, files: &[(&str, &str)]) -> Self {
        let database = PostgresDatabase::shared();
        let service = Self::start_in(Room::temporary(), database.url(), settings, files, None);
        Self { _own: Some(database), ..service }
    }

    /// The same on the PostgreSQL database at `url`.
    #[must_use]
    pub fn start_on_postgres(url: String) -> Self {
        Self::start_on_database(url, "")
    }

    /// A service on the database at `url`, of either kind, with additional settings.
    #[must_use]
    pub fn start_on_database(url: String, settings: &str) -> Self {
        Self::start_in(Room::temporary(), url, settings, &[], None)
    }

    /// Another service on the same database with the same secret.
    #[must_use]
    pub fn replica(&self) -> Self {
        let (database, secret) = (self.database.clone(), self.secret.clone());
        Self::start_on(Room::temporary(), database, secret, self.settings.clone(), self.authority.clone())
    }

    fn start_in(
        room: Room,
        database: String,
        settings: &str,
        files: &[(&str, &str)],
        authority: Option<String>,
    ) -> Self {
        for (name, text) in files {
            let _ = room.write(name, text);
        }
        let settings = settings.replace("{room}", &room.path().display().to_string());
        let secret = room.join("secret");
        Self::start_on(room, database, secret, settings, authority)
    }

    fn start_on(
        room: Room,
        database: String,
        secret: PathBuf,
        settings: String,
        authority: Option<String>,
    ) -> Self {
        let (address, observer) = (String::new(), OnceLock::new());
        let daemon = Daemon::new("pushkeys-server", room.join("server.log"));
        let mut service =
            Self { room, database, secret, address, daemon, _own: None, settings, authority, observer };
        for _ in 0..ATTEMPTS_MAX {
            service.address = format!("127.0.0.1:{}", free_port());
            service.configure();
            if service.try_restart() {
                return service;
            }
        }
        panic!("no port of {ATTEMPTS_MAX} stayed free: {}", service.log());
    }

    /// Starts it again, at the same address, after it was stopped or killed.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(self.try_restart(), "pushkeys-server does not start: {}", self.log());
    }

    /// Starts it again without waiting until it answers.
    pub fn launch(&mut self) {
        let mut command = self.command();
        command.arg("serve");
        let _ = self.daemon.start(command);
    }

    /// The same with a changed clock.
    pub fn launch_with_clock(&mut self, clock: Clock<'_>) {
        let mut command = as_user("root", "env");
        command.args(environment_of(clock));
        command.arg(program(Program::Server)).arg("--config").arg(self.room.join("server.toml")).arg("serve");
        let _ = self.daemon.start(command);
    }

    /// Whether the service started; it fails if its port is taken.
    fn try_restart(&mut self) -> bool {
        let mut command = self.command();
        command.arg("serve");
        let client = self.client(None);
        let process = self.daemon.start(command);
        eventually("the service answers or gives up", || {
            let answered = client.send(Method::GET, &["healthz"], None).is_ok();
            process.ended().map_or(answered.then_some(true), |_| Some(false))
        })
    }

    fn configure(&self) {
        let Self { address, database, settings, .. } = self;
        let (room, secret) = (self.room.path().display(), self.secret.display());
        let text = format!(
            "listen = \"{address}\"\ndatabase = \"{database}\"\nsecret_file = \"{secret}\"\n\
             heartbeat = \"1s\"\nmetrics = \"{room}/metrics.sock\"\n{settings}"
        );
        let _ = self.room.write("server.toml", &text);
    }

    /// Appends `settings` to its configuration, for the next start.
    pub fn takes_settings(&self, settings: &str) {
        let path = self.room.join("server.toml");
        let text = std::fs::read_to_string(&path).expect("own file");
        let _ = self.room.write("server.toml", &format!("{text}{settings}"));
    }

    /// Replaces the file `name` in the folder that its configuration calls `{room}`.
    pub fn is_given(&self, name: &str, text: &str) {
        let _ = self.room.write(name, text);
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The CA certificate of its certificate, in PEM, if it serves TLS.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// A client with the bearer token `token`.
    #[must_use]
    pub fn client(&self, token: Option<&str>) -> Client {
        let authorization = token.map(|token| format!("Bearer {token}"));
        Client::trusting(&self.url(), authorization, self.authority())
    }

    /// The folder of its files.
    #[must_use]
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// Moves it to the database at `url` at its next start.
    pub fn move_to(&mut self, url: String) {
        self.database = url;
        self.configure();
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The file of the SQLite database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.room.join("pushkeys.db")
    }

    /// The socket of its metrics.
    #[must_use]
    pub fn metrics(&self) -> PathBuf {
        self.room.join("metrics.sock")
    }

    /// Stops it like a service manager.
    #[track_caller]
    pub fn stop(&mut self) {
        self.daemon.stop();
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }

    /// Sends SIGTERM without waiting.
    pub fn terminate(&self) {
        self.daemon.terminate();
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.daemon.ended()
    }

    /// Suspends it, until [`Service::thaw`].
    pub fn freeze(&self) {
        self.daemon.freeze();
    }

    /// Resumes it.
    pub fn thaw(&self) {
        self.daemon.thaw();
    }

    /// Its process id.
    #[track_caller]
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    /// Its log, including earlier runs.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Runs the service's command line with `arguments`.
    #[track_caller]
    #[must_use]
    pub fn administers(&self, arguments: &[&str]) -> Finished {
        self.administers_within(arguments, PATIENCE)
    }

    /// Runs the service's command line with `arguments` and the time limit `limit`.
    #[track_caller]
    #[must_use]
    pub fn administers_within(&self, arguments: &[&str], limit: Duration) -> Finished {
        run_within(self.command().args(arguments), limit)
    }

    /// A new account with a token.
    #[track_caller]
    #[must_use]
    pub fn account(&self, name: &str) -> Account {
        self.add_account(name, &[])
    }

    /// The same with an e-mail address.
    #[track_caller]
    #[must_use]
    pub fn account_at(&self, name: &str, email: &str) -> Account {
        self.add_account(name, &["--email", email])
    }

    #[track_caller]
    fn add_account(&self, name: &str, more: &[&str]) -> Account {
        let account = self.json(&[&["account", "add", name, "--json"], more].concat());
        let token = self.json(&["token", "add", name, "--json"]);
        self.account_of(name, text(&account, "id"), text(&token, "bearer"))
    }

    /// Sets the password of the account `name` for the console.
    #[track_caller]
    pub fn set_password(&self, name: &str, password: &str) {
        let input = self.room.write("password", password);
        let mut command = as_user("root", "/bin/sh");
        command.args(["-c", "input=$1; shift; exec \"$@\" <\"$input\"", "sh"]).arg(input);
        command.arg(program(Program::Server)).arg("--config").arg(self.room.join("server.toml"));
        let _ = run_within(command.args(["account", "password", name]), PATIENCE).output();
    }

    /// An account that the test has written to the database directly, since two commands for each of hundreds take minutes.
    #[must_use]
    pub fn account_of(&self, name: &str, id: &str, token: &str) -> Account {
        Account::new(self.client(Some(token)), name, id, token)
    }

    /// A new token for the host `name`.
    #[track_caller]
    #[must_use]
    pub fn host_token(&self, name: &str) -> String {
        text(&self.json(&["host", "add", name, "--json"]), "token").to_owned()
    }

    /// All registrations, as in the feed.
    #[track_caller]
    #[must_use]
    pub fn registrations(&self) -> BTreeSet<Registration> {
        self.snapshot().iter().map(Registration::of).collect()
    }

    /// The entries of the current snapshot, without header and trailer.
    #[track_caller]
    #[must_use]
    pub fn snapshot(&self) -> Vec<Value> {
        let observer = self
            .observer
            .get_or_init(|| self.host_token(&format!("observer-{}", self.address.replace(':', "-"))));
        let client = self.client(Some(observer));
        let reply = client.send(Method::GET, &["v1", "feed", "snapshot"], None).expect("a snapshot");
        let lines = reply.body.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.filter(|line| line.get("fingerprint").is_some()).collect()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.administers(arguments).output();
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
    }

    fn command(&self) -> std::process::Command {
        let mut command = as_user("root", program(Program::Server));
        command.arg("--config").arg(self.room.join("server.toml"));
        command
    }
}

#[track_caller]
fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_else(|| panic!("no `{field}` in {value}"))
}
