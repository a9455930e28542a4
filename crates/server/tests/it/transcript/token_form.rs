//! The token endpoint before any grant: the form, and who the client is.

use mandate_core::{Clock as _, Timestamp};
use mandate_testkit::app::{CALLBACK, CLIENT_SECRET, FormPairs, JWT_SPIFFE, form, redemption};
use mandate_testkit::hostile_issuer::TestKey;
use mandate_token::Signer as _;
use reqwest::Method;
use serde_json::{Value, json};

use super::registry::SECRET;
use super::stage::{Stage, TOKEN, basic, with, without};

const FORM: &str = "application/x-www-form-urlencoded";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[tokio::test(flavor = "multi_thread")]
async fn the_form_of_a_token_request() {
    let mut stage = Stage::new("Token endpoint: requests that cannot be read").await;
    let long = format!("grant_type={}", "a".repeat(16 * 1024 + 1));
    let many = (0..49).map(|n| format!("p{n}=v")).collect::<Vec<_>>().join("&");
    let unread: [(&str, &str, &[u8]); 14] = [
        ("Nothing", FORM, b""),
        ("JSON", "application/json", b"{\"grant_type\":\"authorization_code\"}"),
        ("Parts", "multipart/form-data; boundary=x", b"--x--"),
        ("A parameter twice", FORM, b"grant_type=authorization_code&grant_type=authorization_code"),
        ("A broken escape", FORM, b"grant_type=%ZZ"),
        ("No UTF-8", FORM, b"grant_type=%FF"),
        ("A line break", FORM, b"grant_type=authorization_code&code=a%0D%0Ab"),
        ("49 parameters", FORM, many.as_bytes()),
        ("A long value", FORM, long.as_bytes()),
        ("No grant type", FORM, b"client_id=support-app"),
        ("An unknown grant type", FORM, b"grant_type=magic"),
        (
            "Client credentials of a public client",
            FORM,
            b"grant_type=client_credentials&client_id=support-app",
        ),
        ("A password", FORM, b"grant_type=password&username=riley&password=x&client_id=support-app"),
        (
            "A refresh token of a client that may have none",
            FORM,
            b"grant_type=refresh_token&refresh_token=x&client_id=support-app",
        ),
    ];
    for (what, content_type, body) in unread {
        let request = stage
            .server
            .app
            .http
            .post(stage.server.url(TOKEN))
            .header("content-type", content_type)
            .body(body.to_vec());
        stage.log.send(what, request).await;
    }
    let long_name = vec![b'a'; 64 * 1024];
    for (what, bytes) in [("A long name", long_name), ("More than is read", vec![b'a'; 64 * 1024 + 1])] {
        let request =
            stage.server.app.http.post(stage.server.url(TOKEN)).header("content-type", FORM).body(bytes);
        stage.log.send(what, request).await;
    }
    let request = stage.post("/token?scope=send%3Amail", &redemption("made-up"));
    stage.log.send("A parameter in the query", request).await;
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::HEAD, Method::OPTIONS] {
        let request = stage.server.app.http.request(method.clone(), stage.server.url(TOKEN));
        stage.log.send(&format!("The method {method}"), request).await;
    }
    let preflight = stage.server.app.http.request(Method::OPTIONS, stage.server.url(TOKEN));
    let preflight =
        preflight.header("origin", "https://spa.example").header("access-control-request-method", "POST");
    stage.log.send("What a browser asks before a script's request", preflight).await;
    stage.end("token_form").await;
}

/// An assertion of `batch-app`, and the form that brings it.
struct Assertions {
    key: TestKey,
    issuer: String,
    now: Timestamp,
    count: u64,
}

impl Assertions {
    fn claims(&mut self) -> Value {
        self.count += 1;
        let now = self.now.secs();
        json!({ "iss": "batch-app", "sub": "batch-app", "aud": self.issuer, "iat": now, "exp": now + 60, "jti": format!("assertion-{}", self.count) })
    }

    fn sign(&self, typ: &str, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "typ": typ, "kid": self.key.key_id() });
        self.key.sign_raw(&header.to_string(), &claims.to_string())
    }

    fn form(assertion: &str) -> FormPairs {
        let form = with(without(redemption("made-up"), "client_id"), "client_assertion_type", JWT_BEARER);
        with(form, "client_assertion", assertion)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_a_token_request() {
    let mut stage = Stage::new("Token endpoint: who the client is").await;
    let client = format!(
        "client = [{{ id = \"post-app\", redirect_uris = [\"{CALLBACK}\"], authentication = \"client_secret_post\" }}]"
    );
    stage.apply("post-app is registered", &client).await;
    stage
        .server
        .admin
        .set_client_secret("post-app", &mandate_api::admin::ClientSecretRequest { secret: SECRET.to_owned() })
        .await
        .unwrap();

    let anonymous = without(redemption("made-up"), "client_id");
    for (what, form) in [
        ("Nobody", anonymous.clone()),
        ("A client that is not registered", with(anonymous.clone(), "client_id", "nobody")),
        ("A confidential client that only names itself", with(anonymous.clone(), "client_id", "desk-app")),
        ("A secret without a name", with(anonymous.clone(), "client_secret", SECRET)),
        ("An assertion without its type", with(anonymous.clone(), "client_assertion", "e30.e30.AAAA")),
        ("A type without an assertion", with(anonymous.clone(), "client_assertion_type", JWT_BEARER)),
        (
            "A type that is not offered",
            with(
                with(anonymous.clone(), "client_assertion", "e30.e30.AAAA"),
                "client_assertion_type",
                "urn:other",
            ),
        ),
        (
            "A secret and an assertion",
            with(with(redemption("made-up"), "client_secret", SECRET), "client_assertion", "e30.e30.AAAA"),
        ),
        (
            "The right secret in the body",
            with(with(anonymous.clone(), "client_id", "post-app"), "client_secret", SECRET),
        ),
        (
            "A wrong secret in the body",
            with(
                with(anonymous.clone(), "client_id", "post-app"),
                "client_secret",
                "a wrong secret of a client",
            ),
        ),
        (
            "The secret of a client of the header in the body",
            with(with(anonymous.clone(), "client_id", "desk-app"), "client_secret", CLIENT_SECRET),
        ),
    ] {
        stage.token(what, &form).await;
    }
    for (what, header) in [
        ("The right secret in the header", basic("desk-app", CLIENT_SECRET)),
        ("A wrong secret in the header", basic("desk-app", "a wrong secret of a client")),
        ("An unknown client in the header", basic("nobody", SECRET)),
        ("The secret of a client of the body in the header", basic("post-app", SECRET)),
        ("A header without credentials", "Basic".to_owned()),
        ("A header that is not base64", "Basic !!!".to_owned()),
        ("A header without a colon", "Basic bm8gY29sb24=".to_owned()),
        ("Another scheme", "Bearer x".to_owned()),
    ] {
        let request = stage.post(TOKEN, &anonymous).header("authorization", header);
        stage.log.send(what, request).await;
    }
    let right = basic("desk-app", CLIENT_SECRET);
    let twice = stage.post(TOKEN, &anonymous).header("authorization", &right).header("authorization", &right);
    stage.log.send("The header twice", twice).await;
    let both = stage
        .post(TOKEN, &with(anonymous.clone(), "client_secret", CLIENT_SECRET))
        .header("authorization", &right);
    stage.log.send("A header and a secret in the body", both).await;
    let other = stage
        .post(TOKEN, &with(anonymous.clone(), "client_id", "support-app"))
        .header("authorization", &right);
    stage.log.send("Another client_id beside the credential", other).await;
    stage.end("token_client").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_assertion_of_a_client() {
    let mut stage = Stage::new("Token endpoint: client assertions").await;
    let key = TestKey::generate();
    let client = format!(
        "client = [{{ id = \"batch-app\", redirect_uris = [\"{CALLBACK}\"], authentication = \"private_key_jwt\", jwks = '{}' }}]",
        key.jwks()
    );
    stage.apply("batch-app is registered", &client).await;
    let now = stage.server.clock.now();
    let mut assertions = Assertions { key, issuer: stage.server.issuer().to_owned(), now, count: 0 };
    let claims = assertions.claims();
    let good = assertions.sign("client-authentication+jwt", &claims);
    stage.token("A signed assertion", &Assertions::form(&good)).await;
    stage.token("The same assertion again", &Assertions::form(&good)).await;
    let seconds = now.secs();
    for (what, members) in [
        ("An assertion for another audience", json!({ "aud": "https://other.example" })),
        ("An assertion that has expired", json!({ "iat": seconds - 60, "exp": seconds - 1 })),
        ("An assertion of the future", json!({ "iat": seconds + 60, "exp": seconds + 120 })),
        ("An assertion that is valid for long", json!({ "exp": seconds + 7200 })),
        ("An assertion without an id", json!({ "jti": null })),
        ("An assertion that acts for somebody", json!({ "act": { "sub": "x" } })),
        ("An assertion whose issuer is not its subject", json!({ "iss": "desk-app" })),
        ("An assertion of a client with a secret", json!({ "iss": "desk-app", "sub": "desk-app" })),
    ] {
        let mut claims = assertions.claims();
        for (name, value) in members.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        stage.token(what, &Assertions::form(&assertions.sign("JWT", &claims))).await;
    }
    let claims = assertions.claims();
    let typed = assertions.sign("at+jwt", &claims);
    stage.token("An assertion of another type", &Assertions::form(&typed)).await;
    let stranger = TestKey::generate();
    let claims = assertions.claims().to_string();
    let header = json!({ "alg": "ES256", "typ": "JWT", "kid": assertions.key.key_id() }).to_string();
    stage
        .token(
            "An assertion that somebody else signed",
            &Assertions::form(&stranger.sign_raw(&header, &claims)),
        )
        .await;
    let header = json!({ "alg": "ES256", "typ": "JWT", "kid": stranger.key_id() }).to_string();
    stage
        .token(
            "An assertion with a key that is not registered",
            &Assertions::form(&stranger.sign_raw(&header, &claims)),
        )
        .await;
    let header = json!({ "alg": "none", "typ": "JWT" }).to_string();
    stage
        .token("An assertion with no algorithm", &Assertions::form(&stranger.sign_raw(&header, &claims)))
        .await;
    stage.token("No assertion at all", &Assertions::form("x")).await;
    let spiffe = form(&[
        ("grant_type", "authorization_code"),
        ("code", "made-up"),
        ("client_assertion_type", JWT_SPIFFE),
        ("client_assertion", &good),
    ]);
    stage.token("A client's assertion as an agent's identity", &spiffe).await;
    stage.end("token_assertion").await;
}
