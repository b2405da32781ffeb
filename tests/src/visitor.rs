//! A browser without JavaScript: cookies, redirects, forms.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::header::{ACCEPT_LANGUAGE, COOKIE, HeaderMap, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Method, RequestBuilder, Url};
use tokio::runtime::{Builder, Runtime};

const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
const REDIRECTS_MAX: usize = 10;

/// The current page.
#[derive(Debug, Clone)]
pub struct Page {
    /// The status code.
    pub status: u16,
    /// The URL after redirects.
    pub url: Url,
    /// The whole text of the page.
    pub body: String,
}

impl Page {
    /// The URL that the page redirects to by itself.
    #[track_caller]
    #[must_use]
    pub fn leads_to(&self) -> String {
        let refresh = self.body.split_once("content=\"0; url=").and_then(|(_, rest)| rest.split_once('"'));
        let (url, _) = refresh.unwrap_or_else(|| panic!("{} leads nowhere: {}", self.url, self.body));
        url.replace("&#38;", "&").replace("&amp;", "&")
    }
}

/// A browser that starts at one service and follows redirects to other sites.
#[derive(Debug)]
pub struct Visitor {
    base: Url,
    http: reqwest::Client,
    runtime: Runtime,
    cookies: HashMap<String, String>,
    csrf: String,
    language: String,
}

impl Visitor {
    /// A visitor of the service at `base`.
    #[must_use]
    pub fn of(base: &str) -> Self {
        let http = reqwest::Client::builder()
            .timeout(ANSWER_TIME_MAX)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .build()
            .expect("a client");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let base = Url::parse(base).expect("a base URL");
        Self { base, http, runtime, cookies: HashMap::new(), csrf: String::new(), language: "en".to_owned() }
    }

    /// Sets the browser's `Accept-Language`.
    pub fn reads(&mut self, language: &str) {
        language.clone_into(&mut self.language);
    }

    /// Signs in by password.
    #[track_caller]
    pub fn signs_in(&mut self, account: &str, password: &str) -> Page {
        let _ = self.opens("/sign-in");
        self.submits("/sign-in", &[("account", account), ("password", password)])
    }

    /// Opens the page at `path`, or at an absolute URL.
    #[track_caller]
    pub fn opens(&mut self, path: &str) -> Page {
        let url = self.base.join(path).expect("a path");
        self.follows(self.http.get(url.clone()), url)
    }

    /// Submits a form to `path`, with the hidden fields of the last page.
    #[track_caller]
    pub fn submits(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let url = self.base.join(path).expect("a path");
        let mut form = vec![("csrf", self.csrf.clone())];
        form.extend(fields.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let origin = self.base.origin().ascii_serialization();
        self.follows(self.http.post(url.clone()).header(ORIGIN, origin).form(&form), url)
    }

    /// The target of the redirect that answers a form or, without fields, a page; it is not followed.
    #[track_caller]
    pub fn is_sent_to(&mut self, path: &str, fields: Option<&[(&str, &str)]>) -> Url {
        let url = self.base.join(path).expect("a path");
        let request = match fields {
            Some(fields) => {
                let mut form = vec![("csrf", self.csrf.as_str())];
                form.extend(fields);
                let origin = self.base.origin().ascii_serialization();
                self.http.request(Method::POST, url.clone()).header(ORIGIN, origin).form(&form)
            }
            None => self.http.get(url.clone()),
        };
        let (status, headers, body) = self.send(request);
        let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.unwrap_or_else(|| panic!("{url} answers {status} without a place: {body}"));
        url.join(location).expect("a URL")
    }

    /// The value of a cookie.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.get(name).map(String::as_str)
    }

    /// Sets a cookie, such as one of another browser.
    pub fn has_cookie(&mut self, name: &str, value: &str) {
        self.cookies.insert(name.to_owned(), value.to_owned());
    }

    #[track_caller]
    fn follows(&mut self, request: RequestBuilder, url: Url) -> Page {
        let (mut request, mut url) = (request, url);
        for _ in 0..REDIRECTS_MAX {
            let (status, headers, body) = self.send(request);
            if let Some(location) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) {
                url = url.join(location).expect("a URL");
                request = self.http.get(url.clone());
                continue;
            }
            if let Some(csrf) = hidden_field(&body, "csrf") {
                self.csrf = csrf;
            }
            return Page { status, url, body };
        }
        panic!("{url} redirects without end")
    }

    fn send(&mut self, request: RequestBuilder) -> (u16, HeaderMap, String) {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = request.header(COOKIE, cookies.join("; ")).header(ACCEPT_LANGUAGE, &self.language);
        let (status, headers, body) = self.runtime.block_on(async {
            let response = request.send().await.expect("an answer");
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            (status, headers, response.text().await.expect("a whole answer"))
        });
        for cookie in headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
            let (name, value) =
                cookie.split(';').next().and_then(|pair| pair.split_once('=')).expect("a cookie");
            if cookie.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        (status, headers, body)
    }
}

/// The value of the first hidden field of this name.
fn hidden_field(body: &str, name: &str) -> Option<String> {
    let (_, after) = body.split_once(&format!("name=\"{name}\" value=\""))?;
    Some(after.split_once('"')?.0.to_owned())
}
