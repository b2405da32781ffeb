//! Reports of hosts: uses of keys, and what their operators have revoked on them.
//!
//! A report dates the last use of a key, and shows a revocation to the account and to operators. It revokes no key on other
//! hosts, since the token of one host may be stolen: an operator decides that ([`Store::confirm_revocation`]).

use jiff::Timestamp;
use pushkeys_feed::{HostRevocation, RevokedAnswer, RevokedThing, Use};
use pushkeys_keys::{AccountId, Fingerprint, UseKind};

use super::audit::{Actor, AuditEvent};
use super::changes::{KeyChange, Numbering, TakenKey};
use super::columns::{account_id, fingerprint, instant, now_ms};
use super::compromised::add_compromised;
use super::error::StoreError;
use super::handle::Store;
use super::host_names::HostId;
use super::keys::StoredKey;
use crate::database::{Transaction, sql};
use crate::secret::{self, NewIdError};

/// A revocation on a host that concerns an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountRevocation {
    /// `None`: all keys of the account.
    pub(crate) key: Option<Fingerprint>,
    pub(crate) host: String,
}

impl StoredKey {
    /// The hosts on which it is revoked, according to `revocations` of its account.
    pub(crate) fn revoked_on<'a>(&self, revocations: &'a [AccountRevocation]) -> Vec<&'a str> {
        let concerning =
            revocations.iter().filter(|revocation| revocation.key.is_none_or(|key| key == self.fingerprint));
        concerning.map(|revocation| revocation.host.as_str()).collect()
    }
}

/// A revocation on a host, as operators list it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReportedRevocation {
    pub(crate) id: String,
    pub(crate) host: String,
    /// `None`: all keys of the account.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// `None`: the key is no longer registered.
    pub(crate) account: Option<AccountId>,
    /// By the host's clock.
    pub(crate) since: Timestamp,
    /// When an operator decided to keep the key.
    pub(crate) dismissed_at: Option<Timestamp>,
}

/// Uses in one transaction: users change their keys between two of them.
const USES_AT_ONCE: usize = 64;

type RevocationRow = (String, String, Option<Vec<u8>>, Option<String>, i64, Option<i64>);

/// Id, key or account, and when it was dismissed.
type StoredRow = (String, Option<Vec<u8>>, Option<String>, Option<i64>);

/// A stored revocation of a host.
struct StoredRevocation {
    id: String,
    what: RevokedThing,
    is_dismissed: bool,
}

impl Store {
    /// Records uses of keys that `host` reports, and checks among them. Unknown registrations and uses older than the
    /// recorded one are ignored. Returns the number of uses that were recorded.
    pub(crate) async fn record_uses(&self, host: &HostId, uses: &[Use]) -> Result<u64, StoreError> {
        let now = now_ms();
        let mut recorded = 0;
        for some in uses.chunks(USES_AT_ONCE) {
            let mut transaction = self.begin_write().await?;
            let Some(host) = host_name(&mut transaction, host).await? else { return Ok(recorded) };
            for one in some {
                let at = one.at.as_millisecond().min(now);
                recorded += date(&mut transaction, DATE_USE, one, at, &host).await?;
                if one.kind == UseKind::Check {
                    date(&mut transaction, DATE_CHECK, one, at, &host).await?;
                }
            }
            // This is not a change for hosts, so streams are not woken.
            transaction.commit().await.map_err(StoreError::of("commit"))?;
        }
        Ok(recorded)
    }

    /// Records `reported` as all that is revoked on `host`, and returns the answer to each.
    pub(crate) async fn record_revocations(
        &self,
        host: &HostId,
        reported: &[HostRevocation],
    ) -> Result<Vec<RevokedAnswer>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let stored = stored_revocations(&mut transaction, host).await?;
        let mut answers = Vec::with_capacity(reported.len());
        for revocation in reported {
            let known = stored.iter().find(|stored| stored.what == revocation.what);
            answers.push(match known {
                _ if !has_key(&mut transaction, &revocation.what).await? => RevokedAnswer::Settled,
                Some(StoredRevocation { is_dismissed: true, .. }) => RevokedAnswer::Dismissed,
                Some(_) => RevokedAnswer::Pending,
                None => {
                    add_revocation(&mut transaction, host, revocation).await?;
                    RevokedAnswer::Pending
                }
            });
        }
        let is_open = |stored: &&StoredRevocation| {
            reported.iter().zip(&answers).any(|(revocation, answer)| {
                revocation.what == stored.what && *answer != RevokedAnswer::Settled
            })
        };
        for stored in stored.iter().filter(|stored| !is_open(stored)) {
            drop_revocation(&mut transaction, &stored.id).await?;
        }
        transaction.commit().await.map_err(StoreError::of("commit"))?;
        Ok(answers)
    }

    /// All current revocations of hosts, the oldest first.
    pub(crate) async fn host_revocations(&self) -> Result<Vec<ReportedRevocation>, StoreError> {
        let rows: Vec<RevocationRow> =
            sql("SELECT r.id, h.name, r.fingerprint, a.id, r.since, r.dismissed_at
             FROM host_revocations r JOIN hosts h ON h.id = r.host
             LEFT JOIN keys k ON k.fingerprint = r.fingerprint
             LEFT JOIN accounts a ON a.number = r.account OR a.number = k.account
             ORDER BY r.number")
            .fetch_all(&self.database)
            .await
            .map_err(StoreError::of("list revocations of hosts"))?;
        rows.into_iter().map(reported_revocation).collect()
    }

    /// Removes what a host has revoked from the service, and so from every host, and bars it from being registered again.
    /// Returns the changes for hosts. `None`: there is no revocation `id`.
    pub(crate) async fn confirm_revocation(&self, id: &str) -> Result<Option<Vec<KeyChange>>, StoreError> {
        let mut transaction = self.begin_write().await?;
        let Some(what) = revocation(&mut transaction, id).await? else { return Ok(None) };
        let mut numbering = Numbering::default();
        let actor = Actor::operator();
        for RevokedKey { number, account, name, taken } in take_keys(&mut transaction, &what).await? {
            self.record(&mut transaction, number, &actor, AuditEvent::KeyReported, &name).await?;
            add_compromised(&mut transaction, taken.fingerprint).await?;
            numbering.remove_compromised(account, taken);
        }
        drop_revocation(&mut transaction, id).await?;
        Ok(Some(self.commit_changes(transaction, numbering, &actor).await?))
    }

    /// Keeps what a host has revoked. There it stays revoked until the operator undoes it. `false`: there is no revocation
    /// `id`.
    pub(crate) async fn dismiss_revocation(&self, id: &str) -> Result<bool, StoreError> {
        let done = sql("UPDATE host_revocations SET dismissed_at = $1 WHERE id = $2")
            .bind(now_ms())
            .bind(id)
            .execute(&self.database)
            .await
            .map_err(StoreError::of("dismiss a revocation"))?;
        Ok(done > 0)
    }

    /// The revocations that concern `account`, in the order of the hosts' names.
    pub(crate) async fn account_revocations(
        &self,
        account: &AccountId,
    ) -> Result<Vec<AccountRevocation>, StoreError> {
        let rows: Vec<(Option<Vec<u8>>, String)> = sql("SELECT r.fingerprint, h.name FROM host_revocations r
             JOIN hosts h ON h.id = r.host
             LEFT JOIN keys k ON k.fingerprint = r.fingerprint
             JOIN accounts a ON a.number = r.account OR a.number = k.account
             WHERE a.id = $1 ORDER BY h.name")
        .bind(account.as_str())
        .fetch_all(&self.database)
        .await
        .map_err(StoreError::of("list revocations of an account"))?;
        rows.into_iter()
            .map(|(digest, host)| {
                let key = digest.as_deref().map(fingerprint).transpose()?;
                Ok(AccountRevocation { key, host })
            })
            .collect()
    }
}

async fn host_name(transaction: &mut Transaction, host: &HostId) -> Result<Option<String>, StoreError> {
    sql("SELECT name FROM hosts WHERE id = $1")
        .bind(host.to_string())
        .fetch_optional_value(transaction)
        .await
        .map_err(StoreError::of("find a host"))
}

/// Dates only move forward. A check updates the row that the use of the same moment has written.
const DATE_USE: &str = "INSERT INTO key_uses (key, used_at, used_host)
    SELECT number, $1, $2 FROM keys WHERE fingerprint = $3 AND id = $4
    ON CONFLICT (key) DO UPDATE SET used_at = excluded.used_at, used_host = excluded.used_host
    WHERE key_uses.used_at < excluded.used_at";
const DATE_CHECK: &str = "UPDATE key_uses SET checked_at = $1, checked_host = $2
    WHERE key = (SELECT number FROM keys WHERE fingerprint = $3 AND id = $4)
    AND (checked_at IS NULL OR checked_at < $1)";

/// Runs one of the two; returns the number of rows written.
async fn date(
    transaction: &mut Transaction,
    statement: &'static str,
    one: &Use,
    at: i64,
    host: &str,
) -> Result<u64, StoreError> {
    sql(statement)
        .bind(at)
        .bind(host)
        .bind(one.fingerprint.as_bytes().as_slice())
        .bind(one.key_id.as_str())
        .execute(transaction)
        .await
        .map_err(StoreError::of("date a key's use"))
}

async fn stored_revocations(
    transaction: &mut Transaction,
    host: &HostId,
) -> Result<Vec<StoredRevocation>, StoreError> {
    let rows: Vec<StoredRow> = sql("SELECT r.id, r.fingerprint, a.id, r.dismissed_at FROM host_revocations r
             LEFT JOIN accounts a ON a.number = r.account WHERE r.host = $1")
    .bind(host.to_string())
    .fetch_all(transaction)
    .await
    .map_err(StoreError::of("look up a host's revocations"))?;
    rows.into_iter()
        .map(|(id, digest, account, dismissed_at)| {
            Ok(StoredRevocation { id, what: thing(digest, account)?, is_dismissed: dismissed_at.is_some() })
        })
        .collect()
}

fn thing(digest: Option<Vec<u8>>, account: Option<String>) -> Result<RevokedThing, StoreError> {
    match (digest, account) {
        (Some(digest), _) => Ok(RevokedThing::Fingerprint(fingerprint(&digest)?)),
        (None, Some(account)) => Ok(RevokedThing::Account(account_id(&account)?)),
        (None, None) => Err(StoreError::malformed("a revocation")),
    }
}

/// Whether the service has a key that is revoked by `what`.
async fn has_key(transaction: &mut Transaction, what: &RevokedThing) -> Result<bool, StoreError> {
    let query = match what {
        RevokedThing::Fingerprint(fingerprint) => {
            sql("SELECT number FROM keys WHERE fingerprint = $1").bind(fingerprint.as_bytes().as_slice())
        }
        RevokedThing::Account(account) => {
            sql("SELECT k.number FROM keys k JOIN accounts a ON a.number = k.account
             WHERE a.id = $1 LIMIT 1")
            .bind(account.as_str())
        }
    };
    let found: Option<i64> =
        query.fetch_optional_value(transaction).await.map_err(StoreError::of("look up a revoked key"))?;
    Ok(found.is_some())
}

async fn add_revocation(
    transaction: &mut Transaction,
    host: &HostId,
    HostRevocation { what, since }: &HostRevocation,
) -> Result<(), StoreError> {
    let id = secret::random_id("rvk").map_err(NewIdError::from)?;
    let (digest, account) = match what {
        RevokedThing::Fingerprint(fingerprint) => (Some(fingerprint.as_bytes().as_slice()), None),
        RevokedThing::Account(account) => (None, Some(account.as_str())),
    };
    sql("INSERT INTO host_revocations (id, host, fingerprint, account, since)
         VALUES ($1, $2, $3, (SELECT number FROM accounts WHERE id = $4), $5)")
    .bind(id)
    .bind(host.to_string())
    .bind(digest)
    .bind(account)
    .bind(since.as_millisecond())
    .execute(transaction)
    .await
    .map_err(StoreError::of("record a host's revocation"))?;
    Ok(())
}

async fn drop_revocation(transaction: &mut Transaction, id: &str) -> Result<(), StoreError> {
    sql("DELETE FROM host_revocations WHERE id = $1")
        .bind(id)
        .execute(transaction)
        .await
        .map_err(StoreError::of("drop a host's revocation"))?;
    Ok(())
}

async fn revocation(transaction: &mut Transaction, id: &str) -> Result<Option<RevokedThing>, StoreError> {
    let row: Option<(Option<Vec<u8>>, Option<String>)> =
        sql("SELECT r.fingerprint, a.id FROM host_revocations r
             LEFT JOIN accounts a ON a.number = r.account WHERE r.id = $1")
        .bind(id)
        .fetch_optional(transaction)
        .await
        .map_err(StoreError::of("look up a revocation"))?;
    row.map(|(digest, account)| thing(digest, account)).transpose()
}

/// A key that a confirmed revocation removes.
struct RevokedKey {
    /// The number of its account.
    number: i64,
    account: AccountId,
    name: String,
    taken: TakenKey,
}

/// Removes the keys of `what`, and returns them.
async fn take_keys(
    transaction: &mut Transaction,
    what: &RevokedThing,
) -> Result<Vec<RevokedKey>, StoreError> {
    let query = match what {
        RevokedThing::Fingerprint(fingerprint) => sql("DELETE FROM keys WHERE fingerprint = $1
             RETURNING account, (SELECT a.id FROM accounts a WHERE a.number = keys.account), name, id, fingerprint, entry")
        .bind(fingerprint.as_bytes().as_slice()),
        RevokedThing::Account(account) => sql("DELETE FROM keys
             WHERE account = (SELECT number FROM accounts WHERE id = $1)
             RETURNING account, (SELECT a.id FROM accounts a WHERE a.number = keys.account), name, id, fingerprint, entry")
        .bind(account.as_str()),
    };
    let rows: Vec<(i64, String, String, String, Vec<u8>, String)> =
        query.fetch_all(transaction).await.map_err(StoreError::of("remove revoked keys"))?;
    rows.into_iter()
        .map(|(number, account, name, key, fingerprint, entry)| {
            let taken = TakenKey::of((key, fingerprint, entry))?;
            Ok(RevokedKey { number, account: account_id(&account)?, name, taken })
        })
        .collect()
}

fn reported_revocation(row: RevocationRow) -> Result<ReportedRevocation, StoreError> {
    let (id, host, digest, account, since, dismissed_at) = row;
    Ok(ReportedRevocation {
        id,
        host,
        fingerprint: digest.as_deref().map(fingerprint).transpose()?,
        account: account.as_deref().map(account_id).transpose()?,
        since: instant(since)?,
        dismissed_at: dismissed_at.map(instant).transpose()?,
    })
}
