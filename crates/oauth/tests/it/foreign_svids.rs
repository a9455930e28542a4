//! Agents that prove themselves with a JWT-SVID of another trust domain, over real HTTP to its bundle endpoint.

use std::time::Duration;

use mandate_audit::{Outcome, Query, Record};
use mandate_core::Clock as _;
use mandate_core::registry::{
    Agent, AgentProof, AgentState, BundleSource, Entry, EntryKind, ForeignDomain, ProofKind,
};
use mandate_testkit::foreign_domain::TestDomain;
use mandate_testkit::hostile_issuer::Trouble;
use mandate_testkit::story::{self, CRM, ISSUER};
use mandate_testkit::world::{World, exposed, payload};
use serde_json::{Value, json};

use crate::refused;

const BUILDER: &str = "/ci/builder";
const ASSERTION: &str = "401 invalid_client client_assertion_refused";
const UNPROVEN: &str = "401 invalid_client client_authentication_failed";
const UNAVAILABLE: &str = "503 temporarily_unavailable issuer_unavailable";
const KEY_UNKNOWN: &str = "503 temporarily_unavailable issuer_key_unknown";

/// A world that trusts `example.org`, whose `/ci/builder` is the agent `builder`.
struct Federation {
    world: World,
    domain: TestDomain,
    /// Riley's own token.
    subject: String,
}

fn agent(name: &str, svid: &str) -> Agent {
    let ceiling = vec![story::permission("crm", "read:cases write:case_comments")];
    let proofs = vec![AgentProof::Svid { svid: svid.parse().unwrap() }];
    Agent { selectors: Vec::new(), proofs, ..story::agent(name, ceiling) }
}

impl Federation {
    async fn start() -> Self {
        let domain = TestDomain::start("example.org");
        let entry = domain.entry();
        Self::with(domain, entry).await
    }

    async fn with(domain: TestDomain, entry: ForeignDomain) -> Self {
        let mut desk = story::client(
            "desk-app",
            mandate_core::registry::ClientAuthentication::ClientSecretBasic,
            &["builder"],
        );
        desk.redirect_uris.clear();
        let world = World::with_entries(vec![
            Entry::TrustDomain(entry),
            Entry::Agent(agent("builder", "spiffe://example.org/ci/builder")),
            Entry::Grant(story::grant("riley", "builder", "crm", "read:cases")),
            Entry::Client(desk),
        ]);
        let subject = world.person_token("riley", None, None).await;
        Self { world, domain, subject }
    }

    fn svid(&self, change: &Value) -> String {
        self.domain.svid(BUILDER, ISSUER, self.world.clock.now(), change)
    }

    async fn as_client(&self, svid: &str) -> String {
        let form = self.world.agent_exchange(svid, &self.subject, CRM, "read:cases");
        match self.world.token(&form, None).await {
            Ok(_) => "ok".to_owned(),
            refusal => refused(refusal),
        }
    }

    async fn as_actor(&self, svid: &str) -> String {
        let form = self.world.app_exchange(svid, &self.subject, CRM, "read:cases");
        match self.world.token(&form, Some(&self.world.desk_app())).await {
            Ok(_) => "ok".to_owned(),
            refusal => refused(refusal),
        }
    }

    fn newest(&self, outcome: Outcome) -> Record {
        let query = Query { outcome: Some(outcome), limit: Some(1), ..Query::default() };
        self.world.records(&query).remove(0)
    }

    fn wait(&self, span: Duration) {
        self.world.clock.advance(span);
    }
}

#[tokio::test]
async fn an_identity_of_another_trust_domain_is_an_agent_of_ours() {
    let all = Federation::start().await;
    let svid = all.svid(&json!({"jti": "svid-1"}));
    let form = all.world.agent_exchange(&svid, &all.subject, CRM, "read:cases");
    let mandate = payload(&exposed(&all.world.token(&form, None).await.unwrap()));
    assert_eq!(mandate["act"]["sub"], story::spiffe_id("builder"), "its name here, not the one over there");
    assert_eq!(mandate["client_id"], story::spiffe_id("builder"));
    let record = all.newest(Outcome::Permitted);
    let proof = record.proof.as_deref().expect("the proof");
    assert_eq!((proof.kind, proof.issuer.clone()), (ProofKind::Spiffe, None));
    assert_eq!(proof.claims["sub"], "spiffe://example.org/ci/builder");
    assert_eq!(proof.token.as_deref(), Some("svid-1"));
    assert_eq!(all.as_actor(&svid).await, "ok", "and again, as SPIFFE intends");
}

#[tokio::test]
async fn a_jwt_svid_of_another_trust_domain_is_what_spiffe_says_and_addressed_to_us_alone() {
    let all = Federation::start().await;
    let now = all.world.clock.now().secs();
    for (change, why) in [
        (json!({"aud": ["https://other.example"]}), "audience"),
        (json!({"aud": [ISSUER, "https://other.example"]}), "audience"),
        (json!({"aud": null}), "claim_missing"),
        (json!({"exp": null}), "claim_missing"),
        // Without a workload in `sub` nothing says whose keys verify it.
        (json!({"sub": "spiffe://example.org"}), "unknown_key"),
        (json!({"exp": now, "iat": now - 300}), "expired"),
        (json!({"exp": now + 3601, "iat": null}), "lifetime"),
        (json!({"exp": now + 86_400, "iat": now - 3600}), "age"),
        (json!({"iat": now + 61}), "not_yet_valid"),
        (json!({"act": {"sub": "x"}}), "claim_invalid"),
        (json!({"cnf": {"jkt": "x"}}), "claim_invalid"),
    ] {
        let svid = all.svid(&change);
        assert_eq!(all.as_client(&svid).await, ASSERTION, "{change}");
        let form = all.world.agent_exchange(&svid, &all.subject, CRM, "read:cases");
        let sentence = all.world.token(&form, None).await.unwrap_err().description;
        assert!(sentence.contains(&format!("is refused: {why}")), "{change}: {sentence}");
        assert_eq!(all.as_actor(&svid).await.split(' ').next(), Some("400"), "{change}");
    }
    let claims = json!({"sub": "spiffe://example.org/ci/builder", "aud": [ISSUER], "exp": now + 300});
    let signed = |header: &dyn Fn(&str) -> Value| all.domain.signed(|kid| header(kid), &claims);
    assert_eq!(all.as_client(&signed(&|kid| json!({"alg": "ES256", "kid": kid}))).await, "ok", "no typ");
    assert_eq!(all.as_client(&signed(&|kid| json!({"alg": "ES256", "kid": kid, "typ": "JOSE"}))).await, "ok");
    for header in [
        &(|_: &str| json!({"alg": "ES256"})) as &dyn Fn(&str) -> Value,
        &|kid| json!({"alg": "ES256", "kid": kid, "typ": "at+jwt"}),
        &|kid| json!({"alg": "ES256", "kid": kid, "x": "y"}),
        &|kid| json!({"alg": "none", "kid": kid}),
        &|kid| json!({"alg": "HS256", "kid": kid}),
        &|kid| json!({"alg": "RS256", "kid": kid}),
    ] {
        assert_eq!(all.as_client(&signed(header)).await, ASSERTION, "{}", header("kid"));
    }
}

#[tokio::test]
async fn only_the_spiffe_id_that_an_entry_names_is_the_agent() {
    let all = Federation::start().await;
    let of = |path: &str| all.domain.svid(path, ISSUER, all.world.clock.now(), &json!({}));
    for path in ["/ci/other", "/ci/builder/x", "/ci/Builder", "/ci"] {
        assert_eq!(all.as_client(&of(path)).await, UNPROVEN, "{path}");
    }
    let detail = all.newest(Outcome::Refused).detail.unwrap();
    assert!(detail.contains("no entry names the SPIFFE ID spiffe://example.org/ci"), "{detail}");
    all.world
        .change(EntryKind::Agent, "builder", |entry| {
            let Entry::Agent(agent) = entry else { panic!("an agent") };
            agent.state = AgentState::Suspended;
        })
        .await;
    assert_ne!(all.as_client(&of(BUILDER)).await, "ok");
}

#[tokio::test]
async fn keys_of_one_trust_domain_prove_nobody_of_another() {
    let all = Federation::start().await;
    let other = TestDomain::start("partner.example");
    all.world.apply(Entry::TrustDomain(other.entry())).await;
    let now = all.world.clock.now();
    let stranger = other.svid(BUILDER, ISSUER, now, &json!({}));
    assert_eq!(all.as_client(&stranger).await, UNPROVEN, "of partner.example no entry names it");
    let forged = other.svid(BUILDER, ISSUER, now, &json!({"sub": "spiffe://example.org/ci/builder"}));
    assert_ne!(all.as_client(&forged).await, "ok");
    let ours = other.svid(BUILDER, ISSUER, now, &json!({"sub": story::spiffe_id("builder")}));
    assert_eq!(all.as_client(&ours).await, ASSERTION, "nor of ours");
    let unknown = TestDomain::start("unknown.example").svid(BUILDER, ISSUER, now, &json!({}));
    assert_eq!(all.as_client(&unknown).await, ASSERTION, "a trust domain that no entry names");
}

#[tokio::test]
async fn a_key_for_something_else_in_the_bundle_verifies_no_jwt_svid() {
    let all = Federation::start().await;
    let key_for = |key_use: Option<&str>| {
        let mut bundle: Value = serde_json::from_str(&all.domain.bundle(&json!({}))).unwrap();
        let jwk = bundle["keys"][0].as_object_mut().unwrap();
        jwk.remove("use");
        jwk.extend(key_use.map(|text| ("use".to_owned(), json!(text))));
        bundle.to_string()
    };
    for key_use in [Some("sig"), Some("x509-svid"), Some("wit-svid"), None] {
        all.domain.serve(&key_for(key_use));
        all.wait(Duration::from_mins(10));
        assert_eq!(all.as_client(&all.svid(&json!({}))).await, ASSERTION, "{key_use:?}");
    }
    all.domain.serve(&key_for(Some("jwt-svid")));
    all.wait(Duration::from_mins(10));
    assert_eq!(all.as_client(&all.svid(&json!({}))).await, "ok");
}

#[tokio::test]
async fn a_new_key_counts_when_it_is_published_and_an_old_one_no_longer() {
    let all = Federation::start().await;
    let old = all.svid(&json!({"exp": all.world.clock.now().secs() + 3000}));
    assert_eq!(all.as_client(&old).await, "ok");
    all.domain.rotate();
    assert_eq!(all.as_client(&all.svid(&json!({}))).await, KEY_UNKNOWN);
    all.domain.publish(&json!({}));
    all.wait(Duration::from_secs(31));
    assert_eq!(all.as_client(&all.svid(&json!({}))).await, "ok");
    assert_ne!(all.as_client(&old).await, "ok");
    all.domain.serve(r#"{"keys":[],"spiffe_sequence":9}"#);
    all.wait(Duration::from_mins(6));
    assert_eq!(all.as_client(&all.svid(&json!({}))).await, ASSERTION, "an empty bundle trusts nobody");
}

#[tokio::test]
async fn the_refresh_hint_counts_within_bounds() {
    for (hint, used_for) in [(Some(1), 30), (Some(100), 100), (Some(1_000_000), 3600), (None, 300)] {
        let all = Federation::start().await;
        all.domain.publish(&hint.map_or_else(|| json!({}), |hint| json!({"spiffe_refresh_hint": hint})));
        assert_eq!(all.as_client(&all.svid(&json!({}))).await, "ok");
        all.domain.fail(Trouble::Status(500));
        all.wait(Duration::from_secs(used_for - 1));
        assert_eq!(all.as_client(&all.svid(&json!({}))).await, "ok", "{hint:?}");
        all.wait(Duration::from_secs(1));
        assert_eq!(all.as_client(&all.svid(&json!({}))).await, UNAVAILABLE, "{hint:?}");
    }
}

#[tokio::test]
async fn a_bundle_that_is_none_moved_or_went_back_is_refused() {
    let large = format!(r#"{{"keys":[],"x":"{}"}}"#, "a".repeat(128 * 1024));
    let documents =
        ["", "[]", "<html>", r#"{"trust_domains":{"example.org":{"keys":[]}}}"#, r#"{"keys":{}}"#, &large];
    for document in documents {
        let all = Federation::start().await;
        all.domain.serve(document);
        assert_eq!(all.as_client(&all.svid(&json!({}))).await, UNAVAILABLE, "{document:.20}");
    }
    let all = Federation::start().await;
    all.domain.redirect();
    assert_eq!(all.as_client(&all.svid(&json!({}))).await, UNAVAILABLE, "redirects are not followed");

    let all = Federation::start().await;
    for (sequence, expected) in [
        (json!(7), "ok"),
        (json!(6), UNAVAILABLE),
        (Value::Null, UNAVAILABLE),
        (json!(7), "ok"),
        (json!(8), "ok"),
    ] {
        all.domain.publish(&json!({"spiffe_sequence": sequence, "spiffe_refresh_hint": 30}));
        all.wait(Duration::from_mins(2));
        assert_eq!(all.as_client(&all.svid(&json!({}))).await, expected, "{sequence}");
    }
    let detail = all.world.records(&Query { outcome: Some(Outcome::Refused), ..Query::default() });
    assert!(
        detail.iter().any(|record| record.detail.as_deref().is_some_and(|text| text.contains("went back")))
    );
}

#[tokio::test]
async fn a_bundle_in_a_file_is_read_anew_and_a_bad_one_keeps_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("example.org.json");
    let domain = TestDomain::start("example.org");
    let bundle = BundleSource::File { path: path.to_str().unwrap().to_owned() };
    let entry = ForeignDomain { bundle, ..domain.entry() };
    let all = Federation::with(domain, entry).await;
    let tick = || all.wait(Duration::from_secs(11));
    assert_eq!(all.as_client(&all.svid(&json!({}))).await, UNAVAILABLE, "there is no file");
    std::fs::write(&path, all.domain.bundle(&json!({"spiffe_sequence": 4}))).unwrap();
    tick();
    assert_eq!(all.as_client(&all.svid(&json!({}))).await, "ok");
    for bad in ["{", "", &all.domain.bundle(&json!({"keys": [], "spiffe_sequence": 3}))] {
        std::fs::write(&path, bad).unwrap();
        tick();
        assert_eq!(all.as_client(&all.svid(&json!({}))).await, "ok", "{bad:.20}");
    }
    std::fs::remove_file(&path).unwrap();
    tick();
    assert_eq!(all.as_client(&all.svid(&json!({}))).await, "ok");
    all.domain.rotate();
    assert_ne!(all.as_client(&all.svid(&json!({}))).await, "ok");
    std::fs::write(&path, all.domain.bundle(&json!({"spiffe_sequence": 5}))).unwrap();
    tick();
    assert_eq!(all.as_client(&all.svid(&json!({}))).await, "ok", "the new key");
    std::fs::write(&path, r#"{"keys":[],"spiffe_sequence":6}"#).unwrap();
    tick();
    assert_eq!(all.as_client(&all.svid(&json!({}))).await, ASSERTION, "a proper file that trusts nobody");
}

#[tokio::test]
async fn an_entry_that_changes_meanwhile_ends_what_was_proven_by_it() {
    let all = Federation::start().await;
    let form = all.world.agent_exchange(&all.svid(&json!({})), &all.subject, CRM, "read:cases");
    let mandate = exposed(&all.world.token(&form, None).await.unwrap());
    all.world
        .change(EntryKind::Agent, "builder", |entry| {
            let Entry::Agent(agent) = entry else { panic!("an agent") };
            agent.proofs =
                vec![AgentProof::Svid { svid: "spiffe://example.org/ci/another".parse().unwrap() }];
        })
        .await;
    assert!(!crate::lives(&all.world, &mandate).await);
    assert_eq!(all.as_client(&all.svid(&json!({}))).await, UNPROVEN);
}
