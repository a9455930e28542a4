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
mod tests;
