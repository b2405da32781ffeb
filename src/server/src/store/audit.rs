//! The audit log: a row for each change, written in its transaction.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use pushkeys_keys::AccountId;

use super::columns::{from_sql, instant, ms_before, now_ms, to_sql};
use super::error::StoreError;
use super::handle::Store;
use crate::database::{Transaction, Value, many, sql};
use crate::request_id::RequestId;

/// Old rows are looked for after this number of new ones.
const PRUNE_EVERY: i64 = 64;
/// Changes of one account in a day that have a row each. Later ones of that day are counted in a row for each kind, actor and
/// hour, so no row has to go before its time, whatever an account or a stolen token of it does.
const ROWS_PER_DAY_MAX: u32 = 1_000;
const DAY: Duration = Duration::from_hours(24);
const HOUR: Duration = Duration::from_hours(1);
/// Changes of one account in an hour from which on mails tell of several.
const BUSY_ROWS: u32 = 20;

/// The most names of imported keys in one row.
const NAMES_SHOWN_MAX: usize = 20;

/// How a change was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Via {
    /// A page of the console.
    Console,
    /// The API, with the token that has this label.
    Token(Option<String>),
    /// A command on the service's machine.
    Operator,
    /// The service itself, such as for an account whose key was taken over.
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
    pub(crate) via: Via,
    /// The client's address, if known.
    pub(crate) address: Option<IpAddr>,
    /// The request, which only the log names.
    pub(crate) request: Option<RequestId>,
}

impl Actor {
    pub(crate) fn console(address: Option<IpAddr>, request: Option<RequestId>) -> Self {
        Self { via: Via::Console, address, request }
    }

    pub(crate) fn operator() -> Self {
        Self { via: Via::Operator, address: None, request: None }
    }

    pub(crate) fn service() -> Self {
        Self { via: Via::Service, address: None, request: None }
    }

    /// The columns `via`, `via_label` and `address`.
    pub(super) fn columns(&self) -> [Value; 3] {
        let label = if let Via::Token(label) = &self.via { label.as_deref() } else { None };
        [self.via.as_str().into(), label.into(), self.address.map(|address| address.to_string()).into()]
    }
}

/// A kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuditEvent {
    /// A key was registered. The subject of all events about one key is its name.
    KeyAdded,
    /// Several keys were registered at once, each with its own row; the subject is the list of their names.
    KeysImported,
    /// The expiry of a key changed.
    KeyChanged,
    KeyRemoved,
    /// A key was removed as compromised.
    KeyReported,
    /// The account proved possession of a key.
    KeyProved,
    /// A key was refused since another account has it.
    KeyContested,
    /// A key went to another account that proved possession of it.
    KeyTakenOver,
    /// A session began. The subject of events about sessions is the browser's `User-Agent`.
    SignedIn,
    /// A session was ended by its own browser.
    SignedOut,
    /// A session was ended from elsewhere.
    SessionEnded,
    PasswordChanged,
    /// A token was issued. The subject of events about tokens is the label.
    TokenAdded,
    TokenRevoked,
    /// An external account was linked. The subject of events about links names it.
    LinkAdded,
    LinkRemoved,
}

impl AuditEvent {
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

/// A row of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuditRow {
    /// How many more changes of its kind by its actor it stands for.
    pub(crate) repeats: u64,
    /// Greater than that of older rows.
    pub(crate) number: u64,
    pub(crate) at: Timestamp,
    pub(crate) event: AuditEvent,
    pub(crate) subject: String,
    pub(crate) actor: Actor,
}

pub(super) type AuditColumns = (i64, i64, String, String, String, Option<String>, Option<String>, i64);

impl Store {
    /// At most `limit` rows about `account`, the newest first, from before the row `before`.
    pub(crate) async fn audit(
        &self,
        account: &AccountId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let rows: Vec<AuditColumns> =
            sql("SELECT t.number, t.at, t.event, t.subject, t.via, t.via_label, t.address, t.repeats
             FROM audit t JOIN accounts a ON a.number = t.account
             WHERE a.id = $1 AND t.number < $2 AND t.at > $3 ORDER BY t.number DESC LIMIT $4")
            .bind(account.as_str())
            .bind(before.map_or(i64::MAX, to_sql))
            .bind(self.oldest_kept())
            .bind(limit)
            .fetch_all(&self.database)
            .await
            .map_err(StoreError::of("read the audit log"))?;
        rows.into_iter().map(row).collect()
    }

    /// Writes a row about the account of number `account`, and queues a mail about it. Every change of one thing is recorded
    /// here.
    pub(super) async fn record(
        &self,
        transaction: &mut Transaction,
        account: i64,
        actor: &Actor,
        event: AuditEvent,
        subject: &str,
    ) -> Result<(), StoreError> {
        let is_repeat = self.count_repeat(transaction, account, actor, event).await?;
        if !is_repeat {
            self.record_silently(transaction, actor, &[(account, event, subject)]).await?;
        }
        self.queue_mail(transaction, account, actor, event, subject).await
    }

    /// Writes rows for some hundred changes at most, each with account, event and subject, and queues no mail.
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
        .map_err(StoreError::of("write the audit log"))?;
        if numbers.iter().any(|number| number % PRUNE_EVERY == 0) {
            self.prune_audit(transaction).await?;
        }
        Ok(())
    }

    /// Queues one mail for the keys `names`, which the account of number `account` got at once and each of which has its
    /// row. `login` is the GitHub account that they come from.
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

    /// Counts a change in the row of an earlier one, if the account of number `account` has had many today. `false`: it needs
    /// a row of its own.
    async fn count_repeat(
        &self,
        transaction: &mut Transaction,
        account: i64,
        actor: &Actor,
        event: AuditEvent,
    ) -> Result<bool, StoreError> {
        let now = now_ms();
        let earlier = nth_last(transaction, account, ROWS_PER_DAY_MAX).await?;
        let Some((number, _)) = earlier.filter(|(_, at)| *at > ms_before(now, DAY)) else { return Ok(false) };
        let [via, label, _] = actor.columns();
        let counted = sql("UPDATE audit SET repeats = repeats + 1 WHERE number =
             (SELECT max(number) FROM audit WHERE account = $1 AND number > $2 AND at > $3 AND event = $4
              AND via = $5 AND via_label IS NOT DISTINCT FROM $6)")
        .bind(account)
        .bind(number)
        .bind(ms_before(now, HOUR))
        .bind(event.as_str())
        .bind(via)
        .bind(label)
        .execute(transaction)
        .await
        .map_err(StoreError::of("write the audit log"))?;
        Ok(counted == 1)
    }

    async fn prune_audit(&self, transaction: &mut Transaction) -> Result<(), StoreError> {
        sql("DELETE FROM audit WHERE at <= $1")
            .bind(self.oldest_kept())
            .execute(transaction)
            .await
            .map_err(StoreError::of("drop old rows of the audit log"))?;
        Ok(())
    }

    fn oldest_kept(&self) -> i64 {
        ms_before(now_ms(), self.limits.audit_age_max)
    }
}

/// Number and time of the row before the last `count` ones of the account of number `account`.
async fn nth_last(
    transaction: &mut Transaction,
    account: i64,
    count: u32,
) -> Result<Option<(i64, i64)>, StoreError> {
    sql("SELECT number, at FROM audit WHERE account = $1 ORDER BY number DESC LIMIT 1 OFFSET $2")
        .bind(account)
        .bind(count)
        .fetch_optional(transaction)
        .await
        .map_err(StoreError::of("read the audit log"))
}

/// Whether the account of number `account` has had so many changes that mails tell of several of them.
pub(super) async fn is_busy(transaction: &mut Transaction, account: i64) -> Result<bool, StoreError> {
    let now = now_ms();
    let of_hour = nth_last(transaction, account, BUSY_ROWS).await?;
    let of_day = nth_last(transaction, account, ROWS_PER_DAY_MAX).await?;
    let is_since = |row: Option<(i64, i64)>, time| row.is_some_and(|(_, at)| at > ms_before(now, time));
    Ok(is_since(of_hour, HOUR) || is_since(of_day, DAY))
}

/// The first of `names`, their number if those are not all, and the GitHub account.
fn imported(names: &[&str], login: Option<&str>) -> String {
    let shown = names.iter().take(NAMES_SHOWN_MAX).copied().collect::<Vec<_>>().join(", ");
    let text = if names.len() > NAMES_SHOWN_MAX { format!("{shown}, … ({})", names.len()) } else { shown };
    match login {
        Some(login) => format!("{text} (GitHub: {login})"),
        None => text,
    }
}

pub(super) fn row(
    (number, at, event, subject, via, label, address, repeats): AuditColumns,
) -> Result<AuditRow, StoreError> {
    let event = AuditEvent::ALL.into_iter().find(|known| known.as_str() == event);
    let via = match via.as_str() {
        "console" => Via::Console,
        "token" => Via::Token(label),
        "operator" => Via::Operator,
        _ => Via::Service,
    };
    Ok(AuditRow {
        number: from_sql(number)?,
        repeats: from_sql(repeats)?,
        at: instant(at)?,
        event: event.ok_or_else(|| StoreError::malformed("an event"))?,
        subject,
        actor: Actor { via, address: address.and_then(|address| address.parse().ok()), request: None },
    })
}
