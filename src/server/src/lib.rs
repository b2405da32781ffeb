//! The key service: accounts register SSH keys through an HTTP API, and push hosts follow a feed of them.
//!
//! It owns the database and with it the one decision that nobody else may make: which account holds a
//! key. It must not render `authorized_keys` lines, know the logins of push hosts, or trust a host with
//! more than reading the feed.

#![forbid(unsafe_code)]

pub mod api;
pub mod auth;
pub mod code_flow;
pub mod commands;
pub mod config;
pub mod console;
pub mod database;
pub mod files;
pub mod github;
pub mod host_feed;
pub mod language;
mod listen;
pub mod log;
pub mod mail;
mod metrics;
pub mod oidc;
pub mod origin;
pub mod outbound;
pub mod password;
mod percent;
pub mod proof;
pub mod rate_limit;
mod request_id;
pub mod seal;
pub mod secret;
pub mod store;
pub mod tls;
mod values;
