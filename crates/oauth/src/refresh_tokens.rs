//! Refresh tokens: what a login gives a client that may act while the person is away. Each is usable once, and
//! the tokens of one login are a family that ends as a whole.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::digest::sha256;
use mandate_core::lifetimes::{REFRESH_IDLE_LIFETIME, REFRESH_LIFETIME};
use mandate_core::registry::RegistryVersion;
use mandate_core::{ClientId, CutTarget, ResourceUri, ScopeSet, Secret, Subject, Timestamp, TokenId};
use mandate_delegation::{Authorization, ContinuedLogin, ProvenClient};
use mandate_sequencer::Guard;
use mandate_store::codes::CodeHash;
use mandate_store::refresh::{self, Family, RefreshHash, RefreshState, Upstream};
use mandate_store::{Effect, Store};
use serde::{Deserialize, Serialize};

use crate::basis::Basis;
use crate::refusal::RequestRefusal;
use crate::stored_login::StoredLogin;

/// What a login gave. It is sealed in the store, and never changes: a refresh can ask for less, and the next one
/// for all of it again (RFC 6749 §6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefreshPayload {
    pub(crate) client: ClientId,
    #[serde(flatten)]
    pub(crate) login: StoredLogin,
    pub(crate) resource: Option<ResourceUri>,
    pub(crate) scopes: ScopeSet,
}

/// By what a login gives its first refresh token.
pub(crate) struct Decision {
    /// The hash of the code that is redeemed.
    pub(crate) code: CodeHash,
    /// SHA-256 of the stored hash of the password by which the person logged in, if it was by one.
    pub(crate) password: Option<[u8; 32]>,
    /// The version of the registry by which it was decided.
    pub(crate) planned_from: RegistryVersion,
    /// The login at the identity provider, if it gave a refresh token.
    pub(crate) upstream: Option<Upstream>,
}

/// What is stored of a refresh token that was presented.
#[derive(Clone, Debug)]
pub(crate) struct StoredRefresh {
    pub(crate) state: RefreshState,
    pub(crate) login: ContinuedLogin,
    /// Before this time it must be used.
    pub(crate) expires: Timestamp,
    pub(crate) payload: RefreshPayload,
}

impl StoredRefresh {
    /// The authorization that it asks for: `scopes` of those that the login gave.
    pub(crate) fn authorization(
        &self,
        client: ProvenClient,
        scopes: ScopeSet,
        jti: TokenId,
    ) -> Authorization {
        Authorization {
            client: mandate_delegation::LoginClient::App(client),
            person: self.payload.login.asserted(),
            resource: self.payload.resource.clone(),
            scopes: Some(scopes),
            jti,
            continued: Some(self.login.clone()),
        }
    }
}

pub(crate) fn hash(token: &str) -> RefreshHash {
    sha256(token.as_bytes())
}

/// Refresh tokens: a login that its client may continue gives the first, and each use the next one.
pub(crate) struct RefreshTokens {
    pub(crate) basis: Basis,
    pub(crate) store: Store,
}

impl RefreshTokens {
    /// A new token of 32 unpredictable bytes.
    fn fresh(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.basis.random())
    }

    /// The first refresh token of a login whose first access token is `root`, and what stores it in the
    /// transaction of that token's record.
    pub(crate) fn first(
        &self,
        root: &TokenId,
        person: Subject,
        payload: &RefreshPayload,
        Decision { code, password, planned_from, upstream }: Decision,
        now: Timestamp,
    ) -> Result<(Secret, Effect), RequestRefusal> {
        let name = payload.login.person.clone();
        let client = payload.client.clone();
        let ends = payload.login.logged_in.plus(REFRESH_LIFETIME);
        let payload =
            serde_json::to_vec(payload).map_err(|error| RequestRefusal::Internal(error.to_string()))?;
        let payload = Secret::new(payload);
        let family = Family { root: root.clone(), client, person, ends, payload, upstream };
        let token = self.fresh();
        let (hash, expires) = (hash(&token), now.plus(REFRESH_IDLE_LIFETIME));
        let family = Box::new(family);
        let keep = Effect::KeepRefresh { family, hash, expires, code, name, password, planned_from };
        Ok((Secret::new(token), keep))
    }

    /// The token that takes the place of the one with this hash, and what uses that one up.
    pub(crate) fn next(&self, used: RefreshHash, now: Timestamp) -> (Secret, Effect) {
        let token = self.fresh();
        let (next, expires) = (hash(&token), now.plus(REFRESH_IDLE_LIFETIME));
        (Secret::new(token), Effect::RotateRefresh { hash: used, next, expires, at: now })
    }

    /// What is stored of a refresh token; `None` if it is unknown.
    pub(crate) async fn look(
        &self,
        hash: RefreshHash,
        now: Timestamp,
    ) -> Result<Option<StoredRefresh>, RequestRefusal> {
        let found = self.store.read("refresh token", move |tx| refresh::peek(tx, &hash, now)).await;
        let found = found.map_err(|error| RequestRefusal::Internal(error.to_string()))?;
        let opened = |found: refresh::FoundRefresh| {
            let payload = serde_json::from_slice(found.payload.expose_secret())
                .map_err(|error| RequestRefusal::Internal(error.to_string()))?;
            let login = ContinuedLogin { root: found.root, ends: found.ends };
            Ok(StoredRefresh { state: found.state, login, expires: found.expires, payload })
        };
        found.map(opened).transpose()
    }

    /// Agrees while nobody cut the login. A cut ends what the database has when it is recorded; this keeps a
    /// refresh token out that was decided before the cut and would be written after it.
    pub(crate) fn still_counts(&self, root: TokenId, person: Subject, payload: &RefreshPayload) -> Guard {
        let (live, since) = (self.basis.live.clone(), payload.login.logged_in);
        let parties = [CutTarget::Person(person), CutTarget::Client(payload.client.clone())];
        let root = CutTarget::Token(root);
        Box::new(move || {
            let cuts = &live.snapshot().revocations;
            !cuts.contains(&root) && !parties.iter().any(|party| cuts.has_cut_since(party, since))
        })
    }
}
