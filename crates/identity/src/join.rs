//! How a node joins: it gets its first certificate for a single-use token, and each later one for the
//! certificate before it.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_audit::{Outcome, RecordKind};
use mandate_authority::{NodeGrant, ProvenKey};
use mandate_core::digest::sha256;
use mandate_core::lifetimes::{JOIN_TOKEN_LIFETIME, MAX_JOIN_TOKEN_LIFETIME};
use mandate_core::{Clock as _, NodeState, RequestSource, Secret, SpiffeId, Timestamp};
use mandate_stops::{By, Recorded, Stop};
use mandate_store::nodes::{self, JoinTokenHash, Node};
use mandate_store::{AppendError, Effect, EffectRefusal, StoreError};

use crate::error::{IdentityError, unrecorded};
use crate::rejoin::Renewable;
use crate::validity::{Moment, has_expired};
use crate::{Identity, node_name};

/// How long a ban waits for the database to say whether there is such a node.
const PATIENCE: Duration = Duration::from_millis(300);

/// A token that joins one node, once: `<random>.<pin of the signing authority>`.
///
/// The pin lets a node that knows nothing yet recognize the server; the random half lets the server recognize
/// the node.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    text: Secret,
    expires: Timestamp,
}

impl JoinToken {
    /// The text to hand to the node.
    pub fn text(&self) -> &Secret {
        &self.text
    }

    /// Until when it can be used.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// A certificate that was issued to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCertificate {
    /// DER certificates, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// The SPIFFE ID of the node.
    pub spiffe_id: SpiffeId,
    /// Its `notAfter`: the first moment at which it is no longer valid.
    pub expires: Timestamp,
}

/// A certificate of ours that the caller proved to hold when it connected.
///
/// A connection may outlive the certificate, so the certificate is checked again at every call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedCertificate {
    /// The SPIFFE ID that it names.
    pub spiffe_id: SpiffeId,
    /// Its `notAfter`: the first moment at which it is no longer valid.
    pub expires: Timestamp,
}

fn hash(token: &Secret) -> JoinTokenHash {
    sha256(token.expose_secret())
}

/// The name of the node that joins with this token and this key: 80 bits of a digest of both.
///
/// The same pair always gives the same name, so that a node whose first answer was lost is recognized. A name
/// that is in use is never given to another node, so that security does not depend on the length of the
/// digest.
fn name(token: &JoinTokenHash, key: &ProvenKey) -> String {
    let digest = sha256(&[token.as_slice(), key.point()].concat());
    let (name, _) = digest.split_at(10);
    base16ct::lower::encode_string(name)
}

impl Identity {
    /// Makes a join token. `by` is the operator, for the record.
    ///
    /// # Errors
    /// [`IdentityError::JoinTokenLifetime`] unless the lifetime is more than zero and at most
    /// [`MAX_JOIN_TOKEN_LIFETIME`]; [`IdentityError::AuditUnavailable`] or [`IdentityError::Internal`] if the
    /// token cannot be recorded.
    pub async fn create_join_token(
        &self,
        by: &str,
        lifetime: Option<Duration>,
    ) -> Result<JoinToken, IdentityError> {
        let lifetime = lifetime.unwrap_or(JOIN_TOKEN_LIFETIME);
        if lifetime.is_zero() || lifetime > MAX_JOIN_TOKEN_LIFETIME {
            return Err(IdentityError::JoinTokenLifetime);
        }
        let now = self.clock.now();
        let expires = now.plus(lifetime);
        let mut random = [0u8; 32];
        self.entropy.fill(&mut random);
        let text = Secret::new(format!("{}.{}", URL_SAFE_NO_PAD.encode(random), self.authority.ca_pin()));
        let mut record = self.record(RecordKind::Node, Outcome::Permitted, "ok", now);
        record.by = Some(by.to_owned());
        record.detail = Some(format!("made a join token that can be used until {expires}"));
        let keep = Effect::KeepJoinToken { hash: hash(&text), by: by.to_owned(), expires };
        self.append(record, vec![keep]).await.map_err(|error| unrecorded(&error))?;
        Ok(JoinToken { text, expires })
    }

    /// Joins a node that asks from `source`: spends the token, records it, issues the certificate. The server
    /// chooses the node's name; of the certificate request only the proven key is used.
    ///
    /// The answer may be lost after the token is spent. Until the token expires, a request that shows it
    /// again with the same key gets an answer again, as the same node. With another key the token is refused.
    pub async fn join(
        &self,
        token: &Secret,
        request: &[u8],
        source: RequestSource,
    ) -> Result<NodeCertificate, IdentityError> {
        let now = self.clock.now();
        let mut record = self.record(RecordKind::Node, Outcome::Permitted, "ok", now);
        let key = match ProvenKey::from_request(request) {
            Ok(key) => key,
            Err(error) => {
                let refused = IdentityError::CertificateRequest(error.to_string());
                return self.refuse(record, Some(source), "a node tried to join".to_owned(), refused).await;
            }
        };
        let digest = hash(token);
        let name = name(&digest, &key);
        let grant = NodeGrant::new(self.authority.trust_domain(), &name, self.clock.wall())
            .map_err(|error| IdentityError::Internal(error.to_string()))?;
        record.about = grant.known(self.authority.issuer()).into();
        record.detail = Some(format!("node {name} joined"));
        let node = Node {
            id: name.clone(),
            spiffe_id: grant.spiffe_id().clone(),
            state: NodeState::Joined,
            joined: now,
            renewed: now,
            expires: grant.expires(),
        };
        let spend = Effect::JoinNode { token: digest, node };
        let receipt = match self.append(record, vec![spend]).await {
            Ok(receipt) => receipt,
            Err(error) => {
                let refused = not_joined(error);
                let detail = format!("a node tried to join: {refused}");
                return self.refuse_unwritten(Some(source), detail, refused, now).await;
            }
        };
        self.still_joined(grant.spiffe_id())?;
        let issued = self
            .authority
            .issue_node_certificate(&grant, &key, receipt)
            .map_err(|error| IdentityError::Internal(error.to_string()))?;
        Ok(NodeCertificate {
            chain: issued.chain,
            spiffe_id: grant.spiffe_id().clone(),
            expires: issued.expires,
        })
    }

    /// A new certificate for a node that has joined and is not banned; for one whose certificate has expired,
    /// see
    /// [`Identity::with_rejoin_grace`].
    pub async fn renew(
        &self,
        shown: &PresentedCertificate,
        request: &[u8],
    ) -> Result<NodeCertificate, IdentityError> {
        let now = self.clock.now();
        let mut record = self.record(RecordKind::Node, Outcome::Permitted, "ok", now);
        let what = format!("{} asked for a new certificate", shown.spiffe_id);
        let Renewable { mut node, what: done, newest } = match self.renewable(shown).await {
            Ok(renewable) => renewable,
            Err(error) => return self.refuse(record, Some(RequestSource::Other), what, error).await,
        };
        let key = match ProvenKey::from_request(request) {
            Ok(key) => key,
            Err(error) => {
                return self
                    .refuse(record, None, what, IdentityError::CertificateRequest(error.to_string()))
                    .await;
            }
        };
        let grant = NodeGrant::new(self.authority.trust_domain(), &node.id, self.clock.wall())
            .map_err(|error| IdentityError::Internal(error.to_string()))?;
        record.about = grant.known(self.authority.issuer()).into();
        record.detail = Some(done);
        (node.renewed, node.expires) = (now, grant.expires());
        let put = Effect::RenewNode { node, newest };
        let receipt = match self.append(record, vec![put]).await {
            Ok(receipt) => receipt,
            Err(error) => return self.refuse_unwritten(None, what, not_renewed(&error), now).await,
        };
        self.still_joined(grant.spiffe_id())?;
        let issued = self
            .authority
            .issue_node_certificate(&grant, &key, receipt)
            .map_err(|error| IdentityError::Internal(error.to_string()))?;
        Ok(NodeCertificate {
            chain: issued.chain,
            spiffe_id: grant.spiffe_id().clone(),
            expires: issued.expires,
        })
    }

    /// Records and returns why a node got no certificate: the record that it did was not written. If that is
    /// because the log cannot be written, nothing is recorded.
    async fn refuse_unwritten<T>(
        &self,
        stranger: Option<RequestSource>,
        detail: String,
        error: IdentityError,
        now: Timestamp,
    ) -> Result<T, IdentityError> {
        if matches!(error, IdentityError::AuditUnavailable(_)) {
            return Err(error);
        }
        let refused = self.record(RecordKind::Node, Outcome::Refused, "", now);
        self.refuse(refused, stranger, detail, error).await
    }

    /// Bans a node: it gets nothing more, no matter which certificate it has, and its open streams end.
    /// Returns where the ban is recorded.
    pub async fn ban_node(&self, by: &str, name: &str) -> Result<Recorded, IdentityError> {
        if !self.is_name_of_a_node(name) {
            return Err(IdentityError::NodeUnknown);
        }
        let (store, id) = (self.store.clone(), name.to_owned());
        self.ban_unless_unknown(by, name, move || {
            store.read_blocking("read a node", |tx| nodes::get(tx, &id))
        })
        .await
    }

    /// Whether a node could have this name: it is the last segment of a SPIFFE ID.
    fn is_name_of_a_node(&self, name: &str) -> bool {
        let id = self.authority.trust_domain().member(&format!("/node/{name}"));
        id.is_ok_and(|id| node_name(&id) == Some(name))
    }

    /// Bans a node, unless `find` says in time that there is none of this name. A database that cannot be
    /// read, or does not answer, is no reason not to ban.
    async fn ban_unless_unknown(
        &self,
        by: &str,
        name: &str,
        find: impl FnOnce() -> Result<Option<Node>, StoreError> + Send + 'static,
    ) -> Result<Recorded, IdentityError> {
        if let Some(Ok(None)) = self.looks.look(PATIENCE, find).await {
            return Err(IdentityError::NodeUnknown);
        }
        let now = self.clock.now();
        let mut record = self.record(RecordKind::Node, Outcome::Permitted, "ok", now);
        record.by = Some(by.to_owned());
        record.detail = Some(format!("banned node {name}"));
        let banned = self.stops.take(Stop::of_node(record, name.to_owned()), By::Operator).await;
        banned.map(|taken| taken.recorded).map_err(|error| IdentityError::Internal(error.to_string()))
    }

    /// The node that a verified certificate names, if the certificate has not expired since it was verified.
    /// One that has by the server's own clock counts only as the newest of its node, whose time of issue is
    /// known.
    pub(crate) async fn joined_node(&self, shown: &PresentedCertificate) -> Result<Node, IdentityError> {
        let at = Moment::of(&self.clock);
        if at.wall >= shown.expires {
            return Err(IdentityError::NodeExpired);
        }
        let node = self.known_node(&shown.spiffe_id).await?;
        let counts = at.now < shown.expires || (shown.expires == node.expires && !has_expired(&node, at));
        if counts { Ok(node) } else { Err(IdentityError::NodeExpired) }
    }

    /// The node of this name, if it has joined and is not banned.
    pub(crate) async fn known_node(&self, id: &SpiffeId) -> Result<Node, IdentityError> {
        let name = node_name(id)
            .filter(|_| id.is_member_of(self.authority.trust_domain()))
            .ok_or(IdentityError::NodeUnknown)?;
        if self.stops.has_banned(name) {
            return Err(IdentityError::NodeBanned);
        }
        let id = name.to_owned();
        let node = self
            .store
            .read("read a node", move |tx| nodes::get(tx, &id))
            .await?
            .ok_or(IdentityError::NodeUnknown)?;
        match node.state {
            NodeState::Joined => Ok(node),
            NodeState::Banned => Err(IdentityError::NodeBanned),
        }
    }

    /// The last check before anything is issued, after all waits: a ban that is not in the database yet
    /// counts as well.
    pub(crate) fn still_joined(&self, id: &SpiffeId) -> Result<(), IdentityError> {
        match node_name(id) {
            Some(name) if !self.stops.has_banned(name) => Ok(()),
            Some(_) | None => Err(IdentityError::NodeBanned),
        }
    }
}

/// Why a node did not join, if the record that it joined was not written.
fn not_joined(error: AppendError) -> IdentityError {
    use EffectRefusal as E;
    match error {
        AppendError::EffectRefused(
            why @ (E::JoinTokenUnknown
            | E::JoinTokenUsed
            | E::JoinTokenExpired
            | E::NodeNameTaken
            | E::NodeBanned),
        ) => IdentityError::JoinToken(why),
        // No refusal of a join, or a failure of ours.
        AppendError::EffectRefused(
            E::MeterExhausted(_)
            | E::CodeUsed
            | E::CodeExpired
            | E::CodeUnknown
            | E::PushedRequestUsed
            | E::RefreshUnknown
            | E::RefreshUsed
            | E::RefreshEnded
            | E::RefreshExpired
            | E::LoginSessionEnded
            | E::NodeCertificateExpired
            | E::RegistryChanged
            | E::ClientsFull
            | E::ClientGone
            | E::DeviceGone
            | E::StopRecorded
            | E::Internal,
        )
        | AppendError::GuardFailed
        | AppendError::Unavailable(_)
        | AppendError::Invalid(_) => unrecorded(&error),
    }
}

/// Why a node has no new certificate, if the record of its renewal was not written.
fn not_renewed(error: &AppendError) -> IdentityError {
    use EffectRefusal as E;
    match error {
        AppendError::EffectRefused(E::NodeCertificateExpired) => IdentityError::NodeExpired,
        AppendError::EffectRefused(E::NodeBanned) => IdentityError::NodeBanned,
        // No refusal of a renewal, or a failure of ours.
        AppendError::EffectRefused(
            E::MeterExhausted(_)
            | E::CodeUsed
            | E::CodeExpired
            | E::CodeUnknown
            | E::PushedRequestUsed
            | E::RefreshUnknown
            | E::RefreshUsed
            | E::RefreshEnded
            | E::RefreshExpired
            | E::LoginSessionEnded
            | E::JoinTokenUnknown
            | E::JoinTokenUsed
            | E::JoinTokenExpired
            | E::NodeNameTaken
            | E::RegistryChanged
            | E::ClientsFull
            | E::ClientGone
            | E::DeviceGone
            | E::StopRecorded
            | E::Internal,
        )
        | AppendError::GuardFailed
        | AppendError::Unavailable(_)
        | AppendError::Invalid(_) => unrecorded(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use mandate_core::SystemEntropy;
    use mandate_stops::Recorded;
    use mandate_testkit::world::World;

    use crate::{Identity, IdentityError, IdentityParts};

    fn identity(world: &World) -> Identity {
        Identity::new(IdentityParts {
            authority: Arc::clone(&world.authority),
            log: world.log.clone(),
            stops: Arc::clone(&world.stops),
            live: Arc::clone(&world.live),
            store: world.store.clone(),
            clock: Arc::clone(&world.hybrid),
            entropy: Arc::new(SystemEntropy),
        })
    }

    /// Longer than anything here takes; reached only by a failing test.
    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_cannot_be_the_name_of_a_node_is_not_banned_even_if_the_database_does_not_answer() {
        let world = World::story();
        let identity = identity(&world);
        let _held = world.hold_database();
        for name in ["\0", "a\0b", "", ".", "..", "a/b", "a b", "a\n", "ä", &"a".repeat(3000)] {
            assert_eq!(identity.ban_node("uid:0", name).await, Err(IdentityError::NodeUnknown), "{name:?}");
            assert!(!world.stops.has_banned(name));
        }
    }

    #[tokio::test]
    async fn a_disk_that_hangs_delays_no_ban() {
        let world = World::story();
        let identity = identity(&world);
        let mut hung = Vec::new();
        for name in ["one", "two", "three", "four"] {
            let (end, waits) = mpsc::channel::<()>();
            hung.push(end);
            let find = move || {
                let _ = waits.recv_timeout(LONG);
                Ok(None)
            };
            // On a runtime of one thread: a read on it would end before the ban begins.
            assert_eq!(identity.ban_unless_unknown("uid:0", name, find).await, Ok(Recorded::Log), "{name}");
            assert!(world.stops.has_banned(name));
        }
        let unknown = identity.ban_unless_unknown("uid:0", "five", || Ok(None)).await;
        assert_eq!(unknown, Ok(Recorded::Log), "who waits for its turn at the disk learns nothing either");
        drop(hung);
        assert_eq!(identity.ban_node("uid:0", "six").await, Err(IdentityError::NodeUnknown));
        assert!(!world.stops.has_banned("six"));
    }
}
