//! A real browser: headless Chromium, controlled through chromedriver by `WebDriver` (W3C).

#![expect(clippy::indexing_slicing, reason = "of JSON, which gives null for what is not there")]

use std::path::Path;
use std::time::Duration;

use data_encoding::BASE64;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::port::{ATTEMPTS_MAX, free_port};
use crate::process::Process;
use crate::wait::{eventually, until};
use crate::{Room, as_user};

/// A browser starts in seconds, or more on a busy machine.
const ANSWER_TIME_MAX: Duration = Duration::from_mins(1);
/// The key of an element's id in `WebDriver`'s JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The settings of a browser.
#[derive(Debug, Clone, Copy)]
pub struct BrowserSettings {
    /// The preferred language of pages, such as `fr`.
    pub language: &'static str,
    /// Whether it runs scripts of pages.
    pub has_script: bool,
    /// Width and height of its window, in pixels.
    pub size: (u32, u32),
}

impl Default for BrowserSettings {
    fn default() -> Self {
        Self { language: "en", has_script: true, size: (1280, 900) }
    }
}

/// A browser with an empty profile and one page.
#[derive(Debug)]
pub struct Browser {
    driver: String,
    session: String,
    http: reqwest::Client,
    runtime: Runtime,
    /// Stops the driver when it is dropped.
    _process: Process,
    room: Room,
}

/// An element of the current page.
#[derive(Debug)]
pub struct Element<'b> {
    browser: &'b Browser,
    path: String,
}

impl Browser {
    /// Starts a browser, and waits until it accepts commands.
    #[must_use]
    pub fn start(settings: BrowserSettings) -> Self {
        let room = Room::temporary();
        for _ in 0..ATTEMPTS_MAX {
            let port = free_port();
            // Chromium refuses its sandbox as root, and all its files belong in the room.
            let mut command = as_user("root", "chromedriver");
            command.arg(format!("--port={port}")).env("HOME", room.path()).env("TMPDIR", room.path());
            let mut process = Process::spawn("chromedriver", command, &room.join("chromedriver.log"));
            let driver = format!("http://127.0.0.1:{port}");
            let http =
                reqwest::Client::builder().timeout(ANSWER_TIME_MAX).no_proxy().build().expect("a client");
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            let is_up = eventually("chromedriver answers or gives up", || {
                let asked = runtime.block_on(async { http.get(format!("{driver}/status")).send().await });
                process.ended().map_or(asked.is_ok().then_some(true), |_| Some(false))
            });
            if is_up {
                let session = String::new();
                let mut browser = Self { driver, session, http, runtime, _process: process, room };
                browser.open(settings);
                return browser;
            }
        }
        panic!("no port of {ATTEMPTS_MAX} stayed free for chromedriver\nhint: scripts/setup");
    }

    fn open(&mut self, settings: BrowserSettings) {
        let (width, height) = settings.size;
        let profile = self.room.join("profile");
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            &format!("--user-data-dir={}", profile.display()),
            &format!("--window-size={width},{height}"),
            &format!("--accept-lang={}", settings.language),
        ];
        let options = json!({
            "args": arguments,
            "prefs": { "intl.accept_languages": settings.language },
        });
        let capabilities =
            json!({ "alwaysMatch": { "browserName": "chrome", "goog:chromeOptions": options } });
        let opened = self.send(&Method::POST, "/session", &json!({ "capabilities": capabilities }));
        let id = opened["sessionId"].as_str().expect("a session");
        self.session = format!("/session/{id}");
        // A window cannot be as narrow as a phone, but its viewport can.
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({
                "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
            }),
        );
        if !settings.has_script {
            self.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
        }
    }

    /// Sends a command that `WebDriver` does not have.
    pub fn devtools(&self, command: &str, parameters: &Value) {
        let path = format!("{}/goog/cdp/execute", self.session);
        let _ = self.send(&Method::POST, &path, &json!({ "cmd": command, "params": parameters }));
    }

    /// Opens the page at `url`.
    #[track_caller]
    pub fn goes_to(&self, url: &str) {
        let _ = self.ask("/url", &json!({ "url": url }));
    }

    /// The URL of the current page.
    #[track_caller]
    #[must_use]
    pub fn url(&self) -> String {
        let url = self.send(&Method::GET, &format!("{}/url", self.session), &Value::Null);
        url.as_str().expect("a URL").to_owned()
    }

    /// The title of the page.
    #[track_caller]
    #[must_use]
    pub fn title(&self) -> String {
        let title = self.send(&Method::GET, &format!("{}/title", self.session), &Value::Null);
        title.as_str().expect("a title").to_owned()
    }

    /// The first element that matches the CSS selector; waits until there is one.
    #[track_caller]
    #[must_use]
    pub fn find(&self, selector: &str) -> Element<'_> {
        eventually(&format!("`{selector}` is on the page"), || self.all(selector).into_iter().next())
    }

    /// All elements that match the CSS selector.
    #[track_caller]
    #[must_use]
    pub fn all(&self, selector: &str) -> Vec<Element<'_>> {
        let found = self.ask("/elements", &json!({ "using": "css selector", "value": selector }));
        let ids = found.as_array().expect("a list").iter().map(|element| element[ELEMENT].as_str());
        ids.map(|id| Element {
            browser: self,
            path: format!("{}/element/{}", self.session, id.expect("an id")),
        })
        .collect()
    }

    /// Waits until the page shows `text`, and returns all its visible text.
    #[track_caller]
    pub fn shows(&self, text: &str) -> String {
        let mut shown = String::new();
        until(&format!("the page shows `{text}`"), || {
            // The page may be replaced at any moment.
            shown = self.all("body").first().and_then(Element::try_text).unwrap_or_default();
            shown.contains(text)
        });
        shown
    }

    /// The result of `script` on the page.
    #[track_caller]
    #[must_use]
    pub fn evaluates(&self, script: &str) -> Value {
        self.ask("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Writes a screenshot of the whole page to `path`.
    pub fn takes_picture(&self, path: &Path) {
        let parameters = json!({ "format": "png", "captureBeyondViewport": true });
        let request = json!({ "cmd": "Page.captureScreenshot", "params": parameters });
        let picture = self.ask("/goog/cdp/execute", &request);
        let data = picture["data"].as_str().expect("a picture");
        std::fs::write(path, BASE64.decode(data.as_bytes()).expect("base64")).expect("own file");
    }

    #[track_caller]
    fn ask(&self, path: &str, body: &Value) -> Value {
        self.send(&Method::POST, &format!("{}{path}", self.session), body)
    }

    #[track_caller]
    fn send(&self, method: &Method, path: &str, body: &Value) -> Value {
        self.try_send(method, path, body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn try_send(&self, method: &Method, path: &str, body: &Value) -> Result<Value, String> {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.driver));
        if *method == Method::POST {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = self.runtime.block_on(async { request.send().await?.text().await });
        let answer = answer.map_err(|error| error.to_string())?;
        let mut answer: Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
        match answer["value"]["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", answer["value"]["message"])),
            None => Ok(answer["value"].take()),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium is not in chromedriver's process group; this ends it.
        let _ = self.try_send(&Method::DELETE, &self.session, &Value::Null);
    }
}

impl Element<'_> {
    /// Clicks the element.
    #[track_caller]
    pub fn click(&self) {
        let _ = self.browser.send(&Method::POST, &format!("{}/click", self.path), &json!({}));
    }

    /// Types `text` after the present value.
    #[track_caller]
    pub fn types(&self, text: &str) {
        let _ = self.browser.send(&Method::POST, &format!("{}/value", self.path), &json!({ "text": text }));
    }

    /// The visible text.
    #[track_caller]
    #[must_use]
    pub fn text(&self) -> String {
        self.try_text().expect("an element of the page")
    }

    fn try_text(&self) -> Option<String> {
        let text = self.browser.try_send(&Method::GET, &format!("{}/text", self.path), &Value::Null).ok()?;
        text.as_str().map(str::to_owned)
    }

    /// The value of a property.
    #[track_caller]
    #[must_use]
    pub fn property(&self, name: &str) -> Value {
        self.browser.send(&Method::GET, &format!("{}/property/{name}", self.path), &Value::Null)
    }

    /// The value of a field.
    #[track_caller]
    #[must_use]
    pub fn value(&self) -> String {
        self.property("value").as_str().expect("a text").to_owned()
    }
}
