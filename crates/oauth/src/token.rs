//! The token endpoint (RFC 6749 §3.2).

use mandate_audit::RecordKind;

use crate::conclusion::TokenResponse;
use crate::engine::Engine;
use crate::grants::Call;
use crate::request::FormRequest;
use crate::trail::Trail;
use crate::wire::OAuthError;

impl Engine {
    /// Answers a request to the token endpoint. The outcome is durable in the audit log when this returns.
    pub async fn token(&self, request: FormRequest<'_>) -> Result<TokenResponse, OAuthError> {
        let now = self.basis.now();
        let mut trail = Trail::new(RecordKind::Token, now, request.source);
        let form = match request.form() {
            Ok(form) => form,
            Err(refusal) => return Err(self.recorder.refuse(trail, refusal).await),
        };
        match self.grants.of(&form) {
            Ok(grant) => grant.run(Call { request: &request, form: &form, now }).await,
            Err(refusal) => {
                trail.asks(&form, None);
                Err(self.recorder.refuse(trail, refusal).await)
            }
        }
    }
}
