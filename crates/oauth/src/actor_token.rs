//! The actor token of a request (RFC 8693 §2.1): a JWT-SVID, of ours or of another trust domain, or the token
//! of a platform.

use std::sync::Arc;

use mandate_core::Timestamp;
use mandate_core::names::{Parameter, TokenType};
use mandate_delegation::VerifiedActor;
use mandate_live::Snapshot;
use mandate_token::TokenError;

use crate::basis::Basis;
use crate::client::Caller;
use crate::foreign_svids::{self, ForeignSvids};
use crate::form::Form;
use crate::own_tokens::OwnTokens;
use crate::parameter::{Optional, ParameterRow, With};
use crate::platform_tokens::{self, NotProven, PlatformTokens};
use crate::refusal::RequestRefusal;

const TOKEN: Optional = Optional(Parameter::ActorToken);
const TYPE: With = With { parameter: Parameter::ActorTokenType, other: TOKEN };
pub(crate) const PARAMETERS: &[ParameterRow] = &[TOKEN.row().here_only(), TYPE.row().here_only()];

/// The actor token as it was sent, with its type checked. Nothing in it is verified yet.
pub(crate) fn sent<'f>(form: &'f Form<'_>) -> Result<Option<&'f str>, RequestRefusal> {
    match TYPE.read(form)? {
        None => Ok(None),
        Some((token, name)) if name == TokenType::Jwt.as_str() => Ok(Some(token)),
        Some(_) => Err(RequestRefusal::Unacceptable(TYPE.parameter)),
    }
}

/// What verifies actor tokens.
pub(crate) struct ActorTokens {
    pub(crate) basis: Basis,
    pub(crate) own: Arc<OwnTokens>,
    pub(crate) platforms: Arc<PlatformTokens>,
    pub(crate) svids: Arc<ForeignSvids>,
}

impl ActorTokens {
    /// Verifies the token, for every kind of client: an actor token that was sent is never ignored.
    pub(crate) async fn verify(
        &self,
        token: &str,
        form: &Form<'_>,
        caller: &Caller,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<VerifiedActor, RequestRefusal> {
        match caller {
            // The same token as credential and as actor token has been verified for the same audience
            // already, and may count once.
            Caller::Agent(agent) if form.get(Parameter::ClientAssertion) == Some(token) => {
                return Ok(agent.clone());
            }
            Caller::Agent(_) | Caller::App(_) | Caller::Public(_) | Caller::Unattested(_) => {}
        }
        let verified = if let Some(sent) = foreign_svids::sent(token, snapshot) {
            self.svids.verify(&sent, snapshot, now).await
        } else if let Some(sent) = platform_tokens::sent(token, snapshot) {
            self.platforms.verify(&sent, snapshot, now).await
        } else {
            return self.own.svid(token, now).map_err(|error| self.refused(error));
        };
        verified.map_err(|error| match error {
            NotProven::Token(error) => RequestRefusal::unverified(error, |error| self.refused(error)),
            NotProven::Audience(named) => RequestRefusal::ActorAudience(named),
            NotProven::Agent(why) => RequestRefusal::NoAgentProven { client: false, why },
            NotProven::Replayed => RequestRefusal::ActorReplayed,
            NotProven::Unavailable => RequestRefusal::AuditUnavailable,
            NotProven::Internal(why) => RequestRefusal::Internal(why),
        })
    }

    fn refused(&self, error: TokenError) -> RequestRefusal {
        match error {
            TokenError::Audience => RequestRefusal::ActorAudience(self.basis.issuer().as_str().to_owned()),
            error => RequestRefusal::Actor(error),
        }
    }
}

/// The `sub` that the token claims, unverified: for the record of a refusal.
pub(crate) fn claimed(form: &Form<'_>) -> Option<String> {
    TOKEN.read(form).map(|token| crate::claimed::subject(token).unwrap_or_else(|| "(unreadable)".to_owned()))
}

#[cfg(test)]
mod tests {
    use mandate_core::names::{Parameter, TokenType};

    use super::sent;
    use crate::form::Form;
    use crate::refusal::RequestRefusal;

    const ACCESS_TOKEN: TokenType = TokenType::AccessToken;
    const JWT: TokenType = TokenType::Jwt;

    #[test]
    fn actor_token_and_its_type_stand_together() {
        let read =
            |text: &str| sent(&Form::parse(text.as_bytes()).unwrap()).map(|token| token.map(str::to_owned));
        assert_eq!(read("scope=a"), Ok(None));
        assert_eq!(read("actor_token=a"), Err(RequestRefusal::Missing(Parameter::ActorTokenType)));
        assert_eq!(
            read(&format!("actor_token_type={JWT}")),
            Err(RequestRefusal::Misplaced(Parameter::ActorTokenType))
        );
        let other = format!("actor_token=a&actor_token_type={ACCESS_TOKEN}");
        assert_eq!(read(&other), Err(RequestRefusal::Unacceptable(Parameter::ActorTokenType)));
        assert_eq!(read(&format!("actor_token=a&actor_token_type={JWT}")), Ok(Some("a".to_owned())));
    }
}
