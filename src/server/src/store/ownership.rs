//! Proof of possession: keys that go to the account that holds the private key, and keys reported as compromised.

use std::time::Duration;

use jiff::Timestamp;
use pushkeys_keys::{AccountId, Fingerprint, KeyName, ValidKey};
use thiserror::Error;

use super::accounts::account_number;
use super::audit::{Actor, AuditEvent};
use super::changes::{KeyChange, Numbering};
use super::columns::{instant, now_ms};
use super::compromised::{add_compromised, is_compromised};
use super::error::StoreError;
use super::handle::Store;
use super::keys::{name_held, owner, take_key};
use super::registration::{Holder, KeyToPut, PutKeyError, Registration, holder, is_called};
use super::warnings::{WarningKind, settle, warn};
use crate::database::{Transaction, sql};

/// How long a challenge is valid.
pub(crate) const CHALLENGE_AGE_MAX: Duration = Duration::from_mins(10);
/// The most open challenges of an account; the oldest are dropped first.
const CHALLENGES_MAX: u32 = 100;

/// An open challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// The text to sign.
    pub(crate) text: String,
    /// The text of the key, as the user sent it.
    pub(crate) key_text: String,
    pub(crate) expires_at: Timestamp,
}

/// Why a key was not reported as compromised.
#[derive(Debug, Error)]
pub(crate) enum ReportKeyError {
    #[error("this account has no key of this name")]
    NoSuchKey,
    /// Otherwise anyone could permanently block another user's public key.
    #[error(
        "only an account that has proved possession of a key can report it as compromised: prove it with a POST to …/challenge, or remove the key without `compromised`"
    )]
    NotVerified,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Stores the challenge that `account` is to sign with the key of `fingerprint` and `key_text`; replaces the one before.
    /// Returns its expiry.
    pub(crate) async fn add_challenge(
        &self,
        account: &AccountId,
        fingerprint: Fingerprint,
        key_text: &str,
        challenge: &str,
    ) -> Result<Timestamp, PutKeyError> {
        let mut transaction = self.begin_write().await?;
        let number = account_number(&mut transaction, account).await?.ok_or(PutKeyError::AccountGone)?;
        drop_challenges(&mut transaction, number, fingerprint).await?;
        let expires_at = now_ms().saturating_add_unsigned(CHALLENGE_AGE_MAX.as_secs() * 1_000);
        sql("INSERT INTO challenges (account, fingerprint, text, challenge, expires_at)
             VALUES ($1, $2, $3, $4, $5)")
        .bind(number)
        .bind(fingerprint.as_bytes().as_slice())
        .bind(key_text)
        .bind(challenge)
        .bind(expires_at)
        .execute(&mut transaction)
        .await
        .map_err(StoreError::of("store a challenge"))?;
        self.commit(transaction).await?;
        Ok(instant(expires_at)?)
    }

    /// The open challenge of `account` for the key of `fingerprint`.
    pub(crate) async fn challenge(
        &self,
        account: &AccountId,
        fingerprint: Fingerprint,
    ) -> Result<Option<Challenge>, StoreError> {
        let row: Option<(String, String, i64)> =
            sql("SELECT c.challenge, c.text, c.expires_at FROM challenges c JOIN accounts a ON a.number = c.account
             WHERE a.id = $1 AND c.fingerprint = $2 AND c.expires_at > $3")
            .bind(account.as_str())
            .bind(fingerprint.as_bytes().as_slice())
            .bind(now_ms())
            .fetch_optional(&self.database)
            .await
            .map_err(StoreError::of("look up a challenge"))?;
        row.map(|(text, key_text, expires_at)| {
            Ok(Challenge { text, key_text, expires_at: instant(expires_at)? })
        })
        .transpose()
    }

    /// Registers `key` to `account`, which signed `challenge` with it. An account that had it is warned. With
    /// `may_replace`, it replaces another key of the name.
    pub(crate) async fn prove_key(
        &self,
        account: &AccountId,
        name: &KeyName,
        key: &ValidKey,
        challenge: &Challenge,
        may_replace: bool,
        actor: &Actor,
    ) -> Result<Vec<KeyChange>, PutKeyError> {
        let mut transaction = self.begin_write().await?;
        let owner = owner(&mut transaction, account).await?.ok_or(PutKeyError::AccountGone)?;
        let fingerprint = key.fingerprint();
        if !use_challenge(&mut transaction, owner.number, &challenge.text).await? {
            return Err(PutKeyError::NoChallenge);
        }
        if is_compromised(&mut transaction, fingerprint).await? {
            return Err(PutKeyError::Compromised);
        }
        let mut numbering = Numbering::default();
        let found = holder(&mut transaction, &owner, fingerprint).await?;
        settle(&mut transaction, owner.number, fingerprint).await?;
        match found {
            Holder::NoAccount => {}
            Holder::Other { account: former, name } => {
                numbering.replace(&take_entry(&mut transaction, fingerprint).await?);
                settle(&mut transaction, former, fingerprint).await?;
                warn(&mut transaction, former, WarningKind::TakenOver, fingerprint, &name, None).await?;
                let (event, actor) = (AuditEvent::KeyTakenOver, Actor::service());
                self.record(&mut transaction, former, &actor, event, &name).await?;
            }
            Holder::Owner { name: held, .. } if is_called(&held, name) => {
                verify(&mut transaction, fingerprint).await?;
                let event = AuditEvent::KeyProved;
                self.record(&mut transaction, owner.number, actor, event, &held).await?;
                self.commit(transaction).await?;
                log_proof(account, fingerprint, actor);
                return Ok(Vec::new());
            }
            Holder::Owner { name, .. } => return Err(PutKeyError::UnderAnotherName { name }),
        }
        let text = challenge.key_text.as_str();
        let verified_at = Some(now_ms());
        let wanted = KeyToPut { name, key, text, expires_at: None, may_replace };
        let new = Registration { verified_at, ..Registration::of(account, &wanted, actor) };
        self.register(&mut transaction, &owner, &new, &mut numbering).await?;
        let changes = self.commit_changes(transaction, numbering, actor).await?;
        log_proof(account, fingerprint, actor);
        Ok(changes)
    }

    /// Removes the key `name` of `account`, and bars it from being registered again.
    pub(crate) async fn report_key(
        &self,
        account: &AccountId,
        name: &str,
        actor: &Actor,
    ) -> Result<KeyChange, ReportKeyError> {
        let mut transaction = self.begin_write().await?;
        let owner = owner(&mut transaction, account).await?.ok_or(ReportKeyError::NoSuchKey)?;
        let name = name_held(&mut transaction, &owner, name).await?.ok_or(ReportKeyError::NoSuchKey)?;
        let verified_at: Option<Option<i64>> =
            sql("SELECT verified_at FROM keys WHERE account = $1 AND name = $2")
                .bind(owner.number)
                .bind(&name)
                .fetch_optional_value(&mut transaction)
                .await
                .map_err(StoreError::of("look up a key"))?;
        verified_at.ok_or(ReportKeyError::NoSuchKey)?.ok_or(ReportKeyError::NotVerified)?;
        let taken = take_key(&mut transaction, &owner, &name).await?;
        let taken = taken.ok_or(ReportKeyError::NoSuchKey)?;
        add_compromised(&mut transaction, taken.fingerprint).await?;
        let mut numbering = Numbering::default();
        numbering.remove_compromised(account.clone(), taken);
        let event = AuditEvent::KeyReported;
        self.record(&mut transaction, owner.number, actor, event, &name).await?;
        let changes = self.commit_changes(transaction, numbering, actor).await?;
        changes.into_iter().next().ok_or(ReportKeyError::NoSuchKey)
    }
}

/// Logs that `account` has proved possession of the key of `fingerprint`.
fn log_proof(account: &AccountId, fingerprint: Fingerprint, actor: &Actor) {
    let request = actor.request.as_ref().map(tracing::field::display);
    tracing::info!(%account, %fingerprint, request, "proved: `{fingerprint}` of `{account}`");
}

/// Drops challenges to make room for a new one: expired ones, the one that it replaces, and the oldest of too many.
async fn drop_challenges(
    transaction: &mut Transaction,
    account: i64,
    fingerprint: Fingerprint,
) -> Result<(), StoreError> {
    sql("DELETE FROM challenges WHERE account = $1 AND (fingerprint = $2 OR expires_at <= $3 OR number <=
             (SELECT number FROM challenges WHERE account = $1 ORDER BY number DESC LIMIT 1 OFFSET $4))")
    .bind(account)
    .bind(fingerprint.as_bytes().as_slice())
    .bind(now_ms())
    .bind(CHALLENGES_MAX - 1)
    .execute(transaction)
    .await
    .map_err(StoreError::of("drop old challenges"))?;
    Ok(())
}

async fn use_challenge(
    transaction: &mut Transaction,
    account: i64,
    challenge: &str,
) -> Result<bool, StoreError> {
    let used = sql("DELETE FROM challenges WHERE account = $1 AND challenge = $2 AND expires_at > $3")
        .bind(account)
        .bind(challenge)
        .bind(now_ms())
        .execute(transaction)
        .await
        .map_err(StoreError::of("use a challenge"))?;
    Ok(used == 1)
}

/// Removes a key without a change for hosts, since the next one names the key's new account. Returns its entry.
async fn take_entry(transaction: &mut Transaction, fingerprint: Fingerprint) -> Result<String, StoreError> {
    sql("DELETE FROM keys WHERE fingerprint = $1 RETURNING entry")
        .bind(fingerprint.as_bytes().as_slice())
        .fetch_value(transaction)
        .await
        .map_err(StoreError::of("move a key"))
}

async fn verify(transaction: &mut Transaction, fingerprint: Fingerprint) -> Result<(), StoreError> {
    sql("UPDATE keys SET verified_at = $1 WHERE fingerprint = $2")
        .bind(now_ms())
        .bind(fingerprint.as_bytes().as_slice())
        .execute(transaction)
        .await
        .map_err(StoreError::of("record a proof of possession"))?;
    Ok(())
}
