//! A bounded queue in front of slow work, in which many requests of one party do not delay the other parties.
//!
//! Each waiting request is in a lane, and each lane is in a group: for example, a name in a network. Groups take turns, and
//! so do the lanes of a group. When no place is free, a newcomer takes the last place of the longest lane in the largest
//! group, if that lane then still has as many places as the newcomer's.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// A lane of the queue. The numbers are digests of the group and of the party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    /// The group that the lane belongs to.
    pub(crate) group: u64,
    /// The lane, in any group.
    pub(crate) lane: u64,
}

/// There is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

struct Waiter {
    at: Lane,
    /// The round of the groups, and the round of the lanes in the group, in which it is served.
    group_round: u64,
    lane_round: u64,
    /// Increasing; the older of two goes first.
    number: u64,
    go: oneshot::Sender<Turn>,
}

struct State {
    running: usize,
    next_number: u64,
    waiting: Vec<Waiter>,
}

/// The queue. A clone is the same queue.
#[derive(Clone)]
pub(crate) struct Queue {
    state: Arc<Mutex<State>>,
    at_once: usize,
    places: usize,
}

/// A turn, until it is dropped. The work itself must hold it: work runs to its end even if the caller has disconnected, and
/// counts until then.
pub(crate) struct Turn(Option<Queue>);

impl Queue {
    /// A queue of at most `places` behind `at_once` that run.
    pub(crate) fn new(at_once: usize, places: usize) -> Self {
        let state = State { running: 0, next_number: 0, waiting: Vec::new() };
        Self { state: Arc::new(Mutex::new(state)), at_once, places }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves whole entries behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn. A newcomer with a better claim can take the place in the queue.
    pub(crate) async fn turn(&self, at: Lane) -> Result<Turn, Full> {
        let turn = {
            let mut state = self.lock();
            if state.running < self.at_once {
                state.running += 1;
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
                let next = state.take_next();
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

/// How many of `items` have each key.
fn count<K: Eq + Hash>(items: impl Iterator<Item = K>) -> HashMap<K, usize> {
    let mut counts = HashMap::new();
    items.for_each(|key| *counts.entry(key).or_default() += 1);
    counts
}

/// The round for a newcomer: after its own earlier requests, of which `own_last` is the last, and not before the present
/// round.
fn round(own_last: Option<u64>, now: Option<u64>) -> u64 {
    own_last.map_or(now.unwrap_or_default(), |last| last.saturating_add(1))
}

impl State {
    fn wait(&mut self, at: Lane, places: usize) -> Result<oneshot::Receiver<Turn>, Full> {
        self.waiting.retain(|waiter| !waiter.go.is_closed());
        if self.waiting.len() >= places {
            let victim = self.who_gives_way(at).ok_or(Full)?;
            self.waiting.retain(|waiter| waiter.number != victim);
        }
        let own_group = || self.waiting.iter().filter(|waiter| waiter.at.group == at.group);
        let group_round = round(own_group().map(|waiter| waiter.group_round).max(), self.waiting.iter().map(|w| w.group_round).min());
        let own_lane = own_group().filter(|waiter| waiter.at == at).map(|waiter| waiter.lane_round).max();
        let lane_round = round(own_lane, own_group().map(|waiter| waiter.lane_round).min());
        let (go, turn) = oneshot::channel();
        self.waiting.push(Waiter { at, group_round, lane_round, number: self.next_number, go });
        self.next_number += 1;
        Ok(turn)
    }

    /// The number of the request whose place a newcomer takes.
    fn who_gives_way(&self, newcomer: Lane) -> Option<u64> {
        let groups = count(self.waiting.iter().map(|waiter| waiter.at.group));
        let own = groups.get(&newcomer.group).copied().unwrap_or_default();
        let (largest, size) = groups.into_iter().max_by_key(|(_, size)| *size)?;
        let group = if size > own + 1 { largest } else { newcomer.group };
        let lanes = count(self.waiting.iter().filter(|waiter| waiter.at.group == group).map(|waiter| waiter.at));
        let own = lanes.get(&newcomer).copied().unwrap_or_default();
        let (longest, length) = lanes.into_iter().max_by_key(|(_, length)| *length)?;
        if group == newcomer.group && length <= own + 1 {
            return None;
        }
        self.waiting.iter().filter(|waiter| waiter.at == longest).map(|waiter| waiter.number).max()
    }

    fn take_next(&mut self) -> Option<Waiter> {
        let (group, group_round) =
            self.waiting.iter().min_by_key(|w| (w.group_round, w.number)).map(|waiter| (waiter.at.group, waiter.group_round))?;
        let of_group = self.waiting.iter().enumerate().filter(|(_, waiter)| waiter.at.group == group);
        let (place, _) = of_group.min_by_key(|(_, waiter)| (waiter.lane_round, waiter.number))?;
        let next = self.waiting.swap_remove(place);
        // The round that the group has used up is gone; another of the group has the round of the one that was served.
        if let Some(other) = self.waiting.iter_mut().find(|w| w.at.group == group && w.group_round == group_round) {
            other.group_round = next.group_round;
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::{Full, Lane, Queue, Turn};

    type Waiting = Pin<Box<dyn Future<Output = Result<Turn, Full>>>>;

    fn poll(waiting: &mut Waiting) -> Poll<Result<Turn, Full>> {
        waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Waits in the queue, as far as it comes by itself.
    fn wait(queue: &Queue, group: u64, lane: u64) -> Waiting {
        let queue = queue.clone();
        let mut waiting: Waiting = Box::pin(async move { queue.turn(Lane { group, lane }).await });
        assert!(poll(&mut waiting).is_pending());
        waiting
    }

    fn is_full(queue: &Queue, group: u64, lane: u64) -> bool {
        let waiting = pin!(queue.turn(Lane { group, lane }));
        matches!(waiting.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(Full)))
    }

    /// A queue whose only turn is taken.
    async fn busy(places: usize) -> (Queue, Turn) {
        let queue = Queue::new(1, places);
        let turn = queue.turn(Lane { group: 0, lane: 0 }).await.unwrap_or_else(|_| unreachable!());
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
        assert!(matches!(poll(crowd.last_mut().unwrap()), Poll::Ready(Err(Full))), "the last of the crowd has lost its place");
        assert!(poll(&mut crowd[0]).is_pending());
        let _lane = wait(&queue, 1, 2);
        assert!(matches!(poll(&mut crowd[2]), Poll::Ready(Err(Full))));
        assert!(is_full(&queue, 1, 1));
    }

    #[tokio::test]
    async fn equals_take_nothing_from_each_other() {
        let (queue, _turn) = busy(2).await;
        let (mut one, mut other) = (wait(&queue, 1, 1), wait(&queue, 2, 1));
        // However many groups or lanes somebody makes up, those who wait keep their places.
        assert!(is_full(&queue, 1, 2) && is_full(&queue, 2, 1) && is_full(&queue, 3, 1));
        assert!(poll(&mut one).is_pending() && poll(&mut other).is_pending());
    }

    #[tokio::test]
    async fn who_goes_away_gives_up_the_place_and_the_turn() {
        let (queue, turn) = busy(2).await;
        let (gone, mut stays) = (wait(&queue, 1, 1), wait(&queue, 1, 1));
        drop(gone);
        let more = wait(&queue, 1, 1);
        drop(turn);
        let Poll::Ready(Ok(turn)) = poll(&mut stays) else { unreachable!("the one that is gone had its turn") };
        assert_eq!(queue.load(), (1, 1));
        drop(turn);
        assert_eq!(queue.load().0, 1, "the next has it, whether or not it has looked");
        drop(more);
        assert_eq!(queue.load(), (0, 0), "a turn that nobody takes is passed on");
    }
}
