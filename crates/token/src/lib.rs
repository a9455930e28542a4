//! Signed tokens: parse, verify and build. Pure: no I/O, no clock, no keys.
//!
//! Four kinds of token, each with its own module, its own allow-list of algorithms and its own `typ`, so
//! that one kind is never taken for another (RFC 8725 §3.11, §3.12):
//!
//! - [`access_token`]: OAuth access tokens as JWT (RFC 9068), our own and those of other issuers that are
//!   trusted.
//! - [`jwt_svid`]: SPIFFE JWT-SVIDs, the identity of an agent.
//! - [`client_assertion`]: client authentication with `private_key_jwt` (RFC 7523, RFC 7523bis).
//! - [`platform_token`]: the tokens of platforms, the identity of an agent without a node.
//!
//! [`discovery`] reads the metadata by which an issuer's keys are found.
//!
//! Verification takes the token, a [`KeySet`] that was obtained out of band, and the time. A key never comes
//! from the token. Signing goes through the [`Signer`] trait; private keys are held elsewhere.

pub mod access_token;
mod algorithm;
mod claim;
pub mod client_assertion;
mod compact;
pub mod discovery;
mod ecdsa_scalar;
mod error;
pub mod id_token;
pub mod jwt_svid;
mod key_set;
pub mod logout_token;
mod mapped;
mod memo;
pub mod platform_token;
mod product;
mod public_jwk;
pub mod security_event;
mod sign;
mod spiffe_bundle;
mod strict_json;

pub use algorithm::Algorithm;
pub use compact::MAX_TOKEN_LEN;
pub use error::TokenError;
pub use key_set::{KeySet, KeySetError, KeyUse};
pub use mapped::{MappedClaims, Mapping};
pub use memo::SignatureMemo;
pub use public_jwk::{PublicJwk, jwks_json, thumbprint};
pub use sign::{SignError, Signer};
pub use spiffe_bundle::SpiffeBundle;

#[cfg(test)]
mod test_keys;
