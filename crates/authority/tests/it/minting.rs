//! What is signed, and each difference between receipt and mandate for which nothing is signed.

use std::sync::Arc;

use mandate_audit::{About, Outcome, Record, RecordKind};
use mandate_authority::{CertificateError, MintError, Mismatch, ProvenKey};
use mandate_core::{
    Actor, ActorChain, Audience, Confirmation, KnownTerms, Lineage, ScopeSet, Subject, Term, Terms, Timestamp,
};
use mandate_token::jwt_svid;

use crate::world::{AGENT, CRM, ISSUER, World, domain, issuer};

#[test]
fn the_story_s_token_says_who_for_whom_where_and_what() {
    let world = World::new();
    let subject = world.subject_token();
    let parent = subject.terms.jti.clone();
    let mandate = world.exchange(subject);
    let receipt = world.receipt(world.record(mandate.view(), RecordKind::Exchange));
    let text = world.authority.mint(mandate, receipt).unwrap();
    assert_eq!(format!("{text:?}"), "AccessTokenString(redacted)");

    let token = world.verify(text.expose_token()).unwrap();
    token.require_audience(CRM).unwrap();
    assert_eq!(token.terms.subject.as_ref().unwrap().sub, "riley");
    assert_eq!(token.terms.chain.outermost().unwrap().sub, AGENT);
    assert_eq!(token.terms.scopes.to_string(), "read:cases");
    assert_eq!(token.terms.lineage.parents, [parent]);
    assert_eq!(token.terms.lineage.grants, ["g1".parse().unwrap()]);
    assert_eq!(token.terms.expires.since(token.terms.issued).as_secs(), 300);
    assert!(token.terms.auth_time.is_some());
}

#[test]
fn nothing_is_minted_from_a_receipt_that_says_anything_else() {
    type Change = fn(&mut Record);
    type TermChange = fn(&mut Terms);
    let changes: [(Mismatch, Change); 6] = [
        (Mismatch::Kind, |r| r.kind = RecordKind::Admin),
        (Mismatch::Kind, |r| r.kind = RecordKind::Authorize),
        (Mismatch::Outcome, |r| r.outcome = Outcome::Refused),
        (Mismatch::Time, |r| r.time = Timestamp::from_secs(1)),
        (Mismatch::NoMandate, |r| r.about = KnownTerms::default().into()),
        // What it says is the same, but it is not the record of a decision.
        (Mismatch::NoMandate, |r| r.about = Record::from_leaf(&r.to_leaf().unwrap()).unwrap().about),
    ];
    let terms: [(Term, TermChange); 15] = [
        (Term::Issuer, |t| t.issuer = "https://other.example".parse().unwrap()),
        (Term::Subject, |t| t.subject = None),
        (Term::Chain, |t| t.chain = ActorChain::empty()),
        (Term::Audience, |t| t.audience = Audience::one("https://mail.example".to_owned())),
        (Term::Scopes, |t| t.scopes = ScopeSet::new()),
        (Term::Details, |t| t.details = serde_json::from_str(r#"[{"type":"case"}]"#).unwrap()),
        (Term::Issued, |t| t.issued = Timestamp::from_secs(1)),
        (Term::Expires, |t| t.expires = Timestamp::from_secs(1)),
        (Term::Jti, |t| t.jti = "another".parse().unwrap()),
        (Term::Client, |t| t.client = "another".parse().unwrap()),
        (Term::Lineage, |t| t.lineage = Lineage::default()),
        (Term::Cnf, |t| t.cnf = Some(Confirmation::Unknown)),
        (Term::AuthTime, |t| t.auth_time = None),
        (Term::Acr, |t| t.acr = Some("1".to_owned())),
        (Term::Amr, |t| t.amr.clear()),
    ];
    let world = World::new();
    let refused = |change: &dyn Fn(&mut Record)| {
        let mandate = world.exchange(world.subject_token());
        let mut record = world.record(mandate.view(), RecordKind::Exchange);
        change(&mut record);
        world.authority.mint(mandate, world.receipt(record)).err()
    };
    for (why, change) in changes {
        assert_eq!(refused(&change), Some(MintError::Receipt(why)));
    }
    for (term, change) in terms {
        let other = |record: &mut Record| {
            let mut terms = record.mandate().unwrap().clone();
            change(&mut terms);
            record.about = About::Mandate(Arc::new(terms));
        };
        assert_eq!(refused(&other), Some(MintError::Receipt(Mismatch::Term(term))));
    }
}

#[test]
fn the_record_of_a_mandate_says_in_the_log_what_its_token_says() {
    let world = World::new();
    let mandate = world.exchange(world.subject_token());
    let record = world.record(mandate.view(), RecordKind::Exchange);
    let written: serde_json::Value = serde_json::from_slice(&record.to_leaf().unwrap()).unwrap();
    assert_eq!(
        Record::from_leaf(&record.to_leaf().unwrap()).unwrap(),
        record,
        "what is read back says the same"
    );
    let token =
        world.verify(world.authority.mint(mandate, world.receipt(record)).unwrap().expose_token()).unwrap();
    let said = serde_json::to_value(token.terms.said()).unwrap();
    let whole_seconds = |name: &str| written[name].as_str().unwrap().parse::<Timestamp>().unwrap().secs();
    for (name, value) in said.as_object().unwrap() {
        match name.as_str() {
            "exp" | "auth_time" => {
                assert_eq!(whole_seconds(name), value.as_str().unwrap().parse::<Timestamp>().unwrap().secs());
            }
            _ => assert_eq!(&written[name], value, "{name}"),
        }
    }
    assert_eq!(whole_seconds("time"), token.terms.issued.secs());
    assert_eq!(written["amr"], serde_json::json!(["pwd"]));
}

#[test]
fn a_receipt_does_not_serve_for_another_mandate() {
    let world = World::new();
    let (one, two) = (world.exchange(world.subject_token()), world.exchange(world.subject_token()));
    let receipt = world.receipt(world.record(one.view(), RecordKind::Exchange));
    assert_eq!(world.authority.mint(two, receipt).err(), Some(MintError::Receipt(Mismatch::Term(Term::Jti))));
}

#[test]
fn an_actor_more_in_the_record_than_in_the_mandate_is_not_signed() {
    let world = World::new();
    let mandate = world.exchange(world.subject_token());
    let mut record = world.record(mandate.view(), RecordKind::Exchange);
    let other =
        Actor { sub: "spiffe://acme.example/agent/other".to_owned(), iss: issuer(), sub_profile: None };
    let terms = record.mandate().unwrap().clone();
    let chain = terms.chain.extended(other, 3).unwrap();
    record.about = About::Mandate(Arc::new(Terms { chain, ..terms }));
    assert_eq!(
        world.authority.mint(mandate, world.receipt(record)).err(),
        Some(MintError::Receipt(Mismatch::Term(Term::Chain)))
    );
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
    type Change = fn(&mut KnownTerms);
    let changes: [(Term, Change); 9] = [
        (Term::Jti, |k| k.jti = None),
        (Term::Subject, |k| k.sub = Some(Subject { iss: issuer(), sub: "riley".to_owned() })),
        (Term::Chain, |k| k.act = ActorChain::empty()),
        (Term::Audience, |k| k.aud = Some(CRM.to_owned())),
        (Term::Audience, |k| k.aud = None),
        (Term::Scopes, |k| k.scope = "read:cases".parse().unwrap()),
        (Term::Expires, |k| k.exp = None),
        (Term::Lineage, |k| k.lineage.parents.push("t1".parse().unwrap())),
        (Term::Amr, |k| k.amr.push("pwd".to_owned())),
    ];
    let world = World::new();
    for (term, change) in changes {
        let grant = world.svid_grant(ISSUER);
        let mut known = grant.known(&issuer());
        change(&mut known);
        let record = Record { about: known.into(), ..world.svid_record(&grant) };
        let refused = Some(MintError::Receipt(Mismatch::Term(term)));
        assert_eq!(world.authority.sign_jwt_svid(&grant, world.receipt(record)).err(), refused);
    }
    let grant = world.svid_grant(ISSUER);
    let other_kind = Record { kind: RecordKind::Exchange, ..world.svid_record(&grant) };
    assert_eq!(
        world.authority.sign_jwt_svid(&grant, world.receipt(other_kind)).err(),
        Some(MintError::Receipt(Mismatch::Kind))
    );
    let refusal = Record { outcome: Outcome::Refused, ..world.svid_record(&grant) };
    assert_eq!(
        world.authority.sign_jwt_svid(&grant, world.receipt(refusal)).err(),
        Some(MintError::Receipt(Mismatch::Outcome))
    );
    let client = Some("spiffe://acme.example/node/n1".into());
    let vouched =
        Record { about: KnownTerms { client, ..grant.known(&issuer()) }.into(), ..world.svid_record(&grant) };
    assert!(world.authority.sign_jwt_svid(&grant, world.receipt(vouched)).is_ok(), "it also names the node");
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
        record.about = grant.known(&issuer()).into();
        record
    };
    let issue = |record| world.authority.issue_node_certificate(&grant, &proven, world.receipt(record));

    let issued = issue(record(RecordKind::Node, Outcome::Permitted)).unwrap();
    assert_eq!(issued.chain[1], world.authority.ca_certificates_der()[0]);
    assert_eq!(
        issue(record(RecordKind::Admin, Outcome::Permitted)).err(),
        Some(CertificateError::Receipt(Mismatch::Kind))
    );
    assert_eq!(
        issue(record(RecordKind::Node, Outcome::Refused)).err(),
        Some(CertificateError::Receipt(Mismatch::Outcome))
    );
    let mut other = record(RecordKind::Node, Outcome::Permitted);
    other.about = world.node_grant("n2").known(&issuer()).into();
    assert_eq!(issue(other).err(), Some(CertificateError::Receipt(Mismatch::Term(Term::Chain))));
    let mut longer = record(RecordKind::Node, Outcome::Permitted);
    longer.about = KnownTerms { exp: None, ..grant.known(&issuer()) }.into();
    assert_eq!(issue(longer).err(), Some(CertificateError::Receipt(Mismatch::Term(Term::Expires))));
}
