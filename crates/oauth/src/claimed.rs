//! What a JWT claims, unverified: for records and the texts of refusals, never for decisions.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

#[derive(Deserialize)]
struct Claimed {
    sub: Option<String>,
    iss: Option<String>,
}

fn claimed(token: &str) -> Option<Claimed> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// The `sub` that the token claims.
pub(crate) fn subject(token: &str) -> Option<String> {
    claimed(token)?.sub
}

/// The `iss` that the token claims.
pub(crate) fn issuer(token: &str) -> Option<String> {
    claimed(token)?.iss
}
