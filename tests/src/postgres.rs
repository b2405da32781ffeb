//! PostgreSQL servers: a test's own, and one that tests share, each test with its own database.
//!
//! The first test that needs the shared server starts it. Each user process holds a lock on a file until it ends, even if it
//! is killed; a shell waits for that lock, stops the server some seconds after its last user and removes it.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;

use crate::port::free_port;
use crate::process::{Process, run};
use crate::programs::target_name;
use crate::{Finished, Room, as_user, eventually, until};

/// Debian's folder of the server's programs.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Enough for many replicas in many concurrent tests.
const CONNECTIONS_MAX: u32 = 1_000;
/// The default port, which is part of the socket's file name.
const USUAL_PORT: u16 = 5432;
/// The time in seconds that the shared server waits for the next test.
const LINGER_S: u32 = 5;

/// Data need not survive a crash of the machine, but committed data has to survive a crash of the server; and Unix sockets
/// need no port.
const SETTINGS: [&str; 4] = ["fsync=off", "full_page_writes=off", "listen_addresses=", "max_wal_size=256MB"];
/// Additional access rules of a server that has a standby.
const REPLICATION_RULES: &str = "local replication all trust\nhost all,replication all 127.0.0.1/32 trust\n";
/// A disconnected standby reconnects at once, and finds all that it missed.
const REPLICATION_SETTINGS: [&str; 2] = ["wal_keep_size=64MB", "wal_retrieve_retry_interval=200ms"];
/// Additional settings of a server with a TCP port.
const NETWORK_SETTINGS: [&str; 3] =
    ["listen_addresses=127.0.0.1", "hba_file={room}/hba.conf", "log_connections=on"];

/// $1: the server's folder, $2: the folder of its programs, $3: how long to wait for the next user.
const END_AFTER_THE_LAST_USER: &str = r#"
cd "$1" || exit 1
exec 8>>users 9>>door
while flock -x 8; do
    flock -u 8
    before="$(stat -c %Y.%s used)"
    sleep "$3"
    flock -x 9
    if flock -n -x 8 && [ "$before" = "$(stat -c %Y.%s used)" ]; then
        setpriv --reuid postgres --regid postgres --init-groups -- "$2/pg_ctl" stop -D "$1/data" -m immediate
        mv "$1" "$1-$$-gone" && rm -rf "$1-$$-gone"
        exit
    fi
    flock -u 8
    flock -u 9
done
"#;

static SHARED: OnceLock<Shared> = OnceLock::new();
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A test's own server, on a Unix socket.
#[derive(Debug)]
pub struct PostgresServer {
    room: Room,
    port: u16,
    settings: Vec<String>,
    process: Option<Process>,
}

/// An empty database, which is dropped together with its connections.
#[derive(Debug)]
pub struct PostgresDatabase {
    socket: PathBuf,
    port: u16,
    name: String,
}

impl PostgresServer {
    /// Starts an empty server.
    #[must_use]
    pub fn start() -> Self {
        Self::start_in(Room::temporary(), USUAL_PORT, Vec::new())
    }

    /// The same with a TCP port on this machine. `rules` are its lines in `pg_hba.conf`;
    /// in `settings`, `{room}` is the folder of `files`, each with its name and text.
    #[must_use]
    pub fn start_at_port(rules: &str, settings: &[&str], files: &[(&str, &str)]) -> Self {
        let room = Room::temporary();
        let (user, group) = owner();
        let rules = format!("local all all trust\n{rules}");
        for (name, text) in files.iter().chain([&("hba.conf", rules.as_str())]) {
            chown(room.write(name, text), Some(user), Some(group)).expect("root's right");
        }
        let place = room.path().display().to_string();
        let settings = NETWORK_SETTINGS.iter().chain(settings).map(|text| text.replace("{room}", &place));
        let settings = settings.collect();
        Self::start_in(room, free_port(), settings)
    }

    /// Starts an empty server that can have standbys and has a TCP port on this machine.
    #[must_use]
    pub fn start_primary() -> Self {
        Self::start_at_port(REPLICATION_RULES, &REPLICATION_SETTINGS, &[])
    }

    /// Starts a standby of the server at `port` of this machine.
    #[must_use]
    pub fn start_standby_of(port: u16) -> Self {
        let room = Room::temporary();
        let (user, group) = owner();
        let rules = format!("local all all trust\n{REPLICATION_RULES}");
        for path in [room.write("hba.conf", &rules), room.path().to_owned()] {
            chown(path, Some(user), Some(group)).expect("root's right");
        }
        let place = room.path().display().to_string();
        let settings = NETWORK_SETTINGS.iter().chain(&REPLICATION_SETTINGS);
        let settings = settings.map(|text| text.replace("{room}", &place)).collect();
        let mut server = Self { room, port: free_port(), settings, process: None };
        server.follow(port);
        server
    }

    /// Becomes a standby of the server at `port`.
    pub fn follow(&mut self, port: u16) {
        self.kill();
        let data = self.room.join("data");
        let _ = fs::remove_dir_all(&data);
        let mut command = as_user("postgres", "/usr/bin/pg_basebackup");
        command.args(["--host=127.0.0.1", "--username=postgres", "--port", &port.to_string(), "--pgdata"]);
        command.arg(&data).args([
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--no-sync",
        ]);
        let _ = run(&mut command).output();
        self.restart();
    }

    /// Promotes a standby; it is a primary when this returns.
    #[track_caller]
    pub fn promote(&self) {
        let promoted = self.sql("postgres", "SELECT pg_promote(true, 60)").output();
        assert_eq!(promoted, "t\n", "the standby is promoted");
    }

    /// Runs `statements` in `database`, as the superuser.
    #[must_use]
    pub fn sql(&self, database: &str, statements: &str) -> Finished {
        psql(&mut self.client("psql"), database, statements)
    }

    /// `program`, one of PostgreSQL's clients, with the connection parameters of the server.
    #[must_use]
    pub fn client(&self, program: &str) -> Command {
        client(program, self.room.path(), self.port)
    }

    /// The folder of its files.
    #[must_use]
    pub fn room(&self) -> &Room {
        &self.room
    }

    fn start_in(room: Room, port: u16, settings: Vec<String>) -> Self {
        initialise(room.path());
        let mut server = Self { room, port, settings, process: None };
        server.restart();
        server
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.room.join("postgres.log")).expect("own file")
    }

    /// Starts it again after it was stopped or killed.
    pub fn restart(&mut self) {
        let start = || {
            let mut command = server(self.room.path(), as_user("postgres", programs().join("postgres")));
            command.arg("-p").arg(self.port.to_string());
            for setting in &self.settings {
                command.arg("-c").arg(setting);
            }
            Process::spawn("postgres", command, &self.room.join("postgres.log"))
        };
        let mut process = start();
        until("PostgreSQL answers", || {
            if process.ended().is_some() {
                // The children of a killed server take a moment to end.
                process = start();
            }
            answers(self.room.path(), self.port)
        });
        self.process = Some(process);
    }

    /// Kills the server and its children with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Stops the server and its children immediately, without a last checkpoint.
    pub fn stop_at_once(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal(Signal::QUIT);
            eventually("PostgreSQL ends after SIGQUIT", || process.ended());
        }
        self.process = None;
    }

    /// The process id of the server, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// A new database on it.
    #[must_use]
    pub fn database(&self) -> PostgresDatabase {
        PostgresDatabase::create(self.room.path(), self.port)
    }
}

impl PostgresDatabase {
    /// A new database on the server that all tests of this build share.
    #[must_use]
    pub fn shared() -> Self {
        Self::create(&SHARED.get_or_init(Shared::enter).directory, USUAL_PORT)
    }

    fn create(socket: &Path, port: u16) -> Self {
        let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let database = Self { socket: socket.to_owned(), port, name };
        let _ = database.manage(&format!("CREATE DATABASE {} TEMPLATE template0", database.name)).output();
        database
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL for the service.
    #[must_use]
    pub fn url(&self) -> String {
        let socket = self.socket.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{socket}/{}", self.name)
    }

    /// The folder of the server's socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Runs `statements`; returns their rows, one per line.
    #[track_caller]
    #[must_use]
    pub fn query(&self, statements: &str) -> String {
        self.psql(&self.name, statements).output()
    }

    /// Runs `statements` outside of this database.
    fn manage(&self, statements: &str) -> Finished {
        self.psql("postgres", statements)
    }

    fn psql(&self, database: &str, statements: &str) -> Finished {
        psql(&mut self.client("psql"), database, statements)
    }

    fn client(&self, program: &str) -> Command {
        client(program, &self.socket, self.port)
    }

    /// Runs the output of [`PostgresDatabase::dump`] of another database.
    #[track_caller]
    pub fn restore(&self, dump: &str) {
        let room = Room::temporary();
        let file = room.write("dump.sql", dump);
        let mut command = self.client("psql");
        command.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]);
        let _ = run(command.arg("--file").arg(file).arg(&self.name)).output();
    }

    /// The output of `pg_dump`.
    #[must_use]
    pub fn dump(&self) -> String {
        run(self.client("pg_dump").arg(&self.name)).output()
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        // The server may be gone already.
        let _ = self.manage(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// This process's use of the shared server.
#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    /// Locked until this process ends.
    _users: File,
}

impl Shared {
    fn enter() -> Self {
        let directory = std::env::temp_dir().join(format!("pushkeys-postgres-{}", target_name()));
        loop {
            fs::create_dir_all(&directory).expect("a directory for PostgreSQL");
            let open = |name: &str| File::options().append(true).create(true).open(directory.join(name));
            // The folder may be removed at any moment until the lock is held.
            let (Ok(door), Ok(users)) = (open("door"), open("users")) else { continue };
            door.lock().expect("own file");
            let inode = |metadata: io::Result<Metadata>| metadata.map(|metadata| metadata.ino()).ok();
            if inode(fs::metadata(directory.join("door"))) != inode(door.metadata()) {
                continue;
            }
            users.lock_shared().expect("own file");
            fs::write(directory.join("used"), "x".repeat(std::process::id() as usize % 1_000))
                .expect("own file");
            if !answers(&directory, USUAL_PORT) {
                start_shared(&directory);
            }
            return Self { directory, _users: users };
        }
    }
}

fn start_shared(directory: &Path) {
    fs::set_permissions(directory, Permissions::from_mode(0o755)).expect("own directory");
    let _ = fs::remove_dir_all(directory.join("data"));
    initialise(directory);
    let log = File::create(directory.join("log")).expect("own file");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--init-groups", "--"]);
    command.arg(programs().join("postgres"));
    detach(&server(directory, command), &log);
    let mut command = Command::new("sh");
    command.args(["-c", END_AFTER_THE_LAST_USER, "sh"]).arg(directory).arg(programs());
    command.arg(LINGER_S.to_string());
    detach(&command, &log);
    until("PostgreSQL answers", || answers(directory, USUAL_PORT));
}

/// Starts `command` so that it survives the end of this process.
fn detach(command: &Command, log: &File) {
    let mut detached = Command::new("setsid");
    detached.arg("--fork").arg(command.get_program()).args(command.get_args());
    detached.stdin(Stdio::null()).current_dir("/");
    detached.stdout(log.try_clone().expect("a descriptor")).stderr(log.try_clone().expect("a descriptor"));
    assert!(detached.status().expect("setsid of util-linux").success());
}

/// Runs `initdb` for `data` in `directory`, as the user `postgres`: PostgreSQL refuses to run as root.
fn initialise(directory: &Path) {
    let data = directory.join("data");
    fs::create_dir(&data).expect("a directory of our own");
    let (user, group) = owner();
    chown(&data, Some(user), Some(group)).expect("root's right");
    chown(directory, Some(user), Some(group)).expect("root's right");
    let mut command = as_user("postgres", programs().join("initdb"));
    command.arg("--pgdata").arg(&data).args([
        "--auth=trust",
        "--username=postgres",
        "--encoding=UTF8",
        // Our sort orders must not depend on the locale: this one differs from bytewise order.
        "--locale=C.UTF-8",
        "--no-sync",
    ]);
    let _ = run(&mut command).output();
}

/// User and group of `postgres`.
fn owner() -> (u32, u32) {
    let id = |flag: &str| run(Command::new("id").args([flag, "postgres"])).output().trim().parse::<u32>();
    (id("-u").expect("a number"), id("-g").expect("a number"))
}

/// The server's `command` with its arguments.
fn server(directory: &Path, mut command: Command) -> Command {
    command.arg("-D").arg(directory.join("data")).arg("-k").arg(directory);
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    command.args(["-c", &format!("max_connections={CONNECTIONS_MAX}")]);
    command
}

/// `program` with the connection parameters of the server whose socket is in `socket`.
fn client(program: &str, socket: &Path, port: u16) -> Command {
    let mut command = Command::new(program);
    command.arg("--host").arg(socket).arg("--port").arg(port.to_string());
    command.arg("--username=postgres");
    command
}

fn psql(command: &mut Command, database: &str, statements: &str) -> Finished {
    command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
    run(command.args(["--command", statements, database]))
}

fn answers(socket: &Path, port: u16) -> bool {
    let mut command = Command::new("pg_isready");
    command.arg("--quiet").arg("--host").arg(socket).arg("--port").arg(port.to_string()).stdin(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The folder of `initdb` and `postgres`: Debian's newest, or that in PATH.
fn programs() -> PathBuf {
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let newest = versions.filter(|path| path.join("initdb").exists()).max();
    newest.unwrap_or_else(|| "/usr/bin".into())
}
