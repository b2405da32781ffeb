//! The command line: sshd's `%u` and `%f`, and the folder of the cache.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::Arg;
use pushkeys_keys::{Fingerprint, Login};

use crate::failure::Failure;

/// The arguments that sshd passes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) cache: PathBuf,
    /// `None` if the login has a name that pushkeys does not allow, so no cache can hold it.
    pub(crate) login: Option<Login>,
    pub(crate) fingerprint: Fingerprint,
}

impl Arguments {
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Failure> {
        let mut parser = lexopt::Parser::from_args(arguments);
        let (mut cache, mut login, mut fingerprint) = (None, None, None);
        while let Some(argument) = parser.next().map_err(misuse)? {
            match argument {
                Arg::Long("cache") if cache.is_none() => cache = Some(parser.value().map_err(misuse)?),
                Arg::Value(value) if login.is_none() => login = Some(value),
                Arg::Value(value) if fingerprint.is_none() => fingerprint = Some(value),
                other => return Err(misuse(other.unexpected())),
            }
        }
        let login = login.ok_or_else(|| Failure::misuse("no login was given"))?;
        let fingerprint = fingerprint.ok_or_else(|| Failure::misuse("no fingerprint was given"))?;
        Ok(Self {
            cache: cache.map_or_else(|| PathBuf::from(pushkeys_cache::CACHE_DIRECTORY), PathBuf::from),
            login: login.to_str().and_then(|login| login.parse().ok()),
            fingerprint: parse_fingerprint(fingerprint)?,
        })
    }
}

fn parse_fingerprint(text: OsString) -> Result<Fingerprint, Failure> {
    let text = text.into_string().map_err(|_| Failure::misuse("the fingerprint is not text"))?;
    text.parse().map_err(|error| Failure::misuse(format!("`{}`: {error}", pushkeys_keys::escape(&text))))
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` hands the error over")]
fn misuse(error: lexopt::Error) -> Failure {
    Failure::misuse(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww";

    fn parse(arguments: &[&str]) -> Result<Arguments, Failure> {
        Arguments::parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn a_login_and_a_fingerprint_are_parsed() {
        let arguments = parse(&["git", FINGERPRINT]).unwrap();
        assert_eq!(arguments.cache, PathBuf::from("/var/lib/pushkeys/cache"));
        assert_eq!(arguments.login, Some("git".parse().unwrap()));
        assert_eq!(arguments.fingerprint, FINGERPRINT.parse().unwrap());
        assert_eq!(parse(&["--cache", "/x", "git", FINGERPRINT]).unwrap().cache, PathBuf::from("/x"));
    }

    #[test]
    fn a_login_with_another_kind_of_name_is_no_misuse() {
        for login in ["Bad.User", "../../etc/passwd", "a b", "", "é"] {
            assert_eq!(parse(&[login, FINGERPRINT]).unwrap().login, None, "{login}");
        }
    }

    #[test]
    fn other_arguments_are_misuse() {
        for arguments in [
            &[][..],
            &["git"],
            &["git", "MD5:00"],
            &["git", FINGERPRINT, "more"],
            &["--verbose", "git", FINGERPRINT],
            &["--cache"],
        ] {
            assert_eq!(parse(arguments).unwrap_err().status(), 2, "{arguments:?}");
        }
    }
}
