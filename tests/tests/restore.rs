//! A restore of the service's database from a backup, and a move to another database, from a push host's view.

#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::path::Path;

use pushkeys_tests::{Key, PostgresDatabase, PushHost, Service, SyntheticKeys};

#[test]
fn a_restore_reaches_all_hosts_and_a_move_to_postgresql_loses_nothing() {
    let mut service = Service::start();
    let host = PushHost::start(&service);
    let ana = service.account("ana");
    // Enough keys that the removal of one is no mass removal, which hosts hold back.
    for (number, key) in SyntheticKeys::new(0).take(20).enumerate() {
        assert_eq!(ana.tries_to_add(&key.text, &format!("key-{number}")).expect("an answer").status, 200);
    }
    let (kept, lost, new) = (Key::ed25519(), Key::ed25519(), Key::ed25519());
    ana.adds(&kept, "kept");
    let copy = service.database().with_extension("copy");
    let _ = service.administers(&["backup", &copy.display().to_string()]).output();
    ana.removes("kept");
    ana.adds(&lost, "lost");
    host.learns(&lost);
    host.forgets(&kept);

    service.stop();
    restore(&copy, &service.database());
    service.restart();
    host.learns(&kept);
    host.forgets(&lost);
    host.login("git", &kept).succeeds_as(&ana);
    host.login("git", &lost).is_refused();

    service.stop();
    let database = PostgresDatabase::shared();
    let _ = service.administers(&["migrate", "--to", &database.url()]).output();
    service.move_to(database.url());
    service.restart();
    ana.adds(&new, "new");
    host.learns(&new);
    host.login("git", &kept).succeeds_as(&ana);
    host.login("git", &lost).is_refused();
}

/// As in the help of `backup`.
fn restore(copy: &Path, database: &Path) {
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{end}", database.display()));
    }
    fs::copy(copy, database).expect("own files");
}
