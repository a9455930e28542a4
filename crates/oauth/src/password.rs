//! Passwords and client secrets: argon2id (RFC 9106), a fixed amount of work whether or not the name exists.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use mandate_core::{Entropy, Secret, Timestamp};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroize as _;

/// Memory in KiB, passes and lanes: the OWASP figures for argon2id.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// How many hashes run at once in each queue; each holds 19 MiB while it runs.
const AT_ONCE: usize = 1;
/// How many more wait for their turn, for each: two seconds' worth. Whoever comes then is told to try again.
const WAITING: usize = 64;
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
    /// As many secrets as may wait are waiting to be checked.
    #[error("too many secrets are waiting to be checked")]
    Busy,
}

/// Whose secret is checked. Each has a queue of its own, so that a flood of one does not keep the other waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A person's password, from a browser that nobody knows.
    Person,
    /// A person's password, from a browser that has logged them in before: strangers cannot fill its queue.
    KnownBrowser,
    /// A client's secret.
    Client,
}

/// A bound on the hashes that run, and on those that wait.
struct Queue {
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Queue {
    fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE + WAITING)), running: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Waits for its turn. What comes back belongs into the work itself: a hash runs to its end even if whoever asked
    /// for it has gone, and counts until then.
    async fn turn(&self) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), PasswordError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        let turn = Arc::clone(&self.running).acquire_owned().await.map_err(|error| PasswordError::Hash(error.to_string()))?;
        Ok((place, turn))
    }
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
    let hash: Result<PasswordHash, _> = hasher()?.hash_password_with_salt(bytes, &salt);
    overwrite_stack();
    Ok(hash.map_err(|error| PasswordError::Hash(error.to_string()))?.to_string())
}

/// Checks secrets against stored hashes.
pub struct Checker {
    people: Queue,
    known_browsers: Queue,
    clients: Queue,
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
        Ok(Self { people: Queue::new(), known_browsers: Queue::new(), clients: Queue::new(), decoy, recent: Mutex::default(), mark_key })
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
        let Some(phc) = stored else { return self.check(Whose::Client, secret, None).await };
        let mark = self.mark(name, &secret, &phc);
        let known = self.recent.lock().unwrap_or_else(PoisonError::into_inner).get(&mark).is_some_and(|until| *until > now);
        if known {
            return Ok(true);
        }
        let matched = self.check(Whose::Client, secret, Some(phc)).await?;
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
        digest([self.mark_key.as_slice(), name.as_bytes(), phc.expose_secret(), secret.expose_secret()])
    }

    /// Whether `secret` belongs to `stored`; with nothing stored the same work is done and the answer is no.
    pub async fn check(&self, whose: Whose, secret: Secret, stored: Option<Secret>) -> Result<bool, PasswordError> {
        let known = stored.is_some();
        let phc = stored.unwrap_or_else(|| Secret::new(self.decoy.as_str()));
        let queue = match whose {
            Whose::Person => &self.people,
            Whose::KnownBrowser => &self.known_browsers,
            Whose::Client => &self.clients,
        };
        let turn = queue.turn().await?;
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let matched = matches(&secret, &phc);
            overwrite_stack();
            matched
        });
        let matched = task.await.map_err(|error| PasswordError::Hash(error.to_string()))??;
        Ok(known && matched)
    }
}

/// Overwrites the stack below the caller, where the hash function has left the beginning of its input: the thread goes on
/// living. Called from where the hash function was.
#[inline(never)]
fn overwrite_stack() {
    #[expect(clippy::large_stack_arrays, reason = "it is the stack that is to be overwritten")]
    let mut room = [0u8; 64 * 1024];
    room.zeroize();
    std::hint::black_box(&room);
}

/// A digest of these parts in this order. Each stands behind its length, so that no two lists give the same bytes.
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
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
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use mandate_core::{Secret, SystemEntropy, Timestamp};

    use super::{AT_ONCE, Checker, MAX_SECRET, PasswordError, WAITING, Whose, hash};

    #[tokio::test]
    async fn the_right_secret_matches_and_nothing_else_does() {
        let text = hash(&Secret::new("correct horse"), &SystemEntropy).unwrap();
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        let stored = || Secret::new(text.as_str());
        let checker = Checker::new(&SystemEntropy).unwrap();
        assert!(checker.check(Whose::Person, Secret::new("correct horse"), Some(stored())).await.unwrap());
        for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
            assert!(!checker.check(Whose::Person, Secret::new(wrong), Some(stored())).await.unwrap(), "{wrong:?}");
        }
        assert!(!checker.check(Whose::Person, Secret::new("correct horse"), None).await.unwrap(), "no stored hash never matches");
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
        assert!(!checker.check(Whose::Person, Secret::new(format!("{long}b")), Some(stored())).await.unwrap());
        assert_eq!(hash(&Secret::new(format!("{long}b")), &SystemEntropy), Err(PasswordError::Length));
        assert_eq!(hash(&Secret::new(""), &SystemEntropy), Err(PasswordError::Length));
    }

    /// Polls once: as far as it comes by itself.
    fn begun(check: Pin<&mut impl Future<Output = Result<bool, PasswordError>>>) -> Poll<Result<bool, PasswordError>> {
        check.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn callers_that_hang_up_in_the_middle_of_a_hash_never_make_more_hashes_run_than_may() {
        let checker = Checker::new(&SystemEntropy).unwrap();
        let check = |whose| checker.check(whose, Secret::new("guess"), None);
        for _ in 0..20 {
            assert!(begun(pin!(check(Whose::Client))).is_pending(), "and dropped here: the caller hangs up");
            let running = AT_ONCE - checker.clients.running.available_permits();
            let started = AT_ONCE + WAITING - checker.clients.places.available_permits();
            assert!(running <= AT_ONCE && started == running, "{started} started, {running} counted as running");
        }
        // The first of them still runs: the others gave up their places without having started.
        assert_eq!(checker.clients.running.available_permits(), 0, "a hash that nobody waits for counts until it ends");
        assert!(!check(Whose::Client).await.unwrap());
        assert_eq!(checker.clients.running.available_permits(), AT_ONCE);
    }

    #[tokio::test]
    async fn a_flood_on_clients_is_bounded_and_leaves_people_their_turn() {
        let checker = Checker::new(&SystemEntropy).unwrap();
        let check = |whose| checker.check(whose, Secret::new("guess"), None);
        let mut waiting: Vec<_> = std::iter::repeat_with(|| Box::pin(check(Whose::Client))).take(AT_ONCE + WAITING).collect();
        for one in &mut waiting {
            assert!(begun(one.as_mut()).is_pending());
        }
        assert_eq!(check(Whose::Client).await, Err(PasswordError::Busy));
        assert_eq!(check(Whose::Person).await, Ok(false), "people have a queue of their own");
    }
}
