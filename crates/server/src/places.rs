//! Who holds the places of a listener, and which connection ends when there are too few places.
//!
//! A connection is a stranger's until it has shown who holds it. Strangers never take the places of known holders. When the
//! places of strangers are full, a newcomer takes the place of the connection that has been idle or slow longest, in the
//! network that holds the most. A connection that is new is spared: its request may not be read yet. So a known client can always connect and show who it is. A known holder loses a place only
//! to a holder with fewer places.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use mandate_core::RequestSource;
use tokio::sync::{Notify, oneshot};

use crate::health::crowd::Crowd;

/// How many connections may be ending at the same time. While there are more, no other connection is accepted.
const MOST_LEAVING: usize = 64;

/// How long a new connection is spared, if another one can end: its request may have arrived already, and not be read yet.
const GRACE: Duration = Duration::from_secs(1);

/// The holder of a place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// A stranger in this network.
    Network(RequestSource),
    /// A client, person, operator or node that has proven its identity.
    Known(Arc<str>),
}

/// The kind of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The place of a connection that has shown nothing yet.
    Stranger,
    /// The place of a connection whose holder is known.
    Known,
    /// The place of a stranger that stays: a feed, or a node that is about to join.
    Staying,
}

/// Which connection ends when all places of a kind are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The one that has been idle or slow for the longest, of the holder that has the most.
    LongestIdle,
    /// The same, but only to a holder that has fewer.
    LongestIdleIfFair,
    /// The newest of the holder that has the most, but only for a holder that has fewer: the loss of an old one does more harm.
    NewestIfFair,
}

/// The state of a connection.
#[derive(Debug)]
struct Activity {
    /// Since when it is in this state: a number that increases with every event at the listener.
    since: AtomicU64,
    /// Whether the server is processing its request, so that it waits for the server and not the server for it.
    served: AtomicBool,
    /// Until when it is spared, if it has made no request before.
    spared_until: Instant,
    /// Whether it has made a request.
    asked: AtomicBool,
}

impl Activity {
    fn is_spared(&self, now: Instant) -> bool {
        !self.asked.load(Ordering::Relaxed) && now < self.spared_until
    }
}

struct Seat {
    number: u64,
    activity: Arc<Activity>,
    /// Dropped when its connection must end.
    _stay: oneshot::Sender<()>,
}

struct Room {
    capacity: usize,
    rule: Rule,
    holders: HashMap<Holder, Vec<Seat>>,
    taken: usize,
}

impl Room {
    fn new(capacity: usize, rule: Rule) -> Self {
        Self { capacity, rule, holders: HashMap::new(), taken: 0 }
    }

    fn held_by(&self, holder: &Holder) -> usize {
        self.holders.get(holder).map_or(0, Vec::len)
    }

    fn insert(&mut self, holder: Holder, seat: Seat) {
        self.holders.entry(holder).or_default().push(seat);
        self.taken += 1;
    }

    fn remove(&mut self, holder: &Holder, number: u64) -> Option<Seat> {
        let seats = self.holders.get_mut(holder)?;
        let at = seats.iter().position(|seat| seat.number == number)?;
        let seat = seats.swap_remove(at);
        if seats.is_empty() {
            self.holders.remove(holder);
        }
        self.taken -= 1;
        Some(seat)
    }

    /// The connection that ends for one more of `newcomer`, if there is one.
    fn who_gives_way(&self, newcomer: &Holder) -> Option<(Holder, u64)> {
        let now = Instant::now();
        let own = self.held_by(newcomer);
        let fair = |held: usize| self.rule == Rule::LongestIdle || held > own + 1;
        let of_all = self.holders.iter().filter(|(_, seats)| fair(seats.len()));
        let seats = of_all.flat_map(|(holder, seats)| seats.iter().map(move |seat| (holder, seats.len(), seat)));
        let found = match self.rule {
            Rule::NewestIfFair => seats.max_by_key(|(_, held, seat)| (*held, seat.number)),
            Rule::LongestIdle | Rule::LongestIdleIfFair => {
                seats.filter(|(_, _, seat)| !seat.activity.served.load(Ordering::Relaxed)).max_by_key(|(_, held, seat)| {
                    let idle_longest = u64::MAX - seat.activity.since.load(Ordering::Relaxed);
                    (*held, !seat.activity.is_spared(now), idle_longest, u64::MAX - seat.number)
                })
            }
        };
        found.map(|(holder, _, seat)| (holder.clone(), seat.number))
    }

    /// Makes room for one more of `newcomer`. Returns how many were told to end, or nothing if there is no room.
    fn make_room(&mut self, newcomer: &Holder) -> Option<usize> {
        if self.taken < self.capacity {
            return Some(0);
        }
        let (holder, number) = self.who_gives_way(newcomer)?;
        self.remove(&holder, number).map(|_| 1)
    }
}

struct Inner {
    strangers: Room,
    known: Room,
    staying: Room,
    next_number: u64,
    leaving: usize,
}

impl Inner {
    fn room(&mut self, kind: Kind) -> &mut Room {
        match kind {
            Kind::Stranger => &mut self.strangers,
            Kind::Known => &mut self.known,
            Kind::Staying => &mut self.staying,
        }
    }
}

/// The places of one listener.
pub(crate) struct Places {
    inner: Mutex<Inner>,
    /// The number of the next event.
    next_event: AtomicU64,
    /// How long a new connection is spared.
    grace: Duration,
    somebody_left: Notify,
    /// Counts what happens to strangers.
    crowd: OnceLock<Arc<Crowd>>,
}

/// A connection's place, until it is dropped.
pub(crate) struct Guest {
    places: Arc<Places>,
    number: u64,
    network: RequestSource,
    activity: Arc<Activity>,
    at: Mutex<(Kind, Holder)>,
    /// Whether it is known; a copy, so that no lock is needed.
    known: AtomicBool,
}

/// Completes when a connection must end, because another one takes its place.
pub(crate) type Ended = oneshot::Receiver<()>;

impl Places {
    /// This many places for strangers, for known holders, and for feeds.
    pub(crate) fn new(strangers: usize, known: usize, feeds: usize) -> Arc<Self> {
        Self::with(strangers, known, Room::new(feeds, Rule::NewestIfFair))
    }

    /// This many places for strangers before the handshake is done, for nodes, and for strangers after the handshake.
    pub(crate) fn for_nodes(handshakes: usize, nodes: usize, strangers: usize) -> Arc<Self> {
        Self::with(handshakes, nodes, Room::new(strangers, Rule::LongestIdle))
    }

    fn with(strangers: usize, known: usize, staying: Room) -> Arc<Self> {
        let inner = Inner {
            strangers: Room::new(strangers, Rule::LongestIdle),
            known: Room::new(known, Rule::LongestIdleIfFair),
            staying,
            next_number: 0,
            leaving: 0,
        };
        let (next_event, somebody_left, crowd) = (AtomicU64::new(0), Notify::new(), OnceLock::new());
        Arc::new(Self { inner: Mutex::new(inner), next_event, grace: GRACE, somebody_left, crowd })
    }

    /// Tells `crowd` from now on of strangers who are turned away.
    pub(crate) fn watched_by(self: Arc<Self>, crowd: Arc<Crowd>) -> Arc<Self> {
        // A listener has one, from its start.
        let _ = self.crowd.set(crowd);
        self
    }

    /// Reports how many strangers were not accepted, or were told to end.
    fn turned_away(&self, strangers: usize) {
        if strangers > 0
            && let Some(crowd) = self.crowd.get()
        {
            crowd.was_full(strangers as u64);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that can panic runs under this lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn event(&self) -> u64 {
        self.next_event.fetch_add(1, Ordering::Relaxed)
    }

    /// A place for a new connection from `network`. None: all strangers are being served.
    ///
    /// Waits while many connections that were told to end have not ended yet: their files are still open.
    pub(crate) async fn admit(self: &Arc<Self>, network: RequestSource) -> Option<(Guest, Ended)> {
        loop {
            let left = self.somebody_left.notified();
            if self.lock().leaving < MOST_LEAVING {
                return self.enter(network);
            }
            left.await;
        }
    }

    fn enter(self: &Arc<Self>, network: RequestSource) -> Option<(Guest, Ended)> {
        let holder = Holder::Network(network);
        let activity = Arc::new(Activity {
            since: AtomicU64::new(self.event()),
            served: AtomicBool::new(false),
            spared_until: Instant::now() + self.grace,
            asked: AtomicBool::new(false),
        });
        let (stay, ended) = oneshot::channel();
        let mut inner = self.lock();
        let Some(told_to_go) = inner.strangers.make_room(&holder) else {
            drop(inner);
            self.turned_away(1);
            return None;
        };
        inner.leaving += told_to_go;
        let number = inner.next_number;
        inner.next_number += 1;
        inner.strangers.insert(holder.clone(), Seat { number, activity: Arc::clone(&activity), _stay: stay });
        drop(inner);
        self.turned_away(told_to_go);
        let (places, at) = (Arc::clone(self), Mutex::new((Kind::Stranger, holder)));
        Some((Guest { places, number, network, activity, at, known: AtomicBool::new(false) }, ended))
    }

    /// Ends the stranger that has been idle or slow longest: the process has no file left for a new connection.
    pub(crate) fn end_a_stranger(&self) {
        let mut inner = self.lock();
        let nobody = Holder::Known("".into());
        if let Some((holder, number)) = inner.strangers.who_gives_way(&nobody) {
            inner.strangers.remove(&holder, number);
            inner.leaving += 1;
            drop(inner);
            self.turned_away(1);
        }
    }

    #[cfg(test)]
    fn taken(&self) -> (usize, usize, usize) {
        let inner = self.lock();
        (inner.strangers.taken, inner.known.taken, inner.staying.taken)
    }
}

impl Guest {
    /// Where it comes from.
    pub(crate) fn network(&self) -> RequestSource {
        self.network
    }

    /// Its request has arrived completely: from now on it waits for the server.
    pub(crate) fn is_served(&self) {
        self.activity.asked.store(true, Ordering::Relaxed);
        self.activity.served.store(true, Ordering::Relaxed);
    }

    /// Its answer is on its way: from now on the server waits for it.
    pub(crate) fn was_served(&self) {
        self.activity.since.store(self.places.event(), Ordering::Relaxed);
        self.activity.served.store(false, Ordering::Relaxed);
    }

    /// It has proven to be `who`, and takes one of the places of known holders. If all of these are taken, and no holder has
    /// more places than `who`, it stays where it is.
    pub(crate) fn is_known(&self, who: &Arc<str>) {
        if !self.known.load(Ordering::Relaxed) && self.move_to(Kind::Known, Holder::Known(Arc::clone(who))) {
            self.known.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it has a place of known holders.
    pub(crate) fn has_known_place(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// Takes one of the places for connections that stay. False: there is none.
    pub(crate) fn stays(&self) -> bool {
        self.move_to(Kind::Staying, Holder::Network(self.network))
    }

    /// It did not read what was sent, and is disconnected. If it is a feed's reader, that is reported: it misses stops.
    pub(crate) fn is_cut_off(&self) {
        let reads_a_feed = self.at.lock().unwrap_or_else(PoisonError::into_inner).0 == Kind::Staying;
        if reads_a_feed && let Some(crowd) = self.places.crowd.get() {
            crowd.cut_off_a_reader();
        }
    }

    fn move_to(&self, kind: Kind, holder: Holder) -> bool {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        if at.0 == kind {
            return true;
        }
        let mut inner = self.places.lock();
        let (kind_before, holder_before) = &*at;
        // It may have been told to go in this moment.
        if !inner.room(*kind_before).holders.get(holder_before).is_some_and(|seats| seats.iter().any(|s| s.number == self.number)) {
            return false;
        }
        let room = inner.room(kind).make_room(&holder);
        // A known party that finds no place of the known stays where it is, and one that gives way is no stranger.
        let turned_away = if kind == Kind::Staying { room.unwrap_or(1) } else { 0 };
        let Some(told_to_go) = room else {
            drop(inner);
            self.places.turned_away(turned_away);
            return false;
        };
        inner.leaving += told_to_go;
        if let Some(seat) = inner.room(*kind_before).remove(holder_before, self.number) {
            inner.room(kind).insert(holder.clone(), seat);
        }
        *at = (kind, holder);
        drop(inner);
        self.places.turned_away(turned_away);
        true
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let (kind, holder) = &*self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let mut inner = self.places.lock();
        if inner.room(*kind).remove(holder, self.number).is_none() {
            inner.leaving = inner.leaving.saturating_sub(1);
            drop(inner);
            self.places.somebody_left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use mandate_core::Clock;
    use mandate_testkit::clock::SteppedClock;

    use super::{Ended, Guest, MOST_LEAVING, Places, RequestSource};
    use crate::health::Health;
    use crate::health::crowd::Crowd;

    const SMALL: &str = "192.0.2.1";
    const LARGE: &str = "198.51.100.7";

    /// Places in which a new connection is not spared.
    fn places_for(strangers: usize, known: usize, feeds: usize) -> Arc<Places> {
        let mut places = Places::new(strangers, known, feeds);
        Arc::get_mut(&mut places).unwrap().grace = Duration::ZERO;
        places
    }

    fn network(text: &str) -> RequestSource {
        RequestSource::of(text.parse().unwrap())
    }

    async fn admit(places: &Arc<Places>, from: &str) -> (Guest, Ended) {
        places.admit(network(from)).await.unwrap()
    }

    fn has_ended(ended: &mut Ended) -> bool {
        !matches!(ended.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty))
    }

    #[tokio::test]
    async fn when_strangers_places_are_full_the_longest_idle_gives_way_to_a_newcomer() {
        let places = places_for(2, 1, 1);
        let (first, mut first_ended) = admit(&places, LARGE).await;
        let (second, mut second_ended) = admit(&places, LARGE).await;
        first.was_served();
        let (_third, mut third_ended) = admit(&places, LARGE).await;
        // The second was idle from the beginning; the first has been served meanwhile.
        assert!(!has_ended(&mut first_ended) && has_ended(&mut second_ended) && !has_ended(&mut third_ended));
        drop(second);
        assert_eq!(places.taken().0, 2);
    }

    #[tokio::test]
    async fn a_new_connection_is_spared_as_long_as_another_can_end() {
        let places = Places::new(2, 1, 1);
        let (_new, mut new_ended) = admit(&places, LARGE).await;
        let (answered, mut answered_ended) = admit(&places, LARGE).await;
        answered.is_served();
        answered.was_served();
        let (_newer, mut newer_ended) = admit(&places, LARGE).await;
        assert!(has_ended(&mut answered_ended), "it has had its answer, though later than the new one came");
        assert!(!has_ended(&mut new_ended));
        let _newest = admit(&places, LARGE).await;
        assert!(has_ended(&mut new_ended) && !has_ended(&mut newer_ended), "where all are new, the oldest of them ends");
    }

    #[tokio::test]
    async fn a_connection_that_is_being_served_keeps_its_place() {
        let places = places_for(2, 1, 1);
        let (one, mut one_ended) = admit(&places, LARGE).await;
        one.is_served();
        let (two, _two_ended) = admit(&places, LARGE).await;
        two.is_served();
        assert!(places.admit(network(LARGE)).await.is_none(), "nobody can be ended");
        two.was_served();
        assert!(places.admit(network(LARGE)).await.is_some());
        assert!(!has_ended(&mut one_ended));
    }

    #[tokio::test]
    async fn the_network_with_the_most_places_gives_way_first() {
        let places = places_for(3, 1, 1);
        let (_old, mut old_ended) = admit(&places, SMALL).await;
        let (_a, mut a_ended) = admit(&places, LARGE).await;
        let (_b, mut b_ended) = admit(&places, LARGE).await;
        let (_c, _c_ended) = admit(&places, LARGE).await;
        assert!(!has_ended(&mut old_ended) && has_ended(&mut a_ended) && !has_ended(&mut b_ended));
    }

    #[tokio::test]
    async fn strangers_never_take_the_places_of_the_known() {
        let places = places_for(2, 2, 1);
        let (known, mut known_ended) = admit(&places, LARGE).await;
        known.is_known(&"app".into());
        let mut crowd = Vec::new();
        for _ in 0..20 {
            crowd.push(admit(&places, LARGE).await);
        }
        assert!(!has_ended(&mut known_ended) && known.has_known_place());
        assert_eq!(places.taken(), (2, 1, 0));
        let (late, _ended) = admit(&places, LARGE).await;
        late.is_known(&"app".into());
        assert!(late.has_known_place(), "and a known client gets in while strangers' places are full");
    }

    #[tokio::test]
    async fn a_known_client_with_many_places_gives_way_to_one_with_few() {
        let places = places_for(4, 3, 1);
        let mut many = Vec::new();
        for _ in 0..3 {
            let (guest, ended) = admit(&places, LARGE).await;
            guest.is_known(&"many".into());
            many.push((guest, ended));
        }
        let (one_more, _ended) = admit(&places, LARGE).await;
        one_more.is_known(&"many".into());
        assert!(!one_more.has_known_place(), "its own it does not take: it stays a stranger");
        let (few, _few_ended) = admit(&places, LARGE).await;
        few.is_known(&"few".into());
        assert!(few.has_known_place());
        assert_eq!(many.iter_mut().filter_map(|(_, ended)| has_ended(ended).then_some(())).count(), 1);
    }

    #[tokio::test]
    async fn a_feed_too_many_is_refused_unless_another_network_has_more_of_them() {
        let places = places_for(8, 1, 2);
        let (first, mut first_ended) = admit(&places, LARGE).await;
        let (second, mut second_ended) = admit(&places, LARGE).await;
        assert!(first.stays() && second.stays());
        let (third, _ended) = admit(&places, LARGE).await;
        assert!(!third.stays());
        let (other, _other_ended) = admit(&places, SMALL).await;
        assert!(other.stays());
        assert!(!has_ended(&mut first_ended) && has_ended(&mut second_ended), "the newest of them gives way");
        drop(other);
        assert!(third.stays(), "a feed that ends makes room");
    }

    #[tokio::test]
    async fn strangers_who_are_turned_away_are_counted_and_the_known_who_give_way_are_not() {
        let health = Health::default();
        let clock: Arc<dyn Clock> = Arc::new(SteppedClock::default());
        let told = || health.problems(clock.now()).into_iter().map(|problem| problem.detail).collect::<String>();
        let places = places_for(2, 1, 1).watched_by(Crowd::watched(&health, "public", &clock));
        let (first, _first_ended) = admit(&places, LARGE).await;
        assert!(first.stays());
        let (known, _known_ended) = admit(&places, LARGE).await;
        known.is_known(&"many".into());
        let (other, _other_ended) = admit(&places, LARGE).await;
        let (second, _second_ended) = admit(&places, LARGE).await;
        other.is_known(&"few".into());
        assert_eq!(told(), "");
        assert!(!second.stays());
        assert!(told().contains("once"), "{}", told());
        let (_third, _third_ended) = admit(&places, LARGE).await;
        assert!(told().contains("2 times"), "{}", told());
        second.is_served();
        other.is_served();
        let mut served = Vec::new();
        while let Some((guest, ended)) = places.admit(network(LARGE)).await {
            guest.is_served();
            served.push((guest, ended));
        }
        let refused = told();
        places.end_a_stranger();
        assert_eq!(told(), refused, "there was none that could be ended");
        first.is_cut_off();
        second.is_cut_off();
        assert!(told().contains("disconnected once"), "only a feed's reader is missed: {}", told());
    }

    #[tokio::test]
    async fn nobody_is_let_in_while_many_who_were_told_to_go_are_still_here() {
        let places = places_for(1, 1, 1);
        let mut leaving = Vec::new();
        for _ in 0..=MOST_LEAVING {
            leaving.push(places.admit(network(LARGE)).await.unwrap());
        }
        let waiting = tokio::time::timeout(Duration::from_millis(20), places.admit(network(LARGE))).await;
        assert!(waiting.is_err());
        let waiting = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.admit(network(LARGE)).await.is_some() }
        });
        tokio::task::yield_now().await;
        leaving.truncate(1);
        assert!(waiting.await.unwrap());
    }
}
