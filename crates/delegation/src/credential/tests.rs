//! For how long what an actor proved is valid.

use std::sync::Arc;
use std::time::Duration;

use mandate_core::registry::{
    Agent, AgentProof, AgentState, BundleSource, Entry, EntryKind, ForeignDomain, Registry,
};
use mandate_core::{CutTarget, RevocationSet, Timestamp};
use mandate_token::jwt_svid::JwtSvid;

use super::VerifiedActor;
use crate::revocation::cut;

const ID: &str = "spiffe://example.org/ci/builder";

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn agent(svid: &str) -> Agent {
    Agent {
        name: "builder".parse().unwrap(),
        owner: "olga".parse().unwrap(),
        spiffe_id: "spiffe://acme.example/agent/builder".parse().unwrap(),
        selectors: Vec::new(),
        proofs: vec![AgentProof::Svid { svid: svid.parse().unwrap() }],
        ceiling: Vec::new(),
        may: Vec::new(),
        chain_depth: 1,
        state: AgentState::Active,
        purpose: String::new(),
        tenant: None,
    }
}

fn domain(path: &str) -> ForeignDomain {
    let bundle = BundleSource::File { path: path.to_owned() };
    ForeignDomain { name: "example.org".parse().unwrap(), bundle, ca: None, proxy: None }
}

fn svid(id: &str) -> JwtSvid {
    let (audiences, exp) = (vec!["https://m.example".to_owned()], at(2_000));
    JwtSvid { spiffe_id: id.parse().unwrap(), audiences, exp, iat: None, jti: None }
}

#[test]
fn an_identity_of_another_trust_domain_proves_the_agent_that_names_it_and_no_other() {
    let domain = Arc::new(domain("/bundle"));
    let proven = |named: &str, shown: &str| {
        VerifiedActor::from_foreign_svid(&Arc::new(agent(named)), &domain, svid(shown), at(1_000))
    };
    let actor = proven(ID, ID).unwrap();
    assert_eq!(actor.spiffe_id().as_str(), "spiffe://acme.example/agent/builder");
    assert!(proven("spiffe://example.org/ci/other", ID).is_none());
    let elsewhere = "spiffe://partner.example/ci/builder";
    assert!(proven(elsewhere, elsewhere).is_none(), "it is of another trust domain than the keys");
}

#[test]
fn it_stands_as_long_as_entry_and_trust_domain_are_what_they_were() {
    let trusted = Arc::new(domain("/bundle"));
    let actor =
        VerifiedActor::from_foreign_svid(&Arc::new(agent(ID)), &trusted, svid(ID), at(1_000)).unwrap();
    let before = || Registry::from_entries([Entry::Agent(agent(ID)), Entry::TrustDomain(domain("/bundle"))]);
    let stands = |change: &dyn Fn(&mut Registry), now: u64| {
        let mut registry = before();
        change(&mut registry);
        actor.still_stands(&registry, &RevocationSet::default(), at(now))
    };
    assert!(stands(&|_| (), 1_999) && !stands(&|_| (), 2_000), "until it expires");
    assert!(!stands(&|registry| registry.put(Entry::Agent(agent("spiffe://example.org/ci/x"))), 1_001));
    assert!(!stands(&|registry| registry.remove(EntryKind::Agent, "builder"), 1_001));
    assert!(!stands(&|registry| registry.put(Entry::TrustDomain(domain("/another"))), 1_001));
    assert!(!stands(&|registry| registry.remove(EntryKind::TrustDomain, "example.org"), 1_001));
    let target = CutTarget::Agent("spiffe://acme.example/agent/builder".to_owned());
    let mut cuts = RevocationSet::default();
    cuts.insert(cut(target, at(1_000).plus(Duration::from_millis(2))));
    assert!(!actor.still_stands(&before(), &cuts, at(1_001)), "a cut since");
}
