//! `pushkeys-shell`: the forced command of every line that pushkeys-lookup prints for sshd.
//!
//! ```text
//! pushkeys-shell --account ID --key ID --fingerprint SHA256:… [--cache DIR] [--config FILE]
//! ```
//!
//! It serves the sessions of a push host: it looks the session's key up again, greets a client that asks for a shell, serves
//! git, and refuses everything else. The identity is in argv, which syncd wrote. The client's request is in the
//! environment: it is parsed by one fixed grammar, and no part of it reaches a shell, an option or, except for a
//! repository's name, a path. The program starts git and the operator's programs only, in an environment that it builds
//! itself; it copies no data between git and its client; and it ends git when the key is no longer valid. It opens no
//! socket but the system log's and the daemon's, which it sends log lines and the use of a key; it takes no lock on the
//! cache, and uses no name service, so that it can be linked statically.
//!
//! | status | meaning |
//! |---|---|
//! | 0 | greeted, or git's own status |
//! | 1 | refused, or ended because the key is no longer valid; stderr says why |
//! | 2 | misuse: argv or environment are not those of a forced command |
//! | other | git's own status; 128 plus the signal's number if a signal ended it |

mod arguments;
mod authorize;
mod check;
mod environment;
mod greeting;
mod hook;
mod identity;
mod initialize;
mod json;
mod lfs_token;
mod process;
mod push;
mod record;
mod refusal;
mod registration;
mod remote;
mod repository;
mod request;
mod resources;
mod room;
mod serve;
mod serve_error;
mod session;
mod sessions;
mod settings;
mod usage;
mod user_auth;

use std::env;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use arguments::{Arguments, Misuse};
use jiff::Timestamp;
use pushkeys_keys::{ErrorReport, Login};
use remote::Connection;
use request::Request;
use session::{Answer, Session};

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    if let (Some(option), Some(value)) = (arguments.next(), arguments.next()) {
        if option == hook::OPTION {
            return hook::run(&value);
        }
        if option == check::OPTION {
            return check::run(&value);
        }
    }
    match begin() {
        Ok(session) => serve(&session),
        Err(misuse) => {
            let text = ErrorReport::of(&misuse);
            record::error(&format!("misuse: {text}"));
            let hint = "only sshd starts pushkeys-shell, with a line of pushkeys-lookup";
            print_to_client(&ErrorReport::hinted(&text.text(), hint).lines());
            ExitCode::from(2)
        }
    }
}

fn begin() -> Result<Session, Misuse> {
    let arguments = Arguments::parse(env::args_os().skip(1))?;
    let login = login(env::var_os("LOGNAME"))?;
    Ok(Session {
        arguments,
        login,
        request: Request::of(env::var_os("SSH_ORIGINAL_COMMAND")),
        connection: env::var("SSH_CONNECTION").ok().as_deref().and_then(Connection::parse),
        user_auth: env::var_os("SSH_USER_AUTH"),
        protocol: env::var_os("GIT_PROTOCOL"),
    })
}

/// The login that sshd set. A client cannot change it: `AcceptEnv` allows only `GIT_PROTOCOL`.
fn login(logname: Option<OsString>) -> Result<Login, Misuse> {
    let logname = logname.ok_or(Misuse::Missing("LOGNAME"))?;
    Ok(logname.to_string_lossy().parse()?)
}

fn serve(session: &Session) -> ExitCode {
    let begin = Instant::now();
    let outcome = session.answer(Timestamp::now());
    let line = outcome.log_line(&session.request, begin.elapsed());
    record::keep(&session.arguments.cache, &line, outcome.fault().is_some());
    match &outcome.answer {
        Ok(Answer::Greeting(text) | Answer::LfsToken(text)) => {
            // The client may have disconnected, which is no error.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Answer::Served(served)) => {
            if let Some(refusal) = &served.refusal {
                let begin = if served.is_ended_early { "this session ends: " } else { "" };
                print_to_client(&format!("{begin}{}", outcome.explain(refusal)));
            }
            ExitCode::from(served.status)
        }
        Err(refusal) => {
            print_to_client(&outcome.explain(refusal));
            ExitCode::from(1)
        }
    }
}

/// Prints `text` on stderr, which the client sees.
fn print_to_client(text: &str) {
    // The client may have disconnected, which is no error.
    let _ = writeln!(std::io::stderr(), "pushkeys: {text}");
}
