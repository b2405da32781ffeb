//! The last uses of keys, from the session to the account's list of keys.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixDatagram;

use pushkeys_tests::until;
use serde_json::Value;

use crate::world::World;

impl World {
    /// The entry of ana's key in the list.
    fn row(&self) -> Value {
        self.ana.listed().into_iter().next().expect("a key")
    }

    fn socket(&self) -> std::path::PathBuf {
        self.host.cache().join("USAGE.sock")
    }
}

/// theo dates a key at its lookup, which anyone with the public key can cause.
#[test]
fn a_key_is_dated_by_a_session_and_not_by_a_lookup() {
    let world = World::start();
    assert!(!world.host.lookup("git", &world.key.fingerprint()).stdout.is_empty());
    assert!(world.asks("id").code == Some(1));
    world.pushes();
    until("the push is dated", || world.row().get("last_used_at").is_some());
    assert_eq!(world.row().get("last_checked_at"), None, "there was no greeting");

    world.host.login("git", &world.key).succeeds_as(&world.ana);
    until("the greeting is dated", || world.row().get("last_checked_at").is_some());
    let row = world.row();
    assert_eq!(row["last_checked_host"], row["last_used_host"]);
    assert!(
        row["last_checked_host"].as_str().is_some_and(|host| host.starts_with("pushkeys-test-")),
        "{row}"
    );
}

#[test]
fn uses_survive_an_outage_of_the_service_and_a_restart_of_the_daemon() {
    let mut world = World::start();
    world.service.kill();
    world.pushes();
    world.host.syncd.stop();
    assert!(world.host.cache().join("USAGE.api").exists());
    world.pushes();
    world.host.syncd.start();
    world.service.restart();
    until("the push is dated", || world.row().get("last_used_at").is_some());
    until("the queue is empty", || !world.host.cache().join("USAGE.api").exists());
}

#[test]
fn the_socket_accepts_uses_of_the_caches_group_that_the_cache_confirms() {
    let world = World::start();
    let metadata = fs::metadata(world.socket()).expect("the daemon listens");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.mode() & 0o777, 0o660);
    assert_eq!(metadata.gid(), fs::metadata(world.host.cache()).expect("the cache").gid());

    let sender = UnixDatagram::unbound().expect("a socket");
    let (fingerprint, ana) = (world.key.fingerprint(), world.ana.id());
    let forged = format!("1\t{fingerprint}\t{ana}\tkey_forged\tpush");
    let long = "x".repeat(100_000);
    for datagram in ["", "\0", "1\t\t\t\t", "1\tSHA256:x\ta\tb\tpush", &long, &forged] {
        sender.send_to(datagram.as_bytes(), world.socket()).expect("the daemon listens");
    }
    world.host.login("git", &world.key).succeeds_as(&world.ana);
    until("the greeting is dated", || world.row().get("last_checked_at").is_some());
    let row = world.row();
    assert_eq!(row["last_used_at"], row["last_checked_at"], "the forged push is not dated");
}
