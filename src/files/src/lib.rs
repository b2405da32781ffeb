//! Files that decide something, or hold a secret: who may have written and read them, how they are read whole, and how they
//! are replaced so that they survive a power cut.
//!
//! Every program uses these functions, so that all of them trust the same files and say the same of those that they do not.
//! A rule is checked on the file that was opened, never on a path that may lead elsewhere a moment later. What is in a file
//! is not known here, and nothing is changed in place.
//!
//! It links no crate that pushkeys-lookup does not link anyway, because that program reads the cache by it: hence no
//! `tempfile`. Temporary files have fixed names instead, so a writer that is killed leaves at most one of each behind.

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
