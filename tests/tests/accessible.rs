//! Accessibility of every page of the console: contrast, screen readers, small screens, and dark mode.
//!
//! axe-core checks what can be checked automatically of WCAG 2.2 AA. For a visual review, `PUSHKEYS_PICTURES` names a
//! folder for screenshots.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "helpers of tests fail by panicking")]

use std::path::PathBuf;

use pushkeys_tests::{
    Account, Browser, BrowserSettings, GITHUB_CLIENT_SECRET, GitHub, Key, OPENID_CLIENT_SECRET, OpenId,
    Service, axe_core,
};
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery";
/// The rules that are checked on every page.
const RULES: [&str; 6] = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

/// A browser that opens the pages.
struct Reader {
    browser: Browser,
    axe: String,
    name: &'static str,
}

impl Reader {
    /// Checks the current page, in light and in dark mode: no violations, and no horizontal scrolling.
    #[track_caller]
    fn reads(&self, page: &str) {
        let Self { browser, name, .. } = self;
        let excess = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(browser.evaluates(excess), 0, "{page} scrolls sideways");
        for scheme in ["light", "dark"] {
            // Without animations, so that no colour is measured during a transition.
            let features = json!([
                { "name": "prefers-color-scheme", "value": scheme },
                { "name": "prefers-reduced-motion", "value": "reduce" },
            ]);
            browser.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
            let is_dark = browser.evaluates("return matchMedia('(prefers-color-scheme: dark)').matches");
            assert_eq!(is_dark, scheme == "dark");
            if let Some(folder) = std::env::var_os("PUSHKEYS_PICTURES") {
                browser.takes_picture(&PathBuf::from(folder).join(format!("{name}-{page}-{scheme}.png")));
            }
            let found = self.violations();
            assert!(found.is_empty(), "{page} in {scheme}: {found:#?}");
        }
    }

    /// axe-core's violations on the page: the rule and the elements.
    fn violations(&self) -> Vec<String> {
        let Self { browser, axe, .. } = self;
        let _ = browser.evaluates(axe);
        let options = json!({ "runOnly": RULES, "resultTypes": ["violations"] });
        let report = browser.evaluates(&format!("return axe.run(document, {options})"));
        let passed = report["passes"].as_array().map_or(0, Vec::len);
        assert!(passed > 10, "axe-core looked at {passed} things only");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of_rule = |rule: &Value| {
            let nodes = rule["nodes"].as_array().cloned().unwrap_or_default();
            let places =
                nodes.iter().map(|node| format!("{} {}", node["target"], text(&node["failureSummary"])));
            places.map(|place| format!("{}: {place}", text(&rule["id"]))).collect::<Vec<_>>()
        };
        report["violations"].as_array().into_iter().flatten().flat_map(of_rule).collect()
    }
}

/// A service with data for everything that a page can show.
struct World {
    service: Service,
    _github: GitHub,
    _openid: OpenId,
    ana: Account,
    contested: Key,
}

impl World {
    fn start() -> Self {
        let (github, openid) = (GitHub::start("ana-codes"), OpenId::start(json!({ "sub": "u-7" })));
        let at_github = [Key::ed25519(), Key::generate(&["-t", "ecdsa"])].map(|key| key.bare_text());
        github.lists(&[("laptop", &at_github[0]), ("desk", &at_github[1]), ("old", "ssh-dss AAAA")]);
        let settings = [
            github.settings("{room}/github.secret"),
            openid.settings("{room}/oidc.secret", false),
            // A recent sign-in is always required, so that its page is checked, too.
            "[console]\nconfirm_after = \"0s\"\npush_host = \"push.example.com\"\n".to_owned(),
        ];
        let files = [("github.secret", GITHUB_CLIENT_SECRET), ("oidc.secret", OPENID_CLIENT_SECRET)];
        let service = Service::start_with(&settings.concat(), &files);
        let (ana, bob) = (service.account("ana"), service.account("bob"));
        service.set_password("ana", PASSWORD);
        let (contested, bobs) = (Key::ed25519(), Key::ed25519());
        bob.adds(&bobs, "bobs");
        assert_eq!(ana.tries_to_add(bobs.text(), "desk").expect("a reply").status, 400);
        ana.adds(
            &Key::ed25519(),
            "a name that is as long as the names of machines in a data centre are, row 12",
        );
        ana.adds(&contested, "laptop");
        assert_eq!(bob.tries_to_add(contested.text(), "mine").expect("a reply").status, 400);
        Self { service, _github: github, _openid: openid, ana, contested }
    }
}

fn check_every_page(settings: BrowserSettings, name: &'static str) {
    let world = World::start();
    let (url, browser) = (world.service.url(), Browser::start(settings));
    let reader = Reader { browser, axe: axe_core(), name };
    let browser = &reader.browser;
    let confirms = |form: &str| {
        browser.find("#password").types(PASSWORD);
        browser.find(&format!("form[action='{form}'] button.primary")).click();
    };

    browser.goes_to(&format!("{url}/users/me/ssh-keys"));
    browser.find("#account").types("ana");
    browser.find("#password").types("wrong");
    browser.find("form[action='/sign-in'] button").click();
    let _ = browser.find("[role=alert]");
    reader.reads("sign-in");
    confirms("/sign-in");
    let _ = browser.find(".notice.warn");
    for closed in ["details", "details.confirm"] {
        let open = format!("for (const each of document.querySelectorAll('{closed}')) each.open = true");
        let _ = browser.evaluates(&open);
    }
    reader.reads("keys");

    browser.find("#name").types("desk");
    browser.find("#key").types("ssh-ed25519 AAAA");
    browser.find("#add-form .primary").click();
    let _ = browser.find("#add-error");
    reader.reads("refused");
    browser.find("form[action='/users/me/ssh-keys/challenge'] button").click();
    let _ = browser.find("#signature");
    reader.reads("proof");

    browser.goes_to(&format!("{url}/users/me/ssh-keys"));
    browser.find("form[action='/users/me/github/link'] button").click();
    let _ = browser.find("#password");
    reader.reads("confirm");
    confirms("/users/me/github/link");
    let _ = browser.find("form[action='/users/me/ssh-keys/github']");
    reader.reads("linked");
    browser.goes_to(&format!("{url}/users/me/ssh-keys/github"));
    let _ = browser.find("main .primary");
    reader.reads("import");

    browser.goes_to(&format!("{url}/users/me"));
    let _ = browser.find("form[action='/users/me/password']");
    reader.reads("profile");
    browser.goes_to(&format!("{url}/cli-oauth?cli_version=4.11.0&cli_token={}", "a".repeat(40)));
    let _ = browser.find("form[action='/cli-oauth']");
    reader.reads("cli");
    browser.goes_to(&format!("{url}/cli-oauth?cli_token="));
    reader.reads("bad-request");
    browser.goes_to(&format!("{url}/users/me/nowhere"));
    reader.reads("nowhere");
    let listed = world.ana.keys();
    assert!(listed.iter().any(|(_, fingerprint)| *fingerprint == world.contested.fingerprint().to_string()));
}

#[test]
fn every_page_is_accessible_on_a_desktop_in_english() {
    check_every_page(BrowserSettings::default(), "desktop-en");
}

#[test]
fn every_page_is_accessible_on_a_phone_in_french() {
    let settings = BrowserSettings { language: "fr-FR,fr", size: (390, 844), ..BrowserSettings::default() };
    check_every_page(settings, "phone-fr");
}
