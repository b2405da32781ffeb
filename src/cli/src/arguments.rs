//! The command line. Names are parsed to their types at once, so nothing typed here becomes part of a path unchecked.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use pushkeys_keys::{Login, SourceName};

use crate::commands::doctor::{DoctorOptions, SyncdOptions};
use crate::commands::list::ListFilter;
use crate::commands::revoke::RevokeOptions;
use crate::commands::session_log::LogOptions;
use crate::commands::sshd::SshdCommand;
use crate::commands::status::StatusOptions;

const EXIT_STATUS: &str =
    "Exit status: 0 is yes, 1 is no (something is wrong, missing or refused), 2 is misuse.";

/// Shows, explains and verifies which SSH keys open a push host.
#[derive(Debug, Parser)]
#[command(name = "pushkeys", version, max_term_width = 100, after_help = EXIT_STATUS, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// The folder of the cache
    #[arg(long, value_name = "DIR", default_value = pushkeys_cache::CACHE_DIRECTORY, global = true, display_order = 90)]
    pub(crate) cache: PathBuf,

    /// Print JSON instead of text
    #[arg(long, global = true, display_order = 91)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what is in force, since when, what is wrong and what to do about it
    #[command(
        after_help = "Examples:\n  sudo pushkeys status\n  sudo pushkeys status --json | jq .problems\n\n\
        Other users than root see what is in force, and not all that may be wrong; what could not be asked is named.\n\
        Exits 0 when nothing is wrong."
    )]
    Status(StatusOptions),

    /// List the keys, one line each
    #[command(after_help = "Examples:\n  pushkeys list --account acct_7\n  \
        pushkeys list --fingerprint SHA256:DyN4\n  pushkeys list --expires-within 14d\n  pushkeys list --json | jq -r .fingerprint\n\n\
        With --json, every key is an object on a line of its own.\n\
        Exits 0 when everything that matches could be read, even if nothing matches.")]
    List(ListFilter),

    /// Show everything that is known about one key
    #[command(
        after_help = "Examples:\n  pushkeys show SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww\n  \
        pushkeys show ~/.ssh/id_ed25519.pub\n\nExits 0 when some source has the key."
    )]
    Show {
        /// The fingerprint, a .pub file, or the text of a key
        #[arg(value_name = "KEY")]
        key: String,
    },

    /// Explain step by step what sshd is told when a key is offered for a login
    #[command(after_help = "Examples:\n  \
        pushkeys explain git SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww\n  \
        pushkeys explain git ~/.ssh/id_ed25519.pub\n  \
        pushkeys explain git ~/.ssh/id_ed25519.pub --log /var/log/auth.log.1\n\n\
        The last refusals of the key, and of connections, are read from the log: the journal, or else\n\
        /var/log/auth.log or /var/log/secure. On the user's machine, `ssh -Z git@HOST` (OpenSSH 10.5 or newer)\n\
        lists the keys that ssh offers, in their order.\nExits 0 when sshd would accept the key.")]
    Explain {
        /// The login, such as git
        #[arg(value_name = "LOGIN")]
        login: Login,
        /// The fingerprint, a .pub file, or the text of a key
        #[arg(value_name = "KEY")]
        key: String,
        /// Read past refusals from this file
        #[arg(long, value_name = "FILE")]
        log: Option<PathBuf>,
    },

    /// Check every file and line of the cache, and every key in it
    #[command(after_help = "Examples:\n  pushkeys verify\n  sudo pushkeys verify --against-source\n  \
        pushkeys verify --json | jq 'select(.file)'\n\n\
        With --json, every fault is an object on a line of its own, and the last line is a summary.\n\
        Exits 0 when nothing is wrong.")]
    Verify {
        /// Compare the cache with its sources instead, key by key
        #[arg(long)]
        against_source: bool,
        #[command(flatten)]
        syncd: SyncdOptions,
    },

    /// Watch logins and changes as they happen
    #[command(after_help = "Examples:\n  sudo pushkeys top\n  sudo pushkeys top --once\n  \
        sudo pushkeys top --json | jq -r 'select(.kind == \"refused\") | .what'\n\n\
        Ends on q or Ctrl-C. If stdout is not a terminal, each event is printed as one line.\n\
        Exits 0 when it is ended, and 1 when no log can be read.")]
    Top {
        /// Read logins from this file [default: the journal, or else the file of syslog]
        #[arg(long, value_name = "FILE")]
        log: Option<PathBuf>,
        /// Show the present state, and exit
        #[arg(long)]
        once: bool,
    },

    /// Show who did what on this host: sessions, and the references that pushes changed
    #[command(after_help = "Examples:\n  sudo pushkeys log --since monday --repository app --pushes\n  \
        sudo pushkeys log --key ~/.ssh/id_ed25519.pub\n  \
        sudo pushkeys log --account ana --json | jq -r 'select(.reference) | .new'\n\n\
        syncd keeps this log for 31 days, a file a day in the folder SESSIONS of the cache, beside the system's log.\n\
        With --json, every record is an object on a line of its own.\n\
        Exits 0 when all of it could be read, even if nothing matches, and 1 if a file or a line could not.")]
    Log(LogOptions),

    /// Check sshd, users, files, sources and the cache, and name the command that fixes each fault
    #[command(after_help = "Examples:\n  sudo pushkeys doctor\n  \
        sudo pushkeys doctor --json | jq -r '.findings[] | select(.severity == \"error\") | .cure'\n\n\
        Changes nothing. sshd's settings are read with `sshd -T -C user=LOGIN,...`.\n\
        Exits 0 when nothing is wrong, 1 if there is an error, and 3 if there are only warnings.")]
    Doctor(DoctorOptions),

    /// Put the keys of this host in force in sshd for the login git, or take them out of force
    #[command(after_help = "Examples:\n  pushkeys sshd enable\n  pushkeys sshd disable\n\n\
        `pushkeys-sshd` is the same. Whatever goes wrong leaves everything as it was.\n\
        Exits 0 when it is done, or was before.")]
    Sshd {
        #[command(subcommand)]
        command: SshdCommand,
    },

    /// Refuse a key, or all keys of an account, on this host at once, even while the service or syncd is down
    #[command(
        after_help = "Examples:\n  pushkeys revoke SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww\n  \
        pushkeys revoke --account acct_7\n  pushkeys revoke --list\n  pushkeys revoke --account acct_7 --undo\n\n\
        Running sessions end within a second. The revocation survives restarts and syncs. It is reported\n\
        to the key service, and ends when the service no longer has the key, or with --undo.\n\
        Exits 0 when the command has done what it says."
    )]
    Revoke(RevokeOptions),

    /// Accept removals that are held back because they are many
    #[command(after_help = "Examples:\n  pushkeys accept api\n  pushkeys accept api --yes --json\n\n\
        Exits 0 when the snapshot was accepted.")]
    Accept {
        /// The source, as in `pushkeys status`
        #[arg(value_name = "SOURCE")]
        source: SourceName,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },

    /// Write the manual pages and shell completions below a prefix such as /usr, for packages
    #[command(hide = true)]
    Manual {
        /// The prefix
        #[arg(value_name = "PREFIX")]
        prefix: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
