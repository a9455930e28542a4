//! Authorization codes: valid for a short time and one use, bound to client, redirect URI, challenge and
//! resource.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::digest::sha256;
use mandate_core::lifetimes::CODE_LIFETIME;
use mandate_core::{ClientId, ResourceUri, ScopeSet, Secret, SpiffeId, Timestamp, TokenId};
use mandate_store::codes::{self, CodeHash, Redemption};
use mandate_store::login_sessions::SessionHash;
use mandate_store::{Effect, Store};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::basis::Basis;
use crate::pkce::Challenge;
use crate::refusal::RequestRefusal;
use crate::stored_login::{StoredLogin, UpstreamToken};

/// For how long after the last moment of a first use a second one is noticed: as long as the tokens from the first
/// may be valid.
const NOTICED: Duration = mandate_delegation::revocation::CUT_MEMORY;

/// What a person's login gave a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Granted {
    pub(crate) client: ClientId,
    #[serde(flatten)]
    pub(crate) login: StoredLogin,
    pub(crate) resource: Option<ResourceUri>,
    pub(crate) scopes: Option<ScopeSet>,
    /// Whether the person let the client act while they are away.
    #[serde(default)]
    pub(crate) offline: bool,
    /// SHA-256 of the stored hash of the password by which the person logged in, if it was by one.
    #[serde(default)]
    pub(crate) password: Option<[u8; 32]>,
    /// The refresh token of the provider at which the person logged in, if the login may go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upstream: Option<UpstreamToken>,
}

/// The content of a code. It is sealed in the store; the code itself is stored only as a hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CodePayload {
    pub(crate) redirect_uri: String,
    pub(crate) challenge: Challenge,
    /// The agent for which the person gave the code, if it is for one: its proof must come with the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) actor: Option<SpiffeId>,
    #[serde(flatten)]
    pub(crate) granted: Granted,
}

/// What is stored of a code that was presented.
pub(crate) enum StoredCode<P> {
    Unused(P),
    /// It was used before, for this token.
    Used(P, Option<TokenId>),
    /// It is unknown, or has expired.
    Gone,
}

pub(crate) fn hash(code: &str) -> CodeHash {
    sha256(code.as_bytes())
}

/// Codes: the login issues them, and their grant redeems them.
pub(crate) struct Codes {
    pub(crate) basis: Basis,
    pub(crate) store: Store,
}

impl Codes {
    /// A new code of 32 unpredictable bytes, and what stores it in the transaction of its record. `session`:
    /// the person's session at an identity provider, which can end it.
    pub(crate) fn issue(
        &self,
        payload: &CodePayload,
        session: Option<SessionHash>,
        now: Timestamp,
    ) -> Result<(Secret, Vec<Effect>), RequestRefusal> {
        let code = URL_SAFE_NO_PAD.encode(self.basis.random());
        let effects = keep((hash(&code), now.plus(CODE_LIFETIME)), payload, session)?;
        Ok((Secret::new(code), effects))
    }

    /// What is stored of a code.
    pub(crate) async fn look<P: DeserializeOwned>(
        &self,
        hash: CodeHash,
        now: Timestamp,
    ) -> Result<StoredCode<P>, RequestRefusal> {
        let found = self.store.read("code", move |tx| codes::peek(tx, &hash, now)).await;
        Ok(match found.map_err(|error| RequestRefusal::Internal(error.to_string()))? {
            Redemption::First { payload } => StoredCode::Unused(opened(&payload)?),
            Redemption::Again { payload, token } => StoredCode::Used(opened(&payload)?, token),
            Redemption::Expired | Redemption::Unknown => StoredCode::Gone,
        })
    }
}

/// Until when a code is remembered, used or not, that can be used before it `expires`.
pub(crate) fn noticed_until(expires: Timestamp) -> Timestamp {
    expires.plus(NOTICED)
}

/// What stores a code with this hash, which can be used before it expires.
pub(crate) fn keep(
    (hash, expires): (CodeHash, Timestamp),
    payload: &impl Serialize,
    session: Option<SessionHash>,
) -> Result<Vec<Effect>, RequestRefusal> {
    let payload = serde_json::to_vec(payload).map_err(|error| RequestRefusal::Internal(error.to_string()))?;
    let forget = noticed_until(expires);
    let keep = Effect::KeepCode { hash, payload: Secret::new(payload), expires, forget };
    let of_session = session.map(|session| Effect::KeepLoginSession { session, code: hash, forget });
    Ok(std::iter::once(keep).chain(of_session).collect())
}

pub(crate) fn opened<P: DeserializeOwned>(payload: &Secret) -> Result<P, RequestRefusal> {
    serde_json::from_slice(payload.expose_secret())
        .map_err(|error| RequestRefusal::Internal(error.to_string()))
}
