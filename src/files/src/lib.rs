//! Security-critical files: configuration, secrets and state. This crate checks who can have written or read them, reads them
//! up to a limit, and replaces them atomically and durably.
//!
//! All programs use it, so they trust the same files and print the same errors. Checks are made on the open file, since a
//! path can lead elsewhere a moment later. The crate does not interpret contents, and never changes a file in place.
//!
//! pushkeys-lookup links this crate to read the cache, so it must not add to that program's dependencies; hence no
//! `tempfile`. Temporary files have fixed names instead, so a killed writer leaves at most one file behind for each name.

#![forbid(unsafe_code)]

mod error;
mod folder;
mod path;
mod read;
mod trust;

pub use error::{Distrust, Owner, ReadFileError, Untrusted, WriteFileError};
pub use folder::{Attributes, Folder, is_temporary, temporary_name};
pub use path::{check, check_program, create, open, read, read_text, replace, sync};
pub use read::append_at;
pub use trust::Trust;
