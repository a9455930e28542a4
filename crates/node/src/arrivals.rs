//! How often each user may connect. A process that connects and hangs up without pause must not take the
//! node's time from others: its connections end before the process is inspected.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How many connections a user may make at once.
const BURST: u32 = 512;

/// How often one more is added.
const INTERVAL: Duration = Duration::from_millis(10);

/// How many users are distinguished. All further ones share one allowance.
const MOST_USERS: usize = 4096;

/// When the allowance of each user will be complete again. A user who is not in it has the complete
/// allowance.
#[derive(Default)]
pub(crate) struct Arrivals {
    whole: HashMap<Option<u32>, Instant>,
}

impl Arrivals {
    /// Whether `uid` may make one more connection now.
    pub(crate) fn admits(&mut self, uid: u32, now: Instant) -> bool {
        if self.whole.len() >= MOST_USERS && !self.whole.contains_key(&Some(uid)) {
            self.whole.retain(|_, whole| *whole > now);
        }
        let known = self.whole.len() < MOST_USERS || self.whole.contains_key(&Some(uid));
        let whole = self.whole.entry(known.then_some(uid)).or_insert(now);
        let next = (*whole).max(now) + INTERVAL;
        let admitted = next - now <= INTERVAL * BURST;
        if admitted {
            *whole = next;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrivals, BURST, INTERVAL, MOST_USERS};
    use std::time::Instant;

    /// How many of so many connections are admitted.
    fn admitted(arrivals: &mut Arrivals, uid: u32, tries: u32, now: Instant) -> u32 {
        (0..tries).map(|_| u32::from(arrivals.admits(uid, now))).sum()
    }

    #[test]
    fn a_user_who_connects_without_pause_takes_nothing_from_others() {
        let (mut arrivals, now) = (Arrivals::default(), Instant::now());
        assert_eq!(admitted(&mut arrivals, 1000, 100_000, now), BURST);
        assert_eq!(admitted(&mut arrivals, 1001, 10, now), 10);
        assert_eq!(admitted(&mut arrivals, 1000, 100_000, now + INTERVAL * 7), 7, "with time there are more");
        assert_eq!(
            admitted(&mut arrivals, 1000, 100_000, now + INTERVAL * 10_000),
            BURST,
            "but never more than at the beginning"
        );
    }

    #[test]
    fn very_many_users_share_one_allowance_and_forgive_nobody() {
        let (mut arrivals, now) = (Arrivals::default(), Instant::now());
        assert_eq!(admitted(&mut arrivals, 0, BURST, now), BURST);
        let users = u32::try_from(MOST_USERS).unwrap();
        let sum: u32 = (1..users * 2).map(|uid| admitted(&mut arrivals, uid, 1, now)).sum();
        assert_eq!(sum, users - 1 + BURST);
        assert!(arrivals.whole.len() <= MOST_USERS + 1);
        assert!(!arrivals.admits(0, now));
        assert!(arrivals.admits(users * 3, now + INTERVAL * 2), "what is whole again is forgotten");
    }
}
