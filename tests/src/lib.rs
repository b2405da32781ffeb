//! A key service, push hosts and their users, for tests that read like a sysadmin's description.
//!
//! Everything is real: the programs of this workspace, stock sshd and ssh, on loopback ports and in their own
//! folders. This crate starts them, waits for conditions (never for a fixed time), shows their logs when a test fails,
//! and leaves no process behind. It must not depend on their internals.
//!
//! ```no_run
//! use pushkeys_tests::{Key, PushHost, Service};
//!
//! let service = Service::start();
//! let host = PushHost::start(&service);
//! let (ana, laptop) = (service.account("ana"), Key::ed25519());
//!
//! ana.adds(&laptop, "laptop");
//! host.learns(&laptop);
//! host.login("git", &laptop).succeeds_as(&ana);
//!
//! ana.removes("laptop");
//! host.forgets(&laptop);
//! host.login("git", &laptop).is_refused();
//! ```

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a fixture fails its test by panicking, at any line"
)]

mod account;
mod agent;
pub mod architecture;
mod authority;
mod balancer;
mod browser;

mod disk;
mod double;
mod github;
mod host;
mod http;
mod key;
mod leave;
mod login;
mod npm;
mod openid;
mod port;
mod postgres;
mod process;
mod programs;
mod room;
mod security_key;
mod seeded_rng;
mod service;
mod smtp;
mod sshd;
mod syncd;
mod synthetic;
mod syslog;
mod visitor;
mod wait;
mod web;

pub use account::{Account, Registration};
pub use agent::{Agent, AgentKeys, string};
pub use authority::{Authority, Certified};
pub use balancer::{Balancer, NetworkState};
pub use browser::{Browser, BrowserSettings, Element};

pub use disk::SmallDisk;
pub use double::{Double, response, snapshot};
pub use github::{GITHUB_CLIENT_SECRET, GitHub, Trouble};
pub use host::{HostFiles, LookupOutput, PushHost, give_to_syncd};
pub use http::{Client, Reply, scrape};
pub use key::Key;
pub use leave::leave_nothing_behind;
pub use login::{Login, Session};
pub use npm::{axe_core, clever_tools, clever_tools_if_installed};
pub use openid::{Forgery, OPENID_CLIENT_SECRET, OpenId};
pub use postgres::{PostgresDatabase, PostgresServer};
pub use process::{Finished, Process, run, run_within, try_run_within};
pub use programs::{Clock, Program, as_user, program};
pub use room::Room;
pub use security_key::SecurityKey;
pub use seeded_rng::SeededRng;
pub use service::Service;
pub use smtp::{Mail, MailServer, Smtp};
pub use sshd::{Sshd, SshdSettings};
pub use syncd::Syncd;
pub use synthetic::{SyntheticKey, SyntheticKeys};
pub use syslog::Syslog;
pub use visitor::{Page, Visitor};
pub use wait::{PATIENCE, eventually, until};
pub use web::{WebRequest, WebResponse, WebServer};
