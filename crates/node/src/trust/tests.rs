use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error};

use super::{Anchor, ServerVerifier, Untrusted};
use crate::join_token::SpkiPin;

type Ca = CertifiedIssuer<'static, KeyPair>;

/// The time is 2026-11-24T09:30:00Z.
const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::new(1_795_512_600, 0));

fn ca(trust_domain: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{trust_domain}").try_into().unwrap())];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn pin(ca: &Ca) -> SpkiPin {
    SpkiPin::of(&ca.key().subject_public_key_info())
}

fn leaf(ca: &Ca, uris: &[&str], change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    change(&mut params);
    params.signed_by(&KeyPair::generate().unwrap(), ca).unwrap().der().clone()
}

fn verify(anchor: Anchor, leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> Result<String, Error> {
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let verifier = ServerVerifier::new(anchor, algorithms);
    verifier.verify_server_cert(leaf, chain, &ServerName::try_from("127.0.0.1").unwrap(), &[], NOW)?;
    Ok(verifier.server().unwrap().to_string())
}

fn untrusted(result: Result<String, Error>) -> Untrusted {
    match result.unwrap_err() {
        Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.0.downcast_ref::<Untrusted>().unwrap().clone()
        }
        other => panic!("{other:?}"),
    }
}

fn joined(ca: &Ca) -> Anchor {
    Anchor::Joined { ca: vec![ca.der().clone()], trust_domain: "acme.example".parse().unwrap() }
}

const SERVER: &str = "spiffe://acme.example/mandate/server";

#[test]
fn the_pinned_ca_vouches_for_its_server_and_names_the_trust_domain() {
    let ca = ca("acme.example");
    assert_eq!(
        verify(Anchor::Pinned(pin(&ca)), &leaf(&ca, &[SERVER], |_| ()), &[ca.der().clone()]),
        Ok(SERVER.to_owned())
    );
}

#[test]
fn another_ca_is_refused_at_first_contact() {
    let (ours, theirs) = (ca("acme.example"), ca("acme.example"));
    let server = leaf(&theirs, &[SERVER], |_| ());
    assert_eq!(
        untrusted(verify(Anchor::Pinned(pin(&ours)), &server, &[theirs.der().clone()])),
        Untrusted::WrongCa
    );
    assert_eq!(untrusted(verify(Anchor::Pinned(pin(&ours)), &server, &[])), Untrusted::WrongCa);
}

#[test]
fn presenting_the_pinned_ca_does_not_help_a_certificate_it_did_not_sign() {
    // The CA's certificate is no secret: anyone may put it into a chain.
    let (ours, theirs) = (ca("acme.example"), ca("acme.example"));
    let server = leaf(&theirs, &[SERVER], |_| ());
    for chain in [vec![ours.der().clone()], vec![theirs.der().clone(), ours.der().clone()]] {
        let refused = verify(Anchor::Pinned(pin(&ours)), &server, &chain).unwrap_err();
        assert!(
            matches!(
                refused,
                Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)
            ),
            "{refused:?}"
        );
    }
}

#[test]
fn the_pinned_ca_itself_is_not_the_server() {
    let ours = ca("acme.example");
    assert!(verify(Anchor::Pinned(pin(&ours)), ours.der(), &[ours.der().clone()]).is_err());
}

#[test]
fn a_node_or_agent_of_the_same_ca_is_not_the_server() {
    let ca = ca("acme.example");
    for id in [
        "spiffe://acme.example/node/1",
        "spiffe://acme.example/agent/a",
        "spiffe://acme.example/mandate/server/x",
    ] {
        let other = leaf(&ca, &[id], |_| ());
        for anchor in [Anchor::Pinned(pin(&ca)), joined(&ca)] {
            assert!(
                matches!(untrusted(verify(anchor, &other, &[ca.der().clone()])), Untrusted::WrongId { .. }),
                "{id}"
            );
        }
    }
    for uris in [&[][..], &[SERVER, "spiffe://acme.example/node/1"]] {
        assert!(matches!(
            untrusted(verify(joined(&ca), &leaf(&ca, uris, |_| ()), &[])),
            Untrusted::Unusable(_)
        ));
    }
}

#[test]
fn after_joining_only_the_joined_trust_domain_is_the_server() {
    let ca = ca("acme.example");
    assert_eq!(verify(joined(&ca), &leaf(&ca, &[SERVER], |_| ()), &[]), Ok(SERVER.to_owned()));
    let other = leaf(&ca, &["spiffe://other.example/mandate/server"], |_| ());
    assert!(matches!(untrusted(verify(joined(&ca), &other, &[])), Untrusted::WrongId { .. }));
    let strangers = super::tests::ca("acme.example");
    let refused =
        verify(joined(&ca), &leaf(&strangers, &[SERVER], |_| ()), &[strangers.der().clone()]).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)
        ),
        "{refused:?}"
    );
}

#[test]
fn expired_or_client_only_certificates_are_refused() {
    let ca = ca("acme.example");
    let expired = leaf(&ca, &[SERVER], |params| params.not_after = rcgen::date_time_ymd(2026, 11, 23));
    let client_only =
        leaf(&ca, &[SERVER], |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    for certificate in [expired, client_only] {
        for anchor in [Anchor::Pinned(pin(&ca)), joined(&ca)] {
            assert!(verify(anchor, &certificate, &[ca.der().clone()]).is_err());
        }
    }
}
