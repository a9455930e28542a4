//! An agent's own token: accepted only where a route says that agents may come by themselves.

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::http::Request;
use axum::routing::get;
use mandate_core::Clock as _;
use mandate_verifier::{
    Actor, ActorChain, Lineage, Reason, Route, SubjectProfile, Terms, Verified, VerifiedCaller,
};
use tower_service::Service as _;

use crate::world::{RESOURCE, World};

const AGENT: &str = "spiffe://acme.example/agent/a";

/// An agent's own token, for the resource of the world.
fn own(world: &World) -> Terms {
    let issuer = world.issuer.issuer();
    let agent = Actor { sub: AGENT.to_owned(), iss: issuer, sub_profile: Some(SubjectProfile::AiAgent) };
    Terms {
        subject: None,
        chain: ActorChain::new(vec![agent]).unwrap(),
        client: AGENT.parse().unwrap(),
        lineage: Lineage::default(),
        auth_time: None,
        acr: None,
        amr: Vec::new(),
        ..world.issuer.terms(RESOURCE, "read:cases", world.clock.now())
    }
}

fn route() -> Route {
    Route::requires("read:cases").unwrap()
}

#[tokio::test]
async fn a_route_that_expects_a_person_refuses_it_and_says_so() {
    let world = World::new().await;
    let token = world.issuer.sign(&own(&world));
    let refusal = world.verify(&token, "read:cases").await.unwrap_err();
    assert_eq!((refusal.reason(), refusal.status()), (&Reason::NoPerson, 403));
    let challenge = refusal.www_authenticate().unwrap();
    assert!(
        challenge.contains("error=\"insufficient_scope\"") && !challenge.contains("scope=\""),
        "{challenge}"
    );
    let attempt = refusal.attempt().unwrap();
    assert_eq!(attempt.subject, None);
    assert_eq!(attempt.actor.as_ref().unwrap().sub, AGENT);
    // Also where only this agent may act: it may, for a person.
    let only = route().only_actors([AGENT]);
    let bearer = format!("Bearer {token}");
    assert_eq!(
        world.verifier.verify(Some(bearer.as_str()), &only).await.unwrap_err().reason(),
        &Reason::NoPerson
    );
}

#[tokio::test]
async fn a_route_for_agents_too_is_told_which_of_both_it_is() {
    let world = World::new().await;
    let bearer = |token: String| format!("Bearer {token}");
    let (own, person) = (bearer(world.issuer.sign(&own(&world))), bearer(world.token("read:cases")));
    let caller = world.verifier.verify_caller(Some(own.as_str()), &route()).await.unwrap();
    assert_eq!(caller.person(), None);
    let VerifiedCaller::OwnBehalf(agent) = caller else { panic!("{caller:?}") };
    assert_eq!((agent.agent().sub.as_str(), agent.resource().as_str()), (AGENT, RESOURCE));
    assert_eq!(agent.scopes().to_string(), "read:cases");
    let caller = world.verifier.verify_caller(Some(person.as_str()), &route()).await.unwrap();
    let VerifiedCaller::ForPerson(verified) = caller else { panic!("{caller:?}") };
    assert_eq!(verified.subject().sub, "riley");

    let other = route().only_actors(["spiffe://acme.example/agent/b"]);
    let refused = world.verifier.verify_caller(Some(own.as_str()), &other).await.unwrap_err();
    assert_eq!(refused.reason(), &Reason::ActorNotAdmitted);
    let more = Route::requires("send:mail").unwrap();
    let refused = world.verifier.verify_caller(Some(own.as_str()), &more).await.unwrap_err();
    assert!(matches!(refused.reason(), Reason::InsufficientScope { .. }));
}

#[tokio::test]
async fn a_cut_on_the_agent_or_on_its_client_reaches_it() {
    for target in [
        mandate_core::CutTarget::Agent(AGENT.to_owned()),
        mandate_core::CutTarget::Client(AGENT.parse().unwrap()),
    ] {
        let world = World::new().await;
        let token = format!("Bearer {}", world.issuer.sign(&own(&world)));
        assert!(world.verifier.verify_caller(Some(token.as_str()), &route()).await.is_ok());
        world.issuer.cut(target.clone(), world.clock.now());
        crate::world::eventually(async || {
            let answer = world.verifier.verify_caller(Some(token.as_str()), &route()).await;
            answer.is_err_and(|refusal| *refusal.reason() == Reason::Revoked)
        })
        .await;
    }
}

async fn status(app: &Router, uri: &str, token: &str) -> (u16, String) {
    let request = Request::get(uri).header("authorization", format!("Bearer {token}"));
    let response = app.clone().into_service().call(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_layer_lets_agents_by_themselves_through_only_if_it_says_so() {
    let world = World::new().await;
    let of_person = async |Extension(verified): Extension<Verified>| verified.subject().sub.clone();
    let of_either = async |Extension(caller): Extension<VerifiedCaller>| match caller {
        VerifiedCaller::ForPerson(verified) => verified.subject().sub.clone(),
        VerifiedCaller::OwnBehalf(agent) => agent.agent().sub.clone(),
    };
    let either = || world.verifier.layer(route()).and_agents_themselves();
    let app = Router::new()
        .route("/people", get(of_person).route_layer(world.verifier.layer(route())))
        .route("/either", get(of_either).route_layer(either()))
        // The layer and the handler do not fit: nobody comes in.
        .route("/wrong", get(of_person).route_layer(either()));
    let (own, person) = (world.issuer.sign(&own(&world)), world.token("read:cases"));
    let (code, body) = status(&app, "/people", &own).await;
    assert!(code == 403 && body.contains("no_person"), "{code} {body}");
    assert_eq!(status(&app, "/people", &person).await, (200, "riley".to_owned()));
    assert_eq!(status(&app, "/either", &own).await, (200, AGENT.to_owned()));
    assert_eq!(status(&app, "/either", &person).await, (200, "riley".to_owned()));
    assert_eq!(status(&app, "/wrong", &own).await.0, 500);
}
