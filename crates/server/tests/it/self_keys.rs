//! Clients whose document has their keys, or says where they are: `private_key_jwt`
//! (draft-ietf-oauth-client-id-metadata-document-02 §8.2).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mandate_core::{Clock as _, SystemClock};
use mandate_testkit::app::{
    ACCESS_TOKEN, Answer, CALLBACK, CRM, EXCHANGE, FormPairs, PASSWORD, authorization, claims, form,
    redemption,
};
use mandate_testkit::hostile_issuer::{HostileIssuer, TestKey, Trouble};
use mandate_token::Signer as _;
use serde_json::{Value, json};

use crate::world::Server;

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A server that reads documents at 127.0.0.1, a host there, and a client's key.
struct World {
    server: Server,
    host: HostileIssuer,
    key: TestKey,
    serial: AtomicU64,
}

impl World {
    async fn new() -> Self {
        let server = Server::story_with(SystemClock.now(), |config| {
            config.client_metadata_hosts = vec!["127.0.0.1".parse().unwrap()];
        })
        .await;
        let crm = format!(
            "resource = [{{ name = \"crm\", uri = \"{CRM}\", scopes = [\"read:cases\", \"write:case_comments\", \"send:mail\"], unattested = [\"read:cases\"] }}]"
        );
        server.apply(&crm).await;
        Self { server, host: HostileIssuer::start(), key: TestKey::generate(), serial: AtomicU64::new(0) }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.host.issuer())
    }

    /// Publishes a client at this path, with these members beside the usual ones. Returns its id.
    fn publish(&self, path: &str, members: &Value) -> String {
        let mut document =
            json!({ "client_id": self.at(path), "client_name": "Notes", "redirect_uris": [CALLBACK] });
        document.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        self.host.serve_at(path, "application/json", &document.to_string());
        self.at(path)
    }

    fn with_keys(&self, path: &str) -> String {
        let jwks: Value = serde_json::from_str(&self.key.jwks()).unwrap();
        self.publish(path, &json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": jwks}))
    }

    fn with_address(&self, path: &str, keys: &str) -> String {
        let members = json!({"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": self.at(keys)});
        self.publish(path, &members)
    }

    async fn open(&self, client: &str) -> mandate_testkit::app::LoginPage {
        let mut query = authorization(Some(CRM), None);
        query
            .iter_mut()
            .filter(|(name, _)| name == "client_id")
            .for_each(|pair| client.clone_into(&mut pair.1));
        self.server.app.open(&query).await
    }

    async fn code(&self, client: &str) -> String {
        let page = self.open(client).await;
        let answer = self.server.app.log_in(&page, "riley", PASSWORD).await;
        let back = url::Url::parse(answer.header("location")).unwrap();
        back.query_pairs().find(|(key, _)| key == "code").expect("a code").1.into_owned()
    }

    fn claims(&self, client: &str) -> Value {
        let now = self.server.clock.now().secs();
        let jti = format!("assertion-{}", self.serial.fetch_add(1, Ordering::SeqCst));
        json!({"iss": client, "sub": client, "aud": self.server.issuer(), "iat": now, "exp": now + 60, "jti": jti})
    }

    fn signed(key: &TestKey, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "typ": "client-authentication+jwt", "kid": key.key_id()});
        key.sign_raw(&header.to_string(), &claims.to_string())
    }

    fn assertion(&self, client: &str) -> String {
        Self::signed(&self.key, &self.claims(client))
    }

    async fn redeem(&self, client: &str, code: &str, assertion: &str) -> Answer {
        self.server.app.token(&redeeming(client, code, assertion)).await
    }
}

fn redeeming(client: &str, code: &str, assertion: &str) -> FormPairs {
    let mut fields = redemption(code);
    fields.iter_mut().filter(|(name, _)| name == "client_id").for_each(|pair| client.clone_into(&mut pair.1));
    fields.extend(form(&[("client_assertion_type", JWT_BEARER), ("client_assertion", assertion)]));
    fields
}

fn said(answer: &Answer) -> String {
    let description = answer.member("error_description");
    format!("{} {}", answer.error(), description.split(':').next().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_authenticates_by_the_keys_of_its_document_and_stays_unattested() {
    let world = World::new().await;
    let (listed, addressed) =
        (world.with_keys("/client.json"), world.with_address("/other.json", "/keys.json"));
    world.host.serve_at("/keys.json", "application/jwk-set+json", &world.key.jwks());
    for client in [&*listed, &*addressed] {
        let code = world.code(client).await;
        let mut nothing = redeeming(client, &code, "");
        nothing.retain(|(name, _)| !name.starts_with("client_assertion"));
        let refused = world.server.app.token(&nothing).await;
        assert_eq!(
            said(&refused),
            "401 invalid_client client_authentication_missing",
            "no downgrade to none"
        );
        let answer = world.redeem(client, &code, &world.assertion(client)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let token = claims(&answer.member("access_token"));
        assert_eq!(
            (&token["sub"], &token["act"]["sub"]),
            (&json!("riley"), &json!(client)),
            "it is an actor"
        );
        assert_eq!(token["scope"], "read:cases", "what nothing proves gets");
        assert!(answer.member("refresh_token").is_empty());
        let subject = answer.member("access_token");
        let exchange = form(&[
            ("grant_type", EXCHANGE),
            ("client_assertion_type", JWT_BEARER),
            ("client_assertion", &world.assertion(client)),
            ("subject_token", &subject),
            ("subject_token_type", ACCESS_TOKEN),
            ("resource", CRM),
        ]);
        let refused = world.server.app.token(&exchange).await;
        assert_eq!(said(&refused), "400 unauthorized_client client_not_allowed");
    }
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assertion_counts_once_for_its_client_and_this_server_by_its_key() {
    let world = World::new().await;
    let (client, other) = (world.with_keys("/client.json"), world.with_keys("/other.json"));
    let public = world.publish("/public.json", &json!({"token_endpoint_auth_method": "none"}));
    let code = world.code(&client).await;
    let changed = |name: &str, value: Value| {
        let mut claims = world.claims(&client);
        claims[name] = value;
        World::signed(&world.key, &claims)
    };
    let now = world.server.clock.now().secs();
    let stranger = World::signed(&TestKey::generate(), &world.claims(&client));
    let refused = "401 invalid_client client_assertion_refused";
    for (what, assertion, expected) in [
        ("another key", stranger, refused),
        ("the token endpoint", changed("aud", json!(world.server.url("/token"))), refused),
        ("two audiences", changed("aud", json!([world.server.issuer(), "https://x.example"])), refused),
        ("expired", changed("exp", json!(now - 120)), refused),
        ("valid for a day", changed("exp", json!(now + 86_400)), refused),
        ("valid for ten minutes", changed("exp", json!(now + 600)), refused),
        ("no jti", changed("jti", Value::Null), refused),
        (
            "another issuer",
            changed("iss", json!("https://x.example/client.json")),
            "401 invalid_client client_authentication_failed",
        ),
        ("no JWT", "x".to_owned(), "401 invalid_client client_authentication_failed"),
    ] {
        let answer = world.redeem(&client, &code, &assertion).await;
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        let said = said(&answer);
        assert!(said == expected || said == refused, "{what}: {said}");
    }
    let of_other = world.redeem(&client, &code, &world.assertion(&other)).await;
    assert_eq!(said(&of_other), "401 invalid_client client_id_mismatch");
    let mut secret = redeeming(&client, &code, "");
    secret.retain(|(name, _)| !name.starts_with("client_assertion"));
    secret.extend(form(&[("client_secret", "x")]));
    let answer = world.server.app.token(&secret).await;
    assert_eq!(said(&answer), "401 invalid_client client_authentication_failed");
    let answer = world.redeem(&public, "x", &world.assertion(&public)).await;
    assert_eq!(said(&answer), "401 invalid_client client_authentication_failed", "it has no key");

    let assertion = world.assertion(&client);
    assert_eq!(world.redeem(&client, &code, &assertion).await.status, 200, "nothing used the code up");
    let next = world.code(&client).await;
    let again = world.redeem(&client, &next, &assertion).await;
    assert_eq!(said(&again), "401 invalid_client client_assertion_replayed");
    assert_eq!(world.redeem(&client, &next, &world.assertion(&client)).await.status, 200);
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_host_of_keys_gets_no_further_than_its_answer() {
    let world = World::new().await;
    let client = world.with_address("/client.json", "/keys.json");
    let code = world.code(&client).await;
    let redeem = async || said(&world.redeem(&client, &code, &world.assertion(&client)).await);
    let unavailable = "503 temporarily_unavailable client_document_unavailable";
    let unacceptable = "400 invalid_client client_document_unacceptable";
    assert_eq!(redeem().await, unavailable, "nothing is there");
    world.host.serve_at("/secret", "application/json", &world.key.jwks());
    world.host.redirect_at("/moved-keys.json", "/secret");
    world.host.fail_at("/faulty-keys.json", Trouble::Status(500));
    world.host.fail_at("/broken-keys.json", Trouble::Break);
    for what in ["moved", "faulty", "broken"] {
        let other = world.with_address(&format!("/{what}.json"), &format!("/{what}-keys.json"));
        let code = world.code(&other).await;
        let answer = world.redeem(&other, &code, &world.assertion(&other)).await;
        assert_eq!(said(&answer), unavailable, "{what}");
    }
    for (what, media, body, expected) in [
        ("a page", "text/html", "<p>Hello</p>".to_owned(), unacceptable),
        ("keys as a page", "text/html", world.key.jwks(), unacceptable),
        ("no keys", "application/json", "{\"keys\":[]}".to_owned(), unacceptable),
        ("no set", "application/json", "[]".to_owned(), unacceptable),
        (
            "too large",
            "application/json",
            format!("{}{}", world.key.jwks(), " ".repeat(5 * 1024)),
            unavailable,
        ),
    ] {
        world.host.serve_at("/keys.json", media, &body);
        assert_eq!(redeem().await, expected, "{what}");
    }
    // Nothing of that is kept, and nothing used the code up.
    world.host.serve_at("/keys.json", "application/json", &world.key.jwks());
    let answer = world.redeem(&client, &code, &world.assertion(&client)).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    let elsewhere = HostileIssuer::start();
    elsewhere.serve_at("/keys.json", "application/json", &world.key.jwks());
    let before = elsewhere.pages_served();
    let members = json!({
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks_uri": format!("{}/keys.json", elsewhere.issuer()),
    });
    let page = world.open(&world.publish("/elsewhere.json", &members)).await;
    assert!(page.answer.text.contains("jwks_uri must be on the host"), "{}", page.answer.text);
    assert_eq!(elsewhere.pages_served(), before);
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_kept_and_fetched_again_when_a_client_has_new_ones() {
    let world = World::new().await;
    let client = world.with_address("/client.json", "/keys.json");
    world.host.serve_at("/keys.json", "application/json", &world.key.jwks());
    let redeem = async |key: &TestKey| {
        let code = world.code(&client).await;
        world.redeem(&client, &code, &World::signed(key, &world.claims(&client))).await.status
    };
    assert_eq!(redeem(&world.key).await, 200);
    let served = world.host.pages_served();
    assert_eq!(redeem(&world.key).await, 200);
    assert_eq!(world.host.pages_served(), served, "both documents are kept");
    let new = TestKey::generate();
    world.host.serve_at("/keys.json", "application/json", &new.jwks());
    assert_eq!(redeem(&new).await, 401, "anybody can sign with a key of their own, so not at once");
    assert_eq!(world.host.pages_served(), served);
    world.server.clock.advance(Duration::from_secs(61));
    assert_eq!(redeem(&new).await, 200);
    assert_eq!(redeem(&world.key).await, 401, "the old key is gone");
    world.server.stop().await;
}
