//! The contract with sshd, row by row: `c01` is the first fact of it, and so on. What a row says of sshd is shown with
//! real sshd, and what follows for this project with the real programs beside it.
//!
//! | | |
//! |---|---|
//! | C1 | a non-zero exit voids the answer |
//! | C2 | one run per offered key, one more at the signature, and that one decides |
//! | C3 | sshd waits for the helper without limit |
//! | C4 | sshd reads any number of lines of any length |
//! | C5 | a line is a command language: options, quotes, newlines |
//! | C6 | the helper has no environment, and its standard error can reach a client |
//! | C7 | helper and parents belong to root and are writable by nobody else |
//! | C8 | sshd expands the directive itself; an unknown token is fatal at login |
//! | C9 | `%f` is the SHA-256 of the canonical encoding, for a certificate that of its key |
//! | C10 | authorized_keys files and certificates come before the command |
//! | C11 | the first global command wins, and a Match block overrides it |
//! | C12 | the login's shell runs the forced command, in the login's home |
//! | C13 | whoever can run the forced command by himself chooses his identity |
//! | C14 | options outlive a wrong signature, up to 9.8 |
//! | C15 | sshd accepts degenerate keys |
//! | C16 | a multiplexed connection opens sessions after its key is gone |
//! | C17 | `restrict` does not cover tunnels before 10.6 |
//! | C18 | quick failures shut a client's address out, from 9.8 on |
//! | C19 | a login locked with `!` is refused without PAM |
//! | C20 | clients see the command and the options |
//! | C21 | sshd enforces `expiry-time` |
//! | C22 | a refusal's time is rounded up: measured by `bench propagation`, since a test asserts no times |

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod answers;
mod configuration;
mod identity;
mod lines;

use pushkeys_tests::{Room, SshdSettings};

/// Puts the shell script `body` between sshd and the helper, whose command line it gets as `"$@"`.
fn interpose(settings: &mut SshdSettings, room: &Room, body: &str) {
    let path = room.write_with_mode("helper", &format!("#!/bin/sh\n{body}\n"), 0o755);
    settings.helper = format!("{} {}", path.display(), settings.helper);
}
