//! The comparison of an audit record with what is signed because of it.

use mandate_core::Term;

/// How an audit record differs from what is about to be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Mismatch {
    /// It is of another kind of decision.
    #[error("the record is of another kind")]
    Kind,
    /// It is of a refusal.
    #[error("the record is about a refusal")]
    Outcome,
    /// It is of another time than the token's issue.
    #[error("the record is of another time")]
    Time,
    /// It is a record without the terms of a mandate.
    #[error("the record is not of a mandate")]
    NoMandate,
    /// It has another value of this term, or none.
    #[error("the record says another {0}")]
    Term(Term),
}
