//! Revocation (RFC 7009): one cut, and everything that descends from the token is below it.

use mandate_audit::RecordKind;
use mandate_core::names::Parameter;
use mandate_core::{Cut, CutTarget, TokenId};
use mandate_delegation::revocation::{cut, cut_token};
use mandate_store::refresh::RefreshState;

use crate::client::Caller;
use crate::cuts::Counted;
use crate::engine::Engine;
use crate::parameter::Required;
use crate::refresh_tokens;
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
        let sent = TOKEN.read(&form)?;
        // `token_type_hint` may be ignored (RFC 7009 §2.1): no refresh token looks like an access token.
        let Ok(token) = self.tokens.access_token(sent, trail.now) else {
            return self.of_refresh_token(sent, &caller, trail).await;
        };
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
        // The first token of a login may have descendants that outlive it: those of its refresh tokens.
        let refreshes = snapshot.registry.client(&token.client).is_some_and(|client| client.refresh);
        let cut = if refreshes && token.chain.is_empty() {
            cut(CutTarget::Token(token.jti.clone()), trail.now)
        } else {
            cut_token(token.jti.clone(), token.expires, trail.now)
        };
        self.counted(cut, token.jti, &caller).map(Some)
    }

    /// RFC 7009 §2.1: with a refresh token, the access tokens of the same login are revoked too.
    async fn of_refresh_token(
        &self,
        sent: &str,
        caller: &Caller,
        trail: &mut Trail,
    ) -> Result<Option<(Cut, TokenId, Counted)>, RequestRefusal> {
        let Some(stored) = self.refresh.look(refresh_tokens::hash(sent), trail.now).await? else {
            return Ok(None);
        };
        if stored.payload.client.as_str() != caller.name() {
            return Err(RequestRefusal::NotYourToken);
        }
        trail.client = Some(caller.shared_name());
        trail.sub = Some(stored.payload.login.subject(self.issuer()));
        let root = stored.login.root;
        if stored.state == RefreshState::Ended {
            trail.note = Some(format!("the login of the token {root} is ended already"));
            return Ok(None);
        }
        let cut = cut(CutTarget::Token(root.clone()), trail.now);
        trail.note = Some("a refresh token was revoked, and with it its login".to_owned());
        self.counted(cut, root, caller).map(Some)
    }

    fn counted(
        &self,
        cut: Cut,
        token: TokenId,
        caller: &Caller,
    ) -> Result<(Cut, TokenId, Counted), RequestRefusal> {
        let cause = match caller {
            Caller::Agent(_) => Cause::Agent(caller.shared_name()),
            Caller::App(_) | Caller::Public(_) | Caller::Unattested(_) => Cause::App(caller.shared_name()),
        };
        let counted =
            self.cuts.count(cause, &token, cut.forget, cut.at).ok_or(RequestRefusal::TooManyRevocations)?;
        Ok((cut, token, counted))
    }
}
