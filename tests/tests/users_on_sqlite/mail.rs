//! Mails about changes, as a real mail server delivers them to the account's owner.

use pushkeys_tests::{Key, Mail, Service, Smtp, Visitor, eventually, until};

use crate::{PASSWORD, service_with};

/// A service that sends mail, with the account `ana`, which has an e-mail address.
fn service(smtp: &Smtp) -> Service {
    let service = service_with(&smtp.settings(), &[]);
    let _ = service.administers(&["account", "add", "ana", "--email", "ana@example.com"]).output();
    service
}

fn mail_about(smtp: &Smtp, subject: &str) -> Mail {
    eventually(subject, || {
        let mails = smtp.mails();
        mails.into_iter().find(|mail| mail.header("Subject").is_some_and(|found| found.contains(subject)))
    })
}

#[test]
fn a_change_is_mailed_to_the_account_with_its_details() {
    let smtp = Smtp::start();
    let service = service(&smtp);
    service.set_password("ana", PASSWORD);
    let mail = mail_about(&smtp, "password of your account was changed");
    assert_eq!(mail.recipient, "ana@example.com");
    assert_eq!(mail.header("From"), Some("pushkeys <keys@example.com>"));
    assert_eq!(mail.header("Auto-Submitted"), Some("auto-generated"));
    assert!(mail.text.contains("an operator of the service"), "{}", mail.text);

    let mut visitor = Visitor::of(&service.url());
    let _ = visitor.signs_in("ana", PASSWORD);
    let key = Key::ed25519();
    let _ = visitor.submits("/users/me/ssh-keys", &[("name", "laptop"), ("key", key.text())]);
    let mail = mail_about(&smtp, "SSH key was added");
    for expected in ["Hello ana,", "Key: laptop", "127.0.0.1", "If this was not you", "support@example.com"] {
        assert!(mail.text.contains(expected), "{expected}: {}", mail.text);
    }
    let _ = visitor.submits("/users/me/ssh-keys/delete", &[("name", "laptop")]);
    let _ = mail_about(&smtp, "SSH key of your account was deleted");
    let signed_in = smtp.mails().iter().any(|mail| mail.text.contains("New sign-in to your account"));
    assert!(!signed_in, "a session is in the activity, and not in a mail");
}

#[test]
fn mail_is_in_the_language_of_the_last_sign_in() {
    let smtp = Smtp::start();
    let service = service(&smtp);
    service.set_password("ana", PASSWORD);
    let mut visitor = Visitor::of(&service.url());
    visitor.reads("fr-FR,fr;q=0.9");
    let _ = visitor.signs_in("ana", PASSWORD);
    let _ = visitor.submits("/users/me/ssh-keys", &[("name", "portable"), ("key", Key::ed25519().text())]);
    let mail = eventually("a mail in French", || {
        smtp.mails().into_iter().find(|mail| mail.text.contains("Bonjour ana"))
    });
    // Accents are encoded, in the body and in the subject.
    assert!(mail.text.contains("portable") && mail.text.contains("=C3="), "{}", mail.text);
    assert!(mail.header("Subject").is_some_and(str::is_ascii), "{}", mail.text);
}

#[test]
fn a_refused_mail_waits_over_a_restart_and_delays_no_request() {
    let smtp = Smtp::start();
    smtp.refuses(Some("451 later"));
    let mut service = service(&smtp);
    service.set_password("ana", PASSWORD);
    // A service that is killed before it has stored the refusal retries only after its lease of the mail.
    until("it is to be retried", || service.log().contains("could not send a mail, which is tried again"));
    assert!(smtp.refused() > 0 && smtp.mails().is_empty());
    service.kill();
    smtp.refuses(None);
    service.restart();
    let mail = mail_about(&smtp, "password of your account was changed");
    assert!(mail.header("Message-ID").is_some_and(|id| id.starts_with("<mail_")), "{}", mail.text);
}

#[test]
fn a_mail_to_a_missing_mailbox_is_dropped_and_the_next_one_sent() {
    let smtp = Smtp::start();
    smtp.refuses(Some("550 no such user"));
    let service = service(&smtp);
    service.set_password("ana", PASSWORD);
    until("it is dropped", || service.log().contains("discarded the mail"));
    smtp.refuses(None);
    service.set_password("ana", "another horse battery");
    let _ = mail_about(&smtp, "password of your account was changed");
    assert_eq!((smtp.refused(), smtp.mails().len()), (1, 1));
}
