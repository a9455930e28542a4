//! Who is registered: one person, one agent, one resource, and clients of every kind.

use mandate_testkit::app::{CALLBACK, CLIENT_SECRET, PASSWORD};

use crate::server::Server;

pub(crate) const CRM: &str = "https://crm.acme.example";
/// What the agent may do there.
pub(crate) const SCOPE: &str = "read:cases";

/// `riley` and her `support-agent`, and the clients; `more` follows them.
pub(crate) fn registry(portal_jwks: &str, more: &str) -> String {
    let uid = rustix::process::getuid().as_raw();
    format!(
        r#"resource = [{{ name = "crm", uri = "{CRM}", scopes = ["read:cases", "send:mail"], client = "crm-api" }}]
client = [
  {{ id = "support-app", redirect_uris = ["{CALLBACK}"] }},
  {{ id = "away-app", redirect_uris = ["{CALLBACK}"], refresh = true }},
  {{ id = "strict-app", redirect_uris = ["{CALLBACK}"], require_pushed_authorization_requests = true }},
  {{ id = "tv-app", redirect_uris = ["{CALLBACK}"], device = true }},
  {{ id = "desk-app", redirect_uris = ["{CALLBACK}"], authentication = "client_secret_basic", device = true }},
  {{ id = "crm-api", authentication = "client_secret_basic" }},
  {{ id = "post-app", redirect_uris = ["{CALLBACK}"], authentication = "client_secret_post", refresh = true, device = true }},
  {{ id = "portal", redirect_uris = ["{CALLBACK}"], authentication = "private_key_jwt", jwks = '{portal_jwks}' }},
  {{ id = "old-portal", redirect_uris = ["{CALLBACK}"], authentication = "private_key_jwt", assertion_audience = "token_endpoint", jwks = '{portal_jwks}' }},
]
[[person]]
name = "riley"
may = [{{ resource = "crm", scopes = ["read:cases", "send:mail"] }}]
[[agent]]
name = "support-agent"
owner = "riley"
purpose = "Works on support cases"
selectors = ["unix:uid:{uid}"]
ceiling = [{{ resource = "crm", scopes = ["read:cases"] }}]
may = [{{ resource = "crm", scopes = ["read:cases"] }}]
[[grant]]
person = "riley"
agent = "support-agent"
resource = "crm"
scopes = ["read:cases"]
{more}"#
    )
}

/// A JWK Set for tests in which the portal has nothing to sign.
pub(crate) const NO_KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

/// A secret that is the same form-encoded: several clients put secrets into `Authorization: Basic` as they
/// are, which RFC 6749 §2.3.1 does not allow.
pub(crate) const PLAIN_SECRET: &str = "letters-and-digits-0123456789";

/// Applies a registry file and sets the secrets of everybody in it.
pub(crate) fn apply(server: &Server, file: &str) {
    server.run(&["apply", "-f", "-"], file);
    server.run(&["person", "set-password", "riley"], PASSWORD);
    for client in ["desk-app", "crm-api", "post-app"] {
        server.run(&["client", "set-secret", client], CLIENT_SECRET);
    }
}
