//! An agent's own token is never a person's, and a person's never an agent's own.

use mandate_core::{Actor, ActorChain, Lineage, Subject, SubjectProfile, Terms};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::access_token::{Profile, build, subject_claim};
use crate::{SignError, TokenError};

use super::{KEY, check, foreign, only, ours, own, plain_terms};

const AGENT: &str = "spiffe://acme.example/agent/a";

/// What a token cannot say, and how its terms come to say it.
type Change = (&'static str, fn(&mut Terms));

fn agent() -> Actor {
    Actor { sub: AGENT.into(), iss: ours(), sub_profile: Some(SubjectProfile::AiAgent) }
}

fn own_terms() -> Terms {
    Terms {
        subject: None,
        chain: ActorChain::new(vec![agent()]).unwrap(),
        client: AGENT.parse().unwrap(),
        ..plain_terms()
    }
}

/// The claims of an agent's own token, with these changes.
fn claims(changes: &Value) -> Value {
    let mut all = json!({"sub": AGENT, "sub_profile": "ai_agent", "client_id": AGENT, "act": null});
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    all
}

#[test]
fn it_names_the_agent_as_its_subject_and_no_actor_and_is_read_as_nobodys() {
    let token = build(&own_terms(), &*KEY).unwrap();
    let read = check(&token, &KEY.key_set(), Profile::Own).unwrap();
    assert_eq!(read, only(own_terms()));
    assert_eq!(own(&claims(&json!({}))).unwrap().terms.subject, None);
    let payload = own(&claims(&json!({}))).unwrap().terms;
    assert_eq!(payload.chain.iter().collect::<Vec<_>>(), [&agent()]);
}

#[test]
fn one_that_says_anything_of_a_person_is_refused() {
    for (claim, change) in [
        ("act", json!({"act": {"sub": AGENT, "iss": "https://m.example"}})),
        ("may_act", json!({"may_act": {"sub": AGENT}})),
        ("lineage", json!({"lineage": {"parents": ["t0"]}})),
        ("sub_id", json!({"sub_id": {"format": "iss_sub", "iss": "https://o.example", "sub": "riley"}})),
        ("auth_time", json!({"auth_time": 1})),
        ("acr", json!({"acr": "2"})),
        ("amr", json!({"amr": ["pwd"]})),
        ("groups", json!({"groups": ["staff"]})),
        ("sub", json!({"sub": "riley", "client_id": "riley"})),
        ("sub", json!({"sub": "SPIFFE://acme.example/agent/a"})),
        ("sub", json!({"sub": "https://login.example#spiffe"})),
        ("client_id", json!({"client_id": "spiffe://acme.example/agent/b"})),
        ("client_id", json!({"client_id": "support-app"})),
        ("sub_profile", json!({"sub_profile": "user"})),
        ("sub_profile", json!({"sub_profile": "service"})),
        ("sub_profile", json!({"sub_profile": "ai_agent user"})),
        ("sub_profile", json!({"sub_profile": ["ai_agent"]})),
        ("sub_profile", json!({"sub_profile": true})),
    ] {
        let error = own(&claims(&change)).unwrap_err();
        assert!(
            matches!(error, TokenError::Claim { claim: found, .. } if found == claim),
            "{change}: {error:?}"
        );
    }
}

#[test]
fn without_its_profile_its_subject_is_refused_and_not_taken_for_a_person() {
    let error = own(&json!({"sub": AGENT, "client_id": AGENT, "act": null})).unwrap_err();
    assert!(matches!(error, TokenError::Claim { claim: "sub", .. }), "{error:?}");
}

#[test]
fn terms_that_are_neither_a_persons_nor_an_agents_own_are_not_signed() {
    let why = "there is no person, and more than an agent's own token says";
    let other = Actor { sub: "spiffe://acme.example/agent/b".into(), ..agent() };
    let changes: [Change; 6] = [
        ("no actor", |t| t.chain = ActorChain::empty()),
        ("a login", |t| t.auth_time = Some(t.issued)),
        ("a method", |t| t.amr = vec!["pwd".into()]),
        ("a class", |t| t.acr = Some("2".into())),
        ("an ancestor", |t| {
            t.lineage = Lineage { parents: vec!["t0".parse().unwrap()], ..Lineage::default() }
        }),
        ("another client", |t| t.client = "support-app".parse().unwrap()),
    ];
    for (what, change) in changes {
        let mut terms = own_terms();
        change(&mut terms);
        assert_eq!(build(&terms, &*KEY), Err(SignError::Claims(why)), "{what}");
    }
    for chain in [
        vec![agent(), other.clone()],
        vec![Actor { iss: "https://o.example".parse().unwrap(), ..agent() }],
        vec![Actor { sub_profile: None, ..agent() }],
        vec![other],
    ] {
        let terms = Terms { chain: ActorChain::new(chain).unwrap(), ..own_terms() };
        assert_eq!(build(&terms, &*KEY), Err(SignError::Claims(why)));
    }
    let named = Actor { sub: "riley".into(), ..agent() };
    let chain = ActorChain::new(vec![named]).unwrap();
    let terms = Terms { chain, client: "riley".parse().unwrap(), ..own_terms() };
    assert_eq!(build(&terms, &*KEY), Err(SignError::Claims(why)), "no SPIFFE ID");
}

#[test]
fn a_token_of_another_issuer_whose_subject_is_a_machine_is_no_persons() {
    for said in [
        json!("ai_agent"),
        json!("service"),
        json!("user ai_agent"),
        json!(["ai_agent"]),
        json!(["user", "ai_agent"]),
        json!("client_instance"),
        json!("AI_AGENT"),
        json!("ai_agent\tuser"),
        json!(""),
        json!([]),
        json!(7),
        json!({"user": true}),
    ] {
        assert_eq!(
            foreign(&json!({ "sub_profile": said })).unwrap_err(),
            TokenError::NotAPerson("sub_profile"),
            "{said}"
        );
    }
    for said in [json!("user"), json!(["user"]), json!("user user")] {
        let terms = foreign(&json!({ "sub_profile": said })).unwrap().terms;
        assert!(terms.subject.is_some(), "{said}");
    }
}

proptest! {
    /// A reader that knows `iss` and `sub` alone cannot take an agent for a person.
    #[test]
    fn no_person_has_a_sub_that_is_a_spiffe_id(
        iss in prop::sample::select(vec!["https://m.example", "https://login.example", "http://127.0.0.1:1"]),
        sub in "spiffe://[a-z.]{1,9}/[a-z/]{1,9}|[a-z:/#]{1,20}",
    ) {
        let person = Subject { iss: iss.parse().unwrap(), sub };
        let claim = subject_claim(&person, &ours()).into_owned();
        let terms = Terms { subject: Some(person), ..plain_terms() };
        prop_assert!(build(&terms, &*KEY).is_err() || claim.parse::<mandate_core::SpiffeId>().is_err(), "{claim}");
    }
}
