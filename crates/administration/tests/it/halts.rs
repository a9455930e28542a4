//! Stops of entries beside changes that would give back what they take.

use std::sync::Arc;

use mandate_administration::{AdministrationError as E, act};
use mandate_api::admin::ApplyResponse;
use mandate_core::registry::{AgentState, Entry};
use mandate_testkit::faulty_backend::Point;
use mandate_testkit::story;
use mandate_testkit::world::World;
use tokio::task::JoinHandle;

use crate::beside::{agent, apply, is_held, memory_is_the_database};

/// An operator who suspends an agent.
async fn suspension(world: &World, name: &'static str) -> JoinHandle<Result<ApplyResponse, E>> {
    let permit = world.administration.permit::<act::SuspendAgent>(&World::operator()).await.unwrap();
    let engine = Arc::clone(&world.administration);
    tokio::spawn(async move { engine.change_agent(permit, name.to_owned()).await })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_of_a_suspended_agent_beside_its_activation_that_is_being_written_holds() {
    let world = World::story();
    suspension(&world, "idle-agent").await.await.unwrap().unwrap();
    world.faults.hold_at(Point::Commit);
    let permit = world.administration.permit::<act::ActivateAgent>(&World::operator()).await.unwrap();
    let engine = Arc::clone(&world.administration);
    let activation = tokio::spawn(async move { engine.change_agent(permit, "idle-agent".to_owned()).await });
    is_held(&world);
    let answer = suspension(&world, "idle-agent").await.await.unwrap().unwrap();
    assert_eq!((answer.unchanged, answer.changes.len()), (0, 1), "it is a stop of its own, after the activation");
    world.faults.release();
    activation.await.unwrap().unwrap();
    // What gives authority is written after the stops that came before it.
    apply(&world.administration, [Entry::Agent(story::agent("other", Vec::new()))], false).await.unwrap();
    assert_eq!(agent(&world, "idle-agent").unwrap().state, AgentState::Suspended);
    memory_is_the_database(&world);
}
