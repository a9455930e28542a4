//! The names under which a record is found, and those that are looked for.

use mandate_audit::query::operator_of;
use mandate_audit::{LeafKeys, Outcome, Query};
use mandate_core::Timestamp;
use mandate_core::digest::Sha256;
use mandate_core::id::made_at;

use crate::record_search::WantedRecords;

/// What a name is of, by the member of the record: another member's name of the same text is another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part(pub(super) &'static str);

impl Part {
    pub(super) const ID: Self = Self("id");
    pub(super) const KIND: Self = Self("kind");
    pub(super) const OUTCOME: Self = Self("outcome");
    pub(super) const SUBJECT: Self = Self("sub");
    pub(super) const SUBJECT_ISSUER: Self = Self("sub_iss");
    pub(super) const AUDIENCE: Self = Self("aud");
    pub(super) const TOKEN: Self = Self("jti");
    pub(super) const ACTOR: Self = Self("act");
    pub(super) const CLIENT: Self = Self("client");
    pub(super) const GRANT: Self = Self("lineage");
    pub(super) const OPERATOR: Self = Self("by");

    /// The first eight bytes of the digest of member and name, as a number. They are enough: if two names
    /// have one digest, a search reads a record too many, and then sees that it does not match.
    pub(super) fn digest(self, text: &str) -> i64 {
        let mut digest = Sha256::default();
        digest.update(self.0.as_bytes());
        // No member's name contains this byte.
        digest.update(&[0]);
        digest.update(text.as_bytes());
        let mut first = [0; 8];
        first.iter_mut().zip(digest.finish()).for_each(|(to, from)| *to = from);
        i64::from_be_bytes(first)
    }
}

/// Reports every name that is kept for one record.
///
/// Our own ids contain the time at which they were made. They are not kept, because the times of a chunk show
/// whether it can contain an id.
pub(super) fn each_name(keys: &LeafKeys<'_>, mut tell: impl FnMut(Part, &str)) {
    let made_then = |id: &str| made_at(id) == Some(keys.time);
    if !made_then(&keys.id) {
        tell(Part::ID, &keys.id);
    }
    if let Some(jti) = keys.jti.as_deref().filter(|jti| !made_then(jti)) {
        tell(Part::TOKEN, jti);
    }
    tell(Part::KIND, keys.kind.as_str());
    // Most records are permissions: a search for them alone reads every record anyway.
    if keys.outcome == Outcome::Refused {
        tell(Part::OUTCOME, keys.outcome.as_str());
    }
    for (part, text) in
        [(Part::SUBJECT, &keys.sub), (Part::SUBJECT_ISSUER, &keys.sub_iss), (Part::AUDIENCE, &keys.aud)]
    {
        if let Some(text) = text {
            tell(part, text);
        }
    }
    keys.actors().for_each(|actor| tell(Part::ACTOR, actor));
    if let Some(client) = &keys.client {
        tell(Part::CLIENT, client);
    }
    keys.grants().for_each(|grant| tell(Part::GRANT, grant));
    if let Some(by) = &keys.by {
        tell(Part::OPERATOR, operator_of(by));
    }
    // What an operator touched has the same names as what acted, because a query asks for both.
    let Some(touched) = keys.touched.as_deref() else { return };
    for person in &touched.people {
        tell(Part::SUBJECT, &person.sub);
        tell(Part::SUBJECT_ISSUER, person.iss.as_str());
    }
    for (part, names) in [
        (Part::ACTOR, &touched.agents),
        (Part::AUDIENCE, &touched.resources),
        (Part::CLIENT, &touched.clients),
        (Part::GRANT, &touched.grants),
        (Part::TOKEN, &touched.tokens),
    ] {
        for name in names {
            tell(part, name);
        }
    }
}

/// What a search can compare with the names and times of chunks.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// A record must have all of these.
    pub(super) names: Vec<i64>,
    /// An id, and when it was made if it is one of ours.
    pub(super) id: Option<(i64, Option<Timestamp>)>,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

impl Filter {
    pub(super) fn of(wanted: WantedRecords<'_>) -> Self {
        match wanted {
            WantedRecords::Record(id) => {
                Self { id: Some((Part::ID.digest(id.as_str()), made_at(id.as_str()))), ..Self::default() }
            }
            WantedRecords::Query(query) => Self::query(query),
        }
    }

    fn query(query: &Query) -> Self {
        let outcome = query.outcome.filter(|outcome| *outcome == Outcome::Refused);
        let names = [
            (Part::ACTOR, query.agent.as_deref()),
            (Part::SUBJECT, query.person.as_deref()),
            (Part::SUBJECT_ISSUER, query.person_issuer.as_ref().map(mandate_core::Issuer::as_str)),
            (Part::AUDIENCE, query.resource.as_deref()),
            (Part::OUTCOME, outcome.map(Outcome::as_str)),
            (Part::KIND, query.kind.map(mandate_audit::RecordKind::as_str)),
            (Part::CLIENT, query.client.as_deref()),
            (Part::GRANT, query.grant.as_deref()),
            (Part::OPERATOR, query.by.as_deref()),
        ];
        Self {
            names: names.into_iter().filter_map(|(part, text)| Some(part.digest(text?))).collect(),
            id: query.jti.as_ref().map(|jti| (Part::TOKEN.digest(jti.as_str()), jti.made_at())),
            since: query.since,
            until: query.until,
        }
    }

    /// The names that a record of a chunk with these times must have. An id of ours may be a record's
    /// although it is not kept.
    pub(super) fn names_between(&self, earliest: Timestamp, latest: Timestamp) -> Vec<i64> {
        let kept = self.id.filter(|(_, made)| !made.is_some_and(|made| earliest <= made && made <= latest));
        self.names.iter().copied().chain(kept.map(|(digest, _)| digest)).collect()
    }
}
