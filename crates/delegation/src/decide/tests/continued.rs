//! The token of a login that goes on while the person is away.

use super::*;
use crate::credential::{LoggedInPerson, LoginClient};
use crate::decide::{Authorization, ContinuedLogin};

const HOUR: Duration = Duration::from_hours(1);

/// Riley's login, ten days ago.
fn login() -> Timestamp {
    NOW.minus(24 * 10 * HOUR)
}

/// The story with a client that may go on.
fn refreshing() -> Case {
    let mut case = Case::new();
    case.registry.put(Entry::Client(Client { refresh: true, ..support_app(&[]) }));
    case
}

fn goes_on(case: &Case, resource: Option<&str>, ends: Timestamp) -> Result<MandateView, R> {
    let client = ProvenClient::assertion(Arc::new(support_app(&[])), NOW.plus(Duration::from_secs(1)));
    let request = DecisionRequest::Authorization(Authorization {
        client: LoginClient::App(client),
        person: LoggedInPerson::assertion("riley".parse().unwrap(), login()),
        resource: resource.map(|uri| uri.parse().unwrap()),
        scopes: Some(scopes("read:cases mandate:admin")),
        jti: "t9".parse().unwrap(),
        continued: Some(ContinuedLogin { root: "t0".parse().unwrap(), ends }),
    });
    case.facts(|facts| decide(request, facts, NOW)).map(|m| m.view().clone()).map_err(reason)
}

#[test]
fn a_refreshed_token_descends_from_the_first_and_says_when_the_person_logged_in() {
    let terms = goes_on(&refreshing(), Some(CRM), NOW.plus(2 * HOUR)).unwrap().terms;
    assert_eq!(terms.lineage.parents, vec!["t0".parse().unwrap()]);
    assert!(terms.lineage.grants.is_empty() && terms.lineage.clients.is_empty() && terms.chain.is_empty());
    assert_eq!((terms.auth_time, terms.amr.as_slice()), (Some(login()), ["pwd".to_owned()].as_slice()));
    assert_eq!(terms.expires, NOW.plus(HOUR));
    assert_eq!(terms.scopes, scopes("read:cases"));
}

#[test]
fn a_refreshed_token_does_not_outlive_the_login() {
    let soon = NOW.plus(HOUR / 2);
    assert_eq!(goes_on(&refreshing(), Some(CRM), soon).unwrap().terms.expires, soon);
    assert_eq!(goes_on(&refreshing(), None, soon).unwrap().terms.expires, soon);
    assert_eq!(goes_on(&refreshing(), None, NOW.plus(Duration::from_millis(1))), Err(R::NoLifetime));
    assert_eq!(goes_on(&refreshing(), None, NOW), Err(R::SubjectExpired));
}

#[test]
fn a_login_goes_on_only_while_person_client_and_rights_are_what_they_must_be() {
    let ends = NOW.plus(HOUR);
    let refused = |why: R, vary: &dyn Fn(&mut Case)| {
        let mut case = refreshing();
        vary(&mut case);
        assert_eq!(goes_on(&case, Some(CRM), ends), Err(why));
    };
    assert_eq!(goes_on(&Case::new(), Some(CRM), ends), Err(R::SubjectRevoked), "the entry does not let it");
    let riley = || mandate_core::Subject { iss: ISSUER.parse().unwrap(), sub: "riley".into() };
    refused(R::SubjectRevoked, &|c| c.cut(CutTarget::Token("t0".parse().unwrap())));
    refused(R::SubjectRevoked, &|c| c.cut(CutTarget::Person(riley())));
    refused(R::ProofOutdated, &|c| {
        let authentication = ClientAuthentication::None;
        c.registry.put(Entry::Client(Client { refresh: true, authentication, ..support_app(&[]) }));
    });
    refused(R::SubjectRevoked, &|c| {
        let cut = CutTarget::Client("support-app".parse().unwrap());
        c.revocations.insert(Cut { target: cut, at: login(), forget: NOW.plus(HOUR) });
    });
    refused(R::PersonDisabled, &|c| c.person(|p| p.disabled = true));
    refused(R::ScopeBeyondPerson, &|c| c.person(|p| p.may.clear()));
    refused(R::ScopeBeyondClient, &|c| {
        let scopes = Some(scopes("send:mail"));
        c.registry.put(Entry::Client(Client { refresh: true, scopes, ..support_app(&[]) }));
    });
    refused(R::PolicyDeniesPerson, &|c| c.extra_policy = Some("forbid (principal, action, resource);"));
    assert_eq!(goes_on(&refreshing(), Some("https://other.example"), ends), Err(R::ResourceUnknown));
}

#[test]
fn nobody_administrates_while_they_are_away() {
    let mut case = Case::new();
    let listed = Some(scopes("read:cases mandate:admin"));
    case.registry.put(Entry::Client(Client { refresh: true, scopes: listed, ..support_app(&[]) }));
    assert_eq!(goes_on(&case, Some(ISSUER), NOW.plus(HOUR)), Err(R::ResourceNotDelegable));
    let exchangeable = goes_on(&case, None, NOW.plus(HOUR)).unwrap();
    assert_eq!(exchangeable.terms.scopes, scopes("read:cases"));
}

#[test]
fn an_exchange_of_a_refreshed_token_falls_with_the_first_token_of_the_login() {
    let refreshed = |c: &mut Case| c.subject.terms.lineage.parents = vec!["root".parse().unwrap()];
    let view = permits(refreshed);
    assert_eq!(view.terms.lineage.parents, vec!["t0".parse().unwrap(), "root".parse().unwrap()]);
    refuses(R::SubjectRevoked, |c| {
        refreshed(c);
        c.cut(CutTarget::Token("root".parse().unwrap()));
    });
}
