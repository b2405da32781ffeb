//! Lines of a file to import: JSON objects, and what is wanted by a line of either kind.

use std::io::{self, BufRead, Read as _};

use pushkeys_keys::{AccountName, KEY_TEXT_BYTES_MAX, KeyName, NAME_BYTES_MAX};
use serde::Deserialize;

/// The longest line in bytes: a key and two names with every byte of them written as `\u00xx`.
const LINE_BYTES_MAX: usize = 6 * (KEY_TEXT_BYTES_MAX + 2 * NAME_BYTES_MAX) + 64;

/// A line that was read, with a key that is not judged yet.
pub(super) struct Wanted {
    pub(super) account: AccountName,
    pub(super) name: WantedName,
    /// The key, one line.
    pub(super) text: String,
}

/// What the account is to call a key.
pub(super) enum WantedName {
    /// So.
    Given(KeyName),
    /// After the comment of its line, unless another key of the file has taken it.
    Comment(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    account: String,
    name: String,
    key: String,
}

/// The next line without its newline; of a line that is too long, the beginning. `false` at the end.
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

pub(super) fn read_object(line: &[u8]) -> Result<Wanted, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("the line is longer than {LINE_BYTES_MAX} bytes"));
    }
    // The parser would repeat what it read, which may be a private key.
    let line: Line = serde_json::from_slice(line)
        .map_err(|_| "the line is not an object of the strings `account`, `name` and `key`".to_owned())?;
    let account = AccountName::parse(&line.account).map_err(|error| format!("account: {error}"))?;
    let name = KeyName::parse(&line.name).map_err(|error| format!("key: {error}"))?;
    Ok(Wanted { account, name: WantedName::Given(name), text: line.key.trim().to_owned() })
}
