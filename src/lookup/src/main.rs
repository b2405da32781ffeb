//! `pushkeys-lookup`: sshd runs it as `AuthorizedKeysCommand` for every key that a client offers.
//!
//! ```text
//! pushkeys-lookup [--cache DIR] LOGIN FINGERPRINT
//! ```
//!
//! It implements the contract with sshd: stdout is one whole line or nothing, stderr is always empty, since a client may see
//! it, and the exit status distinguishes an outage from an unknown key. It opens no socket but the system log's, and
//! that only when it cannot answer; it takes no lock, writes no file, starts no process, and reads no configuration.
//!
//! | status | stdout | meaning |
//! |---|---|---|
//! | 0 | one line | the key is known |
//! | 0 | nothing | the key is unknown, or not valid for this login |
//! | 2 | nothing | misuse: the arguments cannot be read |
//! | 3 | nothing | there is no cache, or a source has not been synced yet |
//! | 4 | nothing | a file of the cache could not be opened or read |
//! | 5 | nothing | users other than its owner could have written to the cache |
//! | 6 | nothing | the cache is damaged |
//! | 7 | nothing | the cache is past its `valid_until` |
//! | 8 | nothing | two sources give the key to different accounts |
//! | 9 | nothing | the answer could not be written |
//! | SIGALRM | nothing | no answer within two seconds |

#![cfg_attr(not(test), no_main)]

mod answer;
mod arguments;
mod failure;
mod system;

const PROGRAM: &str = "pushkeys-lookup";

/// The C entry point. std's start-up before `fn main` makes some twenty system calls that this program does not need, a tenth
/// of its time; with glibc on Linux, `args_os` works without it.
#[cfg_attr(
    not(test),
    expect(unsafe_code, reason = "the C runtime calls `main` by this name, and nothing else here has it")
)]
#[cfg_attr(not(test), unsafe(no_mangle))]
extern "C" fn main() -> std::ffi::c_int {
    system::end_after_two_seconds();
    let result = arguments::Arguments::parse(std::env::args_os().skip(1))
        .and_then(|arguments| answer::give(&arguments));
    match result {
        Ok(()) => 0,
        Err(failure) => {
            pushkeys_authlog::error(PROGRAM, &pushkeys_keys::ErrorReport::of(&failure).to_string());
            failure.status()
        }
    }
}
