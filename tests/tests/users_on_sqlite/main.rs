//! Clients of users: Clever Cloud's command line, the console in a real browser, other services with an account of the user,
//! and mail.
//!
//! `users_on_postgres` is a link to this folder: the same suite on PostgreSQL.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails, also in a helper that is no test itself"
)]

mod clever;
mod console;
mod github;
mod linked;
mod mail;
mod oidc;

use std::path::PathBuf;

use pushkeys_tests::{Browser, Service};

const PASSWORD: &str = "correct horse battery";

/// A service without accounts, on this suite's database.
fn service() -> Service {
    service_with("", &[])
}

/// The same with additional tables of configuration, and files for them.
fn service_with(settings: &str, files: &[(&str, &str)]) -> Service {
    if env!("CARGO_CRATE_NAME") == "users_on_postgres" {
        Service::start_on_postgres_with(settings, files)
    } else {
        Service::start_with(settings, files)
    }
}

/// A screenshot for visual review, if `PUSHKEYS_PICTURES` names a folder.
fn take_picture(browser: &Browser, name: &str) {
    if let Some(folder) = std::env::var_os("PUSHKEYS_PICTURES") {
        browser.takes_picture(&PathBuf::from(folder).join(format!("{name}.png")));
    }
}
