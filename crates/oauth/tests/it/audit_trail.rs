//! Every outcome has a durable record before the caller gets the answer.

use mandate_audit::{Outcome, Query, RecordKind};
use mandate_core::RequestSource;
use mandate_oauth::metadata::TOKEN_PATH;
use mandate_testkit::faulty_backend::{InjectedFault, Point};
use mandate_testkit::story::{self, CRM};
use mandate_testkit::world::{JWT, Post, World, exposed, payload, with};

use crate::{refused, shown};

#[tokio::test]
async fn a_mandate_is_recorded_with_everything_the_token_says() {
    let world = World::story();
    let claims = payload(&world.mandate().await);
    let record = world.last_record();
    assert_eq!(
        (record.kind, record.outcome, record.reason.as_str()),
        (RecordKind::Exchange, Outcome::Permitted, "ok")
    );
    assert_eq!(record.said().sub.unwrap().sub, "riley");
    let actors: Vec<_> = record.said().act.iter().map(|actor| actor.sub.as_str()).collect();
    assert_eq!(actors, [story::spiffe_id("support-agent")]);
    assert_eq!(record.said().aud, Some(CRM));
    assert_eq!(record.said().scope.to_string(), claims["scope"]);
    assert_eq!(record.said().jti.unwrap().as_str(), claims["jti"]);
    assert_eq!(record.said().exp.unwrap().secs(), claims["exp"].as_u64().unwrap());
    assert_eq!(record.said().client, claims["client_id"].as_str());
    assert!(!record.policies.is_empty());
}

#[tokio::test]
async fn a_refused_attempt_stands_with_both_names_on_it() {
    let world = World::story();
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let form = world.agent_exchange(&svid, &subject, CRM, "write:opportunities");
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_scope scope_beyond_ceiling");
    let record = world.last_record();
    assert_eq!((record.outcome, record.reason.as_str()), (Outcome::Refused, "scope_beyond_ceiling"));
    assert_eq!(record.said().sub.unwrap().sub, "riley");
    assert_eq!(record.said().act.outermost().unwrap().sub, story::spiffe_id("support-agent"));
    assert_eq!(record.said().aud, Some(CRM));
    assert_eq!(record.asked.scope(), Some("write:opportunities"));
    assert!(record.said().jti.is_none() && record.said().scope.is_empty());
}

#[tokio::test]
async fn a_malformed_actor_leaves_a_trace_that_is_not_taken_for_a_fact() {
    let world = World::story();
    let subject = world.person_token("riley", None, None).await;
    let app = world.desk_app();
    for (actor, claimed) in [("not.a.jwt", "(unreadable)"), (subject.as_str(), "riley")] {
        let form = world.app_exchange(actor, &subject, CRM, "read:cases");
        assert_eq!(refused(world.token(&form, Some(&app)).await), "400 invalid_request actor_token_refused");
        let record = world.last_record();
        assert_eq!(record.asked.actor(), Some(claimed));
        assert!(record.said().act.is_empty());
        assert_eq!(record.said().client, Some("desk-app"));
        assert_eq!(record.said().sub.unwrap().sub, "riley");
        let text = String::from_utf8(record.to_leaf().unwrap()).unwrap();
        assert!(!text.contains(subject.rsplit('.').next().unwrap()), "no token in a record");
    }
}

#[tokio::test]
async fn an_unauthenticated_caller_is_recorded_as_such() {
    let world = World::story();
    let subject = world.person_token("riley", None, None).await;
    let form = world.app_exchange("x", &subject, CRM, "read:cases");
    let header = mandate_testkit::world::basic("desk-app", "wrong");
    assert!(world.token(&form, Some(&header)).await.is_err());
    let record = world.last_record();
    assert_eq!((record.outcome, record.reason.as_str()), (Outcome::Refused, "client_authentication_failed"));
    assert!(record.said().client.is_none() && record.said().sub.is_none(), "nothing was proven");
    assert!(record.detail.unwrap().contains("desk-app"));
    // A malformed form, a missing grant type, an unknown endpoint user: all leave one record each.
    let before = world.records(&Query::default()).len();
    let no_form = Post::to(TOKEN_PATH, vec![("content-type", "text/plain")], b"x");
    assert!(world.engine.token(no_form.request()).await.is_err());
    assert!(world.token(&Vec::new(), None).await.is_err());
    assert!(world.engine.authorize(b"client_id=nobody", RequestSource::Other).await.is_err());
    assert!(world.revoke(&Vec::new(), None).await.is_err());
    assert_eq!(world.records(&Query::default()).len(), before + 4);
}

#[tokio::test]
async fn without_a_record_there_is_no_token_no_code_and_no_refusal_either() {
    let world = World::story();
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    for point in Point::WRITES {
        world.faults.fail(point, 0, InjectedFault::Lost);
        assert_eq!(refused(world.token(&form, None).await), "503 temporarily_unavailable audit_unavailable");
        world.faults.fail(point, 0, InjectedFault::Lost);
        let denied = with(form.clone(), "scope", "send:mail");
        assert_eq!(
            refused(world.token(&denied, None).await),
            "503 temporarily_unavailable audit_unavailable"
        );
    }
    world.faults.fail(Point::Commit, 0, InjectedFault::Lost);
    let error = world.engine.authorize(b"client_id=nobody", RequestSource::Other).await.unwrap_err();
    assert_eq!(shown(error.error()), "503 temporarily_unavailable audit_unavailable");
    assert!(world.token(&form, None).await.is_ok(), "it recovers by itself");
}

#[tokio::test]
async fn a_token_is_let_out_only_after_its_record_is_durable() {
    let world = World::story();
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let form = with(world.agent_exchange(&svid, &subject, CRM, "read:cases"), "actor_token_type", JWT);
    let form = with(form, "actor_token", &svid);
    world.faults.hold();
    let mut exchange = Box::pin(world.token(&form, None));
    let waits = tokio::select! {
        biased;
        _ = &mut exchange => false,
        () = tokio::task::yield_now() => true,
    };
    assert!(waits);
    world.faults.release();
    let jti = payload(&exposed(&exchange.await.unwrap()))["jti"].as_str().unwrap().to_owned();
    assert_eq!(world.last_record().said().jti.unwrap().as_str(), jti);
}
