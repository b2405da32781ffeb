//! What the kernel lets a process of git's take: memory, and the size of a file (setrlimit(2)).
//!
//! Only the soft limits are lowered, so that a hook can give the operator's programs what the host gave to the session.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::settings::Limits;

/// Memory counts as what a process writes to and shares with no other (`RLIMIT_DATA`): packs that it maps do not count.
const LIMITED: [Resource; 2] = [Resource::Data, Resource::Fsize];

/// Bounds this process, and those that it starts, by `limits`.
pub(crate) fn limit(limits: &Limits) -> io::Result<()> {
    for (resource, bytes) in LIMITED.into_iter().zip([limits.memory_bytes, limits.repository_bytes]) {
        let Some(bytes) = bytes else { continue };
        let Rlimit { current, maximum } = getrlimit(resource);
        let lowered = current.map_or(bytes, |current| current.min(bytes));
        setrlimit(resource, Rlimit { current: Some(lowered), maximum })?;
    }
    Ok(())
}

/// Takes the bounds away again, for programs that this process starts.
pub(crate) fn lift() -> io::Result<()> {
    for resource in LIMITED {
        let Rlimit { maximum, .. } = getrlimit(resource);
        setrlimit(resource, Rlimit { current: maximum, maximum })?;
    }
    Ok(())
}
