//! Revocation (RFC 7009): one cut, which everything that descends from the token hangs below (K10, Z14).
//!
//! Every cut is in the memory of every verifier until it is forgotten, and a client may make as many tokens as it likes:
//! so the cuts that one client holds are bounded, far below what a verifier keeps. An agent beyond its bound is cut as a
//! whole, as of now; that refuses no token but its own and what descends from them. An app has no such cut, which would
//! end the sessions of all its people and yet spare what agents made of them: it is told to come back.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use mandate_audit::Kind;
use mandate_core::{Cut, CutTarget, Timestamp, TokenId};
use mandate_delegation::AuthenticatedClient;
use mandate_delegation::revocation::{cut, cut_token};
use mandate_store::{Effect, cuts};
use mandate_token::access_token::Profile;

use crate::engine::{Engine, Request};
use crate::refusal::Refusal;
use crate::trail::{Trail, unrecorded};
use crate::wire::OAuthError;

/// How many cuts on single tokens an agent may have in force. Its tokens live for minutes.
const AGENT_CUTS: usize = 1000;
/// How many an app may have. People's tokens live for an hour, and many people log out in an hour.
const APP_CUTS: usize = 20_000;

/// When the cuts that each client has made by revoking tokens will be forgotten. Kept in memory: a restart counts anew.
#[derive(Debug, Default)]
pub(crate) struct Revokers(Mutex<HashMap<String, VecDeque<Timestamp>>>);

impl Revokers {
    /// Counts one more cut of `client`, unless it has `max` in force.
    fn admit(&self, client: &str, max: usize, forget: Timestamp, now: Timestamp) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len().is_power_of_two() && !all.contains_key(client) {
            all.retain(|_, cuts| cuts.back().is_some_and(|last| *last > now));
        }
        let cuts = all.entry(client.to_owned()).or_default();
        // Not in order of time where lifetimes differ; one that ends behind a longer one counts a little longer.
        while cuts.front().is_some_and(|forget| *forget <= now) {
            cuts.pop_front();
        }
        let admitted = cuts.len() < max;
        if admitted {
            cuts.push_back(forget);
        }
        admitted
    }
}

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
                let note = trail.note.take().unwrap_or_else(|| "nothing to revoke".to_owned());
                let recorded = self.record_permitted(trail, Vec::new(), |record| record.detail = Some(note));
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
        trail.sub = Some(token.subject.clone());
        trail.act = token.chain.clone();
        trail.aud = token.audiences.first().cloned();
        if token.client_id.as_str() != caller.name() {
            return Err(Refusal::NotYourToken);
        }
        // Below a cut it is dead, and so is what descends from it, for as long as it would have lived. Only the cut of a
        // client leaves alive what others have made of the client's tokens.
        let dead = |cut: &Cut| !matches!(cut.target, CutTarget::Client(_));
        if self.snapshot().revocations.find(&token.facts()).is_some_and(dead) {
            trail.note = Some(format!("the token {} is revoked already", token.jti));
            return Ok(None);
        }
        let single = cut_token(token.jti.clone(), token.exp, trail.now);
        let max = if matches!(caller, AuthenticatedClient::Agent(_)) { AGENT_CUTS } else { APP_CUTS };
        if self.revokers.admit(caller.name(), max, single.forget, trail.now) {
            return Ok(Some((single, token.jti)));
        }
        match caller {
            AuthenticatedClient::Agent(agent) => {
                trail.note = Some("the agent has revoked so many tokens that all it holds are revoked".to_owned());
                Ok(Some((cut(CutTarget::Agent(agent.spiffe_id().as_str().to_owned()), trail.now), token.jti)))
            }
            AuthenticatedClient::App(_) => Err(Refusal::TooManyRevocations),
        }
    }

    /// Makes a cut durable with its record, then puts it in force. Runs to its end even if the caller goes away: a cut
    /// that is durable but not in force would let tokens live until the next start.
    pub(crate) async fn cut_recorded(&self, trail: Trail, cut: Cut, jti: Option<TokenId>) -> Result<(), Refusal> {
        let insert: Effect = {
            let cut = cut.clone();
            Box::new(move |tx| cuts::insert(tx, &cut).map(|_| ()))
        };
        let note = trail.note.clone();
        let record = trail.permitted(self, |record| {
            record.jti = jti;
            record.detail = note;
        });
        let (log, live, clock) = (self.log.clone(), Arc::clone(&self.live), Arc::clone(&self.clock));
        let task = tokio::spawn(async move {
            log.append(record, vec![insert]).await.map_err(|error| unrecorded(&error))?;
            live.cut(vec![cut], clock.as_ref());
            Ok(())
        });
        task.await.map_err(|error| Refusal::Internal(error.to_string()))?
    }
}

#[cfg(test)]
mod tests {
    use mandate_core::Timestamp;

    use super::Revokers;

    #[test]
    fn a_client_has_no_more_cuts_in_force_than_it_may_and_they_end() {
        let revokers = Revokers::default();
        let at = Timestamp::from_secs;
        for n in 0..3 {
            assert!(revokers.admit("a", 3, at(100 + n), at(0)));
        }
        assert!(!revokers.admit("a", 3, at(200), at(99)));
        assert!(revokers.admit("b", 3, at(200), at(99)), "each client has its own");
        assert!(revokers.admit("a", 3, at(200), at(100)), "one has ended");
        assert!(!revokers.admit("a", 3, at(200), at(100)));
    }

    #[test]
    fn clients_that_have_nothing_in_force_are_forgotten() {
        let revokers = Revokers::default();
        for n in 0..5000 {
            assert!(revokers.admit(&format!("c{n}"), 1, Timestamp::from_secs(n + 1), Timestamp::from_secs(n)));
        }
        assert!(revokers.0.lock().unwrap().len() <= 1024, "{}", revokers.0.lock().unwrap().len());
    }
}
