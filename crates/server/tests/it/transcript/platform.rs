//! The token exchange with tokens of platforms, as assertion of the client and as actor token.

use mandate_core::Clock as _;
use mandate_testkit::app::{ACCESS_TOKEN, CALLBACK, CLIENT_SECRET, CRM, EXCHANGE, FormPairs, form};
use mandate_testkit::hostile_issuer::HostileIssuer;
use mandate_token::Signer as _;
use serde_json::{Value, json};

use super::registry::granted;
use super::stage::{Stage, TOKEN, with};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Who the jobs of the repository may be, and who may present one of them.
fn registry(ci: &HostileIssuer) -> String {
    let issuer = ci.issuer();
    let grant = granted("riley", "ci-agent", "crm", "read:cases\", \"write:case_comments", "");
    format!(
        r#"client = [{{ id = "desk-app", redirect_uris = ["{CALLBACK}"], authentication = "client_secret_basic", agents = ["ci-agent"] }}]
[[agent]]
name = "ci-agent"
owner = "riley"
purpose = "Runs in CI"
proof = [{{ kind = "github-actions", issuer = "{issuer}", repository_id = "74", repository_owner_id = "65", ref = "refs/heads/main" }}, {{ kind = "github-actions", issuer = "{issuer}", repository_id = "74", repository_owner_id = "65", event_name = ["pull_request_target"], ceiling = [{{ resource = "crm", scopes = ["read:cases"] }}] }}]
ceiling = [{{ resource = "crm", scopes = ["read:cases", "write:case_comments"] }}]
{grant}"#
    )
}

fn job(stage: &Stage, ci: &HostileIssuer, jti: &str, change: &Value) -> String {
    let now = stage.server.clock.now().secs();
    let mut claims = json!({
        "iss": ci.issuer(), "aud": stage.server.issuer(), "sub": "repo:acme@65/desk@74:ref:refs/heads/main",
        "repository": "acme/desk", "repository_id": "74", "repository_owner_id": "65", "event_name": "push",
        "ref": "refs/heads/main", "run_id": "8410021177", "jti": jti, "iat": now, "nbf": now, "exp": now + 300,
    });
    claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let key = ci.key();
    let header = json!({ "alg": "ES256", "typ": "JWT", "kid": key.key_id() });
    key.sign_raw(&header.to_string(), &claims.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_platform() {
    let mut stage = Stage::new("Token endpoint: exchanges of agents that a platform proves").await;
    let ci = HostileIssuer::start();
    stage.log.names.fix(ci.issuer().as_str(), "<ci>");
    stage.apply("jobs of a repository are ci-agent, and desk-app may present it", &registry(&ci)).await;
    let riley = stage.server.app.person_token("riley", None, None).await;
    let subject = form(&[
        ("grant_type", EXCHANGE),
        ("subject_token", &riley),
        ("subject_token_type", ACCESS_TOKEN),
        ("resource", CRM),
    ]);
    let by_job = |token: &str| -> FormPairs {
        with(with(subject.clone(), "client_assertion_type", JWT_BEARER), "client_assertion", token)
    };
    let by_app = |token: &str| with(with(subject.clone(), "actor_token_type", JWT), "actor_token", token);

    let first = job(&stage, &ci, "job-1", &json!({}));
    stage.token("The job itself", &by_job(&first)).await;
    stage.token("The same token again", &by_job(&first)).await;
    let desk = ("desk-app", CLIENT_SECRET);
    let second = job(&stage, &ci, "job-2", &json!({}));
    let request = stage.post_as(desk, TOKEN, &by_app(&second));
    stage.log.send("An app that presents it", request).await;
    let request = stage.post_as(desk, TOKEN, &by_app(&second));
    stage.log.send("The same token again, as actor token", request).await;

    let target = json!({ "event_name": "pull_request_target" });
    let third = job(&stage, &ci, "job-3", &target);
    stage.token("A run that a stranger started, within the ceiling of its proof", &by_job(&third)).await;
    let fourth = job(&stage, &ci, "job-4", &target);
    let beyond = with(by_job(&fourth), "scope", "write:case_comments");
    stage.token("A run that a stranger started, beyond it", &beyond).await;

    let now = stage.server.clock.now().secs();
    for (what, change) in [
        ("For another service", json!({ "aud": "https://github.com/acme" })),
        ("Another repository of that name", json!({ "repository_id": "75", "sub": "repo:acme/desk:ref:x" })),
        ("A pull request", json!({ "event_name": "pull_request", "ref": "refs/pull/7/merge" })),
        ("Issued too long ago", json!({ "iat": now - 600, "nbf": now - 600, "exp": now + 3600 })),
        ("An ID token of a login", json!({ "nonce": "n" })),
    ] {
        let token = job(&stage, &ci, what, &change);
        stage.token(what, &by_job(&token)).await;
        let request = stage.post_as(desk, TOKEN, &by_app(&token));
        stage.log.send(&format!("{what}, as actor token"), request).await;
    }
    stage.end("exchange_platform").await;
}
