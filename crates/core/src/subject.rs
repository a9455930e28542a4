//! Who: persons, actors, and the chain of actors (RFC 8693 §4.1).

use std::fmt;
use std::iter;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::uri::Issuer;

/// The hard limit on the nested `act` objects that are parsed; the configured depth limit is lower.
pub const MAX_PARSED_DEPTH: usize = 16;

/// The longest `sub` that is accepted, in bytes.
pub const MAX_SUBJECT_LEN: usize = 2048;

/// A human subject, named by issuer and subject of an identity provider. Two issuers never name the same
/// person.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// The identity provider that names the person.
    pub iss: Issuer,
    /// The person's `sub` at that provider.
    pub sub: String,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.sub, self.iss)
    }
}

/// What kind of entity a subject is (`sub_profile` of the actor profile draft).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectProfile {
    /// A piece of software that acts by itself for a person.
    AiAgent,
    /// A service that is no agent.
    Service,
    /// A person, whose rights are delegated.
    User,
}

impl SubjectProfile {
    /// Its name in `sub_profile`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AiAgent => "ai_agent",
            Self::Service => "service",
            Self::User => "user",
        }
    }
}

/// One actor, as its `act` object names it. `iss` is the namespace of `sub`, not the issuer of the token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The actor's name: for an agent, its SPIFFE ID.
    pub sub: String,
    /// The issuer that names it.
    pub iss: Issuer,
    /// What kind of entity it is, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_profile: Option<SubjectProfile>,
}

/// The actors of a mandate, outermost (current) first.
///
/// Only the first decides anything; the others are history (RFC 8693 §4.1). Cloning is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ActorChain(Arc<[Actor]>);

/// Why an actor chain is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidActorChain {
    /// More actors than allowed.
    #[error("the actor chain is deeper than allowed")]
    TooDeep,
    /// The same actor appears twice in the chain.
    #[error("the same actor appears twice in the actor chain")]
    Loop,
    /// `sub` is empty or too long.
    #[error("an actor has an empty or oversized sub")]
    Subject,
}

impl ActorChain {
    /// The chain without actors: the subject acts itself.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The chain of these actors, outermost first. Loops and sizes beyond the limits are refused.
    pub fn new(actors: Vec<Actor>) -> Result<Self, InvalidActorChain> {
        check(&actors)?;
        // The empty chain takes no memory; one made of an empty list would.
        if actors.is_empty() { Ok(Self::empty()) } else { Ok(Self(actors.into())) }
    }

    /// The chain with `actor` as its new outermost member.
    ///
    /// If `actor` is the outermost already, the chain stays as it is: acting again adds nothing. Anywhere
    /// deeper it is a loop. More than `limit` members are [`InvalidActorChain::TooDeep`], never a truncation.
    pub fn extended(&self, actor: Actor, limit: usize) -> Result<Self, InvalidActorChain> {
        let again = self.outermost().is_some_and(|now| now.sub == actor.sub && now.iss == actor.iss);
        if self.depth() + usize::from(!again) > limit {
            return Err(InvalidActorChain::TooDeep);
        }
        if again {
            return Ok(self.clone());
        }
        let actors: Arc<[Actor]> = iter::once(actor).chain(self.0.iter().cloned()).collect();
        check(&actors)?;
        Ok(Self(actors))
    }

    /// The same actors, the innermost outermost.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self(self.0.iter().rev().cloned().collect())
    }

    /// The current actor (RFC 8693 §4.1); none if nobody acts for the person.
    pub fn outermost(&self) -> Option<&Actor> {
        self.0.first()
    }

    /// All actors, outermost first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Actor> + ExactSizeIterator {
        self.0.iter()
    }

    /// Whether `issuer` names all of its actors. What another issuer says about actors of a third one is
    /// unverified.
    pub fn is_of(&self, issuer: &Issuer) -> bool {
        self.iter().all(|actor| actor.iss == *issuer)
    }

    /// How many actors there are, the current one and all before it.
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// Whether the subject acts itself.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a nested `act` claim, or `None` for an empty chain.
    pub fn to_act(&self) -> Option<ActRef<'_>> {
        ActRef::of(&self.0)
    }
}

/// Refuses loops and sizes beyond the limits.
fn check(actors: &[Actor]) -> Result<(), InvalidActorChain> {
    if actors.len() > MAX_PARSED_DEPTH {
        return Err(InvalidActorChain::TooDeep);
    }
    for (at, actor) in actors.iter().enumerate() {
        if actor.sub.is_empty() || actor.sub.len() > MAX_SUBJECT_LEN {
            return Err(InvalidActorChain::Subject);
        }
        if actors.iter().take(at).any(|other| other.sub == actor.sub && other.iss == actor.iss) {
            return Err(InvalidActorChain::Loop);
        }
    }
    Ok(())
}

/// An [`Act`] that is only written: the actors stay where they are.
#[derive(Clone, Copy, Debug)]
pub struct ActRef<'a> {
    actor: &'a Actor,
    before: &'a [Actor],
}

impl<'a> ActRef<'a> {
    /// `actors`: outermost first.
    fn of(actors: &'a [Actor]) -> Option<Self> {
        let (actor, before) = actors.split_first()?;
        Some(Self { actor, before })
    }
}

impl Serialize for ActRef<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            #[serde(flatten)]
            actor: &'a Actor,
            #[serde(skip_serializing_if = "Option::is_none")]
            act: Option<ActRef<'a>>,
        }
        Wire { actor: self.actor, act: ActRef::of(self.before) }.serialize(serializer)
    }
}

/// The `act` claim: an actor and, nested, the one that acted before it (RFC 8693 §4.1).
///
/// Unknown members are refused: `exp`, `aud` and similar claims have no meaning inside `act`. If an authority
/// copied members that it does not know, a caller could forge the history of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Act {
    /// Its members stand in the same JSON object.
    #[serde(flatten)]
    pub actor: Actor,
    /// The actor before it; none for the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Act>>,
}

impl<'de> Deserialize<'de> for Act {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Wire {
            sub: String,
            iss: Issuer,
            #[serde(default)]
            sub_profile: Option<SubjectProfile>,
            #[serde(default)]
            act: Option<Box<Act>>,
        }
        let Wire { sub, iss, sub_profile, act } = Wire::deserialize(deserializer)?;
        Ok(Self { actor: Actor { sub, iss, sub_profile }, act })
    }
}

impl TryFrom<Act> for ActorChain {
    type Error = InvalidActorChain;

    fn try_from(act: Act) -> Result<Self, InvalidActorChain> {
        let mut actors = Vec::new();
        let mut next = Some(Box::new(act));
        while let Some(current) = next {
            if actors.len() == MAX_PARSED_DEPTH {
                return Err(InvalidActorChain::TooDeep);
            }
            actors.push(current.actor);
            next = current.act;
        }
        Self::new(actors)
    }
}

impl Serialize for ActorChain {
    /// As an array, outermost first (for records and DTOs; tokens use [`ActorChain::to_act`]).
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

impl<'de> Deserialize<'de> for ActorChain {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{Act, Actor, ActorChain, InvalidActorChain, SubjectProfile};

    fn actor(name: &str) -> Actor {
        Actor {
            sub: format!("spiffe://td/{name}"),
            iss: "https://m.example".parse().unwrap(),
            sub_profile: None,
        }
    }

    #[test]
    fn a_profile_is_written_by_its_name() {
        for profile in [SubjectProfile::AiAgent, SubjectProfile::Service, SubjectProfile::User] {
            assert_eq!(serde_json::to_value(profile).unwrap(), profile.as_str());
        }
    }

    #[test]
    fn nests_outermost_first_as_in_rfc_8693_figure_6() {
        let chain = ActorChain::new(vec![actor("c"), actor("b")]).unwrap();
        let json = serde_json::to_value(chain.to_act().unwrap()).unwrap();
        assert_eq!(json["sub"], "spiffe://td/c");
        assert_eq!(json["act"]["sub"], "spiffe://td/b");
        let back: Act = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&back).unwrap(), json);
        assert_eq!(ActorChain::try_from(back).unwrap(), chain);
    }

    #[test]
    fn grows_at_the_outside_only_and_never_truncates() {
        let one = ActorChain::empty().extended(actor("b"), 3).unwrap();
        let two = one.extended(actor("c"), 3).unwrap();
        assert_eq!(two.outermost(), Some(&actor("c")));
        assert_eq!(two.extended(actor("c"), 3).unwrap(), two, "acting again changes nothing");
        assert_eq!(two.extended(actor("b"), 3), Err(InvalidActorChain::Loop), "a loop is refused");
        assert_eq!(two.extended(actor("d"), 2), Err(InvalidActorChain::TooDeep));
    }

    #[test]
    fn an_actor_of_another_issuer_that_has_the_same_name_does_not_act_again() {
        let theirs = Actor { iss: "https://other.example".parse().unwrap(), ..actor("b") };
        let chain = ActorChain::new(vec![theirs.clone()]).unwrap();
        assert_eq!(chain.extended(actor("b"), 3).unwrap().iter().collect::<Vec<_>>(), [&actor("b"), &theirs]);
        assert_eq!(chain.extended(actor("b"), 1), Err(InvalidActorChain::TooDeep));
    }

    #[test]
    fn refuses_depth_bombs_and_foreign_members() {
        let mut json = serde_json::json!({"sub": "x0", "iss": "https://m.example"});
        for n in 1..40 {
            json = serde_json::json!({"sub": format!("x{n}"), "iss": "https://m.example", "act": json});
        }
        let act: Act = serde_json::from_value(json).unwrap();
        assert_eq!(ActorChain::try_from(act), Err(InvalidActorChain::TooDeep));
        for extra in [
            r#"{"sub":"a","iss":"https://m.example","exp":1}"#,
            r#"{"sub":"a"}"#,
            r#"{"sub":"a","sub":"b","iss":"https://m.example"}"#,
        ] {
            assert!(serde_json::from_str::<Act>(extra).is_err(), "{extra}");
        }
    }
}
