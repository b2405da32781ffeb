//! `pushkeys-shell`: the forced command on every line that sshd gets.
//!
//! ```text
//! pushkeys-shell --account ID --key ID --fingerprint SHA256:… [--cache DIR]
//! ```
//!
//! It owns what a session is answered: it looks its key up again, greets whoever asks for a shell, and refuses everything
//! else. Who is here stands in argv, which syncd wrote; what the client sends arrives in the environment and
//! is never interpreted, only shown, escaped and shortened. It opens no socket but the system log's, starts no
//! process, takes no lock, writes no file, and asks no name service, so that it can be linked statically.
//!
//! | status | meaning |
//! |---|---|
//! | 0 | greeted |
//! | 1 | refused; stderr says why |
//! | 2 | misuse: argv or environment are not those of a forced command |

#![forbid(unsafe_code)]

mod arguments;
mod greeting;
mod registration;
mod request;
mod session;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use arguments::{Arguments, Misuse};
use jiff::Timestamp;
use keys::Login;
use request::Request;
use session::Session;

const PROGRAM: &str = "pushkeys-shell";

fn main() -> ExitCode {
    match begin() {
        Ok(session) => serve(&session),
        Err(misuse) => {
            let text = authlog::chain(&misuse);
            authlog::error(PROGRAM, &format!("misuse: {text}"));
            tell(&format!(
                "{}\nhint: sshd starts {PROGRAM}, by a line of pushkeys-lookup",
                keys::escape(&text)
            ));
            ExitCode::from(2)
        }
    }
}

fn begin() -> Result<Session, Misuse> {
    let arguments = Arguments::parse(std::env::args_os().skip(1))?;
    let login = login(std::env::var_os("LOGNAME"))?;
    let request = Request::of(std::env::var_os("SSH_ORIGINAL_COMMAND"));
    Ok(Session { arguments, login, request })
}

/// The login by what sshd set, which no client can: `AcceptEnv` lets nothing but `GIT_PROTOCOL` through.
fn login(logname: Option<OsString>) -> Result<Login, Misuse> {
    let logname = logname.ok_or(Misuse::Missing("LOGNAME"))?;
    Ok(logname.to_string_lossy().parse()?)
}

fn serve(session: &Session) -> ExitCode {
    let answer = session.answer(Timestamp::now());
    let line = session.log_line(&answer);
    match answer {
        Ok(greeting) => {
            authlog::info(PROGRAM, &line);
            // A client that has left is no error, and nobody is left to be told of any other.
            let _ = std::io::stdout().write_all(greeting.as_bytes());
            ExitCode::SUCCESS
        }
        Err(refusal) => {
            if refusal.is_fault_of_host() {
                authlog::error(PROGRAM, &line);
            } else {
                authlog::info(PROGRAM, &line);
            }
            tell(&refusal.to_string());
            ExitCode::from(1)
        }
    }
}

/// Says `text` to the client.
fn tell(text: &str) {
    // As above: a client that has left is no error.
    let _ = writeln!(std::io::stderr(), "pushkeys: {text}");
}
