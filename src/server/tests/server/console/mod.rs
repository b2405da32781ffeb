//! The console over HTTP: sign-in, forms, headers and the audit log.
//! Real browsers use it in `tests/tests/users_on_sqlite/console.rs`.

mod keys;
mod pages;
mod sessions;

use reqwest::header::{COOKIE, HeaderMap, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};

use crate::service::{Account, Service};

const KEYS: &str = "/users/me/ssh-keys";
const PROFILE: &str = "/users/me";
const PASSWORD: &str = "correct horse battery";
/// A token as `clever login` generates it.
const CLI_TOKEN: &str = "q83vEjRWeJCrze8SNFZ4kKvN7xI";

/// A response with its body.
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

    /// Checks that a form was accepted, and its redirect.
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

/// The state of a browser tab: its cookies.
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

    /// A form with its CSRF token.
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
