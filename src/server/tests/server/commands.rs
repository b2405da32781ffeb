//! Commands while the service runs.

use crate::service::{Service, new_key, text};
use serde_json::json;

/// Runs a command that fails; returns its standard error.
#[track_caller]
fn check_refused(service: &Service, arguments: &[&str], status: i32, message: &str) {
    let output = service.command(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {stderr}");
    assert!(stderr.contains(message), "{stderr:?} does not say {message:?}");
}

#[test]
fn accounts_are_added_listed_and_removed() {
    let service = Service::start();
    let added = service.ask(&["account", "add", "ana", "--email", "ana@example.com"]);
    assert!(text(&added, "id").starts_with("acct_"));
    let listed = service.ask(&["account", "list"]);
    assert_eq!(
        (&listed["name"], &listed["email"], &listed["keys"]),
        (&json!("ana"), &json!("ana@example.com"), &json!(0))
    );
    check_refused(&service, &["account", "add", "ana"], 1, "hint: pushkeys-server account list");
    check_refused(&service, &["account", "add", "bob", "--id", "Not an id"], 2, "is not an account id");
    check_refused(&service, &["account", "add", "bob", "--email", "nowhere"], 2, "is not a mail address");
    check_refused(&service, &["account", "add", "b\x1bb"], 2, "U+001B");
    service.ask(&["account", "remove", "ana"]);
    check_refused(&service, &["account", "remove", "ana"], 1, "there is no account `ana`");
}

#[test]
fn secrets_are_shown_once_and_never_stored() {
    let service = Service::start();
    let ana = service.account("ana");
    let host = service.host("push1");
    let listed = service.ask(&["token", "list", "ana"]);
    assert_eq!(text(&listed, "id"), ana.token_id);
    let bearer = ana.bearer.strip_prefix("Bearer ").unwrap();
    let host = host.strip_prefix("Bearer ").unwrap();
    for secret in [bearer, host, &ana.oauth_secret] {
        let contains = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!contains(&service.database().contents()));
        for file in std::fs::read_dir(service.path("")).unwrap() {
            assert!(!contains(&std::fs::read(file.unwrap().path()).unwrap()));
        }
    }
}

#[test]
fn hosts_have_one_name_each() {
    let service = Service::start();
    service.host("push1");
    check_refused(&service, &["host", "add", "push1"], 1, "hint: pushkeys-server host revoke push1");
    check_refused(&service, &["host", "add", "push/1"], 2, "is not a host name");
    service.ask(&["host", "revoke", "push1"]);
    check_refused(&service, &["host", "revoke", "push1"], 1, "there is no host `push1`");
    service.host("push1");
}

#[tokio::test]
async fn an_import_stores_valid_lines_and_reports_the_others() {
    let service = Service::start();
    let (first, second) = (new_key(&service, "first"), new_key(&service, "second"));
    let line = |account: &str, name: &str, key: &str| {
        json!({ "account": account, "name": name, "key": key }).to_string()
    };
    let private = std::fs::read_to_string(service.path("key-first")).unwrap();
    let lines = [
        line("ana", "laptop", &first),
        line("bob", "stolen", &first),
        line("ana", "laptop", &second),
        line("ana", "again", &first),
        String::new(),
        line("ana", "private", &private),
        line("ana", "..", &second),
        "{\"account\":\"ana\",\"name\":\"x\",\"key\":\"y\",\"admin\":true}".to_owned(),
        "x".repeat(200_000),
        line("bob", "desktop", &second),
        line("ana", "laptop", &new_key(&service, "third")),
    ];
    std::fs::write(service.path("import"), lines.join("\n")).unwrap();
    let path = service.path("import").display().to_string();
    let refused = service.command(&["import", &path]);
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("line 1: there is no account `ana`"),
        "{refused:?}"
    );
    assert_eq!(service.ask(&["account", "list"]), json!(null));
    let output = service.command(&["import", "--create", &path]);
    assert_eq!(output.status.code(), Some(1));
    let totals: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(totals, json!({ "stored": 2, "present": 0, "refused": 8 }));
    let stderr = String::from_utf8(output.stderr).unwrap();
    for expected in [
        "line 2: the key is registered to another account",
        "line 3: the key is registered to another account",
        "line 4: the account already has this key under the name `laptop`",
        "line 6: this is a private key",
        "line 7: key: a name cannot be `.` or `..`",
        "line 8: the line is not a JSON object",
        "line 9: the line is longer than",
        "line 11: the account already has another key of this name",
    ] {
        assert!(stderr.contains(expected), "{stderr}");
    }
    assert!(!stderr.contains(private.lines().nth(1).unwrap()));
    let added = "SELECT count(*) FROM audit WHERE event = 'key_added' AND via = 'operator'";
    assert_eq!(service.database().ask(added).await, Some(2));
    let accounts = service.command(&["account", "list"]).stdout;
    let held = String::from_utf8(accounts).unwrap().lines().map(keys_of).collect::<Vec<_>>();
    assert_eq!(held, [("ana".to_owned(), 1), ("bob".to_owned(), 1)]);

    std::fs::write(service.path("import"), [lines[0].as_str(), lines[9].as_str()].join("\n")).unwrap();
    assert_eq!(service.ask(&["import", &path]), json!({ "stored": 0, "present": 2, "refused": 0 }));
}

#[tokio::test]
async fn an_authorized_keys_file_is_imported_once_however_often_and_by_whomever_it_was_edited() {
    let service = Service::start();
    let keys = ["a", "b", "c", "d"].map(|name| new_key(&service, name));
    let bare = |key: &str| key.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let file = service.path("keys").display().to_string();
    let import = |lines: &[&[u8]], arguments: &[&str]| {
        std::fs::write(&file, lines.concat()).unwrap();
        let arguments = [&["import", "--authorized-keys-of", "ana"], arguments, &[file.as_str()]].concat();
        let output = service.command(&arguments);
        let totals = serde_json::from_slice(&output.stdout).unwrap_or(serde_json::Value::Null);
        (totals, String::from_utf8(output.stderr).unwrap())
    };
    // As Notepad saves it, with a comment in Latin-1 and one that two keys have.
    let laptop = format!("\u{feff}{} laptop\r\n", bare(&keys[0]));
    let latin =
        [format!("no-pty,expiry-time=\"99991231235959Z\" {} J", bare(&keys[1])).as_bytes(), b"\xf6rg\r\n"]
            .concat();
    let again = format!("restrict {} laptop\r\n", bare(&keys[2]));
    let refused = format!("from=\"192.0.2.1\" {} x\r\n", bare(&keys[3]));
    let lines: [&[u8]; 4] = [laptop.as_bytes(), &latin, again.as_bytes(), refused.as_bytes()];

    let (totals, stderr) = import(&lines, &[]);
    assert!(totals.is_null() && stderr.contains("there is no account `ana`"), "{totals} {stderr}");
    assert!(stderr.contains("--create"), "{stderr}");
    let ana = service.account("ana");
    let (totals, stderr) = import(&lines, &["--dry-run"]);
    assert_eq!(totals, json!({"stored": 3, "present": 0, "refused": 1}));
    assert!(stderr.contains("line 4: the option `from` cannot be imported"), "{stderr}");
    assert_eq!(service.keys(&ana).await, []);

    assert_eq!(import(&lines, &[]).0, totals);
    let (_, listed) = service.get("/v2/self/keys", &ana.bearer).await;
    let names: Vec<String> = listed.as_array().unwrap().iter().map(|key| text(key, "name")).collect();
    let ending = text(&listed[2], "fingerprint");
    let (_, ending) = ending.split_at(ending.len() - 8);
    assert_eq!(names, ["Jörg", "laptop", &format!("laptop {ending}")]);
    assert_eq!(listed[0]["expires_at"], "9999-12-31T23:59:59Z");
    assert_eq!(text(&listed[0], "key"), format!("{} Jörg", bare(&keys[1])));

    // In another order, with another comment, and beside a key that has the name by now.
    let renamed = format!("{} new name\n", bare(&keys[0]));
    let taken = format!("{} Jörg\n", bare(&keys[3]));
    let edited: [&[u8]; 4] = [again.as_bytes(), renamed.as_bytes(), &latin, taken.as_bytes()];
    assert_eq!(import(&edited, &[]).0, json!({"stored": 1, "present": 3, "refused": 0}));
    assert_eq!(import(&edited, &[]).0, json!({"stored": 0, "present": 4, "refused": 0}));
    let (totals, stderr) = import(&[b"\xff\xfes\0s\0h\0"], &[]);
    assert!(totals.is_null() && stderr.contains("is in UTF-16"), "{stderr}");
}

/// Name and number of keys in a line of `account list`.
fn keys_of(line: &str) -> (String, u64) {
    let account: serde_json::Value = serde_json::from_str(line).unwrap();
    (text(&account, "name"), account["keys"].as_u64().unwrap())
}

#[test]
fn a_check_changes_nothing_and_finds_what_would_prevent_a_start() {
    let mut service = Service::start();
    let good = service.command(&["check"]);
    assert!(good.status.success());
    service.stop();
    std::fs::write(service.path("secret"), "short").unwrap();
    let bad = service.command(&["check"]);
    assert_eq!(bad.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&bad.stdout).contains("does not hold 64 hexadecimal digits"));
}

#[tokio::test]
async fn a_check_reports_a_schema_of_another_version() {
    let mut service = Service::start();
    service.stop();
    service.database().ask("UPDATE _sqlx_migrations SET version = version + 9000 WHERE version = 3").await;
    let bad = service.command(&["check"]);
    assert_eq!(bad.status.code(), Some(1));
    let said = String::from_utf8_lossy(&bad.stdout).into_owned();
    assert!(said.contains("has version 9003"), "{said}");
}

#[test]
fn a_check_reports_why_a_database_cannot_be_reached() {
    let mut service = Service::start();
    service.stop();
    service.configure_database("postgres://nobody@127.0.0.1:1/nothing");
    let bad = service.command(&["check"]);
    assert_eq!(bad.status.code(), Some(1));
    let said = String::from_utf8_lossy(&bad.stdout).into_owned();
    assert!(
        said.contains("`postgres://nobody@127.0.0.1:1/nothing`") && said.contains("Connection refused"),
        "{said}"
    );
}
