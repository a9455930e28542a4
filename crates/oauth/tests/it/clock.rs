//! A machine's clock that is set back: what was stopped stays stopped, and what is new works.

use std::time::Duration;

use mandate_core::registry::{AgentState, Entry, EntryKind};
use mandate_core::{Clock as _, CutTarget};
use mandate_testkit::story::{self, CRM};
use mandate_testkit::world::{World, exposed, payload};

use crate::{lives, refused};

const BACK: [Duration; 3] = [Duration::from_secs(40), Duration::from_mins(10), Duration::from_hours(24)];

async fn set_state(world: &World, state: AgentState) {
    world
        .change(EntryKind::Agent, "support-agent", |entry| {
            if let Entry::Agent(agent) = entry {
                agent.state = state;
            }
        })
        .await;
}

#[tokio::test]
async fn an_agent_that_was_suspended_and_activated_after_the_clock_was_set_back_has_no_old_mandate() {
    for back in BACK {
        let world = World::story();
        let mandate = world.mandate().await;
        assert!(lives(&world, &mandate).await);
        world.clock.set(world.clock.now().minus(back));
        set_state(&world, AgentState::Suspended).await;
        set_state(&world, AgentState::Active).await;
        assert!(!lives(&world, &mandate).await, "{back:?}");
        assert!(lives(&world, &world.mandate().await).await, "what is issued afterwards works: {back:?}");
    }
}

#[tokio::test]
async fn a_person_who_was_revoked_after_the_clock_was_set_back_has_no_old_token() {
    for back in BACK {
        let world = World::story();
        let (subject, svid) =
            (world.person_token("riley", None, None).await, world.svid("support-agent").await);
        world.clock.set(world.clock.now().minus(back));
        world.cut(CutTarget::Person(mandate_core::Subject {
            iss: story::ISSUER.parse().unwrap(),
            sub: "riley".into(),
        }));
        let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
        assert_eq!(
            refused(world.token(&form, None).await),
            "400 invalid_request subject_revoked",
            "{back:?}"
        );
        let subject = world.person_token("riley", None, None).await;
        let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
        assert!(world.token(&form, None).await.is_ok(), "{back:?}");
    }
}

#[tokio::test]
async fn records_tokens_and_ids_keep_their_order_whatever_is_done_to_the_clock() {
    let world = World::story();
    let mut last = (world.hybrid.now(), 0);
    for step in [0, 40, 600, 3600] {
        world.clock.set(world.clock.now().minus(Duration::from_secs(step)));
        let claims = payload(&world.mandate().await);
        let (record, iat) = (world.last_record().time, claims["iat"].as_u64().unwrap());
        assert!(record >= last.0 && iat >= last.1, "{step}");
        assert_eq!(iat, record.secs());
        last = (record, iat);
        world.clock.advance(Duration::from_secs(2));
    }
}

#[tokio::test]
async fn what_is_issued_while_the_clock_is_behind_expires_by_the_clock_or_within_a_minute() {
    let world = World::story();
    let lifetime =
        |claims: &serde_json::Value| claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    let full = lifetime(&payload(&world.mandate().await));
    world.clock.set(world.clock.now().minus(Duration::from_secs(40)));
    let claims = payload(&world.mandate().await);
    assert_eq!(lifetime(&claims), full - 40);
    assert_eq!(claims["exp"].as_u64().unwrap(), world.clock.now().secs() + full);
    world.clock.set(world.clock.now().minus(Duration::from_hours(24)));
    let mandate = exposed_mandate(&world).await;
    assert_eq!(lifetime(&payload(&mandate)), 60);
    assert!(lives(&world, &mandate).await);
    world.clock.advance(Duration::from_mins(2));
    assert!(!lives(&world, &mandate).await, "the server's clock goes on, at half speed");
}

async fn exposed_mandate(world: &World) -> String {
    let subject = world.person_token("riley", None, None).await;
    let form = world.agent_exchange(&world.svid("support-agent").await, &subject, CRM, "read:cases");
    exposed(&world.token(&form, None).await.unwrap())
}
