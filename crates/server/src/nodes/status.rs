//! The answers to nodes: the one mapping from identity errors to gRPC status. Exhaustive on purpose.

use mandate_identity::{IdentityError, NotIssuable};
use tonic::{Code, Status};

/// The status of an error. Details that would help an attacker (whether the token was used or never existed)
/// are only in the audit log.
pub(super) fn of(error: &IdentityError) -> Status {
    match error {
        IdentityError::JoinToken(_) => Status::new(
            Code::PermissionDenied,
            "the join token is not accepted; make a new one with `mandate node join-token`",
        ),
        IdentityError::JoinTokenLifetime => {
            Status::new(Code::InvalidArgument, "a join token cannot live that long or that short")
        }
        IdentityError::CertificateRequest(_) => {
            Status::new(Code::InvalidArgument, "the certificate request is not accepted")
        }
        IdentityError::Audience => {
            Status::new(Code::InvalidArgument, "give one to eight audiences of printable ASCII")
        }
        IdentityError::Selectors => Status::new(Code::InvalidArgument, "too many or too long selectors"),
        IdentityError::NodeUnknown | IdentityError::NodeBanned => Status::new(
            Code::Unauthenticated,
            "this node is not joined here; join again with a new join token",
        ),
        IdentityError::NodeExpired => Status::new(
            Code::Unauthenticated,
            "this node's certificate has expired; join again with a new join token",
        ),
        IdentityError::AgentUnknown | IdentityError::NotEntitled => {
            Status::new(Code::PermissionDenied, "no identity issued")
        }
        IdentityError::NotIssuable(
            NotIssuable::NotActive
            | NotIssuable::NoSelectors
            | NotIssuable::NoPurpose
            | NotIssuable::Reserved,
        ) => Status::new(Code::PermissionDenied, "no identity issued"),
        IdentityError::AuditUnavailable(why) => {
            tracing::error!(%why, "the audit log cannot be written; nothing is issued until it can");
            Status::new(Code::Unavailable, "the audit log cannot be written; try again")
        }
        IdentityError::Internal(why) => {
            tracing::error!(%why, "a node's request failed");
            Status::new(Code::Internal, "the server could not do this")
        }
    }
}

#[cfg(test)]
mod tests {
    use mandate_identity::{IdentityError as E, NotIssuable as N};
    use mandate_store::EffectRefusal;
    use tonic::Code;

    #[test]
    fn every_error_has_its_status_and_says_nothing_private() {
        let secret = "private detail";
        for (error, code) in [
            (E::JoinToken(EffectRefusal::JoinTokenUsed), Code::PermissionDenied),
            (E::CertificateRequest(secret.into()), Code::InvalidArgument),
            (E::Audience, Code::InvalidArgument),
            (E::Selectors, Code::InvalidArgument),
            (E::NodeUnknown, Code::Unauthenticated),
            (E::NodeBanned, Code::Unauthenticated),
            (E::NodeExpired, Code::Unauthenticated),
            (E::JoinTokenLifetime, Code::InvalidArgument),
            (E::AgentUnknown, Code::PermissionDenied),
            (E::NotIssuable(N::NotActive), Code::PermissionDenied),
            (E::NotIssuable(N::NoSelectors), Code::PermissionDenied),
            (E::NotIssuable(N::NoPurpose), Code::PermissionDenied),
            (E::NotIssuable(N::Reserved), Code::PermissionDenied),
            (E::NotEntitled, Code::PermissionDenied),
            (E::AuditUnavailable(secret.into()), Code::Unavailable),
            (E::Internal(secret.into()), Code::Internal),
        ] {
            let status = super::of(&error);
            assert_eq!(status.code(), code, "{error:?}");
            assert!(!status.message().contains(secret), "{error:?}");
        }
    }
}
