//! The claims that name actors: `act` and `may_act` (RFC 8693 §4.1, §4.4).

use mandate_core::subject::SubjectProfile;
use mandate_core::{Actor, ActorChain, Issuer};
use serde::{Deserialize, Serialize};

use crate::claim;
use crate::error::TokenError;
use crate::strict_json::Json;

/// The `may_act` claim: the only party that may become the next actor (RFC 8693 §4.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MayAct {
    /// The `sub` that the actor must have (RFC 8693 §4.4).
    pub sub: String,
    /// The issuer that names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<Issuer>,
}

const UNKNOWN: &str = "it has an unknown member";

/// As [`chain`], where an actor without `iss` is one of `usual`. And whether there is one.
pub(super) fn chain_of(act: Option<&Json<'_>>, usual: &Issuer) -> Result<(ActorChain, bool), TokenError> {
    let (mut actors, mut without) = (Vec::new(), false);
    let mut next = act;
    while let Some(current) = next {
        let (sub, iss, sub_profile, inner) = members(current, usual)?;
        without |= iss.is_none();
        actors.push(Actor { sub, iss: iss.unwrap_or_else(|| usual.clone()), sub_profile });
        next = inner;
    }
    Ok((ActorChain::new(actors)?, without))
}

/// Reads nested `act` objects. `usual` is the most likely issuer: comparing with it is much cheaper than
/// parsing.
pub(super) fn chain(act: Option<&Json<'_>>, usual: &Issuer) -> Result<ActorChain, TokenError> {
    let mut actors = Vec::new();
    let mut next = act;
    while let Some(current) = next {
        let (actor, inner) = one(current, usual)?;
        actors.push(actor);
        next = inner;
    }
    // Refuses depth and loops. The depth to which JSON is read bounds the length of this list.
    Ok(ActorChain::new(actors)?)
}

fn one<'v>(value: &'v Json<'v>, usual: &Issuer) -> Result<(Actor, Option<&'v Json<'v>>), TokenError> {
    let (sub, iss, sub_profile, inner) = members(value, usual)?;
    let iss = iss.ok_or(TokenError::Claim { claim: "act", why: NOBODY })?;
    Ok((Actor { sub, iss, sub_profile }, inner))
}

const NOBODY: &str = "without sub or iss";

/// The `sub`, `iss`, `sub_profile` and `act` of an actor.
type Members<'v> = (String, Option<Issuer>, Option<SubjectProfile>, Option<&'v Json<'v>>);

fn members<'v>(value: &'v Json<'v>, usual: &Issuer) -> Result<Members<'v>, TokenError> {
    let fault = |why| TokenError::Claim { claim: "act", why };
    let Json::Object(members) = value else { return Err(fault("not an object")) };
    let (mut sub, mut iss, mut sub_profile, mut inner) = (None, None, None, None);
    for (name, value) in members.iter() {
        match name {
            "sub" => sub = Some(claim::checked_text(value, "act")?.to_owned()),
            "iss" => iss = Some(issuer(value, usual, "act")?),
            "sub_profile" => {
                sub_profile = Some(
                    SubjectProfile::deserialize(value.to_value())
                        .map_err(|_| fault("unknown sub_profile"))?,
                );
            }
            "act" => inner = Some(value),
            // `exp`, `aud` and similar claims have no meaning here. Members that are not understood must not
            // be copied into the history of a token of ours (RFC 8693 §4.1).
            _ => return Err(fault(UNKNOWN)),
        }
    }
    Ok((sub.ok_or_else(|| fault(NOBODY))?, iss, sub_profile, inner))
}

pub(super) fn may_act(value: Option<&Json<'_>>, usual: &Issuer) -> Result<Option<MayAct>, TokenError> {
    let fault = |why| TokenError::Claim { claim: "may_act", why };
    let Some(value) = value else { return Ok(None) };
    let Json::Object(members) = value else { return Err(fault("not an object")) };
    let (mut sub, mut iss) = (None, None);
    for (name, value) in members.iter() {
        match name {
            "sub" => sub = Some(claim::checked_text(value, "may_act")?.to_owned()),
            "iss" => iss = Some(issuer(value, usual, "may_act")?),
            // A condition that is not understood must not be dropped: that would let more actors in.
            _ => return Err(fault(UNKNOWN)),
        }
    }
    let sub = sub.ok_or_else(|| fault("without sub"))?;
    Ok(Some(MayAct { sub, iss }))
}

fn issuer(value: &Json<'_>, usual: &Issuer, claim: &'static str) -> Result<Issuer, TokenError> {
    let text = claim::checked_text(value, claim)?;
    if text == usual.as_str() {
        return Ok(usual.clone());
    }
    text.parse().map_err(|_| TokenError::Claim { claim, why: "iss is not an issuer identifier" })
}
