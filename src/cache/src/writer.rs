//! The writer: replaces shards and generations so that no reader, crash or full disk ever meets half of one.
//!
//! The order is always the same: new files under other names, their bytes made durable, renamed into place, the folder
//! made durable, and HEAD with the new cursor last. A crash in between leaves shards that are newer than HEAD; the changes since
//! its cursor are then applied again, and change nothing.

use std::fs::File;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pushkeys_files::{is_temporary, temporary_name};
use pushkeys_keys::SourceName;
use rustix::fs::FlockOperation;

use crate::batch::{Change, Touched, by_shard, replace_shards};
use crate::error::{ReadError, WriteError};
use crate::files::Directory;
use crate::generation::{ChangedGeneration, NextGeneration, PreparedGeneration};
use crate::head::{CURSOR_BYTES_MAX, Head, NOTES_BYTES_MAX, Stamps, is_cursor, is_notes, to_second};
use crate::merge::Applied;
use crate::reader::{Source, generation_name, read_head};
use crate::shard::KEYS_PER_SHARD;
use crate::sources;

/// When more than half of the shards are touched, and there are at least so many, the whole generation is replaced:
/// its files are not renamed one by one over files that the file system then has to give back meanwhile.
const SHARDS_REPLACED_AT_ONCE_MIN: usize = 64;

/// How long the old generation is kept for the next such batch.
const SPARE_KEPT_MAX: Duration = Duration::from_secs(30);

/// A generation whose shards have grown to so many keys on average is made again with more of them.
const KEYS_PER_SHARD_MAX: u64 = 2 * KEYS_PER_SHARD;

/// The file in a source's folder that its writer locks for as long as there is one.
pub const LOCK_FILE: &str = "LOCK";
/// An operator's confirmation, which root writes beside the writer.
pub(crate) const ACCEPT_FILE: &str = "ACCEPT";

/// The one writer of a source.
#[derive(Debug)]
pub struct Writer {
    name: SourceName,
    directory: Directory,
    /// Held as long as the writer lives, so that a second daemon cannot write.
    _lock: File,
    head: Option<Head>,
    /// What HEAD is to say when it is written next.
    notes: String,
    fault: Option<ReadError>,
    /// The newest generation that was ever begun here.
    generation_last: u64,
    /// A generation that was in force a moment ago, for the next burst to write over.
    spare: Option<Spare>,
    /// Old generations on their way out.
    removal: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Spare {
    folder: String,
    bits: u8,
    kept_at: Instant,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.wait_for_removal();
    }
}

impl Writer {
    /// Takes the writer's place for the source `name` of the cache in the folder `cache`, both of which are made
    /// if need be, and removes what a killed writer left behind.
    pub fn open(cache: &Path, name: &SourceName) -> Result<Self, WriteError> {
        let directory = open_source(cache, name)?;
        let lock = lock(&directory)?;
        let mut writer = Self {
            name: name.clone(),
            directory,
            _lock: lock,
            head: None,
            notes: String::new(),
            fault: None,
            generation_last: 0,
            spare: None,
            removal: None,
        };
        match read_head(&writer.directory) {
            Ok(head) => {
                writer.notes = head.notes.clone().unwrap_or_default();
                writer.head = Some(head);
            }
            Err(ReadError::Missing(_)) => {}
            Err(error) => writer.fault = Some(error),
        }
        writer.make_durable()?;
        writer.tidy()?;
        writer.recount();
        Ok(writer)
    }

    /// What a killed writer has put in place may not be durable yet. It is, before anything is built upon it: changes that are
    /// found to be made already would otherwise move HEAD past shards that a power cut takes back.
    fn make_durable(&self) -> Result<(), WriteError> {
        // What is wrong with a folder that cannot be opened is said by the count of the keys.
        if let Some(head) = &self.head
            && let Ok(generation) = self.directory.open_directory(&generation_name(head.generation))
        {
            generation.sync()?;
        }
        self.directory.sync()
    }

    /// What is in force, if anything is. Its cursor is `None` when a full sync is due.
    #[must_use]
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Remembers `notes`, which HEAD holds from the next time on that it is written.
    pub fn set_notes(&mut self, notes: String) -> Result<(), WriteError> {
        if !is_notes(&notes) {
            return Err(WriteError::Notes { bytes_max: NOTES_BYTES_MAX });
        }
        self.notes = notes;
        Ok(())
    }

    /// What was found wrong with the generation in force when the writer was opened, until a new one is taken.
    #[must_use]
    pub fn fault(&self) -> Option<&ReadError> {
        self.fault.as_ref()
    }

    /// The source as its readers see it now, if a generation is in force.
    pub fn in_force(&self) -> Result<Option<Source>, ReadError> {
        match self.head {
            Some(_) => Source::open(self.name.clone(), self.directory.again()?).map(Some),
            None => Ok(None),
        }
    }

    /// Ends the source: its readers no longer consult it, and its folder is removed.
    pub fn remove_source(mut self) -> Result<(), WriteError> {
        self.wait_for_removal();
        let Some(cache) = self.directory.path().parent() else { return Ok(()) };
        let root = Directory::open_root(cache)?;
        sources::remove(&root, &self.name)?;
        // A reader that has read the names before finds it whole, or not at all.
        let removed = format!(".{}.removed", self.name);
        root.remove_directory(&removed)?;
        root.rename(self.name.as_str(), &removed)?;
        root.sync()?;
        root.remove_directory(&removed)
    }

    /// Applies `changes` in their order, of which the last one of a key counts. Each shard that they touch is
    /// replaced once, whether it holds the change of one key or of many.
    ///
    /// On an error some shards may have been replaced and HEAD still has the old cursor: apply the same changes again.
    pub fn apply(
        &mut self,
        changes: &[Change],
        cursor: Option<&str>,
        stamps: Stamps,
    ) -> Result<Applied, WriteError> {
        let head =
            self.head.clone().ok_or_else(|| WriteError::NoGeneration(self.directory.path().to_owned()))?;
        let folder = self.directory.open_directory(&generation_name(head.generation))?;
        let touched = by_shard(changes, &head);
        let shards = 1_usize << head.bits;
        let applied = if shards >= SHARDS_REPLACED_AT_ONCE_MIN && touched.len() > shards / 2 {
            self.replace_generation(&folder, &head, &touched, cursor, stamps)?
        } else {
            let applied = replace_shards(&folder, &head, &touched)?;
            let keys = (head.keys + applied.added).saturating_sub(applied.removed);
            self.write_head(Head { keys, ..head }, cursor, stamps)?;
            applied
        };
        self.drop_old_spare()?;
        self.grow()?;
        Ok(applied)
    }

    /// Says that the source was in sync at `stamps.synced_at`, with the same cursor as before.
    pub fn touch(&mut self, stamps: Stamps) -> Result<(), WriteError> {
        let head =
            self.head.clone().ok_or_else(|| WriteError::NoGeneration(self.directory.path().to_owned()))?;
        let cursor = head.cursor.clone();
        self.drop_old_spare()?;
        self.write_head(head, cursor.as_deref(), stamps)
    }

    /// Forgets the cursor, so that the next writer makes a full sync, and keeps the notes. Validity stays as
    /// it is.
    pub fn forget_cursor(&mut self) -> Result<(), WriteError> {
        match self.head.clone() {
            Some(head) if head.cursor.is_some() || head.notes.as_ref() != Some(&self.notes) => {
                let stamps = head.stamps;
                self.write_head(head, None, stamps)
            }
            _ => Ok(()),
        }
    }

    /// Begins a generation beside the one in force.
    pub fn begin(&mut self) -> Result<NextGeneration, WriteError> {
        let generation = self.next_generation();
        NextGeneration::begin(&self.name, &self.directory, generation)
    }

    fn next_generation(&mut self) -> u64 {
        // A generation that is rebuilt takes the number after its own.
        self.generation_last += 2;
        self.generation_last - 1
    }

    /// Puts `prepared` in force and removes what was before.
    pub fn commit(
        &mut self,
        prepared: PreparedGeneration,
        cursor: Option<&str>,
        stamps: Stamps,
    ) -> Result<(), WriteError> {
        self.put_in_force(prepared, cursor, stamps)?;
        self.spare = None;
        self.remove_others()
    }

    /// Puts a generation in force that is the one of `head` after some changes, and keeps the old one as the spare: in a
    /// burst the file system then neither makes nor gives back a file.
    fn replace_generation(
        &mut self,
        folder: &Directory,
        head: &Head,
        touched: &Touched<'_>,
        cursor: Option<&str>,
        stamps: Stamps,
    ) -> Result<Applied, WriteError> {
        let generation = self.next_generation();
        let spare = self.spare.take().filter(|spare| spare.bits == head.bits).map(|spare| spare.folder);
        let mut next =
            ChangedGeneration::begin(&self.name, &self.directory, generation, head.bits, spare.as_deref())?;
        let applied = next.merge(folder, head, touched)?;
        self.put_in_force(next.finish()?, cursor, stamps)?;
        self.spare = Some(Spare {
            folder: generation_name(head.generation),
            bits: head.bits,
            kept_at: Instant::now(),
        });
        Ok(applied)
    }

    fn put_in_force(
        &mut self,
        prepared: PreparedGeneration,
        cursor: Option<&str>,
        stamps: Stamps,
    ) -> Result<(), WriteError> {
        let (generation, bits, keys) = (prepared.generation(), prepared.bits(), prepared.keys());
        self.directory.sync()?;
        // Even an error may leave the new HEAD in place, so from here on only the next writer may remove the folder.
        prepared.keep();
        self.write_head(Head { generation, bits, keys, cursor: None, stamps, notes: None }, cursor, stamps)?;
        self.fault = None;
        Ok(())
    }

    /// Gives the spare back once no burst has asked for it for some time.
    fn drop_old_spare(&mut self) -> Result<(), WriteError> {
        if self.spare.as_ref().is_some_and(|spare| spare.kept_at.elapsed() >= SPARE_KEPT_MAX) {
            self.spare = None;
            self.remove_others()?;
        }
        Ok(())
    }

    /// The folder of the source.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    fn write_head(&mut self, mut head: Head, cursor: Option<&str>, stamps: Stamps) -> Result<(), WriteError> {
        if cursor.is_some_and(|cursor| !is_cursor(cursor)) {
            return Err(WriteError::Cursor { bytes_max: CURSOR_BYTES_MAX });
        }
        head.cursor = cursor.map(str::to_owned);
        head.notes = Some(self.notes.clone());
        head.stamps =
            Stamps { synced_at: to_second(stamps.synced_at), valid_until: stamps.valid_until.map(to_second) };
        self.directory.replace("HEAD", head.to_text().as_bytes())?;
        self.head = Some(head);
        Ok(())
    }

    /// Makes a new generation with more shards when those in force have become too full.
    fn grow(&mut self) -> Result<(), WriteError> {
        let Some(head) = self.head.clone() else { return Ok(()) };
        if head.bits >= pushkeys_keys::SHARD_BITS_MAX || head.keys >> head.bits <= KEYS_PER_SHARD_MAX {
            return Ok(());
        }
        let Some(source) = self.in_force()? else { return Ok(()) };
        let mut next = self.begin()?;
        for entry in source.entries() {
            next.push(entry?)?;
        }
        self.commit(next.finish()?, head.cursor.as_deref(), head.stamps)
    }

    /// Removes what a killed writer left behind: every generation but the one in force, and every file that never got
    /// its place. While HEAD cannot be read, no generation is removed: one of them may be all there is.
    fn tidy(&mut self) -> Result<(), WriteError> {
        for name in self.directory.names()? {
            let Some(name) = name.to_str() else { continue };
            if let Some(generation) = generation_number(name) {
                self.generation_last = self.generation_last.max(generation);
            // The operator's confirmation may be on its way at this moment.
            } else if is_temporary(name) && temporary_name(ACCEPT_FILE) != name {
                self.directory.remove(name)?;
            }
        }
        remove_generations(&self.directory, &self.others()?)
    }

    /// Removes the generations that are not in force, while the next changes may already come: for a file system, giving
    /// back thousands of files can take longer than writing them.
    fn remove_others(&mut self) -> Result<(), WriteError> {
        self.wait_for_removal();
        let (directory, others) = (self.directory.again()?, self.others()?);
        // What cannot be removed now is removed when a writer opens the source again.
        let removal =
            std::thread::Builder::new().spawn(move || drop(remove_generations(&directory, &others)));
        self.removal = removal.ok();
        Ok(())
    }

    fn wait_for_removal(&mut self) {
        if let Some(removal) = self.removal.take() {
            let _ = removal.join();
        }
    }

    fn others(&self) -> Result<Vec<String>, WriteError> {
        let Some(head) = &self.head else { return Ok(Vec::new()) };
        let names = self.directory.names()?.into_iter().filter_map(|name| name.into_string().ok());
        let is_other =
            |name: &String| generation_number(name).is_some_and(|number| number != head.generation);
        Ok(names.filter(is_other).collect())
    }

    /// Sets the number of keys by what the shards say, which is right even if the last writer was killed between
    /// a shard and HEAD. A shard that cannot be read makes a full sync due.
    fn recount(&mut self) {
        let counted = match self.in_force() {
            Ok(None) => return,
            Ok(Some(source)) => source.count_keys(),
            Err(error) => Err(error),
        };
        let Some(head) = &mut self.head else { return };
        match counted {
            Ok(keys) => head.keys = keys,
            Err(error) => {
                head.cursor = None;
                self.fault = Some(error);
            }
        }
    }
}

fn open_source(cache: &Path, name: &SourceName) -> Result<Directory, WriteError> {
    let root = sources::open_or_make(cache)?;
    root.make_directory(name.as_str())?;
    // This also makes the folder durable.
    sources::add(&root, name)?;
    Ok(root.open_directory(name.as_str())?)
}

fn lock(directory: &Directory) -> Result<File, WriteError> {
    let file = directory.open_lock(LOCK_FILE)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(WriteError::Locked(directory.path().to_owned())),
        Err(source) => Err(WriteError::io("lock", &directory.path().join(LOCK_FILE), source)),
    }
}

fn generation_number(name: &str) -> Option<u64> {
    name.strip_prefix('g')?.parse().ok()
}

fn remove_generations(directory: &Directory, names: &[String]) -> Result<(), WriteError> {
    names.iter().try_for_each(|name| directory.remove_directory(name))
}
