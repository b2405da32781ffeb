//! Faults of comparable programs. Each is a test, named after what must hold here.

#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::sync::Barrier;
use std::thread;

use pushkeys_tests::{
    Account, Client, Double, HostFiles, Key, PushHost, Reply, Service, Syslog, response, snapshot, until,
};
use reqwest::Method;
use serde_json::{Value, json};

#[track_caller]
fn is_refused(reply: &Reply) {
    assert_eq!((reply.status, reply.id()), (400, Some(505)), "{reply:?}");
}

/// theo-agent mangled keys whose comments held such characters.
#[test]
fn a_comment_changes_nothing() {
    let service = Service::start();
    let host = PushHost::start(&service);
    let ana = service.account("ana");
    for comment in ["100% me", "it's", "a \"b\" c", "`id`", "$(id)", "\\", "#", "a@b ssh-ed25519 AAAA", "🔑"]
    {
        let key = Key::generate(&["-t", "ed25519", "-C", comment]);
        ana.adds(&key, comment);
        host.learns(&key);
        let line = host.lookup("git", &key.fingerprint()).stdout;
        assert!(line.ends_with(&format!("\" {}\n", key.bare_text())), "{comment}: {line}");
        host.login("git", &key).succeeds_as(&ana);
    }
    let key = Key::ed25519();
    is_refused(
        &ana.tries_to_add(&format!("{}\nssh-ed25519 AAAA", key.text()), "two lines").expect("an answer"),
    );
}

/// theo, Kanidm and SSSD served a removed key for as long as the service was away.
#[test]
fn a_removed_key_does_not_outlive_max_stale() {
    let mut service = Service::start();
    let files = HostFiles::install();
    let source = files.source(&service) + "max_stale = \"3s\"\n";
    let host = PushHost::assemble(files, &source, |_| {});
    let (ana, key) = (service.account("ana"), Key::ed25519());
    ana.adds(&key, "laptop");
    host.learns(&key);
    host.login("git", &key).succeeds_as(&ana);

    service.kill();
    until("the host's cache is past valid_until", || {
        host.lookup("git", &key.fingerprint()).stdout.is_empty()
    });
    let answer = host.lookup("git", &key.fingerprint());
    assert!(answer.code.is_some_and(|code| code != 0), "an outage is not an unknown key: {answer:?}");
    host.login("git", &key).is_refused();

    service.restart();
    host.learns(&key);
    host.login("git", &key).succeeds_as(&ana);
}

/// Kanidm's helper printed its log where sshd reads keys.
#[test]
fn only_the_line_is_printed() {
    let service = Service::start();
    let mut host = PushHost::start(&service);
    let (ana, known, unknown) = (service.account("ana"), Key::ed25519(), Key::ed25519());
    ana.adds(&known, "laptop");
    host.learns(&known);
    host.syncd.stop();

    let answer = host.lookup("git", &known.fingerprint());
    assert!(
        answer.stdout.starts_with("restrict,command=\"") && answer.stdout.matches('\n').count() == 1,
        "{answer:?}"
    );
    assert_eq!(host.lookup("git", &unknown.fingerprint()).stdout, "");
    let shard = shard_of(&host, &known);
    std::fs::write(&shard, "not a shard").expect("root may");
    assert_eq!(host.lookup("git", &known.fingerprint()).stdout, "");
}

/// Phorge printed every key for an unknown one; aurweb and EC2 Instance Connect failed, which fills sshd's log.
#[test]
fn an_unknown_key_has_an_empty_answer_and_no_error() {
    let (service, syslog) = (Service::start(), Syslog::start());
    let host = PushHost::start_with_syslog(&service, &syslog);
    let (ana, known, stranger) = (service.account("ana"), Key::ed25519(), Key::ed25519());
    ana.adds(&known, "laptop");
    host.learns(&known);

    host.login("git", &stranger).is_refused();
    assert!(!host.sshd.log().contains("AuthorizedKeysCommand"), "{}", host.sshd.log());
    assert_eq!(syslog.lines(), [""; 0], "a stranger causes no log line");
}

/// GitLab and theo cannot distinguish an outage from an unknown key.
#[test]
fn an_outage_is_distinguished_in_the_log_and_in_the_tool() {
    let (service, syslog) = (Service::start(), Syslog::start());
    let mut host = PushHost::start_with_syslog(&service, &syslog);
    let (ana, known, stranger) = (service.account("ana"), Key::ed25519(), Key::ed25519());
    ana.adds(&known, "laptop");
    host.learns(&known);
    host.syncd.stop();
    let explain = |key: &Key| host.pushkeys(&["explain", "git", &key.fingerprint().to_string()]);
    assert_eq!(explain(&known).status.code(), Some(0));
    let unknown = explain(&stranger).stdout;

    std::fs::write(shard_of(&host, &known), "not a shard").expect("root may");
    host.login("git", &known).is_refused();
    assert!(host.sshd.log().contains("failed, status"), "sshd logs it");
    let lines = syslog.lines();
    assert!(lines.iter().any(|line| line.contains("pushkeys-lookup") && line.contains("shard")), "{lines:?}");
    let explained = explain(&known);
    assert_eq!(explained.status.code(), Some(1));
    assert_ne!(explained.stdout, unknown, "the tool reports it");
}

/// theo told the second user whose key it was.
#[test]
fn the_refusal_of_a_duplicate_does_not_name_the_other_account() {
    let service = Service::start();
    let (first, second, key) = (service.account("ana-nym"), service.account("bob"), Key::ed25519());
    first.adds(&key, "secret-laptop");
    let reply = second.tries_to_add(key.text(), "laptop").expect("an answer");
    is_refused(&reply);
    for secret in [first.name(), first.id(), "secret-laptop"] {
        assert!(!reply.body.contains(secret), "{reply:?}");
    }
    assert_eq!(second.keys(), []);
    is_refused(&first.tries_to_add(key.text(), "the same under another name").expect("an answer"));
}

#[test]
fn a_key_that_many_users_register_concurrently_has_one_owner() {
    const CONTENDERS: usize = 8;
    const ROUNDS: usize = 5;
    let service = Service::start();
    let host = PushHost::start(&service);
    let accounts: Vec<Account> =
        (0..CONTENDERS).map(|number| service.account(&format!("user-{number}"))).collect();
    for round in 0..ROUNDS {
        let (key, barrier) = (Key::ed25519(), Barrier::new(CONTENDERS));
        let name = format!("laptop-{round}");
        let register = |account: &Account| {
            barrier.wait();
            account.tries_to_add(key.text(), &name).expect("an answer")
        };
        let replies: Vec<Reply> = thread::scope(|scope| {
            let threads: Vec<_> = accounts.iter().map(|account| scope.spawn(|| register(account))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a contender")).collect()
        });
        let owners: Vec<_> = accounts.iter().zip(&replies).filter(|(_, reply)| reply.status == 200).collect();
        let [(owner, _)] = owners.as_slice() else { panic!("{replies:?}") };
        replies.iter().filter(|reply| reply.status != 200).for_each(is_refused);
        host.learns(&key);
        host.login("git", &key).succeeds_as(owner);
    }
}

/// theo read other files for logins that are paths.
#[test]
fn a_login_name_is_never_a_path() {
    let service = Service::start();
    let host = PushHost::start(&service);
    let (ana, key) = (service.account("ana"), Key::ed25519());
    ana.adds(&key, "laptop");
    host.learns(&key);
    for login in ["../api", "../../etc/passwd", "/etc/passwd", ".", "git/..", "git\n", "GIT", "", "-git2"] {
        let answer = host.lookup(login, &key.fingerprint());
        assert_eq!(answer.stdout, "", "{login}: {answer:?}");
    }
    host.login("../git", &key).is_refused();
    host.login("git", &key).succeeds_as(&ana);
}

/// GitHub, 2012: the request's body named the key's owner.
#[test]
fn the_owner_of_a_key_comes_only_from_the_credential() {
    let service = Service::start();
    let (ana, mallory, key) = (service.account("ana"), service.account("mallory"), Key::ed25519());
    let client = Client::new(&service.url(), Some(format!("Bearer {}", mallory.token())));
    let body = json!({"key": key.text(), "account": ana.id(), "user_id": ana.id()}).to_string();
    let reply = client.send(Method::PUT, &["v2", "self", "keys", "laptop"], Some(body)).expect("an answer");
    is_refused(&reply);
    assert_eq!((ana.keys(), mallory.keys()), (vec![], vec![]));

    for authorization in [None, Some("Bearer undefined".to_owned()), Some(format!("Bearer {}x", ana.token()))]
    {
        let client = Client::new(&service.url(), authorization);
        let body = Value::from(key.text()).to_string();
        let reply =
            client.send(Method::PUT, &["v2", "self", "keys", "laptop"], Some(body)).expect("an answer");
        assert_eq!(reply.status, 401, "{reply:?}");
    }
    mallory.adds(&key, "laptop");
}

/// A host's token gives access to the feed and to no account, and an account's token the other way round.
#[test]
fn credentials_are_valid_only_for_their_purpose() {
    let service = Service::start();
    let (ana, host_token) = (service.account("ana"), service.host_token("push-1"));
    let check = |token: &str, path: &[&str], status: u16| {
        let client = Client::new(&service.url(), Some(format!("Bearer {token}")));
        let reply = client.send(Method::GET, path, None).expect("an answer");
        assert_eq!(reply.status, status, "{path:?}: {reply:?}");
    };
    check(&host_token, &["v1", "feed", "snapshot"], 200);
    check(ana.token(), &["v1", "feed", "snapshot"], 401);
    check(ana.token(), &["v2", "self", "keys"], 200);
    check(&host_token, &["v2", "self", "keys"], 401);
}

/// git-shell, gitolite, gitlab-shell, Gogs, Soft Serve: other requests of clients are refused.
#[test]
fn the_forced_command_refuses_other_requests() {
    let service = Service::start();
    let host = PushHost::start(&service);
    let (ana, key) = (service.account("ana"), Key::ed25519());
    ana.adds(&key, "laptop");
    host.learns(&key);
    let overlong = format!("git-receive-pack '{}'", "x".repeat(60_000));
    for command in [
        "git-upload-pack --help",
        "git-receive-pack '-x'",
        "git-upload-pack '../../etc/passwd'",
        "git-upload-archive x",
        "git-receive-pack 'a'\nid",
        "-c id",
        &overlong,
        "\u{1b}[2Jcleared",
    ] {
        let session = host.login("git", &key).runs(&[command]);
        assert_eq!((session.code, session.stdout.as_str()), (Some(1), ""), "{session:?}");
        assert!(!session.stderr.is_empty() && session.stderr.len() < 2_000, "bounded: {session:?}");
        assert!(!session.stderr.contains('\u{1b}'), "escaped: {session:?}");
    }
}

/// A pasted private key is refused, and stored nowhere.
#[test]
fn a_private_key_is_neither_stored_nor_logged() {
    let service = Service::start();
    let (ana, key) = (service.account("ana"), Key::ed25519());
    let private = std::fs::read_to_string(key.path()).expect("ssh-keygen wrote it");
    let reply = ana.tries_to_add(&private, "laptop").expect("an answer");
    is_refused(&reply);
    assert!(reply.body.contains("private key"), "{reply:?}");
    let body = private.lines().nth(2).expect("base64 lines");
    assert!(!service.log().contains(body) && !reply.body.contains(body));
    let database = std::fs::read(service.database()).expect("the database");
    let log = std::fs::read(service.database().with_extension("db-wal")).unwrap_or_default();
    for bytes in [database, log] {
        assert!(!bytes.windows(body.len()).any(|window| window == body.as_bytes()), "in the database");
    }
}

/// aws-ec2-ssh deleted every user when its API throttled it. Other responses are in `hostile_service`; here with a restart.
#[test]
fn a_restart_with_a_failing_service_keeps_the_keys() {
    let key = Key::ed25519();
    let entry = json!({
        "fingerprint": key.fingerprint().to_string(), "key": key.bare_text(), "account": "acct_7", "key_id": "key_1",
    });
    let good = response("200 OK", "application/x-ndjson", &snapshot(&[(key.fingerprint(), entry)]));
    let double = Double::start(good);
    let mut host = PushHost::start_polling(&double);
    host.learns(&key);
    double.answers(response("429 Too Many Requests", "application/json", "{}"));
    host.syncd.kill();
    host.syncd.start();
    until("the daemon met the failing service", || !host.pushkeys(&["status"]).status.success());
    assert_eq!(host.login("git", &key).opens().code, Some(0));
}

/// The file in which the cache holds `key`.
#[track_caller]
fn shard_of(host: &PushHost, key: &Key) -> std::path::PathBuf {
    let cache = pushkeys_cache::Cache::open(host.cache()).expect("the cache");
    let source = cache.source(&"api".parse().expect("a source")).expect("the source");
    source.shard_path(&key.fingerprint())
}
