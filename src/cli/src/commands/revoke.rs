//! `pushkeys revoke`: a key, or every key of an account, is refused on this host from now on.
//!
//! It replaces one file of the cache, which every lookup and every running session reads. It needs neither the service
//! nor syncd; syncd reports it to the service when both are up again, and lifts the revocation once the service agrees.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use anyhow::Result;
use clap::{ArgGroup, Args};
use pushkeys_cache::status::{RevocationReport, Status};
use pushkeys_cache::{Cache, ReadError, Revocation, Revocations, Revoked, revocations};
use pushkeys_keys::{AccountId, Fingerprint, Hint};
use serde::Serialize;
use thiserror::Error;

use crate::account::{AccountArgumentError, AccountText};
use crate::context::{Context, Outcome};
use crate::hint;
use crate::output::{count, distance, write_json};
use crate::shards::in_order;
use crate::table::Table;

const HEADER: [&str; 3] = ["REVOKED", "SINCE", "SERVICE"];

/// What to revoke.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("what").required(true).multiple(false).args(["key", "account", "list"]))]
pub(crate) struct RevokeOptions {
    /// The fingerprint, a .pub file, or the text of a key
    #[arg(value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// All keys of the account with this id or name, including those added later
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) account: Option<String>,
    /// List what is revoked, and what the key service answered
    #[arg(long)]
    pub(crate) list: bool,
    /// Lift the revocation
    #[arg(long, conflicts_with = "list")]
    pub(crate) undo: bool,
}

/// No source of this host has what should be revoked.
#[derive(Debug, Error)]
#[error("no source of this host has the {what}, so nothing was revoked")]
pub(crate) struct NothingToRevoke {
    what: Revoked,
    #[source]
    hint: Hint,
}

#[derive(Serialize)]
struct RevokeAnswer {
    revoked: String,
    changed: bool,
    /// Keys that are in force here and no longer open anything; absent where the cache could not be read.
    keys: Option<u64>,
}

#[derive(Serialize)]
struct RevocationRow {
    revoked: String,
    since: String,
    reports: Vec<RevocationReport>,
}

/// The account that `text` names: by its id, or by its name where that is known.
///
/// Nothing that cannot be read now keeps an id from being revoked.
pub(crate) fn account(context: &Context, text: &str, undo: bool) -> Result<AccountId> {
    let id: Option<AccountId> = text.parse().ok();
    let is_revoked = |id: &AccountId| {
        let all = revocations(&context.cache).unwrap_or_default();
        all.iter().any(|one| one.what == Revoked::Account(id.clone()))
    };
    if let Some(id) = id.clone().filter(|id| undo && is_revoked(id)) {
        return Ok(id);
    }
    let resolved = context
        .open()
        .map_err(anyhow::Error::from)
        .and_then(|(cache, sources)| AccountText::new(text).resolve(&cache, &sources));
    match (resolved, id) {
        (Ok(found), _) => {
            if found.as_str() != text {
                anstream::eprintln!("`{}` is account {found}", pushkeys_keys::escape(text));
            }
            Ok(found)
        }
        (Err(error), Some(id)) if !error.is::<AccountArgumentError>() => Ok(id),
        (Err(error), _) => Err(error),
    }
}

/// Revokes `what`, which a source has unless the cache cannot tell.
pub(crate) fn run(context: &Context, what: Revoked, out: &mut dyn io::Write) -> Result<Outcome> {
    let keys = match keys_of(context, &what) {
        Ok(0) => return Err(NothingToRevoke { what, hint: Hint::new("pushkeys list") }.into()),
        Ok(keys) => Some(keys),
        Err(error) => {
            // A source that cannot be read now may have the key later, and the revocation holds then.
            anstream::eprintln!(
                "warning: it is not known whether this host has the {what}: {}",
                hint::report(error.as_ref())
            );
            None
        }
    };
    let changed =
        pushkeys_cache::change_revocations(&context.cache, |all| all.add(what.clone(), context.now))?;
    if context.json {
        write_json(out, &RevokeAnswer { revoked: what.to_string(), changed, keys })?;
        return Ok(Outcome::Yes);
    }
    let keys =
        keys.map_or_else(String::new, |keys| format!(" ({} of this host)", count(keys, "key", "keys")));
    if changed {
        writeln!(
            out,
            "revoked: {what}{keys}; logins are refused from now on, and running sessions end within a second"
        )?;
        writeln!(out, "syncd reports it to the key service; `pushkeys revoke --list` shows its answer")?;
    } else {
        writeln!(out, "already revoked: {what}{keys}")?;
    }
    Ok(Outcome::Yes)
}

/// Lifts the revocation of `what`.
pub(crate) fn undo(context: &Context, what: &Revoked, out: &mut dyn io::Write) -> Result<Outcome> {
    let changed = pushkeys_cache::change_revocations(&context.cache, |all| all.remove(what))?;
    if context.json {
        write_json(out, &RevokeAnswer { revoked: what.to_string(), changed, keys: None })?;
    } else if changed {
        writeln!(out, "no longer revoked: {what}; the key service decides again")?;
    } else {
        writeln!(out, "not revoked on this host: {what}")?;
    }
    Ok(Outcome::yes_if(changed))
}

/// Writes what is revoked.
pub(crate) fn list(context: &Context, out: &mut dyn io::Write) -> Result<Outcome> {
    let revocations = revocations(&context.cache)?;
    let reports = Status::read(&context.cache).map(|status| status.reports).unwrap_or_default();
    if context.json {
        write_json(out, &rows(&revocations, &reports))?;
        return Ok(Outcome::Yes);
    }
    if revocations.is_empty() {
        writeln!(out, "nothing is revoked on this host")?;
        return Ok(Outcome::Yes);
    }
    let mut table = Table::new(HEADER);
    for (row, Revocation { since, .. }) in rows(&revocations, &reports).into_iter().zip(revocations.iter()) {
        let since = format_args!("{since} ({})", distance(*since, context.now));
        table.row([&row.revoked, &since, &told(&row.reports)]);
    }
    table.write(out)?;
    Ok(Outcome::Yes)
}

fn rows(revocations: &Revocations, reports: &[RevocationReport]) -> Vec<RevocationRow> {
    let row = |Revocation { what, since }: &Revocation| {
        let revoked = what.to_string();
        let reports = reports.iter().filter(|report| report.what == revoked).cloned().collect();
        RevocationRow { revoked, since: since.to_string(), reports }
    };
    revocations.iter().map(row).collect()
}

fn told(reports: &[RevocationReport]) -> String {
    if reports.is_empty() {
        return "not reported yet".to_owned();
    }
    let told = reports.iter().map(|report| {
        format!("{} at {}: {}", report.source, pushkeys_keys::escape(&report.told_at), report.answer.as_str())
    });
    told.collect::<Vec<_>>().join("; ")
}

/// How many keys in force `what` removes.
fn keys_of(context: &Context, what: &Revoked) -> Result<u64> {
    let (cache, _) = context.open()?;
    match what {
        Revoked::Key(fingerprint) => Ok(holders(&cache, fingerprint)?),
        Revoked::Account(account) => keys_of_account(&cache, account),
    }
}

fn holders(cache: &Cache, fingerprint: &Fingerprint) -> Result<u64, ReadError> {
    let mut found = 0;
    for one in cache.consult(fingerprint)?.sources {
        found += u64::from(one.found?.1.is_some());
    }
    Ok(found.min(1))
}

fn keys_of_account(cache: &Cache, account: &AccountId) -> Result<u64> {
    let mut found = 0;
    for name in cache.sources()? {
        let source = cache.source(&name)?;
        let start = || {
            let (source, mut buffer) = (&source, Vec::new());
            move |mut shards: Range<u32>| {
                let mut keys = BTreeMap::from([(account.to_string(), Vec::new())]);
                shards.try_for_each(|index| source.keys_of_accounts(index, &mut buffer, &mut keys))?;
                Ok(keys.values().map(Vec::len).sum::<usize>() as u64)
            }
        };
        in_order(0..source.shard_count(), start, |of_piece: Result<u64, ReadError>| {
            found += of_piece?;
            Ok(())
        })?;
    }
    Ok(found)
}
