//! Limits on guessing: by name or by known browser, with a growing pause, in bounded memory.

use std::collections::HashMap;
use std::time::Duration;

use mandate_core::{Entropy, Timestamp};
use parking_lot::{Mutex, MutexGuard};

use mandate_core::digest::sha256_of_list;

/// How many attempts have no pause.
const FREE: u32 = 5;
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// After this time without an attempt, a count starts again.
const QUIET: Duration = Duration::from_mins(15);
/// The most sources with a count of their own, 48 bytes each.
const OWN_COUNTS: usize = 65_536;
/// The most counts that sources share while all of those are taken, 24 bytes each.
const SHARED_COUNTS: u16 = 16_384;

/// Where an attempt comes from. Neither the name nor the browser needs to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "its fields are the name of a person and the id of a browser")]
pub enum AttemptSource<'a> {
    /// A login with this name, from an unknown browser.
    Name(&'a str),
    /// A browser that has logged the person in before. Its attempts are counted separately, so that strangers
    /// cannot lock the person out.
    Browser { name: &'a str, id: &'a str },
}

#[derive(Clone, Copy, Debug)]
struct Count {
    attempts: u32,
    last: Timestamp,
}

impl Count {
    /// The count of a source without attempts.
    fn none(now: Timestamp) -> Self {
        Self { attempts: 0, last: now }
    }

    fn until(&self) -> Timestamp {
        self.last.plus(pause_after(self.attempts))
    }

    /// Whether the count no longer has an effect: the next attempt starts a new count anyway.
    fn is_over(&self, now: Timestamp) -> bool {
        self.attempts == 0 || now.since(self.last) > QUIET
    }

    fn begin(&mut self, now: Timestamp) -> Result<CountedAttempt, TooMany> {
        // A clock that was set back must not make a pause longer than it is.
        self.last = self.last.min(now);
        let until = self.until();
        if until > now {
            return Err(TooMany(until.since(now)));
        }
        if now.since(self.last) > QUIET {
            self.attempts = 0;
        }
        let before = self.last;
        self.attempts = self.attempts.saturating_add(1);
        self.last = now;
        Ok(CountedAttempt { before, at: now })
    }

    fn withdraw(&mut self, attempt: CountedAttempt) {
        self.attempts = self.attempts.saturating_sub(1);
        // Only if there was no later attempt: then the pause belongs to that one.
        if self.last == attempt.at {
            self.last = attempt.before;
        }
    }
}

/// A keyed digest of a source. Nobody can predict which sources share the count of their first bytes.
type Key = [u8; 16];

#[derive(Default)]
struct Counts {
    own: HashMap<Key, Count>,
    shared: HashMap<u16, Count>,
    /// When counts without effect were last removed to make room.
    swept: Option<Timestamp>,
}

/// Attempts by source.
///
/// Each source has its own count, up to [`OWN_COUNTS`]. To make room, only counts without effect are removed,
/// so that invented names never remove the count of a name under attack. While there is no room, new sources
/// share counts, which no success clears: then more attempts are slowed, and no count is reset. Unknown names
/// are slowed like known ones, so that nobody can distinguish them.
pub struct Attempts {
    key: [u8; 32],
    capacity: usize,
    counts: Mutex<Counts>,
}

/// An attempt that was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountedAttempt {
    before: Timestamp,
    at: Timestamp,
}

/// Too many attempts; the next one is accepted after this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany(pub Duration);

impl std::fmt::Debug for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempts").field("counts", &self.lock().own.len()).finish_non_exhaustive()
    }
}

impl Counts {
    /// Whether there is room for one more separate count, after counts without effect have been removed. Goes
    /// through all counts once a second at most.
    fn has_room(&mut self, capacity: usize, now: Timestamp) -> bool {
        if self.own.len() >= capacity && self.swept.is_none_or(|swept| now.secs() != swept.secs()) {
            self.own.retain(|_, count| !count.is_over(now));
            self.shared.retain(|_, count| !count.is_over(now));
            self.swept = Some(now);
        }
        self.own.len() < capacity
    }

    fn find(&mut self, key: &Key) -> Option<&mut Count> {
        match self.own.get_mut(key) {
            Some(count) => Some(count),
            None => self.shared.get_mut(&shared(key)),
        }
    }
}

/// The shared count of a source.
fn shared(key: &Key) -> u16 {
    let [high, low, ..] = *key;
    u16::from_be_bytes([high, low]) % SHARED_COUNTS
}

impl Attempts {
    /// No attempts yet. `entropy` makes the key by which sources are placed.
    pub fn new(entropy: &dyn Entropy) -> Self {
        Self::of(OWN_COUNTS, entropy)
    }

    fn of(capacity: usize, entropy: &dyn Entropy) -> Self {
        let mut key = [0u8; 32];
        entropy.fill(&mut key);
        Self { key, capacity, counts: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // If a thread panics while it holds the lock, the counters are still valid.
        self.counts.lock()
    }

    fn key(&self, source: AttemptSource<'_>) -> Key {
        let digest = match source {
            AttemptSource::Name(name) => sha256_of_list([self.key.as_slice(), b"name", name.as_bytes()]),
            AttemptSource::Browser { name, id } => {
                sha256_of_list([self.key.as_slice(), b"browser", name.as_bytes(), id.as_bytes()])
            }
        };
        let mut key = Key::default();
        key.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        key
    }

    /// Counts one attempt before it is made, so that parallel attempts do not all pass.
    pub fn begin(&self, source: AttemptSource<'_>, now: Timestamp) -> Result<CountedAttempt, TooMany> {
        let key = self.key(source);
        let mut counts = self.lock();
        if let Some(own) = counts.own.get_mut(&key) {
            return own.begin(now);
        }
        let has_room = counts.has_room(self.capacity, now);
        if !has_room {
            return counts.shared.entry(shared(&key)).or_insert(Count::none(now)).begin(now);
        }
        // Attempts from before it had a separate count still count.
        let mut count = counts.shared.get(&shared(&key)).copied().unwrap_or(Count::none(now));
        let begun = count.begin(now);
        counts.own.insert(key, count);
        begun
    }

    /// The attempt was not made after all: it does not count.
    pub fn withdrawn(&self, source: AttemptSource<'_>, attempt: CountedAttempt) {
        let key = self.key(source);
        let mut counts = self.lock();
        if let Some(count) = counts.find(&key) {
            count.withdraw(attempt);
        }
        if counts.own.get(&key).is_some_and(|count| count.attempts == 0) {
            counts.own.remove(&key);
        }
    }

    /// The attempt succeeded: the count of this source, and of no other, is cleared.
    pub fn succeeded(&self, source: AttemptSource<'_>) {
        self.lock().own.remove(&self.key(source));
    }
}

fn pause_after(attempts: u32) -> Duration {
    let Some(over) = attempts.checked_sub(FREE) else { return Duration::ZERO };
    Duration::from_secs(1u64.checked_shl(over).unwrap_or(u64::MAX)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mandate_core::{Entropy, Timestamp};

    use super::{AttemptSource, Attempts, FREE, LONGEST_PAUSE, QUIET, SHARED_COUNTS, TooMany};

    const RILEY: AttemptSource<'static> = AttemptSource::Name("riley");
    const BROWSER: AttemptSource<'static> = AttemptSource::Browser { name: "riley", id: "b1" };

    /// Always the same key, so that the sources below always share the same counts.
    struct Fixed;

    impl Entropy for Fixed {
        fn fill(&self, out: &mut [u8]) {
            out.fill(7);
        }
    }

    fn slowed(source: AttemptSource<'_>, now: Timestamp) -> Attempts {
        let attempts = Attempts::new(&Fixed);
        for _ in 0..FREE {
            attempts.begin(source, now).unwrap();
        }
        attempts
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut now = Timestamp::from_secs(1_000);
        let attempts = slowed(RILEY, now);
        assert_eq!(attempts.begin(RILEY, now), Err(TooMany(Duration::from_secs(1))));
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            now = now.plus(LONGEST_PAUSE);
            attempts.begin(RILEY, now).unwrap();
            longest = attempts.begin(RILEY, now).unwrap_err().0;
        }
        assert_eq!(longest, LONGEST_PAUSE);
        attempts.succeeded(RILEY);
        assert!(attempts.begin(RILEY, now).is_ok());
    }

    /// Every name with a count, its own or a shared one, that is still in force.
    fn fill(attempts: &Attempts, names: usize, now: Timestamp) {
        for n in 0..names {
            let _ = attempts.begin(AttemptSource::Name(&format!("name-{n}")), now);
        }
    }

    #[test]
    fn no_flood_of_made_up_names_frees_the_name_under_attack_or_grows_memory() {
        let now = Timestamp::from_secs(1_000);
        let attempts = slowed(RILEY, now);
        fill(&attempts, 100_000, now);
        let counts = attempts.lock();
        assert!(counts.own.len() <= attempts.capacity && counts.shared.len() <= usize::from(SHARED_COUNTS));
        drop(counts);
        assert!(attempts.begin(RILEY, now).is_err());
    }

    #[test]
    fn no_success_of_anybody_else_clears_the_count_of_the_name_under_attack() {
        let now = Timestamp::from_secs(1_000);
        // With room for all, and with room for none: then the count is one that many share.
        for capacity in [100_000, 0] {
            let attempts = Attempts::of(capacity, &Fixed);
            for _ in 0..FREE {
                attempts.begin(RILEY, now).unwrap();
            }
            for n in 0..70_000 {
                attempts.succeeded(AttemptSource::Name(&format!("name-{n}")));
                attempts.succeeded(AttemptSource::Browser { name: "mallory", id: &format!("b{n}") });
            }
            assert!(attempts.begin(RILEY, now).is_err(), "{capacity}");
        }
    }

    #[test]
    fn a_count_is_removed_only_when_it_restrains_nobody_any_more() {
        let start = Timestamp::from_secs(1_000);
        let attempts = Attempts::of(64, &Fixed);
        attempts.begin(RILEY, start).unwrap();
        fill(&attempts, 1_000, start.plus(Duration::from_secs(1)));
        assert!(
            attempts.lock().own.contains_key(&attempts.key(RILEY)),
            "one attempt is not forgotten either"
        );
        let later = start.plus(QUIET + Duration::from_secs(2));
        fill(&attempts, 1_000, later);
        assert!(!attempts.lock().own.contains_key(&attempts.key(RILEY)));
    }

    #[test]
    fn a_source_that_gets_a_count_of_its_own_keeps_what_it_did_before() {
        let now = Timestamp::from_secs(1_000);
        let mut attempts = Attempts::of(0, &Fixed);
        for _ in 0..FREE {
            attempts.begin(RILEY, now).unwrap();
        }
        attempts.capacity = 10;
        assert!(attempts.begin(RILEY, now).is_err());
    }

    #[test]
    fn strangers_who_guess_at_a_name_do_not_slow_a_browser_the_person_has_used() {
        let now = Timestamp::from_secs(1_000);
        let attempts = slowed(RILEY, now);
        assert!(attempts.begin(RILEY, now).is_err());
        assert!(attempts.begin(BROWSER, now).is_ok());
        assert!(
            attempts.begin(AttemptSource::Name("b1"), now).is_ok(),
            "a name that reads like a browser is not one"
        );
    }

    #[test]
    fn a_browser_that_guesses_is_slowed_like_anybody() {
        let now = Timestamp::from_secs(1_000);
        assert!(slowed(BROWSER, now).begin(BROWSER, now).is_err());
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_lengthen_a_pause() {
        let attempts = slowed(RILEY, Timestamp::from_secs(100_000));
        let TooMany(pause) = attempts.begin(RILEY, Timestamp::from_secs(1_000)).unwrap_err();
        assert_eq!(pause, Duration::from_secs(1));
    }

    #[test]
    fn an_attempt_that_was_never_made_does_not_count() {
        let now = Timestamp::from_secs(1_000);
        let attempts = Attempts::new(&Fixed);
        for _ in 0..50 {
            let attempt = attempts.begin(RILEY, now).unwrap();
            attempts.withdrawn(RILEY, attempt);
        }
        assert!(attempts.lock().own.is_empty());
        // Nor does it begin a pause that is over again.
        let attempts = slowed(RILEY, now);
        let over = now.plus(Duration::from_secs(2));
        let attempt = attempts.begin(RILEY, over).unwrap();
        attempts.withdrawn(RILEY, attempt);
        assert!(attempts.begin(RILEY, over).is_ok());
    }
}
