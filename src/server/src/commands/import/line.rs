//! Lines of a file to import: reading, JSON objects, and what a line of either format contains.

use std::io::{self, BufRead, Read as _};

use jiff::Timestamp;
use pushkeys_keys::{AccountName, Expiry, KEY_TEXT_BYTES_MAX, KeyName, NAME_BYTES_MAX};
use serde::Deserialize;

/// The longest line in bytes: a key and two names, each byte written as `\u00xx`.
const LINE_BYTES_MAX: usize = 6 * (KEY_TEXT_BYTES_MAX + 2 * NAME_BYTES_MAX) + 64;

/// A parsed line; its key is not validated yet.
pub(super) struct ImportLine {
    pub(super) account: AccountName,
    pub(super) name: LineName,
    /// The key, one line.
    pub(super) text: String,
    pub(super) expires_at: Option<Expiry>,
}

/// The name of a key to import.
pub(super) enum LineName {
    /// Given in the line.
    Given(KeyName),
    /// From the comment, unless another key of the account has the same.
    Comment(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonLine {
    account: String,
    name: String,
    key: String,
    expires_at: Option<String>,
}

/// Reads the next line without its newline; of a line that is too long, only its beginning. `false` at the end.
pub(super) fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let bytes_max = LINE_BYTES_MAX as u64 + 1;
    if input.take(bytes_max).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.pop_if(|byte| *byte == b'\n').is_none() && line.len() > LINE_BYTES_MAX {
        input.skip_until(b'\n')?;
    }
    Ok(true)
}

/// The key in a line of JSON, read at `now`.
pub(super) fn read_object(line: &[u8], now: Timestamp) -> Result<ImportLine, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("the line is longer than {LINE_BYTES_MAX} bytes"));
    }
    // The parser's error would quote the line, which may be a private key.
    let line: JsonLine = serde_json::from_slice(line).map_err(|_| {
        "the line is not a JSON object with the strings `account`, `name` and `key`, and perhaps `expires_at`".to_owned()
    })?;
    let account = AccountName::parse(&line.account).map_err(|error| format!("account: {error}"))?;
    let name = KeyName::parse(&line.name).map_err(|error| format!("key: {error}"))?;
    let expires_at = line.expires_at.as_deref().map(str::parse::<Expiry>).transpose();
    let expires_at = expires_at.map_err(|error| format!("expires_at: {error}"))?;
    if let Some(expiry) = expires_at.filter(|expiry| expiry.is_past(now)) {
        return Err(format!("the key expired at {expiry}"));
    }
    let text = line.key.trim().to_owned();
    Ok(ImportLine { account, name: LineName::Given(name), text, expires_at })
}
