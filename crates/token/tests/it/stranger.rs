//! Our tokens are read by another JWT library with our published JWK Set, and its tokens are read by us.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use mandate_core::{Audience, Issuer, ScopeSet, Subject, Terms, Timestamp};
use mandate_token::access_token::{self, Expect, Profile};
use mandate_token::{Algorithm, KeySet, KeyUse, PublicJwk, SignError, Signer, jwks_json, jwt_svid};
use serde_json::{Value, json};

const NOW: u64 = 1_700_000_000;

struct Key {
    pair: EcdsaKeyPair,
    pkcs8: Vec<u8>,
    jwk: PublicJwk,
}

impl Key {
    fn new(key_use: KeyUse) -> Self {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let jwk = PublicJwk::from_p256_point(pair.public_key().as_ref(), key_use).unwrap();
        Self { pair, pkcs8: pkcs8.as_ref().to_vec(), jwk }
    }
}

impl Signer for Key {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Es256
    }

    fn key_id(&self) -> &str {
        self.jwk.key_id()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self
            .pair
            .sign(&SystemRandom::new(), message)
            .map_err(|_| SignError::Key("test".into()))?
            .as_ref()
            .to_vec())
    }
}

fn read_by_stranger(token: &str, jwks: &str, audience: &str) -> (Header, Value) {
    let set: JwkSet = serde_json::from_str(jwks).unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    let key = DecodingKey::from_jwk(set.find(header.kid.as_deref().unwrap()).unwrap()).unwrap();
    let mut validation = Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_audience(&[audience]);
    // The times in this test lie in the past.
    validation.validate_exp = false;
    let data = jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap();
    (data.header, data.claims)
}

#[test]
fn a_stranger_reads_our_tokens_with_our_published_keys() {
    let issuer: Issuer = "https://m.example".parse().unwrap();
    let (key, svid_key) = (Key::new(KeyUse::Signature), Key::new(KeyUse::JwtSvid));
    let jwks = jwks_json(std::slice::from_ref(&key.jwk));
    let subject = Subject { iss: issuer.clone(), sub: "riley".into() };
    let scopes: ScopeSet = "read:cases".parse().unwrap();
    // Half of all raw signatures have the larger s; 32 tokens leave no doubt that normalizing keeps them
    // valid.
    for n in 0..32 {
        let (client, audience) = ("app".parse().unwrap(), Audience::one("https://crm.example".to_owned()));
        let (jti, times) =
            (format!("t{n}").parse().unwrap(), (Timestamp::from_secs(NOW), Timestamp::from_secs(NOW + 300)));
        let terms = Terms::new(issuer.clone(), subject.clone(), client, audience, scopes.clone(), jti, times);
        let (header, read) =
            read_by_stranger(&access_token::build(&terms, &key).unwrap(), &jwks, "https://crm.example");
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(
            (&read["sub"], &read["scope"], &read["exp"]),
            (&json!("riley"), &json!("read:cases"), &json!(NOW + 300))
        );
    }
    let svid = jwt_svid::Claims {
        spiffe_id: "spiffe://acme.example/agent/a".parse().unwrap(),
        audiences: vec!["https://m.example".into()],
        iat: Timestamp::from_secs(NOW),
        exp: Timestamp::from_secs(NOW + 300),
        jti: "s1".parse().unwrap(),
    };
    let token = jwt_svid::build(&svid, &svid_key).unwrap();
    let (header, read) =
        read_by_stranger(&token, &jwks_json(std::slice::from_ref(&svid_key.jwk)), "https://m.example");
    assert_eq!((header.typ.as_deref(), &read["sub"]), (Some("JWT"), &json!("spiffe://acme.example/agent/a")));
}

#[test]
fn we_read_a_strangers_tokens() {
    let issuer: Issuer = "https://login.acme.example".parse().unwrap();
    let key = Key::new(KeyUse::Signature);
    let keys = KeySet::from_json(jwks_json(std::slice::from_ref(&key.jwk)).as_bytes()).unwrap();
    let header = Header {
        typ: Some("at+jwt".into()),
        kid: Some(key.jwk.key_id().into()),
        ..Header::new(jsonwebtoken::Algorithm::ES256)
    };
    let expect = Expect {
        issuer: &issuer,
        keys: &keys,
        now: Timestamp::from_secs(NOW),
        profile: Profile::Foreign(mandate_core::registry::TokenProfile::Rfc9068),
        memo: None,
    };
    for n in 0..32 {
        let claims = json!({
            "iss": issuer, "sub": "riley", "aud": ["https://m.example"], "client_id": "app", "jti": n.to_string(), "iat": NOW, "exp": NOW + 60,
        });
        let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ec_der(&key.pkcs8)).unwrap();
        let read = access_token::verify(&token, &expect).unwrap();
        let person = read.terms.subject.unwrap();
        assert_eq!((person.sub.as_str(), &person.iss), ("riley", &issuer), "either form of s is taken");
    }
}
