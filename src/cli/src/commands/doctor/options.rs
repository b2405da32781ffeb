//! The command line of `pushkeys doctor`.

use std::path::PathBuf;

use clap::Args;
use pushkeys_keys::Login;

/// What to check; the defaults are where packages and distributions put things.
#[derive(Debug, Args)]
pub(crate) struct DoctorOptions {
    /// The login that users push as
    #[arg(long, value_name = "LOGIN", default_value = "git")]
    pub(crate) login: Login,
    /// The sshd to ask for its settings
    #[arg(long, value_name = "PROGRAM", default_value = "/usr/sbin/sshd")]
    pub(crate) sshd: PathBuf,
    /// The configuration of sshd
    #[arg(long, value_name = "FILE", default_value = "/etc/ssh/sshd_config")]
    pub(crate) sshd_config: PathBuf,
    /// The helper that sshd should run
    #[arg(long, value_name = "PROGRAM", default_value = "/usr/libexec/pushkeys/pushkeys-lookup")]
    pub(crate) helper: PathBuf,
    /// The configuration of git pushes
    #[arg(long, value_name = "FILE", default_value = "/etc/pushkeys/shell.toml")]
    pub(crate) shell_config: PathBuf,
    /// Read from this file whom sshd shut out [default: the journal, or else the file of syslog]
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) syncd: SyncdOptions,
    /// Print the drop-in for sshd that packages install, and exit
    #[arg(long)]
    pub(crate) drop_in: bool,
}

/// Where the daemon is: only it reads its configuration and its tokens.
#[derive(Debug, Args)]
pub(crate) struct SyncdOptions {
    /// The daemon, to ask about its sources
    #[arg(long = "syncd", value_name = "PROGRAM", default_value = "/usr/sbin/pushkeys-syncd")]
    pub(crate) program: PathBuf,
    /// The daemon's configuration [default: the one that it uses]
    #[arg(long = "syncd-config", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}
