//! The shape of keys and certificates in a file. The server checks whether they can be used.

use mandate_api::registry_file::Finding;

/// The longest `ca` of an issuer, in bytes.
const MAX_CA: usize = 256 * 1024;

/// The shape of a JWK Set of public keys (RFC 7517 §5). Whether the keys can verify anything is checked by
/// the server.
pub(crate) fn check_jwks(text: &str) -> Result<(), &'static str> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|_| "not JSON")?;
    let keys = value
        .get("keys")
        .and_then(serde_json::Value::as_array)
        .ok_or("not a JWK Set: it has no array `keys`")?;
    if keys.is_empty() {
        return Err("there is none");
    }
    for key in keys {
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|member| key.get(member).is_some()) {
            return Err("one of them is a private or secret key; a registry holds public keys only");
        }
    }
    Ok(())
}

/// The certificate authorities of a `ca`. The server checks whether they can be read. Here only a path is
/// refused, because it lacks what every PEM text has.
pub(crate) fn certificates(ca: Option<&str>) -> Result<Option<String>, Finding> {
    let ca = ca.map(|ca| ca.trim_start_matches('\u{feff}').trim());
    if ca.is_some_and(|ca| !ca.contains("-----BEGIN CERTIFICATE-----") || ca.len() > MAX_CA) {
        let detail = "expected certificates in PEM form (-----BEGIN CERTIFICATE-----), up to 256 KiB; the path of a PEM file is read by `mandate apply`";
        return Err(Finding::new("/ca", detail));
    }
    Ok(ca.map(str::to_owned))
}
