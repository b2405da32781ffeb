//! Tasks that root starts, done as the daemon's user, who owns the cache's folder: what root can read says nothing of what
//! the daemon can, and what root writes is not the daemon's to replace.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

/// Begins this program, which root has started, anew as the owner of the folder `cache`, with the groups that user has, if
/// the folder is somebody else's. Returns where nothing is to be done.
pub(crate) fn become_owner_of(cache: &Path) -> anyhow::Result<()> {
    let owner = match std::fs::metadata(cache) {
        Ok(folder) if folder.uid() != 0 => folder,
        // Whoever misses the folder says so.
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot look at `{}`", cache.display())),
    };
    let program = std::env::current_exe().context("cannot find this program's file")?;
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={}", owner.uid()), format!("--regid={}", owner.gid())]);
    command.args(["--init-groups", "--"]).arg(program).args(std::env::args_os().skip(1));
    Err(command.exec())
        .context("cannot start `setpriv`\nhint: run it as the owner of the cache, or install util-linux")
}
