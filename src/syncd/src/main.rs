//! `pushkeys-syncd`: keeps the key cache of a push host equal to its sources.
//!
//! It owns the cache's folder and is the only one to write there. It believes nothing that a source says:
//! every key is judged and every line rendered here. It never answers a look-up, and no error of a source
//! ends it: what is in force stays in force until its `max_stale`.

#![forbid(unsafe_code)]

mod apply;
mod backoff;
mod commands;
mod config;
mod logging;
mod remote;
mod report;
mod revocation;
mod source;
mod status;
mod validate;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};

/// Keep the key cache of a push host equal to its sources.
///
/// Without `--check`, `--once` or `--compare` it runs until it is told to stop, and reads its configuration again
/// on SIGHUP and whenever the file changes.
#[derive(Debug, Parser)]
#[command(name = "pushkeys-syncd", version, after_help = AFTER_HELP)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct Arguments {
    /// The configuration file.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/pushkeys/syncd.toml",
        env = "PUSHKEYS_SYNCD_CONFIG"
    )]
    config: PathBuf,

    /// Say what is wrong with the configuration and the files it names, and exit. Nothing is contacted.
    #[arg(long, group = "task")]
    check: bool,

    /// With --check: also ask every source whether it answers, takes the credentials and has the same time.
    #[arg(long, requires = "check")]
    contact: bool,

    /// Do one full sync of every source, and exit.
    #[arg(long, group = "task")]
    once: bool,

    /// Compare the cache with every source, key by key, and exit. Nothing is changed.
    #[arg(long, group = "task")]
    compare: bool,

    /// Print the result of --check, --once or --compare as JSON.
    #[arg(long, requires = "task")]
    json: bool,

    /// Write the manual page and shell completions below a prefix such as /usr, for packages.
    #[arg(long, value_name = "PREFIX", hide = true)]
    manual: Option<PathBuf>,
}

impl Arguments {
    fn become_who_the_task_is_about(&self) -> anyhow::Result<()> {
        let is_root = rustix::process::geteuid().is_root();
        if !(is_root && (self.check || self.once || self.compare)) {
            return Ok(());
        }
        // A configuration that cannot be read is the task's own to report.
        config::load(&self.config).map_or(Ok(()), |config| commands::owner::become_owner_of(&config.cache))
    }
}

const AFTER_HELP: &str = "Exit status: 0 done, 1 something is wrong and was said, 2 misuse. What root starts with --check, --once or\n\
    --compare is done as the owner of the cache, as the daemon would do it.\n\n\
    Examples:\n  pushkeys-syncd --check --contact\n  pushkeys-syncd --compare\n  pushkeys-syncd --config ./syncd.toml --once";

/// One worker for the streams, and one for what else turns up.
const WORKER_THREADS: usize = 2;

/// Judging a snapshot fills the machine's cores; each directory source may read beside that.
const BLOCKING_THREADS_MAX: usize = 16;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(prefix) = &arguments.manual {
        return write_manual(prefix);
    }
    // A second provider in one process would be a mistake of the build, and the first is then as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if let Err(error) = arguments.become_who_the_task_is_about() {
        return failed(&error);
    }
    if arguments.check {
        return check(&arguments).unwrap_or_else(|error| failed(&error));
    }
    logging::start();
    run(&arguments).unwrap_or_else(|error| failed(&error))
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

fn check(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(commands::check::run(&arguments.config, arguments.contact, arguments.json)))
}

fn write_manual(prefix: &Path) -> ExitCode {
    match pushkeys_manual::write(Arguments::command(), "8", prefix) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write below `{}`: {error}", prefix.display());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let config = config::load(&arguments.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()?;
    let status = if arguments.once {
        runtime.block_on(commands::sync_once::run(&config, arguments.json))
    } else if arguments.compare {
        runtime.block_on(commands::compare::run(&config, arguments.json))
    } else {
        runtime.block_on(commands::run::run(&arguments.config, config))?;
        ExitCode::SUCCESS
    };
    // What still reads a slow disk or a slow resolver must not keep the process.
    runtime.shutdown_background();
    Ok(status)
}
