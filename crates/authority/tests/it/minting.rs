//! What is signed, and each difference between receipt and mandate for which nothing is signed.

use mandate_audit::{Kind, Outcome, Record};
use mandate_authority::{CertificateError, MintError, Mismatch, ProvenKey};
use mandate_core::{Actor, ActorChain, Lineage, Person, ScopeSet, Timestamp};
use mandate_token::jwt_svid;

use crate::world::{AGENT, CRM, ISSUER, World, domain, issuer};

#[test]
fn the_story_s_token_says_who_for_whom_where_and_what() {
    let world = World::new();
    let subject = world.subject_token();
    let parent = subject.jti.clone();
    let mandate = world.exchange(subject);
    let receipt = world.receipt(world.record(mandate.view(), Kind::Exchange));
    let text = world.authority.mint(mandate, receipt).unwrap();
    assert_eq!(format!("{text:?}"), "AccessTokenString(redacted)");

    let token = world.verify(text.expose_token()).unwrap();
    token.require_audience(CRM).unwrap();
    assert_eq!(token.subject.sub, "riley");
    assert_eq!(token.chain.outermost().unwrap().sub, AGENT);
    assert_eq!(token.scope.to_string(), "read:cases");
    assert_eq!(token.lineage.parents, [parent]);
    assert_eq!(token.lineage.grants, ["g1".parse().unwrap()]);
    assert_eq!(token.exp.since(token.iat).as_secs(), 300);
    assert!(token.auth_time.is_some());
}

#[test]
fn nothing_is_minted_from_a_receipt_that_says_anything_else() {
    type Change = fn(&mut Record);
    let changes: [(Mismatch, Change); 13] = [
        (Mismatch::Kind, |r| r.kind = Kind::Admin),
        (Mismatch::Kind, |r| r.kind = Kind::Authorize),
        (Mismatch::Outcome, |r| r.outcome = Outcome::Refused),
        (Mismatch::Token, |r| r.jti = Some("another".parse().unwrap())),
        (Mismatch::Token, |r| r.jti = None),
        (Mismatch::Subject, |r| r.sub = Some(Person { iss: issuer(), sub: "kim".to_owned() })),
        (Mismatch::Subject, |r| r.sub = None),
        (Mismatch::Actors, |r| r.act = ActorChain::empty()),
        (Mismatch::Audience, |r| r.aud = Some("https://mail.example".to_owned())),
        (Mismatch::Scope, |r| r.scope = ScopeSet::new()),
        (Mismatch::Expiry, |r| r.exp = Some(Timestamp::from_secs(1))),
        (Mismatch::Client, |r| r.client = None),
        (Mismatch::Lineage, |r| r.lineage = Lineage::default()),
    ];
    let world = World::new();
    for (why, change) in changes {
        let mandate = world.exchange(world.subject_token());
        let mut record = world.record(mandate.view(), Kind::Exchange);
        change(&mut record);
        let refused = world.authority.mint(mandate, world.receipt(record));
        assert_eq!(refused.err(), Some(MintError::Receipt(why)));
    }
}

#[test]
fn a_receipt_does_not_serve_for_another_mandate() {
    let world = World::new();
    let (one, two) = (world.exchange(world.subject_token()), world.exchange(world.subject_token()));
    let receipt = world.receipt(world.record(one.view(), Kind::Exchange));
    assert_eq!(world.authority.mint(two, receipt).err(), Some(MintError::Receipt(Mismatch::Token)));
}

#[test]
fn an_actor_more_in_the_record_than_in_the_mandate_is_not_signed() {
    let world = World::new();
    let mandate = world.exchange(world.subject_token());
    let mut record = world.record(mandate.view(), Kind::Exchange);
    let other = Actor { sub: "spiffe://acme.example/agent/other".to_owned(), iss: issuer(), sub_profile: None };
    record.act = record.act.extended(other, 3).unwrap();
    assert_eq!(world.authority.mint(mandate, world.receipt(record)).err(), Some(MintError::Receipt(Mismatch::Actors)));
}

#[test]
fn an_svid_verifies_under_the_bundle_for_its_audience_and_is_no_access_token() {
    let world = World::new();
    let svid = world.svid(ISSUER);
    let bundle = world.authority.jwt_bundle();
    let verified = jwt_svid::verify(&svid, &bundle, &domain(), ISSUER, world.now(), None).unwrap();
    assert_eq!(verified.spiffe_id.as_str(), AGENT);
    assert!(jwt_svid::verify(&svid, &bundle, &domain(), CRM, world.now(), None).is_err());
    assert!(world.verify(&svid).is_err());
    // Nor does one purpose's key verify the other's tokens.
    let keys = world.authority.access_token_jwks();
    assert!(jwt_svid::verify(&svid, &keys, &domain(), ISSUER, world.now(), None).is_err());
}

#[test]
fn no_svid_is_signed_from_a_receipt_that_says_anything_else() {
    type Change = fn(&mut Record);
    let changes: [(Mismatch, Change); 9] = [
        (Mismatch::Kind, |r| r.kind = Kind::Exchange),
        (Mismatch::Outcome, |r| r.outcome = Outcome::Refused),
        (Mismatch::Token, |r| r.jti = None),
        (Mismatch::Subject, |r| r.sub = Some(Person { iss: issuer(), sub: "riley".to_owned() })),
        (Mismatch::Actors, |r| r.act = ActorChain::empty()),
        (Mismatch::Audience, |r| r.aud = Some(CRM.to_owned())),
        (Mismatch::Audience, |r| r.aud = None),
        (Mismatch::Scope, |r| r.scope = "read:cases".parse().unwrap()),
        (Mismatch::Expiry, |r| r.exp = None),
    ];
    let world = World::new();
    for (why, change) in changes {
        let grant = world.svid_grant(ISSUER);
        let mut record = world.svid_record(&grant);
        change(&mut record);
        assert_eq!(world.authority.sign_jwt_svid(&grant, world.receipt(record)).err(), Some(MintError::Receipt(why)));
    }
}

#[test]
fn no_node_certificate_is_signed_from_a_receipt_that_says_anything_else() {
    let world = World::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    let proven = ProvenKey::from_request(request.der()).unwrap();
    let grant = world.node_grant("n1");
    let record = |kind, outcome| {
        let mut record = world.blank(kind, outcome, "ok");
        grant.describe(&issuer(), &mut record);
        record
    };
    let issue = |record| world.authority.issue_node_certificate(&grant, &proven, world.receipt(record));

    let issued = issue(record(Kind::Node, Outcome::Permitted)).unwrap();
    assert_eq!(issued.chain[1], world.authority.ca_certificates_der()[0]);
    assert_eq!(issue(record(Kind::Admin, Outcome::Permitted)).err(), Some(CertificateError::Receipt(Mismatch::Kind)));
    assert_eq!(issue(record(Kind::Node, Outcome::Refused)).err(), Some(CertificateError::Receipt(Mismatch::Outcome)));
    let mut other = record(Kind::Node, Outcome::Permitted);
    world.node_grant("n2").describe(&issuer(), &mut other);
    assert_eq!(issue(other).err(), Some(CertificateError::Receipt(Mismatch::Actors)));
    let mut longer = record(Kind::Node, Outcome::Permitted);
    longer.exp = None;
    assert_eq!(issue(longer).err(), Some(CertificateError::Receipt(Mismatch::Expiry)));
}
