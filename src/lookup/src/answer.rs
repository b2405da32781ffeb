//! Answers a lookup: the line for stdout, or the reason why there is none.

use pushkeys_cache::{Cache, NoAnswer, Verdict};
use pushkeys_keys::Login;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::system;

/// Prints the line that answers `arguments`, or nothing if the key is not valid for the login.
pub(crate) fn give(arguments: &Arguments) -> Result<(), Failure> {
    let Some(login) = &arguments.login else { return Ok(()) };
    let line = line(arguments, login).map_err(|why| Failure::no_answer(arguments.fingerprint, why))?;
    line.map_or(Ok(()), |line| system::write_to_stdout(&line).map_err(Failure::Write))
}

fn line(arguments: &Arguments, login: &Login) -> Result<Option<Vec<u8>>, NoAnswer> {
    let consultation = Cache::open(&arguments.cache)?.consult(&arguments.fingerprint)?;
    match Verdict::of(consultation, login, system::now())? {
        Verdict::Known { entry, .. } => {
            let line = entry.line.as_str().as_bytes();
            let mut bytes = Vec::with_capacity(line.len() + 1);
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
            Ok(Some(bytes))
        }
        Verdict::UnknownKey | Verdict::OtherLogin | Verdict::Revoked(_) => Ok(None),
    }
}
