//! ID tokens of another issuer as subject tokens: from one client of ours, for one client there.

use mandate_core::registry::{Entry, EntryKind, IdTokenUse, SubjectScope, TrustedIssuer};
use mandate_core::{Clock as _, CutTarget};
use mandate_testkit::story::{self, CRM, ISSUER};
use mandate_testkit::world::{ACCESS_TOKEN, JWT, Pairs, exposed, payload, with};
use mandate_token::Signer as _;
use serde_json::{Value, json};

use super::Abroad;
use super::groups::{BEYOND, ITS_ID, only_reads, writers};
use super::tenants::{self, APART};
use crate::refused;

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const REFUSED: &str = "400 invalid_request subject_token_refused";
const NOT_TAKEN: &str = "400 invalid_request id_token_not_taken";
const NOT_FOR_IT: &str = "400 invalid_request subject_not_for_presenter";

/// A world whose identity provider's ID tokens for `portal` are subject tokens of `desk-app` and of
/// `support-agent`, and whose access tokens are none.
async fn taken() -> Abroad {
    let abroad = Abroad::new(SubjectScope::Token).await;
    abroad.entry(|issuer| issuer.audience.clear()).await;
    abroad
}

impl Abroad {
    async fn entry(&self, change: impl FnOnce(&mut TrustedIssuer)) {
        let agent = "spiffe://acme.example/agent/support-agent";
        let id_tokens = ["desk-app", agent]
            .map(|client| IdTokenUse { audience: "portal".to_owned(), client: client.parse().unwrap() });
        let mut issuer = TrustedIssuer {
            id_tokens: id_tokens.to_vec(),
            ..story::trusted_issuer(self.idp.issuer(), SubjectScope::Token)
        };
        change(&mut issuer);
        self.world.apply(Entry::Issuer(issuer)).await;
    }

    /// An ID token of the person for `portal`, with this change of its claims; null removes one.
    fn id_token(&self, change: &Value) -> String {
        let now = self.world.clock.now().secs();
        let mut claims = json!({
            "iss": self.idp.issuer(), "sub": "user-7", "aud": "portal", "iat": now, "exp": now + 300, "nonce": "n",
            "auth_time": now - 10, "acr": "urn:mfa", "amr": ["pwd", "otp"],
        });
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => claims.as_object_mut().unwrap().remove(name),
                value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        let key = self.idp.key();
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": key.key_id()});
        key.sign_raw(&header.to_string(), &claims.to_string())
    }

    fn by_desk(&self, token: &str, kind: &str) -> Pairs {
        with(self.world.app_exchange(&self.svid, token, CRM, "read:cases"), "subject_token_type", kind)
    }

    async fn desk(&self, token: &str, kind: &str) -> String {
        match self.world.token(&self.by_desk(token, kind), Some(&self.world.desk_app())).await {
            Ok(_) => "ok".to_owned(),
            refusal => refused(refusal),
        }
    }

    async fn agent(&self, token: &str, kind: &str) -> String {
        let form = with(self.form(token), "subject_token_type", kind);
        match self.world.token(&form, None).await {
            Ok(_) => "ok".to_owned(),
            refusal => refused(refusal),
        }
    }
}

#[tokio::test]
async fn an_id_token_says_who_and_how_and_nothing_more() {
    let abroad = taken().await;
    let now = abroad.world.clock.now().secs();
    let token = abroad.id_token(&json!({"exp": now + 100}));
    let form = with(abroad.by_desk(&token, ID_TOKEN), "scope", "read:cases write:case_comments");
    let given = abroad.world.token(&form, Some(&abroad.world.desk_app())).await.unwrap();
    let claims = payload(&exposed(&given));
    assert_eq!(claims["sub"], format!("{}#user-7", abroad.idp.issuer()));
    assert_eq!(claims["scope"], "read:cases write:case_comments", "the person's rights and the grant");
    assert_eq!((&claims["acr"], &claims["amr"]), (&json!("urn:mfa"), &json!(["pwd", "otp"])));
    assert_eq!(claims["auth_time"], now - 10);
    assert_eq!(claims["exp"], now + 100, "no longer than the ID token");
    assert_eq!(claims["client_id"], "desk-app");
    assert_eq!(claims["lineage"]["parents"].as_array().unwrap().len(), 1);
    assert_eq!(abroad.agent(&token, ID_TOKEN).await, "ok", "an agent that is its own client");
    // What the person may not do, they do not get: `dana` has no such right, whatever the ID token says.
    let bold = abroad.id_token(&json!({"groups": ["admin"], "roles": ["admin"], "permissions": null}));
    let form = with(abroad.by_desk(&bold, ID_TOKEN), "scope", "send:mail");
    let answer = abroad.world.token(&form, Some(&abroad.world.desk_app())).await;
    assert_eq!(refused(answer), "400 invalid_scope scope_beyond_person");
}

#[tokio::test]
async fn no_token_is_taken_by_another_type_than_its_own() {
    let abroad = taken().await;
    let id_token = abroad.id_token(&json!({}));
    assert_eq!(abroad.desk(&id_token, ID_TOKEN).await, "ok");
    assert_eq!(abroad.desk(&id_token, JWT).await, "400 invalid_request subject_token_refused");
    assert_eq!(abroad.desk(&id_token, ACCESS_TOKEN).await, REFUSED);
    // Also where both kinds of this issuer are taken.
    abroad.entry(|_| ()).await;
    let access_token = abroad.idp.sign(&abroad.terms());
    assert_eq!(abroad.desk(&access_token, JWT).await, "ok");
    assert_eq!(abroad.desk(&access_token, ID_TOKEN).await, REFUSED);
    assert_eq!(abroad.desk(&id_token, JWT).await, REFUSED);
    // One that has marks of both is refused as either.
    let both =
        abroad.id_token(&json!({"aud": ISSUER, "client_id": "portal", "jti": "j", "scope": "read:cases"}));
    assert_eq!(abroad.desk(&both, JWT).await, REFUSED);
    assert_eq!(abroad.desk(&both, ID_TOKEN).await, REFUSED);
}

#[tokio::test]
async fn a_token_of_ours_is_never_an_id_token() {
    let abroad = taken().await;
    let own = abroad.world.person_token("riley", None, None).await;
    assert_eq!(abroad.desk(&own, ID_TOKEN).await, NOT_TAKEN);
    let lying = abroad.id_token(&json!({"iss": ISSUER}));
    assert_eq!(abroad.desk(&lying, ID_TOKEN).await, NOT_TAKEN);
    assert_eq!(abroad.idp.jwks_served(), 0, "nothing is fetched for it");
}

#[tokio::test]
async fn only_the_client_that_the_entry_names_presents_them_and_nothing_is_fetched_for_others() {
    let abroad = Abroad::new(SubjectScope::Token).await;
    let token = abroad.id_token(&json!({}));
    assert_eq!(abroad.desk(&token, ID_TOKEN).await, NOT_TAKEN, "the entry names no ID tokens");
    abroad.entry(|issuer| issuer.id_tokens.truncate(1)).await;
    assert_eq!(abroad.agent(&token, ID_TOKEN).await, NOT_TAKEN, "the entry names desk-app alone");
    let stranger = abroad.id_token(&json!({"iss": "https://stranger.example"}));
    assert_eq!(abroad.desk(&stranger, ID_TOKEN).await, NOT_TAKEN);
    assert_eq!(abroad.idp.jwks_served(), 0);
    assert_eq!(abroad.desk(&token, ID_TOKEN).await, "ok");
}

#[tokio::test]
async fn an_id_token_that_breaks_one_rule_is_refused() {
    let abroad = taken().await;
    let now = abroad.world.clock.now().secs();
    for (change, expected) in [
        (json!({"aud": "mobile"}), NOT_FOR_IT),
        (json!({"aud": ["portal", "mobile"], "azp": "portal"}), NOT_FOR_IT),
        (json!({"aud": ["portal", "mobile"]}), REFUSED),
        (json!({"azp": "mobile"}), REFUSED),
        (json!({"aud": ["portal", "mobile"], "azp": "mobile"}), NOT_FOR_IT),
        (json!({"aud": null}), REFUSED),
        (json!({"aud": ISSUER}), NOT_FOR_IT),
        (json!({"exp": null}), REFUSED),
        (json!({"iat": null}), REFUSED),
        (json!({"sub": null}), REFUSED),
        (json!({"sub": "x".repeat(256)}), REFUSED),
        (json!({"exp": now - 90, "iat": now - 300}), REFUSED),
        (json!({"exp": now - 1, "iat": now - 300}), "400 invalid_request subject_expired"),
        (json!({"iat": now - 3_600, "exp": now + 3_600}), "400 invalid_request subject_expired"),
        (json!({"iat": now + 600, "exp": now + 900}), REFUSED),
        (json!({"auth_time": now + 600}), REFUSED),
        (json!({"events": {}}), REFUSED),
        (json!({"act": {"sub": "x"}}), REFUSED),
        (json!({"may_act": {"sub": "x"}}), REFUSED),
        (json!({"scope": "read:cases"}), REFUSED),
        (json!({"client_id": "portal"}), REFUSED),
        (json!({"sub_profile": "ai_agent"}), REFUSED),
        (json!({"sub": "user-9"}), "400 invalid_request person_unknown"),
        (json!({"cnf": {"jkt": "x"}}), "400 invalid_request subject_key_not_proven"),
    ] {
        assert_eq!(abroad.desk(&abroad.id_token(&change), ID_TOKEN).await, expected, "{change}");
    }
    for opaque in ["", "x", "ya29.a0AfH6SMB", "a.b", "a.b.c", "a.b.c.d"] {
        let answer = abroad.desk(opaque, ID_TOKEN).await;
        let expected = if opaque.is_empty() { "400 invalid_request parameter_missing" } else { REFUSED };
        assert_eq!(answer, expected, "{opaque}");
    }
    let good = abroad.id_token(&json!({}));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = abroad.id_token(&json!({"email": "x"}));
    let forged = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
    assert_eq!(abroad.desk(&forged, ID_TOKEN).await, REFUSED);
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", signed.split_once('.').unwrap().1);
    assert_eq!(abroad.desk(&unsigned, ID_TOKEN).await, REFUSED);
    assert_eq!(abroad.desk(&good, ID_TOKEN).await, "ok");
}

#[tokio::test]
async fn what_is_taken_back_ends_it() {
    let abroad = taken().await;
    let token = abroad.id_token(&json!({}));
    assert_eq!(abroad.desk(&token, ID_TOKEN).await, "ok");
    abroad
        .world
        .change(EntryKind::Person, "dana", |entry| {
            let Entry::Person(dana) = entry else { panic!() };
            dana.disabled = true;
        })
        .await;
    assert_ne!(abroad.desk(&token, ID_TOKEN).await, "ok");
    abroad
        .world
        .change(EntryKind::Person, "dana", |entry| {
            let Entry::Person(dana) = entry else { panic!() };
            dana.disabled = false;
        })
        .await;
    assert_ne!(abroad.desk(&token, ID_TOKEN).await, "ok", "a cut stays");
    let abroad = taken().await;
    let token = abroad.id_token(&json!({}));
    abroad.entry(|issuer| issuer.id_tokens.clear()).await;
    assert_eq!(abroad.desk(&token, ID_TOKEN).await, NOT_TAKEN);
    let abroad = taken().await;
    let token = abroad.id_token(&json!({}));
    let given = abroad.world.token(&abroad.by_desk(&token, ID_TOKEN), Some(&abroad.world.desk_app())).await;
    let parent = payload(&exposed(&given.unwrap()))["lineage"]["parents"][0].as_str().unwrap().to_owned();
    abroad.world.cut(CutTarget::Token(parent.parse().unwrap()));
    assert_eq!(abroad.desk(&token, ID_TOKEN).await, "400 invalid_request subject_revoked");
}

#[tokio::test]
async fn an_actor_token_is_no_id_token() {
    let abroad = taken().await;
    let token = abroad.id_token(&json!({}));
    let form = with(abroad.by_desk(&token, ID_TOKEN), "actor_token_type", ID_TOKEN);
    let answer = abroad.world.token(&form, Some(&abroad.world.desk_app())).await;
    assert_eq!(refused(answer), "400 invalid_request parameter_unacceptable");
}

#[tokio::test]
async fn the_groups_that_an_id_token_names_add_rights_and_the_mandate_names_them() {
    let abroad = taken().await;
    abroad.entry(|issuer| issuer.groups_claim = Some("groups".parse().unwrap())).await;
    abroad.world.change(EntryKind::Person, "dana", only_reads).await;
    abroad.world.apply(writers(&abroad, "write:case_comments")).await;
    abroad.world.clock.advance(std::time::Duration::from_mins(2));
    let comments = async |groups: Value| {
        let token = abroad.id_token(&json!({ "groups": groups }));
        let form = with(abroad.by_desk(&token, ID_TOKEN), "scope", "write:case_comments");
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
    abroad.entry(|_| ()).await;
    assert_eq!(refused(comments(json!([ITS_ID])).await), BEYOND, "where the entry reads no groups");
}

#[tokio::test]
async fn the_tenant_in_an_id_token_must_be_that_of_the_persons_entry() {
    let abroad = taken().await;
    abroad.entry(|issuer| issuer.tenant_claim = Some("tid".parse().unwrap())).await;
    let saying = async |tid: Value| abroad.desk(&abroad.id_token(&json!({ "tid": tid })), ID_TOKEN).await;
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
async fn the_tenant_of_the_issuer_is_that_of_its_id_tokens() {
    let abroad = taken().await;
    abroad.entry(|issuer| issuer.tenant = Some("acme".parse().unwrap())).await;
    let token = abroad.id_token(&json!({}));
    let given = abroad.world.token(&abroad.by_desk(&token, ID_TOKEN), Some(&abroad.world.desk_app())).await;
    assert_eq!(payload(&exposed(&given.unwrap()))["tenant"], "acme");
    abroad.world.change(EntryKind::Resource, "crm", tenants::of_umbrella).await;
    assert_eq!(abroad.desk(&token, ID_TOKEN).await, APART);
}
