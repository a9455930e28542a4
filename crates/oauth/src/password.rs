//! Passwords and client secrets: argon2id (RFC 9106), a fixed amount of work whether or not the name exists.

use std::collections::HashMap;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use mandate_core::digest::sha256_of_list;
use mandate_core::{Entropy, RequestSource, Secret, Timestamp};
use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

use crate::queue::{Full, Lane, Queue};

/// Memory in KiB, passes and lanes: the OWASP figures for argon2id.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// How many hashes run at once in each queue; each holds 19 MiB while it runs.
const AT_ONCE: usize = 1;
/// How many more can wait in each queue: two seconds of work. A caller without a place is told to try again.
const WAITING: usize = 64;
/// The longest secret that is hashed, in bytes.
pub const MAX_SECRET: usize = 1024;
/// For how long a matching client secret is remembered after its last use, and for how many clients.
const REMEMBERED: (Duration, usize) = (Duration::from_hours(24), 16_384);

/// A hash could not be computed or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Empty, or longer than [`MAX_SECRET`].
    #[error("a secret has 1 to 1024 bytes")]
    Length,
    /// The hash function or the stored text failed.
    #[error("argon2id failed: {0}")]
    Hash(String),
    /// The maximum number of secrets is waiting to be checked.
    #[error("too many secrets are waiting to be checked")]
    Busy,
}

/// Whose secret is checked. Each kind has its own queue, so that a flood in one does not delay the others.
/// Within a queue, many requests of one party do not delay the other parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    /// A person's password, from an unknown browser. Sites take turns, and networks in a site, and names in a
    /// network.
    Person {
        /// Where the request comes from.
        source: RequestSource,
        /// The name that was given.
        name: &'a str,
    },
    /// A person's password, from a browser that has logged them in before: strangers cannot fill its queue.
    KnownBrowser {
        /// The name that was given, and that this browser has logged in before.
        name: &'a str,
    },
    /// A client's secret. Registered clients take turns, and all clients that are not registered have one
    /// turn together. The sites and networks that name the same client take turns too: its id is not secret.
    Client {
        /// The client's id, if a secret is stored for it.
        id: Option<&'a str>,
        /// Where the request comes from.
        source: RequestSource,
    },
}

fn hasher() -> Result<Argon2<'static>, PasswordError> {
    let (memory, passes, lanes) = COST;
    let params =
        Params::new(memory, passes, lanes, None).map_err(|error| PasswordError::Hash(error.to_string()))?;
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
    let hasher = hasher()?;
    let hash: Result<PasswordHash, _> = without_traces(|| hasher.hash_password_with_salt(bytes, &salt));
    Ok(hash.map_err(|error| PasswordError::Hash(error.to_string()))?.to_string())
}

/// Checks secrets against stored hashes.
pub struct Checker {
    people: Queue,
    known_browsers: Queue,
    clients: Queue,
    /// The hash that is checked if there is no such name, so that the answer takes the same time.
    decoy: String,
    /// For each client, the mark of the secret that matched last, and the time until which it is valid.
    recent: Mutex<HashMap<String, ([u8; 32], Timestamp)>>,
    /// With this key, the marks and the numbers of lanes are useless outside this process.
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
        let queue = || Queue::new(AT_ONCE, WAITING);
        Ok(Self {
            people: queue(),
            known_browsers: queue(),
            clients: queue(),
            decoy,
            recent: Mutex::default(),
            mark_key,
        })
    }

    /// As [`Checker::check`], but a secret of the client `id` that matched is recognized without the slow
    /// hash for a day after its last use. So a known client is authenticated at once, however many attackers
    /// guess at its secret.
    ///
    /// Only for client secrets: they are long and random, so that a fast keyed hash of one in memory reveals
    /// nothing, and a confidential client may authenticate a thousand times a second. A new stored hash needs
    /// a new mark.
    pub async fn check_remembered(
        &self,
        id: &str,
        source: RequestSource,
        secret: Secret,
        stored: Option<Secret>,
        now: Timestamp,
    ) -> Result<bool, PasswordError> {
        let Some(phc) = stored else {
            return self.check(Whose::Client { id: None, source }, secret, None).await;
        };
        let mark = self.mark(id, &secret, &phc);
        let (lifetime, capacity) = REMEMBERED;
        let until = now.plus(lifetime);
        {
            let mut recent = self.recent.lock();
            if let Some((known, good)) = recent.get_mut(id)
                && *good > now
                && bool::from(known.as_slice().ct_eq(&mark))
            {
                *good = until;
                return Ok(true);
            }
        }
        let matched = self.check(Whose::Client { id: Some(id), source }, secret, Some(phc)).await?;
        if matched {
            let mut recent = self.recent.lock();
            if recent.len() >= capacity && !recent.contains_key(id) {
                // The client that was not seen for the longest time is forgotten.
                let longest = recent.iter().min_by_key(|(_, (_, until))| *until).map(|(id, _)| id.clone());
                longest.map(|id| recent.remove(&id));
            }
            recent.insert(id.to_owned(), (mark, until));
        }
        Ok(matched)
    }

    /// The lane of these parties, the widest first.
    fn lane(&self, parties: [&[u8]; 3]) -> Lane {
        // Keyed, so that nobody can choose a name whose lane is another's.
        Lane(parties.map(|party| {
            let digest = sha256_of_list([self.mark_key.as_slice(), b"lane", party]);
            digest.first_chunk().copied().map(u64::from_be_bytes).unwrap_or_default()
        }))
    }

    fn mark(&self, name: &str, secret: &Secret, phc: &Secret) -> [u8; 32] {
        sha256_of_list([
            self.mark_key.as_slice(),
            name.as_bytes(),
            phc.expose_secret(),
            secret.expose_secret(),
        ])
    }

    /// Whether `secret` belongs to `stored`; with nothing stored the same work is done and the answer is no.
    pub async fn check(
        &self,
        whose: Whose<'_>,
        secret: Secret,
        stored: Option<Secret>,
    ) -> Result<bool, PasswordError> {
        let known = stored.is_some();
        let phc = stored.unwrap_or_else(|| Secret::new(self.decoy.as_str()));
        let (queue, lane) = match whose {
            Whose::Person { source, name } => {
                let (site, network) = (source.site().to_string(), source.to_string());
                (&self.people, self.lane([site.as_bytes(), network.as_bytes(), name.as_bytes()]))
            }
            Whose::KnownBrowser { name } => (&self.known_browsers, self.lane([name.as_bytes(), b"", b""])),
            Whose::Client { id, source } => {
                let (site, network) = (source.site().to_string(), source.to_string());
                // No registered client has an empty id.
                (
                    &self.clients,
                    self.lane([id.unwrap_or_default().as_bytes(), site.as_bytes(), network.as_bytes()]),
                )
            }
        };
        let turn = queue.turn(lane).await.map_err(|Full| PasswordError::Busy)?;
        let task = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            checked(&secret, &phc)
        });
        let matched = task.await.map_err(|error| PasswordError::Hash(error.to_string()))??;
        Ok(known && matched)
    }
}

/// Whether they match. Nothing of the secret is left on the stack.
fn checked(secret: &Secret, phc: &Secret) -> Result<bool, PasswordError> {
    without_traces(|| matches(secret, phc))
}

/// Does `work`, and overwrites the stack that it used, because the thread continues to run: a hash function
/// can leave the beginning of its input there.
fn without_traces<T>(work: impl FnOnce() -> T) -> T {
    let done = below(work);
    overwrite_stack();
    done
}

/// Has a frame of its own where that of `overwrite_stack` will be, whatever is inlined into it.
#[inline(never)]
fn below<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn overwrite_stack() {
    #[expect(clippy::large_stack_arrays, reason = "it is the stack that is to be overwritten")]
    let mut room = [0u8; 64 * 1024];
    room.zeroize();
    std::hint::black_box(&room);
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
    use std::io::{Read as _, Seek as _, SeekFrom};
    use std::pin::{Pin, pin};
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use mandate_core::{RequestSource, Secret, SystemEntropy, Timestamp};

    use super::{
        AT_ONCE, Checker, Full, Lane, MAX_SECRET, PasswordError, Queue, REMEMBERED, WAITING, Whose, hash,
        without_traces,
    };
    use crate::queue::Turn;

    const PERSON: Whose<'static> = Whose::Person { source: RequestSource::Other, name: "riley" };

    /// A guess at the secret of a client that is registered.
    const GUESS: Whose<'static> = Whose::Client { id: Some("a"), source: RequestSource::Other };

    /// How often the bytes are on the stack of this thread, above and below this function.
    fn on_the_stack(wanted: &[u8]) -> usize {
        let here = 0u8;
        let here = (&raw const here).addr();
        let maps = std::fs::read_to_string("/proc/thread-self/maps").unwrap();
        let ranges = maps.lines().filter_map(|line| line.split_once(' ')?.0.split_once('-'));
        let mut ranges = ranges.map(|(from, to)| {
            (usize::from_str_radix(from, 16).unwrap(), usize::from_str_radix(to, 16).unwrap())
        });
        let (from, to) = ranges.find(|(from, to)| (*from..*to).contains(&here)).unwrap();
        let mut memory = std::fs::File::open("/proc/thread-self/mem").unwrap();
        memory.seek(SeekFrom::Start(from as u64)).unwrap();
        let mut stack = vec![0; to - from];
        memory.read_exact(&mut stack).unwrap();
        stack.windows(wanted.len()).filter(|window| *window == wanted).count()
    }

    /// On a thread with a stack of its own, so that nothing else writes there.
    fn with_a_stack(act: impl FnOnce() + Send + 'static) {
        std::thread::Builder::new().stack_size(1 << 20).spawn(act).unwrap().join().unwrap();
    }

    /// Leaves copies of the bytes on the stack below the caller.
    #[inline(never)]
    fn leave(bytes: &[u8]) {
        let mut room = [0u8; 12 * 1024];
        for place in room.chunks_exact_mut(bytes.len()) {
            place.copy_from_slice(bytes);
        }
        std::hint::black_box(&room);
    }

    #[test]
    fn what_work_leaves_on_the_stack_is_overwritten() {
        let text = || ["left", "on", "a", "stack", "5531"].join("-");
        with_a_stack(move || {
            let text = text();
            leave(text.as_bytes());
            assert!(on_the_stack(text.as_bytes()) > 0);
        });
        with_a_stack(move || {
            let text = text();
            without_traces(|| leave(text.as_bytes()));
            assert_eq!(on_the_stack(text.as_bytes()), 0);
        });
    }

    #[test]
    fn nothing_of_a_secret_is_left_on_the_stack_after_it_was_hashed_or_checked() {
        // What is searched for is made on the heap.
        let text = || ["of", "stacks", "and", "secrets", "8264"].join("-");
        let phc = hash(&Secret::new(text()), &SystemEntropy).unwrap();
        let hashed = move || drop(hash(&Secret::new(text()), &SystemEntropy).unwrap());
        let checked = move || assert!(super::checked(&Secret::new(text()), &Secret::new(phc)).unwrap());
        with_a_stack(move || {
            hashed();
            assert_eq!(on_the_stack(text().as_bytes()), 0, "hashed");
        });
        with_a_stack(move || {
            checked();
            assert_eq!(on_the_stack(text().as_bytes()), 0, "checked");
        });
        // The search finds what is there.
        with_a_stack(move || {
            let mut there = [0u8; 24];
            let text = text();
            let beginning = text.as_bytes().first_chunk::<24>().unwrap();
            there.copy_from_slice(beginning);
            std::hint::black_box(&there);
            assert!(on_the_stack(beginning) > 0);
            std::hint::black_box(&there);
        });
    }

    #[tokio::test]
    async fn the_right_secret_matches_and_nothing_else_does() {
        let text = hash(&Secret::new("correct horse"), &SystemEntropy).unwrap();
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        let stored = || Secret::new(text.as_str());
        let checker = Checker::new(&SystemEntropy).unwrap();
        assert!(checker.check(PERSON, Secret::new("correct horse"), Some(stored())).await.unwrap());
        for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
            assert!(!checker.check(PERSON, Secret::new(wrong), Some(stored())).await.unwrap(), "{wrong:?}");
        }
        assert!(
            !checker.check(PERSON, Secret::new("correct horse"), None).await.unwrap(),
            "no stored hash never matches"
        );
    }

    #[tokio::test]
    async fn a_remembered_client_secret_counts_for_that_client_hash_and_time_only() {
        let text = hash(&Secret::new("s"), &SystemEntropy).unwrap();
        let stored = || Secret::new(text.as_str());
        let checker = Checker::new(&SystemEntropy).unwrap();
        let now = Timestamp::from_secs(1_000);
        let check = |secret: &'static str, stored: Option<Secret>, now| {
            checker.check_remembered("app", RequestSource::Other, Secret::new(secret), stored, now)
        };
        for _ in 0..2 {
            assert!(check("s", Some(stored()), now).await.unwrap());
        }
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
        assert!(!checker.check(PERSON, Secret::new(format!("{long}b")), Some(stored())).await.unwrap());
        assert_eq!(hash(&Secret::new(format!("{long}b")), &SystemEntropy), Err(PasswordError::Length));
        assert_eq!(hash(&Secret::new(""), &SystemEntropy), Err(PasswordError::Length));
    }

    /// Polls once: as far as it comes by itself.
    fn begun(
        check: Pin<&mut (impl Future<Output = Result<bool, PasswordError>> + ?Sized)>,
    ) -> Poll<Result<bool, PasswordError>> {
        check.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn callers_that_hang_up_in_the_middle_of_a_hash_never_make_more_hashes_run_than_may() {
        let checker = Checker::new(&SystemEntropy).unwrap();
        let check = |whose| checker.check(whose, Secret::new("guess"), None);
        for _ in 0..20 {
            assert!(begun(pin!(check(GUESS))).is_pending(), "and dropped here: the caller hangs up");
            assert_eq!(
                checker.clients.load(),
                (AT_ONCE, 0),
                "those that had not begun have given up their places"
            );
        }
        assert!(
            !check(GUESS).await.unwrap(),
            "after the first, which ran to its end though nobody waited for it"
        );
    }

    /// A checker with as many guesses waiting as may: each at `whose`, made from its number. Nothing is
    /// hashed before the turn, which is all that runs, is dropped.
    async fn flooded(turn_of: fn(&Checker) -> &Queue, whose: fn(&str) -> Whose<'_>) -> (Arc<Checker>, Turn) {
        let checker = Arc::new(Checker::new(&SystemEntropy).unwrap());
        let queue = turn_of(&checker);
        let turn = queue.turn(Lane::default()).await.unwrap_or_else(|Full| unreachable!());
        for n in 0..WAITING {
            let checker = Arc::clone(&checker);
            tokio::spawn(async move {
                checker.check(whose(&format!("name-{n}")), Secret::new("guess"), None).await
            });
        }
        while queue.load() != (AT_ONCE, WAITING) {
            tokio::task::yield_now().await;
        }
        (checker, turn)
    }

    fn guess(
        checker: &Arc<Checker>,
        whose: Whose<'static>,
    ) -> tokio::task::JoinHandle<Result<bool, PasswordError>> {
        let checker = Arc::clone(checker);
        tokio::spawn(async move { checker.check(whose, Secret::new("guess"), None).await })
    }

    #[tokio::test]
    async fn a_flood_on_one_client_leaves_others_and_people_their_turn() {
        let (checker, turn) = flooded(|checker| &checker.clients, |_| GUESS).await;
        assert_eq!(guess(&checker, GUESS).await.unwrap(), Err(PasswordError::Busy));
        assert_eq!(guess(&checker, PERSON).await.unwrap(), Ok(false), "people have a queue of their own");
        let other = guess(&checker, Whose::Client { id: Some("b"), source: RequestSource::Other });
        tokio::task::yield_now().await;
        drop(turn);
        assert_eq!(other.await.unwrap(), Ok(false), "other clients have their turn");
    }

    #[tokio::test]
    async fn a_flood_in_the_name_of_a_client_leaves_the_client_its_turn_from_another_network() {
        let (checker, turn) = flooded(|checker| &checker.clients, |_| GUESS).await;
        let source = RequestSource::of("192.0.2.7".parse().unwrap());
        let itself = guess(&checker, Whose::Client { id: Some("a"), source });
        tokio::task::yield_now().await;
        drop(turn);
        assert_eq!(itself.await.unwrap(), Ok(false), "it was checked");
    }

    #[tokio::test]
    async fn a_flood_of_clients_that_do_not_exist_is_one_crowd() {
        let text = hash(&Secret::new("s"), &SystemEntropy).unwrap();
        let checker = Arc::new(Checker::new(&SystemEntropy).unwrap());
        let turn = checker.clients.turn(Lane::default()).await.unwrap_or_else(|Full| unreachable!());
        let asks = |id: String, stored: Option<Secret>| {
            let checker = Arc::clone(&checker);
            async move {
                checker
                    .check_remembered(
                        &id,
                        RequestSource::Other,
                        Secret::new("s"),
                        stored,
                        Timestamp::from_secs(1_000),
                    )
                    .await
            }
        };
        for n in 0..WAITING {
            tokio::spawn(asks(format!("nobody-{n}"), None));
        }
        while checker.clients.load() != (AT_ONCE, WAITING) {
            tokio::task::yield_now().await;
        }
        let another = begun(pin!(asks("nobody".to_owned(), None)));
        assert_eq!(another, Poll::Ready(Err(PasswordError::Busy)), "another name is no other party");
        let client = tokio::spawn(asks("b".to_owned(), Some(Secret::new(text))));
        tokio::task::yield_now().await;
        drop(turn);
        assert_eq!(client.await.unwrap(), Ok(true), "it has a place, although none was free");
        let (_, waiting) = checker.clients.load();
        assert!(waiting > WAITING / 2, "its turn came before those of the crowd, of which {waiting} wait");
    }

    #[tokio::test]
    async fn a_client_that_is_remembered_needs_no_turn_and_is_remembered_while_it_comes() {
        let text = hash(&Secret::new("s"), &SystemEntropy).unwrap();
        let stored = || Some(Secret::new(text.as_str()));
        let checker = Checker::new(&SystemEntropy).unwrap();
        let mut now = Timestamp::from_secs(1_000);
        assert!(
            checker
                .check_remembered("a", RequestSource::Other, Secret::new("s"), stored(), now)
                .await
                .unwrap()
        );
        let _turn = checker.clients.turn(Lane::default()).await.unwrap_or_else(|Full| unreachable!());
        let mut check = |after| {
            now = now.plus(after);
            checker.check_remembered("a", RequestSource::Other, Secret::new("s"), stored(), now)
        };
        for _ in 0..3 {
            assert_eq!(
                begun(pin!(check(REMEMBERED.0.saturating_sub(Duration::from_secs(1))))),
                Poll::Ready(Ok(true))
            );
        }
        assert!(begun(pin!(check(REMEMBERED.0))).is_pending(), "it waits for a hash like all others");
    }

    /// The network of the guess with that name.
    fn network_of(name: &str) -> u16 {
        name.trim_start_matches("name-").parse().unwrap()
    }

    #[tokio::test]
    async fn a_flood_in_the_name_of_a_client_from_as_many_networks_as_there_are_places_leaves_the_client_its_turn()
     {
        fn from_all_over(name: &str) -> Whose<'_> {
            let [high, low] = network_of(name).to_be_bytes();
            Whose::Client { id: Some("a"), source: RequestSource::of([198, 51, high, low].into()) }
        }
        let (checker, turn) = flooded(|checker| &checker.clients, from_all_over).await;
        let itself = guess(
            &checker,
            Whose::Client { id: Some("a"), source: RequestSource::of([192, 0, 2, 7].into()) },
        );
        tokio::task::yield_now().await;
        drop(turn);
        assert_eq!(itself.await.unwrap(), Ok(false), "it was checked");
    }

    #[tokio::test]
    async fn the_networks_of_one_site_have_one_share_of_the_queue() {
        fn from_one_site(name: &str) -> Whose<'_> {
            let address = std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, network_of(name), 0, 0, 0, 1);
            Whose::Person { source: RequestSource::of(address.into()), name }
        }
        let (checker, turn) = flooded(|checker| &checker.people, from_one_site).await;
        let others: Vec<_> = (1..=WAITING / 2)
            .map(|n| {
                let source = RequestSource::of([192, 0, 2, u8::try_from(n).unwrap()].into());
                guess(&checker, Whose::Person { source, name: "riley" })
            })
            .collect();
        tokio::task::yield_now().await;
        drop(turn);
        for other in others {
            assert_eq!(other.await.unwrap(), Ok(false), "half of the places are for others");
        }
    }

    #[tokio::test]
    async fn a_flood_at_many_names_leaves_another_network_its_turn() {
        fn at(name: &str) -> Whose<'_> {
            Whose::Person { source: RequestSource::of([192, 0, 2, 1].into()), name }
        }
        let (checker, turn) = flooded(|checker| &checker.people, at).await;
        assert_eq!(guess(&checker, at("name-0")).await.unwrap(), Err(PasswordError::Busy), "it has a place");
        assert_eq!(guess(&checker, Whose::KnownBrowser { name: "riley" }).await.unwrap(), Ok(false));
        let other = guess(
            &checker,
            Whose::Person { source: RequestSource::of([192, 0, 2, 2].into()), name: "riley" },
        );
        tokio::task::yield_now().await;
        drop(turn);
        assert_eq!(other.await.unwrap(), Ok(false));
    }
}
