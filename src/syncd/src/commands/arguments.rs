//! The command line: help, manual pages and completions are made of it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

const AFTER_HELP: &str = "Exit status: 0 done, 1 something is wrong and was printed, 2 misuse.\n\
    What root starts of check, sync-once and compare is done as the owner of the cache, as the daemon would.\n\n\
    Examples:\n  pushkeys-syncd check --contact\n  pushkeys-syncd compare\n  pushkeys-syncd --config ./syncd.toml sync-once";

/// Keep the key cache of a push host in sync with its sources.
///
/// Without a command it does `run`.
#[derive(Debug, Parser)]
#[command(name = "pushkeys-syncd", version, after_help = AFTER_HELP)]
pub(super) struct Arguments {
    /// The configuration file.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "/etc/pushkeys/syncd.toml",
        env = "PUSHKEYS_SYNCD_CONFIG"
    )]
    pub(super) config: PathBuf,

    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Keep the cache in sync until SIGTERM
    ///
    /// The configuration is read again on SIGHUP and whenever the file changes.
    Run,
    /// Check the configuration and the files it names
    ///
    /// Nothing is contacted, unless that is asked for, and the cache is not opened.
    Check {
        /// Also ask every source for all that the daemon would ask it for.
        ///
        /// The snapshot is read to its end, each line, the order and the digest are checked, and each key is validated. A feed's stream
        /// of changes is opened twice: after that snapshot, and after an id that the service cannot know.
        #[arg(long)]
        contact: bool,
        /// Ask no more than for the first entry of each snapshot.
        #[arg(long, requires = "contact")]
        brief: bool,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Do one full sync of every source
    SyncOnce {
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compare the cache with every source, key by key
    ///
    /// Nothing is changed.
    Compare {
        /// Print each difference, and a summary of each source, as a line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write manual pages and shell completions below a prefix such as /usr, for packages
    #[command(hide = true)]
    Manual { prefix: PathBuf },
}
