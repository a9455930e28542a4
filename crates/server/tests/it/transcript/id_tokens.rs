//! The token exchange with ID tokens of another issuer.

use mandate_core::Clock as _;
use mandate_testkit::app::{ACCESS_TOKEN, CLIENT_SECRET, CRM, EXCHANGE, FormPairs, form};
use mandate_testkit::hostile_issuer::HostileIssuer;
use mandate_token::Signer as _;
use serde_json::{Value, json};

use super::registry::granted;
use super::stage::{Stage, TOKEN, with};

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// An ID token of `idp` for its client `portal`, with this change of its claims; null removes one.
fn id_token(idp: &HostileIssuer, stage: &Stage, change: &Value) -> String {
    let now = stage.server.clock.now().secs();
    let mut claims = json!({
        "iss": idp.issuer(), "sub": "user-7", "aud": "portal", "iat": now, "exp": now + 300, "auth_time": now,
    });
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    let key = idp.key();
    let header = json!({ "alg": "ES256", "typ": "JWT", "kid": key.key_id() });
    key.sign_raw(&header.to_string(), &claims.to_string())
}

fn by_desk(svid: &str, subject: &str) -> FormPairs {
    form(&[
        ("grant_type", EXCHANGE),
        ("subject_token", subject),
        ("subject_token_type", ID_TOKEN),
        ("actor_token", svid),
        ("actor_token_type", JWT),
        ("resource", CRM),
        ("scope", "read:cases"),
    ])
}

async fn say(stage: &mut Stage, what: &str, form: &FormPairs) {
    let request = stage.post_as(("desk-app", CLIENT_SECRET), TOKEN, form);
    stage.log.send(what, request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn id_tokens_of_another_issuer() {
    let mut stage = Stage::with_node("Token endpoint: exchanges of ID tokens").await;
    let idp = HostileIssuer::start();
    let url = idp.issuer();
    let encoded: String = url::form_urlencoded::byte_serialize(url.as_str().as_bytes()).collect();
    stage.log.names.fix(url.as_str(), "<idp>");
    stage.log.names.fix(&encoded, "<idp>");
    let audience = stage.server.issuer().to_owned();
    let registry = format!(
        "issuer = [{{ url = \"{url}\", audience = \"{audience}\", id_tokens = [{{ audience = \"portal\", client = \"desk-app\" }}] }}]\nperson = [{{ name = \"dana\", issuer = \"{url}\", sub = \"user-7\", may = [{{ resource = \"crm\", scopes = [\"read:cases\"] }}] }}]\n{}",
        granted("dana", "support-agent", "crm", "read:cases", ""),
    );
    stage.apply("<idp> is trusted; desk-app presents its ID tokens for portal", &registry).await;
    let svid = stage.svid("support-agent").await;
    let good = id_token(&idp, &stage, &json!({}));
    say(&mut stage, "An ID token for the portal", &by_desk(&svid, &good)).await;
    say(&mut stage, "Sent as an access token", &with(by_desk(&svid, &good), "subject_token_type", JWT)).await;
    let as_ours = with(by_desk(&svid, &good), "subject_token_type", ACCESS_TOKEN);
    say(&mut stage, "Sent as an access token of ours", &as_ours).await;
    let access_token = idp.token(&audience, "read:cases", stage.server.clock.now());
    say(&mut stage, "An access token, sent as an ID token", &by_desk(&svid, &access_token)).await;
    for (what, change) in [
        ("With the scope of an access token", json!({ "scope": "read:cases" })),
        ("For another client there", json!({ "aud": "mobile" })),
        ("For another client there too", json!({ "aud": ["portal", "mobile"], "azp": "portal" })),
        ("For two, and issued to neither in particular", json!({ "aud": ["portal", "mobile"] })),
        ("Issued to another client than its audience", json!({ "azp": "mobile" })),
        ("Of something else than a person", json!({ "sub_profile": "ai_agent" })),
        ("A logout token", json!({ "events": {} })),
        ("Of an issuer that is not trusted", json!({ "iss": "https://stranger.example" })),
        ("Naming this server as its issuer", json!({ "iss": audience })),
    ] {
        let token = id_token(&idp, &stage, &change);
        say(&mut stage, what, &by_desk(&svid, &token)).await;
    }
    say(&mut stage, "An opaque token", &by_desk(&svid, "ya29.opaque")).await;
    stage.end("exchange_id_token").await;
}
