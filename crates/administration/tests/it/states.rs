//! Changing states: what is in force, what is durable, and what is refused.

use mandate_administration::{AdministrationError as E, OnAgent, act};
use mandate_api::admin::{ApplyResponse, RevocationTarget};
use mandate_core::registry::{AgentState, Entry, EntryKind};
use mandate_planning::states::StateRefusal;
use mandate_testkit::database;
use mandate_testkit::faulty_backend::Point;
use mandate_testkit::story;
use mandate_testkit::world::World;

const AGENT: &str = "support-agent";

async fn agent<A: OnAgent>(world: &World) -> Result<ApplyResponse, E> {
    let permit = world.administration.permit::<A>(&World::operator()).await.unwrap();
    world.administration.change_agent(permit, AGENT.to_owned()).await
}

fn refusal(answer: Result<ApplyResponse, E>) -> StateRefusal {
    match answer {
        Err(E::State { kind: EntryKind::Agent, name, refusal }) if name == AGENT => refusal,
        other => panic!("{other:?}"),
    }
}

/// The state in memory, which is the one in the database.
fn state(world: &World) -> AgentState {
    let of =
        |registry: &mandate_core::registry::Registry| registry.agent(&AGENT.parse().unwrap()).unwrap().state;
    let state = of(&world.live.snapshot().registry);
    assert_eq!(of(&world.stored().0), state);
    state
}

#[tokio::test]
async fn a_contained_agent_is_released_then_activated_and_its_old_tokens_stay_dead() {
    let world = World::story();
    let mandate = world.mandate().await;
    assert!(world.speaks_for(&world.person_token("riley", None, None).await).is_some());
    agent::<act::ContainAgent>(&world).await.unwrap();
    assert_eq!(state(&world), AgentState::Contained);
    assert_eq!(refusal(agent::<act::ActivateAgent>(&world).await), StateRefusal::Contained);
    assert_eq!(refusal(agent::<act::SuspendAgent>(&world).await), StateRefusal::Contained);
    assert_eq!(state(&world), AgentState::Contained);
    let released = agent::<act::ReleaseAgent>(&world).await.unwrap();
    assert_eq!(
        (released.changes.len(), state(&world)),
        (1, AgentState::Suspended),
        "released, and not active yet"
    );
    assert_eq!(refusal(agent::<act::ReleaseAgent>(&world).await), StateRefusal::NotContained);
    agent::<act::ActivateAgent>(&world).await.unwrap();
    assert_eq!(state(&world), AgentState::Active);
    let of = mandate_testkit::world::pairs(&[("token", &mandate)]);
    assert_eq!(
        world.introspect(&of, Some(&world.crm_api())).await.unwrap(),
        serde_json::json!({"active": false})
    );
}

#[tokio::test]
async fn retired_is_final_and_an_act_that_changes_nothing_has_no_record() {
    let world = World::story();
    agent::<act::RetireAgent>(&world).await.unwrap();
    let record = world.last_record().id;
    for refused in [
        agent::<act::SuspendAgent>(&world).await,
        agent::<act::ContainAgent>(&world).await,
        agent::<act::ReleaseAgent>(&world).await,
        agent::<act::ActivateAgent>(&world).await,
    ] {
        assert_eq!(refusal(refused), StateRefusal::Retired);
    }
    let again = agent::<act::RetireAgent>(&world).await.unwrap();
    assert_eq!((again.changes.len(), again.unchanged), (0, 1));
    assert_eq!(world.last_record().id, record);
}

#[tokio::test]
async fn to_contain_works_while_the_log_cannot_be_written_and_to_release_does_not() {
    let world = World::story();
    world.faults.break_down(Point::Commit);
    agent::<act::ContainAgent>(&world).await.unwrap();
    assert_eq!(
        world.live.snapshot().registry.agent(&AGENT.parse().unwrap()).unwrap().state,
        AgentState::Contained
    );
    assert!(matches!(agent::<act::ReleaseAgent>(&world).await, Err(E::AuditUnavailable(_))));
    assert_eq!(
        world.live.snapshot().registry.agent(&AGENT.parse().unwrap()).unwrap().state,
        AgentState::Contained
    );
    world.faults.repair();
    world.stops.retry().await;
    agent::<act::ReleaseAgent>(&world).await.unwrap();
    assert_eq!(state(&world), AgentState::Suspended);
}

#[tokio::test]
async fn an_entry_that_a_file_could_no_longer_declare_is_stopped_all_the_same() {
    // Its owner and its resources are gone, and it has no purpose.
    let ghost = mandate_core::registry::Agent {
        owner: "nobody".parse().unwrap(),
        purpose: String::new(),
        ..story::agent(AGENT, vec![story::permission("gone", "x")])
    };
    let world = World::with_entries(vec![Entry::Agent(ghost)]);
    agent::<act::SuspendAgent>(&world).await.unwrap();
    assert_eq!(state(&world), AgentState::Suspended);
}

#[tokio::test]
async fn a_person_is_disabled_and_enabled_and_a_grant_is_revoked_for_good() {
    let world = World::story();
    let riley = || "riley".to_owned();
    let disable = world.administration.permit::<act::DisablePerson>(&World::operator()).await.unwrap();
    world.administration.change_person(disable, riley()).await.unwrap();
    assert!(world.stored().0.person(&"riley".parse().unwrap()).unwrap().disabled);
    let enable = world.administration.permit::<act::EnablePerson>(&World::operator()).await.unwrap();
    world.administration.change_person(enable, riley()).await.unwrap();
    assert!(!world.stored().0.person(&"riley".parse().unwrap()).unwrap().disabled);

    let id: mandate_core::GrantId = "riley-support-agent-crm".parse().unwrap();
    for _ in 0..2 {
        let revoke = world.administration.permit::<act::Revoke>(&World::operator()).await.unwrap();
        world.administration.revoke(revoke, RevocationTarget::Grant(id.clone())).await.unwrap();
        assert!(world.stored().0.grant(&id).unwrap().revoked);
    }
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let world = World::story();
    let permit = world.administration.permit::<act::SuspendAgent>(&World::operator()).await.unwrap();
    let answer = world.administration.change_agent(permit, "nobody".to_owned()).await;
    assert!(
        matches!(&answer, Err(E::NotFound { kind: EntryKind::Agent, name }) if name == "nobody"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_change_that_fails_inside_is_our_fault_and_changes_nothing() {
    let world = World::story();
    agent::<act::SuspendAgent>(&world).await.unwrap();
    let before = world.last_record().id;
    let sqlite = "CREATE TRIGGER spoilt BEFORE UPDATE ON registry BEGIN SELECT RAISE(ABORT, 'spoilt'); END";
    let postgres = "ALTER TABLE registry ADD CONSTRAINT spoilt CHECK (false) NOT VALID";
    database::edit(&world.state_dir(), sqlite, postgres);
    let answer = agent::<act::ActivateAgent>(&world).await;
    assert!(matches!(answer, Err(E::Internal(_))), "{answer:?}");
    assert_eq!(state(&world), AgentState::Suspended);
    assert_eq!(world.last_record().id, before, "no record blames the operator");
}
