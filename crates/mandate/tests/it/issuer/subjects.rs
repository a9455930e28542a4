//! `mandate issuer` for ID tokens, opaque tokens and tokens that name actors.

use mandate_core::{Clock as _, SystemClock};
use mandate_testkit::hostile_issuer::{HostileIssuer, TestKey};
use mandate_token::Signer as _;
use serde_json::{Value, json};

use super::{AUDIENCE, BY_HAND, keycloak, report, test};
use crate::mandate;

/// An ID token of any provider with this change of its claims.
fn id_token(issuer: &str, key: &TestKey, change: &Value) -> String {
    let now = SystemClock.now().secs();
    let mut claims = json!({
        "iss": issuer, "sub": "user-7", "aud": "portal", "iat": now, "exp": now + 300, "nonce": "n", "auth_time": now,
    });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": key.key_id()});
    key.sign_raw(&header.to_string(), &claims.to_string())
}

#[test]
fn an_id_token_is_explained_as_one_and_as_nothing_else() {
    let idp = HostileIssuer::start();
    let issuer = idp.issuer();
    let by_hand = ["--id-token", "--profile", "rfc9068", "--audience", "portal"];
    let good = id_token(issuer.as_str(), &idp.key(), &json!({}));
    let ran = test(&idp, &good, &by_hand);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("An exchange takes this token") && ran.out.contains("The person is `user-7`"));
    for (change, refusal) in [
        (json!({"scope": "read:cases"}), "not_id_token: scope"),
        (json!({"aud": "mobile"}), "subject_not_for_presenter: aud"),
        (json!({"azp": "mobile"}), "claim_invalid: azp"),
        (json!({"iss": "https://other.example"}), "issuer"),
    ] {
        let ran = test(
            &idp,
            &id_token(issuer.as_str(), &idp.key(), &change),
            &[&by_hand[..], &["--json"]].concat(),
        );
        assert_eq!(ran.code, 1, "{change}: {}{}", ran.out, ran.err);
        let said = report(&ran)["refusal"].as_str().unwrap().to_owned();
        assert!(said.starts_with(refusal), "{change}: {said}");
    }
    let access_token = keycloak(issuer.as_str(), &idp.key(), &json!({}));
    let ran = test(&idp, &access_token, &["--id-token", "--profile", "keycloak", "--audience", "desk"]);
    assert_eq!(ran.code, 1, "{}", ran.out);
    assert!(ran.out.contains("send the ID token of a login"), "{}", ran.out);
    let ran = test(&idp, &good, &["--profile", "rfc9068", "--audience", "portal"]);
    assert_eq!(ran.code, 1, "not as an access token: {}", ran.out);
}

#[test]
fn what_a_token_says_of_its_actors_is_shown() {
    let idp = HostileIssuer::start();
    let issuer = idp.issuer();
    let act = json!({"sub": "b", "iss": issuer.as_str(), "act": {"sub": "a", "iss": issuer.as_str()}});
    let token = keycloak(issuer.as_str(), &idp.key(), &json!({ "act": act }));
    let ran = test(&idp, &token, &[&BY_HAND[..], &["--json"]].concat());
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert_eq!(report(&ran)["said_actors"], json!({"form": "rfc8693", "act": act}));
    let ran = test(&idp, &token, &BY_HAND);
    assert!(ran.out.contains("Who acted, the newest first: b, then a (in the form rfc8693)"), "{}", ran.out);
}

#[test]
fn an_entry_for_id_tokens_alone_is_made_and_needs_no_audience() {
    let (idp, dir) = (HostileIssuer::start(), tempfile::tempdir().unwrap());
    let issuer = idp.issuer();
    let add = ["issuer", "add", issuer.as_str(), "--id-token", "portal=desk-app"];
    let ran = mandate(dir.path(), &add, "");
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    for part in [
        "id_tokens = [{ audience = \"portal\", client = \"desk-app\" }]",
        "`desk-app` sends ID tokens that were issued to `portal`",
        "--id-token < FILE",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert!(!ran.out.contains("audience = \"http"), "its access tokens are no subject tokens: {}", ran.out);
    let google = mandate(dir.path(), &["issuer", "add", "https://accounts.google.com"], "");
    assert!(google.code == 2 && google.err.contains("--id-token AUDIENCE=CLIENT"), "{}", google.err);
}

#[test]
fn what_is_missing_for_questions_about_opaque_tokens_is_said() {
    let (idp, dir) = (HostileIssuer::start(), tempfile::tempdir().unwrap());
    let issuer = idp.issuer();
    let add = |wanted: &[&str]| {
        let usual = ["issuer", "add", issuer.as_str(), "--audience", AUDIENCE, "--opaque-from", "desk-app"];
        mandate(dir.path(), &[&usual[..], wanted].concat(), "")
    };
    let whole = ["--introspection-client-id", "mandate", "--introspection-secret-file", "idp.secret"];
    assert_eq!((add(&[]).code, add(&whole[..2]).code), (2, 2), "the client and its secret belong together");
    let publish = |endpoint: &str, method: &str| {
        let metadata = json!({
            "issuer": issuer, "jwks_uri": format!("{issuer}/jwks"), "token_endpoint": format!("{issuer}/token"),
            "authorization_endpoint": format!("{issuer}/authorize"), "introspection_endpoint": endpoint,
            "introspection_endpoint_auth_methods_supported": [method],
        });
        idp.serve_metadata(Some(&metadata.to_string()));
    };
    publish("http://169.254.169.254/x", "client_secret_basic");
    let ran = add(&whole);
    assert!(ran.code == 1 && ran.err.contains("no introspection_endpoint"), "{}", ran.err);
    publish(&format!("{issuer}/introspect"), "private_key_jwt");
    let ran = add(&whole);
    assert!(ran.code == 1 && ran.err.contains("takes no client secret"), "{}", ran.err);
    publish(&format!("{issuer}/introspect"), "client_secret_basic");
    let ran = add(&whole);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let entry = "introspection = { client_id = \"mandate\", client_secret_file = \"idp.secret\", clients = [\"desk-app\"] }";
    for part in [entry, "register this server as the client `mandate`", "/idp.secret` of this server"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
}
