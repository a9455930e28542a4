//! A person lets one agent act: `requested_actor` of a pushed request, and `actor_token` with its code.

use std::time::Duration;

use mandate_audit::{Outcome, Query};
use mandate_core::registry::{AgentState, Entry, EntryKind};
use mandate_core::{CutTarget, RequestSource, Secret};
use mandate_oauth::{AuthorizationRequest, AuthorizeRefusal, LoginRefusal};
use mandate_testkit::story::{self, CRM};
use mandate_testkit::world::{JWT, Pairs, World, encode, exposed, pairs, parameter, payload, with, without};

use crate::{refused, shown};

/// A request of `desk-app` for `support-agent`.
fn for_agent(world: &World) -> Pairs {
    let request = world.authorization("desk-app", Some(CRM), Some("read:cases"));
    with(request, "requested_actor", &story::spiffe_id("support-agent"))
}

async fn asked(world: &World, form: &Pairs) -> Result<AuthorizationRequest, AuthorizeRefusal> {
    let uri = world.push(form, Some(&world.desk_app())).await.expect("a request_uri");
    let query = pairs(&[("client_id", "desk-app"), ("request_uri", &uri)]);
    world.engine.authorize(encode(&query).as_bytes(), RequestSource::Other).await
}

/// A code that Riley gives for `support-agent`.
async fn code(world: &World) -> String {
    let request = asked(world, &for_agent(world)).await.unwrap();
    let redirect = world.engine.log_in(&request, "riley", Secret::new(story::PASSWORD)).await.unwrap();
    parameter(redirect.location(), "code").unwrap()
}

/// The redemption of that code, with the proof of an agent.
fn redemption(world: &World, code: &str, svid: &str) -> Pairs {
    let form = without(world.redemption("desk-app", code), "client_id");
    with(with(form, "actor_token", svid), "actor_token_type", JWT)
}

async fn redeemed(world: &World, form: &Pairs) -> String {
    refused(world.token(form, Some(&world.desk_app())).await)
}

#[tokio::test]
async fn the_agent_that_the_person_let_act_gets_a_token_with_act() {
    let world = World::story();
    let request = asked(&world, &for_agent(&world)).await.unwrap();
    let (id, name) = request.actor().unwrap();
    assert_eq!((id.as_str(), name.as_str()), (story::spiffe_id("support-agent").as_str(), "support-agent"));
    let redirect = world.engine.log_in(&request, "riley", Secret::new(story::PASSWORD)).await.unwrap();
    let code = parameter(redirect.location(), "code").unwrap();
    let agent = story::spiffe_id("support-agent");
    let login = world.last_record();
    assert_eq!(login.detail, Some(format!("for the agent {agent}")), "the record says for whom");
    assert_eq!((login.outcome, login.asked.actor()), (Outcome::Permitted, Some(&*agent)));
    let svid = world.svid("support-agent").await;
    let token = world.token(&redemption(&world, &code, &svid), Some(&world.desk_app())).await.unwrap();
    assert!(token.refresh_token().is_none());
    let claims = payload(&exposed(&token));
    assert_eq!(
        (&claims["sub"], &claims["aud"], &claims["scope"]),
        (&"riley".into(), &CRM.into(), &"read:cases".into())
    );
    assert_eq!(claims["act"]["sub"], story::spiffe_id("support-agent"));
    assert_eq!(claims["client_id"], "desk-app");
    let record = world.last_record();
    assert_eq!((record.outcome, record.reason.as_str()), (Outcome::Permitted, "ok"));
    // It counts as a mandate does: it can be exchanged by the agent that it names, and a cut ends it.
    world.cut(CutTarget::Agent(story::spiffe_id("support-agent")));
    let form = pairs(&[("token", &exposed(&token))]);
    let seen = world.introspect(&form, Some(&world.crm_api())).await.unwrap();
    assert_eq!(seen, serde_json::json!({ "active": false }));
}

#[tokio::test]
async fn an_agent_is_asked_for_only_in_a_pushed_request() {
    let world = World::story();
    match world.engine.authorize(encode(&for_agent(&world)).as_bytes(), RequestSource::Other).await {
        Err(AuthorizeRefusal::Redirect { error, .. }) => {
            assert_eq!(shown(&error), "400 invalid_request requested_actor_not_pushed");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_for_an_agent_that_cannot_act_is_refused_when_it_is_pushed() {
    let world = World::story();
    let agent = |name: &str| story::spiffe_id(name);
    let unknown = "400 invalid_request parameter_unacceptable";
    let not_allowed = "400 unauthorized_client client_not_allowed";
    for (value, why) in [
        (agent("nobody"), unknown),
        ("support-agent".to_owned(), unknown),
        ("spiffe://acme.example/agent/../x".to_owned(), unknown),
        (agent("archive-agent"), not_allowed),
    ] {
        let form = with(for_agent(&world), "requested_actor", &value);
        let error = world.push(&form, Some(&world.desk_app())).await.unwrap_err();
        assert_eq!(shown(&error), why, "{value}");
        let record = world.last_record();
        assert_eq!((record.outcome, record.asked.actor()), (Outcome::Refused, Some(&*value)));
    }
    let twice = [for_agent(&world), pairs(&[("requested_actor", &agent("support-agent"))])].concat();
    let error = world.push(&twice, Some(&world.desk_app())).await.unwrap_err();
    assert_eq!(shown(&error), "400 invalid_request malformed_form");
    let nowhere = without(for_agent(&world), "resource");
    let error = world.push(&nowhere, Some(&world.desk_app())).await.unwrap_err();
    assert_eq!(shown(&error), "400 invalid_target resource_missing");
    // A public client proves nothing, so it presents no agent.
    let public = with(for_agent(&world), "client_id", "support-app");
    assert_eq!(shown(&world.push(&public, None).await.unwrap_err()), not_allowed);
    world
        .change(EntryKind::Agent, "support-agent", |entry| {
            if let Entry::Agent(agent) = entry {
                agent.state = AgentState::Suspended;
            }
        })
        .await;
    let error = world.push(&for_agent(&world), Some(&world.desk_app())).await.unwrap_err();
    assert_eq!(shown(&error), unknown, "a suspended agent");
}

#[tokio::test]
async fn without_a_grant_the_person_is_sent_back_without_a_code() {
    let world = World::story();
    let request = asked(&world, &for_agent(&world)).await.unwrap();
    world
        .change(EntryKind::Grant, "riley-support-agent-crm", |entry| {
            if let Entry::Grant(grant) = entry {
                grant.revoked = true;
            }
        })
        .await;
    match world.engine.log_in(&request, "riley", Secret::new(story::PASSWORD)).await {
        Err(LoginRefusal::Redirect { location, error }) => {
            assert_eq!(shown(&error), "400 invalid_grant grant_revoked");
            assert_eq!(parameter(&location, "code"), None);
            assert_eq!(world.last_record().asked.actor(), Some(&*story::spiffe_id("support-agent")));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_code_for_an_agent_gives_nothing_without_exactly_that_agent_and_stays_usable() {
    let world = World::story();
    let code = code(&world).await;
    let svid = world.svid("support-agent").await;
    let good = redemption(&world, &code, &svid);
    let plain = without(without(good.clone(), "actor_token"), "actor_token_type");
    let other = world.svid("research-agent").await;
    let elsewhere = world.svid_for(&story::spiffe_id("support-agent"), &[CRM]).await;
    let riley = world.person_token("riley", None, None).await;
    for (form, why) in [
        (plain, "400 invalid_grant code_needs_actor"),
        (without(good.clone(), "actor_token_type"), "400 invalid_request parameter_missing"),
        (without(good.clone(), "actor_token"), "400 invalid_request parameter_misplaced"),
        (with(good.clone(), "actor_token", &other), "400 invalid_grant actor_not_requested"),
        (with(good.clone(), "actor_token", &elsewhere), "400 invalid_grant actor_token_refused"),
        (with(good.clone(), "actor_token", &riley), "400 invalid_grant actor_token_refused"),
        (with(good.clone(), "actor_token", "x.y.z"), "400 invalid_grant actor_token_refused"),
        (with(good.clone(), "requested_actor", "x"), "400 invalid_request parameter_misplaced"),
    ] {
        let told = redeemed(&world, &form).await;
        assert!(told.starts_with(why), "{told} is not {why}: {form:?}");
        let record = world.last_record();
        assert_eq!(record.outcome, Outcome::Refused);
    }
    assert!(world.token(&good, Some(&world.desk_app())).await.is_ok(), "nothing used the code up");
    assert_eq!(redeemed(&world, &good).await, "400 invalid_grant code_reused");
}

#[tokio::test]
async fn a_code_for_no_agent_takes_no_actor_token() {
    let world = World::story();
    let code = world.code(&world.authorization("desk-app", Some(CRM), Some("read:cases")), "riley").await;
    let svid = world.svid("support-agent").await;
    assert_eq!(
        redeemed(&world, &redemption(&world, &code, &svid)).await,
        "400 invalid_request parameter_misplaced",
        "it is not ignored"
    );
    let plain = without(world.redemption("desk-app", &code), "client_id");
    let claims = payload(&exposed(&world.token(&plain, Some(&world.desk_app())).await.unwrap()));
    assert!(claims.get("act").is_none());
}

#[tokio::test]
async fn what_was_taken_away_since_the_login_is_not_given() {
    let world = World::story();
    let code = code(&world).await;
    let form = redemption(&world, &code, &world.svid("support-agent").await);
    let set = async |state: AgentState| {
        let change = |entry: &mut Entry| {
            if let Entry::Agent(agent) = entry {
                agent.state = state;
            }
        };
        world.change(EntryKind::Agent, "support-agent", change).await;
    };
    set(AgentState::Suspended).await;
    assert_eq!(redeemed(&world, &form).await, "400 invalid_grant agent_not_active");
    set(AgentState::Active).await;
    world.cut(CutTarget::Client("desk-app".parse().unwrap()));
    world.clock.advance(Duration::from_millis(2));
    assert_eq!(redeemed(&world, &form).await, "400 invalid_grant subject_revoked");
}

#[tokio::test]
async fn a_second_use_of_the_code_ends_the_agents_token() {
    let world = World::story();
    let code = code(&world).await;
    let svid = world.svid("support-agent").await;
    let form = redemption(&world, &code, &svid);
    let token = exposed(&world.token(&form, Some(&world.desk_app())).await.unwrap());
    let active = async || {
        let form = pairs(&[("token", &token)]);
        world.introspect(&form, Some(&world.crm_api())).await.unwrap()["active"].clone()
    };
    assert_eq!(active().await, true);
    assert_eq!(redeemed(&world, &form).await, "400 invalid_grant code_reused");
    assert_eq!(active().await, false);
    let named = world.records(&Query::default());
    assert!(named.iter().any(|record| record.reason == "code_reused"));
}
