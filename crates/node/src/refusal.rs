//! Why a workload is not served, and the one place where that becomes a gRPC status.

use tonic::Status;

use crate::process::NotAttested;

/// Why this node cannot give a final answer at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// It has not joined its server yet.
    Joining,
    /// It has joined but has not yet received a state from its server.
    Connecting,
    /// It has lost the connection to its server.
    Lost,
    /// The server refuses it.
    Refused,
    /// Its own certificate has expired.
    Expired,
    /// It is shutting down.
    Stopping,
}

/// Why a call of the Workload API is refused. The party at fault decides whether a client tries again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The security header is missing, or not exactly one `true` (SPIFFE Workload Endpoint §3).
    Header,
    /// A mandatory field is missing, malformed or too large (SPIFFE Workload API §4.5).
    Argument(&'static str),
    /// The token to validate is not valid, by the token crate's stable code.
    InvalidSvid(&'static str),
    /// The token to validate belongs to a trust domain whose bundle this node does not have.
    UnknownTrustDomain,
    /// The caller is entitled to nothing, or not to what it asked for (SPIFFE Workload API §6.2).
    NoIdentity,
    /// The caller is entitled to more identities than one answer can hold.
    TooMany,
    /// The caller cannot be attested.
    NotAttested(NotAttested),
    /// The answer depends on the server, and this node does not have it now.
    NotReady(Waiting),
    /// The server issued nothing, and the caller is not at fault.
    NotIssued,
    /// The call belongs to a profile that this node does not serve.
    Profile(&'static str),
}

impl From<NotAttested> for Refusal {
    fn from(why: NotAttested) -> Self {
        Self::NotAttested(why)
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Header => {
                Self::invalid_argument("the metadata workload.spiffe.io: true is required, exactly once")
            }
            Refusal::Argument(what) => Self::invalid_argument(what),
            Refusal::InvalidSvid(code) => {
                Self::invalid_argument(format!("the JWT-SVID is not valid: {code}"))
            }
            Refusal::UnknownTrustDomain => Self::invalid_argument(
                "the JWT-SVID belongs to a trust domain whose bundle is not known here",
            ),
            // Clients know SPIRE's wording, and tell "not yet registered" from other refusals by it.
            Refusal::NoIdentity => {
                Self::permission_denied("no identity issued: the node's log on this machine says why")
            }
            Refusal::TooMany => Self::failed_precondition(
                "this process is entitled to more than 100 identities; ask for one by its SPIFFE ID",
            ),
            Refusal::NotAttested(why) => Self::permission_denied(why.to_string()),
            Refusal::NotReady(Waiting::Joining) => {
                Self::unavailable("this node has not joined its server yet; try again")
            }
            Refusal::NotReady(Waiting::Connecting) => {
                Self::unavailable("this node has not heard from its server yet; try again")
            }
            Refusal::NotReady(Waiting::Lost) => Self::unavailable(
                "this node cannot reach its server, and has neither a valid SVID nor a key for this request; try again",
            ),
            Refusal::NotReady(Waiting::Refused) => {
                Self::unavailable("the server refuses this node; the node's log says more")
            }
            Refusal::NotReady(Waiting::Expired) => Self::unavailable(
                "this node's own certificate has expired, so that it cannot reach its server; the node's log says how to join again",
            ),
            Refusal::NotReady(Waiting::Stopping) => {
                Self::unavailable("this node is shutting down; try again")
            }
            Refusal::NotIssued => Self::unavailable("the server did not issue the SVID; try again"),
            Refusal::Profile(what) => Self::unimplemented(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Refusal, Waiting};
    use crate::process::NotAttested;
    use tonic::{Code, Status};

    #[test]
    fn every_refusal_has_its_status() {
        // SPIFFE Workload Endpoint §6 and Workload API §4.5, §5-6. Java clients give up on PermissionDenied,
        // so nothing that passes by itself may be one.
        let table = [
            (Refusal::Header, Code::InvalidArgument),
            (Refusal::Argument("audience"), Code::InvalidArgument),
            (Refusal::InvalidSvid("expired"), Code::InvalidArgument),
            (Refusal::UnknownTrustDomain, Code::InvalidArgument),
            (Refusal::NoIdentity, Code::PermissionDenied),
            (Refusal::TooMany, Code::FailedPrecondition),
            (Refusal::NotAttested(NotAttested::Invisible), Code::PermissionDenied),
            (Refusal::NotAttested(NotAttested::Hidden), Code::PermissionDenied),
            (Refusal::NotAttested(NotAttested::Unmapped), Code::PermissionDenied),
            (Refusal::NotAttested(NotAttested::OtherUser), Code::PermissionDenied),
            (Refusal::NotAttested(NotAttested::Exited), Code::PermissionDenied),
            (Refusal::NotAttested(NotAttested::Reused), Code::PermissionDenied),
            (Refusal::NotAttested(NotAttested::Replaced), Code::PermissionDenied),
            (Refusal::NotReady(Waiting::Joining), Code::Unavailable),
            (Refusal::NotReady(Waiting::Connecting), Code::Unavailable),
            (Refusal::NotReady(Waiting::Lost), Code::Unavailable),
            (Refusal::NotReady(Waiting::Refused), Code::Unavailable),
            (Refusal::NotReady(Waiting::Expired), Code::Unavailable),
            (Refusal::NotReady(Waiting::Stopping), Code::Unavailable),
            (Refusal::NotIssued, Code::Unavailable),
            (Refusal::Profile("X.509"), Code::Unimplemented),
        ];
        for (refusal, code) in table {
            let status = Status::from(refusal.clone());
            assert_eq!(status.code(), code, "{refusal:?}");
            assert!(!status.message().is_empty());
        }
    }

    #[test]
    fn only_a_missing_entitlement_reads_no_identity_issued() {
        assert!(
            Status::from(Refusal::NoIdentity).message().starts_with("no identity issued: the node's log")
        );
        assert!(
            !Status::from(Refusal::NotAttested(NotAttested::Replaced))
                .message()
                .contains("no identity issued")
        );
    }
}
