//! The key service as its clients meet it: the real program, real connections, a real database.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, also in a helper that is no test itself"
)]

mod api;
mod commands;
mod console;
mod cors;
mod document;
mod expiry;
mod failover;
mod history;
mod host_feed;
mod http;
mod limits;
mod oauth;
mod ownership;
mod replicas;
mod reports;
mod restore;
mod service;
