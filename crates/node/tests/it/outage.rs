//! The server stops, starts again, or refuses this node.

use mandate_api::proto::workload::{JwtsvidRequest, ValidateJwtsvidRequest};
use spiffe::WorkloadApiError;
use tonic::Code;

use crate::server::{NODE_LIFE, SVID_LIFE};
use crate::world::{Running, World, code, my_uid, soon, with_header};

fn ask(audience: &str) -> tonic::Request<JwtsvidRequest> {
    with_header(JwtsvidRequest { audience: vec![audience.to_owned()], spiffe_id: String::new() })
}

async fn world() -> World {
    World::new(&[("support", &[&my_uid()])]).await
}

#[tokio::test]
async fn a_cached_svid_is_served_through_an_outage_until_it_expires() {
    let mut world = world().await;
    let client = world.client().await;
    let before = client.fetch_jwt_svid(["x"], None).await.unwrap();
    world.server.stop();
    assert_eq!(client.fetch_jwt_svid(["x"], None).await.unwrap().token(), before.token());
    // Past half of its life it would be replaced, if there were a server.
    world.clock.advance(SVID_LIFE * 2 / 3);
    assert_eq!(client.fetch_jwt_svid(["x"], None).await.unwrap().token(), before.token());
    world.clock.advance(SVID_LIFE / 2);
    let (status, text) = code(world.raw().await.fetch_jwtsvid(ask("x")).await);
    assert_eq!(status, Code::Unavailable);
    assert!(text.contains("cannot reach its server"), "{text}");
    world.server.start();
    let after = soon(async || client.fetch_jwt_svid(["x"], None).await).await;
    assert_ne!(after.token(), before.token());
    world.node.stop().await;
}

#[tokio::test]
async fn during_an_outage_not_yet_is_never_said_as_no() {
    let mut world = world().await;
    let mut raw = world.raw().await;
    world.server.stop();
    // An audience that was never asked for, and an identity that may have been registered meanwhile.
    assert_eq!(code(raw.fetch_jwtsvid(ask("new")).await).0, Code::Unavailable);
    // The break may be noticed a moment later; until then the node rightly trusts what it knows.
    soon(async || {
        let mut request = ask("x");
        request.get_mut().spiffe_id = crate::server::agent("unheard-of");
        match code(raw.fetch_jwtsvid(request).await).0 {
            Code::Unavailable => Ok(()),
            other => Err(other),
        }
    })
    .await;
    world.node.stop().await;
}

#[tokio::test]
async fn during_an_outage_a_key_that_may_be_new_is_not_called_invalid() {
    let mut world = world().await;
    let mut raw = world.raw().await;
    let id = crate::server::agent("support");
    let known = world.server.svid(&id, &["x"]);
    world.server.stop();
    world.server.rotate();
    let newer = world.server.svid(&id, &["x"]);
    let ask =
        |svid: &str| with_header(ValidateJwtsvidRequest { audience: "x".into(), svid: svid.to_owned() });
    // The break may be noticed a moment later.
    let text = soon(async || match code(raw.validate_jwtsvid(ask(&newer)).await) {
        (Code::Unavailable, text) => Ok(text),
        other => Err(other),
    })
    .await;
    assert!(text.contains("try again"), "{text}");
    assert_eq!(
        raw.validate_jwtsvid(ask(&known)).await.unwrap().into_inner().spiffe_id,
        id,
        "with the keys that it has, it answers"
    );
    world.server.start();
    soon(async || raw.validate_jwtsvid(ask(&newer)).await).await;
    let (status, text) = code(raw.validate_jwtsvid(ask(&known)).await);
    assert_eq!((status, text.contains("unknown_key")), (Code::InvalidArgument, true), "{text}");
    world.node.stop().await;
}

#[tokio::test]
async fn what_changed_during_an_outage_is_known_right_after_it() {
    let mut world = world().await;
    let client = world.client().await;
    client.fetch_jwt_svid(["x"], None).await.unwrap();
    world.server.stop();
    world.server.entries(&[]);
    world.server.start();
    soon(async || match client.fetch_jwt_svid(["x"], None).await {
        Err(WorkloadApiError::NoIdentityIssued) => Ok(()),
        other => Err(other.map(drop)),
    })
    .await;
    world.node.stop().await;
}

#[tokio::test]
async fn a_node_whose_own_certificate_expired_says_unavailable_and_why() {
    let mut world = world().await;
    world.server.stop();
    world.clock.advance(NODE_LIFE + std::time::Duration::from_secs(1));
    let mut raw = world.raw().await;
    let text = soon(async || {
        let (status, text) = code(raw.fetch_jwtsvid(ask("x")).await);
        assert_eq!(status, Code::Unavailable, "{text}");
        if text.contains("certificate has expired") { Ok(text) } else { Err(text) }
    })
    .await;
    assert!(text.contains("log says how to join again"), "{text}");
    // It does not come back by itself, and it shuts down cleanly.
    world.server.start();
    assert_eq!(code(raw.fetch_jwtsvid(ask("x")).await).0, Code::Unavailable);
    world.node.stop().await;
}

#[tokio::test]
async fn a_node_that_the_server_removed_hands_out_nothing_more() {
    let mut world = world().await;
    let client = world.client().await;
    client.fetch_jwt_svid(["x"], None).await.unwrap();
    world.server.book().banned = true;
    world.server.stop();
    world.server.start();
    let mut raw = world.raw().await;
    soon(async || match raw.fetch_jwtsvid(ask("x")).await {
        Err(status)
            if status.code() == Code::Unavailable && status.message().contains("refuses this node") =>
        {
            Ok(())
        }
        other => Err(other.map(drop)),
    })
    .await;
    world.node.stop().await;
}

#[tokio::test]
async fn a_restarted_node_waits_for_its_server_before_it_says_no() {
    let mut world = world().await;
    let (clock, config) = (world.clock.clone(), world.place.config(&world.server, None));
    world.node.stop().await;
    world.server.stop();
    let mut node = Running::start(config, clock);
    let client = soon(async || {
        if world.place.socket().exists() {
            Ok(crate::world::client(&world.place.socket()).await)
        } else {
            Err(())
        }
    })
    .await;
    let error = client.fetch_jwt_svid(["x"], None).await.unwrap_err();
    assert!(error.to_string().contains("has not heard from its server"), "{error}");
    world.server.start();
    node.ready().await;
    client.fetch_jwt_svid(["x"], None).await.unwrap();
    node.stop().await;
}
