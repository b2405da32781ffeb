//! A full disk affects no key that is in force, and sync continues when there is space again.

use pushkeys_tests::{HostFiles, Key, PushHost, Service, SmallDisk, until};

#[test]
fn the_old_shard_serves_while_the_disk_is_full_and_sync_continues_afterwards() {
    let (service, files) = (Service::start(), HostFiles::install());
    // Small enough to be filled quickly, large enough for a cache of a few keys.
    let disk = SmallDisk::mount(files.cache(), 1, "pushkeys:pushkeys");
    let source = files.source(&service);
    let host = PushHost::assemble(files, &source, |_| {});
    let (ana, before, meanwhile) = (service.account("ana"), Key::ed25519(), Key::ed25519());
    ana.adds(&before, "before");
    host.learns(&before);

    let has_room = || !host.pushkeys(&["doctor", "--json"]).stdout.contains("\"check\": \"disk\"");
    assert!(has_room(), "a cache of one key needs little");
    disk.fill();
    assert!(!has_room(), "doctor predicts that a full sync fails");
    ana.adds(&meanwhile, "meanwhile");
    until("the daemon logs the full disk", || host.syncd.log().contains("No space left on device"));
    host.login("git", &before).succeeds_as(&ana);
    host.login("git", &meanwhile).is_refused();
    assert!(host.lookup("git", &meanwhile.fingerprint()).is_unknown(), "the cache is undamaged, and old");

    disk.make_room();
    host.learns(&meanwhile);
    host.login("git", &meanwhile).succeeds_as(&ana);
    host.login("git", &before).succeeds_as(&ana);
    let verified = host.pushkeys(&["verify"]);
    assert!(verified.status.success(), "{verified:?}");
}
