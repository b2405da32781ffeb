//! PostgreSQL on another machine: authentication of both sides, and what is sent before it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use pushkeys_tests::{
    Authority, Finished, PostgresDatabase, PostgresServer, Program, Room, as_user, program, run,
};

const PASSWORD: &str = "hunter2";
/// An address of this machine that is not a loopback address: for the service, another machine.
const ELSEWHERE: &str = "0.0.0.0";
/// The request for TLS, which must be the only message to an unauthenticated server (PostgreSQL's protocol, `SSLRequest`).
const QUESTION: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// An operator's files.
struct Operator {
    room: Room,
}

impl Operator {
    fn new() -> Self {
        let room = Room::temporary();
        let _ = room.write("password", PASSWORD);
        Self { room }
    }

    /// Prepares the database at `url`, in which `{room}` is the folder of this operator's files.
    fn uses(&self, url: &str) -> Finished {
        let room = self.room.path().display().to_string();
        let text = format!(
            "database = \"{}\"\ndatabase_password_file = \"{room}/password\"\nsecret_file = \"{room}/secret\"\n",
            url.replace("{room}", &room)
        );
        let config = self.room.write("server.toml", &text);
        run(as_user("root", program(Program::Server)).arg("--config").arg(config).args(["account", "list"]))
    }

    #[track_caller]
    fn succeeds(&self, url: &str) {
        let finished = self.uses(url);
        assert!(finished.status.success(), "{url}: {finished:?}");
    }

    /// Checks that the message has all `parts`, and that no message has the password.
    #[track_caller]
    fn is_refused(&self, url: &str, parts: &[&str]) {
        let finished = self.uses(url);
        assert!(!finished.status.success(), "{url}: {finished:?}");
        for part in parts {
            assert!(finished.stderr.contains(part), "no `{part}` for {url}: {finished:?}");
        }
        assert!(!finished.stderr.contains(PASSWORD), "{finished:?}");
    }
}

/// A database whose user `ana` has a password.
fn database(server: &PostgresServer) -> PostgresDatabase {
    let database = server.database();
    let roles =
        format!("CREATE ROLE ana LOGIN SUPERUSER PASSWORD '{PASSWORD}'; CREATE ROLE carol LOGIN SUPERUSER");
    let _ = database.query(&roles);
    database
}

#[test]
fn a_database_is_authenticated_by_its_ca_and_name_and_may_require_our_certificate() {
    let (right, wrong, clients) =
        (Authority::new("right"), Authority::new("wrong"), Authority::new("clients"));
    let certified = right.signs_for_server(&["localhost", ELSEWHERE]);
    let server = PostgresServer::start_at_port(
        "hostssl all carol all cert\nhostssl all all all scram-sha-256\n",
        &[
            "ssl=on",
            "ssl_cert_file={room}/server.pem",
            "ssl_key_file={room}/server.key",
            "ssl_ca_file={room}/clients.pem",
        ],
        &[
            ("server.pem", &certified.certificate),
            ("server.key", &certified.key),
            ("clients.pem", &clients.pem()),
        ],
    );
    let (database, operator) = (database(&server), Operator::new());
    let _ = operator.room.write("right.pem", &right.pem());
    let _ = operator.room.write("wrong.pem", &wrong.pem());
    let at =
        |user: &str, host: &str| format!("postgres://{user}@{host}:{}/{}", server.port(), database.name());

    operator
        .succeeds(&format!("{}?sslmode=verify-full&sslrootcert={{room}}/right.pem", at("ana", "localhost")));
    // Another machine must have a valid certificate by default.
    operator.succeeds(&format!("{}?sslrootcert={{room}}/right.pem", at("ana", ELSEWHERE)));
    let log = server.log();
    let (all, encrypted) = (log.matches(" user=ana ").count(), log.matches("SSL enabled").count());
    assert!(all > 0 && all == encrypted, "{log}");

    let authority_is_told = ["over TLS", "UnknownIssuer", "hint: name the CA certificate", "`sslrootcert`"];
    operator.is_refused(&at("ana", ELSEWHERE), &authority_is_told);
    for mode in ["verify-full", "verify-ca", "require"] {
        let url = format!("{}?sslmode={mode}&sslrootcert={{room}}/wrong.pem", at("ana", "localhost"));
        operator.is_refused(&url, &authority_is_told);
    }
    let by_address = format!("{}?sslmode=verify-full&sslrootcert={{room}}/right.pem", at("ana", "127.0.0.1"));
    operator.is_refused(&by_address, &["over TLS", "hint: the host in the URL must be one of the names"]);
    operator.succeeds(&by_address.replace("verify-full", "verify-ca"));
    let missing = format!("{}?sslrootcert={{room}}/missing.pem", at("ana", ELSEWHERE));
    operator.is_refused(&missing, &["missing.pem", "which the database URL names", "No such file"]);

    let carol = clients.signs_for_client("carol");
    let _ = operator.room.write("carol.pem", &carol.certificate);
    let _ = operator.room.write_with_mode("carol.key", &carol.key, 0o644);
    let url = format!("{}?sslmode=verify-full&sslrootcert={{room}}/right.pem", at("carol", "localhost"));
    operator.is_refused(&url, &["requires a valid client certificate"]);
    let url = format!("{url}&sslcert={{room}}/carol.pem&sslkey={{room}}/carol.key");
    operator.is_refused(&url, &["carol.key", "is accessible to all users"]);
    let _ = operator.room.write("carol.key", &carol.key);
    operator.succeeds(&url);
}

#[test]
fn a_database_without_tls_on_another_machine_is_used_only_if_the_url_allows_it() {
    let server = PostgresServer::start_at_port("hostnossl all all all scram-sha-256\n", &[], &[]);
    let (database, operator) = (database(&server), Operator::new());
    let at = |host: &str| format!("postgres://ana@{host}:{}/{}", server.port(), database.name());
    operator.is_refused(
        &at(ELSEWHERE),
        &["server does not support TLS", "hint: set `ssl = on` in postgresql.conf", "sslmode=disable"],
    );
    for mode in ["prefer", "allow"] {
        let url = format!("{}?sslmode={mode}", at(ELSEWHERE));
        operator.is_refused(&url, &["allows plain text", "say sslmode=verify-full, or sslmode=disable"]);
    }
    operator.succeeds(&format!("{}?sslmode=disable", at(ELSEWHERE)));
    operator.succeeds(&at("localhost"));
}

#[test]
fn a_server_without_tls_gets_neither_a_name_nor_a_password() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("a bound socket").port();
    let stranger = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut heard = vec![0; QUESTION.len()];
        stream.read_exact(&mut heard).expect("a question");
        stream.write_all(b"N").expect("a client");
        stream.read_to_end(&mut heard).expect("the end");
        heard
    });
    Operator::new().is_refused(&format!("postgres://ana@{ELSEWHERE}:{port}/keys"), &["does not support TLS"]);
    assert_eq!(stranger.join().expect("what it heard"), QUESTION);
}
