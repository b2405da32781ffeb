//! Outages: rows of the table in docs/operating.md that no other test covers.

#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use pushkeys_tests::{
    Account, Balancer, Clock, HostFiles, Key, PostgresServer, PushHost, Service, give_to_syncd, until,
};

/// Waits until `pushkeys status` on the host reports the problem `of`.
fn complains(host: &PushHost, of: &str) {
    until(&format!("the host complains of `{of}`"), || {
        let finished = host.pushkeys(&["status"]);
        finished.status.code() == Some(1) && finished.stdout.contains(of)
    });
}

/// ana, whose key is on the host.
fn ana_with_a_key(service: &Service, host: &PushHost) -> (Account, Key) {
    let (ana, laptop) = (service.account("ana"), Key::ed25519());
    ana.adds(&laptop, "laptop");
    host.learns(&laptop);
    (ana, laptop)
}

#[test]
fn logins_succeed_and_changes_are_refused_without_the_database() {
    let mut postgres = PostgresServer::start();
    let database = postgres.database();
    let service = Service::start_on_postgres(database.url());
    let host = PushHost::start(&service);
    let (ana, laptop) = ana_with_a_key(&service, &host);
    let tower = Key::ed25519();

    postgres.kill();
    let refused = ana.tries_to_add(tower.text(), "tower").expect("an answer");
    assert_eq!(refused.status, 503, "{refused:?}");
    host.login("git", &laptop).succeeds_as(&ana);
    host.login("git", &tower).is_refused();

    postgres.restart();
    until("the service finds its database", || {
        ana.tries_to_add(tower.text(), "tower").is_ok_and(|reply| reply.status == 200)
    });
    host.learns(&tower);
    host.login("git", &tower).succeeds_as(&ana);
}

#[test]
fn a_host_without_network_keeps_its_keys_and_catches_up() {
    let (service, files) = (Service::start(), HostFiles::install());
    let network = Balancer::start(vec![service.address().to_owned()]);
    // The service sends a heartbeat every second.
    let source = files.source(&service).replace(&service.url(), &network.url()) + "silence_max = \"3s\"\n";
    let host = PushHost::assemble(files, &source, |_| {});
    let (ana, laptop) = ana_with_a_key(&service, &host);
    let (gone, tower) = (Key::ed25519(), Key::ed25519());
    ana.adds(&gone, "gone");
    host.learns(&gone);

    network.hold();
    ana.removes("gone");
    ana.adds(&tower, "tower");
    complains(&host, "api");
    host.login("git", &laptop).succeeds_as(&ana);
    host.login("git", &tower).is_refused();
    host.login("git", &gone).succeeds_as(&ana);
    let _ = host.pushkeys(&["revoke", &gone.fingerprint().to_string()]).output();
    host.login("git", &gone).is_refused();

    network.restore();
    host.learns(&tower);
    host.login("git", &tower).succeeds_as(&ana);
    host.login("git", &gone).is_refused();
    until("all is well", || host.pushkeys(&["status"]).status.success());
    until("the revocation is removed with the key", || !host.cache().join("REVOKED").exists());
    host.forgets(&gone);
}

/// The file that holds `key` among those of the source `api`.
fn shard_of(host: &PushHost, key: &Key) -> PathBuf {
    fn files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder of the cache").flatten() {
            if entry.path().is_dir() { files(&entry.path(), found) } else { found.push(entry.path()) }
        }
    }
    let (mut found, fingerprint) = (Vec::new(), key.fingerprint().to_string());
    files(&host.cache().join("api"), &mut found);
    let holds = |path: &PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains(&fingerprint));
    found.into_iter().find(holds).expect("a file with the key")
}

#[test]
fn a_damaged_cache_refuses_affected_keys_and_is_rebuilt() {
    let (service, files) = (Service::start(), HostFiles::install());
    let (keys, oncall) = (files.room().join("keys"), Key::ed25519());
    fs::create_dir(&keys).expect("own directory");
    fs::write(keys.join("oncall.pub"), oncall.text()).expect("own file");
    give_to_syncd(&keys, 0o755);
    let local =
        format!("[[source]]\nname = \"local\"\nkind = \"directory\"\npath = \"{}\"\n", keys.display());
    let source = files.source(&service) + &local;
    let mut host = PushHost::assemble(files, &source, |_| {});
    let (ana, laptop) = ana_with_a_key(&service, &host);
    host.learns(&oncall);

    let shard = shard_of(&host, &laptop);
    let text = fs::read_to_string(&shard).expect("a shard");
    fs::write(&shard, text.replace(ana.id(), "acct_somebody")).expect("root may");
    let answer = host.lookup("git", &laptop.fingerprint());
    assert!(answer.code != Some(0) && answer.stdout.is_empty(), "damage is not an unknown key: {answer:?}");
    host.login("git", &laptop).is_refused();
    let session = host.login("git", &oncall).opens();
    assert_eq!(session.greeted(), Some("oncall"), "{session:?}");
    let verified = host.pushkeys(&["verify"]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    assert!(verified.stdout.contains(&shard.display().to_string()), "{verified:?}");

    fs::remove_file(shard).expect("root may");
    host.syncd.stop();
    host.syncd.start();
    host.learns(&laptop);
    host.login("git", &laptop).succeeds_as(&ana);
    assert!(host.pushkeys(&["verify"]).status.success());
}

/// The helper is static and uses the machine's clock, so the clock of everything but the daemon is ahead.
#[test]
fn a_clock_that_is_ahead_refuses_logins_until_it_is_right() {
    let service = Service::start();
    let mut host = PushHost::start(&service);
    let (ana, laptop) = ana_with_a_key(&service, &host);
    host.syncd.stop();
    host.syncd.start_with_clock(Clock::Off("-25h"));
    let answer = || host.lookup("git", &laptop.fingerprint());
    until("valid_until is long past", || answer().code != Some(0));
    assert!(answer().code == Some(7) && answer().stdout.is_empty(), "{:?}", answer());
    host.login("git", &laptop).is_refused();

    host.syncd.stop();
    host.syncd.start();
    host.learns(&laptop);
    host.login("git", &laptop).succeeds_as(&ana);
}

#[test]
fn a_compromised_host_gets_no_more_changes() {
    let service = Service::start();
    let (stolen, sound) = (PushHost::start(&service), PushHost::start(&service));
    let (ana, laptop) = ana_with_a_key(&service, &stolen);
    let token = fs::read_to_string(stolen.files().room().join("token")).expect("its token");
    let name = stolen.files().room().path().file_name().and_then(|name| name.to_str()).expect("a name");
    let _ = service.administers(&["host", "revoke", name]).output();

    complains(&stolen, "401");
    let tower = Key::ed25519();
    ana.adds(&tower, "tower");
    sound.learns(&tower);
    assert!(stolen.lookup("git", &tower.fingerprint()).is_unknown(), "its stream has ended");
    let client = pushkeys_tests::Client::new(&service.url(), Some(format!("Bearer {}", token.trim())));
    let reply = client.send(reqwest::Method::GET, &["v1", "feed", "snapshot"], None).expect("an answer");
    assert_eq!(reply.status, 401, "its token opens nothing: {reply:?}");
    stolen.login("git", &laptop).succeeds_as(&ana);
}
