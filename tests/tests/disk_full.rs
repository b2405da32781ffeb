//! A full disk costs no key that is in force, and mends itself when there is room again.

#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use pushkeys_tests::{HostFiles, Key, PushHost, Service, run, until};

/// Small enough to be filled at once, large enough for a cache of a few keys.
const DISK: &str = "size=1m";

/// A small disk, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    #[track_caller]
    fn mount(at: &Path) -> Self {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("{DISK},mode=0750"), "tmpfs"]).arg(at);
        let mounted = run(&mut mount);
        assert!(
            mounted.status.success(),
            "this test mounts a tmpfs, which takes CAP_SYS_ADMIN: {}",
            mounted.stderr
        );
        let _ = run(Command::new("chown").arg("pushkeys:pushkeys").arg(at)).output();
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Takes all that is left of the disk at `directory`.
fn fill(directory: &Path) -> PathBuf {
    const BLOCK_BYTES: usize = 4096;
    const BLOCKS_MAX: usize = 1024;
    // No source's name begins with a dot.
    let path = directory.join(".filler");
    let mut file = File::create(&path).expect("root may");
    let is_full = (0..BLOCKS_MAX).any(|_| file.write_all(&[0; BLOCK_BYTES]).is_err());
    assert!(is_full, "a disk of {DISK} is full by now");
    path
}

#[test]
fn the_old_shard_serves_while_the_disk_is_full_and_sync_goes_on_afterwards() {
    let (service, files) = (Service::start(), HostFiles::install());
    let _disk = SmallDisk::mount(files.cache());
    let source = files.source(&service);
    let host = PushHost::assemble(files, &source, |_| {});
    let (ana, before, meanwhile) = (service.account("ana"), Key::ed25519(), Key::ed25519());
    ana.adds(&before, "before");
    host.learns(&before);

    let has_room = || !host.pushkeys(&["doctor", "--json"]).stdout.contains("\"check\": \"disk\"");
    assert!(has_room(), "a cache of one key needs little");
    let filler = fill(host.cache());
    assert!(!has_room(), "the doctor foresees that a full sync fails");
    ana.adds(&meanwhile, "meanwhile");
    until("the daemon tells of the full disk", || host.syncd.log().contains("No space left on device"));
    host.login("git", &before).succeeds_as(&ana);
    host.login("git", &meanwhile).is_refused();
    assert!(host.lookup("git", &meanwhile.fingerprint()).is_unknown(), "the cache is whole, and old");

    std::fs::remove_file(filler).expect("own file");
    host.learns(&meanwhile);
    host.login("git", &meanwhile).succeeds_as(&ana);
    host.login("git", &before).succeeds_as(&ana);
    let verified = host.pushkeys(&["verify"]);
    assert!(verified.status.success(), "{verified:?}");
}
