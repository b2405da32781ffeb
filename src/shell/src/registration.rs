//! Whether the key of a session is still registered.
//!
//! sshd looks up a key once per connection, and a multiplexed connection opens new sessions long after its key was
//! removed. So every session looks it up again, with the same result as pushkeys-lookup.

use jiff::Timestamp;
use pushkeys_cache::{Cache, Entry, NoAnswer, ReadError, Verdict};
use pushkeys_keys::Login;

use crate::arguments::Arguments;
use crate::refusal::Refusal;

/// The registration of the key in `arguments`, if at `now` pushkeys-lookup would print its line for `login`.
pub(crate) fn check(arguments: &Arguments, login: &Login, now: Timestamp) -> Result<Entry, Refusal> {
    let consulted = Cache::open(&arguments.cache)
        .and_then(|cache| cache.consult(&arguments.fingerprint))
        .map_err(|error| Refusal::CannotAnswer(error.into()))?;
    let entry = match Verdict::of(consulted, login, now).map_err(no_answer)? {
        Verdict::Known { entry, .. } => entry,
        Verdict::UnknownKey => return Err(Refusal::Removed),
        Verdict::OtherLogin => return Err(Refusal::OtherLogin),
        Verdict::Revoked(_) => return Err(Refusal::Revoked),
    };
    if entry.account != arguments.account || entry.key_id != arguments.key_id {
        return Err(Refusal::Changed);
    }
    match entry.expires_at() {
        Ok(Some(expiry)) if expiry.is_past(now) => Err(Refusal::Expired(expiry)),
        Ok(_) => Ok(entry),
        // sshd refuses such a line, too. syncd writes none, so the cache is damaged.
        Err(damage) => Err(Refusal::CannotAnswer(
            ReadError::Damaged { path: arguments.cache.clone(), source: damage }.into(),
        )),
    }
}

fn no_answer(why: NoAnswer) -> Refusal {
    match why {
        NoAnswer::Conflict { .. } => Refusal::Conflict(why),
        NoAnswer::Unreadable(_) | NoAnswer::Stale { .. } => Refusal::CannotAnswer(why),
    }
}
