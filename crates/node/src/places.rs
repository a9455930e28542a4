//! How many connections there may be: of all users, of one user, and how many are kept for the node's
//! operator.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::activity::{Activity, Use};

/// The most connections of all users, if the limit on open files allows so many.
const MOST: usize = 2048;

/// The most connections of one user.
const MOST_OF_ONE: usize = 512;

/// Of so many places, the last one is for users without any connection.
const KEPT_FOR_NEWCOMERS: usize = 32;

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
    /// The node's own user, if its number identifies it.
    own: Option<u32>,
    taken: Arc<Mutex<Taken>>,
}

/// One connection's place, until it is dropped.
pub(crate) struct Place {
    places: Places,
    id: u64,
}

impl Places {
    /// Places that are all free. `own` is the user that the node runs as, if its number identifies it.
    pub(crate) fn new(limits: Limits, own: Option<u32>) -> Self {
        Self { limits, own, taken: Arc::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // The state is consistent whenever the lock is free, also after a panic.
        self.taken.lock()
    }

    /// Whether it is root or the node's own user.
    pub(crate) fn is_operator(&self, uid: u32) -> bool {
        uid == 0 || self.own == Some(uid)
    }

    /// A place for a connection of `uid`, or `None`.
    ///
    /// The node's own user and root have places that no other user can take. Any other user may have half of
    /// the remaining places, so that each further user gets some, and always one. When no place is left, a
    /// user gets that of a connection of another user ([`Taken::make_room`]). A user who has a connection
    /// already does so when few places are left.
    pub(crate) fn take(&self, uid: u32, activity: &Arc<Activity>) -> Option<Place> {
        let mut taken = self.taken();
        let mine = taken.count(uid);
        if self.is_operator(uid) {
            if mine >= self.limits.operator {
                taken.displace_own(uid)?;
            }
        } else {
            let others =
                taken.counts.iter().filter(|(uid, _)| !self.is_operator(**uid)).map(|(_, count)| count).sum();
            let left = self.limits.others.saturating_sub(others);
            if left == 0 || (mine > 0 && left <= self.limits.others / KEPT_FOR_NEWCOMERS) {
                taken.make_room(uid, |other| !self.is_operator(other))?;
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
    fn count(&self, uid: u32) -> usize {
        self.counts.get(&uid).copied().unwrap_or_default()
    }

    /// Ends the connection that gives its place to a new one of `uid`, of those for whose users `may_lose` is
    /// true. `None`: there is none.
    ///
    /// A connection that rests is ended if its user has more than `uid` has. Others are ended only where none
    /// rests: a client must not keep its place by never taking an answer, or by a stream that it does not
    /// need. Then its user has at least as many left as `uid` gets, unless `uid` has none: otherwise very
    /// many users with one connection each would exclude it. The first to be ended are those of the user with
    /// the most connections, and of these the one that has been in its state for longest.
    fn make_room(&mut self, uid: u32, may_lose: impl Fn(u32) -> bool) -> Option<()> {
        let mine = self.count(uid);
        let rank = |(id, held): (&u64, &Held)| {
            let count = self.count(held.uid);
            if held.uid == uid || count <= mine || !may_lose(held.uid) {
                return None;
            }
            let (used, since) = held.activity.used();
            let gives_way = used == Use::Rests || mine == 0 || count > mine + 1;
            gives_way.then_some((used, Reverse(count), since, *id))
        };
        let (.., id) = self.held.iter().filter_map(rank).min()?;
        self.end(id);
        Some(())
    }

    /// Ends the connection of `uid` that has rested longest. `None`: none of them rests.
    fn displace_own(&mut self, uid: u32) -> Option<()> {
        let resting = |(id, held): (&u64, &Held)| match held.activity.used() {
            (Use::Rests, since) if held.uid == uid => Some((since, *id)),
            _ => None,
        };
        let (_, id) = self.held.iter().filter_map(resting).min()?;
        self.end(id);
        Some(())
    }

    fn end(&mut self, id: u64) {
        if let Some(held) = self.held.get(&id) {
            held.activity.end();
        }
        self.free(id);
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
    use crate::activity::{Activity, Call, ResponseBody};
    use std::sync::Arc;

    const OWN: u32 = 900;

    fn places() -> Places {
        Places::new(Limits::within(1 << 20), Some(OWN))
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
        assert!(
            places.taken().counts.is_empty() && places.taken().held.is_empty(),
            "nothing is remembered of users who are gone"
        );
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
        let crowds: Vec<_> =
            (0..4 * u32::try_from(MOST).unwrap()).map(|n| crowd(&places, 100_000 + n, 1)).collect();
        assert!(crowds.iter().all(|crowd| crowd.len() == 1));
        assert_eq!(places.taken().held.len(), MOST, "and there are never more than fit");
        assert_eq!(crowd(&places, 7, 2).len(), 1, "one each, when there is no more");
        let ended = crowds.iter().flatten().filter(|(_, activity)| activity.is_ended()).count();
        assert_eq!(ended, 3 * MOST + 1, "those that rested longest have gone");
    }

    fn open(activity: &Arc<Activity>) -> Arc<Call> {
        let call = activity.call();
        call.open();
        call
    }

    fn ended(crowd: &[(Place, Arc<Activity>)]) -> Vec<usize> {
        (0..crowd.len()).filter(|at| crowd[*at].1.is_ended()).collect()
    }

    #[tokio::test]
    async fn a_connection_with_an_open_call_is_displaced_only_where_none_rests() {
        let places = Places::new(Limits { others: 2, operator: 1 }, Some(OWN));
        let busy = crowd(&places, 1000, 1);
        let _call = open(&busy[0].1);
        let resting = crowd(&places, 1001, 1);
        assert_eq!(crowd(&places, 1002, 1).len(), 1);
        assert!(!busy[0].1.is_ended() && resting[0].1.is_ended());
    }

    #[tokio::test]
    async fn users_who_keep_every_connection_in_use_keep_no_other_user_out() {
        let places = Places::new(Limits { others: 16, operator: 1 }, Some(OWN));
        let sizes = [5, 4, 2, 2, 1, 1, 1];
        let crowds: Vec<_> = (100_000..).zip(sizes).map(|(uid, size)| crowd(&places, uid, size)).collect();
        assert_eq!(crowds.iter().map(Vec::len).collect::<Vec<_>>(), sizes, "they have every place");
        let _calls: Vec<_> = crowds.iter().flatten().map(|(_, activity)| open(activity)).collect();
        let newcomer = crowd(&places, 7, MOST);
        assert_eq!(newcomer.len(), 3, "until it has as many as the others");
        assert_eq!(
            (ended(&crowds[0]), ended(&crowds[1])),
            (vec![0, 1], vec![0]),
            "the oldest of the users with the most"
        );
        let _also_busy: Vec<_> = newcomer.iter().map(|(_, activity)| open(activity)).collect();
        let _unread = ResponseBody::new((), open(&crowds[2][1].1));
        assert_eq!(crowd(&places, 8, 1).len(), 1);
        assert_eq!(ended(&crowds[2]), [1], "a client that does not take its answer goes first");
        assert_eq!(crowds.iter().flatten().filter(|(_, activity)| activity.is_ended()).count(), 4);
    }

    #[tokio::test]
    async fn with_a_connection_in_use_for_each_of_very_many_users_another_still_finds_a_place() {
        let places = Places::new(Limits { others: 3, operator: 1 }, Some(OWN));
        let crowds: Vec<_> = (0..3).flat_map(|n| crowd(&places, 100_000 + n, 1)).collect();
        let _calls: Vec<_> = crowds.iter().map(|(_, activity)| open(activity)).collect();
        let agent = crowd(&places, 7, 2);
        assert_eq!(agent.len(), 1, "and no second one, as nobody has more than one");
        assert_eq!(ended(&crowds), [0], "the one that has been connected longest");
    }

    #[tokio::test]
    async fn the_last_places_are_for_users_without_a_connection() {
        let places = Places::new(Limits { others: 64, operator: 1 }, Some(OWN));
        let crowds: Vec<_> = (0..8).map(|n| crowd(&places, 100_000 + n, MOST)).collect();
        let _one_more = crowd(&places, 200_000, 1);
        let held = || places.taken().held.len();
        assert_eq!(held(), 62);
        let agent = crowd(&places, 7, 1);
        assert_eq!((agent.len(), held()), (1, 63));
        let second = crowd(&places, 7, 1);
        assert_eq!((second.len(), held()), (1, 63), "its second one takes none of them");
        assert_eq!(ended(&crowds[0]), [0]);
    }

    #[tokio::test]
    async fn the_nodes_own_user_and_root_always_get_in() {
        let places = Places::new(Limits { others: 3, operator: 2 }, Some(OWN));
        let crowds: Vec<_> = (0..3).map(|n| crowd(&places, 1000 + n, 1)).collect();
        for operator in [OWN, 0] {
            let mut held = crowd(&places, operator, 5);
            assert_eq!(held.len(), 5, "its oldest connection makes room for its newest");
            assert_eq!(held.iter().filter(|(_, activity)| activity.is_ended()).count(), 3);
            let calls: Vec<_> = held.iter().map(|(_, activity)| open(activity)).collect();
            assert!(crowd(&places, operator, 1).is_empty());
            drop(calls);
            held.clear();
        }
        assert!(
            crowds.iter().flatten().all(|(_, activity)| !activity.is_ended()),
            "not at the expense of others"
        );
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
