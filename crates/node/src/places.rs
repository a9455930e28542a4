//! How many connections there may be: of all users, of one user, and how many are kept for the node's operator.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::activity::Activity;

/// The most connections of all users, if the limit on open files allows so many.
const MOST: usize = 2048;

/// The most connections of one user.
const MOST_OF_ONE: usize = 512;

/// Descriptors for everything except connections: the server, the directory, programs that are read.
const OTHER_DESCRIPTORS: usize = 128;

/// Descriptors of one connection: its socket and its process.
const DESCRIPTORS_OF_ONE: usize = 2;

/// How many connections are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// For all users except the operator.
    others: usize,
    /// For each operator: the node's own user, and root.
    operator: usize,
}

impl Limits {
    /// The limits for a process with this many file descriptors.
    pub(crate) fn within(descriptors: usize) -> Self {
        let connections = descriptors.saturating_sub(OTHER_DESCRIPTORS) / DESCRIPTORS_OF_ONE;
        // Two operators: the node's own user may be another than root.
        let operator = MOST_OF_ONE.min(connections / 8).max(1);
        Self { others: MOST.min(connections.saturating_sub(2 * operator)), operator }
    }
}

struct Held {
    uid: u32,
    activity: Arc<Activity>,
}

#[derive(Default)]
struct Taken {
    held: HashMap<u64, Held>,
    counts: HashMap<u32, usize>,
    next: u64,
}

/// The places of all connections.
#[derive(Clone)]
pub(crate) struct Places {
    limits: Limits,
    /// The node's own user.
    own: u32,
    taken: Arc<Mutex<Taken>>,
}

/// One connection's place, until it is dropped.
pub(crate) struct Place {
    places: Places,
    id: u64,
}

impl Places {
    /// All are free. `own` is the user that the node runs as.
    pub(crate) fn new(limits: Limits, own: u32) -> Self {
        Self { limits, own, taken: Arc::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Every change is complete when the lock is let go, also by a panic.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_operator(&self, uid: u32) -> bool {
        uid == 0 || uid == self.own
    }

    /// A place for a connection of `uid`, or `None`.
    ///
    /// The node's own user and root have places that no other user can take. Any other user may have half of the remaining
    /// places, so that each further user gets some, and always one. When no place is left, a user with fewer connections than
    /// another gets the place of the other user's connection that has been idle longest.
    pub(crate) fn take(&self, uid: u32, activity: &Arc<Activity>) -> Option<Place> {
        let mut taken = self.taken();
        let mine = taken.counts.get(&uid).copied().unwrap_or_default();
        if self.is_operator(uid) {
            if mine >= self.limits.operator {
                taken.displace(uid)?;
            }
        } else {
            let others = taken.counts.iter().filter(|(uid, _)| !self.is_operator(**uid)).map(|(_, count)| count).sum();
            let left = self.limits.others.saturating_sub(others);
            if left == 0 {
                let (crowd, count) = taken.largest(|other| other != uid && !self.is_operator(other))?;
                if count <= mine {
                    return None;
                }
                taken.displace(crowd)?;
            } else if mine >= MOST_OF_ONE || (mine > 0 && mine >= left / 2) {
                return None;
            }
        }
        let id = taken.next;
        taken.next += 1;
        taken.held.insert(id, Held { uid, activity: Arc::clone(activity) });
        *taken.counts.entry(uid).or_default() += 1;
        drop(taken);
        Some(Place { places: self.clone(), id })
    }
}

impl Taken {
    /// The user with the most idle connections, among the users for whom `counts` is true.
    fn largest(&self, counts: impl Fn(u32) -> bool) -> Option<(u32, usize)> {
        let resting = |uid: u32| self.held.values().any(|held| held.uid == uid && held.activity.rests_since().is_some());
        let mut users: Vec<(u32, usize)> = self.counts.iter().map(|(uid, count)| (*uid, *count)).filter(|(uid, _)| counts(*uid)).collect();
        users.sort_unstable_by_key(|(_, count)| std::cmp::Reverse(*count));
        users.into_iter().find(|(uid, _)| resting(*uid))
    }

    /// Ends the connection of `uid` that has been idle longest. `None`: none of them is idle.
    fn displace(&mut self, uid: u32) -> Option<()> {
        let resting = |(id, held): (&u64, &Held)| (held.uid == uid).then_some((held.activity.rests_since()?, *id));
        let (_, id): (Instant, u64) = self.held.iter().filter_map(resting).min()?;
        if let Some(held) = self.held.get(&id) {
            held.activity.end();
        }
        self.free(id);
        Some(())
    }

    fn free(&mut self, id: u64) {
        let Some(held) = self.held.remove(&id) else { return };
        if let Some(count) = self.counts.get_mut(&held.uid) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&held.uid);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A displaced connection has given its place already.
        self.places.taken().free(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::{Limits, MOST, MOST_OF_ONE, Place, Places};
    use crate::activity::Activity;
    use std::sync::Arc;

    const OWN: u32 = 900;

    fn places() -> Places {
        Places::new(Limits::within(1 << 20), OWN)
    }

    /// Takes as many as this user gets, up to `most`.
    fn crowd(places: &Places, uid: u32, most: usize) -> Vec<(Place, Arc<Activity>)> {
        let take = |_| {
            let activity = Arc::new(Activity::new());
            places.take(uid, &activity).map(|place| (place, activity))
        };
        (0..most).map_while(take).collect()
    }

    #[tokio::test]
    async fn one_user_cannot_take_all_places() {
        let places = places();
        let mut of_one = crowd(&places, 1000, MOST);
        assert_eq!(of_one.len(), MOST_OF_ONE);
        assert_eq!(crowd(&places, 1001, 1).len(), 1);
        of_one.pop();
        assert_eq!(crowd(&places, 1000, 2).len(), 1, "a place that is given back can be taken again");
        drop(of_one);
        assert!(places.taken().counts.is_empty() && places.taken().held.is_empty(), "nothing is remembered of users who are gone");
    }

    #[tokio::test]
    async fn four_users_who_take_what_they_get_leave_room_for_more_users() {
        let places = places();
        let crowds: Vec<_> = (0..4).map(|n| crowd(&places, 1000 + n, MOST)).collect();
        let sizes: Vec<usize> = crowds.iter().map(Vec::len).collect();
        assert_eq!(sizes, [512, 512, 341, 228], "each gets at most half of what is left");
        assert!(crowd(&places, 2000, MOST).len() > 100);
    }

    #[tokio::test]
    async fn however_many_users_there_are_another_finds_a_place() {
        let places = places();
        // Subordinate user ids: one person has 65,536 of them.
        let crowds: Vec<_> = (0..4 * u32::try_from(MOST).unwrap()).map(|n| crowd(&places, 100_000 + n, 1)).collect();
        assert!(crowds.iter().all(|crowd| crowd.len() == 1));
        assert_eq!(places.taken().held.len(), MOST, "and there are never more than fit");
        assert_eq!(crowd(&places, 7, 2).len(), 1, "one each, when there is no more");
        let ended = crowds.iter().flatten().filter(|(_, activity)| activity.is_ended()).count();
        assert_eq!(ended, 3 * MOST + 1, "those that rested longest have gone");
    }

    #[tokio::test]
    async fn a_connection_with_an_open_call_is_not_displaced() {
        let places = Places::new(Limits { others: 2, operator: 1 }, OWN);
        let busy = crowd(&places, 1000, 1);
        let _call = busy[0].1.open();
        let resting = crowd(&places, 1001, 1);
        assert_eq!(crowd(&places, 1002, 1).len(), 1);
        assert!(!busy[0].1.is_ended() && resting[0].1.is_ended());
        let _second = resting[0].1.open();
        let both_busy = Places::new(Limits { others: 1, operator: 1 }, OWN);
        let only = crowd(&both_busy, 1000, 1);
        let _open = only[0].1.open();
        assert!(crowd(&both_busy, 1001, 1).is_empty());
    }

    #[tokio::test]
    async fn the_nodes_own_user_and_root_always_get_in() {
        let places = Places::new(Limits { others: 3, operator: 2 }, OWN);
        let crowds: Vec<_> = (0..3).map(|n| crowd(&places, 1000 + n, 1)).collect();
        for operator in [OWN, 0] {
            let mut held = crowd(&places, operator, 5);
            assert_eq!(held.len(), 5, "its oldest connection makes room for its newest");
            assert_eq!(held.iter().filter(|(_, activity)| activity.is_ended()).count(), 3);
            let calls: Vec<_> = held.iter().map(|(_, activity)| activity.open()).collect();
            assert!(crowd(&places, operator, 1).is_empty());
            drop(calls);
            held.clear();
        }
        assert!(crowds.iter().flatten().all(|(_, activity)| !activity.is_ended()), "not at the expense of others");
    }

    #[test]
    fn the_limits_fit_the_descriptors_that_there_are() {
        for descriptors in [256, 512, 1024, 4096, 65_536, 1 << 20] {
            let Limits { others, operator } = Limits::within(descriptors);
            assert!(others > 0 && operator > 0);
            assert!((others + 2 * operator) * 2 + 128 <= descriptors, "{descriptors}");
        }
        assert_eq!(Limits::within(1 << 20), Limits { others: MOST, operator: MOST_OF_ONE });
    }
}
