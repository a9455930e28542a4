//! Why the authority does not sign, grouped by the party at fault.

use mandate_audit::CheckpointError;
use mandate_core::Timestamp;
use mandate_store::StoreError;

use crate::lint::certificate::CertificateLint;
use crate::lint::claims::ClaimsLint;
use crate::mismatch::Mismatch;

/// The authority's keys cannot be made or loaded. An operator must solve this.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store cannot be read or written.
    #[error("the keys cannot be read from or written to the store: {0}")]
    Store(#[from] StoreError),
    /// A new key could not be made.
    #[error("a signing key could not be generated")]
    KeyGeneration,
    /// A stored key is not what it should be.
    #[error(
        "a stored signing key is unreadable: the database or its seal key belongs to another installation, or is damaged"
    )]
    KeyUnreadable,
    /// A stored key's state is unknown, or a purpose has no active key.
    #[error("the stored {0} keys are inconsistent: exactly one must be active")]
    KeyState(&'static str),
    /// The public key set could not be built.
    #[error("the public key set could not be built: {0}")]
    KeySet(String),
    /// The signing certificate could not be made.
    #[error("the signing certificate could not be made: {0}")]
    Certificate(#[from] CertificateError),
    /// The checkpoint key could not be made or read.
    #[error("the checkpoint key could not be made or read: {0}")]
    Checkpoint(#[from] CheckpointError),
}

/// A rotation did not take place.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The next key has not been published for long enough: a client with a cached key set would refuse its
    /// tokens.
    #[error("the next key was published too recently; it can be used from {ready}")]
    TooSoon {
        /// The first moment at which it can.
        ready: Timestamp,
    },
    /// Keys could not be made or stored.
    #[error(transparent)]
    Keys(#[from] OpenError),
}

/// No token was minted. Each of these is a fault of the program: the record differs from the decision, or the
/// token differs from the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The receipt is not for this mandate.
    #[error("not signed: {0}")]
    Receipt(#[from] Mismatch),
    /// The token does not conform to its profile.
    #[error("not signed: {0}")]
    Lint(#[from] ClaimsLint),
    /// The signature could not be made.
    #[error("the signature could not be made")]
    Signature,
}

/// No certificate was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The receipt is not for this certificate.
    #[error("not signed: {0}")]
    Receipt(#[from] Mismatch),
    /// The certificate does not conform to its profile.
    #[error("not signed: {0}")]
    Lint(#[from] CertificateLint),
    /// This identity cannot get this kind of certificate here.
    #[error("this identity gets no such certificate from this authority")]
    Identity,
    /// A name cannot be written into a certificate.
    #[error("a name cannot be written into a certificate")]
    Name,
    /// The time cannot be written into a certificate.
    #[error("the time cannot be written into a certificate")]
    Time,
    /// The signature could not be made.
    #[error("the signature could not be made")]
    Signature,
}
