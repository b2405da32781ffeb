//! Clever Cloud's own command line, unmodified from npm, against the key service.
//!
//! Version 4 signs its requests with OAuth 1.0a PLAINTEXT, version 3 with HMAC-SHA512.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pushkeys_tests::{
    Browser, BrowserSettings, Finished, Key, Process, Room, Service, clever_tools, eventually, run_within,
};
use serde_json::Value;

use crate::{PASSWORD, service};

/// The time limit of a command: Node alone takes a second to start.
const COMMAND_TIME_MAX: Duration = Duration::from_mins(1);

/// One version of the command line, for one user.
struct Clever<'a> {
    program: &'a Path,
    home: Room,
    /// Names and values.
    variables: Vec<(&'static str, String)>,
}

/// The credential for `clever login`.
struct Credential {
    token: String,
    secret: String,
}

impl Credential {
    fn of(service: &Service, account: &str) -> Self {
        let issued = service.administers(&["token", "add", account, "--json"]).output();
        let issued: Value = serde_json::from_str(&issued).expect("JSON");
        let text = |field: &str| issued[field].as_str().expect("a text").to_owned();
        Self { token: text("oauth_token"), secret: text("oauth_secret") }
    }
}

impl<'a> Clever<'a> {
    fn logged_out(program: &'a Path, variables: Vec<(&'static str, String)>) -> Self {
        Self { program, home: Room::temporary(), variables }
    }

    fn of(program: &'a Path, service: &Service, credential: &Credential) -> Self {
        let Credential { token, secret } = credential;
        let variables =
            [("API_HOST", service.url()), ("CLEVER_TOKEN", token.clone()), ("CLEVER_SECRET", secret.clone())];
        Self::logged_out(program, variables.to_vec())
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        run_within(&mut self.command(arguments), COMMAND_TIME_MAX)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        for name in ["API_HOST", "CLEVER_TOKEN", "CLEVER_SECRET", "XDG_CONFIG_HOME"] {
            command.env_remove(name);
        }
        command.env("HOME", self.home.path()).env("NO_UPDATE_NOTIFIER", "1").env("NO_COLOR", "1");
        command.envs(self.variables.iter().map(|(name, value)| (name, value))).args(arguments);
        command
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        self.run(arguments).output()
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str], message: &str) {
        let finished = self.run(arguments);
        assert!(!finished.status.success(), "{finished:?}");
        assert!(format!("{}{}", finished.stdout, finished.stderr).contains(message), "{finished:?}");
    }

    /// Names and key texts.
    #[track_caller]
    fn keys(&self) -> Vec<(String, String)> {
        let listed: Value = serde_json::from_str(&self.succeeds(&["ssh-keys", "-F", "json"])).expect("JSON");
        let text = |key: &Value, field: &str| key[field].as_str().expect("a text").to_owned();
        listed.as_array().expect("an array").iter().map(|key| (text(key, "name"), text(key, "key"))).collect()
    }
}

fn public_file(key: &Key) -> String {
    key.path().with_extension("pub").display().to_string()
}

/// All of `clever ssh-keys`, and the resulting keys at the service.
fn check_ssh_keys(clever: &Clever<'_>) {
    let (laptop, desktop) = (Key::ed25519(), Key::generate(&["-t", "ecdsa", "-b", "384"]));
    assert!(clever.succeeds(&["ssh-keys"]).contains("No SSH keys"));
    clever.succeeds(&["ssh-keys", "add", "my key/é+1", &public_file(&laptop)]);
    clever.succeeds(&["ssh-keys", "add", "desktop", &public_file(&desktop)]);
    let listed = clever.succeeds(&["ssh-keys"]);
    for part in ["2 SSH key(s)", "my key/é+1", "desktop", &laptop.fingerprint().to_string()] {
        assert!(listed.contains(part), "{listed}");
    }
    let expected = [("desktop", desktop.text()), ("my key/é+1", laptop.text())];
    assert_eq!(clever.keys(), expected.map(|(name, text)| (name.to_owned(), text.to_owned())));

    clever.fails(&["ssh-keys", "add", "again", &public_file(&laptop)], "not valid");
    clever.fails(&["ssh-keys", "add", "private", &laptop.path().display().to_string()], "not valid");
    clever.fails(&["ssh-keys", "remove", "nothing"], "not found");
    clever.succeeds(&["ssh-keys", "remove", "my key/é+1"]);
    assert_eq!(clever.keys(), [("desktop".to_owned(), desktop.text().to_owned())]);
    clever.succeeds(&["ssh-keys", "add", "laptop", &public_file(&laptop)]);
    clever.succeeds(&["ssh-keys", "remove-all", "--yes"]);
    assert_eq!(clever.keys(), []);
}

/// Two users on one machine, and one key that both register.
fn check_two_accounts(program: &Path, service: &Service) {
    let clevers = ["carl", "dora"].map(|name| {
        let _ = service.account(name);
        Clever::of(program, service, &Credential::of(service, name))
    });
    let (shared, own) = (Key::ed25519(), Key::ed25519());
    let [carl, dora] = &clevers;
    carl.succeeds(&["ssh-keys", "add", "laptop", &public_file(&shared)]);
    dora.fails(&["ssh-keys", "add", "laptop", &public_file(&shared)], "not valid");
    dora.succeeds(&["ssh-keys", "add", "laptop", &public_file(&own)]);
    dora.succeeds(&["ssh-keys", "remove-all", "--yes"]);
    assert_eq!(carl.keys(), [("laptop".to_owned(), shared.text().to_owned())]);
    assert_eq!(dora.keys(), []);
}

/// `clever profile` and `clever curl`, which have their own HTTP clients.
fn check_other_commands(clever: &Clever<'_>, service: &Service, account: &str) {
    let profile = clever.succeeds(&["profile", "-F", "json"]);
    let profile: Value = serde_json::from_str(&profile).expect("JSON");
    assert_eq!((profile["name"].as_str(), profile["id"].as_str()), (Some("ana"), Some(account)));
    // A token must not seem to have expired long ago.
    assert!(!clever.succeeds(&["profile"]).contains("1970"));

    let key = Key::ed25519();
    let url = format!("{}/v2/self/keys/by%20curl", service.url());
    let body = Value::from(key.text()).to_string();
    // Version 3 joins its arguments with blanks before it signs: arguments with blanks come last.
    let header = "Content-Type:application/json";
    clever.succeeds(&["curl", &url, "-s", "-X", "PUT", "-H", header, "--data", &body]);
    assert_eq!(clever.keys(), [("by curl".to_owned(), key.text().to_owned())]);
    clever.succeeds(&["curl", &url, "-s", "-X", "DELETE"]);
    assert_eq!(clever.keys(), []);
}

fn check_strangers(program: &Path, service: &Service, ana: &Credential) {
    let wrong = Credential { token: ana.token.clone(), secret: "wrong".to_owned() };
    let stranger = Clever::of(program, service, &wrong);
    assert!(!stranger.run(&["ssh-keys", "-F", "json"]).status.success());
    let logged_out = Clever::logged_out(program, vec![("API_HOST", service.url())]);
    assert!(!logged_out.run(&["ssh-keys", "-F", "json"]).status.success());
}

/// Everything except logging in, which differs between versions; returns what that needs.
fn check_commands(version: &str) -> (PathBuf, Service, Credential) {
    let (program, service) = (clever_tools(version), service());
    let ana = service.account("ana");
    let credential = Credential::of(&service, "ana");
    let clever = Clever::of(&program, &service, &credential);
    check_ssh_keys(&clever);
    check_other_commands(&clever, &service, ana.id());
    check_two_accounts(&program, &service);
    check_strangers(&program, &service, &credential);
    (program, service, credential)
}

#[test]
fn version_4_manages_keys() {
    let (program, service, credential) = check_commands("4.11.0");
    let visitor = Clever::logged_out(&program, Vec::new());
    let (url, Credential { token, secret }) = (service.url(), &credential);
    let login = ["login", "--token", token, "--secret", secret, "--alias", "local"];
    visitor.succeeds(&[login.as_slice(), &["--api-host", &url, "--console-url", &url]].concat());
    assert_eq!(visitor.keys(), []);
}

#[test]
fn version_3_manages_keys() {
    let (program, service, credential) = check_commands("3.14.0");
    let visitor = Clever::logged_out(&program, vec![("API_HOST", service.url())]);
    let Credential { token, secret } = &credential;
    visitor.succeeds(&["login", "--token", token, "--secret", secret]);
    assert_eq!(visitor.keys(), []);
}

#[test]
fn version_4_logs_in_after_approval_in_the_browser() {
    let (program, service) = (clever_tools("4.11.0"), service());
    let url = service.url();
    let _ = service.account("ana");
    service.set_password("ana", PASSWORD);
    let clever = Clever::logged_out(&program, Vec::new());
    let login = ["login", "--alias", "local", "--api-host", &url, "--console-url", &url];
    let mut command = clever.command(&login);
    // The command that opens the browser.
    command.env("BROWSER", "true");
    let mut login = Process::spawn("clever login", command, &clever.home.join("login.log"));
    let page = eventually("clever prints its page", || {
        login.log().split_whitespace().find(|word| word.contains("/cli-oauth?")).map(str::to_owned)
    });

    let browser = Browser::start(BrowserSettings::default());
    browser.goes_to(&page);
    browser.find("#account").types("ana");
    browser.find("#password").types(PASSWORD);
    browser.find("main button").click();
    let shown = browser.shows("Let the command line act for you?");
    assert!(shown.contains("version 4.11.0") && shown.contains("account “ana”"), "{shown}");
    assert!(login.ended().is_none(), "it waits for the approval");
    browser.find("main .primary").click();
    browser.shows("Go back to your terminal");
    let status = eventually("clever continues", || login.ended());
    assert!(status.success(), "{}", login.log());
    assert_eq!(clever.keys(), []);
    let profile: Value = serde_json::from_str(&clever.succeeds(&["profile", "-F", "json"])).expect("JSON");
    assert_eq!(profile["name"].as_str(), Some("ana"));
}
