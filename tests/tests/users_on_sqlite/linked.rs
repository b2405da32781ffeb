//! Accounts at other services in the console, in a real browser that goes there and returns.

use pushkeys_tests::{
    Browser, BrowserSettings, GITHUB_CLIENT_SECRET, GitHub, Key, OPENID_CLIENT_SECRET, OpenId,
};
use serde_json::json;

use crate::{PASSWORD, service_with, take_picture};

fn check_an_import(settings: BrowserSettings, picture: &str) {
    let github = GitHub::start("ana-codes");
    let (laptop, desk) = (Key::ed25519(), Key::generate(&["-t", "ecdsa"]));
    github.lists(&[("laptop", &laptop.bare_text()), ("desk", &desk.bare_text()), ("old", "ssh-dss AAAA")]);
    let files = [("github.secret", GITHUB_CLIENT_SECRET)];
    let service = service_with(&github.settings("{room}/github.secret"), &files);
    let ana = service.account("ana");
    service.set_password("ana", PASSWORD);
    let browser = Browser::start(settings);
    browser.goes_to(&format!("{}/users/me/ssh-keys", service.url()));
    browser.find("#account").types("ana");
    browser.find("#password").types(PASSWORD);
    browser.find("form[action='/sign-in'] button").click();

    browser.find("form[action='/users/me/github/link'] button").click();
    browser.shows("Keys of ana-codes on GitHub");
    take_picture(&browser, picture);
    browser.find("form[action='/users/me/ssh-keys/github'] button").click();
    browser.shows("The key was added");
    assert_eq!(ana.keys(), [("laptop".to_owned(), laptop.fingerprint().to_string())]);
    browser.find("form[action='/users/me/ssh-keys/github'] button").click();
    browser.shows("All usable keys of ana-codes");
    assert_eq!(ana.keys().len(), 2);
}

#[test]
fn a_browser_links_to_github_and_adds_its_keys_by_a_click() {
    check_an_import(BrowserSettings::default(), "github");
}

#[test]
fn a_browser_without_script_links_to_github_and_adds_keys() {
    let settings = BrowserSettings { has_script: false, ..BrowserSettings::default() };
    check_an_import(settings, "github-without-script");
}

#[test]
fn a_browser_signs_in_and_out_by_openid_connect() {
    let provider = OpenId::start(json!({"sub": "u-7", "preferred_username": "ana"}));
    let files = [("oidc.secret", OPENID_CLIENT_SECRET)];
    let service = service_with(&provider.settings("{room}/oidc.secret", true), &files);
    let browser = Browser::start(BrowserSettings::default());
    browser.goes_to(&format!("{}/users/me", service.url()));
    browser.shows("Or with your password");
    take_picture(&browser, "sign-in-openid");
    browser.find("form[action='/sign-in/oidc'] button").click();
    browser.shows("linked to ana");
    assert!(browser.url().ends_with("/users/me"), "{}", browser.url());
    take_picture(&browser, "linked");
    browser.find("form[action='/sign-out'] button").click();
    browser.shows("You are signed out");
}
