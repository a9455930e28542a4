//! The logout that an identity provider demands (`OpenID` Connect Back-Channel Logout §2.5): what came from the
//! person's login there ends.

use mandate_audit::RecordKind;
use mandate_core::lifetimes::LOGIN_FORM_LIFETIME;
use mandate_core::names::Parameter;
use mandate_core::{Cut, CutTarget, Issuer, RequestSource, Subject, Timestamp, TokenId};
use mandate_delegation::revocation::cut;
use mandate_store::login_sessions;
use mandate_token::logout_token::LogoutToken;

use crate::claimed;
use crate::engine::Engine;
use crate::parameter::Required;
use crate::provider_refusal::ProviderRefusal;
use crate::providers::Once;
use crate::refusal::RequestRefusal;
use crate::request::FormRequest;
use crate::trail::Trail;
use crate::wire::OAuthError;

const TOKEN: Required = Required(Parameter::LogoutToken);

/// What a logout ends.
pub(crate) enum Ended {
    /// Everything of the person.
    Person(Subject),
    /// These tokens of people, and what descends from them.
    Tokens(Vec<TokenId>),
}

impl Engine {
    /// Answers a logout request of an identity provider. `Ok` is 200 with an empty body: what came from the
    /// login is cut, or there was nothing. A refusal is recorded.
    ///
    /// A logout token that names the person ends everything that the person has here from this provider, also
    /// if it names a session: more than the standard asks for, never less. One that names only a session ends
    /// the codes of the session and the tokens from them.
    pub async fn end_provider_session(&self, request: FormRequest<'_>) -> Result<(), OAuthError> {
        let now = self.basis.now();
        let trail = || Trail::new(RecordKind::Revoke, now, request.source);
        let (provider, token, ended) = match self.ended(&request, now).await {
            Ok(ended) => ended,
            Err(refusal) => return Err(self.recorder.refuse(trail(), refusal).await),
        };
        let note = format!("the identity provider {provider} ended the session");
        if let Err(refusal) = self.end_logins(ended, &note, trail()).await {
            return Err(refusal.to_error());
        }
        self.providers.use_up(Once::logout(&provider, &token.id, token.ends), now).await;
        Ok(())
    }

    /// Cuts what ended. One cut that fails keeps no other from being made. What demanded it is used up after
    /// that: a provider that gets no answer sends it again, and a cut that is made twice does no harm.
    pub(crate) async fn end_logins(
        &self,
        ended: Ended,
        note: &str,
        trail: Trail,
    ) -> Result<(), RequestRefusal> {
        let now = trail.now;
        let cuts: Vec<(Cut, Option<TokenId>)> = match ended {
            Ended::Person(person) => vec![(cut(CutTarget::Person(person), now), None)],
            Ended::Tokens(tokens) => tokens.into_iter().map(|token| of_token(token, now)).collect(),
        };
        let mut failed = None;
        for (cut, jti) in cuts {
            let mut trail = Trail::new(RecordKind::Revoke, now, RequestSource::Other);
            trail.known();
            if let CutTarget::Person(person) = &cut.target {
                trail.sub = Some(person.clone());
            }
            trail.note = Some(note.to_owned());
            if let Err(refusal) = self.cuts.make(trail, cut, jti, None).await {
                failed.get_or_insert(refusal);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Ends the session `sid` at a provider. The tokens that came from it have to be cut.
    pub(crate) async fn tokens_of_session(
        &self,
        provider: &Issuer,
        sid: &str,
    ) -> Result<Vec<TokenId>, RequestRefusal> {
        let session = login_sessions::session_hash(provider, sid);
        let forget = self.basis.now().plus(LOGIN_FORM_LIFETIME);
        let end = move |tx: &mandate_store::Tx<'_>| login_sessions::end(tx, &session, forget);
        let tokens = self.codes.store.transact("logout", end).await;
        tokens.map_err(|error| RequestRefusal::Internal(error.to_string()))
    }

    async fn ended(
        &self,
        request: &FormRequest<'_>,
        now: Timestamp,
    ) -> Result<(Issuer, LogoutToken, Ended), RequestRefusal> {
        let form = request.form()?;
        let token = TOKEN.read(&form)?;
        let snapshot = self.basis.snapshot();
        // The provider that the token names chooses the keys; then everything is verified with them.
        let provider = claimed::issuer(token).and_then(|issuer| snapshot.registry.issuer(issuer.as_str()));
        let provider = provider.ok_or(ProviderRefusal::Unknown)?;
        let token = self.providers.logged_out(token, provider, now).await?;
        match self.providers.was_used(&Once::logout(&provider.url, &token.id, token.ends), now).await {
            Ok(false) => {}
            Ok(true) => return Err(ProviderRefusal::LogoutReplayed.into()),
            // Taking authority away does not wait for the database: at worst a token counts twice.
            Err(ProviderRefusal::Unavailable { .. }) if token.subject.is_some() => {}
            Err(refusal) => return Err(refusal.into()),
        }
        let ended = match (token.subject.clone(), token.session.clone()) {
            (Some(sub), _) => {
                let person = Subject { iss: provider.url.clone(), sub };
                // A person without an entry has nothing here.
                match self.basis.snapshot().registry.person_by_id(&person) {
                    Some(_) => Ended::Person(person),
                    None => Ended::Tokens(Vec::new()),
                }
            }
            (None, Some(sid)) => Ended::Tokens(self.tokens_of_session(&provider.url, &sid).await?),
            (None, None) => Ended::Tokens(Vec::new()),
        };
        Ok((provider.url.clone(), token, ended))
    }
}

fn of_token(token: TokenId, now: Timestamp) -> (Cut, Option<TokenId>) {
    // A login that goes on may have given a token just now.
    (cut(CutTarget::Token(token.clone()), now), Some(token))
}
