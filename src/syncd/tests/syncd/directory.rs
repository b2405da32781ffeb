//! Local key files: what is written there counts at once, and what others could have written does not count.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use crate::support::{Host, key, wait_for};
use pushkeys_cache::status::State;

fn following() -> Host {
    let mut host = Host::new();
    host.configure(&host.directory("local", "keys"));
    host.write("keys/ana.pub", 0o644, &format!("# laptop\n{} laptop\n\n", key(1).1));
    host.start();
    host.wait_in_sync("local", 1);
    host
}

#[test]
fn files_that_are_added_changed_and_removed_count_at_once() {
    let host = following();
    let found = host.found("local", 1).unwrap();
    assert_eq!((found.account.as_str(), found.key_name.unwrap().as_str()), ("ana", "laptop"));
    host.write("keys/bob.pub", 0o644, &format!("{}\n{}\n", key(2).1, key(3).1));
    host.wait_in_sync("local", 3);
    host.write("keys/bob.pub", 0o644, &format!("{}\n", key(4).1));
    host.wait_in_sync("local", 2);
    assert_eq!((host.account("local", 4).as_deref(), host.account("local", 2)), (Some("bob"), None));
    std::fs::remove_file(host.path("keys/ana.pub")).unwrap();
    host.wait_in_sync("local", 1);
}

#[test]
fn an_empty_folder_empties_its_part_of_the_cache() {
    let host = following();
    std::fs::remove_file(host.path("keys/ana.pub")).unwrap();
    host.wait_in_sync("local", 0);
}

#[test]
fn what_is_no_key_is_reported_and_skipped() {
    let host = following();
    host.write("keys/bob.pub", 0o644, &format!("{}\nssh-ed25519 AAAA\n", key(2).1));
    host.write("keys/Not An Account.pub", 0o644, &key(3).1);
    host.write("keys/README", 0o644, &key(4).1);
    let status =
        host.wait_for("local", "two left out", |status| status.keys == 2 && status.skipped.count == 2);
    assert!(status.skipped.recent.iter().any(|line| line.contains("bob.pub`, line 2")), "{status:?}");
    assert!(
        status.skipped.recent.iter().any(|line| line.contains("is not named after an account")),
        "{status:?}"
    );
}

#[test]
fn a_key_that_two_accounts_claim_belongs_to_neither() {
    let host = following();
    host.write("keys/bob.pub", 0o644, &format!("{}\n{}\n", key(1).1, key(2).1));
    let status = host.wait_for("local", "a claim", |status| status.skipped.count == 1 && status.keys == 1);
    assert!(
        status.skipped.recent[0].contains("the accounts `ana` and `bob` both claim the key"),
        "{status:?}"
    );
    assert_eq!((host.account("local", 1), host.account("local", 2).as_deref()), (None, Some("bob")));
}

/// With an odd thing called `bob.pub` in the folder, of which the status says `expected`, the keys of bob stay as they are, and
/// the changes of all others take effect.
#[track_caller]
fn check_odd(expected: &str, make: impl FnOnce(&Path)) {
    let host = following();
    let bob = host.write("keys/bob.pub", 0o644, &format!("{}\n", key(2).1));
    host.write("keys/cy.pub", 0o644, &format!("{}\n", key(3).1));
    host.wait_in_sync("local", 3);
    std::fs::remove_file(&bob).unwrap();
    make(&bob);
    std::fs::remove_file(host.path("keys/cy.pub")).unwrap();
    host.write("keys/dan.pub", 0o644, &format!("{}\n", key(4).1));
    wait_for("the new file", || host.account("local", 4));
    let status = host.wait_for("local", expected, |status| {
        status.skipped.recent.iter().any(|line| line.contains(expected))
    });
    assert_eq!((status.state, status.skipped.count), (State::InStep, 1), "{status:?}");
    wait_for("the removed file", || host.account("local", 3).is_none().then_some(()));
    // Whether the odd thing came before the keys were gone is a race, which nobody but this test sees.
    assert!(host.account("local", 2).is_none_or(|account| account == "bob"), "{expected}");
    assert_eq!(host.account("local", 1).as_deref(), Some("ana"));
}

#[test]
fn one_odd_file_freezes_one_account() {
    check_odd("bob.pub` is not a regular file", |bob| {
        rustix::fs::mknodat(rustix::fs::CWD, bob, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    });
    check_odd("bob.pub` is not a regular file", |bob| std::fs::create_dir(bob).unwrap());
    check_odd("cannot read `", |bob| symlink("missing", bob).unwrap());
    check_odd("bob.pub` is a link to a place outside its folder", |bob| {
        symlink("/etc/hostname", bob).unwrap();
    });
}

#[test]
fn a_file_that_others_can_write_leaves_its_account_as_it_is() {
    let host = following();
    host.write("keys/bob.pub", 0o644, &key(2).1);
    host.wait_in_sync("local", 2);
    let skipped = |expected: &str| {
        host.wait_for("local", expected, |status| {
            status.skipped.recent.iter().any(|line| line.contains(expected))
        })
    };
    let file = host.write("keys/bob.pub", 0o666, &key(3).1);
    skipped("bob.pub` is writable by group or others (mode 0666)");
    assert_eq!((host.account("local", 2).as_deref(), host.account("local", 3)), (Some("bob"), None));
    std::fs::remove_file(host.path("keys/ana.pub")).unwrap();
    host.wait_in_sync("local", 1);
    // A key that goes to another account meanwhile belongs to neither.
    host.write("keys/cy.pub", 0o644, &key(2).1);
    skipped("the accounts `cy` and `bob` both claim the key");
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    wait_for("the file's own key", || host.account("local", 3));
    wait_for("the other's key", || host.account("local", 2).filter(|account| account == "cy"));

    std::fs::set_permissions(host.path("keys"), Permissions::from_mode(0o777)).unwrap();
    host.wait_for_error("local", "keys` is writable by group or others");
    std::fs::set_permissions(host.path("keys"), Permissions::from_mode(0o755)).unwrap();
    host.wait_in_sync("local", 2);
}

#[test]
fn links_lead_to_files_in_the_folder() {
    let host = following();
    host.write("keys/..data/bob.pub", 0o644, &key(2).1);
    symlink("..data/bob.pub", host.path("keys/bob.pub")).unwrap();
    host.wait_in_sync("local", 2);
}

#[test]
fn what_changes_nothing_is_neither_written_nor_logged() {
    let host = following();
    let (before, log) = (host.bytes("local"), host.log());
    for number in 0..10 {
        std::fs::write(host.path("other.log"), number.to_string()).unwrap();
        std::fs::write(host.path("keys/README"), number.to_string()).unwrap();
        symlink(format!("root@host.{number}"), host.path("keys/.#ana.pub")).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
        std::fs::remove_file(host.path("keys/.#ana.pub")).unwrap();
    }
    host.write("keys/ana.pub", 0o644, &format!("# the same laptop\n{} laptop\n", key(1).1));
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!((host.log(), host.bytes("local") == before), (log, true));
    std::fs::remove_file(host.path("keys/ana.pub")).unwrap();
    host.wait_in_sync("local", 0);
}

#[test]
fn a_missing_folder_empties_nothing_and_counts_again_when_it_is_back() {
    let host = following();
    std::fs::rename(host.path("keys"), host.path("moved")).unwrap();
    host.wait_for_error("local", "cannot read");
    assert_eq!(host.account("local", 1).as_deref(), Some("ana"));
    host.write("keys/bob.pub", 0o644, &key(2).1);
    wait_for("the new folder", || host.account("local", 2));
    host.wait_in_sync("local", 1);
    host.write("keys/eve.pub", 0o644, &key(3).1);
    host.wait_in_sync("local", 2);
}
