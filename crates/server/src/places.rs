//! Who holds the places of a listener, and which connection ends when there are too few places.
//!
//! A connection is a stranger's until it has shown who holds it. Strangers never take the places of known
//! holders. When the places of strangers are full, a newcomer takes the place of the connection that has been
//! idle or slow longest, in the site that holds the most, and there in the network that holds the most. A
//! connection that is new is spared: its request may not be read yet. So a known client can always connect
//! and show who it is. A known holder loses a place only to a holder with fewer places.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mandate_core::RequestSource;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};

use crate::health::crowd::Crowd;

/// How many connections may be ending at the same time. While there are more, no other connection is
/// accepted.
const MOST_LEAVING: usize = 64;

/// How many connections a node may have. It needs one, and one more while it connects again.
const MOST_OF_A_NODE: usize = 4;

/// How long a new connection is spared, if another one can end: its request may have arrived already, and not
/// be read yet.
const GRACE: Duration = Duration::from_secs(1);

/// The holder of a place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// A stranger in this network.
    Network(RequestSource),
    /// A client, person, operator or node that has proven its identity.
    Known(Arc<str>),
}

impl Holder {
    /// The site that it counts for first: one site may have very many networks.
    fn site(&self) -> Self {
        match self {
            Self::Network(network) => Self::Network(network.site()),
            Self::Known(_) => self.clone(),
        }
    }
}

/// The kind of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlaceKind {
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
    /// The newest of the holder that has the most, but only for a holder that has fewer: the loss of an old
    /// one does more harm.
    NewestIfFair,
}

/// The state of a connection.
#[derive(Debug)]
struct Activity {
    /// Since when it is in this state: a number that increases with every event at the listener.
    since: AtomicU64,
    /// Whether the server is processing its request, so that it waits for the server and not the server for
    /// it.
    served: AtomicBool,
    /// Until when it is spared, if it has made no request before.
    spared_until: Instant,
    /// Whether it has made a request.
    asked: AtomicBool,
    /// Whether it stays: to lose it does more harm than to lose one that is kept for the next request.
    staying: AtomicBool,
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
    /// How many places one holder may have. One more takes the place of the one of its own that has been idle
    /// or slow longest.
    most_of_one: usize,
    rule: Rule,
    holders: HashMap<Holder, Vec<Seat>>,
    /// How many places each site has.
    sites: HashMap<Holder, usize>,
    taken: usize,
}

impl Room {
    fn new(capacity: usize, rule: Rule) -> Self {
        Self {
            capacity,
            most_of_one: usize::MAX,
            rule,
            holders: HashMap::new(),
            sites: HashMap::new(),
            taken: 0,
        }
    }

    fn held_by(&self, holder: &Holder) -> usize {
        self.holders.get(holder).map_or(0, Vec::len)
    }

    fn insert(&mut self, holder: Holder, seat: Seat) {
        *self.sites.entry(holder.site()).or_default() += 1;
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
        if let Entry::Occupied(mut site) = self.sites.entry(holder.site()) {
            *site.get_mut() -= 1;
            if *site.get() == 0 {
                site.remove();
            }
        }
        self.taken -= 1;
        Some(seat)
    }

    /// The connection that ends for one more of `newcomer`, if there is one.
    fn who_gives_way(&self, newcomer: &Holder) -> Option<(Holder, u64)> {
        let now = Instant::now();
        let of_site = |site: &Holder| self.sites.get(site).copied().unwrap_or(0);
        let (site, own) = (newcomer.site(), self.held_by(newcomer));
        let held = self.holders.iter().map(|(holder, seats)| {
            let its_site = holder.site();
            let fair = if its_site == site {
                seats.len() > own + 1
            } else {
                of_site(&its_site) > of_site(&site) + 1
            };
            (holder, (of_site(&its_site), seats.len()), seats, fair)
        });
        let may_lose = held.filter(|(.., fair)| self.rule == Rule::LongestIdle || *fair);
        let seats =
            may_lose.flat_map(|(holder, held, seats, _)| seats.iter().map(move |seat| (holder, held, seat)));
        let found = match self.rule {
            Rule::NewestIfFair => seats.max_by_key(|(_, held, seat)| (*held, seat.number)),
            Rule::LongestIdle | Rule::LongestIdleIfFair => seats
                .filter(|(_, _, seat)| !seat.activity.served.load(Ordering::Relaxed))
                .max_by_key(|(_, held, seat)| {
                    let idle_longest = u64::MAX - seat.activity.since.load(Ordering::Relaxed);
                    let stays = seat.activity.staying.load(Ordering::Relaxed);
                    (*held, !stays, !seat.activity.is_spared(now), idle_longest, u64::MAX - seat.number)
                }),
        };
        found.map(|(holder, _, seat)| (holder.clone(), seat.number))
    }

    /// Makes room for one more of `newcomer`. Returns how many were told to end, or nothing if there is no
    /// room.
    fn make_room(&mut self, newcomer: &Holder) -> Option<usize> {
        if let Some(seats) = self.holders.get(newcomer).filter(|seats| seats.len() >= self.most_of_one) {
            let number = seats.iter().min_by_key(|seat| seat.activity.since.load(Ordering::Relaxed))?.number;
            return self.remove(newcomer, number).map(|_| 1);
        }
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
    fn room(&mut self, kind: PlaceKind) -> &mut Room {
        match kind {
            PlaceKind::Stranger => &mut self.strangers,
            PlaceKind::Known => &mut self.known,
            PlaceKind::Staying => &mut self.staying,
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
    at: Mutex<(PlaceKind, Holder)>,
    /// Whether it is known; a copy, so that no lock is needed.
    known: AtomicBool,
}

/// Completes when a connection must end, because another one takes its place.
pub(crate) type Ended = oneshot::Receiver<()>;

impl Places {
    /// This many places for strangers, for known holders, and for feeds.
    pub(crate) fn new(strangers: usize, known: usize, feeds: usize) -> Arc<Self> {
        Self::with(strangers, Room::new(known, Rule::LongestIdleIfFair), Room::new(feeds, Rule::NewestIfFair))
    }

    /// This many places for strangers before the handshake is done, for nodes, and for strangers after the
    /// handshake.
    pub(crate) fn for_nodes(handshakes: usize, nodes: usize, strangers: usize) -> Arc<Self> {
        let nodes = Room { most_of_one: MOST_OF_A_NODE, ..Room::new(nodes, Rule::LongestIdleIfFair) };
        Self::with(handshakes, nodes, Room::new(strangers, Rule::LongestIdle))
    }

    fn with(strangers: usize, known: Room, staying: Room) -> Arc<Self> {
        let inner = Inner {
            strangers: Room::new(strangers, Rule::LongestIdle),
            known,
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
        self.inner.lock()
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
            staying: AtomicBool::new(false),
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
        let (places, at) = (Arc::clone(self), Mutex::new((PlaceKind::Stranger, holder)));
        Some((Guest { places, number, network, activity, at, known: AtomicBool::new(false) }, ended))
    }

    /// Ends the stranger that has been idle or slow longest: the process has no file left for a new
    /// connection.
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
    /// The network that its peer is in.
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

    /// It has proven to be `who`, and takes one of the places of known holders. If all of these are taken,
    /// and no holder has more places than `who`, it stays where it is.
    pub(crate) fn is_known(&self, who: &Arc<str>) {
        if !self.known.load(Ordering::Relaxed)
            && self.move_to(PlaceKind::Known, Holder::Known(Arc::clone(who)))
        {
            self.known.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it has a place of known holders.
    pub(crate) fn has_known_place(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }

    /// Takes one of the places for connections that stay, unless it has a place of known holders, which it
    /// keeps. False: there is none.
    pub(crate) fn stays(&self) -> bool {
        let stays = self.has_known_place() || self.move_to(PlaceKind::Staying, Holder::Network(self.network));
        self.activity.staying.store(stays, Ordering::Relaxed);
        stays
    }

    /// Tells the connection to end, and gives back its place.
    pub(crate) fn must_end(&self) {
        let (kind, holder) = &*self.at.lock();
        let mut inner = self.places.lock();
        if inner.room(*kind).remove(holder, self.number).is_some() {
            inner.leaving += 1;
        }
    }

    /// It did not read what was sent, and is disconnected. If it is a feed's reader, that is reported: it
    /// misses stops.
    pub(crate) fn is_cut_off(&self) {
        if self.activity.staying.load(Ordering::Relaxed)
            && let Some(crowd) = self.places.crowd.get()
        {
            crowd.cut_off_a_reader();
        }
    }

    fn move_to(&self, kind: PlaceKind, holder: Holder) -> bool {
        let mut at = self.at.lock();
        if at.0 == kind {
            return true;
        }
        let mut inner = self.places.lock();
        let (kind_before, holder_before) = &*at;
        // It may have been told to go in this moment.
        if !inner
            .room(*kind_before)
            .holders
            .get(holder_before)
            .is_some_and(|seats| seats.iter().any(|s| s.number == self.number))
        {
            return false;
        }
        let room = inner.room(kind).make_room(&holder);
        // A known party that finds no place of the known stays where it is, and one that gives way is no
        // stranger.
        let turned_away = if kind == PlaceKind::Staying { room.unwrap_or(1) } else { 0 };
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
        let (kind, holder) = &*self.at.lock();
        let mut inner = self.places.lock();
        if inner.room(*kind).remove(holder, self.number).is_none() {
            inner.leaving = inner.leaving.saturating_sub(1);
            drop(inner);
            self.places.somebody_left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
