//! `pushkeys-server`, the key service.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    pushkeys_server::commands::main()
}
