//! Agents that prove themselves with the token of the platform that runs them, over real HTTP to its issuer.

mod ceilings;
mod keys;
mod once;
mod parties;

use mandate_audit::{Outcome, Query, Record};
use mandate_core::Clock as _;
use mandate_core::registry::{Agent, AgentProof, Entry, Need, Platform, PlatformProof, ProofKind};
use mandate_testkit::hostile_issuer::HostileIssuer;
use mandate_testkit::story::{self, CRM, ISSUER};
use mandate_testkit::world::{Pairs, World, exposed, payload};
use mandate_token::Signer as _;
use serde_json::{Value, json};

use crate::refused;

/// A world with `ci-agent`, which a platform proves and `desk-app` may present.
pub(crate) struct Ci {
    pub(crate) world: World,
    pub(crate) idp: HostileIssuer,
    /// Riley's own token.
    pub(crate) subject: String,
}

/// A proof of this platform, with the issuer under the test's control.
pub(crate) fn proof(platform: Platform, idp: &HostileIssuer, says: &[(&str, &[&str])]) -> PlatformProof {
    let values = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    let says = says.iter().map(|(name, list)| ((*name).to_owned(), values(list))).collect();
    let mut proof = PlatformProof::new(platform, idp.issuer(), says);
    for member in platform.members() {
        if let Need::Otherwise(usual) = member.need {
            proof.says.entry(member.name.to_owned()).or_insert_with(|| values(usual));
        }
    }
    proof
}

pub(crate) const REPOSITORY: &[(&str, &[&str])] =
    &[("repository_id", &["702233481"]), ("repository_owner_id", &["90214467"])];
const ACCOUNT: &[(&str, &[&str])] = &[("namespace", &["support"]), ("service_account", &["triage"])];
const PROJECT: &[(&str, &[&str])] = &[("project_id", &["20411877"]), ("ref_protected", &["true"])];

const SERVICE_ACCOUNT: &[(&str, &[&str])] = &[("service_account_id", &["118259888888888888888"])];
const MANAGED_IDENTITY: &[(&str, &[&str])] = &[
    ("tenant_id", &["6babcaad-604b-40ac-a9d7-9fd97c0b779f"]),
    ("object_id", &["14ee3fa4-a7e2-420f-9f9a-dbc4507c3798"]),
];
const ROLE: &[(&str, &[&str])] =
    &[("account_id", &["123456789012"]), ("role_arn", &["arn:aws:iam::123456789012:role/triage"])];

/// The claim that says what the member of a proof requires.
fn claim_of(platform: Platform, member: &'static str) -> &'static str {
    match (platform, member) {
        (Platform::Kubernetes, _) => "kubernetes.io",
        (Platform::Google, _) | (Platform::Aws, "role_arn") => "sub",
        (Platform::Azure, "tenant_id") => "tid",
        (Platform::Azure, _) => "oid",
        (Platform::Aws, _) => "https://sts.amazonaws.com/",
        (Platform::GithubActions | Platform::Gitlab, name) => name,
    }
}

pub(crate) fn says(platform: Platform) -> &'static [(&'static str, &'static [&'static str])] {
    match platform {
        Platform::GithubActions => REPOSITORY,
        Platform::Kubernetes => ACCOUNT,
        Platform::Gitlab => PROJECT,
        Platform::Google => SERVICE_ACCOUNT,
        Platform::Azure => MANAGED_IDENTITY,
        Platform::Aws => ROLE,
    }
}

pub(crate) fn agent(name: &str, proofs: Vec<PlatformProof>) -> Agent {
    let proofs = proofs.into_iter().map(AgentProof::Platform).collect();
    let ceiling = vec![story::permission("crm", "read:cases write:case_comments")];
    Agent { selectors: Vec::new(), proofs, ..story::agent(name, ceiling) }
}

impl Ci {
    pub(crate) async fn of(platform: Platform) -> Self {
        Self::with(platform, |_| ()).await
    }

    pub(crate) async fn with(platform: Platform, change: impl FnOnce(&mut PlatformProof)) -> Self {
        let idp = HostileIssuer::start();
        let mut proof = proof(platform, &idp, says(platform));
        change(&mut proof);
        let mut desk = story::client(
            "desk-app",
            mandate_core::registry::ClientAuthentication::ClientSecretBasic,
            &["ci-agent"],
        );
        desk.redirect_uris.clear();
        let world = World::with_entries(vec![
            Entry::Agent(agent("ci-agent", vec![proof])),
            Entry::Grant(story::grant("riley", "ci-agent", "crm", "read:cases write:case_comments")),
            Entry::Client(desk),
        ]);
        let subject = world.person_token("riley", None, None).await;
        Self { world, idp, subject }
    }

    /// The default token of the platform for the workload, with this change of its claims; null removes one.
    pub(crate) fn token(&self, platform: Platform, change: &Value) -> String {
        let key = self.idp.key();
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": key.key_id()});
        key.sign_raw(&header.to_string(), &self.claims(platform, change).to_string())
    }

    pub(crate) fn claims(&self, platform: Platform, change: &Value) -> Value {
        let vectors: Value =
            serde_json::from_str(include_str!("../../../../vectors/platform-tokens.json")).unwrap();
        let all = vectors.get("platforms").and_then(Value::as_array).unwrap();
        let of = all.iter().find(|one| one["platform"] == platform.as_str()).unwrap();
        let mut claims = of["claims"].as_object().unwrap().clone();
        let now = self.world.clock.now().secs();
        let jti = format!("job-{}", claims_so_far());
        let times = json!({"iss": self.idp.issuer(), "aud": ISSUER, "iat": now, "nbf": now, "exp": now + 300, "jti": jti});
        for (name, value) in times.as_object().unwrap().iter().chain(change.as_object().unwrap()) {
            match value {
                Value::Null => claims.remove(name),
                value => claims.insert(name.clone(), value.clone()),
            };
        }
        claims.into()
    }

    /// An exchange in which the token is the assertion of the client.
    pub(crate) fn by_assertion(&self, token: &str) -> Pairs {
        let mut form = self.world.assertion_pairs(token);
        form.extend(mandate_testkit::world::without(
            mandate_testkit::world::without(
                self.world.app_exchange("", &self.subject, CRM, "read:cases"),
                "actor_token",
            ),
            "actor_token_type",
        ));
        form
    }

    /// An exchange by `desk-app` in which the token is the actor token.
    pub(crate) fn by_actor(&self, token: &str) -> Pairs {
        self.world.app_exchange(token, &self.subject, CRM, "read:cases")
    }

    pub(crate) async fn as_assertion(&self, token: &str) -> String {
        self.ask(&self.by_assertion(token), None).await
    }

    pub(crate) async fn as_actor(&self, token: &str) -> String {
        self.ask(&self.by_actor(token), Some(&self.world.desk_app())).await
    }

    pub(crate) async fn ask(&self, form: &Pairs, authorization: Option<&str>) -> String {
        match self.world.token(form, authorization).await {
            Ok(_) => "ok".to_owned(),
            refusal => refused(refusal),
        }
    }

    pub(crate) fn newest(&self, outcome: Outcome) -> Record {
        let query = Query { outcome: Some(outcome), limit: Some(1), ..Query::default() };
        self.world.records(&query).remove(0)
    }
}

/// A number that no test of this program gets twice.
fn claims_so_far() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    SERIAL.fetch_add(1, Ordering::SeqCst)
}

pub(crate) const ASSERTION: &str = "401 invalid_client client_assertion_refused";
pub(crate) const ACTOR: &str = "400 invalid_request actor_token_refused";
pub(crate) const UNPROVEN: &str = "401 invalid_client client_authentication_failed";
pub(crate) const GITHUB: Platform = Platform::GithubActions;

#[tokio::test]
async fn a_workload_acts_for_a_person_without_node_and_without_secret() {
    for platform in Platform::ALL {
        let ci = Ci::of(*platform).await;
        let form = ci.by_assertion(&ci.token(*platform, &json!({})));
        let mandate = payload(&exposed(&ci.world.token(&form, None).await.unwrap()));
        let id = story::spiffe_id("ci-agent");
        let act = json!({"sub": id, "iss": ISSUER, "sub_profile": "ai_agent"});
        assert_eq!((&mandate["sub"], &mandate["act"]), (&json!("riley"), &act), "as any other agent");
        assert_eq!(mandate["client_id"], id);
        assert!(mandate.get("proof").is_none(), "{mandate}");
        let form = ci.by_actor(&ci.token(*platform, &json!({})));
        let desk = ci.world.desk_app();
        let mandate = payload(&exposed(&ci.world.token(&form, Some(&desk)).await.unwrap()));
        assert_eq!((&mandate["act"], &mandate["client_id"]), (&act, &json!("desk-app")));
    }
}

#[tokio::test]
async fn the_record_says_which_platform_proved_the_agent_and_by_which_ids() {
    for platform in Platform::ALL {
        let ci = Ci::of(*platform).await;
        for form in
            [ci.by_assertion(&ci.token(*platform, &json!({}))), ci.by_actor(&ci.token(*platform, &json!({})))]
        {
            let desk = ci.world.desk_app();
            let header = form.iter().any(|(name, _)| name == "actor_token").then_some(desk.as_str());
            ci.world.token(&form, header).await.unwrap();
            let record = ci.newest(Outcome::Permitted);
            let proof = record.proof.as_deref().expect("the proof");
            assert_eq!((proof.kind, &proof.issuer), (ProofKind::Platform(*platform), &Some(ci.idp.issuer())));
            assert!(proof.token.as_ref().is_some_and(|jti| jti.starts_with("job-")));
            for (name, values) in says(*platform) {
                assert_eq!(proof.claims[*name], values[0], "{platform:?}");
            }
            let id = match platform {
                Platform::GithubActions => "run_id",
                Platform::Kubernetes => "pod_uid",
                Platform::Gitlab => "job_id",
                Platform::Google => "instance_id",
                Platform::Azure => "managed_identity",
                Platform::Aws => "lambda_function_arn",
            };
            assert!(proof.claims.contains_key(id));
            let leaf = String::from_utf8(record.to_leaf().unwrap()).unwrap();
            assert!(leaf.contains(&format!(r#""proof":{{"kind":"{}""#, platform.as_str())), "{leaf}");
            assert_eq!(Record::from_leaf(leaf.as_bytes()).unwrap(), record);
        }
    }
    let world = World::story();
    world.mandate().await;
    assert!(world.last_record().proof.is_none(), "a JWT-SVID of a node");
}

#[tokio::test]
async fn what_is_not_the_token_of_a_workload_for_us_alone_is_refused() {
    for platform in Platform::ALL {
        let ci = Ci::of(*platform).await;
        let now = ci.world.clock.now().secs();
        for change in [
            json!({"aud": "https://crm.acme.example"}),
            json!({"aud": [ISSUER, "https://crm.acme.example"]}),
            json!({"aud": format!("{ISSUER}/token")}),
            json!({"aud": null}),
            json!({"iat": now - 60, "nbf": now - 60, "exp": now}),
            json!({"iat": now + 61, "nbf": now + 61}),
            json!({"exp": null}),
            json!({"iat": null}),
            json!({"sub": null}),
            json!({"nonce": "n-0S6"}),
            json!({"auth_time": now}),
            json!({"scope": "read:cases"}),
            json!({"client_id": "desk-app"}),
            json!({"act": {"sub": story::spiffe_id("support-agent")}}),
            json!({"iat": now - 90_000, "nbf": now - 90_000, "exp": now + 4000}),
        ] {
            assert_eq!(ci.as_assertion(&ci.token(*platform, &change)).await, ASSERTION, "{change}");
            assert_eq!(ci.as_actor(&ci.token(*platform, &change)).await, ACTOR, "{change}");
        }
        for (name, _) in says(*platform) {
            let name = claim_of(*platform, name);
            let token = ci.token(*platform, &json!({ name: null }));
            assert!(ci.as_assertion(&token).await.starts_with("401"), "{platform:?} {name}");
            assert!(ci.as_actor(&token).await.starts_with(ACTOR), "{platform:?} {name}");
        }
        for typ in ["at+jwt", "logout+jwt", "wit+jwt"] {
            let key = ci.idp.key();
            let header = json!({"alg": "ES256", "typ": typ, "kid": key.key_id()}).to_string();
            let token = key.sign_raw(&header, &ci.claims(*platform, &json!({})).to_string());
            assert_eq!(ci.as_assertion(&token).await, UNPROVEN, "{typ}");
            assert_eq!(ci.as_actor(&token).await, ACTOR, "{typ}");
        }
        assert_eq!(ci.as_assertion(&ci.token(*platform, &json!({}))).await, "ok");
    }
}

#[tokio::test]
async fn who_sends_a_token_for_another_audience_is_told_which_one_is_expected() {
    let ci = Ci::of(GITHUB).await;
    let token = ci.token(GITHUB, &json!({"aud": "https://github.com/acme"}));
    let error = ci.world.token(&ci.by_assertion(&token), None).await.unwrap_err();
    assert!(error.description.ends_with(&format!("Its aud must be {ISSUER} and nothing else.")), "{error}");
}

/// The trap of names: a repository is renamed, and somebody else takes its old name.
#[tokio::test]
async fn a_name_that_somebody_else_has_taken_proves_nothing() {
    for (platform, id) in
        [(GITHUB, "repository_id"), (GITHUB, "repository_owner_id"), (Platform::Gitlab, "project_id")]
    {
        let ci = Ci::of(platform).await;
        let taken = || ci.token(platform, &json!({ id: "999" }));
        assert_eq!(ci.as_assertion(&taken()).await, UNPROVEN, "{id}");
        let detail = ci.newest(Outcome::Refused).detail.unwrap();
        assert!(detail.contains("no entry names the workload") && detail.contains("999"), "{detail}");
        assert_eq!(ci.as_actor(&taken()).await, ACTOR, "{id}");
    }
    let ci = Ci::with(Platform::Kubernetes, |proof| {
        proof.says.insert("uid".to_owned(), ["14ee3fa4-a7e2-420f-9f9a-dbc4507c3798".to_owned()].into());
    })
    .await;
    assert_eq!(ci.as_assertion(&ci.token(Platform::Kubernetes, &json!({}))).await, "ok");
    let again = json!({"kubernetes.io": {"namespace": "support", "serviceaccount": {"name": "triage", "uid": "another"}}});
    assert_eq!(ci.as_assertion(&ci.token(Platform::Kubernetes, &again)).await, UNPROVEN);
    let detail = ci.newest(Outcome::Refused).detail.unwrap();
    assert!(detail.contains("`uid` of the proof of agent `ci-agent` is not \"another\""), "{detail}");
}

#[tokio::test]
async fn a_run_that_a_stranger_can_start_proves_nothing() {
    for (platform, member, events) in [
        (GITHUB, "event_name", ["pull_request", "pull_request_target", "workflow_run", "issue_comment"]),
        (
            Platform::Gitlab,
            "pipeline_source",
            ["merge_request_event", "external_pull_request_event", "parent_pipeline", "pipeline"],
        ),
    ] {
        let ci = Ci::of(platform).await;
        for event in events {
            let token = || ci.token(platform, &json!({ member: event }));
            assert_eq!(ci.as_assertion(&token()).await, UNPROVEN, "{event}");
            let detail = ci.newest(Outcome::Refused).detail.unwrap();
            assert!(detail.contains(member) && detail.contains(event), "{detail}");
            assert_eq!(ci.as_actor(&token()).await, ACTOR, "{event}");
        }
    }
}

/// What a run is for caps what it may do: each kind of run is an agent with a ceiling of its own.
#[tokio::test]
async fn pull_requests_get_an_agent_with_a_smaller_ceiling() {
    let ci = Ci::of(GITHUB).await;
    let of_pulls = [("event_name", &["pull_request"][..])];
    let says: Vec<_> = REPOSITORY.iter().copied().chain(of_pulls).collect();
    let mut review = agent("review-agent", vec![proof(GITHUB, &ci.idp, &says)]);
    review.ceiling = vec![story::permission("crm", "read:cases")];
    ci.world.apply(Entry::Agent(review)).await;
    let grant = story::grant("riley", "review-agent", "crm", "read:cases write:case_comments");
    ci.world.apply(Entry::Grant(grant)).await;
    for (event, who, scope) in [
        ("pull_request", "review-agent", "read:cases"),
        ("push", "ci-agent", "read:cases write:case_comments"),
    ] {
        let form = ci.by_assertion(&ci.token(GITHUB, &json!({"event_name": event})));
        let form = mandate_testkit::world::without(form, "scope");
        let mandate = payload(&exposed(&ci.world.token(&form, None).await.unwrap()));
        assert_eq!(mandate["act"]["sub"], story::spiffe_id(who));
        assert_eq!(mandate["scope"], scope);
    }
}
