//! Delegation: the one decision that every grant of authority goes through.
//!
//! [`decide`] is pure: no I/O, no clock, no async. It takes verified credentials ([`VerifiedSubject`],
//! [`VerifiedActor`], [`AuthenticatedClient`]), the [`Facts`] of one immutable snapshot, and a time. There
//! are three outcomes: a [`Mandate`], a [`DecisionRefusal`], or [`NeedsApproval`]. Nothing else can build a
//! `Mandate`.
//!
//! [`liveness`] is the rule by which a token that was issued still counts; [`revocation`] turns changes of
//! the registry into cuts.

mod approval;
mod credential;
mod decide;
pub mod liveness;
mod mandate;
mod refusal;
pub mod revocation;

pub use approval::{NeedsApproval, RequestHash, Withheld};
pub use credential::{
    AuthenticatedClient, ForeignToken, LoggedInPerson, LoginClient, ProvenClient, ProvenGroups, ProvenTenant,
    ProviderLogin, SubjectOrigin, UnattestedClient, VerifiedActor, VerifiedSubject,
};
pub use decide::{
    Authorization, ContinuedLogin, DecisionRequest, DelegatedLogin, Exchange, Facts, MAX_LINEAGE,
    NotRequestable, OwnBehalf, decide, has_grant_for, requestable,
};
pub use mandate::{Mandate, MandateView};
pub use refusal::{DecisionRefusal, RefusalReason, ScopeBounds};
