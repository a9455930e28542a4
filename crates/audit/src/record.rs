//! What one record of the audit log says, and the bytes that are hashed, stored and exported for it.

use std::borrow::Cow;
use std::sync::Arc;

use mandate_core::registry::ProofEvidence;
use mandate_core::{GrantId, KnownTerms, RecordId, RequestSource, Said, SaidActors, Terms, Timestamp};
use serde::{Deserialize, Serialize, Serializer};

use crate::effect_names::EffectNames;
use crate::touched::Touched;

/// The most bytes one record may have as a leaf.
pub const MAX_LEAF_LEN: usize = 64 * 1024;

/// The most bytes of an unverified text that a record keeps, counted in its JSON form.
pub const MAX_ASKED_LEN: usize = 512;

/// As [`MAX_ASKED_LEN`], where a stranger was refused.
pub const MAX_STRANGERS_ASKED_LEN: usize = 128;

/// The most bytes, as JSON, of the sentence in the record of a stranger's refusal.
pub const MAX_STRANGERS_DETAIL_LEN: usize = 384;

/// About how many bytes of the proof of an agent are kept in such a record.
pub const MAX_STRANGERS_PROOF_LEN: usize = 512;

/// What kind of decision or change a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// A token exchange was answered (RFC 8693).
    Exchange,
    /// A person logged in, or an authorization code was issued.
    Authorize,
    /// An authorization code was redeemed, or an agent asked for a token of its own: then there is no person,
    /// and the agent is the only actor.
    Token,
    /// An agent was issued an identity document.
    Identity,
    /// Tokens or a grant were revoked.
    Revoke,
    /// Entries of the registry were added, changed or removed.
    Registry,
    /// A node joined, renewed its certificate or was banned.
    Node,
    /// Any other act of an operator.
    Admin,
}

impl RecordKind {
    /// Its name in queries and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::Authorize => "authorize",
            Self::Token => "token",
            Self::Identity => "identity",
            Self::Revoke => "revoke",
            Self::Registry => "registry",
            Self::Node => "node",
            Self::Admin => "admin",
        }
    }
}

/// How a decision went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The request was permitted, or the change was made.
    Permitted,
    /// The request was refused.
    Refused,
}

impl Outcome {
    /// Its name in queries and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permitted => "permitted",
            Self::Refused => "refused",
        }
    }
}

/// What the caller asked for, as it was sent: unverified texts, cut to [`MAX_ASKED_LEN`] bytes of JSON each.
/// Cloning is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<Arc<str>>,
    /// Who the actor token claimed to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    actor: Option<Arc<str>>,
}

impl Asked {
    /// Takes the texts, cutting each.
    pub fn new(resource: Option<&str>, scope: Option<&str>, actor: Option<&str>) -> Self {
        let cut = |text| cut_encoded(text, MAX_ASKED_LEN).into();
        Self { resource: resource.map(cut), scope: scope.map(cut), actor: actor.map(cut) }
    }

    /// Cuts each text to [`MAX_STRANGERS_ASKED_LEN`].
    fn shorten(&mut self) {
        for text in [&mut self.resource, &mut self.scope, &mut self.actor].into_iter().flatten() {
            let cut = cut_encoded(text, MAX_STRANGERS_ASKED_LEN);
            if cut.len() < text.len() {
                *text = cut.into();
            }
        }
    }

    /// The `resource` parameter, cut.
    pub fn resource(&self) -> Option<&str> {
        self.resource.as_deref()
    }

    /// The `scope` parameter, cut.
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// Who the actor token claimed to be, cut.
    pub fn actor(&self) -> Option<&str> {
        self.actor.as_deref()
    }

    /// Whether none of the three was sent.
    pub fn is_empty(&self) -> bool {
        self.resource.is_none() && self.scope.is_none() && self.actor.is_none()
    }
}

/// The longest beginning of `text` that has at most `max` bytes between the quotes of its JSON (RFC 8259 §7):
/// a control character takes up to six.
fn cut_encoded(text: &str, max: usize) -> &str {
    let mut len = 0;
    for (at, c) in text.char_indices() {
        len += match c {
            '"' | '\\' | '\u{8}' | '\u{c}' | '\n' | '\r' | '\t' => 2,
            '\0'..='\u{1f}' => 6,
            other => other.len_utf8(),
        };
        if len > max {
            return text.get(..at).unwrap_or_default();
        }
    }
    text
}

/// As much of a proof as fits into [`MAX_STRANGERS_PROOF_LEN`].
fn shortened_proof(proof: &ProofEvidence) -> Option<ProofEvidence> {
    let mut left = MAX_STRANGERS_PROOF_LEN
        .checked_sub(proof.issuer.as_ref().map_or(0, |issuer| issuer.as_str().len()))?;
    let mut fits = |name: &str, value: &str| {
        // A value has no control characters, and a quote or a backslash takes two bytes.
        let length = name.len() + 2 * value.len();
        left.checked_sub(length).map(|rest| left = rest).is_some()
    };
    let claims = proof.claims.iter().filter(|(name, value)| fits(name, value));
    let claims = claims.map(|(name, value)| (name.clone(), value.clone())).collect();
    Some(ProofEvidence { kind: proof.kind, issuer: proof.issuer.clone(), token: None, claims, ceiling: None })
}

/// How many refusals one record stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// The number of refusals.
    pub count: u64,
    /// When the first of them was.
    pub first: Timestamp,
    /// When the last of them was.
    pub last: Timestamp,
}

impl Sum {
    /// Also counts the refusals of `other`.
    pub fn join(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// What a record says of the terms of a mandate. Two are equal if they say the same.
#[derive(Clone, Debug)]
pub enum About {
    /// A mandate was given: everything that its token says. A record that was read from a log never has this
    /// form.
    Mandate(Arc<Terms>),
    /// Anything else: what is known.
    Known(Box<KnownTerms>),
}

impl About {
    /// The terms that are known, in one form.
    pub fn said(&self) -> Said<'_> {
        match self {
            Self::Mandate(terms) => terms.said(),
            Self::Known(known) => known.said(),
        }
    }
}

impl PartialEq for About {
    fn eq(&self, other: &Self) -> bool {
        self.said() == other.said()
    }
}

impl Eq for About {}

impl From<KnownTerms> for About {
    fn from(known: KnownTerms) -> Self {
        Self::Known(Box::new(known))
    }
}

/// One entry of the audit log.
///
/// Its JSON form uses the words of tokens: see [`Said`]. Times are RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "OwnedWire")]
pub struct Record {
    /// The id of the record, unique in all logs.
    pub id: RecordId,
    /// When the decision was made.
    pub time: Timestamp,
    /// The kind of decision or change.
    pub kind: RecordKind,
    /// Whether it was permitted.
    pub outcome: Outcome,
    /// `ok`, or the code of the refusal.
    pub reason: String,
    /// A sentence for people, without secrets.
    pub detail: Option<String>,
    /// The mandate that was given, or what is known of one: who, through whom, where, what.
    pub about: About,
    /// The operator who acted, if an operator did.
    pub by: Option<String>,
    /// What the act of an operator changed or revoked. Boxed: most records have none.
    pub touched: Option<Box<Touched>>,
    /// What the caller asked for, as it was sent.
    pub asked: Asked,
    /// Where a stranger's refused request came from: an address, a network or a local user.
    pub source: Option<String>,
    /// How many refusals of strangers this record counts, if they are beyond their quota.
    pub sum: Option<Sum>,
    /// What the token said that proved the agent, if another than this server issued it; `None` if a JWT-SVID of this server did, or
    /// if there is no agent.
    pub proof: Option<Arc<ProofEvidence>>,
    /// What the subject token of another issuer said of who acts for whom. Nothing was decided by it but by the chain in it.
    pub said_actors: Option<Arc<SaidActors>>,
    /// The names of the policies that decided.
    pub policies: Arc<[String]>,
    /// The effects that were written with the record. The sequencer fills them in.
    pub effects: EffectNames,
}

/// Why a record cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// It has more than [`MAX_LEAF_LEN`] bytes.
    #[error("a record of {0} bytes is larger than the {MAX_LEAF_LEN} allowed")]
    TooLarge(usize),
    /// It has no JSON form.
    #[error("the record has no JSON form")]
    Json(#[source] serde_json::Error),
}

impl Record {
    /// A record with only its head; the caller fills in the rest.
    pub fn new(
        id: RecordId,
        time: Timestamp,
        kind: RecordKind,
        outcome: Outcome,
        reason: impl Into<String>,
    ) -> Self {
        Self::of(KnownTerms::default().into(), id, time, kind, outcome, reason.into())
    }

    /// The record of a mandate: it says everything that the token will say. Its time is that of the token's
    /// issue.
    pub fn of_mandate(id: RecordId, kind: RecordKind, terms: Arc<Terms>) -> Self {
        let time = terms.issued;
        Self::of(About::Mandate(terms), id, time, kind, Outcome::Permitted, "ok".to_owned())
    }

    fn of(
        about: About,
        id: RecordId,
        time: Timestamp,
        kind: RecordKind,
        outcome: Outcome,
        reason: String,
    ) -> Self {
        Self {
            id,
            time,
            kind,
            outcome,
            reason,
            detail: None,
            about,
            by: None,
            touched: None,
            asked: Asked::default(),
            source: None,
            sum: None,
            proof: None,
            said_actors: None,
            policies: Arc::default(),
            effects: EffectNames::default(),
        }
    }

    /// Makes the record of a stranger's refusal short, and says where it came from: the texts that were asked
    /// for are cut to [`MAX_STRANGERS_ASKED_LEN`], the sentence to [`MAX_STRANGERS_DETAIL_LEN`], and of a
    /// stopped agent's proof [`MAX_STRANGERS_PROOF_LEN`] is kept.
    pub fn shorten_for_stranger(&mut self, source: RequestSource) {
        self.source = Some(source.to_string());
        self.asked.shorten();
        self.said_actors = None;
        self.proof = self.proof.take().and_then(|proof| shortened_proof(&proof)).map(Arc::new);
        if let Some(detail) = &mut self.detail {
            detail.truncate(cut_encoded(detail, MAX_STRANGERS_DETAIL_LEN).len());
        }
    }

    /// What it says of the terms of a mandate.
    pub fn said(&self) -> Said<'_> {
        self.about.said()
    }

    /// The terms of the mandate that is given with this record.
    pub fn mandate(&self) -> Option<&Terms> {
        match &self.about {
            About::Mandate(terms) => Some(terms),
            About::Known(_) => None,
        }
    }

    /// The bytes that are hashed, stored and exported: compact JSON, members in a fixed order, empty ones
    /// left out.
    pub fn to_leaf(&self) -> Result<Vec<u8>, LeafError> {
        let mut leaf = Vec::with_capacity(1024);
        serde_json::to_writer(&mut leaf, self).map_err(LeafError::Json)?;
        if leaf.len() > MAX_LEAF_LEN { Err(LeafError::TooLarge(leaf.len())) } else { Ok(leaf) }
    }

    /// Reads a leaf. Members it does not know are ignored, so that an older program reads a newer log.
    pub fn from_leaf(leaf: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(leaf)
    }
}

/// The members by which a record is found, read from its leaf without the others. Only for the index: nothing
/// is checked.
#[derive(Debug, Deserialize)]
pub struct LeafKeys<'a> {
    /// [`Record::id`].
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// [`Record::time`].
    pub time: Timestamp,
    /// [`Record::kind`].
    pub kind: RecordKind,
    /// [`Record::outcome`].
    pub outcome: Outcome,
    /// [`KnownTerms::sub`], without its issuer.
    #[serde(borrow, default)]
    pub sub: Option<Cow<'a, str>>,
    /// The issuer that names the person.
    #[serde(borrow, default)]
    pub sub_iss: Option<Cow<'a, str>>,
    /// [`KnownTerms::aud`].
    #[serde(borrow, default)]
    pub aud: Option<Cow<'a, str>>,
    /// [`KnownTerms::jti`].
    #[serde(borrow, default)]
    pub jti: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    act: Option<ActorKey<'a>>,
    /// [`KnownTerms::client`].
    #[serde(borrow, default)]
    pub client: Option<Cow<'a, str>>,
    /// [`Record::by`].
    #[serde(borrow, default)]
    pub by: Option<Cow<'a, str>>,
    /// [`Record::touched`].
    #[serde(default)]
    pub touched: Option<Box<Touched>>,
    #[serde(default)]
    lineage: GrantKeys,
}

/// Only the grants of a lineage.
#[derive(Debug, Default, Deserialize)]
struct GrantKeys {
    #[serde(default)]
    grants: Vec<GrantId>,
}

#[derive(Debug, Deserialize)]
struct ActorKey<'a> {
    #[serde(borrow)]
    sub: Cow<'a, str>,
    #[serde(borrow, default)]
    act: Option<Box<ActorKey<'a>>>,
}

impl<'a> LeafKeys<'a> {
    /// Reads these members of a leaf.
    pub fn of(leaf: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(leaf)
    }

    /// The grants that the token depends on.
    pub fn grants(&self) -> impl Iterator<Item = &str> {
        self.lineage.grants.iter().map(GrantId::as_str)
    }

    /// The names of the actors, outermost first.
    pub fn actors(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(self.act.as_ref(), |actor| actor.act.as_deref()).map(|actor| actor.sub.as_ref())
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// `id`, `time`, `outcome` and `reason` are always present: scripts rely on them.
        #[derive(Serialize)]
        struct BorrowedWire<'a> {
            id: &'a RecordId,
            time: Timestamp,
            kind: RecordKind,
            outcome: Outcome,
            reason: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            detail: Option<&'a str>,
            #[serde(flatten)]
            said: Said<'a>,
            #[serde(skip_serializing_if = "Option::is_none")]
            by: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            touched: Option<&'a Touched>,
            #[serde(skip_serializing_if = "Asked::is_empty")]
            asked: &'a Asked,
            #[serde(skip_serializing_if = "Option::is_none")]
            source: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            sum: Option<Sum>,
            #[serde(skip_serializing_if = "Option::is_none")]
            proof: Option<&'a ProofEvidence>,
            #[serde(skip_serializing_if = "Option::is_none")]
            said_actors: Option<&'a SaidActors>,
            #[serde(skip_serializing_if = "<[String]>::is_empty")]
            policies: &'a [String],
            #[serde(skip_serializing_if = "EffectNames::is_empty")]
            effects: &'a EffectNames,
        }
        BorrowedWire {
            id: &self.id,
            time: self.time,
            kind: self.kind,
            outcome: self.outcome,
            reason: &self.reason,
            detail: self.detail.as_deref(),
            said: self.said(),
            by: self.by.as_deref(),
            touched: self.touched.as_deref(),
            asked: &self.asked,
            source: self.source.as_deref(),
            sum: self.sum,
            proof: self.proof.as_deref(),
            said_actors: self.said_actors.as_deref(),
            policies: &self.policies,
            effects: &self.effects,
        }
        .serialize(serializer)
    }
}

#[derive(Deserialize)]
struct OwnedWire {
    id: RecordId,
    time: Timestamp,
    kind: RecordKind,
    outcome: Outcome,
    reason: String,
    #[serde(default)]
    detail: Option<String>,
    #[serde(flatten)]
    known: KnownTerms,
    #[serde(default)]
    by: Option<String>,
    #[serde(default)]
    touched: Option<Box<Touched>>,
    #[serde(default)]
    asked: Asked,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    sum: Option<Sum>,
    #[serde(default)]
    proof: Option<ProofEvidence>,
    #[serde(default)]
    said_actors: Option<SaidActors>,
    #[serde(default)]
    policies: Vec<String>,
    #[serde(default)]
    effects: EffectNames,
}

impl From<OwnedWire> for Record {
    fn from(wire: OwnedWire) -> Self {
        let OwnedWire {
            id,
            time,
            kind,
            outcome,
            reason,
            detail,
            known,
            by,
            touched,
            asked,
            source,
            sum,
            proof,
            said_actors,
            policies,
            effects,
        } = wire;
        let said_actors = said_actors.map(Arc::new);
        let (about, proof, policies) = (known.into(), proof.map(Arc::new), policies.into());
        Self {
            id,
            time,
            kind,
            outcome,
            reason,
            detail,
            about,
            by,
            touched,
            asked,
            source,
            sum,
            proof,
            said_actors,
            policies,
            effects,
        }
    }
}

#[cfg(test)]
mod tests;
