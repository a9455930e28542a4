//! The authorization server's engine: grants, client authentication, introspection, revocation, metadata, login.
//!
//! There are no HTTP types: a request is a body and a header text, an answer is a value with a status. Every way to a token
//! has the same steps: parse, authenticate the client, verify the subject, verify the actor, gather facts, `decide`,
//! record, mint. Each outcome, refusals included, has a durable record before the caller gets the answer. If the record
//! cannot be written, there is no outcome.

pub mod attempts;
mod authorize;
mod browser;
mod client;
mod code;
mod engine;
pub mod exchange;
pub mod foreign;
pub mod form;
mod introspect;
mod login;
pub mod metadata;
pub mod names;
pub mod password;
pub mod pkce;
mod queue;
pub mod redirect;
mod refusal;
mod request;
mod resource;
mod revoke;
mod scope_bounds;
mod token;
mod trail;
pub mod wire;

pub use authorize::{AuthorizationRequest, AuthorizeRefusal};
pub use engine::{Engine, Parts};
pub use introspect::Introspection;
pub use login::{LoginRefusal, Redirect, Visitor};
pub use refusal::{Presented, Quota, Refusal, RefusalClass, Unsupported};
pub use request::{Headers, Repeated, Request};
pub use token::TokenResponse;
pub use wire::{Fault, OAuthError};
