//! The authorization code grant (RFC 6749 §4.1.3), and the codes themselves: 60 seconds, one use, bound to everything.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::time::Duration;

use mandate_audit::Kind;
use mandate_core::digest::sha256;
use mandate_core::uri::same;
use mandate_core::{ClientId, CutTarget, Issuer, Person, PersonName, RequestSource, ResourceUri, ScopeSet, Secret, Timestamp, TokenId};
use mandate_delegation::revocation::{cut, cut_token};
use mandate_delegation::{Authorization, LoggedInPerson, Mandate, PERSON_TOKEN_LIFETIME, decide};
use mandate_store::Effect;
use mandate_store::codes::{self, CodeHash, Redemption};
use serde::{Deserialize, Serialize};

use crate::client::Caller;
use crate::engine::Engine;
use crate::form::Form;
use crate::names::Parameter;
use crate::pkce::Challenge;
use crate::redirect::is_registered;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::revoke::{Cause, Uncut};
use crate::token::TokenResponse;
use crate::trail::Trail;
use crate::wire::OAuthError;

/// How long a code lives.
pub(crate) const CODE_LIFETIME: Duration = Duration::from_mins(1);
/// For how long a second use is noticed: as long as the tokens from the first use may live.
const NOTICED: Duration = mandate_delegation::revocation::CUT_MEMORY;

/// The content of a code. It is sealed in the store; the code itself is stored only as a hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CodePayload {
    pub(crate) client: ClientId,
    pub(crate) redirect_uri: String,
    pub(crate) challenge: Challenge,
    pub(crate) person: PersonName,
    pub(crate) logged_in: Timestamp,
    pub(crate) resource: Option<ResourceUri>,
    pub(crate) scopes: Option<ScopeSet>,
}

/// A fresh code and its hash.
pub(crate) fn generate(engine: &Engine) -> (Secret, CodeHash) {
    let code = URL_SAFE_NO_PAD.encode(engine.random());
    let hash = hash(&code);
    (Secret::new(code), hash)
}

fn hash(code: &str) -> CodeHash {
    sha256(code.as_bytes())
}

/// Stores a code, in the transaction of its record.
pub(crate) fn insert(hash: CodeHash, payload: &CodePayload, now: Timestamp) -> Result<Effect, Refusal> {
    let payload = serde_json::to_vec(payload).map_err(|error| Refusal::Internal(error.to_string()))?;
    let (expires, forget) = (now.plus(CODE_LIFETIME), now.plus(NOTICED));
    Ok(Effect::KeepCode { hash, payload: Secret::new(payload), expires, forget })
}

fn opened(payload: &Secret) -> Result<CodePayload, Refusal> {
    serde_json::from_slice(payload.expose_secret()).map_err(|error| Refusal::Internal(error.to_string()))
}

impl Engine {
    pub(crate) async fn redeem(&self, request: &Request<'_>, form: &Form<'_>, now: Timestamp) -> Result<TokenResponse, OAuthError> {
        let mut trail = Trail::new(Kind::Token, now, request.source);
        trail.asks(form, None);
        let (mandate, hash) = match self.decide_redemption(request, form, &mut trail).await {
            Ok(decided) => decided,
            Err(refusal) => return Err(self.refuse(trail, refusal).await),
        };
        // Used up in the transaction of the record: of two at once, one is refused there.
        let jti = mandate.view().jti.clone();
        let redeem = Effect::RedeemCode { hash, token: jti, at: now };
        match self.conclude(trail, mandate, vec![redeem]).await {
            Ok(response) => Ok(response),
            Err((trail, Refusal::CodeReused)) => {
                let refusal = self.cut_first_use(&hash, now).await;
                Err(self.refuse(trail, refusal).await)
            }
            Err((trail, refusal)) => Err(self.refuse(trail, refusal).await),
        }
    }

    async fn decide_redemption(&self, request: &Request<'_>, form: &Form<'_>, trail: &mut Trail) -> Result<(Mandate, CodeHash), Refusal> {
        let now = trail.now;
        let snapshot = self.snapshot();
        // A code was consented for a person's client, not for an actor: an actor token here would be ignored or
        // change what was consented.
        for name in [Parameter::ActorToken, Parameter::ActorTokenType, Parameter::SubjectToken, Parameter::SubjectTokenType] {
            if form.has(name) {
                return Err(Refusal::Misplaced(name));
            }
        }
        let client = match self.authenticate(request, form, &snapshot, trail).await? {
            Caller::App(client) | Caller::Public(client) => client,
            Caller::Agent(_) => return Err(Refusal::ClientNotAllowed("An agent exchanges tokens; codes are for people's clients.")),
        };
        trail.client = Some(client.id().shared());
        let code = form.get(Parameter::Code).ok_or(Refusal::Missing(Parameter::Code))?;
        let hash = hash(code);
        let payload = self.presented(&hash, client.id(), now).await?;
        bound(&payload, form, self.issuer())?;
        trail.known();
        // A client secret may have waited for its turn to be checked.
        let snapshot = self.snapshot();
        // A redirect URI that was taken off the list since may be in other hands.
        let registered = client.confirmed(&snapshot.registry, &snapshot.revocations);
        if registered.is_some_and(|client| !is_registered(&payload.redirect_uri, &client.redirect_uris)) {
            return Err(Refusal::CodeRedirect);
        }
        let registered = snapshot.registry.person(&payload.person);
        trail.sub = registered.map(|person| person.id.clone());
        trail.aud = payload.resource.as_ref().map(|resource| resource.as_str().to_owned());

        let authorization = mandate_delegation::Request::Authorization(Authorization {
            client,
            person: LoggedInPerson::assertion(payload.person, payload.logged_in),
            resource: payload.resource,
            scopes: payload.scopes,
            jti: TokenId::generate(now, self.entropy.as_ref()),
        });
        let decided = self.live.with_facts(&snapshot, self.clock.behind(), |facts| decide(authorization, facts, now));
        let mandate = decided.map_err(|refused| {
            trail.policies = refused.policies.into();
            Refusal::Authorization(refused.reason)
        })?;
        Ok((mandate, hash))
    }

    /// What is known of a code.
    async fn peek(&self, hash: CodeHash, now: Timestamp) -> Result<Redemption, Refusal> {
        let found = self.store.read("code", move |tx| codes::peek(tx, &hash, now)).await;
        found.map_err(|error| Refusal::Internal(error.to_string()))
    }

    /// The content of the code, if the code belongs to this client and is unused.
    async fn presented(&self, hash: &CodeHash, client: &ClientId, now: Timestamp) -> Result<CodePayload, Refusal> {
        let (payload, again) = match self.peek(*hash, now).await? {
            Redemption::First { payload } => (opened(&payload)?, false),
            Redemption::Again { payload, .. } => (opened(&payload)?, true),
            Redemption::Expired | Redemption::Unknown => return Err(Refusal::CodeUnknown),
        };
        // A used code that is presented again counts as stolen, no matter which client presents it (RFC 6749 §4.1.2).
        if again {
            return Err(self.cut_first_use(hash, now).await);
        }
        // A stranger's attempt does not use the code up: it proves nothing, and would lock the right client out.
        if payload.client == *client { Ok(payload) } else { Err(Refusal::CodeOtherClient) }
    }

    /// Cuts the tokens from the first use of a code. Returns the refusal to give, whether or not there was anything to cut.
    ///
    /// A person who can log in can use codes twice again and again. Beyond the bound on cuts, one cut on the person replaces
    /// one cut for each token: it takes away more, never less.
    async fn cut_first_use(&self, hash: &CodeHash, now: Timestamp) -> Refusal {
        let found = match self.peek(*hash, now).await {
            Ok(found) => found,
            Err(refusal) => return refusal,
        };
        let Redemption::Again { payload, token: Some(token) } = found else { return Refusal::CodeReused };
        let CodePayload { person, client, .. } = match opened(&payload) {
            Ok(payload) => payload,
            Err(refusal) => return refusal,
        };
        let cause = Cause::Codes(person.clone());
        // Only people of the embedded directory get codes: their `sub` is their name.
        let person = Person { iss: self.issuer().clone(), sub: person.as_str().to_owned() };
        let issued = token.made_at().unwrap_or(now);
        let snapshot = self.snapshot();
        let cuts = &snapshot.revocations;
        let of_person = CutTarget::Person(person.clone());
        if cuts.contains(&CutTarget::Token(token.clone()))
            || cuts.has_cut_since(&of_person, issued)
            || cuts.has_cut_since(&CutTarget::Client(client), issued)
        {
            return Refusal::CodeReused;
        }
        let mut trail = Trail::new(Kind::Revoke, now, RequestSource::Other);
        trail.sub = Some(person);
        // What is stored of the code does not say when its token ends: at the latest so long after it was issued.
        let of_token = cut_token(token.clone(), issued.plus(PERSON_TOKEN_LIFETIME), now);
        let counted = self.revokers.admit(&cause, &token, of_token.forget, now);
        let (cut, note) = if counted {
            (of_token, "an authorization code was presented twice")
        } else {
            (cut(of_person, now), "too many authorization codes were presented twice: every token of the person is revoked")
        };
        trail.note = Some(note.to_owned());
        match self.cut_recorded(trail, cut, Some(token.clone())).await {
            Ok(()) => Refusal::CodeReused,
            Err(why) => {
                if counted && matches!(why, Uncut::NotInForce(_)) {
                    self.revokers.release(&cause, &token);
                }
                why.into()
            }
        }
    }
}

/// The code is bound to its redirect URI, challenge and resource (RFC 6749 §4.1.3, RFC 7636 §4.6, RFC 8707 §2.2).
fn bound(payload: &CodePayload, form: &Form<'_>, issuer: &Issuer) -> Result<(), Refusal> {
    if form.get(Parameter::RedirectUri).ok_or(Refusal::Missing(Parameter::RedirectUri))? != payload.redirect_uri {
        return Err(Refusal::CodeRedirect);
    }
    payload.challenge.check(form.get(Parameter::CodeVerifier))?;
    let authorized = payload.resource.as_ref().map_or(issuer.as_str(), ResourceUri::as_str);
    if form.all(Parameter::Resource).any(|resource| !same(resource, authorized)) {
        return Err(Refusal::ResourceNotAuthorized);
    }
    Ok(())
}
