//! Why a configuration cannot be used.

use std::io;
use std::path::PathBuf;

use pushkeys_keys::ParseCompromisedListError;
use thiserror::Error;

/// Why the configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Missing, or not for us.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else could decide what the service does.
    #[error("`{}` can be written by others than its owner (mode {mode:04o}), hint: chmod go-w {}", path.display(), path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others could have read a secret.
    #[error("`{}` holds a secret and can be read by everybody (mode {mode:04o}), hint: chmod o= {}", path.display(), path.display())]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Empty, or not one word.
    #[error("`{}` is to hold a secret: one line, without blanks", path.display())]
    Secret {
        /// The file.
        path: PathBuf,
    },
    /// Somebody who is neither root nor the service's user could decide what it does.
    #[error("`{}` belongs to user {owner}, who is neither root nor the user of this process, hint: chown root {}", path.display(), path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// The numeric id of its owner.
        owner: u32,
    },
    /// More than it can sensibly hold.
    #[error("`{}` is longer than {max} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The bound.
        max: u64,
    },
    /// Not TOML, an unknown key, or a value that cannot be; the parser names line and column.
    #[error("cannot use the configuration `{}`", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong in which line.
        source: toml::de::Error,
    },
    /// A value outside its bounds.
    #[error("cannot use `{setting}` in the configuration `{}`: it is to be {expected}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key in it.
        setting: &'static str,
        /// What would be right.
        expected: &'static str,
    },
    /// The operator's list of compromised keys.
    #[error("cannot use the list of compromised keys `{}`", path.display())]
    Compromised {
        /// The file.
        path: PathBuf,
        /// What is wrong in which line.
        source: ParseCompromisedListError,
    },
}
