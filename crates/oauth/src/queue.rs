//! A bounded queue in front of slow work, in which many requests of one party do not delay the other parties.
//!
//! Each waiting request is in a lane, which is in a group, which is in a wider group: for example, a name in
//! a network in a site. Groups take turns, and so do the groups and lanes in a group. When no place is free,
//! a newcomer takes the newest place of the party that has the most, if that party then still has as many
//! places as the newcomer's. If all parties have one place, a newcomer whose party has none takes the place
//! of the party that had the most turns lately: parties that send many requests cannot keep out those that
//! send few.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

/// How many parties a request belongs to, each within the one before it.
const LEVELS: usize = 3;

/// The time between two requests of one party, in the time of the parties beside it.
const ROUND: u64 = 1 << 20;

/// How many past turns are remembered for each place.
const TURNS_A_PLACE: usize = 4;

/// A lane of the queue: digests of the parties that a request belongs to, the widest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Lane(pub(crate) [u64; LEVELS]);

impl Lane {
    /// The party at a level.
    fn party(self, level: usize) -> u64 {
        self.0.get(level).copied().unwrap_or_default()
    }

    /// Whether both belong to the same parties at the first levels.
    fn shares(self, other: Self, levels: usize) -> bool {
        self.0.iter().zip(&other.0).take(levels).all(|(own, other)| own == other)
    }

    /// Names the party at the last of the first levels.
    fn above(self, levels: usize) -> (usize, Self) {
        let mut above = self;
        above.0.iter_mut().skip(levels).for_each(|party| *party = 0);
        (levels, above)
    }
}

/// There is no free place, and no request that must give its place to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

struct Waiter {
    at: Lane,
    /// For each level, when it is served, in the time of the parties beside its own.
    rounds: [u64; LEVELS],
    /// Increasing; the older of two goes first.
    number: u64,
    go: oneshot::Sender<Turn>,
}

/// What a party has. The greater of two gives its place to a newcomer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Share {
    waiting: usize,
    /// How many of the remembered turns it had.
    lately: usize,
    /// The number of its newest request.
    newest: u64,
}

impl Share {
    fn gives_way_to(self, newcomer: Self) -> bool {
        let is_less = newcomer.waiting == 0 && newcomer.lately <= self.lately;
        self.waiting > newcomer.waiting + 1 || (self.waiting > 0 && is_less)
    }
}

struct State {
    running: usize,
    next_number: u64,
    waiting: Vec<Waiter>,
    /// For each party with parties that wait: the time among these. It passes by a round while each of them
    /// is served once, as in weighted fair queueing. So the second request of a party has its turn, however
    /// many requests of other parties come later.
    times: HashMap<(usize, Lane), u64>,
    /// Who had a turn, the latest last.
    turns: VecDeque<Lane>,
}

/// The queue. A clone is the same queue.
#[derive(Clone)]
pub(crate) struct Queue {
    state: Arc<Mutex<State>>,
    at_once: usize,
    places: usize,
}

/// A turn, until it is dropped. The work itself must hold it: work runs to its end even if the caller has
/// disconnected, and counts until then.
pub(crate) struct Turn(Option<Queue>);

impl Queue {
    /// A queue of at most `places` behind `at_once` that run.
    pub(crate) fn new(at_once: usize, places: usize) -> Self {
        Self { state: Arc::new(Mutex::new(State::new())), at_once, places }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // If a thread panics while it holds the lock, every entry is still complete.
        self.state.lock()
    }

    fn remembered(&self) -> usize {
        self.places.saturating_mul(TURNS_A_PLACE)
    }

    /// Waits for a turn. A newcomer with a better claim can take the place in the queue.
    pub(crate) async fn turn(&self, at: Lane) -> Result<Turn, Full> {
        let turn = {
            let mut state = self.lock();
            if state.running < self.at_once {
                state.running += 1;
                state.remember(at, self.remembered());
                return Ok(Turn(Some(self.clone())));
            }
            state.wait(at, self.places)?
        };
        turn.await.map_err(|_| Full)
    }

    /// Ends a turn, and gives it to the next.
    fn pass_on(&self) {
        loop {
            let next = {
                let mut state = self.lock();
                let next = state.take_next(self.remembered());
                if next.is_none() {
                    state.running = state.running.saturating_sub(1);
                }
                next
            };
            let Some(waiter) = next else { return };
            match waiter.go.send(Turn(Some(self.clone()))) {
                Ok(()) => return,
                // The caller has disconnected. This turn never began, so it does not end either.
                Err(mut turn) => turn.0 = None,
            }
        }
    }

    /// How many run, and how many wait.
    #[cfg(test)]
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.running, state.waiting.iter().filter(|waiter| !waiter.go.is_closed()).count())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.pass_on();
        }
    }
}

impl State {
    fn new() -> Self {
        Self {
            running: 0,
            next_number: 0,
            waiting: Vec::new(),
            times: HashMap::new(),
            turns: VecDeque::new(),
        }
    }

    fn wait(&mut self, at: Lane, places: usize) -> Result<oneshot::Receiver<Turn>, Full> {
        self.those_who_are_gone_leave();
        if self.waiting.len() >= places {
            let victim = self.who_gives_way(at).ok_or(Full)?;
            self.leave(victim);
        }
        let mut rounds = [0; LEVELS];
        for (level, its_round) in rounds.iter_mut().enumerate() {
            let now = self.times.get(&at.above(level)).copied().unwrap_or_default();
            let own = self
                .waiting
                .iter()
                .filter(|waiter| waiter.at.shares(at, level + 1))
                .map(|waiter| waiter.round(level));
            *its_round = own.max().map_or(now, |last| last.saturating_add(ROUND).max(now));
        }
        let (go, turn) = oneshot::channel();
        self.waiting.push(Waiter { at, rounds, number: self.next_number, go });
        self.next_number += 1;
        Ok(turn)
    }

    /// Takes out a request that has had no turn. With it goes the last round of its party, and not the one
    /// that it had: else a party whose requests come and go would have its next turn later and later.
    fn leave(&mut self, number: u64) {
        let Some(place) = self.waiting.iter().position(|waiter| waiter.number == number) else { return };
        let gone = self.waiting.swap_remove(place);
        for (level, mut free) in gone.rounds.into_iter().enumerate() {
            let of_party = self.waiting.iter_mut().filter(|waiter| waiter.at.shares(gone.at, level + 1));
            let mut later: Vec<_> = of_party
                .filter_map(|waiter| waiter.rounds.get_mut(level))
                .filter(|round| **round > free)
                .collect();
            later.sort_unstable();
            for round in later {
                free = std::mem::replace(round, free);
            }
        }
    }

    /// Takes out those whose callers have disconnected.
    fn those_who_are_gone_leave(&mut self) {
        while let Some(number) =
            self.waiting.iter().find(|waiter| waiter.go.is_closed()).map(|waiter| waiter.number)
        {
            self.leave(number);
        }
    }

    /// What each party at a level has, of those that share the parties above it with `within`.
    fn shares(&self, within: Lane, level: usize) -> HashMap<u64, Share> {
        let mut shares: HashMap<u64, Share> = HashMap::new();
        for waiter in self.waiting.iter().filter(|waiter| waiter.at.shares(within, level)) {
            let share = shares.entry(waiter.at.party(level)).or_default();
            share.waiting += 1;
            share.newest = share.newest.max(waiter.number);
        }
        for lane in self.turns.iter().filter(|lane| lane.shares(within, level)) {
            shares.entry(lane.party(level)).or_default().lately += 1;
        }
        shares
    }

    /// The number of the request whose place a newcomer takes: of the first of the newcomer's parties that
    /// has a better claim than another party beside it.
    fn who_gives_way(&self, newcomer: Lane) -> Option<u64> {
        let mut within = newcomer;
        let mut victim = None;
        for level in 0..LEVELS {
            let shares = self.shares(within, level);
            let most = shares.values().max().copied()?;
            let own = shares.get(&newcomer.party(level)).copied().unwrap_or_default();
            if victim.is_some() || most.gives_way_to(own) {
                victim = Some(most.newest);
                within = self.waiting.iter().find(|waiter| waiter.number == most.newest)?.at;
            }
        }
        victim
    }

    /// Those who wait, of the parties that share the first levels with `at`.
    fn beside(&self, at: Lane, levels: usize) -> impl Iterator<Item = &Waiter> {
        self.waiting.iter().filter(move |waiter| waiter.at.shares(at, levels))
    }

    fn take_next(&mut self, remembered: usize) -> Option<Waiter> {
        self.those_who_are_gone_leave();
        let mut next = self.waiting.first()?;
        let mut used = [0; LEVELS];
        for (level, its_round) in used.iter_mut().enumerate() {
            next = self.beside(next.at, level).min_by_key(|waiter| (waiter.round(level), waiter.number))?;
            *its_round = next.round(level);
        }
        let (number, at) = (next.number, next.at);
        for level in 0..LEVELS {
            let parties: HashSet<u64> = self.beside(at, level).map(|waiter| waiter.at.party(level)).collect();
            *self.times.entry(at.above(level)).or_default() +=
                ROUND / u64::try_from(parties.len()).unwrap_or(ROUND).max(1);
        }
        let place = self.waiting.iter().position(|waiter| waiter.number == number)?;
        let next = self.waiting.swap_remove(place);
        // The round that a party has used up is gone; another request of it has the round of the one that was
        // served.
        for (level, (used, own)) in used.into_iter().zip(next.rounds).enumerate() {
            let of_party = self.waiting.iter_mut().filter(|waiter| waiter.at.shares(next.at, level + 1));
            let other =
                of_party.filter_map(|waiter| waiter.rounds.get_mut(level)).find(|round| **round == used);
            if let Some(other) = other {
                *other = own;
            }
        }
        let waiting = &self.waiting;
        self.times
            .retain(|(levels, party), _| waiting.iter().any(|waiter| waiter.at.shares(*party, *levels)));
        if !next.go.is_closed() {
            self.remember(next.at, remembered);
        }
        Some(next)
    }

    fn remember(&mut self, lane: Lane, remembered: usize) {
        self.turns.push_back(lane);
        while self.turns.len() > remembered {
            self.turns.pop_front();
        }
    }
}

impl Waiter {
    fn round(&self, level: usize) -> u64 {
        self.rounds.get(level).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;
    use tokio::sync::oneshot;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::{Full, Lane, Queue, State, TURNS_A_PLACE, Turn};

    type Waiting = Pin<Box<dyn Future<Output = Result<Turn, Full>>>>;

    fn poll(waiting: &mut Waiting) -> Poll<Result<Turn, Full>> {
        waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Waits in the queue, as far as it comes by itself.
    fn wait(queue: &Queue, group: u64, lane: u64) -> Waiting {
        let queue = queue.clone();
        let mut waiting: Waiting = Box::pin(async move { queue.turn(Lane([group, lane, 0])).await });
        assert!(poll(&mut waiting).is_pending());
        waiting
    }

    fn is_full(queue: &Queue, group: u64, lane: u64) -> bool {
        let waiting = pin!(queue.turn(Lane([group, lane, 0])));
        matches!(waiting.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(Full)))
    }

    /// A queue whose only turn is taken.
    async fn busy(places: usize) -> (Queue, Turn) {
        let queue = Queue::new(1, places);
        let turn = queue.turn(Lane::default()).await.unwrap_or_else(|_| unreachable!());
        (queue, turn)
    }

    /// Lets everybody have a turn: their names in the order of service.
    fn served(turn: Turn, mut waiting: Vec<(&'static str, Waiting)>) -> Vec<&'static str> {
        let mut order = Vec::new();
        drop(turn);
        while let Some(at) = waiting.iter_mut().position(|(_, one)| matches!(poll(one), Poll::Ready(Ok(_)))) {
            // The turn that was polled out is over already.
            order.push(waiting.remove(at).0);
        }
        order
    }

    #[tokio::test]
    async fn somebody_who_comes_alone_waits_for_one_of_a_crowd_and_not_for_all() {
        let (queue, turn) = busy(100).await;
        let mut waiting: Vec<_> = (0..50).map(|_| ("crowd", wait(&queue, 1, 1))).collect();
        waiting.push(("alone", wait(&queue, 2, 1)));
        let order = served(turn, waiting);
        assert_eq!(order.len(), 51);
        assert!(order.iter().position(|name| *name == "alone").unwrap() <= 1, "{order:?}");
    }

    #[tokio::test]
    async fn lanes_of_a_group_take_turns() {
        let (queue, turn) = busy(100).await;
        let mut waiting: Vec<_> = (0..50).map(|_| ("crowd", wait(&queue, 1, 1))).collect();
        waiting.push(("other group", wait(&queue, 2, 1)));
        waiting.push(("other lane", wait(&queue, 1, 2)));
        let order = served(turn, waiting);
        assert!(order.iter().position(|name| *name == "other lane").unwrap() <= 3, "{order:?}");
    }

    /// How many of a flood are served before the second of two requests of one party: there are always
    /// `beside` of the flood, and each comes from a party of its own.
    fn served_before_the_second(beside: u64, flood: impl Fn(u64) -> Lane, party: Lane) -> usize {
        let mut state = State::new();
        let mut turns: Vec<_> = (0..beside).map(|n| state.wait(flood(n), 100).unwrap()).collect();
        turns.push(state.wait(party, 100).unwrap());
        turns.push(state.wait(party, 100).unwrap());
        let second = state.next_number - 1;
        for n in 0..1000 {
            if state.take_next(1).unwrap().number == second {
                return usize::try_from(n).unwrap();
            }
            turns.push(state.wait(flood(beside + n), 100).unwrap());
        }
        usize::MAX
    }

    #[test]
    fn requests_that_come_and_go_do_not_put_off_their_partys_next_turn() {
        let (party, other) = (Lane([1, 1, 1]), Lane([2, 2, 2]));
        let mut state = State::new();
        let mut turns = Vec::from([state.wait(other, 100).unwrap()]);
        let mut last = state.wait(party, 100).unwrap();
        for _ in 0..100 {
            let mut burst: Vec<_> = (0..50).map(|_| state.wait(party, 100).unwrap()).collect();
            // All others of the party disconnect.
            last = burst.pop().unwrap();
        }
        turns.push(state.wait(party, 100).unwrap());
        let number = state.next_number - 1;
        for before in 0..1000 {
            let served = state.take_next(1).unwrap();
            if served.number == number {
                assert!(before <= 4, "{before} were served before it");
                return drop(last);
            }
            if served.at == other {
                turns.push(state.wait(other, 100).unwrap());
            }
        }
        unreachable!("it had no turn");
    }

    #[test]
    fn a_party_with_two_requests_has_its_turn_though_new_parties_never_stop_coming() {
        let party = Lane([1_000_000, 1_000_000, 1_000_000]);
        for (name, flood) in [
            ("sites", (|n| Lane([n, n, n])) as fn(u64) -> Lane),
            ("networks of its site", |n| Lane([1_000_000, n, n])),
            ("names in its network", |n| Lane([1_000_000, 1_000_000, n])),
        ] {
            for beside in [1, 3, 20] {
                let before = served_before_the_second(beside, flood, party);
                assert!(
                    before <= usize::try_from(3 * beside).unwrap() + 3,
                    "{name}: {before} of {beside} at a time"
                );
            }
        }
    }

    #[tokio::test]
    async fn those_of_one_lane_are_served_in_the_order_in_which_they_came() {
        let (queue, turn) = busy(100).await;
        let waiting = ["a", "b", "c", "d"].map(|name| (name, wait(&queue, 1, 1))).into_iter().collect();
        assert_eq!(served(turn, waiting), ["a", "b", "c", "d"]);
    }

    #[tokio::test]
    async fn a_crowd_gives_its_places_to_those_who_have_fewer() {
        let (queue, _turn) = busy(4).await;
        let mut crowd: Vec<_> = (0..4).map(|_| wait(&queue, 1, 1)).collect();
        assert!(is_full(&queue, 1, 1), "the crowd has its places");
        let _alone = wait(&queue, 2, 1);
        assert!(
            matches!(poll(crowd.last_mut().unwrap()), Poll::Ready(Err(Full))),
            "the last of the crowd has lost its place"
        );
        assert!(poll(&mut crowd[0]).is_pending());
        let _lane = wait(&queue, 1, 2);
        assert!(matches!(poll(&mut crowd[2]), Poll::Ready(Err(Full))));
        assert!(is_full(&queue, 1, 1));
    }

    #[tokio::test]
    async fn equals_take_nothing_from_each_other() {
        let (queue, _turn) = busy(2).await;
        let (mut one, mut other) = (wait(&queue, 1, 1), wait(&queue, 2, 1));
        assert!(is_full(&queue, 1, 1) && is_full(&queue, 2, 1));
        assert!(poll(&mut one).is_pending() && poll(&mut other).is_pending());
    }

    #[tokio::test]
    async fn a_party_without_a_place_gets_one_though_all_others_have_one_each() {
        // As many groups, or as many lanes of one group, as there are places.
        let floods: [fn(u64) -> (u64, u64); 2] = [|n| (n, 1), |n| (1, n)];
        for flood in floods {
            let (queue, _turn) = busy(64).await;
            let mut crowd: Vec<_> =
                (1..=64).map(flood).map(|(group, lane)| wait(&queue, group, lane)).collect();
            let (group, lane) = flood(65);
            let mut newcomer = wait(&queue, group, lane);
            assert!(poll(&mut newcomer).is_pending());
            let lost = crowd
                .iter_mut()
                .map(poll)
                .filter(|waiting| matches!(waiting, Poll::Ready(Err(Full))))
                .count();
            assert_eq!(lost, 1);
        }
    }

    #[tokio::test]
    async fn who_had_more_turns_than_those_who_wait_takes_no_place_of_theirs() {
        let queue = Queue::new(1, 2);
        let _turn = queue.turn(Lane([9, 1, 0])).await.unwrap_or_else(|_| unreachable!());
        let (mut one, mut other) = (wait(&queue, 1, 1), wait(&queue, 2, 1));
        assert!(is_full(&queue, 9, 1), "it had a turn, and they had none");
        let mut third = wait(&queue, 3, 1);
        assert!(poll(&mut one).is_pending() && poll(&mut third).is_pending());
        assert!(matches!(poll(&mut other), Poll::Ready(Err(Full))), "it was the newest");
    }

    const PLACES: usize = 8;

    /// What happens to a queue.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Comes(Lane),
        Turn,
        Leaves(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        let comes = [0..12u64, 0..3, 0..3].prop_map(|parties| Event::Comes(Lane(parties)));
        prop_oneof![6 => comes, 3 => Just(Event::Turn), 1 => (0..PLACES).prop_map(Event::Leaves)]
    }

    proptest! {
        #[test]
        fn a_place_changes_hands_only_to_a_party_with_fewer_places_or_as_few_turns(events in proptest::collection::vec(event(), 0..200)) {
            let mut state = State::new();
            let mut receivers = Vec::new();
            for event in events {
                receivers.retain_mut(|(_, turn): &mut (u64, oneshot::Receiver<Turn>)| matches!(turn.try_recv(), Err(TryRecvError::Empty)));
                match event {
                    Event::Turn => drop(state.take_next(PLACES * TURNS_A_PLACE)),
                    Event::Leaves(at) if at < receivers.len() => drop(receivers.swap_remove(at)),
                    Event::Leaves(_) => {}
                    Event::Comes(lane) => {
                        state.waiting.retain(|waiter| !waiter.go.is_closed());
                        let before: Vec<(u64, Lane)> = state.waiting.iter().map(|waiter| (waiter.number, waiter.at)).collect();
                        let shares = state.shares(lane, 0);
                        let own = shares.get(&lane.0[0]).copied().unwrap_or_default();
                        if let Ok(turn) = state.wait(lane, PLACES) {
                            receivers.push((state.next_number - 1, turn));
                        } else {
                            let widest: Vec<_> = before.iter().map(|(_, lane)| shares[&lane.0[0]]).collect();
                            prop_assert!(own.waiting > 0 || widest.iter().all(|other| other.waiting == 1 && other.lately < own.lately));
                            prop_assert!(widest.iter().all(|other| other.waiting <= own.waiting + 1));
                        }
                        let loser = before.iter().find(|(number, _)| state.waiting.iter().all(|waiter| waiter.number != *number));
                        if let Some((_, loser)) = loser && loser.0[0] != lane.0[0] {
                            let other = shares[&loser.0[0]];
                            prop_assert!(other.waiting > own.waiting + 1 || (own.waiting == 0 && other.lately >= own.lately));
                        }
                        prop_assert!(state.waiting.len() <= PLACES);
                    }
                }
            }
        }

        /// Between two turns every network of the flood sends requests, in any order.
        #[test]
        fn who_comes_seldom_has_a_turn_however_fast_others_come(
            networks in 1..=2 * PLACES as u64,
            orders in proptest::collection::vec(proptest::collection::vec(any::<(u64, u64)>(), 2 * PLACES), 100),
        ) {
            let mut state = State::new();
            let mut receivers = Vec::new();
            let seldom = Lane([1_000, 0, 0]);
            let mut since = None;
            for (at, order) in orders.iter().enumerate() {
                let mut flood: Vec<(u64, Lane)> =
                    (0..networks).zip(order).map(|(network, (rank, name))| (*rank, Lane([network, *name, 0]))).collect();
                flood.sort_by_key(|(rank, _)| *rank);
                let half = flood.len() / 2;
                for (nth, (_, lane)) in flood.into_iter().enumerate() {
                    if at == 64 && nth == half {
                        receivers.push(state.wait(seldom, PLACES).ok());
                        prop_assert!(receivers.last().unwrap().is_some(), "it has a place");
                        since = Some(at);
                    }
                    receivers.push(state.wait(lane, PLACES).ok());
                }
                let next = state.take_next(PLACES * TURNS_A_PLACE);
                if next.is_some_and(|next| next.at == seldom) {
                    prop_assert!(at - since.unwrap() <= 2 * PLACES);
                    return Ok(());
                }
            }
            prop_assert!(false, "it had no turn");
        }
    }

    #[tokio::test]
    async fn who_goes_away_gives_up_the_place_and_the_turn() {
        let (queue, turn) = busy(2).await;
        let (gone, mut stays) = (wait(&queue, 1, 1), wait(&queue, 1, 1));
        drop(gone);
        let more = wait(&queue, 1, 1);
        drop(turn);
        let Poll::Ready(Ok(turn)) = poll(&mut stays) else {
            unreachable!("the one that is gone had its turn")
        };
        assert_eq!(queue.load(), (1, 1));
        drop(turn);
        assert_eq!(queue.load().0, 1, "the next has it, whether or not it has looked");
        drop(more);
        assert_eq!(queue.load(), (0, 0), "a turn that nobody takes is passed on");
    }
}
