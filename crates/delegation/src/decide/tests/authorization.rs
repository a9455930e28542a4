//! A person's own token.

use mandate_core::lifetimes::PERSON_TOKEN_LIFETIME;

use super::*;
use crate::credential::{LoggedInPerson, LoginClient};
use crate::decide::Authorization;

fn authorize(case: &Case, resource: Option<&str>, asked: Option<&str>) -> Result<MandateView, R> {
    authorize_since(case, NOW, resource, asked)
}

fn authorize_since(
    case: &Case,
    login: Timestamp,
    resource: Option<&str>,
    asked: Option<&str>,
) -> Result<MandateView, R> {
    let request = login_for(login, resource, asked);
    case.facts(|facts| decide(request, facts, NOW)).map(|m| m.view().clone()).map_err(reason)
}

pub(super) fn login_for(login: Timestamp, resource: Option<&str>, asked: Option<&str>) -> DecisionRequest {
    DecisionRequest::Authorization(Authorization {
        client: LoginClient::App(ProvenClient::assertion(
            Arc::new(support_app(&[])),
            NOW.plus(Duration::from_secs(1)),
        )),
        person: LoggedInPerson::assertion("riley".parse().unwrap(), login),
        resource: resource.map(|uri| uri.parse().unwrap()),
        scopes: asked.map(scopes),
        jti: "t1".parse().unwrap(),
        continued: None,
    })
}

#[test]
fn a_login_yields_the_persons_own_rights_without_an_actor() {
    let view = authorize(&Case::new(), None, None).unwrap();
    assert_eq!((view.terms.audience.sole().unwrap(), view.terms.chain.is_empty()), (ISSUER, true));
    assert_eq!(
        view.terms.scopes,
        scopes("read:cases write:case_comments write:opportunities"),
        "never our own administration unasked"
    );
    let view = authorize(&Case::new(), Some(CRM), Some("read:cases send:mail")).unwrap();
    assert_eq!((view.terms.audience.sole().unwrap(), &view.terms.scopes), (CRM, &scopes("read:cases")));
}

/// The case with this list of scopes in the client's entry.
fn listing(listed: &str) -> Case {
    let mut case = Case::new();
    case.registry.put(Entry::Client(Client { scopes: Some(scopes(listed)), ..support_app(&[]) }));
    case
}

#[test]
fn our_own_administration_is_for_clients_whose_entry_lists_it() {
    for asked in [None, Some("mandate:admin")] {
        assert_eq!(authorize(&Case::new(), Some(ISSUER), asked), Err(R::ScopeBeyondClient), "{asked:?}");
        assert_eq!(
            authorize(&listing("read:cases"), Some(ISSUER), asked),
            Err(R::ScopeBeyondClient),
            "{asked:?}"
        );
        assert_eq!(
            authorize(&listing("mandate:admin"), Some(ISSUER), asked).unwrap().terms.scopes,
            scopes("mandate:admin"),
            "{asked:?}"
        );
    }
}

#[test]
fn a_client_is_given_only_scopes_that_its_entry_lists() {
    let case = listing("read:cases send:mail");
    for resource in [None, Some(CRM)] {
        assert_eq!(
            authorize(&case, resource, None).unwrap().terms.scopes,
            scopes("read:cases"),
            "{resource:?}"
        );
        let both = Some("read:cases write:case_comments");
        assert_eq!(
            authorize(&case, resource, both).unwrap().terms.scopes,
            scopes("read:cases"),
            "{resource:?}"
        );
        assert_eq!(
            authorize(&case, resource, Some("write:case_comments")),
            Err(R::ScopeBeyondClient),
            "{resource:?}"
        );
        assert_eq!(authorize(&case, resource, Some("send:mail")), Err(R::ScopeBeyondPerson), "{resource:?}");
    }
    for resource in [None, Some(CRM)] {
        assert_eq!(authorize(&listing(""), resource, None), Err(R::ScopeBeyondClient), "{resource:?}");
    }
}

#[test]
fn what_is_not_known_is_left_out_and_nothing_else_is_a_mistake() {
    let case = Case::new();
    for resource in [None, Some(CRM)] {
        assert_eq!(
            authorize(&case, resource, Some("openid read:cases")).unwrap().terms.scopes,
            scopes("read:cases"),
            "{resource:?}"
        );
        assert_eq!(authorize(&case, resource, Some("openid")), Err(R::ScopeUnknown), "{resource:?}");
    }
}

#[test]
fn a_login_refuses_what_the_person_has_not() {
    let mut case = Case::new();
    assert_eq!(authorize(&case, Some("http://127.0.0.1:9199"), None), Err(R::ResourceUnknown));
    assert_eq!(
        authorize(&case, None, Some("mandate:admin")),
        Err(R::ScopeUnknown),
        "administration is asked for by name and alone"
    );
    assert_eq!(authorize(&case, Some(CRM), Some("send:mail")), Err(R::ScopeBeyondPerson));
    case.extra_policy = Some(r#"forbid (principal is Person, action == Action::"delegate", resource);"#);
    assert_eq!(authorize(&case, None, None), Err(R::PolicyDeniesPerson));
    case.person(|p| p.disabled = true);
    assert_eq!(authorize(&case, None, None), Err(R::PersonDisabled));
    case.registry.remove(mandate_core::registry::EntryKind::Person, "riley");
    assert_eq!(authorize(&case, None, None), Err(R::PersonUnknown));
}

#[test]
fn a_login_yields_an_hour_and_says_when_and_how_the_person_proved_who_they_are() {
    let view = authorize(&Case::new(), None, None).unwrap();
    assert_eq!((view.terms.issued, view.terms.expires), (NOW, NOW.plus(PERSON_TOKEN_LIFETIME)));
    assert_eq!((view.terms.auth_time, view.terms.amr.as_slice()), (Some(NOW), ["pwd".to_owned()].as_slice()));
    assert_eq!((view.terms.client.as_str(), view.terms.lineage.is_empty()), ("support-app", true));
}

#[test]
fn a_right_with_a_lifetime_bounds_the_persons_own_token_on_that_resource() {
    let lasts = |secs, resource| {
        let mut case = Case::new();
        case.person(|p| p.may[0].constraints = within(secs));
        authorize(&case, resource, None).map(|view| view.terms.expires.since(NOW).as_secs())
    };
    assert_eq!(lasts(600, Some(CRM)), Ok(600));
    assert_eq!(lasts(86_400, Some(CRM)), Ok(3600), "never over an hour");
    assert_eq!(lasts(600, Some(HELPDESK)), Ok(3600), "of another resource");
    assert_eq!(lasts(600, None), Ok(3600), "limited at each exchange instead");
    assert_eq!(lasts(0, Some(CRM)), Err(R::NoLifetime));
}

#[test]
fn what_the_resource_no_longer_has_is_not_given() {
    let mut case = Case::new();
    case.registry.put(Entry::Resource(resource("crm", CRM, "read:cases send:mail", None)));
    assert_eq!(authorize(&case, Some(CRM), None).unwrap().terms.scopes, scopes("read:cases"));
    assert_eq!(authorize(&case, None, None).unwrap().terms.scopes, scopes("read:cases"));
    // Nor because another resource has it, on which the person has no such right.
    case.person(|p| p.may = vec![allow("crm", "read:cases"), allow("helpdesk", "read:cases send:mail")]);
    assert_eq!(authorize(&case, None, Some("send:mail")), Err(R::ScopeBeyondPerson));
}

#[test]
fn a_policy_takes_away_a_part_of_a_login_and_leaves_exactly_the_rest() {
    let mut case = Case::new();
    case.extra_policy = Some(
        r#"forbid (principal is Person, action == Action::"delegate", resource) when { context.scope == "write:case_comments" };"#,
    );
    assert_eq!(
        authorize(&case, Some(CRM), None).unwrap().terms.scopes,
        scopes("read:cases write:opportunities")
    );
    assert_eq!(authorize(&case, None, None).unwrap().terms.scopes, scopes("read:cases write:opportunities"));
    let by_client = r#"forbid (principal is Person, action == Action::"delegate", resource) when { context.client == "support-app" };"#;
    case.extra_policy = Some(by_client);
    assert_eq!(authorize(&case, Some(CRM), None), Err(R::PolicyDeniesPerson), "policy is told the client");
}

#[test]
fn policies_that_permitted_are_named_once_and_in_order() {
    let view = authorize(&Case::new(), None, None).unwrap();
    let mut sorted = view.policies.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    assert!(!sorted.is_empty());
    assert_eq!(*view.policies, sorted, "two resources were asked about");
}

#[test]
fn one_resource_that_policy_denies_does_not_deny_the_others() {
    let mut case = Case::new();
    case.extra_policy =
        Some(r#"forbid (principal is Person, action == Action::"delegate", resource == Resource::"crm");"#);
    assert_eq!(authorize(&case, None, None).unwrap().terms.scopes, scopes("read:cases"));
}

#[test]
fn the_administration_scope_of_an_ordinary_resource_is_not_ours() {
    let mut case = Case::new();
    case.registry.put(Entry::Resource(resource("crm", CRM, "read:cases mandate:admin", None)));
    case.person(|p| p.may = vec![allow("crm", "read:cases mandate:admin")]);
    assert_eq!(authorize(&case, None, None).unwrap().terms.scopes, scopes("read:cases"));
    assert_eq!(
        authorize(&case, None, Some("read:cases mandate:admin")).unwrap().terms.scopes,
        scopes("read:cases")
    );
    assert_eq!(authorize(&case, None, Some("mandate:admin")), Err(R::ScopeUnknown));
    // At the resource that declares it, it means what that resource says.
    assert_eq!(authorize(&case, Some(CRM), None).unwrap().terms.scopes, scopes("read:cases mandate:admin"));
    case.registry.put(Entry::Client(Client { scopes: Some(scopes("mandate:admin")), ..support_app(&[]) }));
    assert_eq!(authorize(&case, Some(ISSUER), None), Err(R::ScopeBeyondPerson));
}

#[test]
fn a_login_from_before_a_cut_on_the_person_or_client_opens_nothing() {
    let riley = CutTarget::Person(Case::new().subject.terms.subject.unwrap());
    for target in [riley, CutTarget::Client("support-app".parse().unwrap())] {
        let mut case = Case::new();
        case.cut(target);
        for (login, outcome) in [(NOW.millis() - 1, false), (NOW.millis(), false), (NOW.millis() + 1, true)] {
            let view = authorize_since(&case, Timestamp::from_millis(login), None, None);
            assert_eq!(view.is_ok(), outcome, "{login}");
            assert!(outcome || view == Err(R::SubjectRevoked));
        }
    }
    let mut case = Case::new();
    case.cut(CutTarget::Client("other-app".parse().unwrap()));
    assert!(authorize(&case, None, None).is_ok());
}

#[test]
fn a_login_here_opens_nothing_for_somebody_of_another_issuer_who_was_given_the_name() {
    let mut case = Case::new();
    case.person(|p| p.id = mandate_core::Subject { iss: LOGIN.parse().unwrap(), sub: "riley".into() });
    assert_eq!(authorize(&case, None, None), Err(R::SubjectRevoked));
}

#[test]
fn a_client_that_authenticates_otherwise_than_it_did_is_given_nothing() {
    let mut case = Case::new();
    case.registry
        .put(Entry::Client(Client { authentication: ClientAuthentication::None, ..support_app(&[]) }));
    assert_eq!(authorize(&case, None, None), Err(R::ProofOutdated));
}

#[test]
fn a_client_that_is_gone_is_given_nothing() {
    let mut case = Case::new();
    case.registry.remove(mandate_core::registry::EntryKind::Client, "support-app");
    assert_eq!(authorize(&case, None, None), Err(R::SubjectRevoked));
}

/// Riley with these scopes on each of some resources.
fn with_many(resources: usize, scopes_of: impl Fn(usize) -> String) -> Case {
    let mut case = Case::new();
    let mut may = Vec::new();
    for n in 0..resources {
        let (name, text) = (format!("many{n}"), scopes_of(n));
        case.registry.put(Entry::Resource(resource(
            &name,
            &format!("http://127.0.0.1:{}", 9300 + n),
            &text,
            None,
        )));
        may.push(allow(&name, &text));
    }
    case.person(|person| person.may = may);
    case
}

#[test]
fn more_scopes_than_a_token_can_carry_are_refused_and_a_resource_or_some_scopes_are_permitted() {
    let numbered = |of: usize| (0..100).map(|n| format!("s{of}:{n}")).collect::<Vec<_>>().join(" ");
    assert_eq!(authorize(&with_many(5, numbered), None, None).unwrap().terms.scopes.len(), 500);
    let case = with_many(6, numbered);
    assert_eq!(
        authorize(&case, None, None),
        Err(R::TooMuchForOneToken),
        "our own verifier reads no more than 512"
    );
    assert_eq!(authorize(&case, Some("http://127.0.0.1:9300"), None).unwrap().terms.scopes.len(), 100);
    assert_eq!(authorize(&case, None, Some("s0:1 s5:99")).unwrap().terms.scopes.len(), 2);

    let long =
        |of: usize| (0..100).map(|n| format!("s{of}:{n}:{}", "x".repeat(80))).collect::<Vec<_>>().join(" ");
    assert_eq!(authorize(&with_many(2, long), None, None), Err(R::TooMuchForOneToken), "16 KiB");
    assert_eq!(authorize(&with_many(1, long), None, None).unwrap().terms.scopes.len(), 100);
}
