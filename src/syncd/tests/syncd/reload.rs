//! Configuration, tokens and sources change while the daemon runs, and the other sources go on undisturbed.

use crate::support::{Answer, Host, Service, entry, key, wait_for};
use pushkeys_feed::Event;

#[test]
fn sources_come_and_go_and_the_others_keep_their_connection() {
    let service = Service::start();
    service.holds(&[entry(0, "acct_7")]);
    let mut host = Host::new();
    host.configure(&service.feed(""));
    host.start();
    host.wait_in_sync("api", 1);

    host.write("local/ana.pub", 0o644, &key(1).1);
    host.configure(&(service.feed("") + &host.directory("local", "local")));
    host.wait_in_sync("local", 1);
    host.configure(&service.feed(""));
    wait_for("the folder to go", || (!host.cache().join("local").exists()).then_some(()));
    host.wait_for_log("no longer in the configuration");
    service.change(&Event::Put(entry(2, "acct_7")));
    host.wait_in_sync("api", 2);
    assert_eq!(service.count(pushkeys_feed::CHANGES_PATH), 1, "the connection was kept");
}

#[test]
fn a_source_that_went_while_no_daemon_ran_is_removed_too() {
    let mut host = Host::new();
    for (name, number) in [("one", 1), ("two", 2)] {
        host.write(&format!("{name}/ana.pub"), 0o644, &key(number).1);
    }
    host.configure(&(host.directory("one", "one") + &host.directory("two", "two")));
    host.start();
    host.wait_in_sync("two", 1);
    host.stop();
    let bystander = host.write("cache/other/file", 0o644, "not a cache");
    host.configure(&host.directory("one", "one"));
    host.start();
    wait_for("the folder to go", || (!host.cache().join("two").exists()).then_some(()));
    assert!(bystander.exists(), "a folder that is not a source's is left alone");
}

#[test]
fn a_configuration_that_is_wrong_is_named_and_the_one_before_stays() {
    let mut host = Host::new();
    host.write("local/ana.pub", 0o644, &key(1).1);
    host.configure(&host.directory("local", "local"));
    host.start();
    host.wait_in_sync("local", 1);
    let error = |host: &Host| host.status().and_then(|status| status.config_error).map(|error| error.what);

    host.configure(&(host.directory("local", "local") + "colour = \"red\"\n"));
    let what = wait_for("the fault", || error(&host));
    assert!(what.contains("line 7: unknown field `colour`"), "{what}");
    host.wait_for_log("the one before stays in force");
    host.write("local/bob.pub", 0o644, &key(2).1);
    host.wait_in_sync("local", 2);

    host.configure(&(host.directory("local", "local") + "logins = [\"deploy\"]\n"));
    wait_for("the configuration to be accepted", || error(&host).is_none().then_some(()));
    wait_for("the login", || host.found("local", 1).filter(|entry| entry.opens(&"deploy".parse().unwrap())));
}

#[test]
fn a_configuration_that_others_can_write_is_refused() {
    let mut host = Host::new();
    host.write("local/ana.pub", 0o644, &key(1).1);
    let text = std::fs::read_to_string(host.configure(&host.directory("local", "local"))).unwrap();
    host.start();
    host.wait_in_sync("local", 1);
    host.write("syncd.toml", 0o666, &text);
    host.wait_for_log("syncd.toml` is writable by group or others (mode 0666); hint: chmod go-w");
    assert!(host.is_running());
}

#[test]
fn a_new_token_counts_at_once_where_the_old_one_was_refused() {
    let service = Service::start();
    service.answer(Answer::Bytes(
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
    ));
    let mut host = Host::new();
    let token = host.write("token/host.token", 0o600, "old-secret\n");
    host.configure(&service.feed(&format!("token_file = \"{}\"", token.display())));
    host.start();
    host.wait_for_error("api", "status 401");
    service.holds(&[entry(0, "acct_7")]);
    host.write("token/host.token", 0o600, "new-secret\n");
    host.wait_in_sync("api", 1);
    assert!(service.requests().iter().any(|head| head.contains("authorization: bearer old-secret")));
    wait_for("the new token", || {
        service.requests().iter().any(|head| head.contains("authorization: bearer new-secret")).then_some(())
    });
    assert!(!host.log().contains("secret"), "no token is logged");
}

#[test]
fn a_token_that_everybody_can_read_is_not_used() {
    let service = Service::start();
    let mut host = Host::new();
    let token = host.write("host.token", 0o644, "secret\n");
    host.configure(&service.feed(&format!("token_file = \"{}\"", token.display())));
    host.start();
    host.wait_for_error("api", "host.token` is accessible to all users (mode 0644); hint: chmod o-rwx");
    assert_eq!(service.requests(), Vec::<String>::new());
}

#[test]
fn another_max_stale_counts_at_once_and_during_an_outage() {
    let service = Service::start();
    let mut host = Host::new();
    let configure = |host: &Host, max_stale: &str| {
        host.configure(&service.feed(&format!("max_stale = \"{max_stale}\"\nsilence_max = \"300ms\"")))
    };
    configure(&host, "1h");
    service.holds(&[entry(0, "acct_7")]);
    host.start();
    let before = host.wait_in_sync("api", 1);
    service.fall_silent(true);
    host.wait_for_error("api", "was silent");
    configure(&host, "9h");
    let seconds = |status: &pushkeys_cache::status::SourceStatus| {
        let time = |text: &Option<String>| text.as_ref().unwrap().parse::<jiff::Timestamp>().unwrap();
        time(&status.valid_until).duration_since(time(&status.synced_at)).as_secs()
    };
    assert_eq!(seconds(&before), 3600);
    let after = host.wait_for("api", "another end", |status| seconds(status) == 9 * 3600);
    assert_eq!(after.keys, 1);
    host.wait_for_log("by `max_stale` as it is now, what is in force is valid until 2");
    configure(&host, "2h");
    host.wait_for("api", "an earlier end", |status| seconds(status) == 2 * 3600);
}

#[test]
fn a_hangup_is_a_reload() {
    let mut host = Host::new();
    host.write("local/ana.pub", 0o644, &key(1).1);
    host.configure(&host.directory("local", "local"));
    host.start();
    host.wait_in_sync("local", 1);
    host.signal(rustix::process::Signal::HUP);
    host.wait_for_log("reload asked for by SIGHUP");
    host.write("local/bob.pub", 0o644, &key(2).1);
    host.wait_in_sync("local", 2);
    host.stop();
}

#[test]
fn a_key_that_two_sources_give_to_different_accounts_is_reported_until_it_is_settled() {
    let mut host = Host::new();
    host.write("one/ana.pub", 0o644, &key(1).1);
    host.write("two/ana.pub", 0o644, &key(1).1);
    host.configure(&(host.directory("one", "one") + &host.directory("two", "two")));
    host.start();
    host.wait_in_sync("one", 1);
    host.wait_in_sync("two", 1);
    assert_eq!(host.status().unwrap().conflicts_count, 0, "the same account is no conflict");

    host.write("two/bob.pub", 0o644, &key(1).1);
    std::fs::remove_file(host.path("two/ana.pub")).unwrap();
    let conflicts = wait_for("the conflict", || {
        host.status().map(|status| status.conflicts).filter(|all| !all.is_empty())
    });
    assert_eq!(conflicts[0].fingerprint, key(1).0.to_string());
    assert_eq!(conflicts[0].claims, [("one".into(), "ana".into()), ("two".into(), "bob".into())]);
    host.wait_for_log("it is claimed by ana (one) and bob (two)");

    std::fs::remove_file(host.path("one/ana.pub")).unwrap();
    wait_for("the end of the conflict", || host.status().filter(|status| status.conflicts_count == 0));
}
