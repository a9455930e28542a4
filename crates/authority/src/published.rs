//! All keys in use, with the documents that publish them: one immutable value, swapped as a whole.

use std::sync::Arc;

use mandate_core::Timestamp;
use mandate_core::lifetimes::PUBLISH_BEFORE_USE;
use mandate_token::{KeySet, PublicJwk, jwks_json};

use crate::error::OpenError;
use crate::jws_key::JwsKey;
use crate::ring::{Purpose, Ring};
use crate::x509::SigningAuthority;

pub(crate) struct Published {
    pub(crate) access_token: Arc<Ring<JwsKey>>,
    pub(crate) jwt_svid: Arc<Ring<JwsKey>>,
    pub(crate) x509: Arc<Ring<SigningAuthority>>,
    pub(crate) access_token_set: Arc<KeySet>,
    pub(crate) access_token_json: Arc<str>,
    pub(crate) jwt_svid_set: Arc<KeySet>,
    pub(crate) jwt_svid_json: Arc<str>,
}

impl Published {
    pub(crate) fn new(
        access_token: Arc<Ring<JwsKey>>,
        jwt_svid: Arc<Ring<JwsKey>>,
        x509: Arc<Ring<SigningAuthority>>,
    ) -> Result<Self, OpenError> {
        let (access_token_set, access_token_json) = documents(&access_token)?;
        let (jwt_svid_set, jwt_svid_json) = documents(&jwt_svid)?;
        let jwt_svid_json = bundle(&jwt_svid_json, sequence(&jwt_svid))?;
        Ok(Self {
            access_token,
            jwt_svid,
            x509,
            access_token_set,
            access_token_json,
            jwt_svid_set,
            jwt_svid_json,
        })
    }

    pub(crate) fn active_kid(&self, purpose: Purpose) -> String {
        match purpose {
            Purpose::AccessToken => self.access_token.active().kid.clone(),
            Purpose::JwtSvid => self.jwt_svid.active().kid.clone(),
            Purpose::X509 => self.x509.active().kid.clone(),
        }
    }

    pub(crate) fn is_due(&self, purpose: Purpose, now: Timestamp) -> bool {
        match purpose {
            Purpose::AccessToken => self.access_token.is_due(purpose, now),
            Purpose::JwtSvid => self.jwt_svid.is_due(purpose, now),
            Purpose::X509 => self.x509.is_due(purpose, now),
        }
    }

    pub(crate) fn ready(&self, purpose: Purpose) -> Option<Timestamp> {
        match purpose {
            Purpose::AccessToken => self.access_token.ready(),
            Purpose::JwtSvid => self.jwt_svid.ready(),
            Purpose::X509 => self.x509.ready(),
        }
    }

    pub(crate) fn has_expired(&self, purpose: Purpose, now: Timestamp) -> bool {
        match purpose {
            Purpose::AccessToken => self.access_token.has_expired(now),
            Purpose::JwtSvid => self.jwt_svid.has_expired(now),
            Purpose::X509 => self.x509.has_expired(now),
        }
    }
}

/// `spiffe_refresh_hint`: after how many seconds a reader of the bundle should fetch it again. A new key is
/// published for this time before it signs.
const REFRESH_HINT: u64 = PUBLISH_BEFORE_USE.as_secs();

/// A number that increases with every change of the ring (SPIFFE Trust Domain and Bundle §4.1.1). It is
/// computed from the ring itself, so that a restart does not change it: a rotation adds a later key, and
/// between rotations keys are only removed.
fn sequence<K>(ring: &Ring<K>) -> u64 {
    const MOST_KEYS: u64 = 64;
    let newest = ring.published().map(|slot| slot.published.millis()).max().unwrap_or(0);
    let keys = u64::try_from(ring.published().count()).unwrap_or(MOST_KEYS);
    newest.saturating_mul(MOST_KEYS).saturating_sub(keys)
}

/// The JWK Set as a SPIFFE bundle document (SPIFFE Trust Domain and Bundle §4).
fn bundle(jwks: &str, sequence: u64) -> Result<Arc<str>, OpenError> {
    let unreadable = |error: serde_json::Error| OpenError::KeySet(error.to_string());
    let mut document: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(jwks).map_err(unreadable)?;
    document.insert("spiffe_sequence".to_owned(), sequence.into());
    document.insert("spiffe_refresh_hint".to_owned(), REFRESH_HINT.into());
    serde_json::to_string(&document).map(Arc::from).map_err(unreadable)
}

/// The set for our own verifiers, made from the same document that others read.
fn documents(ring: &Ring<JwsKey>) -> Result<(Arc<KeySet>, Arc<str>), OpenError> {
    let keys: Vec<PublicJwk> = ring.published().map(|slot| slot.key.jwk().clone()).collect();
    let json = jwks_json(&keys);
    let set = KeySet::from_json(json.as_bytes()).map_err(|error| OpenError::KeySet(error.to_string()))?;
    Ok((Arc::new(set), Arc::from(json)))
}
