//! Which records are wanted.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use mandate_core::{Issuer, Subject, Timestamp, TokenId};

use crate::record::{Outcome, Record, RecordKind};
use crate::touched::Touched;

/// A filter over records. Every member that is given must match; none given matches all.
///
/// Backends answer with the newest records first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// An actor's `sub` (for an agent, its SPIFFE ID), at any place in the chain, or an agent that was
    /// touched.
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
    /// Records at or after this time.
    pub since: Option<Timestamp>,
    /// Records before this time.
    pub until: Option<Timestamp>,
    /// Only permitted ones, or only refused ones.
    pub outcome: Option<Outcome>,
    /// The kind of decision or change.
    pub kind: Option<RecordKind>,
    /// The most records of one answer.
    pub limit: Option<u32>,
    /// Only records before this place: where an earlier answer ended.
    pub before: Option<Before>,
}

/// Where an answer ended.
///
/// As text it is either the index of the last record, `17`, or `1:17,2:0`: the number of each log in the
/// database, and the index before which its records are still to be given. A log that is not named has no
/// more records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// In the only log of a database: only records with a smaller index.
    Index(u64),
    /// In each of several logs, by their numbers in the database.
    Places(BTreeMap<u64, u64>),
}

impl fmt::Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => index.fmt(f),
            Self::Places(places) => {
                for (n, (log, index)) in places.iter().enumerate() {
                    let comma = if n == 0 { "" } else { "," };
                    write!(f, "{comma}{log}:{index}")?;
                }
                Ok(())
            }
        }
    }
}

/// The text is not a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the index of the last record of the page before, or the place that its Link header has")]
pub struct InvalidBefore;

impl FromStr for Before {
    type Err = InvalidBefore;

    fn from_str(text: &str) -> Result<Self, InvalidBefore> {
        let number = |text: &str| text.parse::<u64>().map_err(|_| InvalidBefore);
        let place = |text: &str| {
            let (log, index) = text.split_once(':').ok_or(InvalidBefore)?;
            Ok((number(log)?, number(index)?))
        };
        let before = if text.contains(':') {
            Self::Places(text.split(',').map(place).collect::<Result<_, _>>()?)
        } else {
            Self::Index(number(text)?)
        };
        // One place has one spelling: no sign, no leading zeros, each log once, in order.
        if before.to_string() == text { Ok(before) } else { Err(InvalidBefore) }
    }
}

impl Query {
    /// Whether a record is wanted; `limit` and `before` aside. Everything compares bytewise.
    pub fn matches(&self, record: &Record) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, given: Option<&T>) -> bool {
            wanted.is_none() || wanted == given
        }
        let (said, touched) = (record.said(), record.touched.as_deref());
        // Whether a name is in one of the lists of what was touched.
        let has = |list: fn(&Touched) -> &Vec<String>, name: &str| {
            touched.is_some_and(|touched| list(touched).iter().any(|one| one == name))
        };
        let is_person = |person: &Subject| {
            is(self.person.as_ref(), Some(&person.sub)) && is(self.person_issuer.as_ref(), Some(&person.iss))
        };
        let people = said.sub.into_iter().chain(touched.into_iter().flat_map(|touched| &touched.people));
        (self.person.is_none() && self.person_issuer.is_none() || people.into_iter().any(is_person))
            && self
                .resource
                .as_ref()
                .is_none_or(|uri| said.aud == Some(uri.as_str()) || has(|touched| &touched.resources, uri))
            && self
                .jti
                .as_ref()
                .is_none_or(|jti| said.jti == Some(jti) || has(|touched| &touched.tokens, jti.as_str()))
            && self
                .client
                .as_ref()
                .is_none_or(|id| said.client == Some(id.as_str()) || has(|touched| &touched.clients, id))
            && self.grant.as_ref().is_none_or(|id| {
                said.lineage.grants.iter().any(|grant| grant.as_str() == id.as_str())
                    || has(|touched| &touched.grants, id)
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

/// The operator's name without the token by which they acted: for `olga of https://m.example (token 01…)` the
/// part before the parenthesis.
pub fn operator_of(by: &str) -> &str {
    by.split(" (token ").next().unwrap_or(by)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Before, InvalidBefore};

    #[test]
    fn a_place_has_one_spelling() {
        let places = |places: &[(u64, u64)]| Before::Places(places.iter().copied().collect());
        for (text, before) in [
            ("0", Before::Index(0)),
            ("17", Before::Index(17)),
            ("18446744073709551615", Before::Index(u64::MAX)),
            ("1:17", places(&[(1, 17)])),
            ("1:17,2:0,10:3", places(&[(1, 17), (2, 0), (10, 3)])),
        ] {
            assert_eq!(text.parse(), Ok(before.clone()), "{text}");
            assert_eq!(before.to_string(), text);
        }
        for bad in [
            "",
            "x",
            "+1",
            "-1",
            "01",
            " 1",
            "1 ",
            "1.0",
            "18446744073709551616",
            "1,2",
            "1:",
            ":1",
            "1:1:1",
            "1:1,",
            ",1:1",
            "1:1,,2:2",
            "1:1,1:1",
            "1:1,1:2",
            "2:1,1:1",
            "10:1,2:1",
            "1:01",
            "+1:1",
            "1:+1",
            "1:1, 2:1",
            "1:1;2:1",
            "1:18446744073709551616",
        ] {
            assert_eq!(bad.parse::<Before>(), Err(InvalidBefore), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_any_text_is_read_or_refused(places in prop::collection::btree_map(any::<u64>(), any::<u64>(), 1..5), text in "[0-9:,+ ]{0,12}") {
            let before = Before::Places(places);
            prop_assert_eq!(before.to_string().parse(), Ok(before));
            if let Ok(read) = text.parse::<Before>() {
                prop_assert_eq!(read.to_string(), text);
            }
        }
    }
}
