//! The guard over time: whatever a source takes keys away by, beyond its limit within an hour it waits for confirmation.

use crate::support::{Answer, Host, Service, entry, key, snapshot, wait_for};
use jiff::Timestamp;
use pushkeys_cache::status::State;
use pushkeys_feed::{Entry, Event};

fn entries(numbers: std::ops::Range<u64>) -> Vec<Entry> {
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

/// Waits until `removed` removals wait, and `keys` keys are in force.
#[track_caller]
fn check_held(host: &Host, keys: u64, removed: u64) {
    host.wait_for("api", &format!("{removed} removals held"), |status| {
        let held = status.held.as_ref().map_or(0, |held| held.removed);
        status.state == State::Held && (status.keys, held) == (keys, removed)
    });
}

fn accept(host: &Host) {
    let (cache, name) = (host.cache(), "api".parse().unwrap());
    let held = pushkeys_cache::held(&cache, &name).unwrap().unwrap();
    pushkeys_cache::accept(&cache, &name, &held, Timestamp::now()).unwrap();
}

#[test]
fn a_stream_that_removes_every_key_waits_for_confirmation() {
    let service = Service::start();
    let mut host = following(&service, 50);
    let removals: Vec<Event> = (0..45).map(|number| Event::Remove(key(number).0)).collect();
    service.change_all(&removals);
    check_held(&host, 40, 35);
    host.wait_for_log("removals beyond `shrink_max` within an hour are held back; hint: pushkeys accept api");
    assert_eq!(host.status().unwrap().sources[0].cursor, None, "a restart asks for a snapshot");

    // What comes alone, and what is in the wrong hands, is obeyed at once all the same.
    service.change(&Event::Compromised(key(49).0));
    wait_for("the compromised key to go", || host.account("api", 49).is_none().then_some(()));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    service.change(&Event::Remove(key(48).0));
    wait_for("the single key to go", || host.account("api", 48).is_none().then_some(()));
    // A key that is registered again no longer waits to be removed.
    let waiting = (0..45).find(|number| host.account("api", *number).is_some()).unwrap();
    service.change(&Event::Put(entry(waiting, "acct_8")));
    check_held(&host, 38, 34);
    assert_eq!(host.account("api", waiting).as_deref(), Some("acct_8"));

    service.holds(&[entries(45..48), vec![entry(waiting, "acct_8")]].concat());
    host.stop();
    host.start();
    check_held(&host, 38, 34);
    accept(&host);
    host.wait_in_sync("api", 4);
    assert_eq!(host.status().unwrap().sources[0].held, None);
    // What was confirmed does not count against what comes after it.
    service.change(&Event::Remove(key(47).0));
    host.wait_in_sync("api", 3);
}

#[test]
fn a_restart_forgets_no_removals() {
    let service = Service::start();
    let mut host = following(&service, 50);
    service.change_all(&(0..10).map(|number| Event::Remove(key(number).0)).collect::<Vec<_>>());
    host.wait_in_sync("api", 40);
    host.stop();
    host.start();
    host.wait_in_sync("api", 40);
    service.change_all(&(10..20).map(|number| Event::Remove(key(number).0)).collect::<Vec<_>>());
    check_held(&host, 40, 10);
    // All of them are registered again, so nothing waits any more.
    service.change_all(&(10..20).map(|number| Event::Put(entry(number, "acct_7"))).collect::<Vec<_>>());
    let status = host.wait_in_sync("api", 40);
    assert_eq!((status.held, status.cursor.as_deref()), (None, Some("double-30")));
}

#[test]
fn entries_that_cannot_be_read_take_away_no_more_than_removals() {
    let service = Service::start();
    let host = following(&service, 50);
    for number in 0..50 {
        service.change_raw(
            "put",
            &format!(
                "{{\"fingerprint\":\"{}\",\"key\":\"x\",\"account\":\"a\",\"key_id\":\"k\"}}",
                key(number).0
            ),
        );
    }
    check_held(&host, 40, 40);
    let status = host.wait_for("api", "entries left out", |status| status.skipped.count == 50);
    assert!(status.skipped.recent[0].contains("the key is refused"), "{status:?}");
}

#[test]
fn a_small_host_is_not_hindered() {
    let service = Service::start();
    let host = following(&service, 7);
    service.change_all(&(0..5).map(|number| Event::Remove(key(number).0)).collect::<Vec<_>>());
    host.wait_in_sync("api", 2);
}

#[test]
fn keys_that_come_and_go_within_the_hour_do_not_count() {
    let service = Service::start();
    let host = following(&service, 10);
    for number in 100..112 {
        service.change(&Event::Put(entry(number, "acct_8")));
        wait_for("the key", || host.account("api", number));
        service.change(&Event::Remove(key(number).0));
        wait_for("the key to go", || host.account("api", number).is_none().then_some(()));
    }
    // A key that was there before is none of them, though it is registered again.
    service.change_all(&(0..10).map(|number| Event::Put(entry(number, "acct_9"))).collect::<Vec<_>>());
    service.change_all(&(0..10).map(|number| Event::Remove(key(number).0)).collect::<Vec<_>>());
    check_held(&host, 5, 5);
}

#[test]
fn snapshots_that_each_remove_little_remove_no_more_together() {
    let service = Service::start();
    let mut host = Host::new();
    host.configure(&service.poll(""));
    let answer =
        |count: u64| service.answer(Answer::Tagged(format!("\"{count}\""), snapshot(0, &entries(0..count))));
    answer(50);
    host.start();
    host.wait_in_sync("web", 50);
    answer(40);
    host.wait_in_sync("web", 40);
    answer(34);
    let status = host.wait_for("web", "a held snapshot", |status| status.held.is_some());
    assert_eq!((status.keys, status.held.unwrap().removed), (40, 6));
    answer(40);
    host.wait_in_sync("web", 40);
}
