//! Sign-in, sessions and confirmation.

use reqwest::StatusCode;
use reqwest::header::ORIGIN;

use super::{CLI_TOKEN, KEYS, PASSWORD, PROFILE, Page, Tab, account};
use crate::document::check_members;
use crate::service::{Service, new_key};

#[tokio::test]
async fn only_the_accounts_own_password_signs_in() {
    let service = Service::start();
    account(&service, "ana");
    service.account("bob");
    let mut tab = Tab::new(&service);
    tab.gets(KEYS).await.leads_to("/sign-in?next=%2Fusers%2Fme%2Fssh-keys");
    let wrong = "Account and password do not match";
    for (name, password) in
        [("ana", "incorrect horse"), ("ana", ""), ("nobody", PASSWORD), ("bob", PASSWORD), ("", "")]
    {
        tab.sign_in(name, password).await.says(StatusCode::FORBIDDEN, wrong);
    }
    let page = tab.sign_in("<ana>", "wrong").await;
    page.says(StatusCode::FORBIDDEN, "value=\"&#60;ana&#62;\"");
    assert_eq!(tab.cookie, "");
    tab.sign_in("ana", PASSWORD).await.leads_to(KEYS);
    tab.gets(KEYS).await.says(StatusCode::OK, "Your keys");
    assert!(!service.log().contains(PASSWORD));
}

#[tokio::test]
async fn password_guesses_are_rate_limited() {
    let service = Service::start();
    account(&service, "ana");
    let mut tab = Tab::new(&service);
    for _ in 0..12 {
        tab.sign_in("ana", PASSWORD).await.leads_to(KEYS);
    }
    for _ in 0..10 {
        tab.sign_in("ana", "").await.says(StatusCode::FORBIDDEN, "do not match");
    }
    tab.sign_in("ana", PASSWORD).await.says(StatusCode::TOO_MANY_REQUESTS, "Too many attempts");
}

#[tokio::test]
async fn a_cookie_is_bound_to_the_host_and_over_tls_also_to_tls() {
    let service = Service::start();
    account(&service, "ana");
    let mut tab = Tab::new(&service);
    let page = tab.sign_in("ana", PASSWORD).await;
    let cookie = page.header("set-cookie");
    assert!(cookie.starts_with("pushkeys_session=pks_"), "{cookie}");
    for part in ["; HttpOnly", "; SameSite=Lax", "; Path=/", "; Max-Age=604800"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Secure") && !cookie.contains("Domain"), "{cookie}");

    let service = Service::start_with("[console]\nbase_url = \"https://console.example.com\"\n");
    account(&service, "ana");
    let tab = Tab::new(&service);
    let fields = [("account", "ana"), ("password", PASSWORD)];
    let page = Page::of(tab.form("/sign-in", &fields).header(ORIGIN, "https://console.example.com")).await;
    page.leads_to(KEYS);
    let cookie = page.header("set-cookie");
    assert!(cookie.starts_with("__Host-pushkeys_session=pks_") && cookie.contains("; Secure"), "{cookie}");
    assert!(page.header("strict-transport-security").starts_with("max-age=31536000"));
}

#[tokio::test]
async fn an_old_sign_in_is_confirmed_and_the_form_is_kept() {
    let service = Service::start_with("[console]\nconfirm_after = \"0s\"\n");
    let ana = account(&service, "ana");
    let tab = Tab::signed_in(&service, "ana").await;
    let key = new_key(&service, "laptop");
    let page = tab.adds("laptop", &key).await;
    page.says(StatusCode::OK, "Confirm your identity");
    page.says(StatusCode::OK, &format!("name=\"key\" value=\"{key}\""));
    let confirmed = |password| [("name", "laptop"), ("key", key.as_str()), ("password", password)];
    tab.posts(KEYS, &confirmed("wrong")).await.says(StatusCode::FORBIDDEN, "not the password");
    assert!(service.keys(&ana).await.is_empty());
    tab.posts(KEYS, &confirmed(PASSWORD)).await.leads_to("/users/me/ssh-keys?done=added");
    assert_eq!(service.keys(&ana).await.len(), 1);
}

#[tokio::test]
async fn a_session_ends_by_signing_out_by_another_session_and_by_a_new_password() {
    let service = Service::start();
    account(&service, "ana");
    let tab = Tab::signed_in(&service, "ana").await;
    let (lost, second) = (Tab::signed_in(&service, "ana").await, Tab::signed_in(&service, "ana").await);
    let is_in = async |tab: &Tab<'_>| tab.gets(KEYS).await.status == StatusCode::OK;
    let other = tab.gets(PROFILE).await.value_after("name=\"session\" value=\"");
    tab.posts("/users/me/sessions/end", &[("session", &other)])
        .await
        .leads_to("/users/me?done=session-ended");
    assert_eq!(usize::from(is_in(&lost).await) + usize::from(is_in(&second).await), 1);
    assert!(is_in(&tab).await);

    let third = Tab::signed_in(&service, "ana").await;
    let new = "another horse battery";
    let change = |current, new| [("current", current), ("new", new)];
    let path = "/users/me/password";
    tab.posts(path, &change("wrong", new)).await.says(StatusCode::BAD_REQUEST, "not the password");
    tab.posts(path, &change(PASSWORD, "short")).await.says(StatusCode::BAD_REQUEST, "too short");
    assert!(is_in(&third).await);
    tab.posts(path, &change(PASSWORD, new)).await.leads_to("/users/me?done=password");
    assert!(is_in(&tab).await && !is_in(&third).await);

    let mut fourth = Tab::new(&service);
    fourth.sign_in("ana", PASSWORD).await.says(StatusCode::FORBIDDEN, "do not match");
    fourth.sign_in("ana", new).await.leads_to(KEYS);
    let page = fourth.posts("/sign-out", &[]).await;
    assert!(page.header("set-cookie").contains("Max-Age=0"), "{:?}", page.headers);
    assert!(!is_in(&fourth).await && is_in(&tab).await);
}

#[tokio::test]
async fn a_session_that_is_not_used_ends() {
    let service = Service::start_with("[console]\nsession_idle = \"300ms\"\n");
    account(&service, "ana");
    let tab = Tab::signed_in(&service, "ana").await;
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    assert_eq!(tab.gets(KEYS).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_login_of_the_command_line_is_fetched_once_after_the_user_approved_it() {
    let service = Service::start();
    account(&service, "ana");
    let tab = Tab::signed_in(&service, "ana").await;
    let fetch =
        async || service.get(&format!("/v2/self/cli_tokens?cli_token={CLI_TOKEN}"), "Bearer undefined").await;
    assert_eq!(fetch().await.0, StatusCode::NOT_FOUND);
    let page = tab.gets(&format!("/cli-oauth?cli_version=4.11.0&cli_token={CLI_TOKEN}")).await;
    page.says(StatusCode::OK, "<code>clever login</code> (version 4.11.0) asks to act as the account “ana”");
    tab.gets("/cli-oauth?cli_token=short")
        .await
        .says(StatusCode::BAD_REQUEST, "Run <code>clever login</code> again");
    assert_eq!(fetch().await.0, StatusCode::NOT_FOUND, "not approved yet");

    let fields = [("cli_token", CLI_TOKEN), ("cli_version", "4.11.0")];
    tab.posts("/cli-oauth", &fields).await.says(StatusCode::OK, "Approved");
    let (status, credential) = fetch().await;
    assert_eq!(status, StatusCode::OK, "{credential}");
    assert_eq!(fetch().await.0, StatusCode::NOT_FOUND, "a credential is returned once");
    check_members("CliToken", &credential);
    let text = |member: &str| credential[member].as_str().unwrap().to_owned();
    let consumer = "T5nFjKeHH4AIlEveuGhB5S3xg8T19e";
    let signature = format!("MgVMqTr6fWlf2M0tkC2MXOnhfqBWDT%26{}", text("secret"));
    let authorization = format!(
        "OAuth oauth_consumer_key=\"{consumer}\", oauth_token=\"{}\", oauth_signature=\"{signature}\"",
        text("token")
    );
    let (status, current) = service.get("/v2/self/tokens/current", &authorization).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(current["expirationDate"], credential["expirationDate"]);
    assert!(!text("expirationDate").starts_with("9999"));
    let page = tab.gets(PROFILE).await;
    page.says(StatusCode::OK, "Token “clever login 4.11.0” added");
    let id = page.value_after("name=\"token\" value=\"");
    assert!(id.starts_with("tok_"), "{id}");
}
