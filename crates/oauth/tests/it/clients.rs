//! Who may call, and how they prove it.

use mandate_core::registry::{AssertionAudience, Client, ClientAuthentication, Entry, EntryKind};
use mandate_oauth::metadata::TOKEN_PATH;
use mandate_testkit::hostile_issuer::TestKey;
use mandate_testkit::story::{self, CLIENT_SECRET, CRM, ISSUER};
use mandate_testkit::world::{Pairs, Post, World, basic, encode, with, without};
use mandate_token::Signer as _;
use serde_json::{Value, json};

use crate::refused;

async fn batch(world: &World) -> Pairs {
    let subject = world.person_token("riley", None, None).await;
    world.app_exchange(&world.svid("support-agent").await, &subject, CRM, "read:cases")
}

async fn ask(world: &World, form: &Pairs, claims: &Value) -> String {
    let mut form = form.clone();
    form.extend(world.assertion_pairs(&world.assertion(claims)));
    match world.token(&form, None).await {
        Ok(_) => "ok".to_owned(),
        refusal => refused(refusal),
    }
}

#[tokio::test]
async fn each_method_works_for_the_client_registered_for_it() {
    let world = World::story();
    let form = batch(&world).await;
    assert_eq!(ask(&world, &form, &world.assertion_claims()).await, "ok");
    assert!(world.token(&form, Some(&world.desk_app())).await.is_ok());
    let named = with(form, "client_id", "desk-app");
    assert!(world.token(&named, Some(&world.desk_app())).await.is_ok());
}

#[tokio::test]
async fn an_assertion_is_for_our_issuer_alone_short_and_signed_by_its_client() {
    let world = World::story();
    let form = batch(&world).await;
    let now = mandate_core::Clock::now(&*world.clock).secs();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut claims = world.assertion_claims();
        change(&mut claims);
        claims
    };
    let refused_assertion = "401 invalid_client client_assertion_refused";
    for claims in [
        changed(&|c| c["aud"] = json!(format!("{ISSUER}/token"))),
        changed(&|c| c["aud"] = json!([ISSUER, "https://other.example"])),
        changed(&|c| c["aud"] = json!(format!("{ISSUER}/"))),
        changed(&|c| c["exp"] = json!(now)),
        changed(&|c| c["exp"] = json!(now + 10 * 365 * 86_400)),
        changed(&|c| c["sub"] = json!("desk-app")),
        changed(&|c| c["iss"] = json!("desk-app")),
        changed(&|c| drop(c.as_object_mut().unwrap().remove("jti"))),
        changed(&|c| drop(c.as_object_mut().unwrap().remove("exp"))),
    ] {
        assert_eq!(ask(&world, &form, &claims).await, refused_assertion, "{claims}");
    }
    assert_eq!(
        ask(&world, &form, &changed(&|c| c["aud"] = json!([ISSUER]))).await,
        "ok",
        "a list of one is a sole value"
    );

    // Another client's name over this key, and another key under this name.
    let other = changed(&|c| (c["iss"], c["sub"]) = (json!("desk-app"), json!("desk-app")));
    assert_eq!(ask(&world, &form, &other).await, "401 invalid_client client_authentication_failed");
    let stranger = TestKey::generate();
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": stranger.key_id()});
    let mut forged = form.clone();
    forged.extend(
        world.assertion_pairs(&stranger.sign_raw(&header.to_string(), &world.assertion_claims().to_string())),
    );
    assert_eq!(refused(world.token(&forged, None).await), refused_assertion);
}

#[tokio::test]
async fn a_client_assertion_counts_once_and_a_jwt_svid_until_it_expires() {
    let world = World::story();
    let form = batch(&world).await;
    let claims = world.assertion_claims();
    assert_eq!(ask(&world, &form, &claims).await, "ok");
    assert_eq!(ask(&world, &form, &claims).await, "401 invalid_client client_assertion_replayed");
    // Also when the first use was refused for another reason, and also at another endpoint.
    let claims = world.assertion_claims();
    assert!(ask(&world, &with(form.clone(), "resource", "x"), &claims).await.starts_with("400"));
    assert_eq!(ask(&world, &form, &claims).await, "401 invalid_client client_assertion_replayed");
    let mut form = vec![("token".to_owned(), "x".to_owned())];
    form.extend(world.assertion_pairs(&world.assertion(&claims)));
    assert_eq!(
        crate::shown(&world.introspect(&form, None).await.unwrap_err()),
        "401 invalid_client client_assertion_replayed"
    );

    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    for _ in 0..3 {
        assert!(world.token(&form, None).await.is_ok());
    }
    world.clock.advance(mandate_core::lifetimes::JWT_SVID_LIFETIME);
    assert_eq!(refused(world.token(&form, None).await), "401 invalid_client client_assertion_refused");
}

#[tokio::test]
async fn wrong_secrets_unknown_clients_and_other_methods_look_alike() {
    let world = World::story();
    let form = batch(&world).await;
    let failed = "401 invalid_client client_authentication_failed";
    for header in [
        basic("desk-app", "wrong"),
        basic("desk-app", ""),
        basic("nobody", CLIENT_SECRET),
        basic("batch-app", CLIENT_SECRET),
        basic("support-app", CLIENT_SECRET),
    ] {
        let error = world.token(&form, Some(&header)).await.unwrap_err();
        assert_eq!(crate::shown(&error), failed);
        assert!(error.www_authenticate.as_ref().unwrap().starts_with("Basic "));
    }
    // A confidential client cannot come without its credential, nor under another's name.
    assert_eq!(
        refused(world.token(&with(form.clone(), "client_id", "desk-app"), None).await),
        "401 invalid_client client_authentication_missing"
    );
    assert_eq!(refused(world.token(&form, None).await), "401 invalid_client client_authentication_missing");
    let other = with(form, "client_id", "batch-app");
    assert_eq!(
        refused(world.token(&other, Some(&world.desk_app())).await),
        "401 invalid_client client_id_mismatch"
    );
}

#[tokio::test]
async fn two_methods_in_one_request_are_refused() {
    let world = World::story();
    let form = batch(&world).await;
    let (svid, app) = (world.svid("support-agent").await, world.desk_app());
    let agent = with(
        with(form.clone(), "client_assertion", &svid),
        "client_assertion_type",
        "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
    );
    assert_eq!(refused(world.token(&agent, Some(&app)).await), "400 invalid_request client_methods");
    let secret = with(form, "client_secret", CLIENT_SECRET);
    assert_eq!(refused(world.token(&secret, Some(&app)).await), "400 invalid_request client_methods");
    assert_eq!(refused(world.token(&secret, None).await), "400 invalid_request parameter_missing");
}

#[tokio::test]
async fn a_secret_in_the_body_is_for_clients_that_are_registered_for_it() {
    let post = story::client("crm-api", ClientAuthentication::ClientSecretPost, &["support-agent"]);
    let world = World::with_entries(vec![Entry::Client(post)]);
    let form = batch(&world).await;
    let by_post = |id: &str, secret: &str| with(with(form.clone(), "client_id", id), "client_secret", secret);
    assert!(world.token(&by_post("crm-api", CLIENT_SECRET), None).await.is_ok());
    let failed = "401 invalid_client client_authentication_failed";
    for (id, secret) in [
        ("crm-api", "wrong"),
        ("nobody", CLIENT_SECRET),
        ("batch-app", CLIENT_SECRET),
        ("support-app", CLIENT_SECRET),
    ] {
        assert_eq!(refused(world.token(&by_post(id, secret), None).await), failed, "{id}");
    }
    // A caller that knows the secret is told which method the client is registered for. Any other caller is
    // told nothing.
    for (form, header, method) in [
        (by_post("desk-app", CLIENT_SECRET), None, "client_secret_basic"),
        (form.clone(), Some(basic("crm-api", CLIENT_SECRET)), "client_secret_post"),
    ] {
        let error = world.token(&form, header.as_deref()).await.unwrap_err();
        assert_eq!(crate::shown(&error), "401 invalid_client client_method_other");
        assert!(error.description.contains(method), "{}", error.description);
    }
    assert_eq!(refused(world.token(&by_post("desk-app", "wrong"), None).await), failed);
    assert_eq!(refused(world.token(&form, Some(&basic("crm-api", "wrong"))).await), failed);
}

#[tokio::test]
async fn an_assertion_for_the_token_endpoint_is_for_clients_whose_entry_says_so() {
    let world = World::story();
    let form = batch(&world).await;
    let token_endpoint = format!("{ISSUER}/token");
    let addressed = |aud: &Value| {
        let mut claims = world.assertion_claims();
        claims["aud"] = aud.clone();
        claims
    };
    // The refusal says what was expected.
    let mut strict = form.clone();
    strict.extend(world.assertion_pairs(&world.assertion(&addressed(&json!(token_endpoint)))));
    let error = world.token(&strict, None).await.unwrap_err();
    assert_eq!(crate::shown(&error), "401 invalid_client client_assertion_refused");
    assert!(
        error.description.ends_with(&format!("audience. Its aud must be {ISSUER} and nothing else.")),
        "{}",
        error.description
    );

    world.change_without_cuts(EntryKind::Client, "batch-app", |entry| {
        if let Entry::Client(Client {
            authentication: ClientAuthentication::PrivateKeyJwt { audience, .. },
            ..
        }) = entry
        {
            *audience = AssertionAudience::TokenEndpoint;
        }
    });
    assert_eq!(ask(&world, &form, &addressed(&json!(token_endpoint))).await, "ok");
    assert_eq!(ask(&world, &form, &addressed(&json!([token_endpoint]))).await, "ok");
    for aud in [
        json!(ISSUER),
        json!([ISSUER, token_endpoint]),
        json!(format!("{ISSUER}/introspect")),
        json!(format!("{token_endpoint}/")),
    ] {
        assert_eq!(
            ask(&world, &form, &addressed(&aud)).await,
            "401 invalid_client client_assertion_refused",
            "{aud}"
        );
    }
}

#[tokio::test]
async fn an_assertion_may_live_for_an_hour_as_widely_used_clients_write_it() {
    let world = World::story();
    let form = batch(&world).await;
    let now = mandate_core::Clock::now(&*world.clock).secs();
    let until = |exp: u64| {
        let mut claims = world.assertion_claims();
        claims["exp"] = json!(exp);
        claims
    };
    let hour = until(now + 3600);
    assert_eq!(ask(&world, &form, &hour).await, "ok");
    assert_eq!(ask(&world, &form, &hour).await, "401 invalid_client client_assertion_replayed");
    let mut long = form;
    long.extend(world.assertion_pairs(&world.assertion(&until(now + 3661))));
    let error = world.token(&long, None).await.unwrap_err();
    assert_eq!(crate::shown(&error), "401 invalid_client client_assertion_refused");
    assert!(
        error.description.ends_with(
            "lifetime. Its exp may be at most 61 minutes from now, or 6 for a client that describes itself."
        ),
        "{}",
        error.description
    );
}

#[tokio::test]
async fn parameters_in_the_query_of_the_url_are_refused_and_others_ignored() {
    let world = World::story();
    let form = encode(&with(batch(&world).await, "scope", "read:cases"));
    let header = world.desk_app();
    let post = |query: Option<&str>| {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        Post::form(&format!("{TOKEN_PATH}{query}"), Some(&header), &form)
    };
    for query in [
        "scope=write:case_comments",
        "resource=https://hr.acme.example",
        "resource=https://a.example&resource=https://b.example",
        "audience=x",
        "subject_token=x",
        "actor_token=x",
        "client_id=desk-app",
        "client_secret=x",
        "grant_type=authorization_code",
        "token=x",
        "x=1&sc%6Fpe=y",
        "code=x",
    ] {
        let shown = |error| crate::shown(&error);
        let refusal = "400 invalid_request parameter_in_query";
        assert_eq!(
            world.engine.token(post(Some(query)).request()).await.map_err(shown).err().as_deref(),
            Some(refusal),
            "{query}"
        );
        assert_eq!(
            world.engine.introspect(post(Some(query)).request()).await.map_err(shown).err().as_deref(),
            Some(refusal),
            "{query}"
        );
        assert_eq!(
            world.engine.revoke(post(Some(query)).request()).await.map_err(shown).err().as_deref(),
            Some(refusal),
            "{query}"
        );
    }
    for query in ["%zz", "x=1&x=2", "scope=%ff"] {
        let refusal =
            world.engine.token(post(Some(query)).request()).await.map_err(|error| crate::shown(&error)).err();
        assert_eq!(refusal.as_deref(), Some("400 invalid_request malformed_form"), "{query}");
    }
    for query in [None, Some(""), Some("trace=1"), Some("scope="), Some("scope")] {
        assert!(world.engine.token(post(query).request()).await.is_ok(), "{query:?}");
    }
}

#[tokio::test]
async fn one_kind_of_assertion_is_not_another() {
    let world = World::story();
    let subject = world.person_token("riley", None, None).await;
    let svid = world.svid("support-agent").await;
    let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    let bearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let answer = refused(world.token(&with(form.clone(), "client_assertion_type", bearer), None).await);
    assert!(answer.starts_with("401 invalid_client"), "{answer}");
    let assertion = world.assertion(&world.assertion_claims());
    assert_eq!(
        refused(world.token(&with(form.clone(), "client_assertion", &assertion), None).await),
        "401 invalid_client client_assertion_refused"
    );
    // A grant type that is not offered does not log an agent in.
    let jwt_bearer =
        with(without(form, "subject_token"), "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_eq!(
        refused(world.token(&jwt_bearer, None).await),
        "400 unsupported_grant_type grant_type_unsupported"
    );
}

#[tokio::test]
async fn an_agent_may_not_redeem_codes() {
    let world = World::story();
    let code = world.code(&world.authorization("support-app", None, None), "riley").await;
    let svid = world.svid("support-agent").await;
    let form = without(world.redemption("support-app", &code), "client_id");
    let form = with(
        with(form, "client_assertion", &svid),
        "client_assertion_type",
        "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe",
    );
    assert_eq!(refused(world.token(&form, None).await), "400 unauthorized_client client_not_allowed");
}
