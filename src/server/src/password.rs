//! Passwords and their hashes.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use argon2::password_hash::{Output, PasswordHash, Salt, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};
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
/// Sign-ins that wait for their turn, or have it. An address has ten at once, and no more.
const WAITING_MAX: usize = 512;
/// How long a sign-in waits for one of them.
const TURN_TIME_MAX: Duration = Duration::from_secs(15);

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

/// Hashes passwords, a few at a time and in the order in which they came; clones share the memory for it.
#[derive(Clone)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    /// Sign-ins that wait for their turn, or have it.
    places: Arc<Semaphore>,
    /// What hashes are computed in, as much as was needed at once so far. An allocator would keep what it is given back,
    /// in each thread, so that a burst of sign-ins would cost many times as much.
    buffers: Arc<Mutex<Vec<Buffer>>>,
}

type Buffer = Vec<Block>;

impl Default for Passwords {
    fn default() -> Self {
        let (turns, places) = (Semaphore::new(HASHES_MAX), Semaphore::new(WAITING_MAX));
        Self { turns: Arc::new(turns), places: Arc::new(places), buffers: Arc::default() }
    }
}

impl Passwords {
    /// The hash of `password` in Argon2's text form, with salt and parameters.
    pub(crate) async fn hash(&self, password: Password) -> Result<String, HashError> {
        self.in_turn(move |buffer| hash(password.0.as_bytes(), buffer)).await
    }

    /// Whether `password` fits the hash `stored`. Without a hash the answer is no, after the same time.
    pub(crate) async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, HashError> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        self.in_turn(move |buffer| verify(password.as_bytes(), stored.as_deref(), buffer)).await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Buffer) -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| HashError::Busy)?;
        let turn = timeout(TURN_TIME_MAX, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(HashError::Busy) };
        let buffers = Arc::clone(&self.buffers);
        // A client that goes away leaves its turn to others only once the memory is free again.
        let work = tokio::task::spawn_blocking(move || {
            let mut buffer = lock(&buffers).pop().unwrap_or_default();
            let done = work(&mut buffer);
            lock(&buffers).push(buffer);
            drop((turn, place));
            done
        });
        work.await.map_err(|_| HashError::Busy)?
    }
}

fn lock(buffers: &Mutex<Vec<Buffer>>) -> MutexGuard<'_, Vec<Buffer>> {
    // What is in a buffer does not matter.
    buffers.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash(password: &[u8], buffer: &mut Buffer) -> Result<String, HashError> {
    let salt = secret::random_bytes::<SALT_BYTES>()?;
    let salt = SaltString::encode_b64(&salt).map_err(HashError::Argon2)?;
    let parameters =
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| HashError::Argon2(error.into()))?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: (&parameters).try_into().map_err(HashError::Argon2)?,
        salt: Some(salt.as_salt()),
        hash: Some(output(password, &salt, &parameters, Params::DEFAULT_OUTPUT_LEN, buffer)?),
    };
    Ok(hash.to_string())
}

fn output(
    password: &[u8],
    salt: &SaltString,
    parameters: &Params,
    length: usize,
    buffer: &mut Buffer,
) -> Result<Output, HashError> {
    let mut bytes = [0; Salt::RECOMMENDED_LENGTH * 4];
    let salt = salt.decode_b64(&mut bytes).map_err(HashError::Argon2)?;
    if buffer.len() < parameters.block_count() {
        buffer.resize(parameters.block_count(), Block::default());
    }
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters.clone());
    let compute = |out: &mut [u8]| Ok(argon2.hash_password_into_with_memory(password, salt, out, buffer)?);
    Output::init_with(length, compute).map_err(HashError::Argon2)
}

fn verify(password: &[u8], stored: Option<&str>, buffer: &mut Buffer) -> Result<bool, HashError> {
    /// A hash that no password fits, of random bytes that are forgotten.
    static DUMMY: OnceLock<String> = OnceLock::new();
    let has_password = stored.is_some();
    let stored = match (stored, DUMMY.get()) {
        (Some(stored), _) => stored,
        (None, Some(dummy)) => dummy,
        (None, None) => {
            let made = hash(&secret::random_bytes::<SALT_BYTES>()?, buffer)?;
            DUMMY.get_or_init(|| made)
        }
    };
    let stored = PasswordHash::new(stored).map_err(HashError::Argon2)?;
    let malformed = || HashError::Argon2(argon2::password_hash::Error::PhcStringField);
    let (Some(salt), Some(expected)) = (stored.salt, stored.hash) else { return Err(malformed()) };
    let parameters = Params::try_from(&stored).map_err(HashError::Argon2)?;
    if stored.algorithm != Algorithm::Argon2id.ident() || parameters.m_cost() > MEMORY_KIB {
        return Err(malformed());
    }
    let salt = SaltString::from_b64(salt.as_str()).map_err(HashError::Argon2)?;
    // Compared in constant time.
    Ok(output(password, &salt, &parameters, expected.len(), buffer)? == expected && has_password)
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
