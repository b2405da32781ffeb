//! Cross-site requests, security headers and languages.

use reqwest::StatusCode;
use reqwest::header::{ACCEPT_LANGUAGE, COOKIE, HOST, ORIGIN};

use super::{KEYS, PASSWORD, PROFILE, Page, Tab, account};
use crate::service::{Service, new_key};

#[tokio::test]
async fn a_form_from_another_site_changes_nothing() {
    let service = Service::start();
    let ana = account(&service, "ana");
    account(&service, "bob");
    let (tab, bobs) = (Tab::signed_in(&service, "ana").await, Tab::signed_in(&service, "bob").await);
    let key = new_key(&service, "laptop");
    let fields = [("name", "laptop"), ("key", key.as_str())];
    let origin = tab.origin();
    let other_token = |csrf: &str| {
        let form = [("csrf", csrf), fields[0], fields[1]];
        tab.client.post(tab.url(KEYS)).header(COOKIE, &tab.cookie).form(&form).header(ORIGIN, &origin)
    };
    let refused = [
        tab.form(KEYS, &fields),
        tab.form(KEYS, &fields).header(ORIGIN, "https://elsewhere.example"),
        tab.form(KEYS, &fields).header(ORIGIN, "null"),
        tab.form(KEYS, &fields).header(ORIGIN, &origin).header("sec-fetch-site", "cross-site"),
        tab.form(KEYS, &fields).header(ORIGIN, &origin).header("sec-fetch-site", "same-site"),
        other_token(""),
        other_token(&bobs.csrf),
    ];
    for request in refused {
        Page::of(request).await.says(StatusCode::FORBIDDEN, "did not come from this site");
        assert!(service.keys(&ana).await.is_empty());
    }
    let elsewhere = tab.form("/sign-in", &[("account", "ana"), ("password", PASSWORD)]);
    Page::of(elsewhere).await.says(StatusCode::FORBIDDEN, "did not come from this site");
    let request = tab.form(KEYS, &fields).header("sec-fetch-site", "same-origin").header(ORIGIN, "null");
    Page::of(request).await.leads_to("/users/me/ssh-keys?done=added");
    assert_eq!(service.keys(&ana).await.len(), 1);
}

#[tokio::test]
async fn every_response_has_the_security_headers() {
    let service = Service::start();
    account(&service, "ana");
    let tab = Tab::signed_in(&service, "ana").await;
    let style = tab.gets(KEYS).await.value_after("stylesheet\" href=\"");
    for path in ["/sign-in", KEYS, PROFILE, &style, "/assets/nothing"] {
        let page = tab.gets(path).await;
        let policy = page.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self'"),
            "{path}: {policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(page.header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(page.header("strict-transport-security"), "", "{path}");
    }
    assert_eq!(tab.gets(KEYS).await.header("cache-control"), "no-store");
    let asset = tab.gets(&style).await;
    assert_eq!(asset.header("content-type"), "text/css; charset=utf-8");
    assert!(asset.header("cache-control").contains("immutable"));
    let page = tab.gets(KEYS).await.text;
    assert!(!page.contains("style=\"") && !page.contains("<style") && !page.contains(" onclick"), "{page}");
    assert_eq!(page.matches("<script").count(), page.matches("<script src=\"/assets/").count());
}

#[tokio::test]
async fn without_a_base_url_the_console_works_on_loopback_only() {
    let service = Service::start();
    let tab = Tab::new(&service);
    let elsewhere = tab.client.get(tab.url("/sign-in")).header(HOST, "rebound.example");
    Page::of(elsewhere).await.says(StatusCode::MISDIRECTED_REQUEST, "<code>base_url</code>");
    let here = tab.client.get(tab.url("/sign-in")).header(HOST, "localhost:8080");
    Page::of(here).await.says(StatusCode::OK, "Sign in");
}

#[tokio::test]
async fn pages_are_in_the_browsers_language() {
    let service = Service::start();
    let tab = Tab::new(&service);
    let french = tab.client.get(tab.url("/sign-in")).header(ACCEPT_LANGUAGE, "fr-FR,fr;q=0.9,en;q=0.5");
    let page = Page::of(french).await;
    page.says(StatusCode::OK, "<html lang=\"fr\">");
    page.says(StatusCode::OK, "Mot de passe");
    tab.gets("/sign-in").await.says(StatusCode::OK, "<html lang=\"en\">");
}
