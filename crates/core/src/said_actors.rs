//! What a token of another issuer said of who acts for whom, in one form for all products.
//!
//! It is kept in the record of the exchange and gives nobody authority: a decision reads the chain of actors of
//! the [`Terms`](crate::Terms) alone, as history. Nothing that the token said is lost: the form tells how the
//! normal form is turned back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::subject::{Act, ActRef, ActorChain};

/// In which form a token named its actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorForm {
    /// `act` nests, the newest outermost, each with its issuer (RFC 8693 §4.1).
    Rfc8693,
    /// The same, but the actors have no `iss`: they are the issuer's own.
    WithoutIssuer,
    /// `act` nests, the oldest outermost.
    OldestFirst,
    /// The same, without `iss`.
    OldestFirstWithoutIssuer,
    /// Microsoft Entra: the client is the newest actor if its facets in `xms_act_fct` say that it is an agent.
    /// Then comes what is in `act`, if there is one.
    EntraFacets,
}

impl ActorForm {
    /// Its name in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rfc8693 => "rfc8693",
            Self::WithoutIssuer => "without_issuer",
            Self::OldestFirst => "oldest_first",
            Self::OldestFirstWithoutIssuer => "oldest_first_without_issuer",
            Self::EntraFacets => "entra_facets",
        }
    }

    /// The form of a token whose actors were read as if the newest were outermost.
    #[must_use]
    pub const fn oldest_first(self) -> Self {
        match self {
            Self::Rfc8693 => Self::OldestFirst,
            Self::WithoutIssuer => Self::OldestFirstWithoutIssuer,
            other => other,
        }
    }
}

/// What a token said of its actors.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Wire")]
pub struct SaidActors {
    /// How it said it.
    pub form: ActorForm,
    /// The actors, newest outermost.
    pub chain: ActorChain,
    /// What other claims of the product say of the parties, by their names, as the token has them. A token has at
    /// most 16 KiB, so they have no limit of their own.
    pub claims: BTreeMap<String, Value>,
}

impl SaidActors {
    /// `None` if the token said nothing of actors.
    pub fn new(
        form: ActorForm,
        chain: ActorChain,
        claims: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Option<Self> {
        let claims: BTreeMap<String, Value> =
            claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        (!chain.is_empty() || !claims.is_empty()).then_some(Self { form, chain, claims })
    }
}

impl Serialize for SaidActors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            form: ActorForm,
            #[serde(skip_serializing_if = "Option::is_none")]
            act: Option<ActRef<'a>>,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            claims: &'a BTreeMap<String, Value>,
        }
        Wire { form: self.form, act: self.chain.to_act(), claims: &self.claims }.serialize(serializer)
    }
}

#[derive(Deserialize)]
struct Wire {
    form: ActorForm,
    #[serde(default)]
    act: Option<Act>,
    #[serde(default)]
    claims: BTreeMap<String, Value>,
}

impl TryFrom<Wire> for SaidActors {
    type Error = &'static str;

    fn try_from(Wire { form, act, claims }: Wire) -> Result<Self, Self::Error> {
        let chain = act.map_or(Ok(ActorChain::empty()), ActorChain::try_from);
        Ok(Self { form, chain: chain.map_err(|_| "act is not an actor chain")?, claims })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{ActorForm, SaidActors};
    use crate::{Actor, ActorChain};

    fn chain(subs: &[&str]) -> ActorChain {
        let actor = |sub: &&str| Actor {
            sub: (*sub).to_owned(),
            iss: "https://login.example".parse().unwrap(),
            sub_profile: None,
        };
        ActorChain::new(subs.iter().map(actor).collect()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let said = SaidActors::new(
            ActorForm::EntraFacets,
            chain(&["b", "a"]),
            [("xms_act_fct", json!("3 9 11")), ("xms_idrel", json!(["1", {"x": 2}]))],
        );
        let said = said.unwrap();
        let text = serde_json::to_value(&said).unwrap();
        let iss = "https://login.example";
        let expected = json!({
            "form": "entra_facets",
            "act": {"sub": "b", "iss": iss, "act": {"sub": "a", "iss": iss}},
            "claims": {"xms_act_fct": "3 9 11", "xms_idrel": ["1", {"x": 2}]},
        });
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_value::<SaidActors>(text).unwrap(), said);
        for form in [ActorForm::Rfc8693, ActorForm::WithoutIssuer, ActorForm::EntraFacets] {
            for form in [form, form.oldest_first()] {
                assert_eq!(serde_json::to_value(form).unwrap(), Value::from(form.as_str()));
            }
        }
    }

    #[test]
    fn nothing_is_said_by_a_token_without_actors_and_nothing_that_is_said_is_lost() {
        assert_eq!(SaidActors::new(ActorForm::Rfc8693, ActorChain::empty(), []), None);
        let text = "y".repeat(5000);
        let long = SaidActors::new(ActorForm::EntraFacets, ActorChain::empty(), [("x", json!(text))]);
        assert_eq!(long.unwrap().claims["x"], text.as_str());
    }
}
