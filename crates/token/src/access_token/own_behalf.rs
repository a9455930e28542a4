//! An agent's own token: no person stands behind it. Its `sub` is the agent's SPIFFE ID, which no person's
//! `sub` can be, and `sub_profile` says what it is (actor profile draft).
//!
//! Such a token says nothing about a person's login, and descends from nothing. Inside, it is a chain of one
//! actor without a subject, so that cuts and stops of the agent apply to it as to every other token.

use mandate_core::{Actor, ActorChain, Issuer, SpiffeId, SubjectProfile, Terms};
use serde::Deserialize;

use crate::claim;
use crate::error::TokenError;
use crate::strict_json::{Json, Object};

const PROFILE: &str = "sub_profile";

/// What only a token with a person has.
const OF_PEOPLE: [&str; 8] = ["sub_id", "act", "may_act", "lineage", "auth_time", "acr", "amr", "groups"];

/// The agent that a token of `ours` names as its subject; `None` if the token is for a person.
pub(super) fn agent(claims: &Object<'_>, ours: &Issuer) -> Result<Option<Actor>, TokenError> {
    let Some(profile) = claims.get(PROFILE) else { return Ok(None) };
    let fault = |claim, why| Err(TokenError::Claim { claim, why });
    if SubjectProfile::deserialize(profile.to_value()).ok() != Some(SubjectProfile::AiAgent) {
        return fault(PROFILE, "the subject of a token of ours is a person, or an agent");
    }
    if let Some(other) = OF_PEOPLE.into_iter().find(|name| claims.contains(name)) {
        return fault(other, "an agent's own token does not have it");
    }
    let sub = claim::required_text(claims, "sub")?;
    if sub.parse::<SpiffeId>().is_err() {
        return fault("sub", "not the SPIFFE ID of an agent");
    }
    if claim::required_text(claims, "client_id")? != sub {
        return fault("client_id", "an agent's own token is issued to the agent");
    }
    Ok(Some(Actor { sub: sub.to_owned(), iss: ours.clone(), sub_profile: Some(SubjectProfile::AiAgent) }))
}

/// The chain of a token whose subject is this agent.
pub(super) fn chain(agent: Actor) -> Result<ActorChain, TokenError> {
    Ok(ActorChain::new(vec![agent])?)
}

/// The agent whose own token these terms are, if they say no more than such a token can.
pub(super) fn agent_of(terms: &Terms) -> Option<&Actor> {
    let Terms { subject, chain, issuer, client, lineage, auth_time, acr, amr, groups, .. } = terms;
    let agent = chain.outermost().filter(|_| chain.depth() == 1 && subject.is_none())?;
    let named = agent.iss == *issuer
        && agent.sub_profile == Some(SubjectProfile::AiAgent)
        && agent.sub == client.as_str()
        && agent.sub.parse::<SpiffeId>().is_ok();
    let of_no_login = auth_time.is_none() && acr.is_none() && amr.is_empty();
    let of_nobody = lineage.is_empty() && of_no_login && groups.is_empty();
    (named && of_nobody).then_some(agent)
}

/// Whether another issuer says with `sub_profile` that the subject of its token is something else than a
/// person. The claim may have several values, separated by spaces or in a list; all of them must be `user`.
pub(crate) fn is_of_no_person(claims: &Object<'_>) -> bool {
    let names_users = |value: &Json<'_>| {
        value.as_text().is_some_and(|text| {
            !text.is_empty() && text.split(' ').all(|profile| profile == SubjectProfile::User.as_str())
        })
    };
    match claims.get(PROFILE) {
        None | Some(Json::Null) => false,
        Some(Json::List(values)) => values.is_empty() || !values.iter().all(names_users),
        Some(value) => !names_users(value),
    }
}
