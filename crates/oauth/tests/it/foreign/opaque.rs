//! Opaque access tokens of another issuer as subject tokens: their issuer is asked (RFC 7662).

use std::future::{Future as _, poll_fn};
use std::task::Poll;
use std::time::Duration;

use mandate_core::registry::{Entry, EntryKind, IntrospectionClient, SubjectScope, TrustedIssuer};
use mandate_core::{Clock as _, CutTarget, Issuer};
use mandate_testkit::hostile_issuer::{HostileIssuer, Trouble};
use mandate_testkit::story::{self, CRM, ISSUER};
use mandate_testkit::world::{ACCESS_TOKEN, JWT, LOGIN_SECRET_FILE, Pairs, exposed, payload, with};
use serde_json::{Value, json};

use super::Abroad;
use super::groups::{BEYOND, ITS_ID, only_reads, writers};
use super::tenants::{self, APART};
use crate::refused;

const REFUSED: &str = "400 invalid_request subject_token_refused";
const UNAVAILABLE: &str = "503 temporarily_unavailable introspection_unavailable";
const ASKED: &str = "/introspect";
const TOKEN: &str = "2YotnFZFEjr1zCsicMWpAA.x";

/// A world in which the opaque tokens of `desk-app` are of the issuer.
async fn asking() -> Abroad {
    let abroad = Abroad::new(SubjectScope::Token).await;
    publish(&abroad.idp, &json!({}));
    abroad.asks(&["desk-app"]).await;
    abroad.says(&json!({}));
    abroad
}

fn publish(idp: &HostileIssuer, change: &Value) {
    let url = idp.issuer();
    let mut metadata = json!({
        "issuer": url, "jwks_uri": format!("{url}/jwks"), "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"), "introspection_endpoint": format!("{url}{ASKED}"),
    });
    merge(&mut metadata, change);
    idp.serve_metadata(Some(&metadata.to_string()));
}

/// Null removes a member.
fn merge(object: &mut Value, change: &Value) {
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => object.as_object_mut().unwrap().remove(name),
            value => object.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
}

impl Abroad {
    async fn asks(&self, clients: &[&str]) {
        self.asks_and(clients, |_| ()).await;
    }

    /// The same, and this of its entry.
    async fn asks_and(&self, clients: &[&str], change: impl FnOnce(&mut TrustedIssuer)) {
        let introspection = IntrospectionClient {
            client_id: "mandate".to_owned(),
            client_secret_file: LOGIN_SECRET_FILE.to_owned(),
            clients: clients.iter().map(|client| client.parse().unwrap()).collect(),
        };
        let issuer = story::trusted_issuer(self.idp.issuer(), SubjectScope::Token);
        let introspection = Some(introspection).filter(|_| !clients.is_empty());
        let mut issuer = TrustedIssuer { introspection, ..issuer };
        change(&mut issuer);
        self.world.apply(Entry::Issuer(issuer)).await;
    }

    /// What the issuer says of every token, with this change.
    fn says(&self, change: &Value) {
        let now = self.world.clock.now().secs();
        let mut answer = json!({
            "active": true, "iss": self.idp.issuer(), "sub": "user-7", "aud": ISSUER, "client_id": "portal",
            "token_type": "Bearer", "scope": "read:cases", "iat": now, "exp": now + 300,
        });
        merge(&mut answer, change);
        self.idp.serve_at(ASKED, "application/json", &answer.to_string());
    }

    fn opaque(&self, token: &str, kind: &str) -> Pairs {
        with(self.world.app_exchange(&self.svid, token, CRM, "read:cases"), "subject_token_type", kind)
    }

    async fn desk_asks(&self, token: &str, kind: &str) -> String {
        match self.world.token(&self.opaque(token, kind), Some(&self.world.desk_app())).await {
            Ok(_) => "ok".to_owned(),
            refusal => refused(refusal),
        }
    }

    fn questions(&self) -> usize {
        self.idp.posted().len()
    }
}

#[tokio::test]
async fn an_opaque_token_is_what_its_issuer_says_of_it() {
    let abroad = asking().await;
    let given = abroad.world.token(&abroad.opaque(TOKEN, ACCESS_TOKEN), Some(&abroad.world.desk_app())).await;
    let claims = payload(&exposed(&given.unwrap()));
    assert_eq!(claims["sub"], format!("{}#user-7", abroad.idp.issuer()));
    assert_eq!((&claims["scope"], &claims["client_id"]), (&json!("read:cases"), &json!("desk-app")));
    let posted = abroad.idp.posted();
    assert_eq!((posted.len(), posted[0].path.as_str()), (1, ASKED));
    assert_eq!(posted[0].body, format!("token={TOKEN}&token_type_hint=access_token"));
    assert!(posted[0].authorization.starts_with("Basic "), "{}", posted[0].authorization);
    // No answer is kept.
    assert_eq!(abroad.desk_asks(TOKEN, ACCESS_TOKEN).await, "ok");
    assert_eq!(abroad.questions(), 2);
    abroad.says(&json!({"active": false}));
    assert_eq!(abroad.desk_asks(TOKEN, ACCESS_TOKEN).await, REFUSED, "taken back there, refused here");
    abroad.says(&json!({}));
    let parent = claims["lineage"]["parents"][0].as_str().unwrap();
    assert!(parent.starts_with("f."), "{parent}");
    abroad.world.cut(CutTarget::Token(parent.parse().unwrap()));
    assert_eq!(abroad.desk_asks(TOKEN, ACCESS_TOKEN).await, "400 invalid_request subject_revoked");
    assert_eq!(abroad.desk_asks("another", ACCESS_TOKEN).await, "ok");
}

#[tokio::test]
async fn its_scopes_and_its_time_bound_the_result() {
    let abroad = asking().await;
    abroad.says(&json!({"scope": "openid"}));
    assert_eq!(abroad.desk_asks(TOKEN, ACCESS_TOKEN).await, "400 invalid_scope scope_exceeds_subject");
    let now = abroad.world.clock.now().secs();
    abroad.says(&json!({"exp": now + 60}));
    let given = abroad.world.token(&abroad.opaque(TOKEN, ACCESS_TOKEN), Some(&abroad.world.desk_app())).await;
    assert_eq!(payload(&exposed(&given.unwrap()))["exp"], now + 60);
    abroad.says(&json!({"iat": now - 3_600, "exp": now + 3_600}));
    assert_eq!(abroad.desk_asks(TOKEN, ACCESS_TOKEN).await, "400 invalid_request subject_expired");
    abroad.says(&json!({"scope": "read:cases send:mail"}));
    let form = with(abroad.opaque(TOKEN, ACCESS_TOKEN), "scope", "send:mail");
    let answer = abroad.world.token(&form, Some(&abroad.world.desk_app())).await;
    assert_eq!(refused(answer), "400 invalid_scope scope_beyond_person");
}

#[tokio::test]
async fn an_answer_that_lacks_something_or_says_something_else_is_refused() {
    let abroad = asking().await;
    for change in [
        json!({"active": null}),
        json!({"active": "true"}),
        json!({"active": 1}),
        json!({"iss": null}),
        json!({"iss": "https://other.example"}),
        json!({"sub": null}),
        json!({"sub": 7}),
        json!({"aud": null}),
        json!({"exp": null}),
        json!({"exp": "1700000000"}),
        json!({"iat": null}),
        json!({"client_id": null}),
        json!({"token_type": null}),
        json!({"token_type": "DPoP"}),
        json!({"sub_profile": "ai_agent"}),
    ] {
        abroad.says(&change);
        assert_eq!(abroad.desk_asks(TOKEN, ACCESS_TOKEN).await, REFUSED, "{change}");
    }
    for (change, expected) in [
        (json!({"aud": "https://other.example"}), "400 invalid_request subject_not_for_presenter"),
        (json!({"aud": [ISSUER, "https://other.example"]}), "400 invalid_request subject_not_for_presenter"),
        (json!({"sub": "user-9"}), "400 invalid_request person_unknown"),
        (json!({"cnf": {"jkt": "x"}}), "400 invalid_request subject_key_not_proven"),
        (json!({"act": {"sub": "x", "iss": ISSUER}}), "400 invalid_request chain_not_theirs"),
    ] {
        abroad.says(&change);
        assert_eq!(abroad.desk_asks(TOKEN, ACCESS_TOKEN).await, expected, "{change}");
    }
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_properly_lets_nobody_through() {
    let abroad = asking().await;
    let now = abroad.world.clock.now().secs();
    let good = json!({
        "active": true, "iss": abroad.idp.issuer(), "sub": "user-7", "aud": ISSUER, "client_id": "portal",
        "token_type": "Bearer", "scope": "read:cases", "iat": now, "exp": now + 300,
    });
    let huge = with_padding(&good, 130 * 1024);
    for (kind, body) in [
        ("text/html", good.to_string()),
        ("application/json", "<html>".to_owned()),
        ("application/json", String::new()),
        ("application/json", good.to_string().replacen('{', "{\"active\":false,", 1)),
        ("application/token-introspection+jwt", good.to_string()),
        ("application/json", huge),
    ] {
        abroad.idp.serve_at(ASKED, kind, &body);
        assert_eq!(abroad.desk_asks(TOKEN, ACCESS_TOKEN).await, UNAVAILABLE, "{kind}");
    }
    abroad.says(&json!({}));
    assert_eq!(abroad.desk_asks(TOKEN, ACCESS_TOKEN).await, "ok");
    for trouble in [Trouble::Status(401), Trouble::Status(500), Trouble::Break] {
        let abroad = asking().await;
        abroad.idp.fail_at(ASKED, trouble);
        assert_eq!(abroad.desk_asks(TOKEN, ACCESS_TOKEN).await, UNAVAILABLE, "{trouble:?}");
    }
    // What is behind a redirect would say yes.
    let other = asking().await;
    abroad.idp.redirect_at(ASKED, &format!("{}{ASKED}", other.idp.issuer()));
    assert_eq!(abroad.desk_asks(TOKEN, ACCESS_TOKEN).await, UNAVAILABLE);
    assert_eq!(other.questions(), 0);
}

fn with_padding(answer: &Value, bytes: usize) -> String {
    let mut answer = answer.clone();
    merge(&mut answer, &json!({ "padding": "x".repeat(bytes) }));
    answer.to_string()
}

#[tokio::test]
async fn an_issuer_without_a_proper_endpoint_or_method_is_not_asked() {
    for change in [
        json!({"introspection_endpoint": null}),
        json!({"introspection_endpoint": "http://169.254.169.254/introspect"}),
        json!({"introspection_endpoint": 7}),
        json!({"introspection_endpoint_auth_methods_supported": ["private_key_jwt", "none"]}),
    ] {
        let abroad = asking().await;
        publish(&abroad.idp, &change);
        assert_eq!(abroad.desk_asks(TOKEN, ACCESS_TOKEN).await, UNAVAILABLE, "{change}");
        assert_eq!(abroad.questions(), 0, "{change}");
    }
    let abroad = asking().await;
    publish(&abroad.idp, &json!({"introspection_endpoint_auth_methods_supported": ["client_secret_post"]}));
    assert_eq!(abroad.desk_asks(TOKEN, ACCESS_TOKEN).await, "ok");
    let posted = abroad.idp.posted();
    assert!(
        posted[0].authorization.is_empty() && posted[0].body.contains("client_id=mandate&client_secret=")
    );
}

#[tokio::test]
async fn a_token_is_shown_to_the_one_issuer_that_names_its_client_and_a_jwt_to_none() {
    let abroad = asking().await;
    let jwt = abroad.idp.sign(&abroad.terms());
    assert_eq!(abroad.desk_asks(&jwt, ACCESS_TOKEN).await, REFUSED, "sent as one of ours");
    assert_eq!(abroad.desk_asks(&jwt, JWT).await, "ok");
    assert_eq!(abroad.desk_asks(TOKEN, JWT).await, REFUSED);
    let own = abroad.world.person_token("riley", None, None).await;
    let _ = abroad.desk_asks(&own, ACCESS_TOKEN).await;
    assert_eq!(abroad.desk_asks("", ACCESS_TOKEN).await, "400 invalid_request parameter_missing");
    for broken in ["eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJFUzI1NiJ9.x", "a b", &"x".repeat(5_000)] {
        assert_eq!(abroad.desk_asks(broken, ACCESS_TOKEN).await, REFUSED, "{broken}");
    }
    assert_eq!(abroad.questions(), 0);
    // Another client's tokens are of nobody, and neither are those of this one once the entry no longer says so.
    let agent = with(abroad.form(TOKEN), "subject_token_type", ACCESS_TOKEN);
    assert_eq!(refused(abroad.world.token(&agent, None).await), REFUSED);
    abroad.asks(&[]).await;
    assert_eq!(abroad.desk_asks(TOKEN, ACCESS_TOKEN).await, REFUSED);
    // Two that name the client: it is not known whose the token is.
    abroad.asks(&["desk-app"]).await;
    let second = HostileIssuer::start();
    publish(&second, &json!({}));
    let name: Issuer = second.issuer();
    let both = TrustedIssuer {
        url: name,
        introspection: Some(IntrospectionClient {
            client_id: "mandate".to_owned(),
            client_secret_file: LOGIN_SECRET_FILE.to_owned(),
            clients: vec!["desk-app".parse().unwrap()],
        }),
        ..story::trusted_issuer(second.issuer(), SubjectScope::Token)
    };
    // No operator may declare that.
    let plain = TrustedIssuer { introspection: None, ..both.clone() };
    abroad.world.apply(Entry::Issuer(plain)).await;
    let key = both.url.to_string();
    abroad.world.change_without_cuts(EntryKind::Issuer, &key, |entry| *entry = Entry::Issuer(both));
    assert_eq!(abroad.desk_asks(TOKEN, ACCESS_TOKEN).await, REFUSED);
    assert_eq!((abroad.questions(), second.posted().len()), (0, 0));
}

#[tokio::test]
async fn a_code_of_ours_is_shown_to_nobody() {
    let abroad = asking().await;
    let query = abroad.world.authorization("support-app", None, None);
    let code = abroad.world.code(&query, "riley").await;
    assert_eq!(abroad.desk_asks(&code, ACCESS_TOKEN).await, REFUSED);
    assert_eq!(abroad.questions(), 0);
}

#[tokio::test]
async fn a_question_for_which_there_is_no_place_reads_nothing() {
    let abroad = asking().await;
    assert_eq!(abroad.desk_asks(TOKEN, ACCESS_TOKEN).await, "ok");
    let query = abroad.world.authorization("support-app", None, None);
    let code = abroad.world.code(&query, "riley").await;
    abroad.idp.fail_at(ASKED, Trouble::Silence);
    let mut slow: Vec<_> = (0..16).map(|_| Box::pin(abroad.desk_asks(TOKEN, ACCESS_TOKEN))).collect();
    let ask_all = poll_fn(|context| {
        for question in &mut slow {
            assert!(question.as_mut().poll(context).is_pending());
        }
        Poll::<()>::Pending
    });
    let ask_once_more = async {
        while abroad.questions() < 17 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The database would say that it is a code of ours.
        assert_eq!(abroad.desk_asks(&code, ACCESS_TOKEN).await, UNAVAILABLE);
    };
    tokio::select! {
        () = ask_all => {}
        () = ask_once_more => {}
    }
    drop(slow);
    assert_eq!(abroad.desk_asks(&code, ACCESS_TOKEN).await, REFUSED);
}

#[tokio::test]
async fn the_groups_that_the_issuer_says_add_rights_and_the_mandate_names_them() {
    let abroad = asking().await;
    let named = |issuer: &mut TrustedIssuer| issuer.groups_claim = Some("groups".parse().unwrap());
    abroad.asks_and(&["desk-app"], named).await;
    abroad.world.change(EntryKind::Person, "dana", only_reads).await;
    abroad.world.apply(writers(&abroad, "write:case_comments")).await;
    abroad.world.clock.advance(std::time::Duration::from_mins(2));
    let comments = async |groups: Value| {
        abroad.says(&json!({ "groups": groups, "scope": "read:cases write:case_comments" }));
        let form = with(abroad.opaque(TOKEN, ACCESS_TOKEN), "scope", "write:case_comments");
        abroad.world.token(&form, Some(&abroad.world.desk_app())).await
    };
    let claims = payload(&exposed(&comments(json!(["all staff", ITS_ID])).await.unwrap()));
    assert_eq!((&claims["scope"], &claims["groups"]), (&json!("write:case_comments"), &json!(["writers"])));
    for none in [json!(null), json!([]), json!(["all staff", "writers"])] {
        assert_eq!(refused(comments(none.clone()).await), BEYOND, "{none}");
    }
    for bad in [json!(ITS_ID), json!([7]), json!([""])] {
        assert_eq!(refused(comments(bad.clone()).await), REFUSED, "{bad}");
    }
    abroad.asks(&["desk-app"]).await;
    assert_eq!(refused(comments(json!([ITS_ID])).await), BEYOND, "where the entry reads no groups");
}

#[tokio::test]
async fn the_tenant_that_the_issuer_says_must_be_that_of_the_persons_entry() {
    let abroad = asking().await;
    let named = |issuer: &mut TrustedIssuer| issuer.tenant_claim = Some("tid".parse().unwrap());
    abroad.asks_and(&["desk-app"], named).await;
    let saying = async |tid: Value| {
        abroad.says(&json!({ "tid": tid }));
        abroad.desk_asks(TOKEN, ACCESS_TOKEN).await
    };
    assert_eq!(saying(json!("acme")).await, APART, "the person has none");
    tenants::of(&abroad, "acme").await;
    assert_eq!(saying(json!("acme")).await, "ok");
    for (tid, answer) in
        [(json!("umbrella"), APART), (json!(null), APART), (json!(["acme"]), REFUSED), (json!(""), REFUSED)]
    {
        assert_eq!(saying(tid.clone()).await, answer, "{tid}");
    }
}

#[tokio::test]
async fn the_tenant_of_the_issuer_is_that_of_its_opaque_tokens() {
    let abroad = asking().await;
    abroad.asks_and(&["desk-app"], |issuer| issuer.tenant = Some("acme".parse().unwrap())).await;
    let given = abroad.world.token(&abroad.opaque(TOKEN, ACCESS_TOKEN), Some(&abroad.world.desk_app())).await;
    assert_eq!(payload(&exposed(&given.unwrap()))["tenant"], "acme");
    abroad.world.change(EntryKind::Resource, "crm", tenants::of_umbrella).await;
    assert_eq!(abroad.desk_asks(TOKEN, ACCESS_TOKEN).await, APART);
}
