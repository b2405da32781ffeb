//! The program as a sysadmin uses it, on real caches. What it prints is in `snapshots/`; `INSTA_UPDATE=always` with
//! `cargo test` rewrites them.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod accept;
mod explain;
mod fixture;
mod general;
mod list;
mod revoke;
mod session_log;
mod show;
mod status;
mod top;
mod verify;
