//! What the groups of a person add to their rights, and which groups a token names.

use mandate_core::GroupName;
use mandate_core::registry::{EntryKind, Group};

use super::authorization::login_for;
use super::*;
use crate::credential::{LoggedInPerson, ProvenGroups, ProviderLogin};

const OTHER: &str = "https://sso.other.example";

pub(super) fn group(name: &str, issuer: &str, may: Vec<Permission>) -> Entry {
    let (name, issuer): (GroupName, Issuer) = (name.parse().unwrap(), issuer.parse().unwrap());
    Entry::Group(Group { id: format!("id-of-{name}"), name, issuer, may })
}

pub(super) fn names(all: &[&str]) -> Vec<GroupName> {
    all.iter().map(|name| name.parse().unwrap()).collect()
}

fn ids(all: &[&str]) -> Vec<String> {
    all.iter().map(|name| format!("id-of-{name}")).collect()
}

/// The trusted issuer, whose tokens name groups.
pub(super) fn naming_groups() -> TrustedIssuer {
    TrustedIssuer {
        groups_claim: Some("groups".parse().unwrap()),
        ..trusted_issuer(AUDIENCE, SubjectScope::IdentityOnly)
    }
}

/// Riley, of another issuer, may read cases; the other rights come from groups.
fn case() -> Case {
    let mut case = Case::new();
    case.foreign(SubjectScope::IdentityOnly);
    let issuer = naming_groups();
    case.subject.origin = SubjectOrigin::Foreign(Arc::new(issuer.clone()), ForeignToken::AccessToken);
    case.registry.put(Entry::Issuer(issuer));
    case.person(|p| p.may = vec![allow("crm", "read:cases")]);
    case.registry.put(group("writers", LOGIN, vec![allow("crm", "write:case_comments")]));
    case.registry.put(group("desk", LOGIN, vec![allow("helpdesk", "read:cases")]));
    case.registry.put(group("abroad", OTHER, vec![allow("crm", "write:case_comments")]));
    case.scopes = Some(scopes("write:case_comments"));
    case
}

/// The same, with a token of ours that names these groups.
fn own(all: &[&str]) -> Case {
    let mut case = case();
    case.subject.origin = SubjectOrigin::Own;
    case.subject.terms.issuer = ISSUER.parse().unwrap();
    case.subject.terms.audience = Audience::one(ISSUER.into());
    case.subject.terms.scopes = scopes("read:cases write:case_comments");
    case.subject.terms.groups = names(all);
    case
}

fn foreign(all: &[&str]) -> Case {
    let mut case = case();
    case.subject.mapped.groups = ids(all);
    case
}

#[test]
fn a_group_that_the_token_proves_adds_its_rights_and_the_result_names_it() {
    for case in [foreign(&["writers", "desk"]), own(&["desk", "writers"])] {
        let view = case.run().unwrap();
        assert_eq!(view.terms.scopes, scopes("write:case_comments"));
        assert_eq!(view.terms.groups, names(&["writers"]), "and no group that has nothing there");
    }
    for case in [foreign(&[]), own(&[]), foreign(&["desk"]), own(&["desk"])] {
        assert_eq!(case.run(), Err(R::ScopeBeyondPerson));
    }
    let mut alone = foreign(&["writers"]);
    alone.scopes = Some(scopes("read:cases"));
    let named = alone.run().unwrap().terms.groups.clone();
    assert_eq!(named, names(&["writers"]), "also beside what the person may do alone: its limits count");
}

#[test]
fn groups_that_are_not_registered_or_of_another_issuer_give_nothing() {
    for case in [foreign(&["ghosts", "abroad"]), own(&["ghosts", "abroad"])] {
        assert_eq!(case.run(), Err(R::ScopeBeyondPerson));
    }
    // The exact text is compared: neither the name nor another case of it is the id.
    for id in ["writers", "ID-OF-writers", "id-of-writers ", "id-of-writer"] {
        let mut case = case();
        case.subject.mapped.groups = vec![id.to_owned()];
        assert_eq!(case.run(), Err(R::ScopeBeyondPerson), "{id}");
    }
}

#[test]
fn a_change_of_the_registry_counts_at_the_next_exchange() {
    let changes: [fn(&mut Registry); 4] = [
        |registry| registry.remove(EntryKind::Group, "writers"),
        |registry| registry.put(group("writers", LOGIN, Vec::new())),
        |registry| registry.put(group("writers", OTHER, vec![allow("crm", "write:case_comments")])),
        |registry| registry.put(Entry::Issuer(trusted_issuer(AUDIENCE, SubjectScope::IdentityOnly))),
    ];
    for change in changes {
        let mut case = own(&["writers"]);
        case.run().unwrap();
        change(&mut case.registry);
        assert_eq!(case.run(), Err(R::ScopeBeyondPerson));
    }
    // The token of another issuer was read as its entry said then.
    let mut case = foreign(&["writers"]);
    case.registry.put(Entry::Issuer(trusted_issuer(AUDIENCE, SubjectScope::IdentityOnly)));
    assert_eq!(case.run(), Err(R::ProofOutdated));
}

#[test]
fn a_cut_on_a_group_refuses_the_tokens_that_name_it_and_no_others() {
    let mut case = own(&["writers"]);
    case.cut(CutTarget::Group("writers".parse().unwrap()));
    assert_eq!(case.run(), Err(R::SubjectRevoked));
    case.subject.terms.groups = names(&["desk"]);
    assert_eq!(case.run(), Err(R::ScopeBeyondPerson));
    let mut case = foreign(&["writers"]);
    case.cut(CutTarget::Group("writers".parse().unwrap()));
    assert!(case.run().is_ok(), "another issuer's token is read with the group's rights of now");
}

#[test]
fn every_limit_of_a_right_counts_whether_a_person_or_a_group_has_it() {
    let limited = Permission { constraints: within(60), ..allow("crm", "write:case_comments") };
    let mut case = own(&["writers"]);
    case.registry.put(group("writers", LOGIN, vec![limited]));
    case.scopes = Some(scopes("read:cases write:case_comments"));
    assert_eq!(case.run().unwrap().terms.expires, NOW.plus(Duration::from_secs(60)));
}

#[test]
fn a_limit_of_a_group_goes_on_where_its_rights_are_not_asked_for() {
    let limited = Permission { constraints: within(60), ..allow("crm", "write:case_comments") };
    let mut case = own(&["writers"]);
    case.registry.put(group("writers", LOGIN, vec![limited]));
    case.scopes = Some(scopes("read:cases"));
    let first = case.run().unwrap();
    assert_eq!(first.terms.expires, NOW.plus(Duration::from_secs(60)));
    case.subject.terms.groups.clone_from(&first.terms.groups);
    assert_eq!(case.run().unwrap().terms.expires, NOW.plus(Duration::from_secs(60)));
}

#[test]
fn policies_see_the_groups_by_name() {
    const ONLY_WRITERS: &str = r#"
        forbid (principal is Person, action == Action::"delegate", resource)
        unless { principal.groups.contains("writers") };"#;
    for (all, expected) in [(&["writers", "desk"][..], None), (&["desk"][..], Some(R::PolicyDeniesPerson))] {
        for mut case in [foreign(all), own(all)] {
            case.extra_policy = Some(ONLY_WRITERS);
            case.scopes = Some(scopes("read:cases"));
            assert_eq!(case.run().err(), expected);
        }
    }
}

/// A login at the provider, which named these groups in this claim.
fn login(claim: &str, all: &[&str], resource: Option<&str>, asked: Option<&str>) -> DecisionRequest {
    let DecisionRequest::Authorization(mut request) = login_for(NOW, resource, asked) else { panic!() };
    let id = mandate_core::Subject { iss: LOGIN.parse().unwrap(), sub: "riley".into() };
    let groups = Some(ProvenGroups { claim: claim.parse().unwrap(), ids: ids(all) });
    let provider = ProviderLogin { id, auth_time: None, acr: None, amr: Vec::new(), groups, tenant: None };
    request.person = LoggedInPerson::assertion_at_provider("riley".parse().unwrap(), NOW, provider);
    DecisionRequest::Authorization(request)
}

fn logged_in(
    case: &Case,
    claim: &str,
    all: &[&str],
    to: (Option<&str>, Option<&str>),
) -> Result<MandateView, R> {
    let request = login(claim, all, to.0, to.1);
    case.facts(|facts| decide(request, facts, NOW)).map(|m| m.view().clone()).map_err(reason)
}

/// As [`case`], where people log in.
fn at_provider() -> Case {
    let mut case = case();
    let client = mandate_core::registry::UpstreamClient { client_id: "m".into(), client_secret_file: None };
    case.registry.put(Entry::Issuer(TrustedIssuer { login: Some(client), ..naming_groups() }));
    case
}

#[test]
fn a_login_has_the_groups_that_the_provider_named_and_a_token_for_us_keeps_all_that_are_known() {
    let case = at_provider();
    let all = ["writers", "ghosts", "desk", "abroad"];
    let view = logged_in(&case, "groups", &all, (None, None)).unwrap();
    assert_eq!(view.terms.scopes, scopes("read:cases write:case_comments"));
    assert_eq!(view.terms.groups, names(&["desk", "writers"]));
    let view = logged_in(&case, "groups", &all, (Some(CRM), None)).unwrap();
    assert_eq!(view.terms.scopes, scopes("read:cases write:case_comments"));
    assert_eq!(view.terms.groups, names(&["writers"]));
    let view = logged_in(&case, "groups", &[], (Some(CRM), None)).unwrap();
    assert_eq!((&view.terms.scopes, view.terms.groups.len()), (&scopes("read:cases"), 0));
    let beyond = logged_in(&case, "groups", &["desk"], (Some(CRM), Some("write:case_comments")));
    assert_eq!(beyond, Err(R::ScopeBeyondPerson));
}

#[test]
fn a_login_whose_groups_were_in_another_claim_proves_none() {
    let case = at_provider();
    let view = logged_in(&case, "department", &["writers"], (Some(CRM), None)).unwrap();
    assert_eq!((&view.terms.scopes, view.terms.groups.len()), (&scopes("read:cases"), 0));
}
