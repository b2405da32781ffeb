//! Sign-in by OpenID Connect, and attempts that must fail.

use pushkeys_tests::{Forgery, Key, OPENID_CLIENT_SECRET, OpenId, Page, Service, Visitor, WebResponse};
use serde_json::{Value, json};

use crate::{PASSWORD, service_with};

const KEYS: &str = "/users/me/ssh-keys";
const PROFILE: &str = "/users/me";

fn ana() -> Value {
    json!({"sub": "u-7", "preferred_username": "ana", "email": "ana@example.com", "email_verified": true})
}

fn service(provider: &OpenId, creates_accounts: bool) -> Service {
    let settings = provider.settings("{room}/oidc.secret", creates_accounts);
    service_with(&settings, &[("oidc.secret", OPENID_CLIENT_SECRET)])
}

/// Signs in with the button: to the provider and back.
fn sign_in(visitor: &mut Visitor) -> Page {
    let page = visitor.opens("/sign-in");
    assert!(page.body.contains("Sign in with Example ID"), "{}", page.body);
    let leaving = visitor.submits("/sign-in/oidc", &[("next", KEYS)]);
    visitor.opens(&leaving.leads_to())
}

#[test]
fn a_first_sign_in_creates_an_account_and_the_next_one_finds_it_under_any_name() {
    let provider = OpenId::start(ana());
    let service = service(&provider, true);
    let mut visitor = Visitor::of(&service.url());
    let page = sign_in(&mut visitor);
    assert_eq!((page.status, page.url.path()), (200, KEYS), "{page:?}");
    assert!(visitor.opens(PROFILE).body.contains("ana@example.com"));

    provider.is_used_by(Some(json!({"sub": "u-7", "preferred_username": "ana-maria"})));
    let mut elsewhere = Visitor::of(&service.url());
    assert_eq!(sign_in(&mut elsewhere).url.path(), KEYS);
    let accounts = service.administers(&["account", "list", "--json"]).output();
    assert_eq!(accounts.lines().count(), 1, "{accounts}");
}

#[test]
fn a_forged_token_is_refused_and_a_valid_one_accepted() {
    let provider = OpenId::start(ana());
    let service = service(&provider, true);
    let mut visitor = Visitor::of(&service.url());
    let _ = sign_in(&mut Visitor::of(&service.url()));
    for forgery in [
        Forgery::Audience,
        Forgery::Issuer,
        Forgery::Expired,
        Forgery::ReplayedNonce,
        Forgery::Unsigned,
        Forgery::Shared,
        Forgery::OtherKey,
        Forgery::Missing,
    ] {
        provider.forges(Some(forgery));
        let page = sign_in(&mut visitor);
        assert_eq!(page.status, 403, "{forgery:?}: {page:?}");
        assert_eq!(visitor.opens(KEYS).url.path(), "/sign-in", "{forgery:?}");
    }
    provider.forges(None);
    assert_eq!(sign_in(&mut visitor).url.path(), KEYS);
    assert!(!service.log().contains(OPENID_CLIENT_SECRET));
}

#[test]
fn members_of_responses_that_are_not_needed_may_be_anything() {
    let provider = OpenId::start(ana());
    let service = service(&provider, true);
    for members in [
        json!({"expires_in": "3600", "scope": ["openid", 7], "token_type": null, "error": null}),
        json!({"expires_in": {}, "token_type": 7, "scope": 7, "refresh_token": [], "access_token": null}),
    ] {
        provider.grants_with(members.clone());
        let page = sign_in(&mut Visitor::of(&service.url()));
        assert_eq!((page.status, page.url.path()), (200, KEYS), "{members}: {page:?}");
    }
    provider.changes_responses(|path, response| match path {
        "/.well-known/openid-configuration" => response.replaces_members(&json!({
            "token_endpoint_auth_methods_supported": "client_secret_basic", "scopes_supported": 7
        })),
        "/keys" => {
            response.body =
                response.body.replace("\"kid\":\"key-1\"", "\"kid\":\"key-1\",\"x5c\":7,\"key_ops\":{}");
        }
        _ => {}
    });
    // A restart forgets the metadata and the keys.
    let mut service = service;
    service.stop();
    service.restart();
    assert_eq!(sign_in(&mut Visitor::of(&service.url())).url.path(), KEYS);
}

#[test]
fn a_permanent_failure_is_not_reported_as_temporary() {
    let provider = OpenId::start(json!({"sub": "u-8"}));
    let service = service(&provider, true);
    let check = |token_response: WebResponse, status: u16, expected: &str| {
        provider.changes_responses(move |path, response| {
            if path == "/token" {
                *response = token_response.clone();
            }
        });
        let page = sign_in(&mut Visitor::of(&service.url()));
        assert!(page.status == status && page.body.contains(expected), "{expected}: {page:?}");
    };
    check(WebResponse::json(401, &json!({"error": "invalid_client"})), 403, "tell its operator");
    check(WebResponse::json(400, &json!({"error": "invalid_grant"})), 403, "Start again");
    check(WebResponse::json(404, &json!({})), 502, "tell the operator");
    check(WebResponse::json(200, &json!([])), 502, "tell the operator");
    check(WebResponse::json(503, &json!({})), 503, "Try again in a minute");
    provider.changes_responses(|_, _| {});
    let page = sign_in(&mut Visitor::of(&service.url()));
    assert!(page.status == 403 && page.body.contains("does not provide a name for your account"), "{page:?}");
    let log = service.log();
    assert!(log.contains("claim `preferred_username`, which `oidc.account_claim` names"), "{log}");
}

#[test]
fn an_authorization_code_is_accepted_once_and_in_its_browser() {
    let provider = OpenId::start(ana());
    let service = service(&provider, true);
    let (mut eve, mut bob) = (Visitor::of(&service.url()), Visitor::of(&service.url()));
    let _ = eve.opens("/sign-in");
    let leaving = eve.submits("/sign-in/oidc", &[]);
    let answer = eve.is_sent_to(&leaving.leads_to(), None);
    // Signing another user in to one's own account is an attack, too.
    assert_eq!(bob.opens(answer.as_str()).status, 400);
    assert_eq!(bob.opens(KEYS).url.path(), "/sign-in");
    assert_eq!(eve.opens(answer.as_str()).url.path(), KEYS);
    assert_eq!(eve.opens(answer.as_str()).status, 400);
}

#[test]
fn a_name_at_the_provider_gives_no_access_to_the_account_of_that_name() {
    let provider = OpenId::start(ana());
    let service = service(&provider, true);
    let _ = service.account("ana");
    let mut visitor = Visitor::of(&service.url());
    let page = sign_in(&mut visitor);
    assert!(page.status == 403 && page.body.contains("already exists"), "{page:?}");
    assert_eq!(visitor.opens(KEYS).url.path(), "/sign-in");
}

#[test]
fn without_account_creation_a_user_links_first_and_then_signs_in_either_way() {
    let provider = OpenId::start(ana());
    let service = service(&provider, false);
    let _ = service.account("ana-here");
    service.set_password("ana-here", PASSWORD);
    let mut stranger = Visitor::of(&service.url());
    let page = sign_in(&mut stranger);
    assert!(page.status == 403 && page.body.contains("link it on your profile"), "{page:?}");

    let mut visitor = Visitor::of(&service.url());
    let _ = visitor.signs_in("ana-here", PASSWORD);
    let _ = visitor.opens(PROFILE);
    let leaving = visitor.submits("/users/me/oidc/link", &[]);
    let page = visitor.opens(&leaving.leads_to());
    assert!(page.url.path() == PROFILE && page.body.contains("linked to ana ("), "{page:?}");
    let page = sign_in(&mut stranger);
    assert!(page.url.path() == KEYS && page.body.contains("ana-here"), "{page:?}");

    // The same identity does not give access to a second account.
    let _ = service.account("bob");
    service.set_password("bob", PASSWORD);
    let mut bob = Visitor::of(&service.url());
    let _ = bob.signs_in("bob", PASSWORD);
    let _ = bob.opens(PROFILE);
    let leaving = bob.submits("/users/me/oidc/link", &[]);
    let page = bob.opens(&leaving.leads_to());
    assert!(page.status == 403 && page.body.contains("another account"), "{page:?}");

    let page = visitor.submits("/users/me/oidc/unlink", &[]);
    assert!(page.body.contains("not linked"), "{}", page.body);
    assert_eq!(sign_in(&mut Visitor::of(&service.url())).status, 403);
}

#[test]
fn the_only_way_to_sign_in_cannot_be_unlinked() {
    let provider = OpenId::start(ana());
    let service = service(&provider, true);
    let mut visitor = Visitor::of(&service.url());
    let _ = sign_in(&mut visitor);
    let _ = visitor.opens(PROFILE);
    let page = visitor.submits("/users/me/oidc/unlink", &[]);
    assert!(page.status == 403 && page.body.contains("only way"), "{page:?}");
    service.set_password("ana", PASSWORD);
    let _ = visitor.signs_in("ana", PASSWORD);
    let _ = visitor.opens(PROFILE);
    assert_eq!(visitor.submits("/users/me/oidc/unlink", &[]).status, 200);
}

#[test]
fn a_denied_sign_in_is_reported() {
    let provider = OpenId::start(ana());
    let service = service(&provider, true);
    provider.is_used_by(None);
    let page = sign_in(&mut Visitor::of(&service.url()));
    assert!(page.status == 403 && page.body.contains("access_denied"), "{page:?}");
}

/// The user's input, longer than a cookie can be.
struct Typed {
    name: String,
    key: String,
}

impl Typed {
    fn new() -> Self {
        Self {
            name: "my <laptop>".to_owned(),
            key: Key::generate(&["-t", "rsa", "-b", "4096"]).text().to_owned(),
        }
    }

    fn fields(&self) -> [(&str, &str); 2] {
        [("name", &self.name), ("key", &self.key)]
    }

    /// Goes to the provider from the page that requires it, and returns.
    fn is_confirmed_by(&self, visitor: &mut Visitor) -> Page {
        let page = visitor.submits(KEYS, &self.fields());
        assert!(page.status == 200 && page.body.contains("Confirm your identity"), "{page:?}");
        assert!(!page.body.contains("type=\"password\""), "the account has none: {}", page.body);
        let [name, key] = self.fields();
        let leaving = visitor.submits("/users/me/confirm/oidc", &[("action", KEYS), name, key]);
        visitor.opens(&leaving.leads_to())
    }
}

#[test]
fn adding_a_key_requires_a_new_sign_in_at_the_provider_and_keeps_the_form() {
    let provider = OpenId::start(ana());
    provider.user_signed_in_before(3 * 60 * 60);
    let service = service(&provider, true);
    let (mut visitor, typed) = (Visitor::of(&service.url()), Typed::new());
    let _ = sign_in(&mut visitor);
    for forgery in [Forgery::OldSession, Forgery::NoAuthTime] {
        provider.forges(Some(forgery));
        let page = typed.is_confirmed_by(&mut visitor);
        assert!(page.status == 403 && page.body.contains("did not ask you to sign in again"), "{page:?}");
    }
    provider.forges(None);
    provider.is_used_by(Some(json!({"sub": "u-8", "preferred_username": "bob"})));
    let page = typed.is_confirmed_by(&mut visitor);
    assert!(page.status == 403 && page.body.contains("not the one linked to this account"), "{page:?}");
    assert!(visitor.opens(KEYS).body.contains("You have no SSH key yet"));

    provider.is_used_by(Some(ana()));
    let page = typed.is_confirmed_by(&mut visitor);
    assert!(page.status == 200 && page.body.contains("Nothing has been done yet"), "{page:?}");
    let escaped = typed.name.replace('<', "&#60;").replace('>', "&#62;");
    for (name, value) in [("name", &escaped), ("key", &typed.key)] {
        assert!(page.body.contains(&format!("name=\"{name}\" value=\"{value}\"")), "{}", page.body);
    }
    let page = visitor.submits(KEYS, &typed.fields());
    assert!(page.body.contains("The key was added") && page.body.contains(&escaped), "{}", page.body);
}

#[test]
fn a_provider_without_a_sign_in_time_is_accepted_only_if_configured() {
    let provider = OpenId::start(ana());
    provider.forges(Some(Forgery::NoAuthTime));
    let key = Key::ed25519();
    let settings = format!("{}require_auth_time = false\n", provider.settings("{room}/oidc.secret", true));
    let service = Service::start_with(&settings, &[("oidc.secret", OPENID_CLIENT_SECRET)]);
    let mut visitor = Visitor::of(&service.url());
    let _ = sign_in(&mut visitor);
    let page = visitor.submits(KEYS, &[("name", "laptop"), ("key", key.text())]);
    assert!(page.body.contains("The key was added"), "{page:?}");
}
