//! Clients that register themselves, from the registration to the end of their tokens.

use mandate_audit::Query;
use mandate_core::registry::{Entry, Resource};
use mandate_core::{CutTarget, RequestSource, Secret};
use mandate_oauth::AuthorizeRefusal;
use mandate_testkit::story::{self, CALLBACK, CRM, ISSUER, PASSWORD};
use mandate_testkit::world::{Pairs, World, basic, encode, exposed, pairs, parameter, payload, with};
use serde_json::{Value, json};

use crate::{lives, refused, shown};

/// The story, where such clients may read cases of the CRM.
fn world() -> World {
    let crm = story::resource("crm", CRM, "read:cases write:case_comments write:opportunities send:mail");
    let client = Some("crm-api".parse().unwrap());
    let unattested = "read:cases send:mail".parse().unwrap();
    World::with_entries(vec![Entry::Resource(Resource { client, unattested, ..crm })])
}

async fn register(world: &World, document: &Value) -> Result<Value, String> {
    let body = document.to_string();
    let answer = world.engine.register(Some("application/json"), body.as_bytes(), RequestSource::Other).await;
    answer.map(|body| serde_json::from_str(&body).unwrap()).map_err(|error| shown(&error))
}

async fn public(world: &World) -> String {
    let document = json!({ "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none" });
    let registered = register(world, &document).await.unwrap();
    registered.get("client_id").and_then(Value::as_str).unwrap().to_owned()
}

async fn refused_at_login(world: &World, query: &Pairs) -> String {
    match world.engine.authorize(encode(query).as_bytes(), RequestSource::Other).await {
        Err(AuthorizeRefusal::Page(error)) => format!("page {}", shown(&error)),
        Err(AuthorizeRefusal::Redirect { error, .. }) => shown(&error),
        Ok(_) => "a login".to_owned(),
    }
}

#[tokio::test]
async fn a_client_registers_itself_and_acts_for_a_person_below_the_operators_ceiling() {
    let world = world();
    let document = json!({
        "client_name": "Notes",
        "redirect_uris": ["http://127.0.0.1/callback"],
        "token_endpoint_auth_method": "none",
        // As MCP clients write them; more is ignored (RFC 7591 section 2).
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "application_type": "native",
        "scope": "read:cases mandate:admin",
        "logo_uri": "http://169.254.169.254/logo",
    });
    let registered = register(&world, &document).await.unwrap();
    let id = registered["client_id"].as_str().unwrap();
    assert!(id.starts_with("self-registered-"), "{id}");
    assert_eq!(registered["grant_types"], json!(["authorization_code"]), "what was registered");
    assert_eq!(registered["redirect_uris"], document["redirect_uris"]);
    assert_eq!(registered["token_endpoint_auth_method"], "none");
    for absent in ["client_secret", "client_secret_expires_at", "scope", "logo_uri", "application_type"] {
        assert!(registered.get(absent).is_none(), "{absent}");
    }
    let record = world.last_record();
    assert_eq!(record.effects.iter().collect::<Vec<_>>(), ["keep_client"]);
    assert!(record.detail.unwrap().starts_with("unattested:"));

    // Riley may write comments, and no such client may; such clients may send mail, and Riley may not.
    let asked = "read:cases write:case_comments send:mail";
    let code = world.code(&world.authorization(id, Some(CRM), Some(asked)), "riley").await;
    let token = exposed(&world.token(&world.redemption(id, &code), None).await.unwrap());
    let claims = payload(&token);
    assert_eq!((&claims["sub"], &claims["scope"]), (&"riley".into(), &"read:cases".into()));
    assert_eq!(claims["act"], json!({ "sub": id, "iss": ISSUER, "sub_profile": "ai_agent" }));
    assert_eq!((&claims["client_id"], &claims["aud"]), (&id.into(), &CRM.into()));
    assert!(world.last_record().detail.unwrap().starts_with("unattested:"), "the log shows it");
    assert!(lives(&world, &token).await);

    // No agent takes the token further, and the client is no party of an exchange.
    let svid = world.svid("research-agent").await;
    let exchange = world.agent_exchange(&svid, &token, story::RESEARCH, "read:cases");
    assert_eq!(refused(world.token(&exchange, None).await), "400 invalid_request chain_actor_unattested");
    world.cut(CutTarget::Client(id.parse().unwrap()));
    assert!(!lives(&world, &token).await);
}

#[tokio::test]
async fn it_is_given_nothing_without_a_ceiling_or_a_resource() {
    let world = World::story();
    let id = public(&world).await;
    for query in [
        world.authorization(&id, Some(CRM), None),
        world.authorization(&id, Some(CRM), Some("read:cases")),
        world.authorization(&id, None, None),
    ] {
        assert_eq!(
            refused_at_login(&world, &query).await,
            "400 invalid_scope scope_beyond_client",
            "before anybody types a password"
        );
    }
}

#[tokio::test]
async fn only_what_is_supported_is_registered() {
    let world = world();
    let good = json!({ "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none" });
    for (member, value, why) in [
        ("redirect_uris", json!([]), "400 invalid_redirect_uri redirect_uris_unacceptable"),
        (
            "redirect_uris",
            json!(["http://app.example/cb"]),
            "400 invalid_redirect_uri redirect_uris_unacceptable",
        ),
        (
            "redirect_uris",
            json!(["javascript:alert(1)"]),
            "400 invalid_redirect_uri redirect_uris_unacceptable",
        ),
        ("redirect_uris", json!(["cursor://x/cb"]), "400 invalid_redirect_uri redirect_uris_unacceptable"),
        (
            "redirect_uris",
            json!("https://app.example"),
            "400 invalid_client_metadata client_metadata_unacceptable",
        ),
        (
            "redirect_uris",
            json!((0..11).map(|n| format!("https://app.example/{n}")).collect::<Vec<_>>()),
            "400 invalid_redirect_uri redirect_uris_unacceptable",
        ),
        (
            "token_endpoint_auth_method",
            json!("private_key_jwt"),
            "400 invalid_client_metadata client_metadata_unacceptable",
        ),
        (
            "grant_types",
            json!(["client_credentials"]),
            "400 invalid_client_metadata client_metadata_unacceptable",
        ),
        (
            "grant_types",
            json!(["authorization_code", "implicit"]),
            "400 invalid_client_metadata client_metadata_unacceptable",
        ),
        ("grant_types", json!(["refresh_token"]), "400 invalid_client_metadata client_metadata_unacceptable"),
        ("response_types", json!(["token"]), "400 invalid_client_metadata client_metadata_unacceptable"),
        ("client_name", json!("x".repeat(9000)), "400 invalid_client_metadata client_metadata_unacceptable"),
    ] {
        let mut document = good.clone();
        document[member] = value;
        assert_eq!(register(&world, &document).await.unwrap_err(), why, "{member} {}", document[member]);
    }
    for (content_type, body) in [
        (None, good.to_string()),
        (Some("application/x-www-form-urlencoded"), good.to_string()),
        (Some("application/json"), "[]".to_owned()),
        (Some("application/json"), "<html>".to_owned()),
    ] {
        let answer = world.engine.register(content_type, body.as_bytes(), RequestSource::Other).await;
        assert_eq!(
            shown(&answer.unwrap_err()),
            "400 invalid_client_metadata client_metadata_unacceptable",
            "{content_type:?} {body}"
        );
    }
    // A name that could look like something else is not kept.
    let mut document = good;
    document["client_name"] = json!("Mandate\u{202e}gnp.exe");
    assert!(register(&world, &document).await.unwrap().get("client_name").is_none());
}

#[tokio::test]
async fn its_secret_is_asked_for_by_the_method_that_it_registered() {
    let world = world();
    let document = json!({ "redirect_uris": [CALLBACK] });
    let registered = register(&world, &document).await.unwrap();
    assert_eq!(registered["token_endpoint_auth_method"], "client_secret_basic", "RFC 7591 section 2");
    assert_eq!(registered["client_secret_expires_at"], 0);
    let (id, secret) =
        (registered["client_id"].as_str().unwrap(), registered["client_secret"].as_str().unwrap());
    let code = world.code(&world.authorization(id, Some(CRM), None), "riley").await;
    let form = world.redemption(id, &code);
    assert_eq!(refused(world.token(&form, None).await), "401 invalid_client client_authentication_missing");
    let wrong = world.token(&form, Some(&basic(id, "wrong"))).await;
    assert_eq!(refused(wrong), "401 invalid_client client_authentication_failed");
    let mut posted = form.clone();
    posted.push(("client_secret".to_owned(), secret.to_owned()));
    assert_eq!(refused(world.token(&posted, None).await), "401 invalid_client client_method_other");
    let with_secret = basic(id, secret);
    assert!(world.token(&form, Some(&with_secret)).await.is_ok());

    // It proves nothing about who it is, so it may do nothing else.
    for form in [
        pairs(&[("grant_type", "client_credentials"), ("resource", CRM)]),
        pairs(&[
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", "x"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("resource", CRM),
        ]),
    ] {
        assert_eq!(
            refused(world.token(&form, Some(&with_secret)).await),
            "400 unauthorized_client client_not_allowed",
            "{form:?}"
        );
    }
    let asked = world.introspect(&pairs(&[("token", "x")]), Some(&with_secret)).await;
    assert_eq!(shown(&asked.unwrap_err()), "400 unauthorized_client client_not_allowed");
    let records = world.records(&Query::default());
    assert!(records.iter().all(|record| !format!("{record:?}").contains(secret)), "no record has the secret");
}

#[tokio::test]
async fn a_redirect_uri_that_it_did_not_register_is_never_redirected_to() {
    let world = world();
    let id = public(&world).await;
    let query = world.authorization(&id, Some(CRM), None);
    for uri in ["https://evil.example", "http://localhost:9200/callback", "http://127.0.0.1:9200/callback?x"]
    {
        assert_eq!(
            refused_at_login(&world, &with(query.clone(), "redirect_uri", uri)).await,
            "page 400 invalid_request redirect_uri_unregistered",
            "{uri}"
        );
    }
    let native = with(query, "redirect_uri", "http://127.0.0.1:51234/callback");
    assert_eq!(refused_at_login(&world, &native).await, "a login", "RFC 8252 section 7.3");
    let unknown =
        world.authorization("self-registered-01968f7e-3c5a-7b21-9f0e-5d8c2a417b36", Some(CRM), None);
    assert_eq!(refused_at_login(&world, &unknown).await, "page 400 invalid_request parameter_unacceptable");
}

#[tokio::test]
async fn one_that_nobody_uses_is_forgotten_after_a_day() {
    let world = world();
    let id = public(&world).await;
    let query = world.authorization(&id, Some(CRM), None);
    world.clock.advance(std::time::Duration::from_secs(24 * 3600 - 1));
    let request = world.engine.authorize(encode(&query).as_bytes(), RequestSource::Other).await.unwrap();
    let login = world.engine.log_in(&request, "riley", Secret::new(PASSWORD)).await.unwrap();
    assert!(parameter(login.location(), "code").is_some());
    world.clock.advance(std::time::Duration::from_secs(24 * 3600));
    assert_eq!(refused_at_login(&world, &query).await, "a login", "it was used");
    let unused = public(&world).await;
    world.clock.advance(std::time::Duration::from_secs(24 * 3600));
    assert_eq!(
        refused_at_login(&world, &world.authorization(&unused, Some(CRM), None)).await,
        "page 400 invalid_request parameter_unacceptable"
    );
}

#[tokio::test]
async fn a_site_registers_so_many_clients_in_an_hour() {
    let world = world();
    for _ in 0..10 {
        public(&world).await;
    }
    let document = json!({ "redirect_uris": [CALLBACK] });
    assert_eq!(
        register(&world, &document).await.unwrap_err(),
        "503 temporarily_unavailable too_many_registrations"
    );
}
