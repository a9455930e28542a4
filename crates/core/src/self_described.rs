//! Clients that describe themselves: they registered themselves (RFC 7591), or their id is the URL of their
//! metadata (draft-ietf-oauth-client-id-metadata-document-02). No operator registered them, and nothing proves
//! who runs them.

use serde::{Deserialize, Serialize};

use crate::id::ClientId;
use crate::names::ClientMethod;
use crate::time::Timestamp;

/// SHA-256 of a client secret. The secret itself is 32 random bytes, so a slow hash would add nothing.
pub type SecretDigest = [u8; 32];

/// How a client that describes itself authenticates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "method", content = "secret")]
pub enum SelfAuthentication {
    /// A public client.
    None,
    /// By its secret in the `Authorization` header (RFC 6749 §2.3.1).
    ClientSecretBasic(SecretDigest),
    /// By its secret in the body (RFC 6749 §2.3.1).
    ClientSecretPost(SecretDigest),
    /// By an assertion signed by its own key (RFC 7523 §2.2).
    PrivateKeyJwt(SelfKeys),
}

/// Where the keys of a client that describes itself are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelfKeys {
    /// In its own metadata: a JWK Set (RFC 7517 §5).
    Listed(String),
    /// At this URL, on the host of its metadata.
    At(String),
}

impl SelfAuthentication {
    /// Its name in the registry of token endpoint authentication methods (RFC 7591 §4.2).
    pub fn method(&self) -> ClientMethod {
        match self {
            Self::None => ClientMethod::None,
            Self::ClientSecretBasic(_) => ClientMethod::ClientSecretBasic,
            Self::ClientSecretPost(_) => ClientMethod::ClientSecretPost,
            Self::PrivateKeyJwt(_) => ClientMethod::PrivateKeyJwt,
        }
    }

    /// The digest of its secret, if it has one.
    pub fn secret(&self) -> Option<&SecretDigest> {
        match self {
            Self::None | Self::PrivateKeyJwt(_) => None,
            Self::ClientSecretBasic(digest) | Self::ClientSecretPost(digest) => Some(digest),
        }
    }
}

/// A client that describes itself. It is in no registry file, and every statement in it is its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfDescribed {
    /// The id that it was given (see [`ClientId::of_self_registered`]), or the URL of its metadata.
    pub id: ClientId,
    /// What it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The redirect URIs to which the browser may be sent back: https or loopback.
    pub redirect_uris: Vec<String>,
    /// How it authenticates.
    pub authentication: SelfAuthentication,
    /// When it registered, or its metadata were read.
    pub registered: Timestamp,
}
