//! Limits of git's processes: memory, and the size of a file (setrlimit(2)).
//!
//! Only the soft limits are lowered, so that a hook can restore the host's limits for the operator's programs.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::settings::Limits;

/// The memory limit is `RLIMIT_DATA`, which covers private writable memory, and not packs that git maps.
const LIMITED: [Resource; 2] = [Resource::Data, Resource::Fsize];

/// Applies `limits` to this process and its future children.
pub(crate) fn limit(limits: &Limits) -> io::Result<()> {
    for (resource, bytes) in LIMITED.into_iter().zip([limits.memory_bytes, limits.repository_bytes]) {
        let Some(bytes) = bytes else { continue };
        let Rlimit { current, maximum } = getrlimit(resource);
        let lowered = current.map_or(bytes, |current| current.min(bytes));
        setrlimit(resource, Rlimit { current: Some(lowered), maximum })?;
    }
    Ok(())
}

/// Restores the host's limits, for programs that this process starts.
pub(crate) fn lift() -> io::Result<()> {
    for resource in LIMITED {
        let Rlimit { maximum, .. } = getrlimit(resource);
        setrlimit(resource, Rlimit { current: maximum, maximum })?;
    }
    Ok(())
}
