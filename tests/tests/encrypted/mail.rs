//! The mail server: TLS before any other data, by STARTTLS or from the first byte, and mails that wait meanwhile.

use std::process::Command;

use pushkeys_tests::{
    Account, Authority, Key, Mail, MailServer, Service, Smtp, eventually, run, scrape, until,
};
use serde_json::Value;

const PASSWORD: &str = "hunter2";

/// The number of waiting mails of an account from which on changes are gathered in one of them.
const WAITING_MAX: usize = 20;

/// The end of the line of a mail that counts the changes gathered in it.
const GATHERED: &str = " more of this kind since then";

/// A service with this `[smtp]` table, and additional files; and the account of ana, which has an e-mail address.
fn service(smtp: &str, files: &[(&str, &str)]) -> (Service, Account) {
    let service = Service::start_with(smtp, files);
    let ana = service.account_at("ana", "ana@example.com");
    (service, ana)
}

/// The settings for a mail server with certificates of a private CA, and a password.
fn settings(begins: &str) -> String {
    format!(
        "tls = \"{begins}\"\nca_file = \"{{room}}/ca.pem\"\nusername = \"keys\"\npassword_file = \"{{room}}/password\"\n"
    )
}

/// The result of `pushkeys-server check` for the mail server.
fn check(service: &Service) -> Value {
    let checked = service.administers(&["check", "--json"]).stdout;
    let lines = checked.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.into_iter().find(|line| line["what"] == "mail server").expect("a finding")
}

fn check_mail_over_tls(begins: &str) {
    let authority = Authority::new("mail");
    let server = MailServer::start(begins, &authority.signs_for_server(&["localhost"]), PASSWORD);
    let smtp = server.settings_at("localhost", &settings(begins));
    let (service, ana) = service(&smtp, &[("ca.pem", &authority.pem()), ("password", PASSWORD)]);
    assert_eq!(check(&service)["ok"], true, "{}", check(&service));
    ana.adds(&Key::ed25519(), "laptop");
    let mail = eventually("the mail arrives", || {
        server
            .mails()
            .into_iter()
            .find(|mail| mail["text"].as_str().is_some_and(|text| text.contains("Key: laptop")))
    });
    assert_eq!((&mail["recipient"], &mail["sender"]), (&"ana@example.com".into(), &"keys".into()), "{mail}");
    assert!(mail["protocol"].as_str().is_some_and(|protocol| protocol.starts_with("TLSv1.")), "{mail}");
    assert!(!service.log().contains(PASSWORD), "{}", service.log());
}

#[test]
fn mail_is_sent_over_starttls_with_a_password() {
    check_mail_over_tls("starttls");
}

#[test]
fn mail_is_sent_over_implicit_tls_with_a_password() {
    check_mail_over_tls("implicit");
}

#[test]
fn an_address_that_the_mail_server_does_not_take_delays_no_other_mail() {
    let authority = Authority::new("mail");
    let server = MailServer::start("starttls", &authority.signs_for_server(&["localhost"]), PASSWORD);
    let smtp = server.settings_at("localhost", &settings("starttls"));
    let (service, ana) = service(&smtp, &[("ca.pem", &authority.pem()), ("password", PASSWORD)]);
    // aiosmtpd does not offer SMTPUTF8.
    for name in ["jose", "rene", "zoe", "noel"] {
        service.account_at(name, &format!("{name}é@example.com")).adds(&Key::ed25519(), "laptop");
    }
    service.account_at("hans", "hans@bücher.example").adds(&Key::ed25519(), "laptop");
    ana.adds(&Key::ed25519(), "laptop");
    let about_keys = || {
        let mails = server.mails().into_iter();
        let mails: Vec<_> = mails
            .filter(|mail| mail["text"].as_str().is_some_and(|text| text.contains("Key: laptop")))
            .collect();
        (mails.len() == 2).then_some(mails)
    };
    let mails = eventually("the other mails arrive", about_keys);
    let recipients: Vec<_> = mails.iter().filter_map(|mail| mail["recipient"].as_str()).collect();
    assert_eq!(recipients, ["hans@xn--bcher-kva.example", "ana@example.com"]);
    for mail in &mails {
        assert_eq!((&mail["to"], &mail["mime_version"]), (&mail["recipient"], &"1.0".into()), "{mail}");
        assert_eq!(mail["defects"], Value::Array(Vec::new()), "{mail}");
    }
    let log = service.log();
    assert!(log.matches("SMTPUTF8").count() >= 4, "{log}");
    assert!(!log.contains("accepts no mail"), "{log}");
    let refused = service.administers(&["account", "add", "bob", "--email", "bob..b@example.com"]);
    assert!(refused.stderr.contains("is not a mail address"), "{}", refused.stderr);
}

#[test]
fn mails_wait_while_the_mail_server_has_a_wrong_certificate_or_refuses_the_password() {
    let (right, wrong) = (Authority::new("right"), Authority::new("wrong"));
    let server = MailServer::start("starttls", &right.signs_for_server(&["localhost"]), PASSWORD);
    let smtp = server.settings_at("localhost", &settings("starttls"));
    let (service, ana) = service(&smtp, &[("ca.pem", &wrong.pem()), ("password", "guessed")]);
    ana.adds(&Key::ed25519(), "laptop");
    until("the refusal is logged", || service.log().contains("accepts no mail"));
    let log = service.log();
    for part in ["UnknownIssuer; hint: put the CA certificate", "`smtp.ca_file`", "host=\"localhost\""] {
        assert!(log.contains(part), "no `{part}` in {log}");
    }
    let is_told = |service: &Service, part: &str| {
        let found = check(service);
        assert!(
            found["ok"] == false && found["detail"].as_str().is_some_and(|text| text.contains(part)),
            "{found}"
        );
    };
    is_told(&service, "UnknownIssuer");
    service.is_given("ca.pem", &right.pem());
    is_told(&service, "permanent error (535)");
    service.is_given("password", PASSWORD);
    assert_eq!(check(&service)["ok"], true);
    // The mails about the token and the key; the service detects the corrected files by itself.
    until("the waiting mail arrives", || server.mails().len() == 2);
}

#[test]
fn a_server_with_a_wrong_name_or_without_starttls_gets_no_password() {
    let authority = Authority::new("mail");
    let server = MailServer::start("implicit", &authority.signs_for_server(&["mail.example.com"]), PASSWORD);
    let files = [("ca.pem", authority.pem()), ("password", PASSWORD.to_owned())];
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let (named, _) = service(&server.settings_at("localhost", &settings("implicit")), &files);
    let found = check(&named);
    assert!(found["hint"].as_str().unwrap().starts_with("`smtp.host` must be one of the names"), "{found}");

    let plain = Smtp::start();
    let (service, ana) = service(&plain.settings_with(&settings("starttls")), &files);
    ana.adds(&Key::ed25519(), "laptop");
    until("the refusal is logged", || service.log().contains("accepts no mail"));
    assert!(service.log().contains("STARTTLS"), "{}", service.log());
    let commands = plain.commands();
    assert!(commands.iter().all(|command| command.starts_with("EHLO ") || command == "QUIT"), "{commands:?}");
}

/// The mails that wait in the queue of `service`, as of a minute ago at most.
fn mails_waiting(service: &Service) -> usize {
    let metrics = scrape(&service.metrics());
    let waiting = metrics.lines().find_map(|line| line.strip_prefix("pushkeys_server_mails_waiting "));
    waiting.expect("the number of waiting mails").parse().expect("a number")
}

/// Runs `statement` on the database of `service`, which is running.
fn sqlite(service: &Service, statement: &str) {
    let mut command = Command::new("sqlite3");
    command.args(["-batch", "-cmd", ".timeout 30000"]).arg(service.database()).arg(statement);
    let _ = run(&mut command).output();
}

/// How many changes `mail` tells of: the one that it is about, and those that were gathered in it.
fn changes_in(mail: &Mail) -> usize {
    let told = mail.text.lines().find_map(|line| line.trim().strip_prefix("and ")?.strip_suffix(GATHERED));
    1 + told.map_or(0, |count| count.parse().expect("a number"))
}

#[test]
fn requests_succeed_and_a_limited_number_of_mails_waits_without_a_mail_server() {
    const CYCLES: usize = 55;
    const KEY_ADDED: &str = "key was added";
    const TOKEN_ISSUED: &str = "a token of your account was issued";
    let smtp = Smtp::absent();
    let (service, ana) = service(&smtp.settings(), &[]);
    let key = Key::ed25519();
    for _ in 0..CYCLES {
        ana.adds(&key, "laptop");
        ana.removes("laptop");
    }
    let waiting = mails_waiting(&service);
    assert!((3..=WAITING_MAX).contains(&waiting), "{waiting} mails wait");
    until("the absence is logged", || service.log().contains("accepts no mail"));
    smtp.comes();
    until("all waiting mails arrive", || smtp.mails().len() >= waiting);
    assert!(service.log().contains("accepts mail again"));
    let changes = |title: &str| -> usize {
        let mails = smtp.mails().into_iter();
        let about =
            mails.filter(|mail| mail.header("Subject").is_some_and(|subject| subject.contains(title)));
        about.map(|mail| changes_in(&mail)).sum()
    };
    let told = [KEY_ADDED, "key of your account was deleted", TOKEN_ISSUED].map(changes);
    assert_eq!(told, [CYCLES, CYCLES, 1], "every change is told");
    assert!(!service.log().contains("the mail queue is full"), "{}", service.log());
    // It is tried at intervals, and not for each mail.
    assert!(service.log().matches("accepts no mail").count() < 10, "{}", service.log());

    // The account had many changes in this hour: one about its keys waits for others, one about anything else does not.
    ana.adds(&key, "laptop");
    let _ = service.administers(&["token", "add", "ana"]).output();
    until("the change after it is mailed", || smtp.mails().len() > waiting);
    assert_eq!((smtp.mails().len(), changes(TOKEN_ISSUED)), (waiting + 1, 2));
    // Ten minutes later.
    sqlite(&service, "UPDATE mails SET due_at = created_at WHERE event = 'key_added'");
    until("the change of a key is mailed", || changes(KEY_ADDED) == CYCLES + 1);
    assert_eq!(smtp.mails().len(), waiting + 2);
}
