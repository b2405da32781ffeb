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

use crate::process::{Process, run};
use crate::programs::target_name;
use crate::{Room, as_user, until};

/// Where Debian puts what only the server's owner runs.
const DEBIAN: &str = "/usr/lib/postgresql";
/// Enough for many replicas of many tests at once.
const CONNECTIONS_MAX: u32 = 1_000;
/// Seconds that the shared server waits for the next test.
const LINGER_S: u32 = 5;

/// Nothing has to survive the machine's crash, though what was confirmed is to survive the server's; and Unix sockets
/// need no port.
const SETTINGS: [&str; 4] = ["fsync=off", "full_page_writes=off", "listen_addresses=", "max_wal_size=256MB"];

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
    process: Option<Process>,
}

/// An empty database, which is dropped with whatever is connected to it.
#[derive(Debug)]
pub struct PostgresDatabase {
    socket: PathBuf,
    name: String,
}

impl PostgresServer {
    /// Starts an empty server.
    #[must_use]
    pub fn start() -> Self {
        let room = Room::temporary();
        initialise(room.path());
        let mut server = Self { room, process: None };
        server.restart();
        server
    }

    /// Starts it again, stopped or killed before.
    pub fn restart(&mut self) {
        let start = || {
            let command = server(self.room.path(), as_user("postgres", programs().join("postgres")));
            Process::spawn("postgres", command, &self.room.join("postgres.log"))
        };
        let mut process = start();
        until("PostgreSQL answers", || {
            if process.ended().is_some() {
                // Those who served clients of a server that was killed take a moment to notice.
                process = start();
            }
            answers(self.room.path())
        });
        self.process = Some(process);
    }

    /// `kill -9`, for the server and all that it does for clients.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// A new database in it.
    #[must_use]
    pub fn database(&self) -> PostgresDatabase {
        PostgresDatabase::create(self.room.path())
    }
}

impl PostgresDatabase {
    /// A new database in the server that all tests of this build share.
    #[must_use]
    pub fn shared() -> Self {
        Self::create(&SHARED.get_or_init(Shared::enter).directory)
    }

    fn create(socket: &Path) -> Self {
        let name = format!("test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let _ = psql(socket, "postgres", &format!("CREATE DATABASE {name} TEMPLATE template0")).output();
        Self { socket: socket.to_owned(), name }
    }

    /// How the service is told of it.
    #[must_use]
    pub fn url(&self) -> String {
        let socket = self.socket.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{socket}/{}", self.name)
    }

    /// Runs `statements`; gives their rows, one a line.
    #[track_caller]
    #[must_use]
    pub fn query(&self, statements: &str) -> String {
        psql(&self.socket, &self.name, statements).output()
    }

    /// Runs what [`PostgresDatabase::dump`] of another database gave.
    #[track_caller]
    pub fn restore(&self, dump: &str) {
        let room = Room::temporary();
        let file = room.write("dump.sql", dump);
        let mut command = Command::new("psql");
        command.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--username=postgres", "--host"]);
        let _ = run(command.arg(&self.socket).arg("--file").arg(file).arg(&self.name)).output();
    }

    /// All that is in it, as `pg_dump` writes it.
    #[must_use]
    pub fn dump(&self) -> String {
        let mut command = Command::new("pg_dump");
        run(command.arg("--host").arg(&self.socket).args(["--username=postgres", &self.name])).output()
    }
}

impl Drop for PostgresDatabase {
    fn drop(&mut self) {
        // The server may be gone already.
        psql(&self.socket, "postgres", &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

fn psql(socket: &Path, database: &str, statements: &str) -> crate::Finished {
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
    command.arg("--host").arg(socket).args(["--username=postgres", "--command", statements, database]);
    run(&mut command)
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
            if !answers(&directory) {
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
    until("PostgreSQL answers", || answers(directory));
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
    let id = |flag: &str| run(Command::new("id").args([flag, "postgres"])).output().trim().parse::<u32>();
    let (user, group) = (id("-u").expect("a number"), id("-g").expect("a number"));
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

/// `command`, a server's, with its arguments.
fn server(directory: &Path, mut command: Command) -> Command {
    command.arg("-D").arg(directory.join("data")).arg("-k").arg(directory);
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    command.args(["-c", &format!("max_connections={CONNECTIONS_MAX}")]);
    command
}

fn answers(socket: &Path) -> bool {
    let mut command = Command::new("pg_isready");
    command.arg("--quiet").arg("--host").arg(socket).stdin(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The directory of `initdb` and `postgres`: Debian's newest, or that of everything else.
fn programs() -> PathBuf {
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let newest = versions.filter(|path| path.join("initdb").exists()).max();
    newest.unwrap_or_else(|| "/usr/bin".into())
}
