//! The token exchange with opaque access tokens of another issuer, which is asked about them.

use std::os::unix::fs::PermissionsExt as _;

use mandate_core::Clock as _;
use mandate_core::registry::login_key;
use mandate_testkit::app::{ACCESS_TOKEN, CLIENT_SECRET, CRM, EXCHANGE, FormPairs, form};
use mandate_testkit::hostile_issuer::{HostileIssuer, Trouble};
use serde_json::{Value, json};

use super::registry::granted;
use super::stage::{Stage, TOKEN, with};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// Where the issuer is asked.
const ASKED: &str = "/introspect";
/// The name of the file with the secret of this server there.
const FILE: &str = "idp.secret";

fn by_desk(svid: &str, subject: &str) -> FormPairs {
    form(&[
        ("grant_type", EXCHANGE),
        ("subject_token", subject),
        ("subject_token_type", ACCESS_TOKEN),
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

/// A proper answer with this change; null removes a member.
fn answer(idp: &HostileIssuer, stage: &Stage, change: &Value) -> String {
    let now = stage.server.clock.now().secs();
    let mut answer = json!({
        "active": true, "iss": idp.issuer(), "sub": "user-7", "aud": stage.server.issuer(), "client_id": "portal",
        "token_type": "Bearer", "scope": "read:cases", "iat": now, "exp": now + 300,
    });
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => answer.as_object_mut().unwrap().remove(name),
            value => answer.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    answer.to_string()
}

fn write_secret(stage: &Stage, idp: &HostileIssuer) {
    let folder = stage.server.state_dir().join("login-secrets").join(login_key(&idp.issuer()));
    std::fs::create_dir_all(&folder).unwrap();
    for folder in [folder.parent().unwrap(), &folder] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    std::fs::write(folder.join(FILE), "secret-at-the-issuer").unwrap();
    std::fs::set_permissions(folder.join(FILE), std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn opaque_tokens_of_another_issuer() {
    let mut stage = Stage::with_node("Token endpoint: exchanges of opaque tokens").await;
    let idp = HostileIssuer::start();
    let url = idp.issuer();
    let encoded: String = url::form_urlencoded::byte_serialize(url.as_str().as_bytes()).collect();
    stage.log.names.fix(url.as_str(), "<idp>");
    stage.log.names.fix(&encoded, "<idp>");
    let metadata = json!({
        "issuer": url, "jwks_uri": format!("{url}/jwks"), "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"), "introspection_endpoint": format!("{url}{ASKED}"),
    });
    idp.serve_metadata(Some(&metadata.to_string()));
    let audience = stage.server.issuer().to_owned();
    let registry = format!(
        "issuer = [{{ url = \"{url}\", audience = \"{audience}\", introspection = {{ client_id = \"mandate\", client_secret_file = \"{FILE}\", clients = [\"desk-app\"] }} }}]\nperson = [{{ name = \"dana\", issuer = \"{url}\", sub = \"user-7\", may = [{{ resource = \"crm\", scopes = [\"read:cases\"] }}] }}]\n{}",
        granted("dana", "support-agent", "crm", "read:cases", ""),
    );
    stage.apply("<idp> is trusted, and asked about the opaque tokens of desk-app", &registry).await;
    let svid = stage.svid("support-agent").await;
    let opaque = by_desk(&svid, "2YotnFZFEjr1zCsicMWpAA");
    say(&mut stage, "Without the secret of this server there", &opaque).await;
    write_secret(&stage, &idp);
    for (what, change) in [
        ("An active token", json!({})),
        ("A token that is not active", json!({ "active": false })),
        ("active is a text", json!({ "active": "true" })),
        ("No issuer in the answer", json!({ "iss": null })),
        ("Another issuer in the answer", json!({ "iss": "https://other.example" })),
        ("No audience in the answer", json!({ "aud": null })),
        ("Another audience in the answer", json!({ "aud": "https://other.example" })),
        ("No end in the answer", json!({ "exp": null })),
        ("No time of issue in the answer", json!({ "iat": null })),
        ("No person in the answer", json!({ "sub": null })),
        ("No client in the answer", json!({ "client_id": null })),
        ("No type in the answer, as of a refresh token", json!({ "token_type": null })),
        ("A token that is bound to a key", json!({ "token_type": "DPoP" })),
    ] {
        idp.serve_at(ASKED, "application/json", &answer(&idp, &stage, &change));
        say(&mut stage, what, &opaque).await;
    }
    idp.serve_at(ASKED, "text/html", "<html>");
    say(&mut stage, "The issuer answers with a page", &opaque).await;
    say(&mut stage, "Sent as a JWT", &with(opaque.clone(), "subject_token_type", JWT)).await;
    say(
        &mut stage,
        "What begins as a JWT is not sent to the issuer",
        &by_desk(&svid, "eyJhbGciOiJub25lIn0.e30."),
    )
    .await;
    idp.fail_at(ASKED, Trouble::Status(401));
    say(&mut stage, "The issuer does not take the credential", &opaque).await;
    stage.end("exchange_opaque").await;
}
