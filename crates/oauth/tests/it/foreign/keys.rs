//! How the keys of another issuer are found, kept and replaced, and by which way it is reached.

use std::net::TcpListener;
use std::time::Duration;

use mandate_core::Subject;
use mandate_core::registry::{Entry, EntryKind, SubjectScope, TrustedIssuer};
use mandate_testkit::hostile_issuer::HostileIssuer;
use mandate_testkit::story;
use mandate_testkit::tls_front::PrivateCa;
use mandate_testkit::world::{World, payload};
use mandate_token::Signer as _;
use serde_json::{Value, json};

use crate::shown;

use super::Abroad;

#[tokio::test]
async fn a_rotated_out_key_is_dead_and_the_new_one_is_found() {
    let abroad = Abroad::new(SubjectScope::Token).await;
    let old = abroad.idp.sign(&abroad.terms());
    assert_eq!(abroad.ask(&old).await, "ok");
    abroad.idp.rotate();
    let new = abroad.idp.sign(&abroad.terms());
    abroad.world.clock.advance(Duration::from_secs(10));
    let error = abroad.error(&new).await;
    assert_eq!(
        shown(&error),
        "503 temporarily_unavailable issuer_key_unknown",
        "within the pause no second fetch"
    );
    assert_eq!(error.retry_after, Some(20), "when the pause is over");
    assert_eq!(abroad.idp.jwks_served(), 1);
    abroad.world.clock.advance(Duration::from_secs(20));
    assert_eq!(abroad.ask(&new).await, "ok");
    assert_eq!(
        abroad.ask(&old).await,
        "503 temporarily_unavailable issuer_key_unknown",
        "a remembered signature dies with its key"
    );
    assert_eq!(abroad.idp.jwks_served(), 2, "an unknown kid fetches at most once in a while");
    abroad.world.clock.advance(mandate_oauth::foreign::REFETCH_PAUSE);
    assert_eq!(
        abroad.ask(&old).await,
        "400 invalid_request subject_token_refused",
        "fetched for this very token, and not there"
    );
    assert_eq!(abroad.idp.jwks_served(), 3);
}

#[tokio::test]
async fn keys_never_come_from_the_token_nor_from_another_issuer() {
    let mut abroad = Abroad::new(SubjectScope::Token).await;
    let other = HostileIssuer::start();
    let claims = payload(&abroad.idp.sign(&abroad.terms())).to_string();
    let stranger = other.key();
    for header in [
        json!({"alg": "ES256", "typ": "at+jwt", "kid": stranger.key_id(), "jku": format!("{}/jwks", other.issuer())}),
        json!({"alg": "ES256", "typ": "at+jwt", "jwk": serde_json::from_str::<Value>(&stranger.jwks()).unwrap()["keys"][0]}),
        json!({"alg": "ES256", "typ": "at+jwt", "kid": "../../etc/passwd"}),
        json!({"alg": "ES256", "typ": "at+jwt", "kid": "' OR 1=1 --"}),
        // The kid of the right issuer over the signature of another key.
        json!({"alg": "ES256", "typ": "at+jwt", "kid": abroad.idp.key().key_id()}),
    ] {
        let token = stranger.sign_raw(&header.to_string(), &claims);
        // Else the key set is too young to be fetched again for a kid that it lacks.
        abroad.world.clock.advance(mandate_oauth::foreign::REFETCH_PAUSE);
        abroad.svid = abroad.world.svid("support-agent").await;
        assert_eq!(abroad.ask(&token).await, "400 invalid_request subject_token_refused", "{header}");
    }
    assert_eq!(other.jwks_served(), 0);
    // Both issuers are trusted and publish the same kid: each token is verified with its own issuer's keys
    // alone.
    abroad.world.apply(Entry::Issuer(story::trusted_issuer(other.issuer(), SubjectScope::Token))).await;
    let kid = abroad.idp.key().key_id().to_owned();
    let renamed = other.key().jwks().replace(other.key().key_id(), &kid);
    other.serve_jwks(Some(&renamed));
    let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": kid}).to_string();
    assert_eq!(
        abroad.ask(&stranger.sign_raw(&header, &claims)).await,
        "400 invalid_request subject_token_refused"
    );
}

#[tokio::test]
async fn metadata_that_lies_is_refused_and_failures_are_remembered_shortly() {
    let abroad = Abroad::new(SubjectScope::Token).await;
    let token = abroad.idp.sign(&abroad.terms());
    let unavailable = "503 temporarily_unavailable issuer_unavailable";
    let jwks_uri = format!("{}/jwks", abroad.idp.issuer());
    let other = json!({"issuer": "http://127.0.0.1:1", "jwks_uri": jwks_uri}).to_string();
    let slash = json!({"issuer": format!("{}/", abroad.idp.issuer()), "jwks_uri": jwks_uri}).to_string();
    let elsewhere = json!({"issuer": abroad.idp.issuer(), "jwks_uri": "http://192.0.2.1/jwks"}).to_string();
    for metadata in [&other, &slash, &elsewhere, "{}", "not json", r#"{"issuer":1}"#, &"x".repeat(300_000)] {
        abroad.idp.serve_metadata(Some(metadata));
        assert_eq!(abroad.ask(&token).await, unavailable, "{metadata:.80}");
        abroad.world.clock.advance(mandate_oauth::foreign::FAILURE_TTL);
    }
    assert_eq!(abroad.idp.jwks_served(), 0);
    assert_eq!(abroad.ask(&token).await, unavailable);
    abroad.idp.serve_metadata(None);
    assert_eq!(abroad.ask(&token).await, unavailable, "a failure is remembered");
    abroad.world.clock.advance(mandate_oauth::foreign::FAILURE_TTL);
    assert_eq!(abroad.ask(&token).await, "ok");
}

#[tokio::test]
async fn an_issuer_that_is_away_is_used_for_the_cache_time_and_no_longer() {
    let mut abroad = Abroad::new(SubjectScope::Token).await;
    assert_eq!(abroad.ask(&abroad.idp.sign(&abroad.terms())).await, "ok");
    abroad.idp.go_down();
    abroad.world.clock.advance(Duration::from_secs(200));
    assert_eq!(abroad.ask(&abroad.idp.sign(&abroad.terms())).await, "ok");
    abroad.world.clock.advance(Duration::from_secs(101));
    abroad.svid = abroad.world.svid("support-agent").await;
    let token = abroad.idp.sign(&abroad.terms());
    assert_eq!(abroad.ask(&token).await, "503 temporarily_unavailable issuer_unavailable");
    abroad.idp.come_back();
    abroad.world.clock.advance(mandate_oauth::foreign::FAILURE_TTL);
    assert_eq!(abroad.ask(&token).await, "ok");
}

#[tokio::test]
async fn many_at_once_fetch_the_keys_once() {
    let abroad = Abroad::new(SubjectScope::Token).await;
    let tokens: Vec<String> = (0..4).map(|_| abroad.idp.sign(&abroad.terms())).collect();
    let [first, second, third, fourth] = &tokens[..] else { panic!("four") };
    let answers = tokio::join!(abroad.ask(first), abroad.ask(second), abroad.ask(third), abroad.ask(fourth));
    assert_eq!([answers.0, answers.1, answers.2, answers.3], ["ok"; 4]);
    assert_eq!(abroad.idp.jwks_served(), 1);
}

#[tokio::test]
async fn an_issuer_with_an_authority_of_its_own_is_reached_with_that_alone() {
    let (ca, other) = (PrivateCa::generate(), PrivateCa::generate());
    for (trusted, served) in [(Some(ca.pem()), true), (Some(other.pem()), false), (None, false)] {
        let idp = HostileIssuer::start();
        let name = ca.in_front_of(&idp).await;
        let mut dana = story::person("dana", vec![story::permission("crm", "read:cases")]);
        dana.id = Subject { iss: name.clone(), sub: "user-7".to_owned() };
        let issuer =
            TrustedIssuer { ca: trusted, ..story::trusted_issuer(name.clone(), SubjectScope::Token) };
        let world = World::with_entries(vec![
            Entry::Issuer(issuer),
            Entry::Person(dana),
            Entry::Grant(story::grant("dana", "support-agent", "crm", "read:cases")),
        ]);
        let svid = world.svid("support-agent").await;
        let abroad = Abroad { world, idp, svid };
        let mut terms = abroad.terms();
        terms.issuer = name.clone();
        terms.subject.as_mut().unwrap().iss = name.clone();
        let token = abroad.idp.sign(&terms);
        if served {
            assert_eq!(abroad.ask(&token).await, "ok");
            // The authority is replaced: what the old one vouched for is fetched again, and fails.
            abroad
                .world
                .change(EntryKind::Issuer, name.as_str(), |entry| {
                    let Entry::Issuer(issuer) = entry else { panic!("an issuer") };
                    issuer.ca = Some(other.pem());
                })
                .await;
        }
        let error = abroad.error(&token).await;
        assert_eq!(shown(&error), "503 temporarily_unavailable issuer_unavailable");
        // A bare machine has no certificate authorities at all.
        let why =
            ["invalid peer certificate", "CA certificates"].iter().any(|why| error.private.contains(why));
        let named = error.private.contains(name.as_str()) && why;
        assert!(named, "issuer, address and the reason: {}", error.private);
    }
}

#[tokio::test]
async fn the_proxy_of_an_issuer_is_used_but_never_for_one_on_loopback() {
    let proxy = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let abroad = Abroad::new(SubjectScope::Token).await;
    let by_proxy = |entry: &mut Entry| {
        let Entry::Issuer(issuer) = entry else { panic!("an issuer") };
        issuer.proxy = Some(url.clone());
    };
    abroad.world.change(EntryKind::Issuer, abroad.idp.issuer().as_str(), by_proxy).await;
    assert_eq!(abroad.ask(&abroad.idp.sign(&abroad.terms())).await, "ok");
    proxy.set_nonblocking(true).unwrap();
    assert_eq!(proxy.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);

    proxy.set_nonblocking(false).unwrap();
    let asked = std::thread::spawn(move || proxy.accept().map(drop).is_ok());
    let name: mandate_core::Issuer = "https://login.example".parse().unwrap();
    let ca = Some(PrivateCa::generate().pem());
    let issuer = TrustedIssuer {
        proxy: Some(url.clone()),
        ca,
        ..story::trusted_issuer(name.clone(), SubjectScope::Token)
    };
    let elsewhere = Abroad {
        world: World::with_entries(vec![Entry::Issuer(issuer)]),
        ..Abroad::new(SubjectScope::Token).await
    };
    let svid = elsewhere.world.svid("support-agent").await;
    let elsewhere = Abroad { svid, ..elsewhere };
    let mut terms = elsewhere.terms();
    (terms.issuer, terms.subject.as_mut().unwrap().iss) = (name.clone(), name);
    assert_eq!(
        shown(&elsewhere.error(&elsewhere.idp.sign(&terms)).await),
        "503 temporarily_unavailable issuer_unavailable"
    );
    assert!(asked.join().unwrap());
}
