//! Which records are wanted.

use mandate_core::{Issuer, Timestamp, TokenId};
use serde::{Deserialize, Serialize};

use crate::record::{Kind, Outcome, Record};

/// A filter over records. Every member that is given must match; none given matches all.
///
/// Backends answer with the newest records first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    /// An actor's `sub` (for an agent, its SPIFFE ID), at any place in the chain.
    pub agent: Option<String>,
    /// The person's `sub`.
    pub person: Option<String>,
    /// The issuer that names the person. Two issuers never name the same person.
    pub person_issuer: Option<Issuer>,
    /// The resource's URI: `aud`.
    pub resource: Option<String>,
    /// The token that the record let out.
    pub jti: Option<TokenId>,
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
    /// Only those that stand before this place in the log: where an earlier answer ended.
    pub before: Option<u64>,
}

impl Query {
    /// Whether a record is wanted; `limit` and `before` aside. Everything compares bytewise.
    pub fn matches(&self, record: &Record) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, given: Option<&T>) -> bool {
            wanted.is_none() || wanted == given
        }
        is(self.person.as_ref(), record.sub.as_ref().map(|p| &p.sub))
            && is(self.person_issuer.as_ref(), record.sub.as_ref().map(|p| &p.iss))
            && is(self.resource.as_ref(), record.aud.as_ref())
            && is(self.jti.as_ref(), record.jti.as_ref())
            && is(self.outcome.as_ref(), Some(&record.outcome))
            && is(self.kind.as_ref(), Some(&record.kind))
            && self.since.is_none_or(|t| record.time >= t)
            && self.until.is_none_or(|t| record.time < t)
            && self.agent.as_ref().is_none_or(|agent| record.act.iter().any(|actor| actor.sub == *agent))
    }
}
