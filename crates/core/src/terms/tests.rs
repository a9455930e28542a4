use proptest::prelude::*;
use serde_json::json;

use super::{Audience, Confirmation, Term, Terms};
use crate::subject::{Actor, ActorChain, Subject};
use crate::time::Timestamp;

fn terms() -> Terms {
    let issuer: crate::Issuer = "https://m.example".parse().unwrap();
    let actor = Actor { sub: "spiffe://td/agent/a".into(), iss: issuer.clone(), sub_profile: None };
    let subject = Subject { iss: issuer.clone(), sub: "riley".into() };
    let (client, jti, scopes) =
        ("app".parse().unwrap(), "t1".parse().unwrap(), "read:cases".parse().unwrap());
    let times = (Timestamp::from_millis(1_500), Timestamp::from_secs(301));
    Terms {
        chain: ActorChain::new(vec![actor]).unwrap(),
        ..Terms::new(issuer, subject, client, Audience::one("https://crm.example".into()), scopes, jti, times)
    }
}

type Change = (Term, fn(&mut Terms));

/// One change of each term.
const CHANGES: [Change; 17] = [
    (Term::Issuer, |Terms { issuer, .. }| *issuer = "https://other.example".parse().unwrap()),
    (Term::Subject, |Terms { subject, .. }| *subject = None),
    (Term::Chain, |Terms { chain, .. }| *chain = ActorChain::empty()),
    (Term::Audience, |Terms { audience, .. }| {
        *audience = Audience::several("https://crm.example".into(), vec!["https://b.example".into()]);
    }),
    (Term::Scopes, |Terms { scopes, .. }| *scopes = "read:cases send:mail".parse().unwrap()),
    (Term::Details, |Terms { details, .. }| {
        *details = serde_json::from_value(json!([{"type": "a"}])).unwrap();
    }),
    (Term::Issued, |Terms { issued, .. }| *issued = Timestamp::from_millis(1_501)),
    (Term::Expires, |Terms { expires, .. }| *expires = Timestamp::from_secs(302)),
    (Term::Jti, |Terms { jti, .. }| *jti = "t2".parse().unwrap()),
    (Term::Client, |Terms { client, .. }| *client = "app2".parse().unwrap()),
    (Term::Lineage, |Terms { lineage, .. }| lineage.parents.push("t0".parse().unwrap())),
    (Term::Cnf, |Terms { cnf, .. }| *cnf = Some(Confirmation::Unknown)),
    (Term::AuthTime, |Terms { auth_time, .. }| *auth_time = Some(Timestamp::from_secs(1))),
    (Term::Acr, |Terms { acr, .. }| *acr = Some("1".into())),
    (Term::Amr, |Terms { amr, .. }| amr.push("pwd".into())),
    (Term::Groups, |Terms { groups, .. }| groups.push("staff".parse().unwrap())),
    (Term::Tenant, |Terms { tenant, .. }| *tenant = Some("acme".parse().unwrap())),
];

#[test]
fn the_term_that_differs_is_named() {
    for (term, change) in CHANGES {
        let mut other = terms();
        change(&mut other);
        assert_eq!(terms().first_difference(&other), Some(term));
        assert_eq!(other.first_difference(&terms()), Some(term));
        assert_eq!(other.first_difference(&other.clone()), None);
    }
}

proptest! {
    #[test]
    fn there_is_no_difference_exactly_between_equal_terms(one in prop::collection::vec(any::<bool>(), 17), two in prop::collection::vec(any::<bool>(), 17)) {
        let changed = |which: &[bool]| {
            let mut changed = terms();
            CHANGES.iter().zip(which).filter(|(_, chosen)| **chosen).for_each(|((_, change), _)| change(&mut changed));
            changed
        };
        let (one, two) = (changed(&one), changed(&two));
        prop_assert_eq!(one.first_difference(&two).is_none(), one == two);
    }
}

#[test]
fn one_audience_is_only_that_and_several_are_none_of_them() {
    let one = Audience::one("https://crm.example".into());
    assert!(one.is_only("https://crm.example") && one.is_only("https://crm.example/"));
    assert!(!one.is_only("https://crm.example/api") && !one.is_only("https://CRM.example"));
    let two = Audience::several("https://crm.example".into(), vec!["https://b.example".into()]);
    assert!(!two.is_only("https://crm.example") && !two.is_only("https://b.example") && two.sole().is_none());
    assert_eq!(two.iter().collect::<Vec<_>>(), ["https://crm.example", "https://b.example"]);
    assert_eq!(Audience::several("https://crm.example".into(), Vec::new()), one);
}
