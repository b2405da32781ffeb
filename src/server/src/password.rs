//! Passwords and their hashes.

use std::sync::{Arc, LazyLock};

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::{Duration, timeout};

use crate::secret::{self, RandomError};

/// The fewest characters: enough, since the page is rate-limited.
pub(crate) const PASSWORD_CHARACTERS_MIN: usize = 12;
/// The longest password in bytes; a longer one would only cost time.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1024;

/// Argon2id as OWASP's cheat sheet asks for: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
/// Hashes that are computed at once: the most cores that a burst of sign-ins takes, with 19 MiB each.
const HASHES_MAX: usize = 2;
/// How long a sign-in waits for one of them.
const TURN_TIME_MAX: Duration = Duration::from_secs(5);

/// A password that may be set. Deliberately without `Debug`.
pub(crate) struct Password(String);

/// Why a text cannot be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum PasswordRefusal {
    /// Fewer than [`PASSWORD_CHARACTERS_MIN`].
    #[error("the password has fewer than {PASSWORD_CHARACTERS_MIN} characters: take a few random words")]
    TooShort,
    /// More than [`PASSWORD_BYTES_MAX`].
    #[error("the password is longer than {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
}

impl Password {
    /// The password `text`, unchanged.
    pub(crate) fn new(text: String) -> Result<Self, PasswordRefusal> {
        if text.len() > PASSWORD_BYTES_MAX {
            return Err(PasswordRefusal::TooLong);
        }
        if text.chars().count() < PASSWORD_CHARACTERS_MIN {
            return Err(PasswordRefusal::TooShort);
        }
        Ok(Self(text))
    }
}

/// Why a password was not hashed.
#[derive(Debug, Error)]
pub(crate) enum HashError {
    /// More sign-ins than the service can handle.
    #[error("too many passwords are being checked at the moment")]
    Busy,
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The parameters above, or a stored hash, are not Argon2's.
    #[error("cannot compute the hash of a password: {0}")]
    Argon2(argon2::password_hash::Error),
}

/// Hashes passwords, a few at a time.
#[derive(Clone)]
pub(crate) struct Passwords(Arc<Semaphore>);

impl Default for Passwords {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(HASHES_MAX)))
    }
}

impl Passwords {
    /// The hash of `password` in Argon2's text form, with salt and parameters.
    pub(crate) async fn hash(&self, password: Password) -> Result<String, HashError> {
        self.in_turn(move || hash(password.0.as_bytes())).await
    }

    /// Whether `password` fits the hash `stored`. Without a hash the answer is no, after the same time.
    pub(crate) async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, HashError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        self.in_turn(move || verify(password.as_bytes(), stored.as_deref())).await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let turn = timeout(TURN_TIME_MAX, self.0.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(HashError::Busy) };
        let work = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        work.await.map_err(|_| HashError::Busy)?
    }
}

fn argon2() -> Result<Argon2<'static>, HashError> {
    let parameters =
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| HashError::Argon2(error.into()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters))
}

fn hash(password: &[u8]) -> Result<String, HashError> {
    let salt = secret::random_bytes::<SALT_BYTES>()?;
    let salt = SaltString::encode_b64(&salt).map_err(HashError::Argon2)?;
    let hash = argon2()?.hash_password(password, &salt).map_err(HashError::Argon2)?;
    Ok(hash.to_string())
}

fn verify(password: &[u8], stored: Option<&str>) -> Result<bool, HashError> {
    /// A hash that no password fits, of random bytes that are forgotten.
    static DUMMY: LazyLock<Option<String>> =
        LazyLock::new(|| hash(&secret::random_bytes::<SALT_BYTES>().ok()?).ok());
    let has_password = stored.is_some();
    let Some(stored) = stored.or(DUMMY.as_deref()) else { return Err(HashError::Busy) };
    let stored = PasswordHash::new(stored).map_err(HashError::Argon2)?;
    match argon2()?.verify_password(password, &stored) {
        Ok(()) => Ok(has_password),
        Err(argon2::password_hash::Error::Password) => Ok(false),
        Err(error) => Err(HashError::Argon2(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_itself_fits_what_is_stored_of_it() {
        let passwords = Passwords::default();
        let password = Password::new("correct horse battery".into()).unwrap();
        let stored = passwords.hash(password).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        for (text, expected) in
            [("correct horse battery", true), ("correct horse batter", false), ("", false)]
        {
            assert_eq!(
                passwords.verify(text.into(), Some(stored.clone())).await.unwrap(),
                expected,
                "{text}"
            );
        }
        assert!(!passwords.verify("correct horse battery".into(), None).await.unwrap());
    }

    #[test]
    fn a_password_is_long_enough_to_be_worth_it_and_short_enough_to_be_hashed() {
        assert!(Password::new("é".repeat(PASSWORD_CHARACTERS_MIN)).is_ok());
        let refusal = |text: String| Password::new(text).err();
        assert_eq!(refusal("é".repeat(PASSWORD_CHARACTERS_MIN - 1)), Some(PasswordRefusal::TooShort));
        assert_eq!(refusal("a".repeat(PASSWORD_BYTES_MAX + 1)), Some(PasswordRefusal::TooLong));
    }
}
