//! What local processes get through the socket, and what they are refused.

use std::time::Duration;

use mandate_api::proto::workload::{
    JwtBundlesRequest, JwtsvidRequest, ValidateJwtsvidRequest, X509BundlesRequest, X509svidRequest,
};
use mandate_core::digest::sha256;
use prost_types::value::Kind;
use spiffe::{JwtSvid, TrustDomain, WorkloadApiError};
use tokio_stream::StreamExt;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

use crate::server::{SVID_LIFE, TRUST_DOMAIN, agent};
use crate::world::{World, code, my_path, my_uid, soon, with_header};

fn ask(audiences: &[&str], spiffe_id: &str) -> JwtsvidRequest {
    JwtsvidRequest {
        audience: audiences.iter().map(|&text| text.to_owned()).collect(),
        spiffe_id: spiffe_id.to_owned(),
    }
}

const AUDIENCE: &str = "https://mandate.acme.example";

async fn world() -> World {
    World::new(&[("support", &[&my_uid()])]).await
}

#[tokio::test]
async fn an_independent_client_fetches_and_verifies_an_svid() {
    let world = World::new(&[("support", &[&my_uid(), &my_path()])]).await;
    let client = world.client().await;
    let svid = client.fetch_jwt_svid([AUDIENCE], None).await.unwrap();
    assert_eq!(svid.spiffe_id().to_string(), agent("support"));
    // Verified by the client library against the bundle it fetches through the same socket.
    let bundles = client.fetch_jwt_bundles().await.unwrap();
    let verified = JwtSvid::parse_and_validate(svid.token(), &bundles, &[AUDIENCE]).unwrap();
    assert_eq!(verified.audience(), [AUDIENCE]);
    // And by the node on the client's behalf.
    let validated = client.validate_jwt_token(AUDIENCE, svid.token()).await.unwrap();
    assert_eq!(validated.spiffe_id(), svid.spiffe_id());
    // The server was shown what the kernel says of this process.
    let shown = world.server.book().issued[0].selectors.clone();
    assert_eq!(shown, [my_uid(), format!("unix:gid:{}", rustix::process::getgid().as_raw()), my_path()]);
    world.node.stop().await;
}

#[tokio::test]
async fn the_digest_of_the_program_is_a_selector() {
    let hex = base16ct::lower::encode_string(&sha256(&std::fs::read("/proc/self/exe").unwrap()));
    let world = World::new(&[
        ("support", &[&format!("unix:sha256:{hex}")]),
        ("other", &[&format!("unix:sha256:{}", "0".repeat(64))]),
    ])
    .await;
    let svids = world.client().await.fetch_all_jwt_svids(["x"], None).await.unwrap();
    assert_eq!(svids.iter().map(|svid| svid.spiffe_id().to_string()).collect::<Vec<_>>(), [agent("support")]);
    world.node.stop().await;
}

#[tokio::test]
async fn one_svid_for_each_identity_or_the_one_that_is_named() {
    let world =
        World::new(&[("b", &[&my_uid()]), ("a", &[&my_uid()]), ("not-mine", &["unix:uid:4294967294"])]).await;
    let client = world.client().await;
    let ids = |svids: Vec<JwtSvid>| svids.iter().map(|svid| svid.spiffe_id().to_string()).collect::<Vec<_>>();
    assert_eq!(ids(client.fetch_all_jwt_svids(["x"], None).await.unwrap()), [agent("b"), agent("a")]);
    let named = agent("a").parse().unwrap();
    assert_eq!(ids(client.fetch_all_jwt_svids(["x"], Some(&named)).await.unwrap()), [agent("a")]);
    world.node.stop().await;
}

#[tokio::test]
async fn a_process_gets_no_identity_that_is_not_its_own() {
    let world =
        World::new(&[("mine", &[&my_uid()]), ("not-mine", &[&my_uid(), "unix:path:/bin/sleep"])]).await;
    let client = world.client().await;
    for name in ["not-mine", "unheard-of"] {
        let named = agent(name).parse().unwrap();
        let error = client.fetch_jwt_svid(["x"], Some(&named)).await.unwrap_err();
        assert!(matches!(error, WorkloadApiError::NoIdentityIssued), "{error}");
    }
    assert_eq!(world.issued(), 0, "the server was not even asked");
    world.node.stop().await;
}

#[tokio::test]
async fn a_process_without_any_entry_is_told_so_at_once() {
    let world = World::new(&[("not-mine", &["unix:uid:4294967294"])]).await;
    let client = world.client().await;
    assert!(matches!(client.fetch_jwt_svid(["x"], None).await, Err(WorkloadApiError::NoIdentityIssued)));
    assert!(matches!(client.fetch_jwt_bundles().await, Err(WorkloadApiError::NoIdentityIssued)));
    world.node.stop().await;
}

#[tokio::test]
async fn without_the_security_header_nothing_is_answered() {
    let world = world().await;
    let mut raw = world.raw().await;
    let wrong = |values: &[&str]| {
        let mut request = Request::new(ask(&["x"], ""));
        for value in values {
            request.metadata_mut().append("workload.spiffe.io", value.parse::<MetadataValue<_>>().unwrap());
        }
        request
    };
    for values in
        [&[][..], &["false"], &["True"], &[""], &["true", "true"], &["true", "false"], &["true,true"]]
    {
        assert_eq!(code(raw.fetch_jwtsvid(wrong(values)).await).0, Code::InvalidArgument, "{values:?}");
    }
    assert_eq!(
        raw.fetch_jwt_bundles(JwtBundlesRequest {}).await.map(drop).unwrap_err().code(),
        Code::InvalidArgument
    );
    let validate = ValidateJwtsvidRequest { audience: "x".into(), svid: "x".into() };
    assert_eq!(code(raw.validate_jwtsvid(validate).await).0, Code::InvalidArgument);
    assert_eq!(
        raw.fetch_x509svid(X509svidRequest {}).await.map(drop).unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(world.issued(), 0);
    world.node.stop().await;
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let world = world().await;
    let mut raw = world.raw().await;
    let long = "a".repeat(513);
    let many: Vec<&str> = vec!["x"; 9];
    for request in [
        ask(&[], ""),
        ask(&[""], ""),
        ask(&["x", ""], ""),
        ask(&[&long], ""),
        ask(&["a b"], ""),
        ask(&["ä"], ""),
        ask(&many, ""),
        ask(&["x"], "agent/support"),
        ask(&["x"], "spiffe://ACME.example/agent/support"),
    ] {
        let (code, text) = code(raw.fetch_jwtsvid(with_header(request.clone())).await);
        assert_eq!(code, Code::InvalidArgument, "{request:?}");
        assert!(!text.is_empty());
    }
    let huge = ask(&[&"a".repeat(128 << 10)], "");
    assert_eq!(
        code(raw.fetch_jwtsvid(with_header(huge)).await).0,
        Code::OutOfRange,
        "refused before it is read"
    );
    assert_eq!(world.issued(), 0);
    world.node.stop().await;
}

#[tokio::test]
async fn other_profiles_are_not_served_and_say_so() {
    let world = world().await;
    let mut raw = world.raw().await;
    let statuses: [Status; 2] = [
        raw.fetch_x509svid(with_header(X509svidRequest {})).await.map(drop).unwrap_err(),
        raw.fetch_x509_bundles(with_header(X509BundlesRequest {})).await.map(drop).unwrap_err(),
    ];
    for status in statuses {
        assert_eq!(status.code(), Code::Unimplemented);
        assert!(status.message().contains("JWT profile only"), "{status:?}");
    }
    world.node.stop().await;
}

#[tokio::test]
async fn a_new_entry_serves_at_once_and_a_withdrawn_one_no_more() {
    let world = World::new(&[]).await;
    let client = world.client().await;
    assert!(matches!(client.fetch_jwt_svid(["x"], None).await, Err(WorkloadApiError::NoIdentityIssued)));
    world.server.entries(&[("support", &[&my_uid()])]);
    soon(async || client.fetch_jwt_svid(["x"], None).await).await;
    world.server.entries(&[]);
    soon(async || match client.fetch_jwt_svid(["x"], None).await {
        Err(WorkloadApiError::NoIdentityIssued) => Ok(()),
        other => Err(other.map(drop)),
    })
    .await;
    // Coming back, it is issued again: nothing was kept from before.
    let issued = world.issued();
    world.server.entries(&[("support", &[&my_uid()])]);
    soon(async || client.fetch_jwt_svid(["x"], None).await).await;
    assert!(world.issued() > issued, "{issued}");
    world.node.stop().await;
}

#[tokio::test]
async fn an_svid_is_issued_once_for_many_and_renewed_at_half_of_its_life() {
    let world = world().await;
    let client = world.client().await;
    let fetches = (0..20).map(|_| client.fetch_jwt_svid(["x"], None));
    let tokens: Vec<String> = futures_util::future::join_all(fetches)
        .await
        .into_iter()
        .map(|svid| svid.unwrap().token().to_owned())
        .collect();
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    assert_eq!(world.issued(), 1);
    // Another set of audiences is another SVID; the same set in another order is not.
    client.fetch_jwt_svid(["y", "x"], None).await.unwrap();
    client.fetch_jwt_svid(["x", "y"], None).await.unwrap();
    assert_eq!(world.issued(), 2);
    world.clock.advance(SVID_LIFE / 2);
    let renewed = client.fetch_jwt_svid(["x"], None).await.unwrap();
    assert_ne!(renewed.token(), tokens[0]);
    assert_eq!(world.issued(), 3);
    world.node.stop().await;
}

#[tokio::test]
async fn a_key_that_left_the_bundle_takes_its_svids_along() {
    let world = world().await;
    let client = world.client().await;
    let before = client.fetch_jwt_svid(["x"], None).await.unwrap();
    world.server.rotate();
    let after = soon(async || match client.fetch_jwt_svid(["x"], None).await {
        Ok(svid) if svid.token() != before.token() => Ok(svid),
        other => Err(other.map(drop)),
    })
    .await;
    let bundles = client.fetch_jwt_bundles().await.unwrap();
    assert!(JwtSvid::parse_and_validate(after.token(), &bundles, &["x"]).is_ok());
    assert!(JwtSvid::parse_and_validate(before.token(), &bundles, &["x"]).is_err());
    world.node.stop().await;
}

#[tokio::test]
async fn bundles_come_at_once_and_on_every_change_until_the_entitlement_is_lost() {
    let world = world().await;
    let client = world.client().await;
    let mut bundles = Box::pin(client.stream_jwt_bundles().await.unwrap());
    let ours: TrustDomain = TRUST_DOMAIN.parse().unwrap();
    let first = bundles.next().await.unwrap().unwrap();
    world.server.rotate();
    let second = bundles.next().await.unwrap().unwrap();
    assert_ne!(first.get(&ours).unwrap(), second.get(&ours).unwrap());
    // Another identity coming along changes no bundle, so nothing is sent; losing the last one ends the
    // stream.
    world.server.entries(&[("support", &[&my_uid()]), ("other", &[&my_uid()])]);
    world.server.entries(&[]);
    assert!(matches!(bundles.next().await, Some(Err(WorkloadApiError::NoIdentityIssued))));
    assert!(bundles.next().await.is_none());
    world.node.stop().await;
}

#[tokio::test]
async fn a_stream_of_bundles_ends_with_a_word_when_the_node_stops() {
    let world = world().await;
    let mut bundles =
        world.raw().await.fetch_jwt_bundles(with_header(JwtBundlesRequest {})).await.unwrap().into_inner();
    let first = bundles.message().await.unwrap().unwrap();
    assert_eq!(first.bundles.keys().collect::<Vec<_>>(), [&format!("spiffe://{TRUST_DOMAIN}")]);
    world.node.stop().await;
    let status = bundles.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}

#[tokio::test]
async fn validation_returns_the_claims_with_real_numbers() {
    let world = world().await;
    let token = world.server.svid(&agent("anybody"), &["x", "y"]);
    let request = ValidateJwtsvidRequest { audience: "y".into(), svid: token };
    let answer = world.raw().await.validate_jwtsvid(with_header(request)).await.unwrap().into_inner();
    assert_eq!(answer.spiffe_id, agent("anybody"));
    let claims = answer.claims.unwrap().fields;
    assert!(matches!(claims["exp"].kind, Some(Kind::NumberValue(exp)) if exp > 1.0e9), "{claims:?}");
    assert!(matches!(&claims["aud"].kind, Some(Kind::ListValue(list)) if list.values.len() == 2));
    world.node.stop().await;
}

#[tokio::test]
async fn validation_refuses_what_is_not_valid() {
    let world = world().await;
    let mut raw = world.raw().await;
    let good = world.server.svid(&agent("a"), &["x"]);
    let mut validate = async |audience: &str, svid: &str| {
        let request = ValidateJwtsvidRequest { audience: audience.to_owned(), svid: svid.to_owned() };
        let (code, text) = code(raw.validate_jwtsvid(with_header(request)).await);
        assert_eq!(code, Code::InvalidArgument, "{text}");
        text
    };
    assert!(validate("other", &good).await.contains("audience"));
    // A key of our bundle does not make a token of another trust domain ours (Workload API §6.3).
    let foreign = world.server.svid("spiffe://other.example/agent/a", &["x"]);
    assert!(validate("x", &foreign).await.contains("trust domain"));
    let (head, signature) = good.rsplit_once('.').unwrap();
    let broken: String = signature.chars().rev().collect();
    assert!(!validate("x", &format!("{head}.{broken}")).await.is_empty());
    for (audience, svid) in [("", good.as_str()), ("x", ""), ("x", "a.b.c"), ("x", "nonsense")] {
        validate(audience, svid).await;
    }
    world.clock.advance(SVID_LIFE + Duration::from_secs(1));
    assert!(validate("x", &good).await.contains("expired"));
    world.node.stop().await;
}

#[tokio::test]
async fn what_the_server_refuses_is_refused() {
    let world = world().await;
    let mut raw = world.raw().await;
    let fails = |status: Status| world.server.book().issue_fails = Some(status);
    fails(Status::permission_denied("the agent is suspended"));
    let (status, text) = code(raw.fetch_jwtsvid(with_header(ask(&["x"], ""))).await);
    assert!(
        status == Code::PermissionDenied
            && text.starts_with("no identity issued")
            && !text.contains("suspended"),
        "{text}"
    );
    // The audit log is full, say: nobody's fault here, and it passes.
    fails(Status::unavailable("the disk is full"));
    let (code_now, text) = code(raw.fetch_jwtsvid(with_header(ask(&["x"], ""))).await);
    assert_eq!(code_now, Code::Unavailable);
    assert!(!text.contains("disk"), "a server's reasons are for the log: {text}");
    world.server.book().issue_fails = None;
    raw.fetch_jwtsvid(with_header(ask(&["x"], ""))).await.unwrap();
    world.node.stop().await;
}

#[tokio::test]
async fn more_identities_than_an_answer_holds_must_be_named() {
    let names: Vec<String> = (0..101).map(|n| format!("a{n}")).collect();
    let uid = my_uid();
    let selectors = [uid.as_str()];
    let entries: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), &selectors[..])).collect();
    let world = World::new(&entries).await;
    let mut raw = world.raw().await;
    assert_eq!(code(raw.fetch_jwtsvid(with_header(ask(&["x"], ""))).await).0, Code::FailedPrecondition);
    let answer = raw.fetch_jwtsvid(with_header(ask(&["x"], &agent("a7")))).await.unwrap().into_inner();
    assert_eq!(answer.svids.len(), 1);
    world.node.stop().await;
}
