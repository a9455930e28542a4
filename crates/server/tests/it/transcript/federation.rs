//! The token exchange with JWT-SVIDs of another trust domain, as `spiffe_jwt` and as actor token.

use std::time::Duration;

use mandate_core::Clock as _;
use mandate_testkit::app::{ACCESS_TOKEN, CALLBACK, CLIENT_SECRET, CRM, EXCHANGE, FormPairs, form};
use mandate_testkit::foreign_domain::TestDomain;
use serde_json::{Value, json};

use super::registry::granted;
use super::stage::{Stage, TOKEN, with};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// Which identity of example.org is an agent, and who may present it.
fn registry(domain: &TestDomain) -> String {
    let address = domain.address();
    let grant = granted("riley", "builder", "crm", "read:cases", "");
    format!(
        r#"client = [{{ id = "desk-app", redirect_uris = ["{CALLBACK}"], authentication = "client_secret_basic", agents = ["builder"] }}]
[[trust_domain]]
name = "example.org"
endpoint = "{address}/bundle"
[[agent]]
name = "builder"
owner = "riley"
purpose = "Builds"
proof = [{{ kind = "spiffe", trust_domain = "example.org", id = "spiffe://example.org/ci/builder" }}]
ceiling = [{{ resource = "crm", scopes = ["read:cases"] }}]
{grant}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn identities_of_another_trust_domain() {
    let mut stage = Stage::new("Token endpoint: exchanges of agents of another trust domain").await;
    let domain = TestDomain::start("example.org");
    stage.log.names.fix(&domain.address(), "<example.org>");
    stage
        .apply("an identity of example.org is builder, and desk-app may present it", &registry(&domain))
        .await;
    let riley = stage.server.app.person_token("riley", None, None).await;
    let subject = form(&[
        ("grant_type", EXCHANGE),
        ("subject_token", &riley),
        ("subject_token_type", ACCESS_TOKEN),
        ("resource", CRM),
    ]);
    let by_itself = |svid: &str| -> FormPairs {
        with(with(subject.clone(), "client_assertion_type", JWT_SPIFFE), "client_assertion", svid)
    };
    let by_app = |svid: &str| with(with(subject.clone(), "actor_token_type", JWT), "actor_token", svid);
    let desk = ("desk-app", CLIENT_SECRET);
    let audience = stage.server.issuer().to_owned();
    let clock = stage.server.clock.clone();
    let svid = |path: &str, change: &Value| domain.svid(path, audience.as_str(), clock.now(), change);
    let builder = svid("/ci/builder", &json!({}));
    stage.token("The workload itself", &by_itself(&builder)).await;
    let request = stage.post_as(desk, TOKEN, &by_app(&builder));
    stage.log.send("An app that presents it", request).await;
    let now = clock.now().secs();
    for (what, token) in [
        ("For another service", svid("/ci/builder", &json!({ "aud": ["https://other.example"] }))),
        (
            "For another service too",
            svid("/ci/builder", &json!({ "aud": [audience, "https://other.example"] })),
        ),
        ("A workload that no entry names", svid("/ci/other", &json!({}))),
        ("Without an end", svid("/ci/builder", &json!({ "exp": null }))),
        ("Issued too long ago", svid("/ci/builder", &json!({ "iat": now - 3600, "exp": now + 300 }))),
        ("A name that is no SPIFFE ID", svid("/ci/../builder", &json!({}))),
    ] {
        stage.token(what, &by_itself(&token)).await;
        let request = stage.post_as(desk, TOKEN, &by_app(&token));
        stage.log.send(&format!("{what}, as actor token"), request).await;
    }
    domain.rotate();
    let unpublished = svid("/ci/builder", &json!({}));
    stage.token("A key that is not published", &by_itself(&unpublished)).await;
    domain.serve("{}");
    stage.server.clock.advance(Duration::from_mins(6));
    let late = domain.svid("/ci/builder", &audience, stage.server.clock.now(), &json!({}));
    stage.token("The endpoint has no bundle", &by_itself(&late)).await;
    stage.end("exchange_federation").await;
}
