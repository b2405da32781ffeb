//! The contract with sshd, row by row: `c01` is its first row, and so on. A row's statement about sshd is shown with the
//! real sshd, and its consequence for this project with the real programs.
//!
//! | | |
//! |---|---|
//! | C1 | a non-zero exit status voids the answer |
//! | C2 | one run per offered key, and another at the signature, which decides |
//! | C3 | sshd waits for the helper without limit |
//! | C4 | sshd reads any number of lines of any length |
//! | C5 | a line is a command language: options, quotes, newlines |
//! | C6 | the helper has no environment, and its standard error can reach a client |
//! | C7 | the helper and its parent folders belong to root, and only root can write to them |
//! | C8 | sshd expands the directive itself; an unknown token is fatal at login |
//! | C9 | `%f` is the SHA-256 of the canonical encoding, for a certificate that of its key |
//! | C10 | authorized_keys files and certificates come before the command |
//! | C11 | the first global command wins, and a Match block overrides it |
//! | C12 | the login's shell runs the forced command, in the login's home |
//! | C13 | a user who can run the forced command directly chooses the identity |
//! | C14 | options outlive a wrong signature, up to 9.8 |
//! | C15 | sshd accepts degenerate keys |
//! | C16 | a multiplexed connection opens sessions after its key was removed |
//! | C17 | `restrict` does not cover tunnels before 10.6 |
//! | C18 | quick failures block a client's address, from 9.8 on |
//! | C19 | a login locked with `!` is refused without PAM |
//! | C20 | clients see the command and the options |
//! | C21 | sshd enforces `expiry-time` |
//! | C22 | the time of a refusal is rounded up: measured by `bench propagation`, since tests assert no times |

#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod answers;
mod configuration;
mod identity;
mod lines;

use pushkeys_tests::{Room, SshdSettings};

/// Runs the shell script `body` between sshd and the helper, whose command line is `"$@"`.
fn interpose(settings: &mut SshdSettings, room: &Room, body: &str) {
    let path = room.write_with_mode("helper", &format!("#!/bin/sh\n{body}\n"), 0o755);
    settings.helper = format!("{} {}", path.display(), settings.helper);
}
