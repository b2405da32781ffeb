//! The identity of a session, as syncd wrote it into the forced command.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use lexopt::{Arg, Parser, ValueExt as _};
use pushkeys_keys::{AccountId, Fingerprint, KeyId, ParseFingerprintError, ParseIdError};
use thiserror::Error;

use crate::settings::SETTINGS_FILE;

/// The account and key of a session, and the files to read.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) account: AccountId,
    pub(crate) key_id: KeyId,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) cache: PathBuf,
    /// The file of settings.
    pub(crate) settings: PathBuf,
}

/// Why arguments or environment are not those of a forced command.
#[derive(Debug, Error)]
pub(crate) enum Misuse {
    /// An unknown option, or one without its value.
    #[error(transparent)]
    Argument(#[from] lexopt::Error),
    /// Repeating an option would be ambiguous.
    #[error("`{0}` is given twice")]
    Twice(&'static str),
    /// A required argument is missing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error(transparent)]
    Id(#[from] ParseIdError),
    #[error("`--fingerprint` is not a fingerprint")]
    Fingerprint(#[from] ParseFingerprintError),
}

impl Arguments {
    /// The identity in `argv`, without the program's name.
    pub(crate) fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Self, Misuse> {
        let mut parser = Parser::from_args(argv);
        let (mut account, mut key_id, mut fingerprint) = (None, None, None);
        let (mut cache, mut settings) = (None, None);
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("account") => once(&mut account, "--account", id(&mut parser)?)?,
                Arg::Long("key") => once(&mut key_id, "--key", id(&mut parser)?)?,
                Arg::Long("fingerprint") => {
                    once(&mut fingerprint, "--fingerprint", parser.value()?.string()?.parse()?)?;
                }
                Arg::Long("cache") => once(&mut cache, "--cache", PathBuf::from(parser.value()?))?,
                Arg::Long("config") => once(&mut settings, "--config", PathBuf::from(parser.value()?))?,
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(Self {
            account: account.ok_or(Misuse::Missing("--account"))?,
            key_id: key_id.ok_or(Misuse::Missing("--key"))?,
            fingerprint: fingerprint.ok_or(Misuse::Missing("--fingerprint"))?,
            cache: cache.unwrap_or_else(|| PathBuf::from(pushkeys_cache::CACHE_DIRECTORY)),
            settings: settings.unwrap_or_else(|| PathBuf::from(SETTINGS_FILE)),
        })
    }
}

fn once<T>(slot: &mut Option<T>, option: &'static str, value: T) -> Result<(), Misuse> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Misuse::Twice(option)),
    }
}

fn id<T: FromStr<Err = ParseIdError>>(parser: &mut Parser) -> Result<T, Misuse> {
    Ok(parser.value()?.string()?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww";

    fn parse(argv: &str) -> Result<Arguments, Misuse> {
        Arguments::parse(argv.replace("FP", FINGERPRINT).split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_identity_is_in_argv() {
        let arguments = parse("--account acct_7 --key key_42 --fingerprint FP").unwrap();
        assert_eq!(arguments.account.as_str(), "acct_7");
        assert_eq!(arguments.key_id.as_str(), "key_42");
        assert_eq!(arguments.fingerprint.to_string(), FINGERPRINT);
        assert_eq!(arguments.cache, PathBuf::from(pushkeys_cache::CACHE_DIRECTORY));
        assert_eq!(arguments.settings, PathBuf::from("/etc/pushkeys/shell.toml"));
        let arguments =
            parse("--account=acct_7 --key=key_42 --fingerprint=FP --cache /tmp/c --config /tmp/s").unwrap();
        assert_eq!(arguments.cache, PathBuf::from("/tmp/c"));
        assert_eq!(arguments.settings, PathBuf::from("/tmp/s"));
    }

    #[test]
    fn anything_else_in_argv_is_misuse() {
        let check = |argv: &str, expected: &str| {
            assert_eq!(parse(argv).unwrap_err().to_string(), expected, "{argv}");
        };
        check("", "`--account` is missing");
        check("--account a --key k", "`--fingerprint` is missing");
        check("--account a --account b --key k --fingerprint FP", "`--account` is given twice");
        check(
            "--account a --key k --fingerprint FP git-receive-pack",
            "unexpected argument \"git-receive-pack\"",
        );
        check("--account a --key k --fingerprint FP -c id", "invalid option '-c'");
        check("--account a --key k --fingerprint FP --shell", "invalid option '--shell'");
        check("--account a --key k --fingerprint MD5:01", "`--fingerprint` is not a fingerprint");
        check("--account A --key k", "`A` is not an account id: expected 1 to 64 of a-z, 0-9, `_` and `-`");
        check("--account", "missing argument for option '--account'");
    }
}
