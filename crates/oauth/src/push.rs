//! The endpoint for pushed authorization requests (RFC 9126 §2).

use mandate_audit::RecordKind;
use mandate_core::lifetimes::PUSHED_REQUEST_LIFETIME;
use mandate_core::names::Parameter;
use serde::Serialize;

use crate::authorize::validate;
use crate::client::Caller;
use crate::engine::Engine;
use crate::form::Form;
use crate::refusal::{NotAllowed, RequestRefusal};
use crate::request::FormRequest;
use crate::trail::Trail;
use crate::wire::OAuthError;

/// The answer to a pushed request (RFC 9126 §2.2). To be sent with 201 and `Cache-Control: no-store`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PushedResponse {
    request_uri: String,
    expires_in: u64,
}

impl PushedResponse {
    /// What the browser brings instead of the parameters.
    pub fn request_uri(&self) -> &str {
        &self.request_uri
    }

    /// Within how many seconds it must bring it.
    pub fn expires_in(&self) -> u64 {
        self.expires_in
    }

    /// The response body.
    pub fn to_json(&self) -> String {
        // A text and a number always serialize; an empty object would give nothing.
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}

impl Engine {
    /// Answers a pushed authorization request. It is validated as a whole, as [`Engine::authorize`] does it
    /// again when the browser brings it (RFC 9126 §4). Nothing is given by it, so only a refusal is recorded.
    ///
    /// # Errors
    /// The client is not authenticated, or is an agent; or what it asks for would be refused at the
    /// authorization endpoint, or is too long.
    pub async fn push(&self, request: FormRequest<'_>) -> Result<PushedResponse, OAuthError> {
        let mut trail = Trail::new(RecordKind::Authorize, self.basis.now(), request.source);
        let form = match request.form() {
            Ok(form) => form,
            Err(refusal) => return Err(self.recorder.refuse(trail, refusal).await),
        };
        trail.asks(&form, form.get(Parameter::RequestedActor));
        match self.pushed_by(&request, &form, &mut trail).await {
            Ok(request_uri) => {
                Ok(PushedResponse { request_uri, expires_in: PUSHED_REQUEST_LIFETIME.as_secs() })
            }
            Err(refusal) => Err(self.recorder.refuse(trail, refusal).await),
        }
    }

    async fn pushed_by(
        &self,
        request: &FormRequest<'_>,
        form: &Form<'_>,
        trail: &mut Trail,
    ) -> Result<String, RequestRefusal> {
        let snapshot = self.basis.snapshot();
        let caller = self.clients.authenticate_active(request, form, &snapshot, trail).await?;
        if matches!(caller, Caller::Agent(_)) {
            return Err(RequestRefusal::ClientNotAllowed(NotAllowed::PushByAgent));
        }
        // RFC 9126 §2.1.
        if form.has(Parameter::RequestUri) {
            return Err(RequestRefusal::Misplaced(Parameter::RequestUri));
        }
        // A client secret may have waited for its turn to be checked.
        let (now, snapshot) = (self.basis.now(), self.basis.snapshot());
        // `client_id` is required here too (RFC 9126 §2.1), and is that of the caller: the authentication
        // compares.
        let back = self.way_back(form, &snapshot.registry, now).await?;
        trail.client = Some(back.client.id().shared());
        let valid = validate(form, back, request.source, self.issuer(), &snapshot.registry)?;
        self.pushed.keep(valid.client_id(), form, now)
    }
}
