//! One exchange: a person's token, an agent, one resource.

mod actor;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::registry::{Entry, EntryKind};
use mandate_core::{CutTarget, MeterId, RequestSource, Reservation, Secret, Timestamp};
use mandate_oauth::metadata::TOKEN_PATH;
use mandate_testkit::clock::START;
use mandate_testkit::story::{self, CRM, ISSUER, PASSWORD, RESEARCH};
use mandate_testkit::world::{ACCESS_TOKEN, Post, World, encode, exposed, payload, with, without};

use crate::{refused, shown};

#[tokio::test]
async fn the_story_riley_by_the_support_agent_for_the_crm() {
    let world = World::story();
    let subject = world.person_token("riley", None, None).await;
    let form = world.agent_exchange(
        &world.svid("support-agent").await,
        &subject,
        CRM,
        "read:cases write:case_comments",
    );
    let response = world.token(&form, None).await.unwrap();

    let body: serde_json::Value = serde_json::from_str(&response.to_json()).unwrap();
    assert_eq!(body["issued_token_type"], ACCESS_TOKEN);
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 300);
    assert_eq!(body["scope"], "read:cases write:case_comments");
    assert!(body.get("refresh_token").is_none());

    let claims = payload(body["access_token"].as_str().unwrap());
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["sub"], "riley");
    assert_eq!(claims["aud"], CRM);
    assert_eq!(claims["client_id"], story::spiffe_id("support-agent"));
    assert_eq!(claims["scope"], "read:cases write:case_comments");
    let act = serde_json::json!({"sub": story::spiffe_id("support-agent"), "iss": ISSUER, "sub_profile": "ai_agent"});
    assert_eq!(claims["act"], act);
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
    assert_eq!(claims["auth_time"], START.secs());
}

#[tokio::test]
async fn a_confidential_app_may_present_the_agents_it_is_registered_for() {
    let world = World::story();
    let subject = world.person_token("riley", None, None).await;
    let app = world.desk_app();
    let form = world.app_exchange(&world.svid("support-agent").await, &subject, CRM, "read:cases");
    let claims = payload(&exposed(&world.token(&form, Some(&app)).await.unwrap()));
    assert_eq!(claims["client_id"], "desk-app");
    assert_eq!(claims["act"]["sub"], story::spiffe_id("support-agent"));

    let form = world.app_exchange(&world.svid("research-agent").await, &subject, CRM, "read:cases");
    assert_eq!(
        refused(world.token(&form, Some(&app)).await),
        "400 unauthorized_client client_may_not_present"
    );
    let form = world.app_exchange(&world.svid("support-agent").await, &subject, CRM, "read:cases");
    assert_eq!(
        refused(world.token(&with(form, "client_id", "support-app"), None).await),
        "400 unauthorized_client client_not_allowed"
    );
}

#[tokio::test]
async fn a_token_for_another_service_is_not_this_presenters_to_exchange() {
    let world = World::story();
    let svid = world.svid("support-agent").await;
    for (agent, aud) in [("support-agent", CRM), ("support-agent", RESEARCH), ("archive-agent", RESEARCH)] {
        let subject = world.person_token("riley", Some(aud), None).await;
        let form = world.agent_exchange(&world.svid(agent).await, &subject, CRM, "read:cases");
        assert_eq!(
            refused(world.token(&form, None).await),
            "400 invalid_request subject_not_for_presenter",
            "{agent} {aud}"
        );
    }
    // Issued to an agent, a token is that agent's own; another agent cannot go on with it.
    let form =
        world.agent_exchange(&world.svid("research-agent").await, &world.mandate().await, CRM, "read:cases");
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_request subject_not_for_presenter");
    let own = world.agent_exchange(&svid, &world.mandate().await, CRM, "read:cases");
    assert!(world.token(&own, None).await.is_ok());
}

#[tokio::test]
async fn one_known_resource_written_as_registered() {
    let world = World::story();
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    for (resource, why) in [
        ("https://crm.acme.example//", "resource_unknown"),
        ("https://research.acme.exmaple", "resource_unknown"),
        ("https://crm.acme.example/cases", "resource_unknown"),
        ("https://unknown.acme.example", "resource_unknown"),
        ("https://crm.acme.example#x", "resource_malformed"),
        ("https://u@crm.acme.example", "resource_malformed"),
        ("https://CRM.acme.example", "resource_malformed"),
        ("https://crm.acme.example/%2e", "resource_malformed"),
        ("crm", "resource_malformed"),
    ] {
        let answer = world.token(&with(form.clone(), "resource", resource), None).await;
        assert_eq!(refused(answer), format!("400 invalid_target {why}"), "{resource}");
    }
    let mut two = form.clone();
    two.push(("resource".to_owned(), RESEARCH.to_owned()));
    assert_eq!(refused(world.token(&two, None).await), "400 invalid_target resource_repeated");
    assert_eq!(
        refused(world.token(&with(form.clone(), "audience", RESEARCH), None).await),
        "400 invalid_target audience_differs"
    );
    assert_eq!(
        refused(world.token(&without(form, "resource"), None).await),
        "400 invalid_target resource_missing"
    );
}

#[tokio::test]
async fn a_resource_may_be_named_by_audience_or_with_the_slash_of_an_empty_path() {
    let world = World::story();
    let subject = world.person_token("riley", None, None).await;
    let form = world.agent_exchange(&world.svid("support-agent").await, &subject, CRM, "read:cases");
    let slash = format!("{CRM}/");
    for form in [
        with(form.clone(), "resource", &slash),
        with(form.clone(), "audience", &slash),
        with(without(form.clone(), "resource"), "audience", CRM),
        with(without(form.clone(), "resource"), "audience", &slash),
    ] {
        let claims = payload(&exposed(&world.token(&form, None).await.unwrap()));
        assert_eq!(claims["aud"], CRM, "as it is registered, however the request spelled it");
    }
    for audience in ["crm", "https://elsewhere.example"] {
        let form = with(without(form.clone(), "resource"), "audience", audience);
        assert_eq!(
            refused(world.token(&form, None).await),
            "400 invalid_target audience_unknown",
            "{audience}"
        );
    }
    assert_eq!(
        refused(world.token(&without(form, "resource"), None).await),
        "400 invalid_target resource_missing"
    );
}

#[tokio::test]
async fn an_authenticated_client_is_told_which_resource_it_probably_meant() {
    let world = World::story();
    let subject = world.person_token("riley", None, None).await;
    let form = world.agent_exchange(
        &world.svid("support-agent").await,
        &subject,
        "https://crm.acme.example/mcp",
        "read:cases",
    );
    let error = world.token(&form, None).await.unwrap_err();
    assert_eq!(
        error.description,
        "resource_unknown: There is no such resource here. Did you mean https://crm.acme.example ?"
    );
    // A stranger is not.
    let stranger = without(without(form, "client_assertion"), "client_assertion_type");
    let error = world.token(&stranger, None).await.unwrap_err();
    assert!(!error.description.contains("crm"), "{}", error.description);
}

#[tokio::test]
async fn a_refusal_of_scopes_names_the_sets_to_the_client_and_all_of_them_in_the_record() {
    let world = World::story();
    let subject = world.person_token("riley", None, Some("write:opportunities")).await;
    let mut form =
        world.agent_exchange(&world.svid("support-agent").await, &subject, CRM, "write:opportunities");
    let error = world.token(&form, None).await.unwrap_err();
    assert_eq!(
        error.description,
        "scope_beyond_ceiling: The agent's ceiling allows none of what is asked for (asked: write:opportunities; subject token: write:opportunities; person, of what ceiling or grant name: read:cases write:case_comments; ceiling: read:cases write:case_comments; grant: read:cases write:case_comments)."
    );
    form = without(form, "scope");
    let error = world.token(&form, None).await.unwrap_err();
    assert!(error.description.starts_with("nothing_in_common: "), "{}", error.description);
    assert!(
        error.description.contains("of what ceiling or grant name: read:cases write:case_comments;"),
        "{}",
        error.description
    );
    let record = world.last_record();
    assert_eq!(record.reason, "nothing_in_common");
    let detail = record.detail.unwrap();
    assert!(detail.contains("person: read:cases write:case_comments write:opportunities"), "{detail}");
}

#[tokio::test]
async fn delegating_opens_nothing_of_our_own() {
    let admin = story::resource("mandate", ISSUER, "mandate:admin");
    let world = World::with_entries(vec![Entry::Resource(admin)]);
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let form = world.agent_exchange(&svid, &subject, ISSUER, "mandate:admin");
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_target resource_not_delegable");
}

#[tokio::test]
async fn scope_never_grows() {
    let world = World::story();
    let svid = world.svid("support-agent").await;
    let narrow = world.person_token("riley", None, Some("read:cases")).await;
    let all = world.person_token("riley", None, None).await;
    for (subject, scope, why) in [
        (&narrow, "read:cases write:case_comments", "scope_exceeds_subject"),
        (&all, "send:mail", "scope_exceeds_subject"),
        (&all, "write:opportunities", "scope_beyond_ceiling"),
        (&all, "read:nothing", "scope_unknown"),
    ] {
        let answer = world.token(&world.agent_exchange(&svid, subject, CRM, scope), None).await;
        assert_eq!(refused(answer), format!("400 invalid_scope {why}"), "{scope}");
    }
    // What is permitted in part is given in part, and said.
    let form = world.agent_exchange(&svid, &all, CRM, "read:cases write:opportunities");
    assert_eq!(world.token(&form, None).await.unwrap().scopes().to_string(), "read:cases");
    let form = without(world.agent_exchange(&svid, &narrow, CRM, "x"), "scope");
    assert_eq!(world.token(&form, None).await.unwrap().scopes().to_string(), "read:cases");
}

#[tokio::test]
async fn without_a_grant_of_the_person_no_agent_acts_for_them() {
    let world = World::story();
    let subject = world.person_token("riley", None, None).await;
    let agent = story::agent("other-agent", vec![story::permission("crm", "read:cases")]);
    world.apply(Entry::Agent(agent)).await;
    let form = world.agent_exchange(&world.svid("other-agent").await, &subject, CRM, "read:cases");
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_request no_grant");
}

#[tokio::test]
async fn nothing_configured_is_nothing() {
    let world = World::story();
    let subject = world.person_token("riley", None, None).await;
    world.apply(Entry::Grant(story::grant("riley", "idle-agent", "crm", "read:cases"))).await;
    let form = world.agent_exchange(&world.svid("idle-agent").await, &subject, CRM, "read:cases");
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_scope scope_beyond_ceiling");
    let form = world.agent_exchange(
        &world.svid_for("spiffe://acme.example/agent/nobody", &[ISSUER]).await,
        &subject,
        CRM,
        "read:cases",
    );
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_request actor_unknown");
}

#[tokio::test]
async fn a_changed_algorithm_or_signature_is_refused_everywhere() {
    let world = World::story();
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let forged = |token: &str, header: &str, signature: &str| {
        let parts: Vec<&str> = token.split('.').collect();
        format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(header), parts[1])
    };
    let zeros = URL_SAFE_NO_PAD.encode([0u8; 64]);
    for (header, signature) in [
        (r#"{"alg":"none","typ":"at+jwt"}"#, ""),
        (r#"{"alg":"HS256","typ":"at+jwt","kid":"x"}"#, zeros.as_str()),
        (r#"{"alg":"ES256","typ":"at+jwt","kid":"x","crit":["b64"],"b64":false}"#, &zeros),
        (r#"{"alg":"ES256","typ":"at+jwt","jwk":{}}"#, &zeros),
    ] {
        let form = world.agent_exchange(&svid, &forged(&subject, header, signature), CRM, "read:cases");
        assert_eq!(
            refused(world.token(&form, None).await),
            "400 invalid_request subject_token_refused",
            "{header}"
        );
        let header = header.replace("at+jwt", "JWT");
        let form = world.agent_exchange(&forged(&svid, &header, signature), &subject, CRM, "read:cases");
        assert_eq!(
            refused(world.token(&form, None).await),
            "401 invalid_client client_assertion_refused",
            "{header}"
        );
    }
    let cut = subject.rsplit_once('.').unwrap().0;
    let form = world.agent_exchange(&svid, &format!("{cut}.{zeros}"), CRM, "read:cases");
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_request subject_token_refused");
}

#[tokio::test]
async fn expiry_never_grows() {
    let world = World::story();
    let subject = world.person_token("riley", None, None).await;
    let end = payload(&subject)["exp"].as_u64().unwrap();
    world.clock.set(Timestamp::from_secs(end - 20));
    let svid = world.svid("support-agent").await;
    let first =
        exposed(&world.token(&world.agent_exchange(&svid, &subject, CRM, "read:cases"), None).await.unwrap());
    assert_eq!(payload(&first)["exp"], end);
    world.clock.advance(Duration::from_secs(10));
    let again =
        exposed(&world.token(&world.agent_exchange(&svid, &first, CRM, "read:cases"), None).await.unwrap());
    assert_eq!(payload(&again)["exp"], end);
    world.clock.advance(Duration::from_secs(10));
    let answer = world.token(&world.agent_exchange(&svid, &first, CRM, "read:cases"), None).await;
    assert_eq!(refused(answer), "400 invalid_request subject_token_refused");
}

#[tokio::test]
async fn state_is_checked_at_each_exchange_at_once() {
    let world = World::story();
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    assert!(world.token(&form, None).await.is_ok());
    for state in [
        mandate_core::registry::AgentState::Suspended,
        mandate_core::registry::AgentState::Contained,
        mandate_core::registry::AgentState::Retired,
    ] {
        let set = |entry: &mut Entry| {
            if let Entry::Agent(agent) = entry {
                agent.state = state;
            }
        };
        world.change(EntryKind::Agent, "support-agent", set).await;
        assert_eq!(refused(world.token(&form, None).await), "400 invalid_request agent_not_active");
    }
    let disable = |entry: &mut Entry| {
        if let Entry::Person(person) = entry {
            person.disabled = true;
        }
    };
    world.change(EntryKind::Person, "riley", disable).await;
    assert!(refused(world.token(&form, None).await).starts_with("400 invalid_request"));
}

#[tokio::test]
async fn a_grant_ends_in_time_in_count_and_by_revocation() {
    let world = World::story();
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    let limit = |entry: &mut Entry| {
        if let Entry::Grant(grant) = entry {
            grant.max_uses = Some(2);
        }
    };
    world.change(EntryKind::Grant, "riley-support-agent-crm", limit).await;
    assert!(world.token(&form, None).await.is_ok());
    assert!(world.token(&form, None).await.is_ok());
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_request grant_exhausted");
    assert_eq!(world.live.used(&MeterId::GrantUses("riley-support-agent-crm".parse().unwrap())), 2);

    let end = mandate_core::Clock::now(&*world.clock).plus(Duration::from_mins(1));
    let expire = |entry: &mut Entry| {
        if let Entry::Grant(grant) = entry {
            (grant.max_uses, grant.expires) = (None, Some(end));
        }
    };
    world.change(EntryKind::Grant, "riley-support-agent-crm", expire).await;
    assert_eq!(world.token(&form, None).await.unwrap().expires_in(), 60, "not past the grant");
    world.clock.set(end);
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_request grant_expired");
    let revoke = |entry: &mut Entry| {
        if let Entry::Grant(grant) = entry {
            grant.revoked = true;
        }
    };
    world.change(EntryKind::Grant, "riley-support-agent-crm", revoke).await;
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_request grant_revoked");
}

#[tokio::test]
async fn the_last_use_of_a_grant_is_given_once_however_many_ask() {
    let world = World::story();
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let limit = |entry: &mut Entry| {
        if let Entry::Grant(grant) = entry {
            grant.max_uses = Some(1);
        }
    };
    world.change(EntryKind::Grant, "riley-support-agent-crm", limit).await;
    let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    world.faults.hold();
    let release = async {
        tokio::task::yield_now().await;
        world.faults.release();
    };
    let (a, b, c, ()) =
        tokio::join!(world.token(&form, None), world.token(&form, None), world.token(&form, None), release);
    let answers = [a, b, c];
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(shown(error), "400 invalid_request grant_exhausted");
    }
}

#[tokio::test]
async fn a_use_that_was_recorded_for_a_caller_who_hung_up_is_found_out_and_another_grant_is_chosen() {
    let world = World::story();
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let form = world.agent_exchange(&svid, &subject, CRM, "read:cases write:case_comments");
    let limit = |entry: &mut Entry| {
        if let Entry::Grant(grant) = entry {
            grant.max_uses = Some(1);
        }
    };
    world.change(EntryKind::Grant, "riley-support-agent-crm", limit).await;
    let mut narrower = story::grant("riley", "support-agent", "crm", "read:cases");
    narrower.id = "narrower".parse().unwrap();
    world.apply(Entry::Grant(narrower)).await;
    // The caller is gone between the record and the count: the store has the use, memory does not.
    let wider = MeterId::GrantUses("riley-support-agent-crm".parse().unwrap());
    let one = Reservation { meter: wider.clone(), amount: 1, limit: 1 };
    world.store.transact_blocking("use", |tx| mandate_store::meters::reserve(tx, &one)).unwrap();
    assert_eq!(world.live.used(&wider), 0);
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_request grant_exhausted");
    assert_eq!(
        world.token(&form, None).await.unwrap().scopes().to_string(),
        "read:cases",
        "under the grant that is left"
    );
}

#[tokio::test]
async fn both_must_be_permitted_and_a_policy_only_takes_away() {
    let world = World::story();
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    world.forbid("widen", "permit (principal, action, resource);").await;
    let wide = with(form.clone(), "scope", "write:opportunities");
    assert_eq!(refused(world.token(&wide, None).await), "400 invalid_scope scope_beyond_ceiling");
    world.forbid("no-agents", "forbid (principal is Agent, action, resource);").await;
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_request policy_denies_agent");
    let record = world.last_record();
    assert!(record.policies.iter().any(|policy| policy.contains("no-agents")), "{:?}", record.policies);
}

#[tokio::test]
async fn a_policy_that_fails_is_named_in_the_record_with_what_went_wrong_and_the_caller_is_told_nothing_of_it()
 {
    const FAILS: &str = "context.now * 9223372036854775807 > 0";
    let world = World::story();
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    let is_named = |description: &str| {
        let record = world.last_record();
        assert!(record.policies.contains(&"broken".to_owned()), "{:?}", record.policies);
        let detail = record.detail.unwrap();
        assert!(detail.contains("broken: ") && detail.contains("overflow"), "{detail}");
        assert!(!description.contains("broken") && !description.contains("overflow"), "{description}");
    };
    world
        .forbid(
            "broken",
            &format!("forbid (principal, action == Action::\"act\", resource) when {{ {FAILS} }};"),
        )
        .await;
    let error = world.token(&form, None).await.unwrap_err();
    assert!(error.description.starts_with("policy_denies_agent: "), "{}", error.description);
    is_named(&error.description);
    let of_people =
        format!("forbid (principal, action == Action::\"delegate\", resource) when {{ {FAILS} }};");
    world.forbid("broken", &of_people).await;
    let error = world.token(&form, None).await.unwrap_err();
    assert!(error.description.starts_with("policy_denies_person: "), "{}", error.description);
    is_named(&error.description);
    let query = world.authorization("support-app", None, None);
    let query = world.engine.authorize(encode(&query).as_bytes(), RequestSource::Other).await.unwrap();
    let refused = world.engine.log_in(&query, "riley", Secret::new(PASSWORD)).await.unwrap_err();
    is_named(&format!("{refused:?}"));
}

#[tokio::test]
async fn a_policy_that_demands_an_approval_issues_nothing_and_the_record_names_the_request() {
    let world = World::story();
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    world
        .forbid(
            "ask-first",
            r#"@approval("required") permit (principal is Agent, action == Action::"act", resource);"#,
        )
        .await;
    let mut details = Vec::new();
    for _ in 0..2 {
        assert_eq!(refused(world.token(&form, None).await), "400 invalid_request approval_required");
        let record = world.last_record();
        assert_eq!((record.outcome, record.said().jti), (mandate_audit::Outcome::Refused, None));
        assert_eq!(*record.policies, ["ask-first".to_owned()]);
        details.push(record.detail.unwrap());
    }
    assert_eq!(details[0], details[1], "the same request has the same hash");
    assert!(world.person_token("riley", None, None).await.len() > 100, "a login is not an agent's act");
}

#[tokio::test]
async fn what_was_revoked_is_not_exchanged() {
    let world = World::story();
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    let jti = payload(&subject)["jti"].as_str().unwrap().to_owned();
    world.cut(CutTarget::Token(jti.parse().unwrap()));
    assert_eq!(refused(world.token(&form, None).await), "400 invalid_request subject_revoked");
}

#[tokio::test]
async fn malformed_requests_are_refused_before_anything_else() {
    let world = World::story();
    let ask = |body: Vec<u8>, content_type: &'static str| {
        let world = &world;
        async move {
            let post = Post::to(TOKEN_PATH, vec![("content-type", content_type)], &body);
            refused(world.engine.token(post.request()).await)
        }
    };
    let form = "application/x-www-form-urlencoded";
    assert_eq!(ask(b"grant_type=%ff".to_vec(), form).await, "400 invalid_request malformed_form");
    assert_eq!(ask(b"grant_type=a&grant_type=b".to_vec(), form).await, "400 invalid_request malformed_form");
    assert_eq!(ask(vec![b'a'; 70_000], form).await, "400 invalid_request malformed_form");
    assert_eq!(ask(b"{}".to_vec(), "application/json").await, "400 invalid_request malformed_form");
    assert_eq!(ask(Vec::new(), form).await, "400 invalid_request parameter_missing");
    assert_eq!(
        ask(b"grant_type=password".to_vec(), form).await,
        "400 unsupported_grant_type grant_type_unsupported"
    );
    assert_eq!(
        ask(b"grant_type=password".to_vec(), form).await,
        "400 unsupported_grant_type grant_type_unsupported"
    );
}
