//! Azure: the access token of a managed identity, from the metadata server of a VM or its like.
//!
//! It is an access token of Entra ID, of version 1.0 or 2.0, for an application that is registered for this
//! server. A person's has `scp`. That of an application with a secret has everything but `xms_mirid`, which
//! names the managed identity; names in it identify nothing. `oid` is the id of one service principal in the
//! tenant `tid`, and `sub` is the same id.
//!
//! The metadata server answers with one token for up to a day, so tokens are accepted for that long.

use mandate_core::lifetimes::AZURE_TOKEN_AGE;
use mandate_core::registry::PlatformClaims;

use super::rules::{Rules, optional, required};
use crate::error::TokenError;

pub(super) const RULES: Rules = Rules {
    types: &["jwt"],
    max_age: AZURE_TOKEN_AGE,
    own: &["azp"],
    facts: &[
        required("tenant_id", &["tid"]),
        required("object_id", &["oid"]),
        required("managed_identity", &["xms_mirid"]),
        optional("idtyp", &["idtyp"]),
        optional("appid", &["appid"]),
        optional("azp", &["azp"]),
        optional("uti", &["uti"]),
    ],
    sub,
};

fn sub(sub: &str, said: &PlatformClaims) -> Result<(), TokenError> {
    let named = |name: &str| said.get(name).map(String::as_str);
    if named("object_id") != Some(sub) {
        return Err(TokenError::Claim { claim: "sub", why: "it is not oid" });
    }
    if named("idtyp").is_some_and(|kind| kind != "app") {
        return Err(TokenError::Claim { claim: "idtyp", why: "not app" });
    }
    Ok(())
}
