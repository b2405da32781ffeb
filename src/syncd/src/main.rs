//! `pushkeys-syncd`: keeps the key cache of a push host in sync with its sources.
//!
//! It owns the cache's folder and is the only one to write there. It believes nothing that a source says: every key is
//! validated and every line rendered here. It never answers a lookup, and no error of a source ends it: what is in force
//! stays in force until its `max_stale`.
//!
//! The modules from top to bottom, each of which imports only those below it: `commands`; `source`, `report`, `apply`,
//! `status`, along which a change flows; `validate` and `remote`; `revocation` and `config`; `history`.

#![forbid(unsafe_code)]

mod apply;
mod backoff;
mod commands;
mod config;
mod history;
mod remote;
mod report;
mod revocation;
mod session_log;
mod socket;
mod source;
mod status;
mod validate;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main()
}
