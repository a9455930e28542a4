//! The gRPC messages, clients and server traits, generated from `proto/` by `cargo xtask codegen` and checked
//! in.
//!
//! Messages that contain a secret have no generated `Debug`; the implementations below print everything
//! except the secret.

use std::fmt;

/// The SPIFFE Workload API (`proto/workload.proto`).
#[expect(
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code; its generator decides its style"
)]
pub mod workload {
    include!("generated/workload.rs");
}

/// The protocol between a node and the server (`proto/node.proto`).
#[expect(
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code; its generator decides its style"
)]
pub mod node {
    include!("generated/node.rs");
}

/// The metadata key that every Workload API call carries (SPIFFE Workload Endpoint §3).
pub const WORKLOAD_METADATA_KEY: &str = "workload.spiffe.io";

/// The only value of [`WORKLOAD_METADATA_KEY`] that is accepted.
pub const WORKLOAD_METADATA_VALUE: &str = "true";

const REDACTED: &str = "(redacted)";

impl fmt::Debug for workload::X509svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509svid")
            .field("spiffe_id", &self.spiffe_id)
            .field("x509_svid_key", &REDACTED)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for workload::Jwtsvid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwtsvid")
            .field("spiffe_id", &self.spiffe_id)
            .field("svid", &REDACTED)
            .field("hint", &self.hint)
            .finish()
    }
}

impl fmt::Debug for workload::ValidateJwtsvidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidateJwtsvidRequest")
            .field("audience", &self.audience)
            .field("svid", &REDACTED)
            .finish()
    }
}

impl fmt::Debug for node::JoinRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinRequest").field("token", &REDACTED).finish_non_exhaustive()
    }
}

impl fmt::Debug for node::IssueJwtSvidResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssueJwtSvidResponse")
            .field("svid", &REDACTED)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{node, workload};

    #[test]
    fn no_message_prints_the_secret_it_carries() {
        let secret = "s3cret";
        let printed = [
            format!("{:?}", workload::X509svid { x509_svid_key: secret.into(), ..Default::default() }),
            format!(
                "{:?}",
                workload::JwtsvidResponse {
                    svids: vec![workload::Jwtsvid { svid: secret.into(), ..Default::default() }]
                }
            ),
            format!("{:?}", workload::ValidateJwtsvidRequest { svid: secret.into(), ..Default::default() }),
            format!("{:?}", node::JoinRequest { token: secret.into(), ..Default::default() }),
            format!("{:?}", node::IssueJwtSvidResponse { svid: secret.into(), ..Default::default() }),
        ];
        for text in printed {
            assert!(!text.contains(secret) && text.contains("redacted"), "{text}");
        }
    }
}
