//! The history of changes: its epoch, its chain, and the proof that the database still has what was seen of it.
//!
//! The numbers of changes continue from an older state after a restore or a failover that loses commits, so that a number alone
//! could stand for another change than the one that a host has. Each change therefore has a chain value over all changes of the
//! epoch. This process remembers the last position that it has seen or written, and hosts name theirs. If the database does not
//! have such a position, a new epoch begins before anything else is numbered, and every host takes a snapshot. A lossy failover,
//! a restored dump, a copied and an overwritten file are one case.

use std::cmp::Ordering;
use std::sync::atomic::{AtomicU64, Ordering as AtomicOrdering};
use std::time::Duration;

use pushkeys_feed::{Chain, Cursor, Entry, Epoch, EventId, KeyDigest, KeySum, Position};

use super::columns::{chain, from_sql, key_sum, now_ms, position, to_sql};
use super::error::StoreError;
use super::handle::Store;
use crate::database::{BACKUP, On, Transaction, sql};
use crate::secret;

/// How far the clock of the service that began a host's epoch may be ahead of ours: a host that names a later one is not believed,
/// since it could name the last epoch that there can be.
const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_mins(10);
/// Keys that are read at once for their digest.
const KEYS_PER_READ: u32 = 1_000;

/// Epochs that were begun since this process began, because changes were lost.
static EPOCHS_BEGUN: AtomicU64 = AtomicU64::new(0);

/// Epochs that this process has begun because changes were lost.
pub(crate) fn epochs_begun() -> u64 {
    EPOCHS_BEGUN.load(AtomicOrdering::Relaxed)
}

/// What the database has at a number of its epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AtNumber {
    /// A change with this chain value after it.
    Chain(Chain),
    /// A change that is no longer kept.
    Pruned,
    /// No change yet.
    Missing,
}

/// The state of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FeedState {
    /// The epoch of the database, the number of the last change, and the chain value after it.
    pub(crate) head: Position,
    /// All keys after the last change.
    pub(crate) sum: KeySum,
    /// The number of the last change that is no longer kept; hosts can resume from there.
    pub(crate) pruned: u64,
    /// Grows when hosts or their credentials change.
    pub(crate) hosts_version: u64,
}

impl FeedState {
    pub(super) async fn read(on: impl On<'_>) -> Result<Self, StoreError> {
        type StateRow = (String, i64, Option<Vec<u8>>, Option<i64>, Option<String>, i64, i64);
        let row: StateRow =
            sql("SELECT epoch, sequence, chain, keys, digest, pruned, hosts_version FROM service")
                .fetch_one(on)
                .await
                .map_err(StoreError::of("read the state of the feed"))?;
        let (epoch, sequence, chain, keys, digest, pruned, hosts_version) = row;
        let missing = || StoreError::malformed("a history without a chain");
        Ok(Self {
            head: position(&epoch, sequence, chain.as_deref().ok_or_else(missing)?)?,
            sum: key_sum(keys.ok_or_else(missing)?, &digest.ok_or_else(missing)?)?,
            pruned: from_sql(pruned)?,
            hosts_version: from_sql(hosts_version)?,
        })
    }

    /// Whether `position` is certainly not in this history, of which `at` is what is at its number.
    fn has_lost(&self, position: &EventId, at: &AtNumber) -> bool {
        let epoch = &self.head.cursor.epoch;
        match epoch.cmp(&position.cursor.epoch) {
            // Another replica, or the operator, has begun a new epoch.
            Ordering::Greater => false,
            Ordering::Less => true,
            Ordering::Equal => match (at, position.chain) {
                (AtNumber::Missing, _) => true,
                (AtNumber::Chain(chain), Some(prefix)) => chain.prefix() != prefix,
                (AtNumber::Chain(_), None) | (AtNumber::Pruned, _) => false,
            },
        }
    }
}

impl Store {
    /// Begins a new epoch, so that every host takes a snapshot.
    pub(crate) async fn begin_epoch(&self) -> Result<Epoch, StoreError> {
        let mut transaction = self.begin_write().await?;
        let state = FeedState::read(&mut transaction).await?;
        let state = renew(&mut transaction, state, self.last_seen.get().as_ref()).await?;
        self.commit_epoch(transaction, &state.head).await?;
        Ok(state.head.cursor.epoch)
    }

    /// Begins a new epoch if the database does not have what this process has seen. `false`: it has, or another replica has begun
    /// one.
    pub(crate) async fn begin_epoch_if_lost(&self, seen: &Position) -> Result<bool, StoreError> {
        // Only the writer lock makes sure that this is not a lagging replica of the database.
        let mut transaction = self.begin_write().await?;
        let (state, is_new) = verified(&mut transaction, seen).await?;
        if is_new {
            self.commit_epoch(transaction, &state.head).await?;
        }
        Ok(is_new)
    }

    /// Begins a new epoch if a host names a position that the database does not have: changes that were confirmed are lost, and
    /// the host must refuse older snapshots of an epoch that it knows. `false`: the database has it.
    pub(crate) async fn begin_epoch_for_host(&self, id: &EventId) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let state = FeedState::read(&mut transaction).await?;
        if !self.has_lost(&mut transaction, &state, id).await? {
            return Ok(false);
        }
        let state = renew(&mut transaction, state, Some(&id.cursor.clone().into())).await?;
        self.commit_epoch(transaction, &state.head).await?;
        EPOCHS_BEGUN.fetch_add(1, AtomicOrdering::Relaxed);
        Ok(true)
    }

    /// The last position that this process has seen or written.
    pub(crate) fn last_seen(&self) -> Option<Position> {
        self.last_seen.get()
    }

    /// Remembers that this process has seen the database at `position`.
    pub(crate) fn saw(&self, position: &Position) {
        self.last_seen.advance(position);
    }

    /// Whether a host that names `id` makes it likely that changes were lost. [`Store::begin_epoch_for_host`] is certain of it.
    pub(crate) async fn may_have_lost(&self, state: &FeedState, id: &EventId) -> Result<bool, StoreError> {
        let at = at_number(&self.database, state, id.cursor.sequence).await?;
        Ok(is_credible(state, id) && state.has_lost(id, &at))
    }

    /// The position that `id` names, if a host that is there can resume. Its chain value is unknown if the host names none and its
    /// last change is no longer kept.
    pub(crate) async fn resume_position(
        &self,
        state: &FeedState,
        id: &EventId,
    ) -> Result<Option<Position>, StoreError> {
        if id.cursor.epoch != state.head.cursor.epoch {
            return Ok(None);
        }
        let position = match at_number(&self.database, state, id.cursor.sequence).await? {
            AtNumber::Chain(chain) => Position { cursor: id.cursor.clone(), chain: Some(chain) },
            AtNumber::Pruned if id.cursor.sequence == state.pruned && id.chain.is_none() => {
                id.cursor.clone().into()
            }
            // Where the epoch begins there is no change.
            AtNumber::Pruned if id.cursor.sequence == state.pruned => Position::start(id.cursor.clone()),
            AtNumber::Pruned | AtNumber::Missing => return Ok(None),
        };
        Ok(Some(position).filter(|position| position.is(id)))
    }

    async fn has_lost(
        &self,
        transaction: &mut Transaction,
        state: &FeedState,
        id: &EventId,
    ) -> Result<bool, StoreError> {
        let at = at_number(transaction, state, id.cursor.sequence).await?;
        Ok(is_credible(state, id) && state.has_lost(id, &at))
    }

    /// Prepares the history of a database that was just opened: begins an epoch if it is new, was migrated to chained changes, or
    /// is a copy made by `backup`. Returns the epoch then.
    pub(super) async fn prepare_history(&self) -> Result<Option<Epoch>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let (epoch, sequence, origin, chain): (String, i64, String, Option<Vec<u8>>) =
            sql("SELECT epoch, sequence, origin, chain FROM service")
                .fetch_one(&mut transaction)
                .await
                .map_err(StoreError::of("read the history"))?;
        if chain.is_some() && origin != BACKUP {
            return Ok(None);
        }
        if chain.is_none() {
            let sum = sum_of_keys(&mut transaction).await?;
            let before = super::columns::cursor(&epoch, sequence)?;
            write_head(&mut transaction, &Position::start(before), 0, &sum).await?;
        }
        let state = FeedState::read(&mut transaction).await?;
        let state = renew(&mut transaction, state, None).await?;
        self.commit_epoch(transaction, &state.head).await?;
        Ok(Some(state.head.cursor.epoch))
    }

    async fn commit_epoch(&self, transaction: Transaction, head: &Position) -> Result<(), StoreError> {
        self.commit(transaction).await?;
        self.last_seen.advance(head);
        Ok(())
    }
}

/// Whether the epoch that a host names may have been begun by this service: a text that is none of ours, or a time that has not
/// come, says nothing about what was lost.
fn is_credible(state: &FeedState, id: &EventId) -> bool {
    let now_ms = u64::try_from(now_ms()).unwrap_or(0);
    let latest_ms = now_ms.saturating_add(u64::try_from(CLOCK_DIFFERENCE_MAX.as_millis()).unwrap_or(0));
    let epoch = &id.cursor.epoch;
    *epoch == state.head.cursor.epoch
        || epoch.began_at_ms().is_some_and(|began_at_ms| began_at_ms <= latest_ms)
}

/// The state of the feed for a transaction that holds the writer lock; with a new epoch, which is not committed yet, if the
/// database does not have what this process has `seen`.
pub(super) async fn verified(
    transaction: &mut Transaction,
    seen: &Position,
) -> Result<(FeedState, bool), StoreError> {
    let state = FeedState::read(&mut *transaction).await?;
    let at = at_number(&mut *transaction, &state, seen.cursor.sequence).await?;
    if !state.has_lost(&seen.id(), &at) {
        return Ok((state, false));
    }
    tracing::error!(seen = %seen.id(), found = %state.head.id(), "the database lost changes that this process has seen: a new epoch begins, and every host takes a snapshot");
    EPOCHS_BEGUN.fetch_add(1, AtomicOrdering::Relaxed);
    Ok((renew(transaction, state, Some(seen)).await?, true))
}

/// What the database has at the number `sequence` of the epoch of `state`.
pub(super) async fn at_number(
    on: impl On<'_>,
    state: &FeedState,
    sequence: u64,
) -> Result<AtNumber, StoreError> {
    match (sequence.cmp(&state.head.cursor.sequence), &state.head.chain) {
        (Ordering::Greater, _) => return Ok(AtNumber::Missing),
        (Ordering::Equal, Some(chain)) => return Ok(AtNumber::Chain(*chain)),
        _ => {}
    }
    let found: Option<Vec<u8>> = sql("SELECT chain FROM changes WHERE sequence = $1")
        .bind(to_sql(sequence))
        .fetch_optional_value(on)
        .await
        .map_err(StoreError::of("look up a change"))?;
    Ok(found.as_deref().map(chain).transpose()?.map_or(AtNumber::Pruned, AtNumber::Chain))
}

/// Begins an epoch after that of `state` and that of `seen`.
pub(super) async fn renew(
    transaction: &mut Transaction,
    mut state: FeedState,
    seen: Option<&Position>,
) -> Result<FeedState, StoreError> {
    let before = &state.head.cursor.epoch;
    let known = seen.map(|seen| &seen.cursor.epoch).filter(|epoch| epoch.began_at_ms().is_some());
    let latest = known.filter(|known| known.began_at_ms() > before.began_at_ms()).unwrap_or(before);
    let now_ms = u64::try_from(now_ms()).unwrap_or(0);
    let epoch = Epoch::new(now_ms, secret::random_bytes().map_err(secret::NewIdError::from)?, Some(latest));
    let sequence = state.head.cursor.sequence;
    state.head = Position::start(Cursor { epoch, sequence });
    state.pruned = sequence;
    write_head(transaction, &state.head, state.pruned, &state.sum).await?;
    for statement in ["UPDATE service SET origin = ''", "DELETE FROM changes"] {
        sql(statement).execute(&mut *transaction).await.map_err(StoreError::of("begin a new epoch"))?;
    }
    Ok(state)
}

/// Writes the end of the history, with the writer lock.
pub(super) async fn write_head(
    transaction: &mut Transaction,
    head: &Position,
    pruned: u64,
    sum: &KeySum,
) -> Result<(), StoreError> {
    sql("UPDATE service SET epoch = $1, sequence = $2, chain = $3, pruned = $4, keys = $5, digest = $6")
        .bind(head.cursor.epoch.as_str())
        .bind(to_sql(head.cursor.sequence))
        .bind(head.chain.as_ref().map(|chain| chain.as_bytes().to_vec()))
        .bind(to_sql(pruned))
        .bind(to_sql(sum.keys))
        .bind(sum.digest.to_string())
        .execute(transaction)
        .await
        .map_err(StoreError::of("number a change"))?;
    Ok(())
}

/// Number and digest of all keys in the table.
pub(super) async fn sum_of_keys(transaction: &mut Transaction) -> Result<KeySum, StoreError> {
    let (mut sum, mut after) = (KeySum::default(), Vec::new());
    loop {
        let rows: Vec<(Vec<u8>, String)> =
            sql("SELECT fingerprint, entry FROM keys WHERE fingerprint > $1 ORDER BY fingerprint LIMIT $2")
                .bind(after.as_slice())
                .bind(KEYS_PER_READ)
                .fetch_all(&mut *transaction)
                .await
                .map_err(StoreError::of("compute the digest of all keys"))?;
        let Some((last, _)) = rows.last() else { return Ok(sum) };
        after.clone_from(last);
        rows.iter().filter_map(|(_, entry)| digest_of(entry)).for_each(|digest| sum.add(digest));
    }
}

/// The digest of the key in `entry`; `None` if a host could not read it either.
pub(super) fn digest_of(entry: &str) -> Option<KeyDigest> {
    Entry::from_json(entry.as_bytes()).ok().map(|entry| entry.key_digest())
}
