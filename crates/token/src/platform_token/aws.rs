//! AWS: the token that `sts:GetWebIdentityToken` gives to a role, by outbound identity federation.
//!
//! Each account has an issuer of its own. What AWS says is in one claim; tags in it (`request_tags`,
//! `principal_tags`) are chosen by the caller or by who started the session, and identify nothing. `sub` is
//! the ARN of the principal. Users and the root of an account are no workloads: their keys live for long.

use mandate_core::lifetimes::PLATFORM_TOKEN_AGE;
use mandate_core::registry::{PlatformClaims, role_account};

use super::rules::{Rules, optional, required};
use crate::error::TokenError;

/// The claim in which everything of AWS is.
const OWN: &str = "https://sts.amazonaws.com/";

pub(super) const RULES: Rules = Rules {
    types: &["", "jwt"],
    max_age: PLATFORM_TOKEN_AGE,
    own: &[],
    facts: &[
        required("account_id", &[OWN, "aws_account"]),
        required("role_arn", &["sub"]),
        optional("org_id", &[OWN, "org_id"]),
        optional("ec2_instance_arn", &[OWN, "ec2_source_instance_arn"]),
        optional("lambda_function_arn", &[OWN, "lambda_source_function_arn"]),
        optional("source_region", &[OWN, "source_region"]),
        optional("source_identity", &[OWN, "source_identity"]),
    ],
    sub,
};

fn sub(sub: &str, said: &PlatformClaims) -> Result<(), TokenError> {
    if role_account(sub) == said.get("account_id").map(String::as_str) {
        Ok(())
    } else {
        Err(TokenError::Claim { claim: "sub", why: "not a role of the account that aws_account names" })
    }
}
