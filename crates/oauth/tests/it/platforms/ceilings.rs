//! Proofs with a ceiling of their own: a run that a stranger can start gets less.

use std::time::Duration;

use mandate_audit::Outcome;
use mandate_core::registry::{AgentProof, Entry, EntryKind, Permission, PlatformProof};
use mandate_core::{Lifetime, ScopeSet};
use mandate_testkit::story::{self, CRM};
use mandate_testkit::world::{Pairs, exposed, pairs, payload, with};
use serde_json::{Value, json};

use super::{Ci, GITHUB};

const BOTH: &str = "read:cases write:case_comments";
const BEYOND: &str = "400 invalid_scope scope_beyond_proof";

/// `ci-agent` may read and comment; after a pull request it may only do what `ceiling` says.
async fn capped(ceiling: Vec<Permission>) -> Ci {
    let ci = Ci::of(GITHUB).await;
    ci.world
        .change(EntryKind::Agent, "ci-agent", |entry| {
            let Entry::Agent(agent) = entry else { panic!("an agent") };
            let usual = agent.proofs.first().and_then(AgentProof::platform).unwrap().clone();
            let mut pulls = PlatformProof { ceiling: Some(ceiling), ..usual };
            pulls.says.insert("event_name".to_owned(), ["pull_request".to_owned()].into());
            agent.proofs.push(AgentProof::Platform(pulls));
            agent.may = vec![story::permission("crm", BOTH)];
        })
        .await;
    ci
}

async fn reading() -> Ci {
    capped(vec![story::permission("crm", "read:cases")]).await
}

fn pull_request(ci: &Ci) -> String {
    ci.token(GITHUB, &json!({"event_name": "pull_request", "ref": "refs/pull/7/merge"}))
}

async fn given(ci: &Ci, form: Pairs, header: Option<&str>) -> Value {
    payload(&exposed(&ci.world.token(&form, header).await.unwrap()))
}

#[tokio::test]
async fn a_pull_request_gets_what_its_proof_allows_and_a_push_everything() {
    let ci = reading().await;
    let push = with(ci.by_assertion(&ci.token(GITHUB, &json!({}))), "scope", BOTH);
    assert_eq!(given(&ci, push, None).await["scope"], BOTH);
    let record = ci.newest(Outcome::Permitted);
    assert_eq!(record.proof.as_deref().unwrap().ceiling, None);

    let read: ScopeSet = "read:cases".parse().unwrap();
    let desk = ci.world.desk_app();
    for (form, header) in
        [(ci.by_assertion(&pull_request(&ci)), None), (ci.by_actor(&pull_request(&ci)), Some(desk.as_str()))]
    {
        assert_eq!(given(&ci, with(form, "scope", BOTH), header).await["scope"], "read:cases");
        let record = ci.newest(Outcome::Permitted);
        let proof = record.proof.as_deref().unwrap();
        assert_eq!(proof.ceiling.as_ref(), Some(&read), "the record names it");
        assert_eq!(proof.claims["event_name"], "pull_request");
    }
    let more = with(ci.by_assertion(&pull_request(&ci)), "scope", "write:case_comments");
    assert_eq!(ci.ask(&more, None).await, BEYOND);
    let detail = ci.newest(Outcome::Refused).detail.unwrap();
    assert!(detail.contains("ceiling of the proof: read:cases"), "{detail}");
}

#[tokio::test]
async fn it_bounds_what_the_agent_does_for_itself_too() {
    let ci = reading().await;
    let alone = |token: &str| {
        let mut form = ci.world.assertion_pairs(token);
        form.extend(pairs(&[("grant_type", "client_credentials"), ("resource", CRM), ("scope", BOTH)]));
        form
    };
    assert_eq!(given(&ci, alone(&ci.token(GITHUB, &json!({}))), None).await["scope"], BOTH);
    assert_eq!(given(&ci, alone(&pull_request(&ci)), None).await["scope"], "read:cases");
    assert!(ci.newest(Outcome::Permitted).proof.as_deref().unwrap().ceiling.is_some());
    let more = with(alone(&pull_request(&ci)), "scope", "write:case_comments");
    assert_eq!(ci.ask(&more, None).await, BEYOND);
}

#[tokio::test]
async fn another_resource_than_those_that_it_names_is_beyond_it() {
    let ci = capped(vec![story::permission("research", "read:cases")]).await;
    assert_eq!(ci.as_assertion(&pull_request(&ci)).await, BEYOND);
    assert_eq!(ci.as_assertion(&ci.token(GITHUB, &json!({}))).await, "ok");
}

#[tokio::test]
async fn of_all_proofs_that_a_token_satisfies_each_ceiling_counts() {
    let ci = reading().await;
    // The first proof now lists pull requests, and has no ceiling.
    ci.world
        .change(EntryKind::Agent, "ci-agent", |entry| {
            let Entry::Agent(agent) = entry else { panic!("an agent") };
            let AgentProof::Platform(wide) = &mut agent.proofs[0] else { panic!("a platform") };
            wide.says.entry("event_name".to_owned()).or_default().insert("pull_request".to_owned());
        })
        .await;
    let form = with(ci.by_assertion(&pull_request(&ci)), "scope", BOTH);
    assert_eq!(given(&ci, form, None).await["scope"], "read:cases");
    // And of a request with two tokens, both.
    let (push, pull) = (ci.token(GITHUB, &json!({})), pull_request(&ci));
    for (client, actor) in [(&push, &pull), (&pull, &push)] {
        let form = with(ci.by_assertion(client), "actor_token", actor);
        let form = with(with(form, "actor_token_type", mandate_testkit::world::JWT), "scope", BOTH);
        let ask = ci.ask(&form, None).await;
        assert!(ask == "ok" || ask.ends_with("replayed"), "{ask}");
        if ask == "ok" {
            let proof = ci.newest(Outcome::Permitted).proof.clone().unwrap();
            assert!(proof.ceiling.is_some(), "{proof:?}");
        }
    }
}

#[tokio::test]
async fn its_lifetime_bounds_the_token() {
    let mut short = story::permission("crm", "read:cases");
    short.constraints.lifetime = Some(Lifetime(Duration::from_secs(60)));
    let ci = capped(vec![short]).await;
    let lifetime = |token: Value| token["exp"].as_u64().unwrap() - token["iat"].as_u64().unwrap();
    assert_eq!(lifetime(given(&ci, ci.by_assertion(&pull_request(&ci)), None).await), 60);
    let push = ci.by_assertion(&ci.token(GITHUB, &json!({})));
    assert_eq!(lifetime(given(&ci, push, None).await), 300);
}
