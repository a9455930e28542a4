//! A log that cannot be written, a reserve that is used up, and both.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use mandate_audit::RecordKind;
use mandate_core::registry::AgentState;
use mandate_core::{Clock as _, CutTarget, NodeState};
use mandate_stops::reserve::{self, SIZE};
use mandate_stops::{By, Recorded, Stop, StopError};
use mandate_store::nodes::{self, Node};
use mandate_testkit::database;
use mandate_testkit::faulty_backend::{InjectedFault, Point};
use mandate_testkit::world::World;

use crate::world::{agent, changed, cut_token, record, recorded, suspended, take, use_up_the_reserve};

#[tokio::test]
async fn what_can_be_recorded_is_in_the_log_and_the_reserve_is_empty_again() {
    let world = World::story();
    let stop = suspended(&world);
    let id = stop.record().id.clone();
    let taken = take(&world, stop).await;
    assert_eq!(taken.recorded, Recorded::Log);
    assert!(matches!(&taken.cuts[..], [cut] if matches!(cut.target, CutTarget::Agent(_))));
    assert_eq!(recorded(&world), [id]);
    assert_eq!(agent(&world).state, AgentState::Suspended);
    assert_eq!(world.stored().0.agent(&agent(&world).name).unwrap().state, AgentState::Suspended);
    let standing = world.stops.standing();
    assert_eq!((standing.unrecorded, standing.reserved), (0, 0));
    wait_until(|| reserve::frames(&crate::world::reserve(&world)).is_empty()).await;
}

#[tokio::test]
async fn a_stop_is_in_force_and_on_the_feed_wherever_the_log_fails_and_is_recorded_once_when_it_can_be() {
    for point in Point::WRITES {
        let world = World::story();
        let (_, _, mut feed) = world.live.subscribe_cuts();
        world.faults.break_down(point);
        let taken = take(&world, suspended(&world)).await;
        assert_eq!(taken.recorded, Recorded::Reserve, "{point:?}");
        assert_eq!(agent(&world).state, AgentState::Suspended, "{point:?}");
        assert!(matches!(feed.try_recv().unwrap().cut.target, CutTarget::Agent(_)), "{point:?}");
        assert_eq!(recorded(&world), [], "{point:?}");
        let standing = world.stops.standing();
        assert_eq!((standing.unrecorded, standing.reserved), (0, 1), "{point:?}");

        world.stops.retry().await;
        assert_eq!(world.stops.standing().reserved, 1, "it still cannot be written");
        world.faults.repair();
        world.stops.retry().await;
        assert_eq!(world.stops.standing().reserved, 0, "{point:?}");
        assert_eq!(recorded(&world).len(), 1, "{point:?}");
        assert_eq!(
            world.stored().0.agent(&agent(&world).name).unwrap().state,
            AgentState::Suspended,
            "{point:?}"
        );
    }
}

#[tokio::test]
async fn a_record_whose_answer_was_lost_is_not_written_twice() {
    let world = World::story();
    for stop in [suspended(&world), cut_token(&world, 10)] {
        world.faults.fail(Point::Commit, 0, InjectedFault::Kept);
        assert_eq!(take(&world, stop).await.recorded, Recorded::Reserve);
        world.stops.retry().await;
        assert_eq!(world.stops.standing().reserved, 0);
    }
    assert_eq!(recorded(&world).len(), 2);
}

#[tokio::test]
async fn stops_of_one_entry_are_recorded_in_the_order_in_which_they_came() {
    let world = World::story();
    world.faults.break_down(Point::Commit);
    take(&world, suspended(&world)).await;
    take(&world, changed(&world, |agent| agent.ceiling.clear()).unwrap()).await;
    world.faults.repair();
    // The one that comes after the fault finds those before it in its way.
    let last = changed(&world, |agent| agent.state = AgentState::Retired).unwrap();
    assert_eq!(take(&world, last).await.recorded, Recorded::Log);
    let (stored, now) = (world.stored().0, agent(&world));
    assert_eq!(**stored.agent(&now.name).unwrap(), now, "the newest state, not an older one written over it");
    assert_eq!((now.state, now.ceiling.len()), (AgentState::Retired, 0));
    assert_eq!(recorded(&world).len(), 3);
}

#[tokio::test]
async fn a_stop_that_is_refused_again_and_again_keeps_no_other_from_the_log() {
    let world = World::story();
    let node = Node {
        id: "n1".to_owned(),
        spiffe_id: "spiffe://acme.example/node/n1".parse().unwrap(),
        state: NodeState::Joined,
        joined: world.hybrid.now(),
        renewed: world.hybrid.now(),
        expires: world.hybrid.now(),
    };
    world.store.transact_blocking("a node", |tx| nodes::put(tx, &node)).unwrap();
    // Its row cannot be read, so nothing can be written to it.
    let odd = "UPDATE nodes SET state = 'odd'";
    database::edit(&world.state_dir(), odd, odd);
    for _ in 0..2 {
        let ban = Stop::of_node(record(&world, RecordKind::Node, "a ban"), "n1".to_owned());
        assert_eq!(take(&world, ban).await.recorded, Recorded::Reserve);
    }
    world.faults.break_down(Point::Commit);
    let others = [cut_token(&world, 10), suspended(&world)];
    let mut ids = others.each_ref().map(|stop| stop.record().id.clone());
    ids.sort();
    for stop in others {
        assert_eq!(take(&world, stop).await.recorded, Recorded::Reserve);
    }
    world.stops.retry().await;
    assert_eq!(world.stops.standing().reserved, 4, "the log cannot be written");
    world.faults.repair();
    world.stops.retry().await;
    assert_eq!(recorded(&world), ids);
    assert_eq!(world.stops.standing().reserved, 2, "the bans are tried again");
    let right = "UPDATE nodes SET state = 'joined'";
    database::edit(&world.state_dir(), right, right);
    world.stops.retry().await;
    assert_eq!((world.stops.standing().reserved, recorded(&world).len()), (0, 4));
}

#[tokio::test]
async fn what_gives_authority_waits_for_the_stops_before_it() {
    let world = World::story();
    world.faults.break_down(Point::Commit);
    take(&world, suspended(&world)).await;
    assert!(world.stops.record_changes().await.is_err(), "nothing may be given before this");
    world.faults.repair();
    world.stops.record_changes().await.unwrap();
    assert_eq!(recorded(&world).len(), 1);
}

#[tokio::test]
async fn with_the_reserve_used_up_too_a_stop_is_in_force_and_says_that_it_is_not_recorded() {
    let world = World::story();
    world.faults.break_down(Point::Begin);
    let filled = use_up_the_reserve(&world, &world.stops, By::Operator).await;
    assert!(filled * 30_000 > SIZE * 9 / 10, "{filled}");
    let taken = take(&world, suspended(&world)).await;
    // A small one may still fit where a large one does not.
    let small = filled_with_small_ones(&world).await;
    assert_eq!(agent(&world).state, AgentState::Suspended, "{taken:?}");
    let standing = world.stops.standing();
    assert!(standing.unrecorded >= 1, "{standing:?}");
    assert!(standing.reserve.broken.is_none(), "{standing:?}");

    world.faults.repair();
    world.stops.retry().await;
    let standing = world.stops.standing();
    assert_eq!((standing.unrecorded, standing.reserved), (0, 0));
    // The large ones, the one that did not fit, the agent's, the small ones, and the last of them.
    assert_eq!(recorded(&world).len(), filled + 1 + 1 + small + 1);
    wait_until(|| reserve::frames(&crate::world::reserve(&world)).is_empty()).await;
    assert_eq!(
        take(&world, cut_token(&world, 30_000)).await.recorded,
        Recorded::Log,
        "and everything goes on"
    );
}

#[tokio::test]
async fn a_try_that_is_given_up_leaves_no_place_in_the_reserve_behind() {
    let world = World::story();
    world.faults.break_down(Point::Begin);
    // The reserve is full, and one stop is outside.
    take(&world, suspended(&world)).await;
    while world.stops.standing().reserve.used + 80_000 < SIZE {
        assert_eq!(take(&world, cut_token(&world, 30_000)).await.recorded, Recorded::Reserve);
    }
    filled_with_small_ones(&world).await;
    assert_eq!(world.stops.standing().unrecorded, 1);
    // The log takes one, which gives back its place.
    world.faults.repair();
    world.faults.fail(Point::Begin, 1, InjectedFault::Lost);
    world.stops.retry().await;
    assert_eq!(recorded(&world).len(), 1);
    world.faults.break_down(Point::Begin);
    for _ in 0..5 {
        let tried = pin!(world.stops.retry()).poll(&mut Context::from_waker(Waker::noop()));
        assert!(tried.is_pending(), "it is given up before the reserve has answered");
    }
    world.faults.repair();
    world.stops.retry().await;
    assert_eq!(world.stops.standing().unrecorded + world.stops.standing().reserved, 0);
    wait_until(|| reserve::frames(&crate::world::reserve(&world)).is_empty()).await;
    wait_until(|| world.stops.standing().reserve.used == 0).await;
}

#[tokio::test]
async fn an_operators_stop_goes_into_the_reserve_later_before_those_of_clients() {
    let world = World::story();
    world.faults.break_down(Point::Begin);
    while world.stops.standing().reserve.used + 80_000 < SIZE {
        assert_eq!(take(&world, cut_token(&world, 30_000)).await.recorded, Recorded::Reserve);
    }
    filled_with_small_ones(&world).await;
    for _ in 0..200 {
        assert_eq!(
            world.stops.take(cut_token(&world, 10), By::Client).await.unwrap().recorded,
            Recorded::NotYet
        );
    }
    let stop = cut_token(&world, 10);
    let id = stop.record().id.to_string();
    assert_eq!(take(&world, stop).await.recorded, Recorded::NotYet);
    // The log takes one, which gives back its place: room for some of them.
    world.faults.repair();
    for later in 1..1_000 {
        world.faults.fail(Point::Begin, later, InjectedFault::Lost);
    }
    world.stops.retry().await;
    assert_eq!(recorded(&world).len(), 1);
    world.faults.break_down(Point::Begin);
    let is_kept = || {
        let frames = reserve::frames(&crate::world::reserve(&world));
        frames.iter().any(|frame| String::from_utf8_lossy(&frame.content).contains(&id))
    };
    for _ in 0..5 {
        world.stops.retry().await;
    }
    wait_until(is_kept).await;
    assert!(world.stops.standing().unrecorded > 64, "more clients wait than are tried at a time");
}

async fn filled_with_small_ones(world: &World) -> usize {
    for taken in 0.. {
        if take(world, cut_token(world, 10)).await.recorded == Recorded::NotYet {
            return taken;
        }
    }
    unreachable!("a file of fixed size is used up at last")
}

#[tokio::test]
async fn clients_cannot_use_up_the_reserve_of_operators() {
    let world = World::story();
    world.faults.break_down(Point::Commit);
    let filled = use_up_the_reserve(&world, &world.stops, By::Client).await;
    assert!(filled * 30_000 < SIZE / 2, "{filled}");
    assert_eq!(take(&world, suspended(&world)).await.recorded, Recorded::Reserve);
}

#[tokio::test]
async fn the_stops_of_clients_that_wait_are_bounded_and_one_beyond_is_not_in_force() {
    let world = World::story();
    world.faults.break_down(Point::Begin);
    let mut taken = tokio::task::JoinSet::new();
    for _ in 0..4_100 {
        let (stops, stop) = (std::sync::Arc::clone(&world.stops), cut_token(&world, 1_000));
        taken.spawn(async move { stops.take(stop, By::Client).await });
    }
    let refused = taken.join_all().await.into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert!(
        refused.len() == 4 && refused.iter().all(|error| matches!(error, StopError::TooManyWait)),
        "{refused:?}"
    );
    assert_eq!(world.live.snapshot().revocations.len(), 4_096);
    // Each has been tried at the reserve and at the log.
    let begun = std::time::Instant::now();
    loop {
        let waiting = world.stops.standing();
        if waiting.unrecorded + waiting.reserved == 4_096 {
            break;
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{waiting:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(
        take(&world, suspended(&world)).await.recorded,
        Recorded::Reserve,
        "operators are not bounded by them"
    );
}

#[tokio::test]
async fn a_node_is_banned_before_it_is_recorded() {
    let world = World::story();
    let bans = world.stops.subscribe_bans();
    world.faults.break_down(Point::Stage);
    let taken =
        take(&world, Stop::of_node(record(&world, RecordKind::Node, "banned node n1"), "n1".to_owned()))
            .await;
    assert_eq!(taken.recorded, Recorded::Reserve);
    assert!(world.stops.has_banned("n1") && !world.stops.has_banned("n2"));
    assert!(bans.has_changed().unwrap());
}

#[tokio::test]
async fn what_gives_is_no_stop() {
    let world = World::story();
    assert_eq!(changed(&world, |agent| agent.chain_depth += 1), None);
    take(&world, suspended(&world)).await;
    assert_eq!(changed(&world, |agent| agent.state = AgentState::Active), None);
    assert_eq!(changed(&world, |agent| agent.purpose.push('!')), None, "it says something else");
}

#[tokio::test]
async fn stops_that_come_together_are_all_recorded() {
    let world = World::story();
    let all: Vec<_> = (0..200).map(|_| cut_token(&world, 100)).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for stop in all {
        let stops = std::sync::Arc::clone(&world.stops);
        tasks.spawn(async move { stops.take(stop, By::Client).await.unwrap().recorded });
    }
    assert!(tasks.join_all().await.into_iter().all(|recorded| recorded == Recorded::Log));
    assert_eq!(recorded(&world).len(), 200);
    assert_eq!(world.live.snapshot().revocations.len(), 200);
}

async fn wait_until(holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to hold");
}

#[tokio::test]
async fn a_stop_that_was_planned_from_another_registry_is_planned_again_and_a_halt_is_not() {
    let world = World::story();
    let narrowed = || changed(&world, |agent| agent.chain_depth = 0).unwrap();
    let (first, second, halt) = (narrowed(), narrowed(), suspended(&world));
    take(&world, first).await;
    let refused = world.stops.begin(second, By::Operator).err();
    assert!(matches!(refused, Some(StopError::Overtaken(_))), "{refused:?}");
    assert_eq!(take(&world, halt).await.recorded, Recorded::Log);
    assert_eq!((agent(&world).state, agent(&world).chain_depth), (AgentState::Suspended, 0));
    let narrowed = changed(&world, |agent| agent.ceiling.clear()).unwrap();
    assert_eq!(take(&world, narrowed).await.recorded, Recorded::Log);
}
