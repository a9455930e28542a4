//! Each algorithm that a foreign issuer may use verifies with its own kind of key and with no other.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::{Issuer, Timestamp};
use mandate_token::access_token::{self, AccessToken, Expect, Profile};
use mandate_token::{Algorithm, KeySet, TokenError};
use serde_json::{Value, json};

const NOW: u64 = 1_700_000_000;

enum Key {
    Ec(EcdsaKeyPair, &'static str, usize),
    Rsa(Box<RsaKeyPair>),
}

fn ec(algorithm: &'static EcdsaSigningAlgorithm, curve: &'static str, len: usize) -> Key {
    Key::Ec(EcdsaKeyPair::generate(algorithm).unwrap(), curve, len)
}

fn rsa() -> Key {
    let generated = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = generated.as_der().unwrap();
    Key::Rsa(Box::new(RsaKeyPair::from_pkcs8(der.as_ref()).unwrap()))
}

impl Key {
    fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Ec(pair, curve, len) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(*len);
                json!({"kty": "EC", "crv": curve, "kid": kid, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
            }
            Self::Rsa(pair) => {
                let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
                let text = |number: &[u8]| URL_SAFE_NO_PAD.encode(number);
                json!({"kty": "RSA", "kid": kid, "n": text(n.big_endian_without_leading_zero()), "e": text(e.big_endian_without_leading_zero())})
            }
        }
    }

    fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ec(pair, ..) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    Algorithm::Rs256 => &RSA_PKCS1_SHA256,
                    Algorithm::Rs384 => &RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &RSA_PKCS1_SHA512,
                    Algorithm::Ps256 => &RSA_PSS_SHA256,
                    Algorithm::Ps384 => &RSA_PSS_SHA384,
                    _ => &RSA_PSS_SHA512,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        }
    }
}

/// A token whose header says `named` but which was signed with `used`.
fn token(key: &Key, kid: &str, named: Algorithm, used: Algorithm) -> String {
    let header = json!({"alg": named.name(), "kid": kid, "typ": "at+jwt"});
    let claims = json!({
        "iss": "https://login.acme.example", "sub": "riley", "aud": "https://m.example", "client_id": "app", "jti": "1", "iat": NOW, "exp": NOW + 60,
    });
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let signature = key.sign(used, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn verify(token: &str, keys: &KeySet) -> Result<AccessToken, TokenError> {
    verify_as(Profile::Foreign(mandate_core::registry::TokenProfile::Rfc9068), token, keys)
}

fn verify_as(profile: Profile, token: &str, keys: &KeySet) -> Result<AccessToken, TokenError> {
    let issuer: Issuer = "https://login.acme.example".parse().unwrap();
    access_token::verify(
        token,
        &Expect { issuer: &issuer, keys, now: Timestamp::from_secs(NOW), profile, memo: None },
    )
}

#[test]
fn each_algorithm_verifies_with_its_own_key_and_no_algorithm_stands_for_another() {
    let keys = [
        ("p256", ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", 32), vec![Algorithm::Es256]),
        ("p384", ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", 48), vec![Algorithm::Es384]),
        ("p521", ec(&ECDSA_P521_SHA512_FIXED_SIGNING, "P-521", 66), vec![Algorithm::Es512]),
        ("rsa", rsa(), Algorithm::ALL.iter().copied().filter(|a| !a.name().starts_with('E')).collect()),
    ];
    let jwks: Vec<Value> = keys.iter().map(|(kid, key, _)| key.jwk(kid)).collect();
    let set = KeySet::from_json(json!({ "keys": jwks }).to_string().as_bytes()).unwrap();
    assert_eq!(set.len(), 4);
    for (kid, key, own) in &keys {
        for used in own {
            for named in Algorithm::ALL {
                let result = verify(&token(key, kid, *named, *used), &set);
                if named == used {
                    assert!(result.is_ok(), "{named} by {kid}");
                } else if own.contains(named) {
                    assert_eq!(
                        result.unwrap_err(),
                        TokenError::Signature,
                        "PS and PKCS, or another hash: {used} named {named}"
                    );
                } else {
                    assert_eq!(
                        result.unwrap_err(),
                        TokenError::Algorithm(named.name().into()),
                        "{named} does not fit {kid}"
                    );
                }
            }
        }
        for (other, _, fits) in keys.iter().filter(|(other, ..)| other != kid) {
            for algorithm in fits {
                assert!(
                    verify(&token(key, other, *algorithm, own[0]), &set).is_err(),
                    "signed by {kid}, named {other} {algorithm}"
                );
            }
        }
    }
    let mut declared = keys[3].1.jwk("rsa");
    declared["alg"] = json!("RS256");
    let set = KeySet::from_json(json!({"keys": [declared]}).to_string().as_bytes()).unwrap();
    let swapped = verify(&token(&keys[3].1, "rsa", Algorithm::Ps256, Algorithm::Ps256), &set);
    assert_eq!(swapped.unwrap_err(), TokenError::Algorithm("PS256".into()), "the JWK's alg decides");
}

#[test]
fn a_token_of_ours_is_es256_even_if_our_key_set_held_other_keys() {
    let keys = [
        ("p384", ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", 48), Algorithm::Es384),
        ("p521", ec(&ECDSA_P521_SHA512_FIXED_SIGNING, "P-521", 66), Algorithm::Es512),
        ("rsa", rsa(), Algorithm::Rs256),
    ];
    let jwks: Vec<Value> = keys.iter().map(|(kid, key, _)| key.jwk(kid)).collect();
    let set = KeySet::from_json(json!({ "keys": jwks }).to_string().as_bytes()).unwrap();
    for (kid, key, algorithm) in &keys {
        let token = token(key, kid, *algorithm, *algorithm);
        assert!(
            verify_as(Profile::Foreign(mandate_core::registry::TokenProfile::Rfc9068), &token, &set).is_ok()
        );
        assert_eq!(
            verify_as(Profile::Own, &token, &set).unwrap_err(),
            TokenError::Algorithm(algorithm.name().into())
        );
    }
}
