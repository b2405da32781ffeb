//! A batch of changes: which shards it touches, and how each of them is replaced.

use std::collections::BTreeMap;

use pushkeys_files::temporary_name;
use pushkeys_keys::Fingerprint;

use crate::entry::Entry;
use crate::error::{ReadError, WriteError};
use crate::files::Directory;
use crate::head::Head;
use crate::merge::{Applied, Merged, ShardChanges, merge};
use crate::reader::SHARD_BYTES_MAX;
use crate::shard::ShardId;

/// Up to so many shards are made durable one by one; more of them by one sync of the file system, which also waits
/// for what others have written to it.
const SHARDS_SYNCED_ONE_BY_ONE_MAX: usize = 32;

/// One change of one key. Applying it twice changes nothing.
#[derive(Debug, Clone)]
pub enum Change {
    /// The key is registered, or its registration has changed.
    Put(Entry),
    /// The key is gone.
    Remove(Fingerprint),
}

/// The shards that some changes touch.
pub(crate) type Touched<'a> = BTreeMap<u32, ShardChanges<'a>>;

/// The last change of each key, shard by shard.
pub(crate) fn by_shard<'a>(changes: &'a [Change], head: &Head) -> Touched<'a> {
    let mut touched = Touched::new();
    for change in changes {
        let (fingerprint, entry) = match change {
            Change::Put(entry) => (entry.fingerprint, Some(entry)),
            Change::Remove(fingerprint) => (*fingerprint, None),
        };
        touched.entry(fingerprint.leading_bits(head.bits)).or_default().insert(fingerprint, entry);
    }
    touched
}

/// Replaces each touched shard, unless nothing in it changes.
pub(crate) fn replace_shards(
    folder: &Directory,
    head: &Head,
    touched: &Touched<'_>,
) -> Result<Applied, WriteError> {
    let mut applied = Applied::default();
    let mut written = Vec::new();
    let result = write_shards(folder, head, touched, &mut written, &mut applied)
        .and_then(|()| written.iter().try_for_each(|name| folder.rename(temporary_name(name), name)));
    if let Err(error) = result {
        for name in &written {
            // The error itself is what counts; leftovers are also removed when a writer opens.
            let _ = folder.remove(temporary_name(name));
        }
        return Err(error);
    }
    if !written.is_empty() {
        folder.sync()?;
    }
    Ok(applied)
}

/// Writes each touched shard durably under its temporary name, and its own name to `written`.
fn write_shards(
    folder: &Directory,
    head: &Head,
    touched: &Touched<'_>,
    written: &mut Vec<String>,
    applied: &mut Applied,
) -> Result<(), WriteError> {
    let one_by_one = touched.len() <= SHARDS_SYNCED_ONE_BY_ONE_MAX;
    for (&index, changes) in touched {
        let shard = ShardId { generation: head.generation, bits: head.bits, index };
        let name = shard.file_name();
        let merged = read_merged(folder, &shard, &shard, changes)?;
        if merged.applied == Applied::default() {
            continue;
        }
        let file = folder.write_new(temporary_name(&name), &merged.bytes)?;
        written.push(name);
        if one_by_one {
            file.sync_all().map_err(|source| WriteError::io("sync", folder.path(), source))?;
        }
        *applied += merged.applied;
    }
    if one_by_one { Ok(()) } else { folder.sync_file_system() }
}

/// The shard `from` in `folder` as it is after `changes`, under the name of `to`.
pub(crate) fn read_merged(
    folder: &Directory,
    from: &ShardId,
    to: &ShardId,
    changes: &ShardChanges<'_>,
) -> Result<Merged, WriteError> {
    let name = from.file_name();
    let old = folder.read_file(&name, SHARD_BYTES_MAX)?;
    Ok(merge(&old, from, to, changes)
        .map_err(|damage| ReadError::damaged(&folder.path().join(&name), damage))?)
}
