//! The authorization server's engine: grants, client authentication, introspection, revocation, metadata,
//! login.
//!
//! There are no HTTP types: a request is method, URL, headers and body as text and bytes, an answer is a
//! value with a status. Every way to a token has the same steps: parse, authenticate the client, verify the
//! subject, verify the actor, gather facts, `decide`, record, mint. Each outcome, refusals included, has a
//! durable record before the caller gets the answer. If the record cannot be written, the answer is an error,
//! and nothing is issued.
//!
//! # Layers
//!
//! A file uses what is on its own line to the right, or on a line below; never what is above. A grant is a
//! file in `grants` and a row of the table there; nothing below `grants` knows any grant.
//!
//! ```text
//! endpoints   login ─► authorize · logout · token · introspect · revoke
//! engine      engine: the parts, put together
//! grants      grants: the table ─► code · refresh · client_credentials · exchange ─► handler: what a grant type is
//! parts       subject_token · actor_token ─► client · opaque_tokens ─► self_described ─► self_registered · metadata_document · platform_tokens ─► own_tokens · codes · refresh_tokens · cuts ─► stored_login · password_login · providers · conclusion: record, mint, answer
//! record      trail: what is known, and the record of each outcome ─► basis: snapshot, time, randomness, the decision
//! readers     request · resource · scope ─► parameter: required, optional, or with another
//! answers     wire: what the caller gets ─► refusal: why, and at which stage ─► provider_refusal
//! means       form · metadata · password ─► queue · foreign · pkce · redirect · revokers · attempts · browser · claimed · scope_bounds · shown_name
//! ```

mod actor_token;
mod asking_client;
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
mod foreign_svids;
pub mod form;
pub mod grants;
mod introspect;
mod login;
mod logout;
pub mod metadata;
pub mod metadata_document;
mod opaque_tokens;
mod own_tokens;
pub mod parameter;
pub mod password;
mod password_login;
mod pinned_keys;
pub mod pkce;
mod platform_tokens;
mod provider_refusal;
mod providers;
mod queue;
pub mod redirect;
mod refresh_tokens;
mod refusal;
pub mod registration;
mod request;
mod resource;
mod revoke;
mod revokers;
mod scope;
mod scope_bounds;
mod self_described;
mod self_registered;
mod shown_name;
mod stored_login;
mod subject_token;
mod token;
mod trail;
pub mod wire;

pub use authorize::{AuthorizationRequest, AuthorizeRefusal};
pub use conclusion::TokenResponse;
pub use engine::{Engine, EngineParts};
pub use introspect::Introspection;
pub use login::{Arrival, Callback, CallbackRefusal, Departure, LoginProvider, LoginRefusal, Redirect};
pub use password_login::Visitor;
pub use provider_refusal::ProviderRefusal;
pub use providers::{PendingLogin, ReadSecret};
pub use refusal::{
    CredentialKind, NotAllowed, Quota, RefusalClass, RegistrationFault, RequestRefusal, Unsupported,
};
pub use request::{FormRequest, Headers, Repeated};
pub use self_described::SelfDescription;
pub use wire::{Fault, OAuthError};
