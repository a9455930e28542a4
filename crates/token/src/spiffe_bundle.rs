//! Bundles of SPIFFE trust domains (SPIFFE Trust Domain and Bundle §4): JWK Sets with members of their own.

use std::time::Duration;

use crate::key_set::{KeySet, KeySetError, KeyUse};
use crate::strict_json::{self, Json, Object};

/// What verifies the JWT-SVIDs of one trust domain. A document that has no such key is one, too: it revokes
/// the trust in all of them (§4.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpiffeBundle {
    /// The keys with `use` `jwt-svid` and a `kid`, which JWT-SVID §6 requires. Elements for other uses are
    /// ignored (§4.2), and so is what has no `use`.
    pub keys: KeySet,
    /// `spiffe_sequence`: increases with every change of the bundle (§4.1.1).
    pub sequence: Option<u64>,
    /// `spiffe_refresh_hint`: how often it should be fetched (§4.1.2).
    pub refresh_hint: Option<Duration>,
}

impl SpiffeBundle {
    /// Reads a bundle document.
    ///
    /// # Errors
    /// As [`KeySet::from_json`]; also if one of the two other members is there and no whole number.
    pub fn from_json(json: &[u8]) -> Result<Self, KeySetError> {
        let keys = KeySet::from_json(json)?.for_use(KeyUse::JwtSvid).named();
        let document =
            strict_json::object(json).map_err(|error| KeySetError::Malformed(error.to_string()))?;
        let sequence = whole_number(&document, "spiffe_sequence")?;
        let refresh_hint = whole_number(&document, "spiffe_refresh_hint")?.map(Duration::from_secs);
        Ok(Self { keys, sequence, refresh_hint })
    }
}

fn whole_number(document: &Object<'_>, name: &str) -> Result<Option<u64>, KeySetError> {
    match document.get(name) {
        None => Ok(None),
        Some(Json::Number(number)) => match number.as_u64() {
            Some(number) => Ok(Some(number)),
            None => Err(KeySetError::Malformed(format!("{name} is not a whole number"))),
        },
        Some(_) => Err(KeySetError::Malformed(format!("{name} is not a number"))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::SpiffeBundle;
    use crate::key_set::KeyUse;
    use crate::public_jwk::jwks_json;
    use crate::test_keys::Es256;

    fn jwk(key_use: KeyUse) -> serde_json::Value {
        let set = jwks_json(std::slice::from_ref(&Es256::new(key_use).jwk));
        let mut set: serde_json::Value = serde_json::from_str(&set).unwrap();
        set["keys"][0].take()
    }

    #[test]
    fn only_named_keys_for_jwt_svids_count() {
        let (svid, access) = (jwk(KeyUse::JwtSvid), jwk(KeyUse::Signature));
        let without = |name: &str| {
            let mut jwk = svid.clone();
            jwk.as_object_mut().unwrap().remove(name);
            jwk
        };
        let x509 = serde_json::json!({"kty": "EC", "use": "x509-svid", "x5c": ["AA=="]});
        let document = serde_json::json!({
            "keys": [svid, access, without("kid"), without("use"), x509],
            "spiffe_sequence": 18_446_744_073_709_551_615_u64,
            "spiffe_refresh_hint": 300,
        });
        let bundle = SpiffeBundle::from_json(document.to_string().as_bytes()).unwrap();
        let kids: Vec<&str> = bundle.keys.key_ids().collect();
        assert_eq!(kids, [svid["kid"].as_str().unwrap()]);
        assert_eq!(bundle.keys.len(), 1);
        assert_eq!(bundle.sequence, Some(u64::MAX));
        assert_eq!(bundle.refresh_hint, Some(Duration::from_mins(5)));
    }

    #[test]
    fn a_bundle_without_keys_is_one_and_what_is_no_number_is_none() {
        let bundle = SpiffeBundle::from_json(br#"{"keys":[]}"#).unwrap();
        assert_eq!((bundle.keys.len(), bundle.sequence, bundle.refresh_hint), (0, None, None));
        for wrong in [
            r#"{"keys":[],"spiffe_sequence":"1"}"#,
            r#"{"keys":[],"spiffe_sequence":-1}"#,
            r#"{"keys":[],"spiffe_sequence":1.5}"#,
            r#"{"keys":[],"spiffe_refresh_hint":"5m"}"#,
            r#"{"keys":[],"spiffe_sequence":1,"spiffe_sequence":2}"#,
            r#"{"spiffe_sequence":1}"#,
            r#"{"trust_domains":{"example.org":{"keys":[]}}}"#,
            "[]",
        ] {
            assert!(SpiffeBundle::from_json(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
