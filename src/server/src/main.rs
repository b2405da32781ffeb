//! `pushkeys-server`, the key service: accounts register SSH keys through an HTTP API, and push hosts follow a feed of
//! them.
//!
//! It owns the database, and with it one decision that nothing else may make: which account holds a key. It must not
//! render `authorized_keys` lines, know the logins of push hosts, or trust a host with more than reading the feed.
//! ARCHITECTURE.md lists its modules, from the lowest layer to the highest.

#![forbid(unsafe_code)]

mod api;
mod auth;
mod client_address;
mod code_flow;
mod commands;
mod concurrency;
mod config;
mod console;
mod database;
mod encryption;
mod files;
mod github;
mod host_feed;
mod http_rules;
mod language;
mod listen;
mod mail;
mod metrics;
mod oidc;
mod origin;
mod outbound;
mod password;
mod percent;
mod proof;
mod push_host;
mod rate_limit;
mod request_id;
mod secret;
mod store;
mod tls;
mod values;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main()
}
