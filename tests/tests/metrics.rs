//! The metrics of both daemons, and their use in the dashboard and the alert rules.

#![expect(clippy::expect_used, clippy::panic, reason = "a helper that cannot go on fails its test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pushkeys_tests::{Client, HostFiles, Key, PushHost, Service, eventually, run, scrape};
use reqwest::Method;

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/metrics").join(name)
}

/// The value of `series`, with its labels as they are printed.
#[track_caller]
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("`{series}` is in {text}")).parse().expect("a number")
}

/// The names of our metrics in `text`.
fn names(text: &str) -> BTreeSet<&str> {
    let is_in_name =
        |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_';
    text.split(|character| !is_in_name(character))
        .filter(|word| word.starts_with("pushkeys_server_") || word.starts_with("pushkeys_syncd_"))
        .collect()
}

fn host_with_metrics(service: &Service) -> (PushHost, PathBuf) {
    let files = HostFiles::install();
    // The daemon's user can create files only in its cache.
    let socket = files.cache().join("metrics.sock");
    let sources = format!("metrics = \"{}\"\n{}", socket.display(), files.source(service));
    (PushHost::assemble(files, &sources, |_| {}), socket)
}

#[test]
fn events_are_counted_in_both_daemons() {
    let service = Service::start();
    let (host, socket) = host_with_metrics(&service);
    let (ana, laptop) = (service.account("ana"), Key::ed25519());
    ana.adds(&laptop, "laptop");
    host.learns(&laptop);
    let again = ana.tries_to_add("ssh-rsa AAAA", "weak \"} 1\\n").expect("an answer");
    assert_eq!(again.status, 400);

    let visitor = Client::new(&service.url(), None);
    for (path, status) in [(&["users", "me", "ssh-keys"][..], 200), (&["laptop"][..], 404)] {
        assert_eq!(visitor.send(Method::GET, path, None).expect("an answer").status, status);
    }
    let server = scrape(&service.metrics());
    let requests = |class: &str, route: &str, status: u16| {
        let labels = format!("class=\"{class}\",route=\"{route}\",status=\"{status}\"");
        value(&server, &format!("pushkeys_server_requests_total{{{labels}}}"))
    };
    assert!(requests("api", "/v2/self/keys/{*name}", 200) >= 1.0);
    assert!(requests("api", "/v2/self/keys/{*name}", 400) >= 1.0);
    assert!(requests("console", "/users/me/ssh-keys", 303) >= 1.0);
    assert!(requests("other", "none", 404) >= 1.0);
    assert!(value(&server, "pushkeys_server_refusals_total{kind=\"key-refused\"}") >= 1.0);
    assert!(value(&server, "pushkeys_server_request_seconds_count{class=\"api\"}") >= 2.0);
    assert!(value(&server, "pushkeys_server_sequence") >= 1.0);
    assert!((value(&server, "pushkeys_server_accounts") - 1.0).abs() < 0.5);
    assert!((value(&server, "pushkeys_server_streams") - 1.0).abs() < 0.5);
    assert!(!server.contains("weak") && !server.contains("laptop") && !server.contains("ana"), "{server}");

    let syncd = eventually("the daemon counts its key", || {
        let text = scrape(&socket);
        text.contains("pushkeys_syncd_source_keys{source=\"api\"} 1\n").then_some(text)
    });
    assert!(value(&syncd, "pushkeys_syncd_source_changes_total{source=\"api\"}") >= 1.0);
    assert!(
        value(&syncd, "pushkeys_syncd_source_synced_timestamp_seconds{source=\"api\"}") > 1_700_000_000.0
    );
    let states: f64 = syncd
        .lines()
        .filter(|line| line.starts_with("pushkeys_syncd_source_state{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert!((states - 1.0).abs() < 0.5, "one state at a time: {syncd}");
}

#[test]
fn every_metric_of_dashboard_and_rules_exists() {
    let service = Service::start();
    let (host, socket) = host_with_metrics(&service);
    let (ana, laptop) = (service.account("ana"), Key::ed25519());
    ana.adds(&laptop, "laptop");
    host.learns(&laptop);
    ana.tries_to_add("ssh-rsa AAAA", "weak").expect("an answer");
    let existing = eventually("the lag is known", || {
        let text = scrape(&service.metrics()) + &scrape(&socket);
        text.contains("pushkeys_syncd_source_lag{").then_some(text)
    });
    let existing: BTreeSet<&str> = existing
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| names(line).into_iter().next())
        .collect();
    for file in ["alerts.yml", "alerts_test.yml", "grafana-dashboard.json"] {
        let text = fs::read_to_string(packaging(file)).expect("a file that is shipped");
        let asked = names(&text);
        assert!(asked.len() > 2, "{file} asks for something");
        let missing: Vec<_> = asked.difference(&existing).collect();
        assert!(missing.is_empty(), "{file} uses {missing:?}; there are {existing:?}");
    }
}

#[test]
fn promtool_accepts_the_rules_and_they_fire_when_they_should() {
    let check = |command: &str, file: &str| {
        let finished = run(Command::new("promtool").args([command, "rules"]).arg(packaging(file)));
        assert!(finished.status.success(), "{}{}", finished.stdout, finished.stderr);
    };
    check("check", "alerts.yml");
    check("test", "alerts_test.yml");
}

#[test]
fn the_dashboard_is_valid() {
    let text = fs::read_to_string(packaging("grafana-dashboard.json")).expect("a file that is shipped");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "ids are unique");
        for target in panel["targets"].as_array().expect("targets") {
            let expression = target["expr"].as_str().expect("an expression");
            let rule = format!("groups: [{{name: x, rules: [{{record: 'a:b', expr: '{expression}'}}]}}]\n");
            let folder = tempfile::tempdir().expect("room");
            let file = folder.path().join("rule.yml");
            fs::write(&file, rule).expect("own file");
            let finished = run(Command::new("promtool").args(["check", "rules"]).arg(&file));
            assert!(finished.status.success(), "{expression}: {}{}", finished.stdout, finished.stderr);
        }
    }
    assert!(panels.len() > 5);
}
