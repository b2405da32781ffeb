//! What is kept of sessions and pushes: one line each, for the system's log.

use std::path::Path;

const PROGRAM: &str = "pushkeys-shell";

/// Keeps `line`, a record of a session or a push.
pub(crate) fn write(_cache: &Path, line: &str) {
    pushkeys_authlog::info(PROGRAM, line);
}

/// Tells the host's operator of `line`, which says what is to be fixed.
pub(crate) fn error(line: &str) {
    pushkeys_authlog::error(PROGRAM, line);
}
