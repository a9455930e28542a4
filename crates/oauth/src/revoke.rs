//! Revocation (RFC 7009): one cut, which everything that descends from the token hangs below (K10, Z14).

use std::sync::Arc;

use mandate_audit::Kind;
use mandate_core::{Cut, CutTarget, TokenId};
use mandate_delegation::revocation::cut;
use mandate_store::{Effect, cuts};
use mandate_token::access_token::Profile;

use crate::engine::{Engine, Request};
use crate::refusal::Refusal;
use crate::trail::{Trail, unrecorded};
use crate::wire::OAuthError;

impl Engine {
    /// Answers a revocation request. `Ok` is 200 with an empty body: revoked, or nothing that could be (RFC 7009 §2.2).
    pub async fn revoke(&self, request: Request<'_>) -> Result<(), OAuthError> {
        let mut trail = Trail::new(Kind::Revoke, self.now());
        match self.try_revoke(&request, &mut trail).await {
            Ok(Some((cut, jti))) => {
                let client = trail.client.clone();
                match self.cut_recorded(trail, cut, Some(jti)).await {
                    Ok(()) => Ok(()),
                    Err(refusal) => {
                        tracing::error!(?client, %refusal, "a revocation could not be recorded");
                        Err(refusal.to_error())
                    }
                }
            }
            Ok(None) => {
                let recorded = self.record_permitted(trail, Vec::new(), |record| record.detail = Some("nothing to revoke".to_owned()));
                recorded.await.map(|_| ()).map_err(|error| unrecorded(&error).to_error())
            }
            Err(refusal) => Err(self.refuse(trail, refusal).await),
        }
    }

    async fn try_revoke(&self, request: &Request<'_>, trail: &mut Trail) -> Result<Option<(Cut, TokenId)>, Refusal> {
        let form = request.form()?;
        let snapshot = self.snapshot();
        let caller = self.authenticate_confidential(request, &form, &snapshot, trail).await?;
        let token = form.get("token").ok_or(Refusal::Missing("token"))?;
        let keys = self.authority.access_token_jwks();
        // The hint is a hint (RFC 7009 §2.1); there is one kind of token.
        let Ok(token) = self.verify_access_token(token, self.issuer(), &keys, Profile::Own, trail.now) else { return Ok(None) };
        trail.sub = Some(token.subject);
        trail.act = token.chain;
        trail.aud = token.audiences.into_iter().next();
        if token.client_id.as_str() != caller.name() {
            return Err(Refusal::NotYourToken);
        }
        Ok(Some((cut(CutTarget::Token(token.jti.clone()), trail.now), token.jti)))
    }

    /// Makes a cut durable with its record, then puts it in force. Runs to its end even if the caller goes away: a cut
    /// that is durable but not in force would let tokens live until the next start.
    pub(crate) async fn cut_recorded(&self, trail: Trail, cut: Cut, jti: Option<TokenId>) -> Result<(), Refusal> {
        let now = trail.now;
        let insert: Effect = {
            let cut = cut.clone();
            Box::new(move |tx| cuts::insert(tx, &cut).map(|_| ()))
        };
        let note = trail.note.clone();
        let record = trail.permitted(self, |record| {
            record.jti = jti;
            record.detail = note;
        });
        let (log, live) = (self.log.clone(), Arc::clone(&self.live));
        let task = tokio::spawn(async move {
            log.append(record, vec![insert]).await.map_err(|error| unrecorded(&error))?;
            live.cut(vec![cut], now);
            Ok(())
        });
        task.await.map_err(|error| Refusal::Internal(error.to_string()))?
    }
}
