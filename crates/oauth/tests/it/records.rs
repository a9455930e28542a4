//! How long the records are that strangers can have written, whatever they send: bounds hold for what JSON
//! makes of it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_audit::{Outcome, Query, Record};
use mandate_core::{RequestSource, Secret};
use mandate_oauth::metadata::TOKEN_PATH;
use mandate_testkit::story::{self, CRM};
use mandate_testkit::world::{JWT, Pairs, Post, World, encode, pairs, with, without};
use serde_json::{Value, json};

/// The most bytes of a text that a stranger asked for, between the quotes of its JSON; and the same for who
/// is known.
const ASKED: (usize, usize) = (128, 512);
/// The most bytes of the sentence in the record of a stranger's refusal.
const DETAIL: usize = 384;
/// The most bytes of a whole record of a stranger's refusal.
const STRANGERS_LEAF: usize = 1536;
/// The most bytes of a whole refusal of who is known.
const LEAF: usize = 4096;

/// Characters that JSON escapes or that take several bytes; those without control characters can be in a
/// form.
const IN_FORMS: [&str; 8] =
    ["\"", "\\", "\u{2028}", "\u{80}", "é", "語", "\u{1f600}", "a\"é\\\u{2029}\u{1f600}"];
/// The rest can be in the claims of a token that nobody verified.
const IN_CLAIMS: [&str; 6] = ["\u{0}", "\n", "\u{8}", "\u{1b}", "\u{7f}", "a\u{1f}\"\\\r"];

/// How many bytes a text takes between the quotes of its JSON.
fn encoded(text: &str) -> usize {
    serde_json::to_string(text).unwrap().len() - 2
}

/// A token of any claims, signed by nobody.
fn unsigned(sub: &str) -> String {
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.AAAA", part(json!({"alg": "ES256", "typ": "JWT"})), part(json!({"sub": sub, "iss": sub})))
}

fn newest_refusal(world: &World) -> Record {
    world.records(&Query { outcome: Some(Outcome::Refused), limit: Some(1), ..Query::default() }).remove(0)
}

/// Whether a record is a refusal of a stranger whose texts are within their bounds, and the whole as well.
fn is_bounded(record: &Record, what: &str) {
    assert!(record.source.is_some(), "{what}: a stranger's");
    for text in [record.asked.resource(), record.asked.scope(), record.asked.actor()].into_iter().flatten() {
        assert!(encoded(text) <= ASKED.0, "{what}: {text:?} takes {} bytes", encoded(text));
    }
    let detail = record.detail.as_deref().unwrap();
    assert!(encoded(detail) <= DETAIL, "{what}: {} bytes of detail", encoded(detail));
    let leaf = record.to_leaf().unwrap();
    assert!(leaf.len() <= STRANGERS_LEAF, "{what}: {} bytes", leaf.len());
    assert_eq!(&Record::from_leaf(&leaf).unwrap(), record, "{what}");
}

fn post<'a>(authorization: Option<&'a str>, body: &'a str) -> Post<'a> {
    Post::form(TOKEN_PATH, authorization, body).from(RequestSource::of([192, 0, 2, 1].into()))
}

/// Parameters in which a stranger writes `text` wherever one can.
fn full_of(text: &str, actor: &str) -> Pairs {
    let long = text.repeat(600 / text.len());
    pairs(&[
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("client_id", &long),
        ("resource", &long),
        ("scope", &long),
        ("audience", &long),
        ("subject_token", &long),
        ("subject_token_type", &long),
        ("actor_token", actor),
        ("actor_token_type", JWT),
        ("token", &long),
    ])
}

#[tokio::test]
async fn what_a_stranger_sends_in_a_form_is_cut_by_what_it_takes_in_a_record() {
    for text in IN_FORMS {
        let world = World::story();
        let actor = unsigned(&text.repeat(600 / text.len()));
        let form = full_of(text, &actor);
        let by_secret = with(form.clone(), "client_secret", &text.repeat(100));
        let assertion = pairs(&[
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &actor),
        ]);
        let by_assertion = [without(form.clone(), "client_id"), assertion].concat();
        for (how, form) in
            [("no credential", &form), ("a secret", &by_secret), ("an assertion", &by_assertion)]
        {
            let body = encode(form);
            let what = format!("{text:?} {how}");
            assert!(world.engine.token(post(None, &body).request()).await.is_err(), "{what}");
            let record = newest_refusal(&world);
            is_bounded(&record, &what);
            assert!(
                text.repeat(ASKED.0).starts_with(record.asked.resource().unwrap()),
                "{what}: its beginning"
            );
            assert!(
                encoded(record.asked.scope().unwrap()) > ASKED.0 - encoded(text).max(12),
                "{what}: as much as fits"
            );
            assert!(world.engine.revoke(post(None, &body).request()).await.is_err(), "{what}");
            is_bounded(&newest_refusal(&world), &what);
            assert!(world.engine.introspect(post(None, &body).request()).await.is_err(), "{what}");
            is_bounded(&newest_refusal(&world), &what);
        }
        let other_grant = encode(&with(form.clone(), "grant_type", text));
        assert!(world.engine.token(post(None, &other_grant).request()).await.is_err());
        is_bounded(&newest_refusal(&world), "another grant type");
    }
}

#[tokio::test]
async fn what_a_token_that_nobody_verified_claims_is_cut_by_what_it_takes_in_a_record() {
    for text in [&IN_CLAIMS[..], &IN_FORMS].concat() {
        let world = World::story();
        let token = unsigned(&text.repeat(600 / text.len()));
        let form = pairs(&[
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"),
            ("client_assertion", &token),
            ("actor_token", &token),
            ("actor_token_type", JWT),
            ("subject_token", &token),
            ("subject_token_type", JWT),
            ("resource", CRM),
        ]);
        assert!(world.engine.token(post(None, &encode(&form)).request()).await.is_err(), "{text:?}");
        let record = newest_refusal(&world);
        is_bounded(&record, &format!("{text:?}"));
        assert!(encoded(record.asked.actor().unwrap()) > ASKED.0 - 12, "{text:?}: as much as fits");

        // The same of a client that is known: longer, and bounded as well.
        let form = without(without(form, "client_assertion"), "client_assertion_type");
        let world_of_known = world.desk_app();
        let body = encode(&[form, pairs(&[("scope", &"\u{2028}".repeat(3000))])].concat());
        assert!(world.engine.token(post(Some(&world_of_known), &body).request()).await.is_err(), "{text:?}");
        let record = newest_refusal(&world);
        assert_eq!((record.source.as_deref(), record.said().client), (None, Some("desk-app")), "{text:?}");
        for asked in [record.asked.scope(), record.asked.actor()].into_iter().flatten() {
            assert!(
                encoded(asked) <= ASKED.1 && encoded(asked) > ASKED.1 - 12,
                "{text:?}: {} bytes",
                encoded(asked)
            );
        }
        assert!(record.to_leaf().unwrap().len() <= LEAF, "{text:?}");
    }
}

#[tokio::test]
async fn what_a_stranger_sends_to_the_authorization_endpoint_is_cut_by_what_it_takes_in_a_record() {
    for text in IN_FORMS {
        let world = World::story();
        let long = text.repeat(2000 / text.len());
        let good = world.authorization("support-app", Some(CRM), Some("read:cases"));
        for name in [
            "client_id",
            "redirect_uri",
            "state",
            "scope",
            "resource",
            "response_type",
            "code_challenge",
            "request",
        ] {
            let query = with(with(with(good.clone(), "resource", &long), "scope", &long), name, &long);
            let query = encode(&query);
            let source = RequestSource::of([192, 0, 2, 1].into());
            assert!(world.engine.authorize(query.as_bytes(), source).await.is_err(), "{text:?} {name}");
            is_bounded(&newest_refusal(&world), &format!("{text:?} {name}"));
        }
        // A name that was typed is in no record at all.
        let asked = world.engine.authorize(encode(&good).as_bytes(), RequestSource::Other).await.unwrap();
        let typed = format!("not-a-name{long}");
        assert!(world.engine.log_in(&asked, &typed, Secret::new(typed.as_str())).await.is_err());
        let record = newest_refusal(&world);
        is_bounded(&record, text);
        assert!(!String::from_utf8(record.to_leaf().unwrap()).unwrap().contains("not-a-name"), "{text:?}");
    }
}

#[tokio::test]
async fn the_longest_client_id_that_can_be_registered_makes_no_record_of_a_stranger_longer_than_the_quota_knows()
 {
    let id = "\"\\".repeat(1024);
    let client = story::client(&id, mandate_core::registry::ClientAuthentication::None, &[]);
    let world = World::with_entries(vec![mandate_core::registry::Entry::Client(client)]);
    let query = with(world.authorization(&id, Some(CRM), None), "response_type", "token");
    let before = world.log.strangers().summed();
    assert!(world.engine.authorize(encode(&query).as_bytes(), RequestSource::Other).await.is_err());
    assert_eq!(
        world.log.strangers().summed(),
        before + 1,
        "a record that would be too long is counted instead"
    );
}
