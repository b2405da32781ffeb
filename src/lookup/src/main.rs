//! `pushkeys-lookup`: what sshd runs as `AuthorizedKeysCommand` for every key that anybody offers.
//!
//! ```text
//! pushkeys-lookup [--cache DIR] LOGIN FINGERPRINT
//! ```
//!
//! It owns the contract with sshd: one whole line or nothing on stdout, nothing ever on stderr, which a client may see, and an
//! exit status by which an outage never looks like an unknown key. It opens no socket but the system log's,
//! and that only when it cannot answer; it takes no lock, writes no file, starts no process, and reads no configuration.
//!
//! | status | stdout | meaning |
//! |---|---|---|
//! | 0 | one line | the key is known |
//! | 0 | nothing | the key is unknown, or the login is not ours |
//! | 2 | nothing | misuse: the arguments cannot be read |
//! | 3 | nothing | there is no cache, or a source has not been synced yet |
//! | 4 | nothing | the system refused to open or read a file of the cache |
//! | 5 | nothing | others than its owner could have written to the cache |
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

/// std's own start-up before `fn main` takes some twenty system calls for what this program does not need, a tenth of its
/// time; on Linux with glibc the arguments are there without it.
#[cfg_attr(
    not(test),
    expect(
        unsafe_code,
        reason = "the C runtime calls `main` by this name, and nothing else here is called so"
    )
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
