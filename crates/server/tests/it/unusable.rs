//! Keys, certificates and proxies of a registry file that could never be used are refused when it is applied.

use mandate_api::admin::ApplyRequest;
use mandate_api::{ClientError, registry_file};
use serde_json::{Value, json};

use crate::world::Server;

const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

/// The places and texts of what is found wrong, or the notes.
async fn apply(server: &Server, text: &str) -> Result<Vec<String>, Vec<(String, String)>> {
    let entries = registry_file::parse(text).unwrap();
    match server.admin.apply(&ApplyRequest { entries, prune: false, dry_run: false }).await {
        Ok(answer) => Ok(answer.notes),
        Err(ClientError::Refused(problem)) => {
            Err(problem.errors.into_iter().map(|found| (found.pointer, found.detail)).collect())
        }
        Err(error) => panic!("{error}"),
    }
}

fn client(jwks: &str) -> String {
    // One valid client before it, so that places can be distinguished.
    format!(
        "[[client]]\nid = \"fine\"\n[[client]]\nid = \"batch\"\nauthentication = \"private_key_jwt\"\njwks = {}\n",
        json!(jwks)
    )
}

#[tokio::test]
async fn a_client_key_set_that_no_assertion_could_fit_is_refused_at_its_place() {
    let server = Server::empty().await;
    let good = json!({"kty": "EC", "crv": "P-256", "kid": "1", "x": X, "y": Y});
    // RFC 7517 Appendix A.1.
    let (x, y) =
        ("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM");
    let other = json!({"kty": "EC", "crv": "P-256", "kid": "1", "x": x, "y": y});
    let okp = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let with = |name: &str, value: Value| {
        let mut key = good.clone();
        key[name] = value;
        key
    };
    let without_kid = |key: &Value| {
        let mut key = key.clone();
        key.as_object_mut().unwrap().remove("kid");
        key
    };
    let set = |keys: Value| json!({ "keys": keys }).to_string();
    let doubled = set(json!([good])).replace("\"kid\":\"1\"", "\"kid\":\"1\",\"kid\":\"2\"");
    for (jwks, why) in [
        (set(vec![good.clone(); 129].into()), "128 keys"),
        (set(json!([good, 7])), "not an object"),
        (doubled, "appears twice"),
        (set(json!([okp])), "EdDSA"),
        (set(json!([with("use", json!("enc"))])), "encryption"),
        (set(json!([with("use", json!("jwt-svid"))])), "jwt-svid"),
        (set(json!([with("alg", json!("HS256"))])), "ES256"),
        (set(json!([with("x", json!(Y))])), "point"),
        (set(json!([good, other])), "same algorithm"),
        (set(json!([okp, without_kid(&good), without_kid(&other)])), "keys[1] has no `kid`"),
    ] {
        let found = apply(&server, &client(&jwks)).await.unwrap_err();
        let [(pointer, detail)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(pointer, "/client/1/jwks", "{detail}");
        assert!(detail.contains("`batch`") && detail.contains(why), "{why}: {detail}");
    }
    let clients = server.admin.list(mandate_core::registry::EntryKind::Client).await.unwrap();
    assert!(clients.is_empty(), "all or nothing");
    let notes = apply(&server, &client(&set(json!([good, okp])))).await.unwrap();
    assert!(
        notes.iter().any(|note| note.contains("of the 2 keys of client `batch`, 1 can be used")),
        "{notes:?}"
    );
}

#[tokio::test]
async fn an_issuers_authority_and_proxy_are_refused_at_their_places_if_they_cannot_be_used() {
    let server = Server::empty().await;
    let issuer = |member: &str, value: &str| {
        format!(
            "[[issuer]]\nurl = \"https://login.acme.example\"\naudience = \"x\"\n{member} = {}\n",
            json!(value)
        )
    };
    for (member, value) in [
        ("ca", "/etc/ssl/ca.pem"),
        ("ca", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("proxy", "proxy.acme.example:3128"),
        ("proxy", "http://user:secret@proxy.acme.example"),
    ] {
        let found = apply(&server, &issuer(member, value)).await.unwrap_err();
        let [(pointer, detail)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(*pointer, format!("/issuer/0/{member}"), "{detail}");
        assert!(!detail.contains("secret"), "{detail}");
    }
    assert_eq!(apply(&server, &issuer("proxy", "http://proxy.acme.example:3128")).await, Ok(Vec::new()));
}

#[tokio::test]
async fn nothing_that_is_wrong_with_a_file_hides_anything_else() {
    let server = Server::empty().await;
    let okp = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let keys = client(&json!({ "keys": [okp] }).to_string());
    let rest = r#"
[[person]]
name = "riley"
[[agent]]
name = "support-agent"
owner = "riley"
purpose = "Works on support cases"
selectors = ["unix:nonsense:1"]
[[issuer]]
url = "https://login.acme.example"
audience = ""
ca = "/etc/ssl/ca.pem"
proxy = "proxy.acme.example:3128"
[[policy]]
name = "one"
source = "nonsense"
[[policy]]
name = "fine"
source = "forbid (principal, action, resource) when { context.depth > 9 };"
[[policy]]
name = "two"
source = "permit (principal, action, resource) when { nothing };"
"#;
    let found = apply(&server, &format!("{keys}{rest}")).await.unwrap_err();
    let mut places: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    places.sort_unstable();
    let all = [
        "/agent/0/selectors/0",
        "/client/1/jwks",
        "/issuer/0/audience",
        "/issuer/0/ca",
        "/issuer/0/proxy",
        "/policy/0/source",
        "/policy/2/source",
    ];
    assert_eq!(places, all, "{found:?}");
}
