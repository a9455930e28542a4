//! The vocabulary of Mandate: names, identities, scopes, actor chains, the registry, revocation, time and
//! secrets.
//!
//! Pure: no I/O and no async. The two inputs from the outside world, the clock and the entropy source, are
//! traits. Their system implementations are [`SystemClock`] and [`SystemEntropy`]; only composition roots
//! construct them.

mod backoff;
pub mod constraint;
pub mod digest;
pub mod hybrid_clock;
pub mod id;
pub mod lifetimes;
mod lineage;
mod meter;
pub mod names;
mod node_state;
pub mod registry;
mod request_source;
pub mod revocation;
mod role;
mod said_actors;
pub mod scope;
pub mod seal;
mod secret;
pub mod selector;
mod self_described;
mod socket_path;
mod spiffe;
pub mod subject;
mod system;
pub mod terms;
pub mod time;
pub mod uri;

pub use backoff::Backoff;
pub use hybrid_clock::{ClockStep, HybridClock};
pub use id::{
    AgentName, ClientId, GrantId, GroupName, InvalidName, PersonName, PolicyName, RecordId, ResourceName,
    TenantName, TokenId,
};
pub use lineage::Lineage;
pub use meter::{MeterId, Reservation};
pub use node_state::NodeState;
pub use request_source::RequestSource;
pub use revocation::{Cut, CutTarget, RevocationSet, TokenFacts};
pub use role::Role;
pub use said_actors::{ActorForm, SaidActors};
pub use scope::{InvalidScope, Scope, ScopeSet, ScopeText};
pub use secret::Secret;
pub use selector::{Selector, UnixSelector};
pub use self_described::{SecretDigest, SelfAuthentication, SelfDescribed, SelfKeys};
pub use socket_path::{SocketPathTooLong, check_socket_path};
pub use spiffe::{InvalidSpiffeId, SpiffeId, TrustDomain};
pub use subject::{Act, ActRef, Actor, ActorChain, InvalidActorChain, Subject, SubjectProfile};
pub use system::{SystemClock, SystemEntropy};
pub use terms::{Audience, Confirmation, Details, KnownTerms, Said, Term, Terms};
pub use time::{Clock, Entropy, Lifetime, Timestamp};
pub use uri::{BundleUrl, InvalidUri, Issuer, ResourceUri};
