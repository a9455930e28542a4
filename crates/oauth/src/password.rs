//! Passwords and client secrets: argon2id (RFC 9106), a fixed amount of work whether or not the name exists.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use mandate_core::{Entropy, Secret, Timestamp};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

/// Memory in KiB, passes and lanes: the OWASP figures for argon2id.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// How many hashes run at once; each holds 19 MiB while it runs.
const AT_ONCE: usize = 2;
/// The longest secret that is hashed, in bytes.
pub const MAX_SECRET: usize = 1024;
/// For how long a client secret that matched is remembered, and how many.
const REMEMBERED: (Duration, usize) = (Duration::from_mins(5), 1024);

/// A hash could not be computed or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Empty, or longer than [`MAX_SECRET`].
    #[error("a secret has 1 to 1024 bytes")]
    Length,
    /// The hash function or the stored text failed.
    #[error("argon2id failed: {0}")]
    Hash(String),
}

fn hasher() -> Result<Argon2<'static>, PasswordError> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(|error| PasswordError::Hash(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// The PHC text of a new secret, for the store. Slow on purpose: call it where blocking is allowed.
pub fn hash(secret: &Secret, entropy: &dyn Entropy) -> Result<String, PasswordError> {
    let bytes = secret.expose_secret();
    if bytes.is_empty() || bytes.len() > MAX_SECRET {
        return Err(PasswordError::Length);
    }
    let mut salt = [0u8; 16];
    entropy.fill(&mut salt);
    let hash: PasswordHash = hasher()?.hash_password_with_salt(bytes, &salt).map_err(|error| PasswordError::Hash(error.to_string()))?;
    Ok(hash.to_string())
}

/// Checks secrets against stored hashes.
pub struct Checker {
    permits: Semaphore,
    /// Hashed against when there is no such name, so that the answer takes as long.
    decoy: String,
    /// Marks of client secrets that matched, with the time until which that counts.
    recent: Mutex<HashMap<[u8; 32], Timestamp>>,
    /// Makes the marks worthless outside this process.
    mark_key: [u8; 32],
}

impl std::fmt::Debug for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checker").finish_non_exhaustive()
    }
}

impl Checker {
    /// A checker; computes its decoy once.
    pub fn new(entropy: &dyn Entropy) -> Result<Self, PasswordError> {
        let (memory, passes, lanes) = COST;
        let mut random = [0u8; 43];
        entropy.fill(&mut random);
        // A well-formed hash of nothing: 16 bytes of salt and 32 of output in unpadded base64.
        let letter = |byte: &u8| char::from(b'A' + byte % 26);
        let salt: String = random.iter().take(21).map(letter).chain(['A']).collect();
        let output: String = random.iter().take(42).map(letter).chain(['A']).collect();
        let decoy = format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${output}");
        PasswordHash::new(&decoy).map_err(|error| PasswordError::Hash(error.to_string()))?;
        let mut mark_key = [0u8; 32];
        entropy.fill(&mut mark_key);
        Ok(Self { permits: Semaphore::new(AT_ONCE), decoy, recent: Mutex::default(), mark_key })
    }

    /// As [`Checker::check`], but a secret of `name` that matched is recognized for five minutes without the slow hash.
    ///
    /// For client secrets only: they are long and random, so that a fast keyed hash of one in memory gives nothing
    /// away, and a confidential client may come a thousand times a second. A new stored hash is a new mark.
    pub async fn check_remembered(
        &self,
        name: &str,
        secret: Secret,
        stored: Option<Secret>,
        now: Timestamp,
    ) -> Result<bool, PasswordError> {
        let Some(phc) = stored else { return self.check(secret, None).await };
        let mark = self.mark(name, &secret, &phc);
        let known = self.recent.lock().unwrap_or_else(PoisonError::into_inner).get(&mark).is_some_and(|until| *until > now);
        if known {
            return Ok(true);
        }
        let matched = self.check(secret, Some(phc)).await?;
        if matched {
            let (lifetime, capacity) = REMEMBERED;
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent.retain(|_, until| *until > now);
            if recent.len() < capacity {
                recent.insert(mark, now.plus(lifetime));
            }
        }
        Ok(matched)
    }

    fn mark(&self, name: &str, secret: &Secret, phc: &Secret) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(self.mark_key);
        for part in [name.as_bytes(), phc.expose_secret(), secret.expose_secret()] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    /// Whether `secret` belongs to `stored`; with nothing stored the same work is done and the answer is no.
    pub async fn check(&self, secret: Secret, stored: Option<Secret>) -> Result<bool, PasswordError> {
        let known = stored.is_some();
        let phc = stored.unwrap_or_else(|| Secret::new(self.decoy.as_str()));
        let _permit = self.permits.acquire().await.map_err(|error| PasswordError::Hash(error.to_string()))?;
        let task = tokio::task::spawn_blocking(move || matches(&secret, &phc));
        let matched = task.await.map_err(|error| PasswordError::Hash(error.to_string()))??;
        Ok(known && matched)
    }
}

fn matches(secret: &Secret, phc: &Secret) -> Result<bool, PasswordError> {
    let phc = phc.expose_secret_str().ok_or_else(|| PasswordError::Hash("not text".to_owned()))?;
    let parsed = PasswordHash::new(phc).map_err(|error| PasswordError::Hash(error.to_string()))?;
    let bytes = secret.expose_secret();
    // A secret that is too long is still worth a full round of work, on its beginning, and never matches.
    let within = bytes.len() <= MAX_SECRET;
    let bytes = bytes.get(..MAX_SECRET).unwrap_or(bytes);
    Ok(hasher()?.verify_password(bytes, &parsed).is_ok() && within)
}

#[cfg(test)]
mod tests {
    use mandate_core::{Secret, SystemEntropy, Timestamp};

    use super::{Checker, MAX_SECRET, PasswordError, hash};

    #[tokio::test]
    async fn the_right_secret_matches_and_nothing_else_does() {
        let text = hash(&Secret::new("correct horse"), &SystemEntropy).unwrap();
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        let stored = || Secret::new(text.as_str());
        let checker = Checker::new(&SystemEntropy).unwrap();
        assert!(checker.check(Secret::new("correct horse"), Some(stored())).await.unwrap());
        for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
            assert!(!checker.check(Secret::new(wrong), Some(stored())).await.unwrap(), "{wrong:?}");
        }
        assert!(!checker.check(Secret::new("correct horse"), None).await.unwrap(), "no stored hash never matches");
    }

    #[tokio::test]
    async fn a_remembered_client_secret_counts_for_that_client_hash_and_time_only() {
        let text = hash(&Secret::new("s"), &SystemEntropy).unwrap();
        let stored = || Secret::new(text.as_str());
        let checker = Checker::new(&SystemEntropy).unwrap();
        let now = Timestamp::from_secs(1_000);
        let check = |secret: &'static str, stored: Option<Secret>, now| checker.check_remembered("app", Secret::new(secret), stored, now);
        assert!(check("s", Some(stored()), now).await.unwrap());
        assert!(check("s", Some(stored()), now).await.unwrap());
        assert!(!check("t", Some(stored()), now).await.unwrap());
        assert!(!check("s", None, now).await.unwrap(), "the secret was removed");
        let other = hash(&Secret::new("other"), &SystemEntropy).unwrap();
        assert!(!check("s", Some(Secret::new(other)), now).await.unwrap(), "the secret was replaced");
    }

    #[tokio::test]
    async fn a_truncated_secret_never_matches() {
        let long = "a".repeat(MAX_SECRET);
        let text = hash(&Secret::new(long.clone()), &SystemEntropy).unwrap();
        let stored = || Secret::new(text.as_str());
        let checker = Checker::new(&SystemEntropy).unwrap();
        assert!(!checker.check(Secret::new(format!("{long}b")), Some(stored())).await.unwrap());
        assert_eq!(hash(&Secret::new(format!("{long}b")), &SystemEntropy), Err(PasswordError::Length));
        assert_eq!(hash(&Secret::new(""), &SystemEntropy), Err(PasswordError::Length));
    }
}
