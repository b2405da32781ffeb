//! The host feed: changes as they happen, resumed where they were left, and the guard against snapshots that shrink.

use crate::support::{Answer, Host, Service, entry, key, snapshot, wait_for};
use jiff::Timestamp;
use pushkeys_cache::status::State;
use pushkeys_feed::Event;

fn entries(numbers: std::ops::Range<u64>) -> Vec<pushkeys_feed::Entry> {
    numbers.map(|number| entry(number, "acct_7")).collect()
}

fn following(service: &Service, count: u64) -> Host {
    let mut host = Host::new();
    host.configure(&service.feed(""));
    service.holds(&entries(0..count));
    host.start();
    host.wait_in_sync("api", count);
    host
}

#[test]
fn a_change_arrives_and_a_restart_goes_on_after_it() {
    let service = Service::start();
    let mut host = following(&service, 3);
    service.change(&Event::Put(entry(3, "acct_8")));
    service.change(&Event::Remove(key(0).0));
    host.wait_for("api", "change 2", |status| status.cursor.as_deref() == Some("double-2"));
    assert_eq!((host.account("api", 3), host.account("api", 0)), (Some("acct_8".into()), None));
    host.stop();
    service.change(&Event::Remove(key(1).0));
    host.start();
    host.wait_for("api", "change 3", |status| status.cursor.as_deref() == Some("double-3"));
    assert_eq!(host.account("api", 1), None);
    assert_eq!(service.count(pushkeys_feed::SNAPSHOT_PATH), 1, "a restart needs no snapshot");
    assert!(service.requests().iter().any(|head| head.contains("last-event-id: double-2")));
}

#[test]
fn an_entry_is_left_out_until_its_source_gets_it_right() {
    let service = Service::start();
    let host = following(&service, 1);
    let left_out = |count: u64| {
        host.wait_for("api", &format!("{count} left out"), |status| status.skipped.count == count);
    };
    let wrong = |number| pushkeys_feed::Entry { key: entry(99, "acct_7").key, ..entry(number, "acct_7") };
    service.change(&Event::Put(wrong(1)));
    left_out(1);
    service.change(&Event::Put(wrong(1)));
    service.change(&Event::Put(wrong(2)));
    left_out(2);
    service.change(&Event::Put(entry(1, "acct_7")));
    left_out(1);
    service.change(&Event::Remove(key(2).0));
    let status = host.wait_for("api", "nothing left out", |status| status.skipped.count == 0);
    assert!(status.skipped.recent.is_empty(), "{status:?}");
    assert_eq!(host.account("api", 1).as_deref(), Some("acct_7"));
    assert_eq!(status.refresh_interval_s, Some(80), "a silence of 20 s, and a minute between two refreshes");
}

#[test]
fn a_stream_that_is_cut_is_taken_up_again() {
    let service = Service::start();
    let host = following(&service, 3);
    for number in 10..15 {
        service.cut();
        service.change(&Event::Put(entry(number, "acct_8")));
        wait_for("the key", || host.account("api", number));
    }
    assert_eq!(service.count(pushkeys_feed::SNAPSHOT_PATH), 1);
}

#[test]
fn a_silent_stream_is_taken_up_again() {
    let service = Service::start();
    let mut host = Host::new();
    host.configure(&service.feed("silence_max = \"300ms\""));
    service.holds(&entries(0..3));
    host.start();
    host.wait_in_sync("api", 3);
    service.fall_silent(true);
    host.wait_for_error("api", "was silent");
    service.fall_silent(false);
    host.wait_in_sync("api", 3);
}

#[test]
fn a_burst_of_changes_arrives_whole() {
    let service = Service::start();
    let host = following(&service, 1);
    for number in 1..500 {
        service.change(&Event::Put(entry(number, "acct_8")));
    }
    host.wait_in_sync("api", 500);
    for number in 1..500 {
        assert_eq!(host.account("api", number).as_deref(), Some("acct_8"), "{number}");
    }
}

#[test]
fn a_malformed_put_takes_its_key_away_and_an_unreadable_remove_asks_for_a_snapshot() {
    let service = Service::start();
    let host = following(&service, 3);
    let fingerprint = key(0).0;
    service.change_raw("put", &format!("{{\"fingerprint\":\"{fingerprint}\",\"key\":7}}"));
    wait_for("the key to go", || host.account("api", 0).is_none().then_some(()));
    assert_eq!(host.account("api", 1).as_deref(), Some("acct_7"));
    assert_eq!(service.count(pushkeys_feed::SNAPSHOT_PATH), 1);

    service.change_raw("remove", "{}");
    service.holds(&entries(2..6));
    wait_for("the snapshot", || host.account("api", 5));
    assert_eq!(host.account("api", 1), None);
}

#[test]
fn a_host_that_the_service_no_longer_knows_takes_a_snapshot() {
    let service = Service::start();
    let mut host = following(&service, 3);
    host.stop();
    let other = Service::start();
    other.holds(&entries(0..4));
    host.configure(&other.feed(""));
    host.start();
    host.wait_in_sync("api", 4);
}

#[test]
fn other_logins_are_rendered_by_a_snapshot_at_the_next_start() {
    let service = Service::start();
    let mut host = following(&service, 3);
    host.stop();
    host.configure(&service.feed("logins = [\"deploy\"]"));
    host.start();
    wait_for("the login", || host.found("api", 0).filter(|entry| entry.opens(&"deploy".parse().unwrap())));
    assert_eq!(service.count(pushkeys_feed::SNAPSHOT_PATH), 2);
}

#[test]
fn a_snapshot_that_removes_too_much_waits_for_confirmation() {
    let service = Service::start();
    let mut host = following(&service, 30);
    host.stop();
    service.holds(&entries(0..20));
    // Forgets where it was, as after a change of settings.
    host.configure(&service.feed("logins = [\"deploy\"]"));
    host.start();
    let status = host
        .wait_for("api", "a held snapshot", |status| status.state == State::Held && status.held.is_some());
    let held = status.held.unwrap();
    assert_eq!((status.keys, held.removed, held.keys_offered), (30, 10, 20));
    assert_eq!(status.cursor, None, "a restart must ask for a snapshot again");
    host.wait_for_log("hint: pushkeys accept api");
    let valid_until = status.valid_until;

    service.change(&Event::Remove(key(29).0));
    service.change(&Event::Put(entry(50, "acct_8")));
    wait_for("the put", || host.account("api", 50));
    assert_eq!(host.account("api", 29), None, "a removal is obeyed at once");
    assert_eq!(host.account("api", 28).as_deref(), Some("acct_7"), "what is held back stays in force");
    let status = host.wait_for("api", "30 keys", |status| status.keys == 30);
    assert_eq!((status.state, status.valid_until), (State::Held, valid_until), "nothing is refreshed");

    service.holds(&[entries(0..20), vec![entry(50, "acct_8")]].concat());
    let (cache, name) = (host.cache(), "api".parse().unwrap());
    let held = pushkeys_cache::held(&cache, &name).unwrap().unwrap();
    pushkeys_cache::accept(&cache, &name, &held, Timestamp::now()).unwrap();
    let status = host.wait_in_sync("api", 21);
    assert_eq!(status.held, None);
    assert_eq!(pushkeys_cache::held(&cache, &name).unwrap(), None);
}

#[test]
fn an_acceptance_is_for_no_more_than_it_says() {
    let service = Service::start();
    let mut host = Host::new();
    host.configure(&service.poll(""));
    let tagged = |tag: &str, numbers| {
        service.answer(Answer::Tagged(format!("\"{tag}\""), snapshot(0, &entries(numbers))));
    };
    tagged("a", 0..30);
    host.start();
    host.wait_in_sync("web", 30);
    tagged("b", 0..20);
    host.wait_for("web", "a held snapshot", |status| {
        status.held.as_ref().is_some_and(|held| held.removed == 10)
    });
    tagged("c", 0..10);
    host.wait_for("web", "another", |status| status.held.as_ref().is_some_and(|held| held.removed == 20));
    let (cache, name) = (host.cache(), "web".parse().unwrap());
    let held = pushkeys_cache::Held { removed: 10, ..pushkeys_cache::held(&cache, &name).unwrap().unwrap() };
    pushkeys_cache::accept(&cache, &name, &held, Timestamp::now()).unwrap();
    wait_for("the confirmation to be used up", || (!cache.join("web/ACCEPT").exists()).then_some(()));
    assert_eq!(host.account("web", 29).as_deref(), Some("acct_7"));
    tagged("d", 0..29);
    host.wait_in_sync("web", 29);
}

#[test]
fn an_empty_snapshot_never_empties_a_cache() {
    let service = Service::start();
    let mut host = Host::new();
    host.configure(&service.poll(""));
    service.answer(Answer::Tagged("\"a\"".into(), snapshot(0, &entries(0..2))));
    host.start();
    host.wait_in_sync("web", 2);
    service.answer(Answer::Tagged("\"b\"".into(), snapshot(0, &[])));
    host.wait_for("web", "a held snapshot", |status| status.state == State::Held);
    assert!(host.account("web", 0).is_some() && host.account("web", 1).is_some());
}

#[test]
fn a_service_that_takes_no_reports_is_a_fault_only_when_something_is_revoked() {
    const FAULT: &str = "reports to the key service fail";
    let service = Service::start();
    let host = following(&service, 1);
    wait_for("the first report", || (service.reports(pushkeys_feed::REVOKED_PATH) == 1).then_some(()));
    // The daemon has gone on from there when it takes a signal.
    host.signal(rustix::process::Signal::HUP);
    host.wait_for_log("reload asked for by SIGHUP");
    assert!(!host.log().contains(FAULT), "{}", host.log());
    let account = pushkeys_cache::Revoked::Account("acct_7".parse().unwrap());
    pushkeys_cache::change_revocations(&host.cache(), |all| all.add(account, Timestamp::now())).unwrap();
    host.wait_for_log(FAULT);
    assert!(service.reports(pushkeys_feed::REVOKED_PATH) > 1);
}
