//! What root starts is done as the daemon's user, who owns the cache's folder: what root can read says nothing of what the
//! daemon can, and what root writes the daemon cannot replace.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use pushkeys_keys::{Hint, Hinted};

use crate::config;

/// Starts this program again as the owner of the cache that the configuration at `config` names, with the groups of that
/// user, if root has started it and the cache is another user's. Returns where there is nothing to do.
pub(super) fn become_owner(config: &Path) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    // The command itself reports a configuration that cannot be read.
    let Ok(config) = config::load(config) else { return Ok(()) };
    let owner = match std::fs::metadata(&config.cache) {
        Ok(folder) if folder.uid() != 0 => folder,
        // A command that needs the folder reports that it is missing.
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot look at `{}`", config.cache.display()));
        }
    };
    let program = std::env::current_exe().context("cannot find this program's file")?;
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={}", owner.uid()), format!("--regid={}", owner.gid())]);
    command.args(["--init-groups", "--"]).arg(program).args(std::env::args_os().skip(1));
    let hint = Hint::because("run it as the owner of the cache, or install util-linux", command.exec());
    Err(Hinted::new("cannot start `setpriv`", hint).into())
}
