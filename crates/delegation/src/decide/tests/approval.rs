//! A policy can demand an approval; what is approved is one request, by its hash.

use serde_json::Value;

use super::*;
use crate::approval::RequestHash;

const VECTORS: &str = include_str!("../../../../../vectors/approval-request.json");
const OF_AGENTS: &str = r#"@approval("required") permit (principal is Agent, action == Action::"act", resource) when { context.scope == "write:case_comments" };"#;
const OF_PEOPLE: &str =
    r#"@approval("required") permit (principal is Person, action == Action::"delegate", resource);"#;

/// The hash of the request, and the policies that demand its approval.
fn needed(vary: impl FnOnce(&mut Case)) -> (RequestHash, Vec<String>) {
    let mut case = Case::new();
    case.extra_policy = Some(OF_AGENTS);
    vary(&mut case);
    match case.decided().unwrap_err() {
        Withheld::NeedsApproval(needs) => (needs.request(), needs.by().to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_policy_that_demands_an_approval_gives_no_mandate_and_is_named() {
    for demanding in [OF_AGENTS, OF_PEOPLE] {
        assert_eq!(needed(|c| c.extra_policy = Some(demanding)).1, ["extra"]);
    }
}

#[test]
fn what_needs_an_approval_is_not_left_out_but_what_needs_none_can_be_asked_for_alone() {
    needed(|c| c.scopes = None);
    let alone = permits(|c| {
        c.extra_policy = Some(OF_AGENTS);
        c.scopes = Some(scopes("read:cases"));
    });
    assert_eq!(alone.terms.scopes, scopes("read:cases"));
}

#[test]
fn an_approval_is_not_asked_for_what_is_refused_anyway() {
    let everything = r#"@approval("required") permit (principal, action, resource);"#;
    let with = |policy: &'static str, reason, vary: fn(&mut Case)| {
        refuses(reason, |c| {
            c.extra_policy = Some(policy);
            vary(c);
        });
    };
    with(everything, R::ScopeBeyondCeiling, |c| c.scopes = Some(scopes("write:opportunities")));
    with(everything, R::NoGrant, |c| c.registry.remove(mandate_core::registry::EntryKind::Grant, "g1"));
    with(everything, R::NoLifetime, |c| c.subject.terms.expires = NOW.plus(Duration::from_millis(1)));
    with(everything, R::LineageTooLong, |c| {
        c.subject.terms.lineage.parents =
            (0..MAX_LINEAGE).map(|n| format!("p{n}").parse().unwrap()).collect();
    });
    let forbidden = r#"@approval("required") permit (principal, action, resource); forbid (principal is Agent, action, resource);"#;
    with(forbidden, R::PolicyDeniesAgent, |_| {});
}

#[test]
fn the_same_request_has_the_same_hash_whenever_and_with_whichever_token_it_is_asked() {
    let (first, _) = needed(|_| {});
    let again = needed(|c| {
        c.now = NOW.plus(Duration::from_secs(600));
        c.subject.terms.jti = "t5".parse().unwrap();
        c.subject.terms.issued = NOW.plus(Duration::from_secs(300));
        c.subject.terms.auth_time = None;
        c.grant(|g| g.max_uses = Some(9));
    });
    assert_eq!(again.0, first);
}

#[test]
fn whatever_is_approved_is_in_the_hash() {
    let changes: &[fn(&mut Case)] = &[
        |_| {},
        |c| c.scopes = Some(scopes("write:case_comments")),
        |c| c.by_app(&["support-agent"]),
        |c| c.subject.terms.client = "other-app".parse().unwrap(),
        |c| c.subject.terms.chain = ActorChain::new(vec![act("triage")]).unwrap(),
        |c| {
            c.subject.terms.chain =
                ActorChain::new(vec![Actor { iss: LOGIN.parse().unwrap(), ..act("triage") }]).unwrap();
        },
        |c| {
            let g1 = c.registry.grant(&"g1".parse().unwrap()).unwrap();
            let g2 = Grant { id: "g2".parse().unwrap(), ..Grant::clone(g1) };
            c.registry.remove(mandate_core::registry::EntryKind::Grant, "g1");
            c.registry.put(Entry::Grant(g2));
        },
        |c| {
            c.subject.terms.subject.as_mut().unwrap().sub = "sam".into();
            c.person(|p| p.id.sub = "sam".into());
        },
        |c| {
            c.foreign(SubjectScope::IdentityOnly);
            c.subject.terms.subject.as_mut().unwrap().sub = "riley".into();
        },
        |c| {
            let everything = allow("helpdesk", "read:cases write:case_comments");
            c.registry.put(Entry::Resource(resource(
                "helpdesk",
                HELPDESK,
                "read:cases write:case_comments",
                None,
            )));
            c.registry.put(Entry::Grant(grant(
                "g1",
                "support-agent",
                "helpdesk",
                "read:cases write:case_comments",
            )));
            c.agent("support-agent", |a| a.ceiling = vec![everything.clone()]);
            c.person(|p| p.may = vec![everything]);
            c.resource = HELPDESK.into();
        },
    ];
    let hashes: std::collections::HashSet<_> = changes.iter().map(|change| needed(change).0).collect();
    assert_eq!(hashes.len(), changes.len());
}

#[test]
fn a_persons_own_token_for_a_resource_needs_the_approval_and_one_for_us_asks_at_the_exchange() {
    let login = |resource: Option<&str>| {
        let mut case = Case::new();
        case.extra_policy = Some(OF_PEOPLE);
        let request = super::authorization::login_for(NOW, resource, None);
        case.facts(|facts| decide(request, facts, NOW)).map(|mandate| mandate.view().terms.scopes.clone())
    };
    assert!(matches!(login(Some(CRM)), Err(Withheld::NeedsApproval(_))));
    assert!(login(None).unwrap().contains(&"read:cases".parse().unwrap()));
    needed(|c| c.extra_policy = Some(OF_PEOPLE));
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn named(value: &Value) -> mandate_core::Subject {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn the_canonical_form_is_that_of_the_vectors() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let requests = vectors["requests"].as_array().unwrap();
    assert!(requests.len() >= 3);
    for vector in requests {
        let chain = vector["chain"].as_array().unwrap().iter().map(|actor| {
            let mandate_core::Subject { iss, sub } = named(actor);
            Actor { sub, iss, sub_profile: None }
        });
        let view = permits(|_| {});
        let terms = Terms {
            issuer: vector["issuer"].as_str().unwrap().parse().unwrap(),
            subject: vector.get("subject").map(named),
            chain: ActorChain::new(chain.collect()).unwrap(),
            audience: Audience::one(vector["resource"].as_str().unwrap().to_owned()),
            scopes: texts(&vector["scopes"]).join(" ").parse().unwrap(),
            client: vector["client"].as_str().unwrap().parse().unwrap(),
            lineage: Lineage {
                parents: vec!["differs".parse().unwrap()],
                grants: texts(&vector["grants"]).iter().map(|id| id.parse().unwrap()).collect(),
                clients: texts(&vector["clients"]).iter().map(|id| id.parse().unwrap()).collect(),
            },
            ..Terms::clone(&view.terms)
        };
        let view = MandateView { terms: Arc::new(terms), ..view };
        assert_eq!(
            base16ct::lower::encode_string(&view.terms.approval_form()),
            vector["bytes"].as_str().unwrap(),
            "{}",
            vector["name"]
        );
        assert_eq!(
            RequestHash::of(&view).to_string(),
            vector["sha256"].as_str().unwrap(),
            "{}",
            vector["name"]
        );
    }
}

#[test]
fn details_are_approved_with_the_rest_and_by_value() {
    let hash = |details: &str| {
        let view = permits(|_| {});
        let terms = Terms { details: serde_json::from_str(details).unwrap(), ..Terms::clone(&view.terms) };
        RequestHash::of(&MandateView { terms: Arc::new(terms), ..view })
    };
    let one = hash(r#"[{"type":"case","most":3}]"#);
    assert_eq!(one, hash(r#"[ {"most":3, "type":"case"} ]"#), "members have no order");
    for other in [
        "[]",
        r#"[{"type":"case","most":4}]"#,
        r#"[{"type":"case"}]"#,
        r#"[{"type":"case","most":3},{"type":"case","most":3}]"#,
    ] {
        assert_ne!(one, hash(other), "{other}");
    }
}
