//! Dynamic client registration (RFC 7591), if the operator turned it on. Anybody can register, so a registration
//! proves nothing: what such a client can get is decided by `LoginClient::Unattested`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_audit::RecordKind;
use mandate_core::digest::sha256;
use mandate_core::names::{ClientMethod, GrantType, ResponseType};
use mandate_core::{ClientId, RequestSource, SelfAuthentication, SelfDescribed};
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::redirect::may_be_of_itself;
use crate::refusal::{RegistrationFault, RequestRefusal};
use crate::self_registered;
use crate::shown_name::shown_name;
use crate::trail::{Trail, unrecorded};
use crate::wire::OAuthError;

/// The largest document of a registration, in bytes.
pub const MAX_REGISTRATION: usize = 8 * 1024;

/// What a client says of itself (RFC 7591 §2). Members that are not understood are ignored.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    redirect_uris: Vec<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    client_name: Option<String>,
}

/// What was registered (RFC 7591 §3.2.1).
#[derive(Serialize)]
struct Information<'a> {
    client_id: &'a str,
    client_id_issued_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    /// 0: the secret does not expire. It must be there beside a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret_expires_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<&'a str>,
    redirect_uris: &'a [String],
    token_endpoint_auth_method: &'static str,
    grant_types: [&'static str; 1],
    response_types: [&'static str; 1],
}

/// The document in the form in which it can be registered, and its method.
fn read(content_type: Option<&str>, body: &[u8]) -> Result<(Document, ClientMethod), RegistrationFault> {
    use RegistrationFault as F;
    let media = content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        return Err(F::Metadata("The body must be application/json."));
    }
    if body.len() > MAX_REGISTRATION {
        return Err(F::Metadata("The document is larger than 8 KiB."));
    }
    let mut document: Document = serde_json::from_slice(body)
        .map_err(|_| F::Metadata("The body is not a JSON object of client metadata (RFC 7591 section 2)."))?;
    if !may_be_of_itself(&document.redirect_uris) {
        return Err(F::Redirects);
    }
    // RFC 7591 §2: without a method it is client_secret_basic.
    let method = match document.token_endpoint_auth_method.as_deref().map(ClientMethod::named) {
        None | Some(Some(ClientMethod::ClientSecretBasic)) => ClientMethod::ClientSecretBasic,
        Some(Some(method @ (ClientMethod::None | ClientMethod::ClientSecretPost))) => method,
        Some(Some(ClientMethod::PrivateKeyJwt | ClientMethod::SpiffeJwt) | None) => {
            return Err(F::Metadata(
                "token_endpoint_auth_method must be none, client_secret_basic or client_secret_post.",
            ));
        }
    };
    // Many clients name refresh tokens always. None are given, because such a client acts as an agent does; the
    // answer says so (RFC 7591 §3.2.1).
    let refused = |name: &String| {
        !matches!(GrantType::named(name), Some(GrantType::AuthorizationCode | GrantType::RefreshToken))
    };
    let grants = document.grant_types.as_ref();
    let has_code = |all: &Vec<String>| all.iter().any(|name| name == GrantType::AuthorizationCode.as_str());
    if grants.is_some_and(|all| all.iter().any(refused) || !has_code(all)) {
        return Err(F::Metadata("grant_types must be authorization_code."));
    }
    let is_code = |name: &String| ResponseType::named(name) == Some(ResponseType::Code);
    if document.response_types.as_ref().is_some_and(|all| all.is_empty() || !all.iter().all(is_code)) {
        return Err(F::Metadata("response_types must be code."));
    }
    // A name is shown to people. One that could look like something else is left out.
    document.client_name = document.client_name.and_then(shown_name);
    Ok((document, method))
}

impl Engine {
    /// Whether clients may register themselves.
    pub fn registers_clients(&self) -> bool {
        self.self_described.registrations.are_on()
    }

    /// Registers a client that describes itself, and returns the body of the answer 201 (RFC 7591 §3.2.1), which
    /// may hold a secret: to be sent with `Cache-Control: no-store`.
    ///
    /// # Errors
    /// The document cannot be registered, or there are too many registrations. It is recorded.
    pub async fn register(
        &self,
        content_type: Option<&str>,
        body: &[u8],
        source: RequestSource,
    ) -> Result<String, OAuthError> {
        let now = self.basis.now();
        let mut trail = Trail::new(RecordKind::Registry, now, source);
        let (document, method) = match read(content_type, body) {
            Ok(read) => read,
            Err(fault) => return Err(self.recorder.refuse(trail, RequestRefusal::Registration(fault)).await),
        };
        if !self.self_described.registrations.one_more(source, now) {
            return Err(self.recorder.refuse(trail, RequestRefusal::TooManyRegistrations).await);
        }
        let secret = (method != ClientMethod::None).then(|| URL_SAFE_NO_PAD.encode(self.basis.random()));
        let digest = secret.as_ref().map(|secret| sha256(secret.as_bytes()));
        let client = SelfDescribed {
            id: ClientId::of_self_registered(now, self.basis.entropy.as_ref()),
            name: document.client_name,
            redirect_uris: document.redirect_uris,
            authentication: match (method, digest) {
                (ClientMethod::ClientSecretPost, Some(digest)) => {
                    SelfAuthentication::ClientSecretPost(digest)
                }
                (_, Some(digest)) => SelfAuthentication::ClientSecretBasic(digest),
                (_, None) => SelfAuthentication::None,
            },
            registered: now,
        };
        trail.client = Some(client.id.shared());
        let body = serde_json::to_string(&Information {
            client_id: client.id.as_str(),
            client_id_issued_at: now.secs(),
            client_secret: secret.as_deref(),
            client_secret_expires_at: secret.as_ref().map(|_| 0),
            client_name: client.name.as_deref(),
            redirect_uris: &client.redirect_uris,
            token_endpoint_auth_method: client.authentication.method().as_str(),
            grant_types: [GrantType::AuthorizationCode.as_str()],
            response_types: [ResponseType::Code.as_str()],
        });
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                return Err(self.recorder.refuse(trail, RequestRefusal::Internal(error.to_string())).await);
            }
        };
        let detail =
            format!("unattested: a client registered itself, for {}", client.redirect_uris.join(" "));
        let keep = self_registered::keep(client, now);
        let recorded =
            self.recorder.permit(trail, vec![keep], |record, _| record.detail = Some(detail)).await;
        recorded.map(|_| body).map_err(|error| unrecorded(&error).to_error())
    }
}
