//! The console as HTTP: who is let in, what a form must carry, what a page may do, and what is written down.
//! Real browsers use it in `tests/tests/users_on_sqlite/console.rs`.

use std::process::Command;

use reqwest::header::{ACCEPT_LANGUAGE, COOKIE, HOST, HeaderMap, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};

use crate::document::check_members;
use crate::reports::{fingerprint, key_id, report, used};
use crate::service::{Account, Service, new_key};

const KEYS: &str = "/users/me/ssh-keys";
const PROFILE: &str = "/users/me";
const PASSWORD: &str = "correct horse battery";
/// What `clever login` makes up is like this.
const CLI_TOKEN: &str = "q83vEjRWeJCrze8SNFZ4kKvN7xI";

/// An answer, with its body.
struct Page {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Page {
    async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Where a form led to, when it was obeyed.
    #[track_caller]
    fn leads_to(&self, path: &str) {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.text);
        assert_eq!(self.header(LOCATION.as_str()), path);
    }

    #[track_caller]
    fn says(&self, status: StatusCode, text: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert!(self.text.contains(text), "no `{text}` in {}", self.text);
    }

    /// The value of the first field or attribute that follows `before`.
    fn value_after(&self, before: &str) -> String {
        let after = self.text.split(before).nth(1).unwrap_or_else(|| panic!("{before} in {}", self.text));
        after.split('"').next().unwrap().to_owned()
    }
}

/// What a browser keeps, and what it sends along.
struct Tab<'s> {
    service: &'s Service,
    client: Client,
    cookie: String,
    csrf: String,
}

impl<'s> Tab<'s> {
    fn new(service: &'s Service) -> Self {
        let client = Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
        Self { service, client, cookie: String::new(), csrf: String::new() }
    }

    async fn signed_in(service: &'s Service, account: &str) -> Self {
        let mut tab = Self::new(service);
        tab.sign_in(account, PASSWORD).await.leads_to(KEYS);
        tab
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.service.address())
    }

    fn origin(&self) -> String {
        self.url("")
    }

    async fn sign_in(&mut self, account: &str, password: &str) -> Page {
        let page = self.posts("/sign-in", &[("account", account), ("password", password)]).await;
        if let Some(cookie) = page.headers.get(SET_COOKIE) {
            cookie.to_str().unwrap().split(';').next().unwrap().clone_into(&mut self.cookie);
            self.csrf = self.gets(KEYS).await.value_after("name=\"csrf\" value=\"");
        }
        page
    }

    async fn gets(&self, path: &str) -> Page {
        Page::of(self.client.get(self.url(path)).header(COOKIE, &self.cookie)).await
    }

    /// A form with all that it needs.
    fn form(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let fields = [&[("csrf", self.csrf.as_str())], fields].concat();
        self.client.post(self.url(path)).header(COOKIE, &self.cookie).form(&fields)
    }

    async fn posts(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        Page::of(self.form(path, fields).header(ORIGIN, self.origin())).await
    }

    async fn adds(&self, name: &str, key: &str) -> Page {
        self.posts(KEYS, &[("name", name), ("key", key)]).await
    }
}

fn account(service: &Service, name: &str) -> Account {
    let account = service.account(name);
    service.set_password(name, PASSWORD);
    account
}

#[tokio::test]
async fn only_the_accounts_own_password_opens_its_pages() {
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
async fn whoever_guesses_is_told_to_wait() {
    let service = Service::start();
    account(&service, "ana");
    let mut tab = Tab::new(&service);
    for _ in 0..10 {
        tab.sign_in("ana", "").await.says(StatusCode::FORBIDDEN, "do not match");
    }
    tab.sign_in("ana", PASSWORD).await.says(StatusCode::TOO_MANY_REQUESTS, "Too many attempts");
}

#[tokio::test]
async fn a_form_that_a_page_of_ours_did_not_send_changes_nothing() {
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
    let request = tab.form(KEYS, &fields).header("sec-fetch-site", "same-origin");
    Page::of(request).await.leads_to("/users/me/ssh-keys?done=added");
    assert_eq!(service.keys(&ana).await.len(), 1);
}

#[tokio::test]
async fn every_answer_tells_browsers_to_let_nothing_else_in() {
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
async fn a_cookie_is_for_this_host_and_over_tls_for_tls_alone() {
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
async fn without_an_address_of_its_own_the_console_is_for_this_machine() {
    let service = Service::start();
    let tab = Tab::new(&service);
    let elsewhere = tab.client.get(tab.url("/sign-in")).header(HOST, "rebound.example");
    Page::of(elsewhere).await.says(StatusCode::MISDIRECTED_REQUEST, "<code>base_url</code>");
    let here = tab.client.get(tab.url("/sign-in")).header(HOST, "localhost:8080");
    Page::of(here).await.says(StatusCode::OK, "Sign in");
}

#[tokio::test]
async fn what_is_refused_is_kept_in_the_form_but_never_a_private_key() {
    let service = Service::start();
    account(&service, "ana");
    let tab = Tab::signed_in(&service, "ana").await;
    let key = new_key(&service, "laptop");
    let private = std::fs::read_to_string(service.path("key-laptop")).unwrap();
    let line = private.lines().nth(1).unwrap();
    for name in ["laptop", ""] {
        let page = tab.adds(name, &private).await;
        page.says(StatusCode::BAD_REQUEST, "This is a private key: it was not stored");
        assert!(!page.text.contains(line), "{}", page.text);
    }
    assert!(!service.log().contains(line));

    let page =
        tab.posts(KEYS, &[("name", "<my> laptop"), ("key", "ssh-ed25519 AAAA"), ("expires_on", "")]).await;
    page.says(StatusCode::BAD_REQUEST, "Error: SSH keys");
    page.says(StatusCode::BAD_REQUEST, "value=\"&#60;my&#62; laptop\"");
    page.says(StatusCode::BAD_REQUEST, ">ssh-ed25519 AAAA</textarea>");
    let check = async |fields: &[(&str, &str)], text: &str| {
        tab.posts(KEYS, fields).await.says(StatusCode::BAD_REQUEST, text);
    };
    check(&[("name", ""), ("key", &key)], "The name is empty").await;
    check(&[("name", ".."), ("key", &key)], "Choose another name").await;
    check(&[("name", "a\u{202e}b"), ("key", &key)], "U+202E").await;
    check(&[("name", "a"), ("key", &key), ("expires_on", "2020-01-01")], "This day is over").await;
    check(&[("name", "a"), ("key", &key), ("expires_on", "tomorrow")], "not a day such as").await;
    check(&[("name", "a"), ("key", &format!("{key}\n{key}"))], "more than one line").await;
    tab.posts(KEYS, &[("name", "a"), ("key", &key), ("expires_on", "2997-01-31")])
        .await
        .leads_to("/users/me/ssh-keys?done=added");
    tab.gets(KEYS).await.says(StatusCode::OK, "2997-02-01 00:00 UTC");
    check(&[("name", "a"), ("key", &new_key(&service, "other"))], "already have another key named “a”").await;
    check(&[("name", "b"), ("key", &key)], "already have this key under the name “a”").await;
    let large = "a".repeat(128 * 1024);
    tab.adds("large", &large).await.says(StatusCode::PAYLOAD_TOO_LARGE, "longer than any public key");
}

#[tokio::test]
async fn a_sign_in_that_is_long_ago_is_confirmed_and_what_was_typed_goes_on() {
    let service = Service::start_with("[console]\nconfirm_after = \"0s\"\n");
    let ana = account(&service, "ana");
    let tab = Tab::signed_in(&service, "ana").await;
    let key = new_key(&service, "laptop");
    let page = tab.adds("laptop", &key).await;
    page.says(StatusCode::OK, "Confirm that it is you");
    page.says(StatusCode::OK, &format!("name=\"key\" value=\"{key}\""));
    let confirmed = |password| [("name", "laptop"), ("key", key.as_str()), ("password", password)];
    tab.posts(KEYS, &confirmed("wrong")).await.says(StatusCode::FORBIDDEN, "not the password");
    assert!(service.keys(&ana).await.is_empty());
    tab.posts(KEYS, &confirmed(PASSWORD)).await.leads_to("/users/me/ssh-keys?done=added");
    assert_eq!(service.keys(&ana).await.len(), 1);
}

#[tokio::test]
async fn a_session_ends_when_its_owner_signs_out_ends_it_elsewhere_or_changes_the_password() {
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
async fn what_is_shown_is_in_the_browsers_language() {
    let service = Service::start();
    let tab = Tab::new(&service);
    let french = tab.client.get(tab.url("/sign-in")).header(ACCEPT_LANGUAGE, "fr-FR,fr;q=0.9,en;q=0.5");
    let page = Page::of(french).await;
    page.says(StatusCode::OK, "<html lang=\"fr\">");
    page.says(StatusCode::OK, "Mot de passe");
    tab.gets("/sign-in").await.says(StatusCode::OK, "<html lang=\"en\">");
}

#[tokio::test]
async fn a_contested_key_goes_to_the_account_that_signs_for_it() {
    let service = Service::start();
    let (ana, bob) = (account(&service, "ana"), account(&service, "bob"));
    let key = new_key(&service, "shared");
    service.put(&ana, "mine", &key).await;
    let tab = Tab::signed_in(&service, "bob").await;
    let page = tab.adds("shared", &key).await;
    page.says(StatusCode::BAD_REQUEST, "registered to another account");
    assert!(!page.text.contains("ana"), "{}", page.text);
    let page = tab.gets(KEYS).await;
    page.says(StatusCode::OK, "You tried to add the key “shared”, which another account uses");
    let warning = page.value_after("name=\"warning\" value=\"");

    let page = tab.posts("/users/me/ssh-keys/challenge", &[("warning", &warning)]).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
    let proof = tab.gets(page.header("location")).await;
    let command =
        proof.text.split("<pre tabindex=\"0\"><code>").nth(1).unwrap().split("</code>").next().unwrap();
    let command = command.replace("&#39;", "'").replace("~/.ssh/id_ed25519", "\"$KEY\"");
    let sign = |command: &str| {
        let signed = Command::new("sh").args(["-c", command]).env("KEY", service.path("key-shared")).output();
        String::from_utf8(signed.unwrap().stdout).unwrap()
    };
    let fingerprint = proof.value_after("name=\"fingerprint\" value=\"");
    let answer = async |signature: &str| {
        let fields = [("name", "shared"), ("fingerprint", fingerprint.as_str()), ("signature", signature)];
        tab.posts("/users/me/ssh-keys/proof", &fields).await
    };
    answer("nonsense").await.says(StatusCode::BAD_REQUEST, "not the signature that the command prints");
    let other = sign(&command.replace("pushkeys ties", "pushkeys gives"));
    answer(&other).await.says(StatusCode::BAD_REQUEST, "does not answer the challenge");
    assert_eq!(service.keys(&ana).await.len(), 1);
    let signature = sign(&command);
    answer(&signature).await.leads_to("/users/me/ssh-keys?done=proved");
    assert!(service.keys(&ana).await.is_empty());
    assert_eq!(service.keys(&bob).await.len(), 1);
    tab.gets(KEYS).await.says(StatusCode::OK, "Verified");
    let anas = Tab::signed_in(&service, "ana").await;
    anas.gets(KEYS).await.says(StatusCode::OK, "moved to another account");
    anas.gets(PROFILE).await.says(StatusCode::OK, "Key “mine” moved to the account that proved to hold it");
}

#[tokio::test]
async fn the_page_tells_when_and_where_a_key_was_used_and_the_set_up_was_checked() {
    let service = Service::start();
    let (ana, host) = (account(&service, "ana"), service.host("push1"));
    let key = new_key(&service, "laptop");
    service.put(&ana, "laptop", &key).await;
    let tab = Tab::signed_in(&service, "ana").await;
    tab.gets(KEYS).await.says(StatusCode::OK, "No successful check has been seen yet.");
    let id = key_id(&service, &host, fingerprint(&key)).await;
    for (kind, at) in [("check", "2026-01-01T10:00:00Z"), ("push", "2026-01-01T11:00:00Z")] {
        report(&service, &host, feed::USAGE_PATH, &used(fingerprint(&key), &id, kind, at)).await;
    }
    let page = tab.gets(KEYS).await;
    page.says(StatusCode::OK, "<dd>2026-01-01 11:00 UTC on push1</dd>");
    let check = "Last successful check: 2026-01-01 10:00 UTC from host push1, with the key “laptop”.";
    page.says(StatusCode::OK, check);
}

#[tokio::test]
async fn every_change_is_in_the_trail_with_who_made_it() {
    let service = Service::start();
    let ana = account(&service, "ana");
    let tab = Tab::signed_in(&service, "ana").await;
    let (laptop, desktop) = (new_key(&service, "laptop"), new_key(&service, "desktop"));
    tab.adds("laptop", &laptop).await.leads_to("/users/me/ssh-keys?done=added");
    service.put(&ana, "desktop", &desktop).await;
    service.put(&ana, "desktop", &desktop).await;
    tab.posts("/users/me/ssh-keys/delete", &[("name", "laptop")])
        .await
        .leads_to("/users/me/ssh-keys?done=deleted");
    tab.posts("/users/me/ssh-keys/delete", &[("name", "laptop")])
        .await
        .leads_to("/users/me/ssh-keys?done=gone");
    tab.posts("/users/me/tokens/revoke", &[("token", &ana.token_id)])
        .await
        .leads_to("/users/me?done=token-revoked");
    assert_eq!(service.get("/v2/self", &ana.bearer).await.0, StatusCode::UNAUTHORIZED);

    let page = tab.gets(PROFILE).await;
    let rows = page.text.split("<tbody>").nth(1).unwrap().split("</tbody>").next().unwrap();
    let rows: Vec<String> = rows
        .split("<tr>")
        .skip(1)
        .map(|row| {
            let cells = row
                .split("<td")
                .skip(2)
                .map(|cell| cell.split_once('>').unwrap().1.split("</td>").next().unwrap().to_owned());
            cells.collect::<Vec<_>>().join(" | ")
        })
        .collect();
    let expected = [
        "Token “without a label” revoked | this console | 127.0.0.1",
        "Key “laptop” deleted | this console | 127.0.0.1",
        "Key “desktop” added | token without a label | 127.0.0.1",
        "Key “laptop” added | this console | 127.0.0.1",
        "Signed in | this console | 127.0.0.1",
        "Password changed | the operator | ",
        "Token “without a label” added | the operator | ",
    ];
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn a_login_of_the_command_line_is_fetched_once_after_its_user_approved_it() {
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
    assert_eq!(fetch().await.0, StatusCode::NOT_FOUND, "looking is not approving");

    let fields = [("cli_token", CLI_TOKEN), ("cli_version", "4.11.0")];
    tab.posts("/cli-oauth", &fields).await.says(StatusCode::OK, "Approved");
    let (status, credential) = fetch().await;
    assert_eq!(status, StatusCode::OK, "{credential}");
    assert_eq!(fetch().await.0, StatusCode::NOT_FOUND, "a credential is told once");
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
