//! The texts of mails: what happened, when, from where, and what to do if it was another person.

use std::fmt::Write as _;

use crate::language::Language;
use crate::store::{AuditEvent, AuditRow, Via, WaitingMail};

/// Subject and body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MailText {
    /// Contains nothing that a user typed.
    pub(super) subject: String,
    pub(super) body: String,
}

/// Links in a mail.
pub(super) struct Links<'a> {
    /// The console, if it has an address.
    pub(super) console: Option<&'a str>,
    /// Where users get help.
    pub(super) contact: Option<&'a str>,
}

impl MailText {
    /// The text of `mail` in the language of its account.
    pub(super) fn of(mail: &WaitingMail, places: &Links<'_>) -> Self {
        let language = mail.language.as_deref().and_then(Language::of_tag).unwrap_or_default();
        let words = Words::of(language);
        let AuditRow { event, subject, at, actor, repeats, .. } = &mail.change;
        let (title, object) = titles(*event, language);
        let mut body = String::new();
        let mut line = |line: &str| {
            body.push_str(line);
            body.push('\n');
        };
        line(&words.greeting.replace("{}", &shown(&mail.account_name)));
        line("");
        line(&format!("{title}."));
        line("");
        if !subject.is_empty() {
            line(&format!("  {object}: {}", shown(subject)));
        }
        if *repeats > 0 {
            line(&format!("  {}", words.repeats.replace("{}", &repeats.to_string())));
        }
        line(&format!("  {}: {}", words.when, at.strftime("%Y-%m-%d %H:%M:%S UTC")));
        let address = actor.address.map_or_else(|| words.unknown.to_owned(), |address| address.to_string());
        line(&format!("  {}: {address}", words.from));
        line(&format!("  {}: {}", words.by, by(&actor.via, words)));
        line("");
        line(words.if_you);
        line("");
        line(words.if_not_you);
        for step in words.steps {
            line(&format!("  - {step}"));
        }
        if let Some(console) = places.console {
            line("");
            line(&format!("{console}/users/me"));
        }
        if let Some(contact) = places.contact {
            line("");
            // Writing to a string cannot fail.
            let _ = writeln!(body, "{} {contact}", words.contact);
        }
        Self { subject: format!("pushkeys: {}", uncapitalized(title)), body }
    }
}

/// Names that users type contain no control characters; those from elsewhere are escaped.
fn shown(text: &str) -> String {
    pushkeys_keys::escape(text).into_owned()
}

fn uncapitalized(title: &str) -> String {
    let mut characters = title.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

fn by(via: &Via, words: &Words) -> String {
    match via {
        Via::Console => words.console.to_owned(),
        Via::Token(Some(label)) => format!("{} “{}”", words.token, shown(label)),
        Via::Token(None) => words.token.to_owned(),
        Via::Operator => words.operator.to_owned(),
        Via::Service => words.service.to_owned(),
    }
}

struct Words {
    greeting: &'static str,
    repeats: &'static str,
    when: &'static str,
    from: &'static str,
    unknown: &'static str,
    by: &'static str,
    console: &'static str,
    token: &'static str,
    operator: &'static str,
    service: &'static str,
    if_you: &'static str,
    if_not_you: &'static str,
    steps: [&'static str; 3],
    contact: &'static str,
}

impl Words {
    fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &ENGLISH,
            Language::French => &FRENCH,
        }
    }
}

const ENGLISH: Words = Words {
    greeting: "Hello {},",
    repeats: "and {} more of this kind since then",
    when: "When",
    from: "From",
    unknown: "unknown",
    by: "By",
    console: "the web console",
    token: "an API client with the token",
    operator: "an operator of the service",
    service: "the service itself",
    if_you: "If this was you, there is nothing to do.",
    if_not_you: "If this was not you, someone else has access to your account. Sign in and",
    steps: [
        "change your password and end all other sessions;",
        "delete every SSH key and revoke every token that you do not recognize;",
        "unlink every GitHub or sign-in account that is not yours.",
    ],
    contact: "If you cannot sign in, or need help:",
};

const FRENCH: Words = Words {
    greeting: "Bonjour {},",
    repeats: "et {} de plus du même type depuis",
    when: "Date",
    from: "Depuis",
    unknown: "inconnue",
    by: "Par",
    console: "la console web",
    token: "un client de l’API avec le jeton",
    operator: "un opérateur du service",
    service: "le service lui-même",
    if_you: "Si c’était vous, il n’y a rien à faire.",
    if_not_you: "Si ce n’était pas vous, quelqu’un d’autre a accès à votre compte. Connectez-vous et",
    steps: [
        "changez votre mot de passe et mettez fin à toutes les autres sessions ;",
        "supprimez chaque clé SSH et révoquez chaque jeton que vous ne connaissez pas ;",
        "dissociez chaque compte GitHub ou compte de connexion qui n’est pas le vôtre.",
    ],
    contact: "Si vous ne pouvez pas vous connecter, ou pour toute aide :",
};

/// What happened, as a sentence without a full stop, and the kind of its object.
fn titles(event: AuditEvent, language: Language) -> (&'static str, &'static str) {
    match language {
        Language::English => english(event),
        Language::French => french(event),
    }
}

fn english(event: AuditEvent) -> (&'static str, &'static str) {
    match event {
        AuditEvent::KeyAdded => ("An SSH key was added to your account", "Key"),
        AuditEvent::KeysImported => ("SSH keys were imported into your account", "Keys"),
        AuditEvent::KeyChanged => ("An SSH key of your account was changed", "Key"),
        AuditEvent::KeyRemoved => ("An SSH key of your account was deleted", "Key"),
        AuditEvent::KeyReported => ("An SSH key of your account was deleted as compromised", "Key"),
        AuditEvent::KeyProved => ("Your account proved possession of an SSH key", "Key"),
        AuditEvent::KeyContested => ("Your account tried to add an SSH key of another account", "Key"),
        AuditEvent::KeyTakenOver => ("An SSH key of your account moved to another account", "Key"),
        AuditEvent::SignedIn => ("New sign-in to your account", "Browser"),
        AuditEvent::SignedOut => ("A browser was signed out of your account", "Browser"),
        AuditEvent::SessionEnded => ("A session of your account was ended", "Browser"),
        AuditEvent::PasswordChanged => ("The password of your account was changed", "Account"),
        AuditEvent::TokenAdded => ("A token of your account was issued", "Token"),
        AuditEvent::TokenRevoked => ("A token of your account was revoked", "Token"),
        AuditEvent::LinkAdded => ("An external account was linked to yours", "Linked account"),
        AuditEvent::LinkRemoved => ("An external account was unlinked from yours", "Linked account"),
    }
}

fn french(event: AuditEvent) -> (&'static str, &'static str) {
    match event {
        AuditEvent::KeyAdded => ("Une clé SSH a été ajoutée à votre compte", "Clé"),
        AuditEvent::KeysImported => ("Des clés SSH ont été importées dans votre compte", "Clés"),
        AuditEvent::KeyChanged => ("Une clé SSH de votre compte a été modifiée", "Clé"),
        AuditEvent::KeyRemoved => ("Une clé SSH de votre compte a été supprimée", "Clé"),
        AuditEvent::KeyReported => ("Une clé SSH de votre compte a été supprimée comme compromise", "Clé"),
        AuditEvent::KeyProved => ("Votre compte a prouvé la possession d’une clé SSH", "Clé"),
        AuditEvent::KeyContested => ("Votre compte a tenté d’ajouter une clé SSH d’un autre compte", "Clé"),
        AuditEvent::KeyTakenOver => ("Une clé SSH de votre compte est passée à un autre compte", "Clé"),
        AuditEvent::SignedIn => ("Nouvelle connexion à votre compte", "Navigateur"),
        AuditEvent::SignedOut => ("Un navigateur a été déconnecté de votre compte", "Navigateur"),
        AuditEvent::SessionEnded => ("Une session de votre compte a été terminée", "Navigateur"),
        AuditEvent::PasswordChanged => ("Le mot de passe de votre compte a été changé", "Compte"),
        AuditEvent::TokenAdded => ("Un jeton de votre compte a été émis", "Jeton"),
        AuditEvent::TokenRevoked => ("Un jeton de votre compte a été révoqué", "Jeton"),
        AuditEvent::LinkAdded => ("Un compte externe a été associé au vôtre", "Compte associé"),
        AuditEvent::LinkRemoved => ("Un compte externe a été dissocié du vôtre", "Compte associé"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Actor;

    fn mail(language: Option<&str>, event: AuditEvent, subject: &str) -> WaitingMail {
        let actor = Actor {
            via: Via::Token(Some("ci".into())),
            address: Some("192.0.2.7".parse().unwrap()),
            request: None,
        };
        let at = "2027-01-31T12:00:00Z".parse().unwrap();
        WaitingMail {
            id: "mail_1".into(),
            recipient: "ana@example.com".into(),
            account_name: "ana".into(),
            language: language.map(str::to_owned),
            change: AuditRow { number: 1, at, event, subject: subject.into(), actor, repeats: 0 },
            attempts: 1,
        }
    }

    const PLACES: Links<'static> =
        Links { console: Some("https://keys.example.com"), contact: Some("support@example.com") };

    #[test]
    fn a_mail_says_what_when_from_where_by_what_and_what_to_do() {
        let text = MailText::of(&mail(None, AuditEvent::KeyAdded, "laptop"), &PLACES);
        assert_eq!(text.subject, "pushkeys: an SSH key was added to your account");
        for expected in [
            "Hello ana,",
            "Key: laptop",
            "When: 2027-01-31 12:00:00 UTC",
            "From: 192.0.2.7",
            "an API client with the token “ci”",
            "If this was not you",
            "https://keys.example.com/users/me",
            "support@example.com",
        ] {
            assert!(text.body.contains(expected), "{expected}: {}", text.body);
        }
        let french = MailText::of(&mail(Some("fr"), AuditEvent::KeyAdded, "laptop"), &PLACES);
        assert_eq!(french.subject, "pushkeys: une clé SSH a été ajoutée à votre compte");
        assert!(french.body.contains("Si ce n’était pas vous"), "{}", french.body);
    }

    #[test]
    fn user_input_adds_no_line_and_is_not_in_the_subject() {
        let text = MailText::of(&mail(None, AuditEvent::KeyAdded, "a\r\nBcc: eve@example.com"), &PLACES);
        assert!(text.body.contains("Key: a\\r\\nBcc: eve@example.com\n"), "{}", text.body);
        assert!(!text.subject.contains("eve"), "{}", text.subject);
    }

    #[test]
    fn every_event_has_its_own_text_in_both_languages() {
        for language in [Language::English, Language::French] {
            let mut titles: Vec<_> = AuditEvent::ALL.map(|event| titles(event, language).0).to_vec();
            titles.sort_unstable();
            titles.dedup();
            assert_eq!(titles.len(), AuditEvent::ALL.len());
        }
    }
}
