//! The story's world, and stops in it.

use std::sync::Arc;

use mandate_audit::{Outcome, Query, Record, RecordKind};
use mandate_core::registry::{Agent, AgentState, Entry};
use mandate_core::{Clock as _, CutTarget, RecordId, SystemEntropy, TokenId};
use mandate_delegation::revocation::{cut, cuts_for_change};
use mandate_stops::reserve::FILE;
use mandate_stops::{By, Recorded, Stop, Stops, Taken};
use mandate_testkit::world::World;

pub(crate) const AGENT: &str = "support-agent";

pub(crate) fn record(world: &World, kind: RecordKind, detail: &str) -> Record {
    let now = world.hybrid.now();
    let mut record =
        Record::new(RecordId::generate(now, &SystemEntropy), now, kind, Outcome::Permitted, "ok");
    record.detail = Some(detail.to_owned());
    record
}

/// The agent as it is in memory.
pub(crate) fn agent(world: &World) -> Agent {
    Agent::clone(world.live.snapshot().registry.agent(&AGENT.parse().unwrap()).unwrap())
}

/// A stop that makes the agent another, or none if that would give something.
pub(crate) fn changed(world: &World, change: impl FnOnce(&mut Agent)) -> Option<Stop> {
    let before = agent(world);
    let mut after = before.clone();
    change(&mut after);
    let (before, after) = (Entry::Agent(before), Entry::Agent(after));
    let cuts = cuts_for_change(&before, Some(&after), world.hybrid.now());
    Stop::of_changes(
        record(world, RecordKind::Registry, "a change"),
        [(Some(&before), Some(&after))],
        cuts,
        &world.live.snapshot(),
    )
}

pub(crate) fn suspended(world: &World) -> Stop {
    changed(world, |agent| agent.state = AgentState::Suspended).unwrap()
}

/// A stop of one token, with a long text so that it takes some room.
pub(crate) fn cut_token(world: &World, bytes: usize) -> Stop {
    let now = world.hybrid.now();
    let target = CutTarget::Token(TokenId::generate(now, &SystemEntropy));
    Stop::of_cuts(record(world, RecordKind::Revoke, &"x".repeat(bytes)), vec![cut(target, now)])
}

pub(crate) async fn take(world: &World, stop: Stop) -> Taken {
    world.stops.take(stop, By::Operator).await.unwrap()
}

/// Takes stops until the reserve has no room for more.
pub(crate) async fn use_up_the_reserve(world: &World, stops: &Arc<Stops>, by: By) -> usize {
    for taken in 0.. {
        if stops.take(cut_token(world, 30_000), by).await.unwrap().recorded == Recorded::NotYet {
            return taken;
        }
    }
    unreachable!("a file of fixed size is used up at last")
}

/// The records of stops, oldest first.
pub(crate) fn recorded(world: &World) -> Vec<RecordId> {
    let of = |kind| world.records(&Query { kind: Some(kind), ..Query::default() });
    let mut found: Vec<Record> =
        [RecordKind::Registry, RecordKind::Revoke, RecordKind::Node].into_iter().flat_map(of).collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found.into_iter().map(|record| record.id).collect()
}

/// The content of the reserve's file.
pub(crate) fn reserve(world: &World) -> Vec<u8> {
    std::fs::read(world.state_dir().join(FILE)).unwrap()
}
