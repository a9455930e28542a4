//! The logout that an identity provider demands (`OpenID` Connect Back-Channel Logout §2.5): what came from the
//! person's login there ends.

use mandate_audit::RecordKind;
use mandate_core::names::Parameter;
use mandate_core::{Cut, CutTarget, Issuer, Subject, Timestamp, TokenId};
use mandate_delegation::revocation::cut;
use mandate_store::login_sessions;
use mandate_token::logout_token::LogoutToken;

use crate::claimed;
use crate::engine::Engine;
use crate::parameter::Required;
use crate::provider_refusal::ProviderRefusal;
use crate::refusal::RequestRefusal;
use crate::request::FormRequest;
use crate::trail::Trail;
use crate::wire::OAuthError;

const TOKEN: Required = Required(Parameter::LogoutToken);

/// What a logout ends.
enum Ended {
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
        let (provider, ended) = match self.ended(&request, now).await {
            Ok(ended) => ended,
            Err(refusal) => return Err(self.recorder.refuse(trail(), refusal).await),
        };
        let cuts: Vec<(Cut, Option<TokenId>)> = match ended {
            Ended::Person(person) => vec![(cut(CutTarget::Person(person), now), None)],
            Ended::Tokens(tokens) => tokens.into_iter().map(|token| of_token(token, now)).collect(),
        };
        for (cut, jti) in cuts {
            let mut trail = trail();
            trail.known();
            if let CutTarget::Person(person) = &cut.target {
                trail.sub = Some(person.clone());
            }
            trail.note = Some(format!("the identity provider {provider} ended the session"));
            self.cuts.make(trail, cut, jti, None).await.map_err(|refusal| refusal.to_error())?;
        }
        Ok(())
    }

    async fn ended(
        &self,
        request: &FormRequest<'_>,
        now: Timestamp,
    ) -> Result<(Issuer, Ended), RequestRefusal> {
        let form = request.form()?;
        let token = TOKEN.read(&form)?;
        let snapshot = self.basis.snapshot();
        // The provider that the token names chooses the keys; then everything is verified with them.
        let provider = claimed::issuer(token).and_then(|issuer| snapshot.registry.issuer(issuer.as_str()));
        let provider = provider.ok_or(ProviderRefusal::Unknown)?;
        let token = self.providers.logged_out(token, provider, now).await?;
        match self.providers.first_logout(&token, &provider.url, now).await {
            // Taking authority away does not wait for the database: at worst a token counts twice.
            Err(ProviderRefusal::Unavailable { .. }) if token.subject.is_some() => {}
            first => first?,
        }
        let LogoutToken { subject, session, .. } = token;
        let ended = match (subject, session) {
            (Some(sub), _) => {
                let person = Subject { iss: provider.url.clone(), sub };
                // A person without an entry has nothing here.
                match self.basis.snapshot().registry.person_by_id(&person) {
                    Some(_) => Ended::Person(person),
                    None => Ended::Tokens(Vec::new()),
                }
            }
            (None, Some(sid)) => {
                let session = login_sessions::session_hash(&provider.url, &sid);
                let tokens = self.codes.store.transact("logout", move |tx| login_sessions::end(tx, &session));
                Ended::Tokens(tokens.await.map_err(|error| RequestRefusal::Internal(error.to_string()))?)
            }
            (None, None) => Ended::Tokens(Vec::new()),
        };
        Ok((provider.url.clone(), ended))
    }
}

fn of_token(token: TokenId, now: Timestamp) -> (Cut, Option<TokenId>) {
    // A login that goes on may have given a token just now.
    (cut(CutTarget::Token(token.clone()), now), Some(token))
}
