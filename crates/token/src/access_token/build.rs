//! The claims of a token of ours, and its signature.

use std::borrow::Cow;

use mandate_core::registry::MAX_GROUPS;
use mandate_core::scope::MAX_SCOPES;
use mandate_core::subject::MAX_SUBJECT_LEN;
use mandate_core::{
    ActRef, ClientId, Confirmation, Details, GroupName, Issuer, Lineage, ScopeText, SubjectProfile,
    TenantName, Terms, Timestamp, TokenId,
};
use serde::Serialize;

use super::subject::{self, SubjectId, subject_claim};
use super::{MAX_LINEAGE, TYPE, own_behalf};
use crate::claim;
use crate::sign::{self, Payload, SignError, Signer};

/// The claims as they are written. Empty values are left out. Times are cut to whole seconds.
#[derive(Serialize)]
struct Wire<'a> {
    iss: &'a Issuer,
    sub: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_id: Option<SubjectId<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_profile: Option<SubjectProfile>,
    aud: &'a str,
    client_id: &'a ClientId,
    jti: &'a TokenId,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<ScopeText<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<ActRef<'a>>,
    #[serde(skip_serializing_if = "Lineage::is_empty")]
    lineage: &'a Lineage,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    amr: &'a [String],
    #[serde(skip_serializing_if = "Details::is_empty")]
    authorization_details: &'a Details,
    #[serde(skip_serializing_if = "Option::is_none")]
    cnf: Option<&'a Confirmation>,
    #[serde(skip_serializing_if = "<[GroupName]>::is_empty")]
    groups: &'a [GroupName],
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a TenantName>,
}

impl<'a> Wire<'a> {
    /// Refuses terms that our own verifier would refuse, and terms that a token of ours never has.
    fn of(terms: &'a Terms) -> Result<Self, SignError> {
        let refused = |why| Err(SignError::Claims(why));
        let Terms {
            issuer: iss,
            subject,
            chain,
            audience,
            scopes,
            details,
            issued: iat,
            expires: exp,
            jti,
            client,
            lineage,
            cnf,
            auth_time,
            acr,
            amr,
            groups,
            tenant,
        } = terms;
        if exp.secs() <= iat.secs() {
            return refused("exp is not after iat");
        }
        let (sub, sub_id, sub_profile, act) = match subject {
            Some(person) => {
                if person.sub.is_empty()
                    || person.sub.len() > MAX_SUBJECT_LEN
                    || person.sub.chars().any(char::is_control)
                {
                    return refused("sub is empty, oversized or has a control character");
                }
                if person.iss == *iss && !subject::may_be_local(&person.sub) {
                    return refused("sub of our own directory reads like that of another issuer's person");
                }
                (subject_claim(person, iss), SubjectId::of(person, iss), None, chain.to_act())
            }
            None => match own_behalf::agent_of(terms) {
                Some(agent) => (Cow::Borrowed(agent.sub.as_str()), None, Some(SubjectProfile::AiAgent), None),
                None => return refused("there is no person, and more than an agent's own token says"),
            },
        };
        let Some(aud) = audience.sole() else { return refused("aud is not exactly one") };
        if aud.is_empty() {
            return refused("aud is empty");
        }
        if lineage.longest() > MAX_LINEAGE {
            return refused("the lineage is too long");
        }
        if scopes.len() > MAX_SCOPES {
            return refused("there are too many scopes");
        }
        let mut texts = std::iter::once(aud).chain(acr.as_deref()).chain(amr.iter().map(String::as_str));
        if amr.len() > claim::MAX_LIST
            || !texts.all(claim::is_text)
            || !chain.iter().all(|actor| claim::is_text(&actor.sub))
        {
            return refused(
                "a text in aud, act, acr or amr is empty, oversized or has a control character, or amr is too long",
            );
        }
        if groups.len() > MAX_GROUPS {
            return refused("there are too many groups");
        }
        if cnf == &Some(Confirmation::Unknown) {
            return refused("cnf names no key");
        }
        Ok(Self {
            iss,
            sub,
            sub_id,
            sub_profile,
            aud,
            client_id: client,
            jti,
            iat: iat.secs(),
            exp: exp.secs(),
            scope: (!scopes.is_empty()).then(|| scopes.as_text()),
            act,
            lineage,
            auth_time: auth_time.map(Timestamp::secs),
            acr: acr.as_deref(),
            amr,
            authorization_details: details,
            cnf: cnf.as_ref(),
            groups,
            tenant: tenant.as_ref(),
        })
    }
}

/// The payload of an access token of ours. It is made before the decision is recorded, so that no decision is
/// recorded for which there can be no token.
///
/// # Errors
/// [`SignError::Claims`] for terms that our own verifier would refuse, [`SignError::TooLarge`] if it would
/// not read the token.
pub fn encode(terms: &Terms) -> Result<Payload, SignError> {
    Payload::of(&Wire::of(terms)?)
}

/// Signs a payload of [`encode`].
pub fn sign(payload: &Payload, signer: &dyn Signer) -> Result<String, SignError> {
    sign::compact(TYPE, payload, signer)
}

/// Builds and signs an access token of ours. Terms that our own verifier would refuse are not signed.
pub fn build(terms: &Terms, signer: &dyn Signer) -> Result<String, SignError> {
    sign(&encode(terms)?, signer)
}
