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
pub(crate) enum CallRefusal {
    /// The security header is missing, or not exactly one `true` (SPIFFE Workload Endpoint §3).
    Header,
    /// A mandatory field is missing, malformed or too large (SPIFFE Workload API §4.5).
    Argument(&'static str),
    /// The token to validate is not valid, by the token crate's stable code.
    InvalidSvid(&'static str),
    /// The token to validate belongs to a trust domain whose bundle this node does not have.
    UnknownTrustDomain,
    /// The caller is entitled to nothing, or not to what it asked for (SPIFFE Workload API §6.2.1).
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

impl From<NotAttested> for CallRefusal {
    fn from(why: NotAttested) -> Self {
        Self::NotAttested(why)
    }
}

impl From<CallRefusal> for Status {
    fn from(refusal: CallRefusal) -> Self {
        match refusal {
            CallRefusal::Header => {
                Self::invalid_argument("the metadata workload.spiffe.io: true is required, exactly once")
            }
            CallRefusal::Argument(what) => Self::invalid_argument(what),
            CallRefusal::InvalidSvid(code) => {
                Self::invalid_argument(format!("the JWT-SVID is not valid: {code}"))
            }
            CallRefusal::UnknownTrustDomain => Self::invalid_argument(
                "the JWT-SVID belongs to a trust domain whose bundle is not known here",
            ),
            // Clients know SPIRE's wording, and tell "not yet registered" from other refusals by it.
            CallRefusal::NoIdentity => {
                Self::permission_denied("no identity issued: the node's log on this machine says why")
            }
            CallRefusal::TooMany => Self::failed_precondition(
                "this process is entitled to more than 100 identities; ask for one by its SPIFFE ID",
            ),
            CallRefusal::NotAttested(NotAttested::Unanswered) => {
                Self::unavailable(NotAttested::Unanswered.to_string())
            }
            CallRefusal::NotAttested(why) => Self::permission_denied(why.to_string()),
            CallRefusal::NotReady(Waiting::Joining) => {
                Self::unavailable("this node has not joined its server yet; try again")
            }
            CallRefusal::NotReady(Waiting::Connecting) => {
                Self::unavailable("this node has not heard from its server yet; try again")
            }
            CallRefusal::NotReady(Waiting::Lost) => Self::unavailable(
                "this node cannot reach its server, and has neither a valid SVID nor a key for this request; try again",
            ),
            CallRefusal::NotReady(Waiting::Refused) => {
                Self::unavailable("the server refuses this node; the node's log says more")
            }
            CallRefusal::NotReady(Waiting::Expired) => Self::unavailable(
                "this node's own certificate has expired, so that it cannot reach its server; the node's log says how to join again",
            ),
            CallRefusal::NotReady(Waiting::Stopping) => {
                Self::unavailable("this node is shutting down; try again")
            }
            CallRefusal::NotIssued => Self::unavailable("the server did not issue the SVID; try again"),
            CallRefusal::Profile(what) => Self::unimplemented(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CallRefusal, Waiting};
    use crate::process::NotAttested;
    use tonic::{Code, Status};

    #[test]
    fn every_refusal_has_its_status() {
        // SPIFFE Workload Endpoint §6 and Workload API §4.5, §5-6. Java clients give up on PermissionDenied,
        // so nothing that passes by itself may be one.
        let table = [
            (CallRefusal::Header, Code::InvalidArgument),
            (CallRefusal::Argument("audience"), Code::InvalidArgument),
            (CallRefusal::InvalidSvid("expired"), Code::InvalidArgument),
            (CallRefusal::UnknownTrustDomain, Code::InvalidArgument),
            (CallRefusal::NoIdentity, Code::PermissionDenied),
            (CallRefusal::TooMany, Code::FailedPrecondition),
            (CallRefusal::NotAttested(NotAttested::Invisible), Code::PermissionDenied),
            (CallRefusal::NotAttested(NotAttested::Hidden), Code::PermissionDenied),
            (CallRefusal::NotAttested(NotAttested::Unmapped), Code::PermissionDenied),
            (CallRefusal::NotAttested(NotAttested::OtherUser), Code::PermissionDenied),
            (CallRefusal::NotAttested(NotAttested::Exited), Code::PermissionDenied),
            (CallRefusal::NotAttested(NotAttested::Reused), Code::PermissionDenied),
            (CallRefusal::NotAttested(NotAttested::Replaced), Code::PermissionDenied),
            (CallRefusal::NotAttested(NotAttested::Unanswered), Code::Unavailable),
            (CallRefusal::NotReady(Waiting::Joining), Code::Unavailable),
            (CallRefusal::NotReady(Waiting::Connecting), Code::Unavailable),
            (CallRefusal::NotReady(Waiting::Lost), Code::Unavailable),
            (CallRefusal::NotReady(Waiting::Refused), Code::Unavailable),
            (CallRefusal::NotReady(Waiting::Expired), Code::Unavailable),
            (CallRefusal::NotReady(Waiting::Stopping), Code::Unavailable),
            (CallRefusal::NotIssued, Code::Unavailable),
            (CallRefusal::Profile("X.509"), Code::Unimplemented),
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
            Status::from(CallRefusal::NoIdentity).message().starts_with("no identity issued: the node's log")
        );
        assert!(
            !Status::from(CallRefusal::NotAttested(NotAttested::Replaced))
                .message()
                .contains("no identity issued")
        );
    }
}
