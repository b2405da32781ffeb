//! PostgreSQL servers of a test's own, and one that tests share, each with a database of its own.
//!
//! The shared server is started by whoever needs it first. Who uses it holds a lock on a file as long as it lives, also
//! when it is killed; a shell waits for that lock, ends the server some seconds after its last user and removes it.

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

/// Where Debian puts what only the server's owner runs.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Enough for many replicas of many tests at once.
const CONNECTIONS_MAX: u32 = 1_000;
/// Where a server without a port of its own puts its socket: PostgreSQL's usual one, as a part of a file's name.
const USUAL_PORT: u16 = 5432;
/// Seconds that the shared server waits for the next test.
const LINGER_S: u32 = 5;

/// Nothing has to survive the machine's crash, though what was confirmed is to survive the server's; and Unix sockets
/// need no port.
const SETTINGS: [&str; 4] = ["fsync=off", "full_page_writes=off", "listen_addresses=", "max_wal_size=256MB"];
/// Who may reach a server that has a standby, beside whoever may reach any.
const REPLICATION_RULES: &str = "local replication all trust\nhost all,replication all 127.0.0.1/32 trust\n";
/// A standby that was cut off comes back at once, and finds what it missed.
const REPLICATION_SETTINGS: [&str; 2] = ["wal_keep_size=64MB", "wal_retrieve_retry_interval=200ms"];
/// What a server that is also reached by TCP has besides.
const NETWORK_SETTINGS: [&str; 3] =
    ["listen_addresses=127.0.0.1", "hba_file={room}/hba.conf", "log_connections=on"];

/// $1: the server's directory, $2: where its programs are, $3: how long to wait for the next user.
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

/// A server of a test's own, on a Unix socket.
#[derive(Debug)]
pub struct PostgresServer {
    room: Room,
    port: u16,
    settings: Vec<String>,
    process: Option<Process>,
}

/// An empty database, which is dropped with whatever is connected to it.
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

    /// The same, reached also by TCP at a port of this machine. `rules` say who gets in there, as `pg_hba.conf` does;
    /// in `settings`, `{room}` stands for the directory that gets `files`, each with its name and text.
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

    /// Starts an empty server that can have standbys and is reached at a port of this machine.
    #[must_use]
    pub fn start_primary() -> Self {
        Self::start_at_port(REPLICATION_RULES, &REPLICATION_SETTINGS, &[])
    }

    /// Starts a standby of the server that is reached at `port` of this machine, and follows it there.
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

    /// Becomes a standby of the server that is reached at `port`, whatever it was before.
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

    /// A standby takes over: it is a primary when this returns.
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

    /// `program`, one of PostgreSQL's clients, which is told how to reach the server.
    #[must_use]
    pub fn client(&self, program: &str) -> Command {
        client(program, self.room.path(), self.port)
    }

    /// The directory of its files.
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

    /// All that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.room.join("postgres.log")).expect("own file")
    }

    /// Starts it again, stopped or killed before.
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
                // Those who served clients of a server that was killed take a moment to notice.
                process = start();
            }
            answers(self.room.path(), self.port)
        });
        self.process = Some(process);
    }

    /// `kill -9`, for the server and all that it does for clients.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Ends it and all that it does for clients at once, without a last checkpoint.
    pub fn stop_at_once(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal(Signal::QUIT);
            eventually("PostgreSQL ends after SIGQUIT", || process.ended());
        }
        self.process = None;
    }

    /// The process id of the server itself, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// A new database in it.
    #[must_use]
    pub fn database(&self) -> PostgresDatabase {
        PostgresDatabase::create(self.room.path(), self.port)
    }
}

impl PostgresDatabase {
    /// A new database in the server that all tests of this build share.
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

    /// How the service is told of it.
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

    /// Runs `statements`; gives their rows, one a line.
    #[track_caller]
    #[must_use]
    pub fn query(&self, statements: &str) -> String {
        self.psql(&self.name, statements).output()
    }

    /// Runs `statements` where this database need not be.
    fn manage(&self, statements: &str) -> Finished {
        self.psql("postgres", statements)
    }

    fn psql(&self, database: &str, statements: &str) -> Finished {
        psql(&mut self.client("psql"), database, statements)
    }

    fn client(&self, program: &str) -> Command {
        client(program, &self.socket, self.port)
    }

    /// Runs what [`PostgresDatabase::dump`] of another database gave.
    #[track_caller]
    pub fn restore(&self, dump: &str) {
        let room = Room::temporary();
        let file = room.write("dump.sql", dump);
        let mut command = self.client("psql");
        command.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]);
        let _ = run(command.arg("--file").arg(file).arg(&self.name)).output();
    }

    /// All that is in it, as `pg_dump` writes it.
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

/// This process's part in the shared server.
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
            // The directory may be removed at any moment before the door is locked.
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

/// Starts `command` so that it outlives this process and what ends it.
fn detach(command: &Command, log: &File) {
    let mut detached = Command::new("setsid");
    detached.arg("--fork").arg(command.get_program()).args(command.get_args());
    detached.stdin(Stdio::null()).current_dir("/");
    detached.stdout(log.try_clone().expect("a descriptor")).stderr(log.try_clone().expect("a descriptor"));
    assert!(detached.status().expect("setsid of util-linux").success());
}

/// Makes `data` in `directory`, for the user `postgres`: PostgreSQL refuses to run as root.
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
        // What an order of ours depends on is not to come from the locale: this one is unlike bytes.
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

/// `command`, a server's, with its arguments.
fn server(directory: &Path, mut command: Command) -> Command {
    command.arg("-D").arg(directory.join("data")).arg("-k").arg(directory);
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    command.args(["-c", &format!("max_connections={CONNECTIONS_MAX}")]);
    command
}

/// `program`, which is told how to reach the server of the socket in `socket`.
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

/// The directory of `initdb` and `postgres`: Debian's newest, or that of everything else.
fn programs() -> PathBuf {
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let newest = versions.filter(|path| path.join("initdb").exists()).max();
    newest.unwrap_or_else(|| "/usr/bin".into())
}
