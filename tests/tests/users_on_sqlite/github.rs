//! GitHub: linking an account, listing its keys, importing them, and errors.

use std::thread;
use std::time::Instant;

use pushkeys_tests::{
    Account, GITHUB_CLIENT_SECRET, GitHub, Key, Service, SyntheticKeys, Trouble, Visitor, WebResponse,
    eventually,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{PASSWORD, service_with};

const KEYS: &str = "/users/me/ssh-keys";
const IMPORT: &str = "/users/me/ssh-keys/github";

/// A service whose accounts can link to `github`.
fn service(github: &GitHub) -> Service {
    let settings = github.settings("{room}/github.secret");
    service_with(&settings, &[("github.secret", GITHUB_CLIENT_SECRET)])
}

/// An account with a signed-in browser.
fn signed_in(service: &Service, name: &str) -> (Account, Visitor) {
    let account = service.account(name);
    service.set_password(name, PASSWORD);
    let mut visitor = Visitor::of(&service.url());
    let page = visitor.signs_in(name, PASSWORD);
    assert_eq!(page.url.path(), KEYS, "{page:?}");
    (account, visitor)
}

/// Links with the button; the browser goes to GitHub and returns.
fn link(visitor: &mut Visitor) -> pushkeys_tests::Page {
    let _ = visitor.opens(KEYS);
    let leaving = visitor.submits("/users/me/github/link", &[]);
    visitor.opens(&leaving.leads_to())
}

fn listed(account: &Account) -> (u16, Value) {
    let reply = account.asks(Method::GET, &["v2", "github", "keys"]);
    (reply.status, reply.json())
}

#[test]
fn a_linked_account_lists_new_keys_and_adds_one_by_a_click() {
    let github = GitHub::start("ana-codes");
    let (laptop, desk) = (Key::ed25519(), Key::generate(&["-t", "ecdsa"]));
    github.lists(&[("laptop", &laptop.bare_text()), ("desk", &desk.bare_text()), ("old", "ssh-dss AAAA")]);
    let service = service(&github);
    let (ana, mut visitor) = signed_in(&service, "ana");
    assert_eq!((listed(&ana).0, listed(&ana).1["id"].as_u64()), (404, Some(7301)));

    let page = link(&mut visitor);
    assert_eq!((page.status, page.url.path()), (200, KEYS), "{page:?}");
    assert!(page.body.contains("ana-codes") && page.body.contains("DSA"), "{}", page.body);
    let (status, keys) = listed(&ana);
    assert_eq!(status, 200);
    let names: Vec<_> = keys.as_array().into_iter().flatten().map(|key| key["name"].as_str()).collect();
    assert_eq!(names, [Some("laptop"), Some("desk")]);
    assert_eq!(keys[0]["fingerprint"], laptop.fingerprint().to_string());
    assert_eq!(keys[0]["key"], laptop.bare_text());
    assert_eq!(ana.asks(Method::GET, &["v2", "self"]).json()["oauthApps"][0], "github");

    let page = visitor.submits(IMPORT, &[("fingerprints", &laptop.fingerprint().to_string())]);
    assert!(page.body.contains("The key was added"), "{}", page.body);
    assert_eq!(ana.keys(), [("laptop".to_owned(), laptop.fingerprint().to_string())]);
    let (_, keys) = listed(&ana);
    assert_eq!(keys.as_array().map(Vec::len), Some(1), "{keys}");
}

#[test]
fn all_keys_are_imported_under_free_names_after_a_preview_with_refusals_for_each_key() {
    let github = GitHub::start("ana-codes");
    let (held, mine, others) = (Key::ed25519(), Key::ed25519(), Key::ed25519());
    github.lists(&[("laptop", &mine.bare_text()), ("shared", &others.bare_text())]);
    let service = service(&github);
    service.account("bob").adds(&others, "bobs");
    let (ana, mut visitor) = signed_in(&service, "ana");
    ana.adds(&held, "laptop");
    let _ = link(&mut visitor);

    let preview = visitor.opens(IMPORT);
    assert!(preview.body.contains("laptop (GitHub)"), "{}", preview.body);
    let wanted = format!("{} {}", mine.fingerprint(), others.fingerprint());
    let page = visitor.submits(IMPORT, &[("fingerprints", &wanted)]);
    assert_eq!(page.status, 400);
    assert!(page.body.contains("registered to another account"), "{}", page.body);
    assert!(!page.body.contains("bob"), "{}", page.body);
    let expected = [("laptop", &held), ("laptop (GitHub)", &mine)];
    assert_eq!(ana.keys(), expected.map(|(name, key)| (name.to_owned(), key.fingerprint().to_string())));
}

#[test]
fn the_removal_of_a_key_that_github_no_longer_lists_is_only_suggested() {
    let github = GitHub::start("ana-codes");
    let (laptop, own) = (Key::ed25519(), Key::ed25519());
    github.lists(&[("laptop", &laptop.bare_text())]);
    let mut service = service(&github);
    let (ana, mut visitor) = signed_in(&service, "ana");
    ana.adds(&own, "own");
    let _ = link(&mut visitor);
    let page = visitor.submits(IMPORT, &[("fingerprints", &laptop.fingerprint().to_string())]);
    assert!(!page.body.contains("no longer lists them"), "{}", page.body);

    github.lists(&[]);
    // A restart clears the cache of GitHub's responses.
    service.stop();
    service.restart();
    let page = visitor.opens(KEYS);
    assert!(page.body.contains("no longer lists them"), "{}", page.body);
    assert_eq!(ana.keys().len(), 2);
    let _ = visitor.submits("/users/me/ssh-keys/delete", &[("name", "laptop")]);
    assert_eq!(ana.keys(), [("own".to_owned(), own.fingerprint().to_string())]);
}

#[test]
fn an_odd_record_hides_no_other_and_a_secondary_limit_asks_to_wait() {
    let github = GitHub::start("ana-codes");
    let (laptop, desk) = (Key::ed25519(), Key::ed25519());
    github.lists(&[("laptop", &laptop.bare_text())]);
    let mut service = service(&github);
    let (ana, mut visitor) = signed_in(&service, "ana");
    let _ = link(&mut visitor);
    let _ = visitor.submits(IMPORT, &[("fingerprints", &laptop.fingerprint().to_string())]);
    let mut asks = |answer: WebResponse| {
        github.has_trouble(Some(Trouble::Response(answer)));
        // A restart forgets the last listing.
        service.stop();
        service.restart();
        listed(&ana)
    };
    let records = json!([
        {"id": 1, "title": "lost"}, "?", null, {"id": 2, "title": null, "key": desk.bare_text(), "verified": 7}
    ]);
    let (status, keys) = asks(WebResponse::json(200, &records));
    let names: Vec<_> = keys.as_array().into_iter().flatten().map(|key| &key["name"]).collect();
    assert_eq!((status, names), (200, vec![&json!("GitHub key 2")]));

    let limit = json!({"message": "You have exceeded a secondary rate limit."});
    let (status, error) = asks(WebResponse::json(403, &limit).with("X-RateLimit-Remaining", "4998"));
    assert_eq!((status, error["id"].as_u64()), (503, Some(5003)), "{error}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("try again in 60 s")), "{error}");
    let (status, error) = asks(WebResponse::json(200, &json!({"keys": []})));
    assert_eq!((status, error["id"].as_u64()), (502, Some(5002)), "{error}");

    // The record that cannot be read may be that of the imported key.
    let _ = asks(WebResponse::json(200, &records));
    let page = visitor.opens(KEYS);
    assert!(page.body.contains("lost") && !page.body.contains("no longer lists them"), "{}", page.body);
}

#[test]
fn all_pages_of_a_long_list_are_read_and_a_short_one_is_requested_with_its_etag() {
    let github = GitHub::start("ana-codes");
    let keys: Vec<_> = SyntheticKeys::new(7).take(230).collect();
    let rows: Vec<_> = keys.iter().map(|key| ("server", key.text.as_str())).collect();
    github.lists(&rows);
    let mut service = service(&github);
    let (ana, mut visitor) = signed_in(&service, "ana");
    let _ = link(&mut visitor);
    let (_, listing) = listed(&ana);
    let names: Vec<_> =
        listing.as_array().into_iter().flatten().filter_map(|key| key["name"].as_str()).collect();
    assert_eq!(names.len(), 230);
    assert_eq!((names[0], names[1], names[229]), ("server", "server (GitHub)", "server (GitHub 229)"));

    github.lists(&rows[..3]);
    service.stop();
    service.restart();
    let (before, _) = github.asked();
    assert_eq!(listed(&ana).1.as_array().map(Vec::len), Some(3));
    assert_eq!(listed(&ana).1.as_array().map(Vec::len), Some(3));
    assert_eq!(github.asked().0, before + 1, "a recent list is not requested again");
}

#[test]
fn errors_of_github_are_shown_and_delete_nothing() {
    let github = GitHub::start("ana-codes");
    let key = Key::ed25519();
    github.lists(&[("laptop", &key.bare_text())]);
    let elsewhere = GitHub::start("eve");
    let service = service(&github);
    let (ana, mut visitor) = signed_in(&service, "ana");
    ana.adds(&key, "laptop");
    let _ = link(&mut visitor);
    let check = |trouble: Trouble, expected: &str| {
        github.has_trouble(Some(trouble.clone()));
        let begun_at = Instant::now();
        // A response of GitHub is cached for a moment.
        let reply = eventually("GitHub is requested again", || {
            let reply = ana.asks(Method::GET, &["v2", "github", "keys"]);
            (reply.status != 200).then_some(reply)
        });
        assert!(reply.body.contains(expected), "{trouble:?}: {reply:?}");
        assert!(begun_at.elapsed().as_secs() < 50, "{trouble:?}");
        reply.status
    };
    assert_eq!(check(Trouble::TooManyRequests, "try again in 7 s"), 503);
    assert_eq!(check(Trouble::NoneRemaining, "try again in 1 s"), 503);
    assert_eq!(check(Trouble::Huge, "tell the operator"), 502);
    assert_eq!(check(Trouble::Redirect(elsewhere.url()), "tell the operator"), 502);
    assert_eq!(
        check(Trouble::NextPage(format!("{}/api/v3/user/keys", elsewhere.url())), "another host"),
        502
    );
    assert_eq!(check(Trouble::Garbage, "cannot be read"), 502);
    assert_eq!(check(Trouble::Broken, "status 500"), 503);
    assert_eq!(elsewhere.asked(), (0, 0));
    let page = visitor.opens(KEYS);
    assert!(page.status == 200 && page.body.contains("does not respond correctly"), "{}", page.body);

    github.has_trouble(None);
    github.revokes_all();
    let (status, error) = listed(&ana);
    assert_eq!((status, error["id"].as_u64()), (404, Some(7301)));
    assert!(error["message"].as_str().is_some_and(|message| message.contains("link it again")), "{error}");
    let page = visitor.opens(KEYS);
    assert!(page.body.contains("Link your account again"), "{}", page.body);
    assert_eq!(ana.keys().len(), 1);
    let page = link(&mut visitor);
    assert!(page.body.contains("All usable keys of ana-codes"), "{}", page.body);
}

#[test]
fn a_slow_github_delays_the_page_only_for_seconds() {
    let github = GitHub::start("ana-codes");
    let service = service(&github);
    let (_, mut visitor) = signed_in(&service, "ana");
    github.has_trouble(Some(Trouble::Slow(30)));
    let begun_at = Instant::now();
    let page = link(&mut visitor);
    assert!(page.body.contains("does not respond correctly"), "{}", page.body);
    assert!(begun_at.elapsed().as_secs() < 15);
}

#[test]
fn a_link_is_made_only_in_the_session_that_requested_it() {
    let github = GitHub::start("eve-codes");
    let service = service(&github);
    let (_, mut eve) = signed_in(&service, "eve");
    let (ana_account, mut ana) = signed_in(&service, "ana");

    // Eve stops before GitHub's redirect reaches us, and sends Ana there, even with her own cookie.
    let _ = eve.opens(KEYS);
    let leaving = eve.submits("/users/me/github/link", &[]);
    let answer = eve.is_sent_to(&leaving.leads_to(), None);
    let page = ana.opens(answer.as_str());
    assert!(page.status == 400 && page.body.contains("No attempt was started in this browser"), "{page:?}");
    ana.has_cookie("pushkeys_attempt", eve.cookie("pushkeys_attempt").unwrap_or_default());
    assert_eq!(ana.opens(answer.as_str()).status, 400);
    assert_eq!(listed(&ana_account).0, 404);

    // Her own browser is accepted, once.
    assert_eq!(eve.opens(answer.as_str()).status, 200);
    assert_eq!(eve.opens(answer.as_str()).status, 400);

    // A state of another attempt.
    let _ = ana.opens(KEYS);
    let leaving = ana.submits("/users/me/github/link", &[]);
    let mut answer = ana.is_sent_to(&leaving.leads_to(), None);
    answer.set_query(Some("code=code-1&state=guessed"));
    assert_eq!(ana.opens(answer.as_str()).status, 400);
    assert_eq!(listed(&ana_account).0, 404);
}

#[test]
fn denied_access_and_a_missing_scope_are_reported() {
    let github = GitHub::start("ana-codes");
    let service = service(&github);
    let (_, mut visitor) = signed_in(&service, "ana");
    github.is_used_by(None);
    let page = link(&mut visitor);
    assert!(page.status == 400 && page.body.contains("access_denied"), "{page:?}");
    github.is_used_by(Some("ana-codes"));
    github.grants("user:email");
    let page = link(&mut visitor);
    assert!(page.status == 400 && page.body.contains("permission to read your public keys"), "{page:?}");
    github.grants("read:public_key");
    assert_eq!(link(&mut visitor).status, 200);
}

#[test]
fn unlinking_revokes_the_token_and_is_in_the_activity() {
    let github = GitHub::start("ana-codes");
    let service = service(&github);
    let (ana, mut visitor) = signed_in(&service, "ana");
    let _ = link(&mut visitor);
    assert_eq!(github.tokens(), 1);
    let page = visitor.submits("/users/me/github/unlink", &[]);
    assert!(page.body.contains("ana-codes (GitHub)"), "{}", page.body);
    assert_eq!((github.tokens(), listed(&ana).0), (0, 404));
    let log = service.log();
    assert!(!log.contains("gho_") && !log.contains(GITHUB_CLIENT_SECRET), "{log}");
}

#[test]
fn an_expired_token_is_renewed_and_only_a_refusal_requires_a_new_link() {
    let github = GitHub::start("ana-codes");
    let key = Key::ed25519();
    github.lists(&[("laptop", &key.bare_text())]);
    github.is_a_github_app(8 * 60 * 60);
    let mut service = service(&github);
    let (ana, mut visitor) = signed_in(&service, "ana");
    let page = link(&mut visitor);
    assert!(page.body.contains("ana-codes"), "{page:?}");
    assert_eq!((listed(&ana).0, github.renewed()), (200, (0, 0)));

    let mut asks_again = || {
        // A restart clears the cache of GitHub's responses.
        service.stop();
        service.restart();
        listed(&ana)
    };
    github.ends_all_tokens();
    assert_eq!((asks_again().0, github.renewed()), (200, (1, 0)));
    github.ends_all_tokens();
    github.renews(Some("temporarily_unavailable"));
    assert_eq!(asks_again().0, 503, "a temporary error does not remove the link");
    github.renews(None);
    assert_eq!((asks_again().0, github.renewed()), (200, (2, 0)));

    // Tokens that expire within a minute are renewed before they are used.
    github.is_a_github_app(30);
    github.ends_all_tokens();
    assert_eq!((asks_again().0, github.renewed()), (200, (3, 0)));
    assert_eq!((asks_again().0, github.renewed()), (200, (4, 0)));

    github.revokes_all();
    let (status, error) = asks_again();
    assert_eq!((status, error["id"].as_u64()), (404, Some(7301)), "{error}");
    let log = service.log();
    assert!(!log.contains("ghu_") && !log.contains("ghr_"), "{log}");
    assert_eq!(link(&mut visitor).status, 200);
    let _ = visitor.submits("/users/me/github/unlink", &[]);
    assert_eq!(github.tokens(), 0, "the renewed token is revoked, too");
}

#[test]
fn only_one_request_at_two_replicas_renews_a_token() {
    if env!("CARGO_CRATE_NAME") != "users_on_postgres" {
        return;
    }
    let github = GitHub::start("ana-codes");
    github.is_a_github_app(8 * 60 * 60);
    let first = service(&github);
    // The first one has cached GitHub's response.
    let (second, third) = (first.replica(), first.replica());
    let (ana, mut visitor) = signed_in(&first, "ana");
    let _ = link(&mut visitor);
    github.ends_all_tokens();
    let asking: Vec<_> = (0..12)
        .map(|number| {
            let asks = ana.at(&if number % 2 == 0 { second.url() } else { third.url() });
            thread::spawn(move || listed(&asks))
        })
        .collect();
    let answers =
        asking.into_iter().map(|asking| asking.join().map(|(status, _)| status).unwrap_or_default());
    assert_eq!(answers.collect::<Vec<_>>(), [200; 12]);
    assert_eq!(github.renewed(), (1, 0));
}
