//! Kubernetes: the token of a service account that the kubelet projects into a pod, or that the
//! `TokenRequest` API gives.
//!
//! `aud` is always a list. The header has no `typ`. A token says of which service account and pod it is; that
//! one of them was deleted is not to be seen in it, so tokens are accepted for an hour at most. Tokens of
//! before Kubernetes 1.21 have neither `exp` nor `aud` and are refused.

use mandate_core::lifetimes::PLATFORM_TOKEN_AGE;
use mandate_core::registry::PlatformClaims;

use super::rules::{Rules, optional, required};
use crate::error::TokenError;

/// The claim in which everything of Kubernetes is.
const OWN: &str = "kubernetes.io";

pub(super) const RULES: Rules = Rules {
    types: &["", "jwt"],
    max_age: PLATFORM_TOKEN_AGE,
    own: &[],
    facts: &[
        required("namespace", &[OWN, "namespace"]),
        required("service_account", &[OWN, "serviceaccount", "name"]),
        required("uid", &[OWN, "serviceaccount", "uid"]),
        optional("pod", &[OWN, "pod", "name"]),
        optional("pod_uid", &[OWN, "pod", "uid"]),
        optional("node", &[OWN, "node", "name"]),
        optional("node_uid", &[OWN, "node", "uid"]),
    ],
    sub,
};

fn sub(sub: &str, said: &PlatformClaims) -> Result<(), TokenError> {
    let named = |name| said.get(name).map(String::as_str).unwrap_or_default();
    let account = format!("system:serviceaccount:{}:{}", named("namespace"), named("service_account"));
    if sub == account {
        Ok(())
    } else {
        Err(TokenError::Claim { claim: "sub", why: "not the service account that kubernetes.io names" })
    }
}
