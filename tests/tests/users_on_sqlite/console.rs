//! The console in a real browser.

use std::fs;
use std::process::Command;

use pushkeys_tests::{Account, Browser, BrowserSettings, Key, Service, run, until};

use crate::{PASSWORD, service, take_picture};

/// A service with ana, who can sign in, and her browser.
struct World {
    service: Service,
    ana: Account,
    browser: Browser,
}

impl World {
    fn start(settings: BrowserSettings) -> Self {
        let service = service();
        let ana = account(&service, "ana");
        let browser = Browser::start(settings);
        Self { service, ana, browser }
    }

    fn signed_in(settings: BrowserSettings) -> Self {
        let world = Self::start(settings);
        world.sign_in("ana");
        world
    }

    /// Opens the page of keys, and signs in.
    #[track_caller]
    fn sign_in(&self, name: &str) {
        let browser = &self.browser;
        browser.goes_to(&format!("{}/users/me/ssh-keys", self.service.url()));
        browser.find("#account").types(name);
        browser.find("#password").types(PASSWORD);
        browser.find("main button").click();
        let _ = browser.find("#add-form");
        assert!(browser.url().ends_with("/users/me/ssh-keys"), "{}", browser.url());
    }

    /// Fills in the form and submits it.
    #[track_caller]
    fn adds(&self, name: &str, key: &str) {
        self.browser.find("#name").types(name);
        self.browser.find("#key").types(key);
        self.browser.find("#add-form .primary").click();
    }
}

fn account(service: &Service, name: &str) -> Account {
    let account = service.account(name);
    service.set_password(name, PASSWORD);
    account
}

/// Adds and deletes a key in the console, with or without JavaScript.
fn check_a_keys_way(world: &World) {
    let World { ana, browser, .. } = world;
    let key = Key::ed25519();
    browser.shows("You have no SSH key yet");
    world.adds("my laptop", key.text());
    let shown = browser.shows("The key was added");
    for part in ["my laptop", "ssh-ed25519", "256 bits", &key.fingerprint().to_string()] {
        assert!(shown.contains(part), "no `{part}` in {shown}");
    }
    assert_eq!(ana.keys(), [("my laptop".to_owned(), key.fingerprint().to_string())]);

    assert!(!shown.contains("MD5:"), "{shown}");
    browser.find(".md5 summary").click();
    let md5 = run(Command::new("ssh-keygen").args(["-l", "-E", "md5", "-f"]).arg(key.path())).output();
    browser.shows(md5.split(' ').nth(1).expect("a fingerprint"));

    browser.find("summary.danger").click();
    browser.shows("Delete the key “my laptop”?");
    take_picture(&world.browser, "delete");
    assert_eq!(ana.keys().len(), 1, "a question deletes nothing");
    browser.find("button.danger").click();
    browser.shows("The key was deleted");
    assert_eq!(ana.keys(), []);
}

#[test]
fn a_key_is_added_and_deleted_with_script() {
    let world = World::signed_in(BrowserSettings::default());
    check_a_keys_way(&world);
}

#[test]
fn a_key_is_added_and_deleted_without_script() {
    let world = World::signed_in(BrowserSettings { has_script: false, ..BrowserSettings::default() });
    assert!(world.browser.all("html.has-script").is_empty(), "script is off");
    check_a_keys_way(&world);
    // With JavaScript, a private key is not sent at all; this is the service's check.
    let key = Key::ed25519();
    let private = fs::read_to_string(key.path()).expect("own file");
    world.adds("private", &private);
    world.browser.shows("This is a private key: it was not stored");
    assert_eq!(world.browser.find("#key").value(), "");
    assert_eq!(world.browser.find("#name").value(), "private");
    assert_eq!(world.ana.keys(), []);
}

#[test]
fn a_private_key_does_not_leave_a_browser_with_script() {
    let world = World::signed_in(BrowserSettings::default());
    let key = Key::ed25519();
    let private = fs::read_to_string(key.path()).expect("own file");
    world.adds("private", &private);
    let message = world.browser.find("#key").property("validationMessage");
    assert!(message.as_str().is_some_and(|text| text.contains("looks like a private key")), "{message}");
    assert!(world.browser.url().ends_with("/users/me/ssh-keys"), "nothing was sent");
    let _ = world.browser.evaluates("document.getElementById('key').value = ''");
    world.adds("", key.text());
    world.browser.shows("The key was added");
}

#[test]
fn refused_input_stays_in_the_form_and_the_reason_has_the_focus() {
    let world = World::signed_in(BrowserSettings::default());
    let browser = &world.browser;
    world.adds("my laptop", "ssh-ed25519 AAAA and the rest is missing");
    browser.shows("copy the whole line again from your .pub file");
    take_picture(&world.browser, "refused");
    assert!(browser.title().starts_with("Error: "), "{}", browser.title());
    assert_eq!(browser.find("#name").value(), "my laptop");
    assert_eq!(browser.find("#key").value(), "ssh-ed25519 AAAA and the rest is missing");
    assert_eq!(browser.evaluates("return document.activeElement.id"), "add-error");
    assert_eq!(browser.find("#key").property("ariaInvalid"), "true");
    assert_eq!(world.ana.keys(), []);
}

#[test]
fn an_ownership_conflict_causes_warnings_and_is_resolved_by_a_signature() {
    let world = World::signed_in(BrowserSettings::default());
    let browser = &world.browser;
    let (bob, key) = (account(&world.service, "bob"), Key::ed25519());
    bob.adds(&key, "stolen");
    world.adds("laptop", key.text());
    browser.shows("registered to another account");
    browser.goes_to(&format!("{}/users/me/ssh-keys", world.service.url()));
    browser.shows("You tried to add the key “laptop”, which another account uses");
    take_picture(&world.browser, "contested");
    browser.find(".notice.warn button").click();
    browser.shows("Prove that you hold the key");
    let command = browser.find(".command code").text();
    let command = command.replace("~/.ssh/id_ed25519", &key.path().display().to_string());
    let signature = run(Command::new("sh").args(["-c", &command])).output();
    browser.find("#signature").types(&signature);
    take_picture(&world.browser, "proof");
    browser.find("main .primary").click();
    let shown = browser.shows("You have proved that the key is yours");
    assert!(shown.contains("Verified"), "{shown}");
    assert_eq!((world.ana.keys().len(), bob.keys().len()), (1, 0));

    browser.find("header button").click();
    browser.shows("You are signed out");
    world.sign_in("bob");
    browser.shows("moved to another account");
    browser.find(".notice.warn button").click();
    let shown = browser.shows("The warning was dismissed");
    assert!(!shown.contains("moved to another account"), "{shown}");
}

#[test]
fn a_french_browser_gets_french_and_a_phone_shows_the_whole_width() {
    let settings = BrowserSettings { language: "fr-FR,fr", size: (390, 844), ..BrowserSettings::default() };
    let world = World::start(settings);
    let browser = &world.browser;
    browser.goes_to(&world.service.url());
    browser.shows("Mot de passe");
    take_picture(&world.browser, "sign-in-fr-phone");
    world.sign_in("ana");
    browser.shows("Ajouter une clé");
    world.adds("portable", Key::ed25519().text());
    browser.shows("La clé a été ajoutée");
    for page in ["/users/me/ssh-keys", "/users/me"] {
        browser.goes_to(&format!("{}{page}", world.service.url()));
        let excess = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(browser.evaluates(excess), 0, "{page} scrolls sideways");
        take_picture(&world.browser, &format!("phone-fr{}", page.replace('/', "-")));
    }
    world.adds_refused_in_french();
}

impl World {
    fn adds_refused_in_french(&self) {
        self.browser.goes_to(&format!("{}/users/me/ssh-keys", self.service.url()));
        self.adds("x", "ssh-dss AAAA");
        self.browser.shows("Les clés DSA sont trop faibles");
    }
}

#[test]
fn the_profile_shows_the_activity_and_ends_other_sessions() {
    let world = World::signed_in(BrowserSettings::default());
    let browser = &world.browser;
    world.adds("laptop", Key::ed25519().text());
    browser.shows("The key was added");
    take_picture(&world.browser, "keys");
    let second = World::sign_in_elsewhere(&world.service);
    browser.find("nav a[href='/users/me']").click();
    browser.shows("Key “laptop” added");
    take_picture(&world.browser, "profile");
    assert_eq!(browser.all("input[name=session]").len(), 2, "the other session, and all others");
    browser.find("form[action='/users/me/sessions/end'] button").click();
    browser.shows("The session was ended");
    second.goes_to(&format!("{}/users/me", world.service.url()));
    second.shows("Sign in");
}

impl World {
    fn sign_in_elsewhere(service: &Service) -> Browser {
        let browser = Browser::start(BrowserSettings::default());
        browser.goes_to(&format!("{}/users/me", service.url()));
        browser.find("#account").types("ana");
        browser.find("#password").types(PASSWORD);
        browser.find("main button").click();
        browser.shows("Where you are signed in");
        browser
    }
}

#[test]
fn the_keyboard_alone_is_enough_and_every_field_has_a_label() {
    let world = World::signed_in(BrowserSettings::default());
    let browser = &world.browser;
    let unlabelled = "return [...document.querySelectorAll('input:not([type=hidden]),textarea')]
        .filter(field => field.labels.length === 0).length";
    assert_eq!(browser.evaluates(unlabelled), 0);
    // U+E004 and U+E007 are Tab and Enter in WebDriver.
    let key = Key::ed25519();
    browser.find("#name").types("laptop\u{e004}");
    assert_eq!(browser.evaluates("return document.activeElement.id"), "key");
    browser.find("#key").types(key.text());
    browser.find("#add-form .primary").types("\u{e007}");
    browser.shows("The key was added");
    browser.find("summary.danger").types("\u{e007}");
    until("the question has the focus", || {
        browser.evaluates("return document.activeElement.className") == "danger"
    });
    // Escape closes the dialog and restores the focus.
    browser.find("button.danger").types("\u{e00c}");
    until("the question is closed", || browser.all("details.confirm[open]").is_empty());
    assert_eq!(browser.evaluates("return document.activeElement.localName"), "summary");
    assert_eq!(world.ana.keys().len(), 1);
}
