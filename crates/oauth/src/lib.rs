//! The authorization server's engine: grants, client authentication, introspection, revocation, metadata, login.
//!
//! There are no HTTP types: a request is method, URL, headers and body as text and bytes, an answer is a value with a status.
//! Every way to a token has the same steps: parse, authenticate the client, verify the subject, verify the actor, gather facts,
//! `decide`, record, mint. Each outcome, refusals included, has a durable record before the caller gets the answer. If the
//! record cannot be written, there is no outcome.
//!
//! # Layers
//!
//! A file uses what is below it, never what is above. A grant is a file in `grants`, and a row of the table there; nothing below
//! `grants` knows any grant.
//!
//! ```text
//! endpoints   token · introspect · revoke · authorize ◄─ login
//! engine      engine: the parts, put together · metadata
//! grants      grants: the table ─► code · exchange ─► grant: what a grant type is
//! readers     subject_token · actor_token · resource · scope: one parameter group each
//! parts       client · own_tokens · foreign · codes · cuts · password_login · conclusion: record, mint, answer
//! record      trail: who is known, and the record of each outcome
//! basis       basis: snapshot, time, randomness, the decision
//! answers     wire ─► refusal: why, and at which stage
//! request     request · parameter ─► form ─► names: each protocol name, once
//! ```

mod actor_token;
pub mod attempts;
mod authorize;
mod basis;
mod browser;
mod claimed;
mod client;
mod codes;
mod conclusion;
mod cuts;
mod engine;
pub mod foreign;
pub mod form;
pub mod grants;
mod introspect;
mod login;
pub mod metadata;
pub mod names;
mod own_tokens;
pub mod parameter;
pub mod password;
mod password_login;
pub mod pkce;
mod queue;
pub mod redirect;
mod refusal;
mod request;
mod resource;
mod revoke;
mod revokers;
mod scope;
mod scope_bounds;
mod subject_token;
mod token;
mod trail;
pub mod wire;

pub use authorize::{AuthorizationRequest, AuthorizeRefusal};
pub use conclusion::TokenResponse;
pub use engine::{Engine, Parts};
pub use introspect::Introspection;
pub use login::{LoginRefusal, Redirect};
pub use password_login::Visitor;
pub use refusal::{Presented, Quota, Refusal, RefusalClass, Unsupported};
pub use request::{Headers, Repeated, Request};
pub use wire::{Fault, OAuthError};
