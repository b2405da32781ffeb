//! The contents of templates.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use pushkeys_keys::ErrorReport;

use super::assets::{Assets, assets};
use super::messages::{Messages, fill};
use super::text::{Moment, Sentence};
use crate::language::Language;

/// The section of the navigation that a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    None,
    Keys,
    Profile,
}

/// The frame of every page.
pub(super) struct Page {
    pub(super) t: &'static Messages,
    pub(super) language: Language,
    pub(super) assets: &'static Assets,
    /// The name of the account that is signed in.
    pub(super) account: Option<String>,
    pub(super) csrf: String,
    pub(super) section: Section,
    /// Whether the title mentions an error, since it is what screen readers read first.
    pub(super) has_error: bool,
}

impl Page {
    pub(super) fn new(language: Language, account: Option<String>, csrf: String, section: Section) -> Self {
        let t = Messages::of(language);
        Self { t, language, assets: assets(), account, csrf, section, has_error: false }
    }

    pub(super) fn with_error(self) -> Self {
        Self { has_error: true, ..self }
    }

    /// The comment in the example of a key.
    fn placeholder(&self) -> String {
        format!("{}@laptop", self.account.as_deref().unwrap_or("me"))
    }
}

/// For templates: `message` with `name` filled in.
fn named(message: &str, name: &str) -> String {
    fill(message, &[("name", name)])
}

/// For templates: `message` with its code marked up.
fn say(message: &str) -> Sentence {
    Sentence::new(message)
}

/// The page of `template`.
pub(super) fn render(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(page) => (status, Html(page)).into_response(),
        // No value of ours fails to be written.
        Err(error) => {
            tracing::error!("a page failed: {}", ErrorReport::of(&error));
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[derive(Template)]
#[template(path = "message.html")]
pub(super) struct MessagePage {
    pub(super) page: Page,
    pub(super) title: &'static str,
    pub(super) text: Sentence,
    /// A link to continue with.
    pub(super) link: Option<(&'static str, &'static str)>,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
pub(super) struct SignInPage {
    pub(super) page: Page,
    pub(super) next: String,
    pub(super) name: String,
    pub(super) notice: Option<&'static str>,
    pub(super) refusal: Option<Sentence>,
    /// The button for the OpenID provider.
    pub(super) oidc: Option<String>,
}

/// The page that continues to an external service.
#[derive(Template)]
#[template(path = "redirecting.html")]
pub(super) struct RedirectPage {
    pub(super) page: Page,
    pub(super) title: String,
    pub(super) url: String,
}

#[derive(Template)]
#[template(path = "confirm.html")]
pub(super) struct ConfirmPage {
    pub(super) page: Page,
    /// The path of the action.
    pub(super) action: &'static str,
    /// The fields that were typed for it.
    pub(super) kept: Vec<(&'static str, String)>,
    pub(super) refusal: Option<Sentence>,
    /// Whether the account has a password.
    pub(super) has_password: bool,
    /// The button for the OpenID provider, if the account is linked there.
    pub(super) oidc: Option<String>,
}

/// The page after a confirmation at the OpenID provider.
#[derive(Template)]
#[template(path = "confirmed.html")]
pub(super) struct ConfirmedPage {
    pub(super) page: Page,
    /// The path of the action.
    pub(super) action: &'static str,
    /// The fields that were typed for it.
    pub(super) kept: Vec<(&'static str, String)>,
}

#[derive(Template)]
#[template(path = "cli.html")]
pub(super) struct CliPage {
    pub(super) page: Page,
    pub(super) lead: Sentence,
    pub(super) caution: Sentence,
    pub(super) token: String,
    pub(super) version: String,
}

#[derive(Template)]
#[template(path = "proof.html")]
pub(super) struct ProofPage {
    pub(super) page: Page,
    pub(super) name: String,
    pub(super) fingerprint: String,
    pub(super) command: String,
    pub(super) step_file: Sentence,
    pub(super) until: String,
    pub(super) signature: String,
    pub(super) refusal: Option<Sentence>,
}

#[derive(Template)]
#[template(path = "keys.html")]
pub(super) struct KeysPage {
    pub(super) page: Page,
    pub(super) notice: Option<&'static str>,
    pub(super) warnings: Vec<WarningRow>,
    pub(super) keys: Vec<KeyRow>,
    /// On how many hosts the last change is live, if any are connected.
    pub(super) changes_live: Option<String>,
    /// `None`: GitHub is not configured.
    pub(super) github: Option<GithubPanel>,
    pub(super) form: AddForm,
    pub(super) push: PushHelp,
}

/// The keys that GitHub lists.
#[derive(Default)]
pub(super) struct GithubPanel {
    /// The account's name there, if it is linked.
    pub(super) login: Option<String>,
    /// Why nothing is listed.
    pub(super) trouble: Option<Sentence>,
    /// Whether the account has to be linked again.
    pub(super) is_broken: bool,
    pub(super) importable: Vec<ImportRow>,
    pub(super) refused: Vec<RefusedRow>,
    pub(super) gone: Vec<GoneRow>,
}

pub(super) struct ImportRow {
    pub(super) name: String,
    pub(super) algorithm: String,
    pub(super) fingerprint: String,
}

pub(super) struct RefusedRow {
    pub(super) name: String,
    pub(super) why: Sentence,
}

/// An imported key that GitHub no longer lists.
pub(super) struct GoneRow {
    pub(super) name: String,
}

#[derive(Template)]
#[template(path = "import.html")]
pub(super) struct ImportPage {
    pub(super) page: Page,
    pub(super) refusal: Option<Sentence>,
    pub(super) importable: Vec<ImportRow>,
    pub(super) refused: Vec<RefusedRow>,
    /// Of the importable keys.
    pub(super) fingerprints: String,
}

pub(super) struct WarningRow {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) fingerprint: String,
    pub(super) date: Moment,
    pub(super) can_prove: bool,
}

pub(super) struct KeyRow {
    pub(super) name: String,
    pub(super) algorithm: String,
    pub(super) bits: Option<String>,
    pub(super) fingerprint: String,
    pub(super) md5: Option<String>,
    pub(super) verified: bool,
    pub(super) has_expired: bool,
    /// The hosts on which it is revoked.
    pub(super) revoked: Option<String>,
    pub(super) added: Moment,
    pub(super) last_used: String,
    pub(super) expires: Option<Moment>,
}

/// The form that adds a key, with its contents.
#[derive(Default)]
pub(super) struct AddForm {
    pub(super) name: String,
    /// Never a private key.
    pub(super) key: String,
    pub(super) expires_on: String,
    pub(super) refusal: Option<Sentence>,
    /// The name of the field that was refused.
    pub(super) wrong: Option<&'static str>,
    /// Whether a proof of possession would give the key to this account.
    pub(super) can_prove: bool,
}

impl AddForm {
    fn is_wrong(&self, field: &str) -> bool {
        self.wrong == Some(field)
    }
}

/// Instructions for checking the setup and for finding a key.
pub(super) struct PushHelp {
    pub(super) command: String,
    pub(super) when_refused: Sentence,
    pub(super) last_check: String,
    /// The published host keys, if there are any.
    pub(super) host_keys: Option<HostKeysBox>,
    pub(super) systems: [SystemHelp; 3],
}

/// What ssh asks about at the first connection.
pub(super) struct HostKeysBox {
    pub(super) lead: Sentence,
    pub(super) keys: Vec<PublishedHostKey>,
    /// The command that adds the keys to those that ssh knows.
    pub(super) command: Option<String>,
}

/// A host key, as ssh shows it.
pub(super) struct PublishedHostKey {
    pub(super) kind: String,
    pub(super) fingerprint: String,
}

/// Commands for one operating system.
pub(super) struct SystemHelp {
    pub(super) name: &'static str,
    pub(super) open: &'static str,
    pub(super) find: &'static str,
    pub(super) show: &'static str,
}

impl SystemHelp {
    pub(super) fn all(t: &Messages) -> [Self; 3] {
        let posix = Self {
            name: t.help_linux,
            open: t.help_linux_open,
            find: "ls -l ~/.ssh",
            show: "cat ~/.ssh/id_ed25519.pub",
        };
        let macos = Self {
            name: t.help_macos,
            open: t.help_macos_open,
            show: "pbcopy < ~/.ssh/id_ed25519.pub",
            ..posix
        };
        let windows = Self {
            name: t.help_windows,
            open: t.help_windows_open,
            find: "dir $HOME\\.ssh",
            show: "Get-Content $HOME\\.ssh\\id_ed25519.pub | Set-Clipboard",
        };
        [posix, macos, windows]
    }
}

#[derive(Template)]
#[template(path = "profile.html")]
pub(super) struct ProfilePage {
    pub(super) page: Page,
    pub(super) notice: Option<&'static str>,
    pub(super) account: AccountFacts,
    pub(super) linked: Vec<LinkedRow>,
    pub(super) sessions: Vec<SessionRow>,
    pub(super) has_password: bool,
    pub(super) password_hint: String,
    pub(super) refusal: Option<Sentence>,
    pub(super) tokens: Vec<TokenRow>,
    pub(super) activity: Vec<ActivityRow>,
    pub(super) activity_lead: String,
    /// Where the next page of the activity begins.
    pub(super) older: Option<u64>,
}

pub(super) struct AccountFacts {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) email: Option<String>,
}

/// An external service that the account can be linked to.
pub(super) struct LinkedRow {
    pub(super) service: String,
    /// The account's name there, if it is linked.
    pub(super) linked_as: Option<String>,
    pub(super) link: &'static str,
    pub(super) unlink: &'static str,
}

pub(super) struct SessionRow {
    pub(super) id: String,
    pub(super) agent: String,
    pub(super) seen: String,
    pub(super) from: String,
    pub(super) is_current: bool,
    pub(super) end_label: String,
}

pub(super) struct TokenRow {
    pub(super) id: String,
    pub(super) label: String,
    pub(super) added: Moment,
    pub(super) expires: Option<String>,
}

pub(super) struct ActivityRow {
    pub(super) at: Moment,
    pub(super) what: String,
    pub(super) by: String,
    pub(super) from: String,
}
