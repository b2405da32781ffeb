//! The promises of pushkeys, in the words of its users.

use pushkeys_tests::{Key, PushHost, Service, Syslog};

#[test]
fn an_added_key_is_accepted_and_a_deleted_key_is_refused() {
    let service = Service::start();
    let host = PushHost::start(&service);
    let (ana, laptop) = (service.account("ana"), Key::ed25519());
    host.login("git", &laptop).is_refused();

    ana.adds(&laptop, "laptop");
    host.learns(&laptop);
    host.login("git", &laptop).succeeds_as(&ana);

    ana.removes("laptop");
    host.forgets(&laptop);
    host.login("git", &laptop).is_refused();
}

#[test]
fn every_session_belongs_to_the_account_that_holds_the_key() {
    let service = Service::start();
    let host = PushHost::start(&service);
    let users = ["ana", "bob", "it's Zoë 🔑"].map(|name| (service.account(name), Key::ed25519()));
    for (account, key) in &users {
        account.adds(key, "laptop");
        host.learns(key);
    }
    for (account, key) in &users {
        host.login("git", key).succeeds_as(account);
    }
}

#[test]
fn an_outage_of_the_service_locks_no_user_out() {
    let mut service = Service::start();
    let mut host = PushHost::start(&service);
    let (ana, laptop, stranger) = (service.account("ana"), Key::ed25519(), Key::ed25519());
    ana.adds(&laptop, "laptop");
    host.learns(&laptop);

    service.stop();
    host.login("git", &laptop).succeeds_as(&ana);
    host.login("git", &stranger).is_refused();
    host.syncd.kill();
    host.login("git", &laptop).succeeds_as(&ana);

    host.syncd.start();
    service.restart();
    ana.adds(&stranger, "tower");
    host.learns(&stranger);
    host.login("git", &stranger).succeeds_as(&ana);
}

#[test]
fn changes_during_an_outage_of_the_daemon_are_in_force_after_it() {
    let service = Service::start();
    let mut host = PushHost::start(&service);
    let (ana, laptop, tower) = (service.account("ana"), Key::ed25519(), Key::ed25519());
    ana.adds(&laptop, "laptop");
    host.learns(&laptop);

    host.syncd.stop();
    ana.removes("laptop");
    ana.adds(&tower, "tower");
    host.syncd.start();
    host.learns(&tower);
    host.forgets(&laptop);
    host.login("git", &laptop).is_refused();
    host.login("git", &tower).succeeds_as(&ana);
}

#[test]
fn replacing_a_key_refuses_the_old_one() {
    let service = Service::start();
    let host = PushHost::start(&service);
    let (ana, old, new) = (service.account("ana"), Key::ed25519(), Key::ed25519());
    ana.adds(&old, "laptop");
    host.learns(&old);

    ana.adds(&new, "laptop");
    host.learns(&new);
    host.forgets(&old);
    host.login("git", &new).succeeds_as(&ana);
    host.login("git", &old).is_refused();
}

#[test]
fn two_hosts_get_the_keys_of_one_service() {
    let service = Service::start();
    let (ana, laptop) = (service.account("ana"), Key::ed25519());
    let first = PushHost::start(&service);
    ana.adds(&laptop, "laptop");
    let second = PushHost::start(&service);
    for host in [&first, &second] {
        host.learns(&laptop);
        host.login("git", &laptop).succeeds_as(&ana);
    }
    ana.removes("laptop");
    for host in [&first, &second] {
        host.forgets(&laptop);
        host.login("git", &laptop).is_refused();
    }
}

#[test]
fn every_session_has_one_line_in_the_system_log() {
    let (service, syslog) = (Service::start(), Syslog::start());
    let host = PushHost::start_with_syslog(&service, &syslog);
    let (ana, laptop) = (service.account("ana"), Key::ed25519());
    ana.adds(&laptop, "laptop");
    host.learns(&laptop);

    host.login("git", &laptop).succeeds_as(&ana);
    let hostile = "id\nFeb 30 00:00:00 push sshd[1]: Accepted publickey for root\u{1b}[2J";
    assert_eq!(host.login("git", &laptop).runs(&[hostile]).code, Some(1));

    let lines = syslog.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in &lines {
        for word in ["pushkeys-shell", ana.id(), &laptop.fingerprint().to_string()] {
            assert!(line.contains(word), "`{word}` in {line:?}");
        }
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}
