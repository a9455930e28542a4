//! Tokens of all four kinds, and JWK Sets.
//!
//! The first byte chooses how the rest is read: as a token as it arrives, or as header and payload (separated
//! by the first line feed) that are signed properly first, so that the code behind the signature check is
//! reached too.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use mandate_core::registry::{Platform, SubjectScope, TokenProfile, TrustedIssuer};
use mandate_core::{Issuer, Timestamp, TrustDomain};
use mandate_token::access_token::{self, Expect, Profile};
use mandate_token::{KeySet, SignatureMemo, client_assertion, jwt_svid, platform_token};

// The key of RFC 7515 Appendix A.3, which everybody knows.
const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
const D: &str = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";
const AUDIENCE: &str = "https://m.example";

static SIGNATURE_KEYS: LazyLock<KeySet> = LazyLock::new(|| key_set("sig"));
static SVID_KEYS: LazyLock<KeySet> = LazyLock::new(|| key_set("jwt-svid"));
static ISSUER: LazyLock<Issuer> = LazyLock::new(|| AUDIENCE.parse().unwrap());
static DOMAIN: LazyLock<TrustDomain> = LazyLock::new(|| "acme.example".parse().unwrap());
static PAIR: LazyLock<EcdsaKeyPair> = LazyLock::new(|| {
    let bytes = |text| URL_SAFE_NO_PAD.decode(text).unwrap();
    let point = [vec![4], bytes(X), bytes(Y)].concat();
    EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, &bytes(D), &point)
        .unwrap()
});

fn key_set(key_use: &str) -> KeySet {
    let json = format!(
        r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"k","use":"{key_use}","x":"{X}","y":"{Y}"}}]}}"#
    );
    KeySet::from_json(json.as_bytes()).unwrap()
}

fn signed(header: &[u8], payload: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = PAIR.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

fn trusted(subject_scope: SubjectScope) -> TrustedIssuer {
    let (url, audience) = (ISSUER.clone(), AUDIENCE.to_owned());
    TrustedIssuer { url, audience, subject_scope, other_audiences: Vec::new(), ca: None, proxy: None, profile: TokenProfile::Rfc9068, required_claims: BTreeMap::new(), groups_claim: None, tenant_claim: None, tenant: None, login: None, events_audience: None, id_tokens: Vec::new(), introspection: None, oldest_actor_first: false }
}

/// Reads `token` as each kind; returns as how many kinds it was accepted.
fn read(token: &str) -> usize {
    let now = Timestamp::from_secs(1_700_000_000);
    let memo = SignatureMemo::new(8);
    let mut kinds = 0;
    let expect = |profile, memo| Expect { issuer: &ISSUER, keys: &SIGNATURE_KEYS, now, profile, memo };
    let foreign = access_token::verify(token, &expect(Profile::Foreign(TokenProfile::Rfc9068), Some(&memo)));
    for product in TokenProfile::ALL {
        if let Ok(token) = access_token::verify(token, &expect(Profile::Foreign(*product), None)) {
            assert!(token.terms.lineage.is_empty() && token.terms.subject.as_ref().is_some_and(|person| person.iss == *ISSUER));
        }
    }
    if let Ok(own) = access_token::verify(token, &expect(Profile::Own, None)) {
        let own = own.terms;
        assert!(own.expires > now && own.expires > own.issued && own.chain.depth() <= 16);
    }
    if let Ok(foreign) = &foreign {
        let said = &foreign.terms;
        assert!(said.lineage.is_empty() && said.details.is_empty() && said.subject.as_ref().is_some_and(|person| person.iss == *ISSUER));
        let decoded = access_token::Decoded::of(token).unwrap();
        let unverified = decoded.read().unwrap();
        assert_eq!(unverified.issuer(), Ok(ISSUER.as_str()));
        let verify = |scope| unverified.verify(&trusted(scope), &SIGNATURE_KEYS, now, Some(&memo));
        assert_eq!(verify(SubjectScope::Token).as_ref(), Ok(foreign));
        let identity = verify(SubjectScope::IdentityOnly).unwrap();
        assert!(
            identity.terms.scopes.is_empty() && identity.terms.subject == said.subject,
            "the same person, no matter what the scope says"
        );
        let again = access_token::verify(token, &expect(Profile::Foreign(TokenProfile::Rfc9068), Some(&memo)));
        assert_eq!(again.as_ref(), Ok(foreign), "a remembered signature changes nothing");
        kinds += 1;
    }
    if let Ok(svid) = jwt_svid::verify(token, &SVID_KEYS, &DOMAIN, AUDIENCE, now, None) {
        assert!(svid.exp > now && svid.audiences == [AUDIENCE]);
        assert_eq!(jwt_svid::peek_trust_domain(token).as_ref(), Ok(&*DOMAIN));
        let (again, claims) =
            jwt_svid::verify_containing(token, &SVID_KEYS, &DOMAIN, AUDIENCE, now, None).unwrap();
        assert!(again == svid && !claims.contains_key("act"));
    }
    if let Ok(unverified) = platform_token::Unverified::of(token) {
        let verify = |platform| {
            let (issuer, keys): (&Issuer, &KeySet) = (&ISSUER, &SIGNATURE_KEYS);
            let expect =
                platform_token::Expect { platform, issuer, keys, audience: AUDIENCE, now, memo: None };
            unverified.verify(&expect).ok().map(|token| (platform, token))
        };
        let verified: Vec<_> = Platform::ALL.iter().filter_map(|platform| verify(*platform)).collect();
        for (platform, token) in &verified {
            assert!(token.expires > now && unverified.claims(*platform).as_ref() == Ok(&token.claims));
            assert!(platform.identity(|name| token.claims.get(name).map(String::as_str)).is_some());
        }
        kinds += usize::from(!verified.is_empty());
    }
    if let Ok(assertion) = client_assertion::verify(token, &SIGNATURE_KEYS, ISSUER.as_str(), now) {
        assert_eq!(client_assertion::peek_client_id(token), Ok(assertion.client_id));
        kinds += 1;
    }
    kinds
}

fuzz_target!(|data: &[u8]| {
    let Some((how, rest)) = data.split_first() else { return };
    match how {
        b't' => {
            if let Ok(token) = std::str::from_utf8(rest) {
                read(token);
            }
        }
        b'k' => {
            if let Ok(keys) = KeySet::from_json(rest) {
                assert_eq!(keys.is_empty(), keys.len() == 0);
                assert!(keys.for_use(mandate_token::KeyUse::JwtSvid).len() <= keys.len());
            }
        }
        _ => {
            let mut parts = rest.splitn(2, |byte| *byte == b'\n');
            let (header, payload) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            assert!(read(&signed(header, payload)) <= 1, "one token was taken for two kinds");
        }
    }
});
