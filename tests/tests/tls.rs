//! The key service over TLS: hosts with tokens and with certificates, refused clients, and replacement of
//! credentials during logins.

#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pushkeys_tests::{
    Account, Authority, Certified, Finished, HostFiles, Key, PATIENCE, Program, PushHost, Room, Service,
    as_user, give_to_syncd, program, run, until,
};
use reqwest::Method;
use serde_json::Value;

const FEED: [&str; 3] = ["v1", "feed", "snapshot"];
/// Clients that begin a handshake and do not continue.
const SLOW_CLIENTS: usize = 200;

/// A service with TLS, and its CAs.
struct World {
    service: Service,
    authority: Authority,
    hosts: Authority,
}

impl World {
    fn start() -> Self {
        let (authority, hosts) = (Authority::new("service"), Authority::new("hosts"));
        Self { service: Service::start_with_tls(&authority, &hosts), authority, hosts }
    }

    /// A host with a certificate for its name, and without a token.
    fn host(&self) -> PushHost {
        let files = HostFiles::install();
        let name = files.name();
        let _ = self.service.administers(&["host", "add", &name, "--certificate"]).output();
        let source = files.source_with_certificate(&self.service, &self.hosts.signs_for_host(&[&name]));
        PushHost::assemble(files, &source, |_| {})
    }

    fn reloads(&self) {
        let _ = run(Command::new("kill").args(["-HUP", &self.service.pid().to_string()])).output();
    }

    /// curl with `arguments` and a path of the service.
    fn curl(&self, arguments: &[&str], path: &str) -> Finished {
        let authority = self.service.room().write("ca.pem", &self.authority.pem());
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "60", "--cacert"]).arg(authority).args(arguments);
        run(curl.arg(format!("{}{path}", self.service.url())))
    }
}

/// The number of failed handshakes of `kind` in the metrics.
fn failures(service: &Service, kind: &str) -> u64 {
    let mut curl = Command::new("curl");
    curl.args(["-sSf", "--unix-socket"]).arg(service.metrics()).arg("http://localhost/metrics");
    let series = format!("pushkeys_server_tls_handshakes_failed_total{{kind=\"{kind}\"}} ");
    let text = run(&mut curl).output();
    text.lines()
        .find_map(|line| line.strip_prefix(&series))
        .map_or(0, |number| number.parse().expect("a number"))
}

/// The result of `pushkeys-syncd check --contact` on the host.
fn contact(host: &PushHost) -> Finished {
    let mut command = as_user("pushkeys", program(Program::Syncd));
    run(command.arg("--config").arg(host.syncd.configuration()).args(["check", "--contact"]))
}

#[track_caller]
fn status_tells(host: &PushHost, what: &str) {
    until(what, || host.pushkeys(&["status"]).stdout.contains(what));
}

/// Sets the flag when it is dropped, also by a panic: a scope waits for its threads.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Logs in repeatedly until `during` ends, which can wait for more logins; none of them may fail.
fn while_logins_go_on(host: &PushHost, account: &Account, key: &Key, during: impl FnOnce(&dyn Fn(u32))) {
    let (count, is_over) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let visitor = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                host.login("git", key).succeeds_as(account);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let go_on = |times: u32| {
            let wanted = count.load(Ordering::Relaxed) + times;
            until("logins continue", || visitor.is_finished() || count.load(Ordering::Relaxed) >= wanted);
        };
        let until_here = Until(&is_over);
        go_on(1);
        during(&go_on);
        go_on(1);
        drop(until_here);
        visitor.join().expect("every login went well");
    });
}

#[test]
fn hosts_with_tokens_and_users_of_the_api_use_tls() {
    let world = World::start();
    let host = PushHost::start(&world.service);
    let (ana, laptop) = (world.service.account("ana"), Key::ed25519());
    ana.adds(&laptop, "laptop");
    host.learns(&laptop);
    host.login("git", &laptop).succeeds_as(&ana);

    let authorization = format!("Authorization: Bearer {}", ana.token());
    let response = world.curl(&["-H", &authorization, "-w", " %{http_version}"], "/v2/self/keys").output();
    assert!(response.contains("laptop") && response.ends_with(" 2"), "HTTP/2 is agreed on: {response}");
    let response =
        world.curl(&["--http1.1", "--tls-max", "1.2", "-w", "%{http_version}"], "/healthz").output();
    assert!(response.ends_with("1.1"), "{response}");
    let old = world.curl(&["--tls-max", "1.1"], "/healthz");
    assert!(!old.status.success(), "{old:?}");
    let stranger = run(Command::new("curl").arg("-sS").arg(format!("{}/healthz", world.service.url())));
    assert!(stranger.stderr.contains("certificate"), "its CA is not trusted by default: {stranger:?}");
    assert!(failures(&world.service, "failed") >= 1);

    let plain = format!("http://{}/v2/self", world.service.address());
    let plain = run(Command::new("curl").args(["-sS", "-w", "%{http_code}"]).arg(plain)).output();
    assert!(plain.contains("hint: https://") && plain.ends_with("400"), "{plain}");
    assert_eq!(failures(&world.service, "plain"), 1);
}

#[test]
fn a_host_is_authenticated_only_by_a_certificate_for_its_name() {
    let world = World::start();
    let host = world.host();
    let name = host.files().name();
    let (ana, laptop) = (world.service.account("ana"), Key::ed25519());
    ana.adds(&laptop, "laptop");
    host.learns(&laptop);
    let listed = world.service.administers(&["host", "list"]).output();
    assert!(
        listed.contains(&name) && listed.contains("certificate") && !listed.contains("token"),
        "{listed}"
    );
    let good = contact(&host);
    assert!(good.status.success() && good.stdout.contains("takes this host's credentials"), "{good:?}");

    let other = Authority::new("hosts");
    let check = |identity: &Certified, expected: &str| {
        host.files().shows(identity);
        let found = contact(&host);
        assert!(!found.status.success() && found.stdout.contains(expected), "{expected}: {found:?}");
        // The daemon reports the same as soon as it sees the file.
        status_tells(&host, expected);
    };
    check(&world.hosts.signed_long_ago(&[&name]), "it has expired");
    check(&world.hosts.signs_for_later(&[&name]), "it is not valid yet");
    check(&world.hosts.signs_for_servers_only(&[&name]), "it is not for clients");
    check(&other.signs_for_host(&[&name]), "no CA in `client_ca` signed it");
    check(
        &world.hosts.signs_for_host(&["stranger.example"]),
        "no host is identified by a client certificate for `stranger.example`",
    );
    check(&world.hosts.signs_for_host(&["*.example"]), "it has no DNS name");

    ana.adds(&Key::ed25519(), "phone");
    host.files().shows(&world.hosts.signs_for_host(&["an.alias.example", &name]));
    until("it catches up", || host.registrations() == world.service.registrations());
    let second = HostFiles::install();
    let _ = world.service.administers(&["host", "add", &second.name(), "--certificate"]).output();
    check(&world.hosts.signs_for_host(&[&name, &second.name()]), "is for two hosts");

    host.files().shows(&world.hosts.signs_for_host(&[&name]));
    until("it is in sync again", || contact(&host).status.success());
    let _ = world.service.administers(&["host", "revoke", &name]).output();
    status_tells(&host, "no host is identified by a client certificate");
    assert_eq!(host.registrations().len(), 2, "and its keys stay until `max_stale`");
}

#[test]
fn a_certificate_gives_access_to_no_account_and_does_not_replace_a_valid_token() {
    let world = World::start();
    let name = "push-1.example.com";
    let _ = world.service.administers(&["host", "add", name, "--certificate"]).output();
    let ana = world.service.account("ana");
    let own = world.hosts.signs_for_host(&[name]);
    let (certificate, key) = (
        world.service.room().write("host.pem", &own.certificate),
        world.service.room().write("host.key", &own.key),
    );
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let status = |path: &str, token: Option<&str>| {
        let authorization = token.map(|token| format!("Authorization: Bearer {token}"));
        let mut arguments =
            vec!["--cert", &certificate, "--key", &key, "-o", "/dev/null", "-w", "%{http_code}"];
        arguments.extend(authorization.as_deref().map(|line| ["-H", line]).into_iter().flatten());
        world.curl(&arguments, path).output()
    };
    assert_eq!(status("/v1/feed/snapshot", None), "200");
    assert_eq!(status("/v2/self", None), "401");
    assert_eq!(status("/v2/self", Some(ana.token())), "200");
    assert_eq!(status("/v1/feed/snapshot", Some(ana.token())), "401");
    assert_eq!(status("/v1/feed/snapshot", Some("pkh_of_nobody")), "401");
    let token = world.service.host_token("push-2");
    assert_eq!(status("/v1/feed/snapshot", Some(&token)), "200");
    let nothing = world.curl(&[], "/v1/feed/snapshot").output();
    assert!(nothing.contains("needs a host's token or client certificate"), "{nothing}");

    let refused = world.service.administers(&["host", "add", "Push-3", "--certificate"]);
    assert!(refused.stderr.contains("hint: pushkeys-server host add push-3 --certificate"), "{refused:?}");
    let plain = Service::start();
    let refused = plain.administers(&["host", "add", "push-1", "--certificate"]);
    assert!(refused.stderr.contains("`client_ca`"), "{refused:?}");
}

#[test]
fn certificates_are_replaced_on_both_sides_during_logins() {
    let world = World::start();
    let host = world.host();
    let name = host.files().name();
    let (ana, laptop, phone) = (world.service.account("ana"), Key::ed25519(), Key::ed25519());
    ana.adds(&laptop, "laptop");
    host.learns(&laptop);
    let room = world.service.room();
    while_logins_go_on(&host, &ana, &laptop, |go_on| {
        // The host's certificate: the daemon reconnects by itself. The first one stays valid for a while.
        host.files().shows(&world.hosts.signs_for_host(&[&name]));
        until("the host reconnects", || host.syncd.log().contains("the credentials have changed"));
        go_on(1);
        // The service's certificate: a key that does not match is refused, and the previous pair stays in use.
        let (own, wrong) = (
            world.authority.signs_for_server(&["127.0.0.1"]),
            world.authority.signs_for_server(&["127.0.0.1"]),
        );
        let _ = (room.write("tls.pem", &own.certificate), room.write("tls.key", &wrong.key));
        world.reloads();
        until("the files are refused", || world.service.log().contains("those loaded before stay in use"));
        ana.adds(&phone, "phone");
        host.learns(&phone);
        go_on(1);
        // Without a signal: the service checks its files by itself.
        let before = served(&world);
        let _ = room.write("tls.key", &own.key);
        until("the new certificate is in force", || served(&world) != before);
        ana.removes("phone");
        host.forgets(&phone);
    });
    // Open connections keep the old certificate; this one is new.
    assert!(contact(&host).status.success());

    // A CA is replaced, too, which ends the streams that its certificates opened.
    let next = Authority::new("next");
    let _ = room.write("hosts.pem", &next.pem());
    world.reloads();
    status_tells(&host, "no CA in `client_ca` signed it");
    assert!(world.service.log().contains("certificate is no longer valid"), "{}", world.service.log());
    host.files().shows(&next.signs_for_host(&[&name]));
    ana.adds(&phone, "phone");
    host.learns(&phone);
}

/// The service's current certificate.
fn served(world: &World) -> String {
    let response = world.curl(&["-o", "/dev/null", "-w", "%{certs}"], "/healthz").output();
    assert!(response.contains("BEGIN CERTIFICATE"), "{response}");
    response
}

#[test]
fn slow_and_malformed_handshakes_do_not_affect_others() {
    let world = World::start();
    let address = world.service.address();
    let mut slow: Vec<TcpStream> = (0..SLOW_CLIENTS)
        .map(|number| {
            let mut stream = TcpStream::connect(address).expect("a connection");
            // Half of them begin a record without finishing it.
            if number % 2 == 0 {
                stream.write_all(b"\x16\x03\x01\x02").expect("room in the socket");
            }
            stream
        })
        .collect();
    for garbage in [&b"\x16\x03\x01\x00\x05garbage"[..], &[0xff; 4096], b"SSH-2.0-OpenSSH_9.9\r\n"] {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.write_all(garbage).expect("room in the socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("own socket");
        let mut answer = Vec::new();
        // An alert, the message for plain text, or a reset: the connection ends without waiting for the limit.
        let _ = stream.read_to_end(&mut answer);
    }
    let reply = world.service.client(None).send(Method::GET, &["healthz"], None).expect("an answer");
    assert_eq!(reply.status, 200);
    assert_eq!(failures(&world.service, "slow"), 0, "which was before any slow client was disconnected");
    for stream in &mut slow {
        stream.set_read_timeout(Some(PATIENCE)).expect("own socket");
        assert_eq!(stream.read(&mut [0; 16]).expect("an end"), 0);
    }
    until("all are counted", || failures(&world.service, "slow") == SLOW_CLIENTS as u64);
}

#[test]
fn a_token_is_rotated_without_a_failed_login_or_a_lost_change() {
    let service = Service::start();
    let mut host = PushHost::start(&service);
    let name = host.files().name();
    let (ana, laptop) = (service.account("ana"), Key::ed25519());
    ana.adds(&laptop, "laptop");
    host.learns(&laptop);
    let token_file = host.files().room().join("token");
    let old = fs::read_to_string(&token_file).expect("own file");
    let feed =
        |token: &str| service.client(Some(token)).send(Method::GET, &FEED, None).expect("an answer").status;
    let refused = |arguments: &[&str], expected: &str| {
        let finished = service.administers(arguments);
        assert!(!finished.status.success() && finished.stderr.contains(expected), "{finished:?}");
    };

    refused(&["host", "rotate", &name, "--finish"], "has one credential");
    refused(&["host", "rotate", "none"], "there is no host `none`");
    let new: Value =
        serde_json::from_str(&service.administers(&["host", "rotate", &name, "--json"]).output())
            .expect("JSON");
    let new = new.get("token").and_then(Value::as_str).expect("a token");
    refused(&["host", "rotate", &name], "has two credentials already");
    refused(&["host", "rotate", &name, "--finish"], "has not used its new credential yet");
    assert!(service.administers(&["host", "list"]).output().contains("token, then token (not used yet)"));

    let mut keys = Vec::new();
    let _ = host.files().room().write("token", new);
    give_to_syncd(&token_file, 0o400);
    // Like `systemctl restart pushkeys-syncd`, which gives the daemon the new copy of a credential.
    host.syncd.stop();
    for number in 0..5 {
        let key = Key::ed25519();
        ana.adds(&key, &format!("key-{number}"));
        keys.push(key);
    }
    host.login("git", &laptop).succeeds_as(&ana);
    host.syncd.start();
    for key in &keys {
        host.learns(key);
    }
    host.login("git", &laptop).succeeds_as(&ana);
    assert_eq!((feed(&old), feed(new)), (200, 200), "both are valid until the change is finished");
    let _ = service.administers(&["host", "rotate", &name, "--finish"]).output();
    assert_eq!((feed(&old), feed(new)), (401, 200));
    ana.removes("key-0");
    keys.iter().take(1).for_each(|key| host.forgets(key));
    let log = host.syncd.log();
    assert!(!log.contains("401"), "{log}");
}

#[test]
fn a_stream_ends_with_its_credential() {
    let service = Service::start();
    let old = service.host_token("push-1");
    let room = Room::temporary();
    let mut curl = Command::new("curl");
    curl.args([
        "-sSN",
        "-H",
        &format!("Authorization: Bearer {old}"),
        &format!("{}/v1/feed/changes", service.url()),
    ]);
    let mut stream = pushkeys_tests::Process::spawn("curl", curl, &room.join("stream"));
    until("the stream has begun", || stream.log().contains("event: reset"));
    let new: Value =
        serde_json::from_str(&service.administers(&["host", "rotate", "push-1", "--json"]).output())
            .expect("JSON");
    let new = new.get("token").and_then(Value::as_str).expect("a token");
    assert_eq!(service.client(Some(new)).send(Method::GET, &FEED, None).expect("an answer").status, 200);
    assert!(stream.ended().is_none(), "two are good");
    let _ = service.administers(&["host", "rotate", "push-1", "--finish"]).output();
    until("the stream ends", || stream.ended().is_some());
}

#[test]
fn credentials_are_not_sent_in_plain_text_by_default() {
    let room = Room::temporary();
    let configure = |settings: &str| {
        let path = room.path().display();
        let text = format!(
            "listen = \"0.0.0.0:0\"\ndatabase = \"sqlite://{path}/keys.db\"\nsecret_file = \"{path}/secret\"\n{settings}"
        );
        let _ = room.write("server.toml", &text);
    };
    let server = |command: &str| {
        run(as_user("root", program(Program::Server))
            .arg("--config")
            .arg(room.join("server.toml"))
            .arg(command))
    };
    configure("");
    for command in ["serve", "check"] {
        let refused = server(command);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!((refused.stdout + &refused.stderr).contains("in plain text at `0.0.0.0:"), "{command}");
    }
    configure("trusted_proxies = [\"192.0.2.1\"]\n");
    assert!(server("check").status.success());

    let own = Authority::new("service").signs_for_server(&["127.0.0.1"]);
    let (certificate, key) = (room.write("tls.pem", &own.certificate), room.write("tls.key", &own.key));
    configure(&format!("[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n", certificate.display(), key.display()));
    let checked = server("check").output();
    assert!(checked.contains("uses TLS"), "{checked}");
    let _ = room.write_with_mode("tls.key", &own.key, 0o644);
    for command in ["serve", "check"] {
        let refused = server(command);
        assert!((refused.stdout + &refused.stderr).contains("is accessible to all users"), "{command}");
    }
}

/// The `sh tls` blocks of the operator's guide, in their order.
fn blocks_of_the_guide() -> Vec<String> {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operating.md");
    let guide = fs::read_to_string(guide).expect("the guide");
    let blocks = guide.split("```sh tls\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(str::to_owned).collect()
}

#[test]
fn every_command_of_the_guide_for_certificates_works() {
    let blocks = blocks_of_the_guide();
    let [hook, authority, register, install] = blocks.as_slice() else { panic!("{blocks:?}") };
    let (room, world) = (Room::temporary(), World::start());
    let service = world.service.room();
    let host = HostFiles::install();
    // The guide's paths are replaced by those of this test's service and host.
    let (own, there) = (service.path().display().to_string(), host.room().path().display().to_string());
    let (server, syncd) = (program(Program::Server), program(Program::Syncd));
    let replaced = [
        ("/etc/pushkeys/tls/certificate.pem", format!("{own}/tls.pem")),
        ("/etc/pushkeys/tls/key.pem", format!("{own}/tls.key")),
        ("/etc/pushkeys/tls", own.clone()),
        ("-g pushkeys-server", "-g root".to_owned()),
        ("systemctl reload pushkeys-server.service", format!("kill -HUP {}", world.service.pid())),
        (
            "runuser -u pushkeys-server -- pushkeys-server",
            format!("{} --config {own}/server.toml", server.display()),
        ),
        ("/etc/pushkeys/", format!("{there}/")),
        ("pushkeys-syncd check", format!("{} --config {there}/syncd.toml check", syncd.display())),
    ];
    let runs = |block: &str| {
        let script = replaced.iter().fold(block.to_owned(), |text, (name, here)| text.replace(name, here));
        let script = format!("RENEWED_LINEAGE={}\n{script}", room.path().display());
        run(Command::new("sh").args(["-euc", &script]).current_dir(room.path())).output()
    };

    let renewed = world.authority.signs_for_server(&["127.0.0.1"]);
    let _ = (room.write("fullchain.pem", &renewed.certificate), room.write("privkey.pem", &renewed.key));
    let before = served(&world);
    let _ = runs(hook);
    until("the renewed certificate is in force", || served(&world) != before);

    let _ = runs(authority);
    let hosts = fs::read_to_string(room.join("hosts.pem")).expect("what the guide makes");
    let _ = service.write("hosts.pem", &hosts);
    world.reloads();
    let _ = runs(register);
    let source = host.source_with_certificate(&world.service, &world.hosts.signs_for_host(&["push-2"]));
    let _ = host.room().write_with_mode("syncd.toml", &host.syncd_configuration(&source), 0o644);
    let found = runs(install);
    assert!(found.contains("takes this host's credentials"), "{found}");
    // It waits until the daemon, as its own user, is in sync.
    let _ = PushHost::assemble(host, &source, |_| {});
}
