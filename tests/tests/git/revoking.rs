//! `pushkeys revoke`, on a host whose service is unavailable and comes back.

use std::fs;

use pushkeys_tests::{Service, Session, SshdSettings, until};

use crate::world::{URL, World, ended, is_running};

impl World {
    #[track_caller]
    fn revokes(&self, arguments: &[&str]) {
        let _ = self.host.pushkeys(&[&["revoke"], arguments].concat()).output();
    }

    fn opens(&self) -> Session {
        self.host.login("git", &self.key).opens()
    }

    /// Whether the host has no revocations any more.
    fn is_lifted(&self) -> bool {
        !self.host.cache().join("REVOKED").exists()
    }
}

/// The revocations that push hosts reported to the service.
fn reported(service: &Service) -> String {
    service.administers(&["--json", "revocation", "list"]).output()
}

const MESSAGE: &str = "pushkeys: this session ends: your key was revoked on this host\n";

#[test]
fn a_revocation_needs_neither_the_service_nor_the_daemon_and_ends_a_push() {
    let mut world = World::start();
    let (push, pid) = world.push_that_waits(&[]);
    let before = World::revision(&world.repository(), "main");
    world.service.kill();
    world.host.syncd.kill();
    world.revokes(&[&world.key.fingerprint().to_string()]);
    let (is_success, message) = ended(push);
    assert!(!is_success);
    assert!(message.contains(MESSAGE), "{message}");
    until("the hook has ended", || !is_running(&pid));
    assert_eq!(World::revision(&world.repository(), "main"), before);
    assert!(world.opens().is_refused());
    until("the end is logged", || world.sessions().iter().any(|line| line.contains("answered=key-revoked")));

    world.revokes(&[&world.key.fingerprint().to_string(), "--undo"]);
    world.host.login("git", &world.key).succeeds_as(&world.ana);
}

#[test]
fn a_multiplexed_connection_serves_nothing_to_a_revoked_account() {
    let world = World::start();
    let (_master, shared) = world.shares_a_connection();
    let (push, _) = world.push_that_waits(&["-o", &shared]);
    world.revokes(&["--account", world.ana.id()]);
    let (is_success, message) = ended(push);
    assert!(!is_success && message.contains(MESSAGE), "{message}");
    let mut next = world.command_with(&world.key, &["-o", &shared], &["ls-remote", URL]);
    let next = pushkeys_tests::run(&mut next);
    assert!(next.stderr.contains("pushkeys: your key was revoked on this host\n"), "{next:?}");
}

#[test]
fn a_revocation_survives_restarts_and_syncs_until_the_service_has_no_such_key() {
    let mut world = World::start();
    world.service.kill();
    world.revokes(&[&world.key.fingerprint().to_string()]);
    world.host.syncd.stop();
    world.service.restart();
    world.host.syncd.start();
    until("the service has the report", || reported(&world.service).contains(world.ana.id()));
    // The feed continues, and the revocation stays.
    let other = pushkeys_tests::Key::ed25519();
    world.ana.adds(&other, "desktop");
    world.host.learns(&other);
    assert!(world.opens().is_refused());
    world.host.login("git", &other).succeeds_as(&world.ana);
    until("the host shows the service's reason", || {
        world.host.pushkeys(&["revoke", "--list"]).output().contains("its operator has not decided")
    });

    world.ana.removes("laptop");
    until("the revocation is lifted", || world.is_lifted());
    until("the service has removed it", || reported(&world.service).is_empty());
    world.ana.adds(&world.key, "laptop");
    world.host.learns(&world.key);
    world.host.login("git", &world.key).succeeds_as(&world.ana);
}

#[test]
fn the_operator_confirms_a_hosts_revocation_for_all_hosts() {
    let world = World::start();
    world.revokes(&["--account", world.ana.id()]);
    until("the service has the report", || reported(&world.service).contains(world.ana.id()));
    assert_eq!(world.ana.keys().len(), 1, "other hosts are not affected");
    let row: serde_json::Value = serde_json::from_str(reported(&world.service).trim()).expect("one row");
    let id = row["id"].as_str().expect("an id");
    let _ = world.service.administers(&["revocation", "confirm", id]).output();
    assert!(world.ana.keys().is_empty());
    until("the revocation is lifted", || world.is_lifted());
    assert!(world.opens().is_refused());
}

#[test]
fn sshd_itself_refuses_keys_in_the_file_of_revoked_keys() {
    let room = pushkeys_tests::Room::root_owned();
    let (list, line) = (room.join("list"), room.join("authorized_keys"));
    pushkeys_tests::give_to_syncd(room.path(), 0o755);
    let path = format!("\"{}\"", list.display());
    let world = World::assemble(
        |_| String::new(),
        |sshd: &mut SshdSettings, daemon| {
            // sshd does not look up a key in a file, so only the list of revoked keys can refuse it.
            sshd.authorized_keys_file = line.display().to_string();
            sshd.global = format!("StrictModes no\nRevokedKeys {path}");
            *daemon = format!("revoked_keys_file = {path}\n");
        },
    );
    let key_line = world.host.lookup("git", &world.key.fingerprint()).stdout;
    let _ = room.write_with_mode("authorized_keys", &key_line, 0o644);
    until("the list exists", || list.exists());
    world.host.login("git", &world.key).succeeds_as(&world.ana);
    let empty = fs::read(&list).expect("the list");
    world.revokes(&[&world.key.fingerprint().to_string()]);
    until("the key is in the list", || fs::read(&list).expect("always there") != empty);
    assert!(world.opens().is_refused());
    assert!(world.host.sshd.log().contains("revoked"), "{}", world.host.sshd.log());
    world.revokes(&[&world.key.fingerprint().to_string(), "--undo"]);
    until("the key is out of the list", || fs::read(&list).expect("always there") == empty);
    world.host.login("git", &world.key).succeeds_as(&world.ana);
}
