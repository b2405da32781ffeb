//! `pushkeys-shell`: the forced command on every line that sshd gets.
//!
//! ```text
//! pushkeys-shell --account ID --key ID --fingerprint SHA256:… [--cache DIR] [--config FILE]
//! ```
//!
//! It owns what a session is answered: it looks its key up again, greets a client that asks for a shell, serves git, and
//! refuses everything else. Who is here stands in argv, which syncd wrote. What the client sends arrives in the
//! environment: it is parsed by one fixed grammar, and nothing of it reaches a shell, an option or, but for a
//! repository's name, a path. It starts git, the operator's program and nothing else, in an environment built from
//! nothing; it copies no byte between git and its client; and it ends git when the key no longer counts. It opens no
//! socket but the system log's and, to say once that a key was used, the daemon's; it takes no lock, and asks no name
//! service, so that it can be linked statically.
//!
//! | status | meaning |
//! |---|---|
//! | 0 | greeted, or git's own |
//! | 1 | refused, or ended because the key no longer counts; stderr says why |
//! | 2 | misuse: argv or environment are not those of a forced command |
//! | other | git's own; 128 and the signal's number if a signal ended it |

mod arguments;
mod authorize;
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
mod trusted;
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
    if let (Some(option), Some(name)) = (arguments.next(), arguments.next())
        && option == hook::OPTION
    {
        return hook::run(&name);
    }
    match begin() {
        Ok(session) => serve(&session),
        Err(misuse) => {
            let text = ErrorReport::of(&misuse);
            record::error(&format!("misuse: {text}"));
            tell(&format!("{text}\nhint: sshd starts pushkeys-shell, by a line of pushkeys-lookup"));
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

/// The login by what sshd set, which no client can: `AcceptEnv` lets nothing but `GIT_PROTOCOL` through.
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
                let begin = if served.is_cut { "this session ends: " } else { "" };
                tell(&format!("{begin}{}", outcome.explain(refusal)));
            }
            ExitCode::from(served.status)
        }
        Err(refusal) => {
            tell(&outcome.explain(refusal));
            ExitCode::from(1)
        }
    }
}

/// Says `text` to the client.
fn tell(text: &str) {
    // As above: the client may have disconnected.
    let _ = writeln!(std::io::stderr(), "pushkeys: {text}");
}
