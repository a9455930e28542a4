//! Revocation (RFC 7009): one cut, and everything that descends from the token is below it.

use mandate_audit::RecordKind;
use mandate_core::names::Parameter;
use mandate_core::{Cut, TokenId};
use mandate_delegation::revocation::cut_token;

use crate::client::Caller;
use crate::cuts::Counted;
use crate::engine::Engine;
use crate::parameter::Required;
use crate::refusal::RequestRefusal;
use crate::request::FormRequest;
use crate::revokers::Cause;
use crate::trail::{Trail, unrecorded};
use crate::wire::OAuthError;

const TOKEN: Required = Required(Parameter::Token);

impl Engine {
    /// Answers a revocation request. `Ok` is 200 with an empty body: the token is revoked, or there was
    /// nothing to revoke (RFC 7009 §2.2).
    pub async fn revoke(&self, request: FormRequest<'_>) -> Result<(), OAuthError> {
        let mut trail = Trail::new(RecordKind::Revoke, self.basis.now(), request.source);
        match self.try_revoke(&request, &mut trail).await {
            Ok(Some((cut, jti, counted))) => self
                .cuts
                .make(trail, cut, Some(jti), Some(counted))
                .await
                .map_err(|refusal| refusal.to_error()),
            // A request that changes nothing, by a caller who has proven nothing, leaves no record: otherwise
            // strangers could fill the log with such requests.
            Ok(None) if trail.client.is_none() => Ok(()),
            Ok(None) => {
                let note = trail.note.take().unwrap_or_else(|| "nothing to revoke".to_owned());
                let recorded =
                    self.recorder.permit(trail, Vec::new(), |record, _| record.detail = Some(note));
                recorded.await.map(|_| ()).map_err(|error| unrecorded(&error).to_error())
            }
            Err(refusal) => Err(self.recorder.refuse(trail, refusal).await),
        }
    }

    async fn try_revoke(
        &self,
        request: &FormRequest<'_>,
        trail: &mut Trail,
    ) -> Result<Option<(Cut, TokenId, Counted)>, RequestRefusal> {
        let form = request.form()?;
        let snapshot = self.basis.snapshot();
        let caller = self.clients.authenticate_active(request, &form, &snapshot, trail).await?;
        let token = TOKEN.read(&form)?;
        // `token_type_hint` may be ignored (RFC 7009 §2.1): there is one kind of token.
        let Ok(token) = self.tokens.access_token(token, trail.now) else { return Ok(None) };
        let token = token.terms;
        trail.sub.clone_from(&token.subject);
        trail.act = token.chain.clone();
        trail.aud = Some(token.audience.first().to_owned());
        if token.client.as_str() != caller.name() {
            return Err(RequestRefusal::NotYourToken);
        }
        // A token below a cut is revoked, with everything that descends from it, until all of them have
        // expired.
        if self.basis.snapshot().revocations.find(&token.facts(self.issuer())).is_some() {
            trail.note = Some(format!("the token {} is revoked already", token.jti));
            return Ok(None);
        }
        // RFC 7009 §2.1: a public client proves nothing but that it holds a token of its own, which is enough
        // to give it up.
        trail.client = Some(caller.shared_name());
        let cut = cut_token(token.jti.clone(), token.expires, trail.now);
        let cause = match &caller {
            Caller::Agent(_) => Cause::Agent(caller.shared_name()),
            Caller::App(_) | Caller::Public(_) | Caller::Unattested(_) => Cause::App(caller.shared_name()),
        };
        let counted = self
            .cuts
            .count(cause, &token.jti, cut.forget, trail.now)
            .ok_or(RequestRefusal::TooManyRevocations)?;
        Ok(Some((cut, token.jti, counted)))
    }
}
