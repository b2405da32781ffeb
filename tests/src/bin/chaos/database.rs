//! The databases of both kinds of world.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use pushkeys_tests::{
    Balancer, Finished, NetworkState, PostgresServer, Process, Room, SmallDisk, run, until,
};
use serde_json::Value;

/// The database in PostgreSQL.
const NAME: &str = "pushkeys";
/// The time limit of a query while the database is locked.
const PATIENCE_MS: &str = ".timeout 10000";

/// A key in the database: fingerprint, account and registration.
pub(crate) type Registered = (String, String, String);

/// The service's database.
#[derive(Debug)]
pub(crate) enum Database {
    Sqlite(Sqlite),
    Postgres(Box<Pair>),
}

/// A file on its own disk.
#[derive(Debug)]
pub(crate) struct Sqlite {
    pub(crate) disk: SmallDisk,
    folder: Room,
}

/// A primary and its standby, which can exchange their roles.
#[derive(Debug)]
pub(crate) struct Pair {
    servers: [PostgresServer; 2],
    primary: usize,
    /// The network of the replication.
    pub(crate) replication: Balancer,
    /// The network of each replica of the service.
    pub(crate) links: Vec<Balancer>,
}

impl Database {
    /// All keys in the database.
    pub(crate) fn keys(&self) -> Result<Vec<Registered>, String> {
        let finished = self.ask("SELECT entry FROM keys");
        if !finished.status.success() {
            return Err(format!("the database does not answer: {}", finished.stderr.trim_end()));
        }
        finished.stdout.lines().map(registered).collect()
    }

    /// Registers `count` connected hosts that have never applied a change, directly in the database.
    pub(crate) fn add_silent_hosts(&self, count: u32) {
        let numbers = match self {
            Self::Sqlite(_) => format!(
                "(WITH RECURSIVE one(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM one WHERE n < {count}) SELECT n FROM one)"
            ),
            Self::Postgres(_) => format!("generate_series(1, {count}) AS numbers(n)"),
        };
        let soon = jiff::Timestamp::now().as_millisecond() + 3_600_000;
        self.change(&format!(
            "INSERT INTO hosts (id, name, created_at) SELECT 'silent_' || n, 'silent-' || n, 0 FROM {numbers};
             INSERT INTO receipts (host_id, epoch, sequence, seen_at)
                SELECT hosts.id, service.epoch, 0, {soon} FROM hosts, service WHERE hosts.id LIKE 'silent_%'"
        ));
    }

    /// Removes them again.
    pub(crate) fn remove_silent_hosts(&self) {
        self.change(
            "DELETE FROM receipts WHERE host_id LIKE 'silent_%'; DELETE FROM hosts WHERE id LIKE 'silent_%'",
        );
    }

    /// Whether an account's activity has an entry for the key `name`.
    pub(crate) fn has_trace(&self, name: &str) -> bool {
        let finished = self.ask(&format!("SELECT count(*) FROM audit WHERE subject = '{name}'"));
        finished.status.success() && finished.stdout.trim() != "0"
    }

    fn ask(&self, statements: &str) -> Finished {
        match self {
            Self::Sqlite(sqlite) => sqlite.ask(statements),
            Self::Postgres(pair) => pair.ask(statements),
        }
    }

    fn change(&self, statements: &str) {
        let finished = self.ask(statements);
        assert!(finished.status.success(), "the tables are as this program knows them: {}", finished.stderr);
    }

    pub(crate) fn sqlite(&self) -> &Sqlite {
        match self {
            Self::Sqlite(sqlite) => sqlite,
            Self::Postgres(_) => panic!("a fault of SQLite's world"),
        }
    }

    pub(crate) fn pair(&mut self) -> &mut Pair {
        match self {
            Self::Sqlite(_) => panic!("a fault of PostgreSQL's world"),
            Self::Postgres(pair) => pair,
        }
    }
}

fn registered(entry: &str) -> Result<Registered, String> {
    let value: Value = serde_json::from_str(entry).map_err(|error| format!("{error}: {entry}"))?;
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok((text("fingerprint"), text("account"), text("key_id")))
}

impl Sqlite {
    /// A database file, not created yet, on a disk of `mib` MiB.
    pub(crate) fn make(mib: usize) -> Self {
        let folder = Room::temporary();
        Self { disk: SmallDisk::mount(folder.path(), mib, "root:root"), folder }
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite://{}", self.file().display())
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("pushkeys.db")
    }

    /// SQLite's other files of the database.
    pub(crate) fn siblings(&self) -> [PathBuf; 2] {
        ["pushkeys.db-wal", "pushkeys.db-shm"].map(|name| self.folder.join(name))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The length of its write-ahead log in bytes.
    pub(crate) fn wal_bytes(folder: &Path) -> u64 {
        fs::metadata(folder.join("pushkeys.db-wal")).map_or(0, |metadata| metadata.len())
    }

    fn ask(&self, statement: &str) -> Finished {
        run(Command::new("sqlite3").args(["-batch", "-cmd", PATIENCE_MS]).arg(self.file()).arg(statement))
    }

    /// Holds the write lock until the process is dropped.
    pub(crate) fn lock(&self) -> Process {
        let log = self.folder.join("lock.log");
        let script = format!(
            "(echo 'BEGIN IMMEDIATE; SELECT 1;'; exec sleep 600) | exec sqlite3 -batch -cmd '{PATIENCE_MS}' '{}'",
            self.file().display()
        );
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]).stdin(Stdio::null());
        let process = Process::spawn("sqlite3", command, &log);
        until("the lock is held", || process.log().contains('1') || process.log().contains("locked"));
        process
    }
}

impl Pair {
    /// Starts both, for `replicas` replicas of the service.
    pub(crate) fn start(replicas: usize) -> Self {
        let primary = PostgresServer::start_primary();
        let address = address(&primary);
        let replication = Balancer::start(vec![address.clone()]);
        let standby = PostgresServer::start_standby_of(replication.port());
        let created = format!("CREATE DATABASE {NAME} TEMPLATE template0");
        let _ = primary.sql("postgres", &created).output();
        let links = (0..replicas).map(|_| Balancer::start(vec![address.clone()])).collect();
        Self { servers: [primary, standby], primary: 0, replication, links }
    }

    /// The URL of the database for the replica number `replica`.
    pub(crate) fn url(&self, replica: usize) -> String {
        let port = self.links.get(replica).expect("a way for each replica").port();
        format!("postgres://postgres@127.0.0.1:{port}/{NAME}?sslmode=disable")
    }

    pub(crate) fn primary(&mut self) -> &mut PostgresServer {
        self.servers.get_mut(self.primary).expect("one of two")
    }

    pub(crate) fn standby(&mut self) -> &mut PostgresServer {
        self.servers.get_mut(1 - self.primary).expect("one of two")
    }

    pub(crate) fn servers(&self) -> &[PostgresServer; 2] {
        &self.servers
    }

    /// Queries the primary.
    pub(crate) fn ask(&self, statements: &str) -> Finished {
        self.servers.get(self.primary).expect("one of two").sql(NAME, statements)
    }

    /// Sets the state of the network between the database and all replicas of the service.
    pub(crate) fn set_links(&self, network_state: NetworkState) {
        for link in &self.links {
            link.set_network(network_state);
        }
    }

    /// Waits until the standby has all commits of the primary.
    pub(crate) fn wait_for_standby(&mut self) {
        let at = self.primary().sql("postgres", "SELECT pg_current_wal_lsn()").output();
        let has = format!("SELECT pg_last_wal_replay_lsn() >= '{}'::pg_lsn", at.trim());
        until("the standby has everything", || self.standby().sql("postgres", &has).stdout == "t\n");
    }

    /// Sends new connections to the standby.
    pub(crate) fn lead_links_to_standby(&mut self) {
        let address = address(self.standby());
        for link in &self.links {
            link.leads_to(vec![address.clone()]);
        }
    }

    /// Promotes the standby.
    pub(crate) fn promote(&mut self) {
        self.standby().promote();
        self.primary = 1 - self.primary;
    }

    /// Makes the former primary a standby.
    pub(crate) fn rebuild_standby(&mut self) {
        let address = address(self.primary());
        self.replication.leads_to(vec![address]);
        self.replication.set_network(NetworkState::Refused);
        self.replication.set_network(NetworkState::Clear);
        let port = self.replication.port();
        self.standby().follow(port);
    }

    /// Holds the lock of writers for `time`.
    pub(crate) fn lock(&mut self, time: Duration) -> Process {
        let log = self.primary().room().join("lock.log");
        let statement = format!(
            "BEGIN; SELECT one FROM service FOR UPDATE; SELECT pg_sleep({}); COMMIT",
            time.as_secs_f64()
        );
        let mut command = self.primary().client("psql");
        command.args(["--no-psqlrc", "--quiet", "--command", &statement, NAME]);
        Process::spawn("psql", command, &log)
    }

    /// The output of `pg_dump` for replacing the contents later.
    pub(crate) fn dump(&mut self) -> String {
        let mut command = self.primary().client("pg_dump");
        run(command.args(["--clean", "--if-exists", NAME])).output()
    }

    /// Replaces the contents by a dump, in one transaction.
    pub(crate) fn restore(&mut self, dump: &str) -> Finished {
        let room = Room::temporary();
        let file = room.write("dump.sql", dump);
        let mut command = self.primary().client("psql");
        command.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction"]);
        run(command.arg("--file").arg(file).arg(NAME))
    }
}

/// Host and port of the server.
pub(crate) fn address(server: &PostgresServer) -> String {
    format!("127.0.0.1:{}", server.port())
}
