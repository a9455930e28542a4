//! The authority: opened once, and shared by all code that needs signatures.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use mandate_audit::CheckpointSigner;
use mandate_core::{Clock, Entropy, Issuer, SpiffeId, Timestamp, TrustDomain};
use mandate_delegation::Mandate;
use mandate_sequencer::Receipt;
use mandate_store::Store;
use mandate_token::{KeySet, jwt_svid};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::certificate_request::ProvenKey;
use crate::error::{CertificateError, MintError, OpenError, RotateError};
use crate::key_store;
use crate::lint::claims::check_jwt_svid;
use crate::mint::{self, AccessTokenString};
use crate::node::NodeGrant;
use crate::published::Published;
use crate::ring::Purpose;
use crate::svid::JwtSvidGrant;
use crate::x509::{IssuedCertificate, ServerCertificate, ServerName};

/// Holds every private signing key, and signs only what conforms to its profile.
///
/// Access tokens, JWT-SVIDs, X.509-SVIDs and checkpoints each have keys of their own.
pub struct Authority {
    store: Store,
    trust_domain: TrustDomain,
    issuer: Issuer,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    keys: ArcSwap<Published>,
    /// Serializes rotations; signing never takes it.
    rotation: Mutex<()>,
    generation: watch::Sender<u64>,
    checkpoint: CheckpointSigner,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("trust_domain", &self.trust_domain)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Loads the keys from the store, or makes them at the first start. For each purpose there is one key
    /// that signs, and one that waits and is already published.
    pub fn open(
        store: Store,
        trust_domain: TrustDomain,
        issuer: Issuer,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        let now = clock.now();
        let (keys, checkpoint) = key_store::open(&store, &trust_domain, now, entropy.as_ref())?;
        let authority = Self {
            store,
            trust_domain,
            issuer,
            clock,
            entropy,
            keys: ArcSwap::from_pointee(keys),
            rotation: Mutex::new(()),
            generation: watch::Sender::new(0),
            checkpoint,
        };
        tracing::debug!(trust_domain = %authority.trust_domain, "signing keys are ready");
        Ok(authority)
    }

    /// The trust domain whose identities it signs.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The issuer whose access tokens it signs.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Signs the access token of a mandate. The only way to get one.
    ///
    /// Takes both by value: one decision and one durable record yield one token. Refuses unless the record
    /// says that exactly this mandate was permitted.
    pub fn mint(&self, mandate: Mandate, receipt: Receipt) -> Result<AccessTokenString, MintError> {
        let token = mint::mint(&self.keys.load().access_token.active().key, &mandate, &receipt);
        drop((mandate, receipt));
        token
    }

    /// Signs a JWT-SVID whose record is durable.
    pub fn sign_jwt_svid(&self, grant: &JwtSvidGrant, receipt: Receipt) -> Result<String, MintError> {
        grant.matches(&self.issuer, receipt.record())?;
        drop(receipt);
        let claims = jwt_svid::Claims {
            spiffe_id: grant.spiffe_id().clone(),
            audiences: grant.audiences().to_vec(),
            iat: grant.issued(),
            exp: grant.expires(),
            jti: grant.jti().clone(),
        };
        let keys = self.keys.load();
        let signer = keys.jwt_svid.active().key.linted(|message, kid| check_jwt_svid(message, kid, grant));
        match jwt_svid::build(&claims, &signer) {
            Ok(svid) => Ok(svid),
            Err(_) => Err(signer.into_broken().map_or(MintError::Signature, MintError::Lint)),
        }
    }

    /// Signs the certificate of a node whose join or renewal is recorded.
    pub fn issue_node_certificate(
        &self,
        grant: &NodeGrant,
        key: &ProvenKey,
        receipt: Receipt,
    ) -> Result<IssuedCertificate, CertificateError> {
        grant.matches(&self.issuer, receipt.record())?;
        drop(receipt);
        self.keys.load().x509.active().key.issue_to(
            grant.spiffe_id(),
            key,
            grant.issued(),
            self.entropy.as_ref(),
        )
    }

    /// Makes a key and a certificate for the server's own listener, named `spiffe://<trust
    /// domain>/mandate/server`. It gives nothing that the holder of the signing key does not have already, so
    /// it needs no record.
    pub fn issue_server_certificate(
        &self,
        names: &[ServerName],
    ) -> Result<ServerCertificate, CertificateError> {
        let id = server_id(&self.trust_domain)?;
        self.keys.load().x509.active().key.issue_with_key(&id, names, self.clock.now(), self.entropy.as_ref())
    }

    /// The certificates under which X.509-SVIDs of the trust domain are verified, DER, the signing one first.
    pub fn ca_certificates_der(&self) -> Vec<Vec<u8>> {
        self.keys.load().x509.published().map(|slot| slot.key.certificate().to_vec()).collect()
    }

    /// SHA-256 of the signing certificate's `SubjectPublicKeyInfo`, in lower-case hex. By this a node that
    /// has not joined yet recognizes the authority.
    pub fn ca_pin(&self) -> String {
        self.keys.load().x509.active().key.pin().to_owned()
    }

    /// The keys under which our access tokens are verified.
    pub fn access_token_jwks(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.load().access_token_set)
    }

    /// [`Authority::access_token_jwks`] as a JWK Set document (RFC 7517 §5).
    pub fn access_token_jwks_json(&self) -> Arc<str> {
        Arc::clone(&self.keys.load().access_token_json)
    }

    /// The keys under which our JWT-SVIDs are verified.
    pub fn jwt_bundle(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.load().jwt_svid_set)
    }

    /// [`Authority::jwt_bundle`] as a SPIFFE bundle document (SPIFFE Trust Domain and Bundle §4).
    pub fn jwt_bundle_json(&self) -> Arc<str> {
        Arc::clone(&self.keys.load().jwt_svid_json)
    }

    /// The `kid` of the key that signs now (for X.509: the pin of its certificate).
    pub fn active_key(&self, purpose: Purpose) -> String {
        self.keys.load().active_kid(purpose)
    }

    /// Changes with every change of the published keys.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// The signer of checkpoints. Only the audit log's sequencer uses it.
    pub fn checkpoint_signer(&self) -> CheckpointSigner {
        self.checkpoint.clone()
    }

    /// The origin of the audit log whose checkpoints are signed.
    pub fn audit_origin(&self) -> &str {
        self.checkpoint.origin()
    }

    /// The verifier key of checkpoints (C2SP signed-note).
    pub fn checkpoint_vkey(&self) -> &str {
        self.checkpoint.verifier().vkey()
    }

    /// Makes the waiting key of a purpose the signing one. The previous key stays published until everything
    /// that it signed has expired. A new waiting key is made and published.
    pub fn rotate(&self, purpose: Purpose, now: Timestamp) -> Result<(), RotateError> {
        let _one_at_a_time = self.rotation.lock();
        let current = self.keys.load_full();
        let next = key_store::rotate(
            &self.store,
            &current,
            purpose,
            &self.trust_domain,
            now,
            self.entropy.as_ref(),
        )?;
        self.publish(next);
        tracing::info!(purpose = %purpose, kid = self.active_key(purpose), "a new key signs");
        Ok(())
    }

    /// The earliest time at which [`Authority::rotate`] can let the waiting key of a purpose sign. `None`: no
    /// key waits.
    pub fn ready(&self, purpose: Purpose) -> Option<Timestamp> {
        self.keys.load().ready(purpose)
    }

    /// The purposes whose active key had signed for its whole period at `now`: [`Authority::maintain`]
    /// replaces those.
    pub fn due(&self, now: Timestamp) -> Vec<Purpose> {
        let keys = self.keys.load();
        Purpose::ALL.iter().copied().filter(|purpose| keys.is_due(*purpose, now)).collect()
    }

    /// Replaces keys that have signed for their whole period, and drops retired keys with which no valid
    /// token can be verified. Call it from time to time. Returns whether anything changed.
    pub fn maintain(&self, now: Timestamp) -> Result<bool, RotateError> {
        let mut changed = false;
        for purpose in Purpose::ALL {
            let current = self.keys.load_full();
            if current.is_due(*purpose, now) && current.ready(*purpose).is_some_and(|ready| ready <= now) {
                self.rotate(*purpose, now)?;
                changed = true;
            } else if current.has_expired(*purpose, now) {
                let _one_at_a_time = self.rotation.lock();
                let next = key_store::prune(&self.store, &self.keys.load_full(), *purpose, now)?;
                self.publish(next);
                changed = true;
            }
        }
        Ok(changed)
    }

    fn publish(&self, keys: Published) {
        self.keys.store(Arc::new(keys));
        self.generation.send_modify(|generation| *generation += 1);
    }
}

/// The server's own identity.
pub fn server_id(trust_domain: &TrustDomain) -> Result<SpiffeId, CertificateError> {
    trust_domain.member("/mandate/server").map_err(|_| CertificateError::Identity)
}
