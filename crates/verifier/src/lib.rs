//! Protects an API with Mandate's access tokens.
//!
//! A token of Mandate says for whom a request is made (`sub`, usually a person), who makes it (`act`, an
//! agent), at which one resource (`aud`), with which scopes, for a few minutes. This crate checks all of that
//! locally. It learns within moments when a token, a grant, an agent or a person has been revoked.
//!
//! # One call
//!
//! ```no_run
//! use mandate_verifier::{Route, Verifier};
//!
//! # async fn example(authorization: Option<&str>) -> Result<(), Box<dyn std::error::Error>> {
//! let issuer = "https://mandate.acme.example".parse()?;
//! let resource = "https://crm.acme.example".parse()?;
//! let verifier = Verifier::builder(issuer, resource).build()?;
//! let route = Route::requires("write:opportunities")?;
//!
//! match verifier.verify(authorization, &route).await {
//!     Ok(verified) => println!("{} by {:?}, token {}", verified.subject(), verified.actor(), verified.jti()),
//!     Err(refusal) => println!("{} {:?} {}", refusal.status(), refusal.www_authenticate(), refusal.body()),
//! }
//! # Ok(()) }
//! ```
//!
//! # One layer (feature `tower`)
//!
//! ```
//! # #[cfg(feature = "tower")]
//! # fn app(verifier: mandate_verifier::Verifier) -> Result<(), mandate_verifier::InvalidScope> {
//! use axum::{Extension, Router, routing::get};
//! use mandate_verifier::{Route, Verified};
//!
//! async fn list_cases(Extension(verified): Extension<Verified>) -> String {
//!     format!("the cases of {}", verified.subject())
//! }
//!
//! let protect = verifier.layer(Route::requires("read:cases")?);
//! let app: Router = Router::new()
//!     .route("/cases", get(list_cases).route_layer(protect))
//!     .layer(verifier.metadata_layer());
//! # Ok(()) }
//! ```
//!
//! A whole API is in `examples/notes-api` of the repository.
//!
//! # What is checked
//!
//! * one bearer token in one `Authorization` header (RFC 6750); none in the query string;
//! * `typ` is `at+jwt`, an asymmetric algorithm from a fixed list, a signature by a key of *this* issuer,
//!   which is found by discovery and never from the content of the token (RFC 9068 §4, RFC 8725);
//! * `iss` is the issuer and `aud` is this resource alone, byte for byte, except that an empty path and `/`
//!   are the same;
//! * not expired, not from the future;
//! * not bound to a key (`cnf`): such a token is not a bearer token;
//! * neither the token nor an ancestor, its grant, person, client or any agent in its chain has been revoked;
//! * all scopes of the route; optionally, who the current actor is.
//!
//! Authorize by [`Verified::subject`], [`Verified::actor`] and [`Verified::scopes`]. The rest of the chain is
//! history and must not decide anything (RFC 8693 §4.1). Keep [`Verified::jti`] beside what a request
//! changed: one query to the issuer's audit log with it names the person and every agent involved.
//!
//! # Agents on their own behalf
//!
//! An agent can also have a token of its own, without a person (`sub` is its SPIFFE ID, `sub_profile` is
//! `ai_agent`). [`Verifier::verify`] and [`Verifier::layer`] refuse such tokens with 403, so a [`Verified`]
//! always has a person. A route that is also for agents by themselves says so, and gets a
//! [`VerifiedCaller`], which must be taken apart before there is a person in it: [`Verifier::verify_caller`],
//! [`ProtectLayer::and_agents_themselves`].
//!
//! # What happens in an outage
//!
//! | what fails | what follows |
//! |---|---|
//! | the issuer, while the API runs | tokens are still verified with the last good keys, for 24 hours ([`Builder::keys_max_age`]) |
//! | … and its revocation feed with it | after 15 seconds each route refuses with 503, unless it says otherwise: [`Freshness`] |
//! | the API restarts while the issuer is down | as above with [`Builder::cache_file`]; without it, 503 until the issuer is back |
//! | the issuer rotates its keys | for an unknown key id the keys are fetched again: by one request, at most every 5 seconds |
//! | … and its keys cannot be fetched | tokens that may have a newer key are refused with 503, not 401 |
//! | the API's clock is set back | knowledge of revocations counts as stale until something arrives from the feed |
//!
//! A 503 has `Retry-After` and no challenge, so that no client starts a new login because the issuer cannot
//! be reached.
//!
//! # Logs
//!
//! Each decision is one `tracing` event of level info and target [`DECISION_TARGET`] with `decision`,
//! `reason`, `status`, `aud` and, once the signature is verified, `sub`, `sub_iss`, `act`, `depth`, `jti`,
//! `client_id`, `scope`. An agent's own token has no `sub` there, and the agent as `act`. Tokens are never
//! logged.
//!
//! # Another language or framework
//!
//! Any JWT library can check these tokens; the list above contains every check. A token with `sub_profile` is
//! an agent's own: refuse it where a person is expected. The feed is `GET {issuer}/revocations`, server-sent
//! events: all cuts in force as `cut` events, then `ready`, then each new cut, and a comment every few
//! seconds.

mod builder;
mod cache_file;
mod credentials;
mod decision;
mod feed;
mod issuer;
mod keys;
#[cfg(feature = "tower")]
mod layer;
mod metadata;
mod refusal;
mod revocations;
mod route;
mod shared;
mod sse;
mod verified;
mod verifier;

pub use mandate_core::{
    Actor, ActorChain, Audience, ClientId, Clock, Confirmation, Details, Entropy, GrantId, InvalidScope,
    InvalidUri, Issuer, Lineage, ResourceUri, Scope, ScopeSet, Subject, SubjectProfile, Terms, Timestamp,
    TokenId,
};

pub use builder::{BuildError, Builder};
pub use cache_file::CacheFileError;
pub use credentials::Presented;
pub use decision::DECISION_TARGET;
#[cfg(feature = "tower")]
pub use layer::{MetadataLayer, Protect, ProtectLayer, WithMetadata};
pub use metadata::ResourceMetadata;
pub use refusal::{Attempt, Reason, Refusal};
pub use route::{DEFAULT_MAX_AGE, Freshness, Route};
pub use shared::VerifierStatus;
pub use verified::{Verified, VerifiedAgent, VerifiedCaller};
pub use verifier::Verifier;
