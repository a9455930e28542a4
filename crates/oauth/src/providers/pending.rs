//! A login that a browser has begun and that an identity provider has not answered yet.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::digest::sha256;
use mandate_core::lifetimes::LOGIN_FORM_LIFETIME;
use mandate_core::{Issuer, Secret, Timestamp};
use serde::{Deserialize, Serialize};

/// What this server has to know again when the provider answers. It is kept by the browser alone, sealed: the
/// server remembers nothing about a person who has not logged in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingLogin {
    /// The authorization request of the client: the query of `/authorize`.
    pub(crate) query: String,
    pub(crate) provider: Issuer,
    /// The code of the device that waits, if the login is for one. Then there is no query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<String>,
    /// Whether the person was told that the client can go on while they are away.
    pub(crate) offline: bool,
    /// Binds the answer to this browser (RFC 6749 §10.12).
    pub(crate) state: String,
    /// Binds the ID token to this login (`OpenID` Connect Core §3.1.2.1).
    pub(crate) nonce: String,
    /// Binds the code to this login (RFC 7636 §4.1).
    pub(crate) verifier: String,
    pub(crate) began: Timestamp,
}

/// What a login at a provider is for.
pub(crate) struct Purpose<'q> {
    /// The authorization request of the client: the query of `/authorize`.
    pub(crate) query: &'q str,
    /// The code of the device that waits.
    pub(crate) device: Option<String>,
    /// The client can go on while the person is away, and the person was told.
    pub(crate) offline: bool,
}

impl fmt::Debug for PendingLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingLogin").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl PendingLogin {
    /// A login at `provider` that begins now. `random`: each call gives other bytes.
    pub(crate) fn begin(
        Purpose { query, device, offline }: Purpose<'_>,
        provider: &Issuer,
        began: Timestamp,
        random: impl Fn() -> [u8; 32],
    ) -> Self {
        let text = || URL_SAFE_NO_PAD.encode(random());
        Self {
            query: query.to_owned(),
            provider: provider.clone(),
            device,
            offline,
            state: text(),
            nonce: text(),
            verifier: text(),
            began,
        }
    }

    /// Its bytes, to be sealed.
    pub fn to_bytes(&self) -> Secret {
        // Texts and a number always serialize; nothing can be read from an empty text.
        Secret::new(serde_json::to_vec(self).unwrap_or_default())
    }

    /// The login with these bytes; `None` if they are not those of one.
    pub fn from_bytes(bytes: &Secret) -> Option<Self> {
        serde_json::from_slice(bytes.expose_secret()).ok()
    }

    /// The PKCE challenge of its verifier, by S256 (RFC 7636 §4.2).
    pub(crate) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(sha256(self.verifier.as_bytes()))
    }

    /// When an answer comes too late.
    pub(crate) fn ends(&self) -> Timestamp {
        self.began.plus(LOGIN_FORM_LIFETIME)
    }
}
