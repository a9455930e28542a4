//! Who has a turn, who waits and who gives way, for queues of few places and for any events.

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
        let mut crowd: Vec<_> = (1..=64).map(flood).map(|(group, lane)| wait(&queue, group, lane)).collect();
        let (group, lane) = flood(65);
        let mut newcomer = wait(&queue, group, lane);
        assert!(poll(&mut newcomer).is_pending());
        let lost =
            crowd.iter_mut().map(poll).filter(|waiting| matches!(waiting, Poll::Ready(Err(Full)))).count();
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
    let Poll::Ready(Ok(turn)) = poll(&mut stays) else { unreachable!("the one that is gone had its turn") };
    assert_eq!(queue.load(), (1, 1));
    drop(turn);
    assert_eq!(queue.load().0, 1, "the next has it, whether or not it has looked");
    drop(more);
    assert_eq!(queue.load(), (0, 0), "a turn that nobody takes is passed on");
}
