//! What sshd says about itself: its version, the settings in force for a login, and the files in which they stand.
//!
//! This is the only place that reads sshd's answers and its files. OpenSSH changes how it prints a setting from release to
//! release (capitals since 10.4, absent instead of `none`, several values on one line), and each of those rules is here once.

mod config_files;
mod effective;
mod package;
mod pattern;
mod version;
mod words;

pub(crate) use config_files::{Setting, read as read_config_files};
pub(crate) use effective::{Effective, SshdError, test};
pub(crate) use package::Package;
pub(crate) use pattern::{is_listed, matches_pattern};
pub(crate) use version::Version;
pub(crate) use words::words;
