//! The real program on a free port, and its clients.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use pushkeys_feed::{Event, EventReader, Received};
use pushkeys_tests::PostgresDatabase;
use reqwest::header::AUTHORIZATION;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;

/// How long a wait may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Whether this is the suite on PostgreSQL, which is a link to the same directory.
pub(crate) fn is_on_postgres() -> bool {
    env!("CARGO_CRATE_NAME") == "server_on_postgres"
}

/// An empty database of this suite's kind.
pub(crate) enum Database {
    Sqlite(TempDir),
    Postgres(PostgresDatabase),
}

impl Database {
    pub(crate) fn new() -> Self {
        if is_on_postgres() {
            Self::Postgres(PostgresDatabase::shared())
        } else {
            Self::Sqlite(tempfile::tempdir().unwrap())
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(directory) => format!("sqlite://{}/keys.db", directory.path().display()),
            Self::Postgres(database) => database.url(),
        }
    }

    /// The number that `statement` returns, if it returns a row.
    pub(crate) async fn ask(&self, statement: &'static str) -> Option<i64> {
        match self {
            Self::Sqlite(_) => {
                let mut connection = SqliteConnection::connect(&self.url()).await.unwrap();
                sqlx::query_scalar(statement).fetch_optional(&mut connection).await.unwrap()
            }
            Self::Postgres(database) => {
                database.query(statement).lines().next().map(|line| line.parse().unwrap())
            }
        }
    }

    /// SQLite's file.
    pub(crate) fn path(&self) -> PathBuf {
        self.url().strip_prefix("sqlite://").expect("SQLite").into()
    }

    /// Its contents as bytes.
    pub(crate) fn contents(&self) -> Vec<u8> {
        match self {
            Self::Sqlite(directory) => {
                let files = fs::read_dir(directory.path()).unwrap();
                files.flat_map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
            }
            Self::Postgres(database) => database.dump().into_bytes(),
        }
    }
}

/// `pushkeys-server serve` in its own directory; stopped when dropped.
pub(crate) struct Service {
    directory: TempDir,
    database: Arc<Database>,
    settings: String,
    process: Option<Child>,
    address: String,
    pub(crate) client: Client,
}

/// An account with a token.
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) token_id: String,
    pub(crate) bearer: String,
    pub(crate) oauth_token: String,
    pub(crate) oauth_secret: String,
}

impl Service {
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// Starts with additional settings.
    pub(crate) fn start_with(settings: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::start_on(Arc::new(Database::new()), directory, settings)
    }

    /// Starts another process on the same database with the same secret.
    pub(crate) fn replica(&self) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::copy(self.path("secret"), directory.path().join("secret")).unwrap();
        Self::start_on(self.database.clone(), directory, &self.settings)
    }

    fn start_on(database: Arc<Database>, directory: TempDir, settings: &str) -> Self {
        let client = Client::builder().no_proxy().no_gzip().no_zstd().build().unwrap();
        let settings = settings.to_owned();
        let mut service =
            Self { directory, database, settings, process: None, address: String::new(), client };
        service.configure_database(&service.database.url());
        service.restart();
        service
    }

    /// Writes the configuration with another database, for the next start.
    pub(crate) fn configure_database(&self, url: &str) {
        let path = |name: &str| self.path(name).display().to_string();
        let config = format!(
            "listen = \"127.0.0.1:0\"\naddress_file = \"{}\"\ndatabase = \"{url}\"\nsecret_file = \"{}\"\n{}",
            path("address"),
            path("secret"),
            self.settings,
        );
        fs::write(self.path("server.toml"), config).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pushkeys-server"));
        command.arg("--config").arg(self.path("server.toml"));
        command
    }

    pub(crate) fn restart(&mut self) {
        self.stop();
        let _ = fs::remove_file(self.path("address"));
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        self.process = Some(self.program().arg("serve").stderr(log).spawn().unwrap());
        let path = self.path("address");
        let address = wait_for(|| fs::read_to_string(&path).ok());
        address.trim().clone_into(&mut self.address);
    }

    /// Stops the service as systemd does, and waits for its end.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let pid = process.id().to_string();
            assert!(Command::new("kill").arg(pid).status().unwrap().success());
            assert!(process.wait().unwrap().success(), "the service stops on SIGTERM");
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// The most memory that the process has had, in KiB.
    pub(crate) fn peak_memory_kib(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.as_ref()?.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// Runs a command while the service runs.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        self.program().arg("--json").args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Starts a command without waiting for its end.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Child {
        let mut command = self.program();
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// Runs a command that succeeds; returns its JSON.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Value {
        let output = self.command(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    pub(crate) fn account(&self, name: &str) -> Account {
        let id = text(&self.ask(&["account", "add", name]), "id");
        let token = self.ask(&["token", "add", name]);
        Account {
            id,
            token_id: text(&token, "id"),
            bearer: format!("Bearer {}", text(&token, "bearer")),
            oauth_token: text(&token, "oauth_token"),
            oauth_secret: text(&token, "oauth_secret"),
        }
    }

    pub(crate) fn set_password(&self, account: &str, password: &str) {
        let mut command = self.program();
        command.args(["account", "password", account]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut process = command.spawn().unwrap();
        std::io::Write::write_all(&mut process.stdin.take().unwrap(), password.as_bytes()).unwrap();
        assert!(process.wait().unwrap().success());
    }

    /// Adds a host; returns its `Authorization`.
    pub(crate) fn host(&self, name: &str) -> String {
        format!("Bearer {}", text(&self.ask(&["host", "add", name]), "token"))
    }

    pub(crate) fn request(&self, method: Method, path: &str, authorization: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        self.client.request(method, url).header(AUTHORIZATION, authorization)
    }

    pub(crate) async fn get(&self, path: &str, authorization: &str) -> (StatusCode, Value) {
        answer(self.request(Method::GET, path, authorization)).await
    }

    pub(crate) async fn put(&self, account: &Account, name: &str, key: &str) -> (StatusCode, Value) {
        let path = format!("/v2/self/keys/{name}");
        answer(self.request(Method::PUT, &path, &account.bearer).json(key)).await
    }

    pub(crate) async fn delete(&self, account: &Account, name: &str) -> (StatusCode, Value) {
        let path = format!("/v2/self/keys/{name}");
        answer(self.request(Method::DELETE, &path, &account.bearer)).await
    }

    /// Sends raw bytes, for paths that an HTTP client would change.
    pub(crate) fn raw(&self, request: &str) -> String {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Names and fingerprints of an account's keys.
    pub(crate) async fn keys(&self, account: &Account) -> Vec<(String, String)> {
        let (status, keys) = self.get("/v2/self/keys", &account.bearer).await;
        assert_eq!(status, StatusCode::OK);
        keys.as_array().unwrap().iter().map(|key| (text(key, "name"), text(key, "fingerprint"))).collect()
    }

    pub(crate) async fn changes(&self, host: &str, last_event_id: Option<&str>) -> Stream {
        self.stream(pushkeys_feed::CHANGES_PATH, host, last_event_id).await
    }

    /// The stream of a host that knows chains.
    pub(crate) async fn chained_changes(&self, host: &str, last_event_id: Option<&str>) -> Stream {
        self.stream(&format!("{}?with=chain", pushkeys_feed::CHANGES_PATH), host, last_event_id).await
    }

    async fn stream(&self, path: &str, host: &str, last_event_id: Option<&str>) -> Stream {
        let mut request = self.request(Method::GET, path, host);
        if let Some(id) = last_event_id {
            request = request.header(pushkeys_feed::LAST_EVENT_ID, id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], pushkeys_feed::CHANGES_MEDIA_TYPE);
        Stream { response, reader: EventReader::default(), waiting: VecDeque::new() }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// A host's stream of changes.
pub(crate) struct Stream {
    response: Response,
    reader: EventReader,
    waiting: VecDeque<Received>,
}

impl Stream {
    /// The next event other than a heartbeat; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Received> {
        loop {
            let received = self.next_of_any_kind().await?;
            if !matches!(received.event, Ok(Event::Heartbeat { .. } | Event::Checkpoint { .. })) {
                return Some(received);
            }
        }
    }

    pub(crate) async fn next_of_any_kind(&mut self) -> Option<Received> {
        loop {
            if let Some(received) = self.waiting.pop_front() {
                return Some(received);
            }
            let chunk =
                tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("an event in time");
            let mut received = Vec::new();
            self.reader.push(&chunk.ok()??, &mut received).unwrap();
            self.waiting.extend(received);
        }
    }
}

pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert!(response.headers().contains_key("x-request-id"));
    (status, response.json().await.unwrap())
}

pub(crate) fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_else(|| panic!("no {member} in {value}")).to_owned()
}

/// Polls until `look` returns something.
pub(crate) fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let begun_at = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun_at.elapsed() < PATIENCE, "timed out");
        thread::sleep(LOOK_AGAIN);
    }
}

/// The text of a real Ed25519 key, made by `ssh-keygen`.
pub(crate) fn new_key(service: &Service, comment: &str) -> String {
    let path = service.path(&format!("key-{comment}"));
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"]).arg(&path);
    assert!(command.status().unwrap().success());
    fs::read_to_string(path.with_extension("pub")).unwrap().trim().to_owned()
}
