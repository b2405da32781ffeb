//! The trail of changes: a row for each, written in the transaction that makes it.

use std::net::IpAddr;

use jiff::Timestamp;
use pushkeys_keys::AccountId;

use super::columns::{from_sql, instant, ms_before, now_ms, to_sql};
use super::error::StoreError;
use super::handle::Store;
use crate::database::{Transaction, Value, many, sql};
use crate::request_id::RequestId;

/// The most rows of an account; the oldest go first.
const ROWS_PER_ACCOUNT_MAX: u32 = 10_000;
/// Old rows are looked for with every so-manieth new one.
const PRUNE_EVERY: i64 = 64;

/// The most names of imported keys in one row.
const NAMES_SHOWN_MAX: usize = 20;

/// By what a change was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Via {
    /// A page of the console.
    Console,
    /// The API, with the token of this label.
    Token(Option<String>),
    /// A command on the service's machine.
    Operator,
    /// The service itself, such as for an account whose key moves away.
    Service,
}

impl Via {
    /// The name in the database and in the log.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Token(_) => "token",
            Self::Operator => "operator",
            Self::Service => "service",
        }
    }
}

/// Who makes a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Actor {
    /// By what.
    pub(crate) via: Via,
    /// From where, as far as that is known.
    pub(crate) address: Option<IpAddr>,
    /// In which request; only the log says it.
    pub(crate) request: Option<RequestId>,
}

impl Actor {
    /// Whoever sits before a page of the console.
    pub(crate) fn console(address: Option<IpAddr>, request: Option<RequestId>) -> Self {
        Self { via: Via::Console, address, request }
    }

    /// A command on the service's machine.
    pub(crate) fn operator() -> Self {
        Self { via: Via::Operator, address: None, request: None }
    }

    /// The service itself.
    pub(crate) fn service() -> Self {
        Self { via: Via::Service, address: None, request: None }
    }

    /// As the database keeps it: by what, the token's label, and from where.
    pub(super) fn columns(&self) -> [Value; 3] {
        let label = if let Via::Token(label) = &self.via { label.as_deref() } else { None };
        [self.via.as_str().into(), label.into(), self.address.map(|address| address.to_string()).into()]
    }
}

/// What was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuditEvent {
    /// A key was registered; the subject of this and of the six after the next is the key's name.
    KeyAdded,
    /// Several keys were registered at once, each of which is in the trail, too; the subject is the list of their names.
    KeysImported,
    /// Its expiry changed.
    KeyChanged,
    /// It was removed.
    KeyRemoved,
    /// It was removed as compromised.
    KeyReported,
    /// The account proved to hold it.
    KeyProved,
    /// Another account holds it.
    KeyContested,
    /// It went to an account that proved to hold it.
    KeyTakenOver,
    /// A session began; the subject of this and of the next two is the browser's name for itself.
    SignedIn,
    /// A session was ended by its own browser.
    SignedOut,
    /// A session was ended from elsewhere.
    SessionEnded,
    /// The password was set.
    PasswordChanged,
    /// A token was issued; the subject of this and of the next is its label.
    TokenAdded,
    /// A token was revoked.
    TokenRevoked,
    /// An account elsewhere was linked; the subject of this and of the next says which.
    LinkAdded,
    /// It was unlinked.
    LinkRemoved,
}

impl AuditEvent {
    /// All of them.
    pub(crate) const ALL: [Self; 16] = [
        Self::KeyAdded,
        Self::KeysImported,
        Self::KeyChanged,
        Self::KeyRemoved,
        Self::KeyReported,
        Self::KeyProved,
        Self::KeyContested,
        Self::KeyTakenOver,
        Self::SignedIn,
        Self::SignedOut,
        Self::SessionEnded,
        Self::PasswordChanged,
        Self::TokenAdded,
        Self::TokenRevoked,
        Self::LinkAdded,
        Self::LinkRemoved,
    ];

    /// The name in the database.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::KeyAdded => "key_added",
            Self::KeysImported => "keys_imported",
            Self::KeyChanged => "key_changed",
            Self::KeyRemoved => "key_removed",
            Self::KeyReported => "key_reported",
            Self::KeyProved => "key_proved",
            Self::KeyContested => "key_contested",
            Self::KeyTakenOver => "key_taken_over",
            Self::SignedIn => "signed_in",
            Self::SignedOut => "signed_out",
            Self::SessionEnded => "session_ended",
            Self::PasswordChanged => "password_changed",
            Self::TokenAdded => "token_added",
            Self::TokenRevoked => "token_revoked",
            Self::LinkAdded => "link_added",
            Self::LinkRemoved => "link_removed",
        }
    }
}

/// One row of the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuditRow {
    /// Its place in the trail; later ones are greater.
    pub(crate) number: u64,
    /// When.
    pub(crate) at: Timestamp,
    /// What.
    pub(crate) event: AuditEvent,
    /// To what.
    pub(crate) subject: String,
    /// By whom.
    pub(crate) actor: Actor,
}

pub(super) type Row = (i64, i64, String, String, String, Option<String>, Option<String>);

impl Store {
    /// At most `limit` rows of the trail of `account`, the newest first, beginning before the row `before`.
    pub(crate) async fn audit(
        &self,
        account: &AccountId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let rows: Vec<Row> = sql("SELECT t.number, t.at, t.event, t.subject, t.via, t.via_label, t.address
             FROM audit t JOIN accounts a ON a.number = t.account
             WHERE a.id = $1 AND t.number < $2 AND t.at > $3 ORDER BY t.number DESC LIMIT $4")
        .bind(account.as_str())
        .bind(before.map_or(i64::MAX, to_sql))
        .bind(self.oldest_kept())
        .bind(limit)
        .fetch_all(&self.database)
        .await
        .map_err(StoreError::of("read the trail of changes"))?;
        rows.into_iter().map(row).collect()
    }

    /// Writes into the trail of the account of number `account` that `actor` did `event` to `subject`. Every
    /// change goes through here, so that whatever else is to be told of it can be written beside it.
    pub(super) async fn record(
        &self,
        transaction: &mut Transaction,
        account: i64,
        actor: &Actor,
        event: AuditEvent,
        subject: &str,
    ) -> Result<(), StoreError> {
        self.record_silently(transaction, actor, &[(account, event, subject)]).await?;
        self.queue_mail(transaction, account, actor, event, subject).await
    }

    /// The same of many changes, of some hundred at most, each with its account and its subject, of which no mail tells.
    pub(super) async fn record_silently(
        &self,
        transaction: &mut Transaction,
        actor: &Actor,
        rows: &[(i64, AuditEvent, &str)],
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let now = now_ms();
        let values = rows.iter().map(|&(account, event, subject)| {
            let [via, label, address] = actor.columns();
            [account.into(), now.into(), event.as_str().into(), subject.into(), via, label, address]
        });
        let numbers: Vec<i64> = many(
            "INSERT INTO audit (account, at, event, subject, via, via_label, address) {rows} RETURNING number",
            values,
        )
        .fetch_values(&mut *transaction)
        .await
        .map_err(StoreError::of("write the trail of changes"))?;
        match rows.iter().zip(numbers).find(|(_, number)| number % PRUNE_EVERY == 0) {
            Some(((account, ..), _)) => self.prune_audit(transaction, *account).await,
            None => Ok(()),
        }
    }

    /// Tells by one mail that the account of number `account` got the keys `names` at once, from the account `login` at
    /// GitHub if from there. Each of them is in the trail already.
    pub(super) async fn tell_of_import(
        &self,
        transaction: &mut Transaction,
        account: i64,
        actor: &Actor,
        names: &[&str],
        login: Option<&str>,
    ) -> Result<(), StoreError> {
        match names {
            [] => Ok(()),
            [name] => self.queue_mail(transaction, account, actor, AuditEvent::KeyAdded, name).await,
            names => {
                let subject = imported(names, login);
                self.record(transaction, account, actor, AuditEvent::KeysImported, &subject).await
            }
        }
    }

    async fn prune_audit(&self, transaction: &mut Transaction, account: i64) -> Result<(), StoreError> {
        sql("DELETE FROM audit WHERE at <= $1 OR (account = $2 AND number <=
                 (SELECT number FROM audit WHERE account = $2 ORDER BY number DESC LIMIT 1 OFFSET $3))")
        .bind(self.oldest_kept())
        .bind(account)
        .bind(ROWS_PER_ACCOUNT_MAX)
        .execute(transaction)
        .await
        .map_err(StoreError::of("drop the oldest of the trail of changes"))?;
        Ok(())
    }

    fn oldest_kept(&self) -> i64 {
        ms_before(now_ms(), self.limits.audit_age_max)
    }
}

/// The first of `names`, how many there are where that is not all, and where they came from.
fn imported(names: &[&str], login: Option<&str>) -> String {
    let shown = names.iter().take(NAMES_SHOWN_MAX).copied().collect::<Vec<_>>().join(", ");
    let text = if names.len() > NAMES_SHOWN_MAX { format!("{shown}, … ({})", names.len()) } else { shown };
    match login {
        Some(login) => format!("{text} (GitHub: {login})"),
        None => text,
    }
}

pub(super) fn row((number, at, event, subject, via, label, address): Row) -> Result<AuditRow, StoreError> {
    let event = AuditEvent::ALL.into_iter().find(|known| known.as_str() == event);
    let via = match via.as_str() {
        "console" => Via::Console,
        "token" => Via::Token(label),
        "operator" => Via::Operator,
        _ => Via::Service,
    };
    Ok(AuditRow {
        number: from_sql(number)?,
        at: instant(at)?,
        event: event.ok_or_else(|| StoreError::malformed("an event"))?,
        subject,
        actor: Actor { via, address: address.and_then(|address| address.parse().ok()), request: None },
    })
}
