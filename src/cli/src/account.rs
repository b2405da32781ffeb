//! An account as it is named on the command line: by its id, or by the name that its users know.

use std::collections::BTreeSet;
use std::ops::Range;

use anyhow::Result;
use pushkeys_cache::{Cache, EntryLine};
use pushkeys_keys::{AccountId, Hint, SourceName};
use thiserror::Error;

use crate::context::check_replaced;
use crate::shards::in_order;

/// A name that is less like the text than this (of 1) is not what was meant.
const LIKENESS_MIN: f64 = 0.8;
/// How many accounts of one name are named.
const NAMED_MAX: usize = 5;

/// Why a text names no account.
#[derive(Debug, Error)]
pub(crate) enum AccountArgumentError {
    #[error("no source of this host has an account with the id or name `{text}`")]
    Unknown {
        text: String,
        #[source]
        hint: Hint,
    },
    #[error("`{text}` is the name of several accounts: {}", .ids.join(", "))]
    Ambiguous {
        text: String,
        ids: Vec<String>,
        #[source]
        hint: Hint,
    },
}

/// Whether `error` says that no account is meant, as far as can be known.
pub(crate) fn is_unknown(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(AccountArgumentError::Unknown { .. }))
}

/// The text of an account on the command line, to be compared with lines of the cache as they stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountText {
    text: String,
    escaped: String,
}

impl AccountText {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), escaped: pushkeys_keys::escape(text).into_owned() }
    }

    /// Whether `line` is of the account with this id or name.
    pub(crate) fn matches(&self, line: &EntryLine<'_>) -> bool {
        line.account == self.text || self.is_name_of(line)
    }

    fn is_name_of(&self, line: &EntryLine<'_>) -> bool {
        !self.escaped.is_empty() && line.account_name == self.escaped
    }

    /// The account that is meant: the one with this id, or else the only one with this name.
    pub(crate) fn resolve(&self, cache: &Cache, sources: &[SourceName]) -> Result<AccountId> {
        let mut ids = BTreeSet::new();
        read(
            cache,
            sources,
            BTreeSet::new,
            |found, line| {
                if self.matches(line) {
                    found.insert(line.account.to_owned());
                }
            },
            |found| ids.extend(found),
        )?;
        let text = || self.text.clone();
        if ids.contains(&self.text) {
            return Ok(self.text.parse()?);
        }
        let mut ids: Vec<String> = ids.into_iter().collect();
        match ids.as_slice() {
            [] => Err(self.unknown(cache, sources).into()),
            [id] => Ok(id.parse()?),
            _ => {
                ids.truncate(NAMED_MAX);
                let hint = Hint::new("name one of them by its id");
                Err(AccountArgumentError::Ambiguous { text: text(), ids, hint }.into())
            }
        }
    }

    /// That there is no such account, with the one that may have been meant.
    fn unknown(&self, cache: &Cache, sources: &[SourceName]) -> AccountArgumentError {
        let mut nearest = None;
        let read = read(
            cache,
            sources,
            || None,
            |nearest, line| self.nearer(nearest, line),
            |found| {
                if likeness(found.as_ref()) > likeness(nearest.as_ref()) {
                    nearest = found;
                }
            },
        );
        // What cannot be read now may have it, but does not make this text right.
        let hint = match nearest.filter(|_| read.is_ok()) {
            Some(Nearest { likeness, text }) if likeness >= LIKENESS_MIN => format!("did you mean {text}?"),
            _ => "pushkeys list".to_owned(),
        };
        AccountArgumentError::Unknown { text: self.text.clone(), hint: Hint::new(hint) }
    }

    fn nearer(&self, nearest: &mut Option<Nearest>, line: &EntryLine<'_>) {
        for name in [line.account, line.account_name] {
            let likeness = strsim::jaro_winkler(&self.escaped, name);
            if nearest.as_ref().is_none_or(|nearest| likeness > nearest.likeness) {
                let name = if line.account_name.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", line.account_name)
                };
                *nearest = Some(Nearest { likeness, text: format!("{}{name}", line.account) });
            }
        }
    }
}

/// An account that may be meant.
#[derive(Debug)]
struct Nearest {
    /// From 0 to 1.
    likeness: f64,
    text: String,
}

fn likeness(nearest: Option<&Nearest>) -> f64 {
    nearest.map_or(0.0, |nearest| nearest.likeness)
}

/// Reads every line of `sources` on all processors: `visit` gathers what is of use of some shards into what `empty` makes, and
/// `take` gets that.
fn read<T: Send>(
    cache: &Cache,
    sources: &[SourceName],
    empty: impl Fn() -> T + Sync,
    visit: impl Fn(&mut T, &EntryLine<'_>) + Sync,
    mut take: impl FnMut(T),
) -> Result<()> {
    for name in sources {
        let source = cache.source(name)?;
        let start = || {
            let (source, visit, empty, mut buffer) = (&source, &visit, &empty, Vec::new());
            move |shards: Range<u32>| {
                let (mut found, mut unreadable) = (empty(), None);
                for index in shards {
                    let report = source.scan_shard(index, &mut buffer, |_, line| {
                        visit(&mut found, line);
                        Ok(())
                    });
                    unreadable = unreadable.or(report.unreadable);
                }
                (found, unreadable)
            }
        };
        in_order(0..source.shard_count(), start, |(found, unreadable)| {
            if let Some(error) = unreadable {
                check_replaced(cache, &source, &error)?;
                return Err(error.into());
            }
            take(found);
            Ok(())
        })?;
    }
    Ok(())
}
