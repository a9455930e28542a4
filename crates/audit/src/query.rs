//! Which records are wanted.

use mandate_core::{Issuer, Person, Timestamp, TokenId};
use serde::{Deserialize, Serialize};

use crate::record::{Kind, Outcome, Record};
use crate::touched::Touched;

/// A filter over records. Every member that is given must match; none given matches all.
///
/// Backends answer with the newest records first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// An actor's `sub` (for an agent, its SPIFFE ID), at any place in the chain, or an agent that was touched.
    pub agent: Option<String>,
    /// The issuer that names the actor. Two issuers never name the same actor.
    pub agent_issuer: Option<Issuer>,
    /// The person's `sub`.
    pub person: Option<String>,
    /// The issuer that names the person. Two issuers never name the same person.
    pub person_issuer: Option<Issuer>,
    /// The resource's URI: `aud`.
    pub resource: Option<String>,
    /// The token that was issued with the record, or that was touched.
    pub jti: Option<TokenId>,
    /// The client that asked, or that was touched.
    pub client: Option<String>,
    /// A grant that the token depends on, or that was touched.
    pub grant: Option<String>,
    /// The operator, without the operator's token: see [`operator_of`].
    pub by: Option<String>,
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// How it went.
    pub outcome: Option<Outcome>,
    /// What it was about.
    pub kind: Option<Kind>,
    /// At most so many.
    pub limit: Option<u32>,
    /// Only records before this place in the log: where an earlier answer ended.
    pub before: Option<u64>,
}

impl Query {
    /// Whether a record is wanted; `limit` and `before` aside. Everything compares bytewise.
    pub fn matches(&self, record: &Record) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, given: Option<&T>) -> bool {
            wanted.is_none() || wanted == given
        }
        let (said, touched) = (record.said(), record.touched.as_deref());
        // Whether a name is in one of the lists of what was touched.
        let has =
            |list: fn(&Touched) -> &Vec<String>, name: &str| touched.is_some_and(|touched| list(touched).iter().any(|one| one == name));
        let is_person = |person: &Person| is(self.person.as_ref(), Some(&person.sub)) && is(self.person_issuer.as_ref(), Some(&person.iss));
        let people = said.sub.into_iter().chain(touched.into_iter().flat_map(|touched| &touched.people));
        (self.person.is_none() && self.person_issuer.is_none() || people.into_iter().any(is_person))
            && self.resource.as_ref().is_none_or(|uri| said.aud == Some(uri.as_str()) || has(|touched| &touched.resources, uri))
            && self.jti.as_ref().is_none_or(|jti| said.jti == Some(jti) || has(|touched| &touched.tokens, jti.as_str()))
            && self.client.as_ref().is_none_or(|id| said.client == Some(id.as_str()) || has(|touched| &touched.clients, id))
            && self.grant.as_ref().is_none_or(|id| {
                said.lineage.grants.iter().any(|grant| grant.as_str() == id.as_str()) || has(|touched| &touched.grants, id)
            })
            && self.by.as_ref().is_none_or(|by| record.by.as_deref().map(operator_of) == Some(by.as_str()))
            && is(self.outcome.as_ref(), Some(&record.outcome))
            && is(self.kind.as_ref(), Some(&record.kind))
            && self.since.is_none_or(|t| record.time >= t)
            && self.until.is_none_or(|t| record.time < t)
            && self.agent.as_ref().is_none_or(|agent| {
                let named = |iss: &Issuer| self.agent_issuer.as_ref().is_none_or(|issuer| issuer == iss);
                let acted = said.act.iter().any(|actor| actor.sub == *agent && named(&actor.iss));
                acted || has(|touched| &touched.agents, agent)
            })
    }
}

/// The operator's name without the token by which they acted: for `olga of https://m.example (token 01…)` the part before
/// the parenthesis.
pub fn operator_of(by: &str) -> &str {
    by.split(" (token ").next().unwrap_or(by)
}
