//! Whom the token of a platform proves, and whom it does not.

use mandate_audit::Outcome;
use mandate_core::Subject;
use mandate_core::registry::{AgentProof, AgentState, Entry, EntryKind, ProofKind, SubjectScope};
use mandate_testkit::story::{self, CRM};
use mandate_testkit::world::{JWT, exposed, pairs, payload, with};
use serde_json::json;

use super::{ACTOR, Ci, GITHUB, Platform, REPOSITORY, UNPROVEN, agent, proof};

#[tokio::test]
async fn a_stopped_agent_is_not_let_in_by_its_platform() {
    let states = [AgentState::Suspended, AgentState::Contained, AgentState::Retired];
    for state in states {
        let ci = Ci::of(GITHUB).await;
        ci.world
            .change(EntryKind::Agent, "ci-agent", |entry| {
                let Entry::Agent(agent) = entry else { panic!("an agent") };
                agent.state = state;
            })
            .await;
        let stopped = "400 invalid_request agent_not_active";
        assert_eq!(ci.as_assertion(&ci.token(GITHUB, &json!({}))).await, stopped, "{state:?}");
        assert_eq!(ci.as_actor(&ci.token(GITHUB, &json!({}))).await, stopped, "{state:?}");
        let mut form = pairs(&[("token", "x")]);
        form.extend(ci.world.assertion_pairs(&ci.token(GITHUB, &json!({}))));
        let error = ci.world.introspect(&form, None).await.unwrap_err();
        assert_eq!(crate::shown(&error), UNPROVEN, "{state:?}");
    }
}

#[tokio::test]
async fn the_workload_of_a_retired_agent_can_get_a_new_one() {
    let ci = Ci::of(GITHUB).await;
    ci.world
        .change(EntryKind::Agent, "ci-agent", |entry| {
            let Entry::Agent(agent) = entry else { panic!("an agent") };
            agent.state = AgentState::Retired;
        })
        .await;
    ci.world.apply(Entry::Agent(agent("next-agent", vec![proof(GITHUB, &ci.idp, REPOSITORY)]))).await;
    ci.world.apply(Entry::Grant(story::grant("riley", "next-agent", "crm", "read:cases"))).await;
    assert_eq!(ci.as_assertion(&ci.token(GITHUB, &json!({}))).await, "ok");
}

#[tokio::test]
async fn the_token_of_one_agent_is_none_of_another() {
    let ci = Ci::of(GITHUB).await;
    let form = ci.by_assertion(&ci.token(GITHUB, &json!({})));
    let other = with(form, "client_id", &story::spiffe_id("support-agent"));
    assert_eq!(ci.ask(&other, None).await, "401 invalid_client client_id_mismatch");
    let own =
        with(ci.by_assertion(&ci.token(GITHUB, &json!({}))), "client_id", &story::spiffe_id("ci-agent"));
    assert_eq!(ci.ask(&own, None).await, "ok");
    // An agent that presents it as its actor.
    let svid = ci.world.svid("support-agent").await;
    let form = ci.world.agent_exchange(&svid, &ci.subject, CRM, "read:cases");
    let form = with(with(form, "actor_token", &ci.token(GITHUB, &json!({}))), "actor_token_type", JWT);
    assert_eq!(ci.ask(&form, None).await, "400 invalid_request actor_not_client");
    // An app whose entry does not list the agent.
    let mut form = ci.by_actor(&ci.token(GITHUB, &json!({})));
    form.extend(ci.world.assertion_pairs(&ci.world.assertion(&ci.world.assertion_claims())));
    assert_eq!(ci.ask(&form, None).await, "400 unauthorized_client client_may_not_present");
}

#[tokio::test]
async fn a_token_that_would_prove_two_agents_proves_none() {
    let ci = Ci::of(GITHUB).await;
    let two = agent("twin-agent", vec![proof(GITHUB, &ci.idp, REPOSITORY)]);
    ci.world.live.change_registry(None, |registry| registry.put(Entry::Agent(two.clone())));
    assert_eq!(ci.as_assertion(&ci.token(GITHUB, &json!({}))).await, UNPROVEN);
    assert_eq!(ci.as_actor(&ci.token(GITHUB, &json!({}))).await, ACTOR);
    let detail = ci.newest(mandate_audit::Outcome::Refused).detail.unwrap();
    assert!(detail.contains("`ci-agent`") && detail.contains("`twin-agent`"), "{detail}");
}

/// Machines are actors. Even where somebody has declared their issuer as one of people.
#[tokio::test]
async fn the_token_of_a_machine_is_no_subject() {
    let ci = Ci::of(GITHUB).await;
    let svid = ci.world.svid("support-agent").await;
    let ask = async || {
        let token = ci.token(GITHUB, &json!({"sub": "riley"}));
        let form = ci.world.agent_exchange(&svid, &token, CRM, "read:cases");
        (ci.ask(&form, None).await, ci.ask(&with(form, "subject_token_type", JWT), None).await)
    };
    let refused = "400 invalid_request subject_token_refused".to_owned();
    assert_eq!(ask().await, (refused.clone(), refused.clone()));
    let mut riley = story::person("riley-too", vec![story::permission("crm", "read:cases")]);
    riley.id = Subject { iss: ci.idp.issuer(), sub: "riley".to_owned() };
    ci.world.live.change_registry(None, |registry| {
        registry.put(Entry::Issuer(story::trusted_issuer(ci.idp.issuer(), SubjectScope::IdentityOnly)));
        registry.put(Entry::Person(riley.clone()));
    });
    assert_eq!(ask().await, (refused.clone(), refused));
}

#[tokio::test]
async fn a_workload_acts_for_itself_only_if_its_entry_lets_it_and_the_record_says_what_proved_it() {
    // An entry for Azure can be changed only with an issuer of its tenant, which the test's is not.
    for platform in Platform::ALL.iter().filter(|platform| **platform != Platform::Azure) {
        let ci = Ci::of(*platform).await;
        let alone = || {
            let mut form = ci.world.assertion_pairs(&ci.token(*platform, &json!({})));
            form.extend(pairs(&[
                ("grant_type", "client_credentials"),
                ("resource", CRM),
                ("scope", "read:cases"),
            ]));
            form
        };
        assert_eq!(ci.ask(&alone(), None).await, "400 unauthorized_client not_on_own_behalf");
        let record = ci.newest(Outcome::Refused);
        assert_eq!(record.proof.as_deref().map(|proof| proof.kind), Some(ProofKind::Platform(*platform)));

        ci.world
            .change(EntryKind::Agent, "ci-agent", |entry| {
                let Entry::Agent(agent) = entry else { panic!("an agent") };
                agent.may = vec![story::permission("crm", "read:cases")];
            })
            .await;
        let own = payload(&exposed(&ci.world.token(&alone(), None).await.unwrap()));
        assert_eq!(own["sub"], story::spiffe_id("ci-agent"));
        assert!(own.get("act").is_none(), "{own}");
        let record = ci.newest(Outcome::Permitted);
        assert_eq!(record.proof.as_deref().map(|proof| proof.kind), Some(ProofKind::Platform(*platform)));
    }
}

#[tokio::test]
async fn a_workload_gives_back_its_own_tokens() {
    let ci = Ci::of(GITHUB).await;
    let form = ci.by_assertion(&ci.token(GITHUB, &json!({})));
    let mandate = exposed(&ci.world.token(&form, None).await.unwrap());
    assert!(crate::lives(&ci.world, &mandate).await);
    let mut form = pairs(&[("token", &mandate)]);
    form.extend(ci.world.assertion_pairs(&ci.token(GITHUB, &json!({}))));
    ci.world.revoke(&form, None).await.unwrap();
    assert!(!crate::lives(&ci.world, &mandate).await);
}

#[tokio::test]
async fn a_proof_that_is_removed_or_changed_ends_what_was_given_by_it() {
    for remove in [true, false] {
        let ci = Ci::of(GITHUB).await;
        let form = ci.by_assertion(&ci.token(GITHUB, &json!({})));
        let mandate = exposed(&ci.world.token(&form, None).await.unwrap());
        ci.world
            .change(EntryKind::Agent, "ci-agent", |entry| {
                let Entry::Agent(agent) = entry else { panic!("an agent") };
                if remove {
                    agent.proofs.clear();
                } else {
                    let environment = ("environment".to_owned(), ["production".to_owned()].into());
                    let AgentProof::Platform(proof) = &mut agent.proofs[0] else { panic!("a platform") };
                    proof.says.extend([environment]);
                }
            })
            .await;
        assert!(!crate::lives(&ci.world, &mandate).await, "{remove}");
        let expected = if remove { "401 invalid_client client_assertion_refused" } else { "ok" };
        assert_eq!(ci.as_assertion(&ci.token(GITHUB, &json!({}))).await, expected, "with a new token");
    }
}

/// In Azure an application is registered for this server, and its id is the audience of tokens of version 2.0.
#[tokio::test]
async fn an_audience_that_an_entry_names_takes_the_place_of_our_issuer() {
    let application = "8f3c2a10-1111-4222-8333-0123456789ab";
    let ci = Ci::with(Platform::Azure, |proof| proof.audience = Some(application.to_owned())).await;
    let token = |audience: &serde_json::Value| ci.token(Platform::Azure, &json!({ "aud": audience }));
    assert_eq!(ci.as_assertion(&token(&json!(application))).await, "ok");
    assert_eq!(ci.as_actor(&token(&json!(application))).await, "ok");
    for audience in [json!(mandate_testkit::story::ISSUER), json!([application, "https://graph.example"])] {
        let form = ci.by_assertion(&token(&audience));
        let refusal = ci.world.token(&form, None).await.unwrap_err();
        assert!(refusal.description.contains(&format!("Its aud must be {application}")), "{refusal}");
        assert_eq!(ci.as_actor(&token(&audience)).await, super::ACTOR);
    }
}
