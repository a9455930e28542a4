//! Revocation as cuts: what has been cut, and whether a token is *below* a cut, that is, refused because of
//! it.

use rpds::HashTrieMapSync;
use serde::{Deserialize, Serialize};

use crate::id::{ClientId, GrantId, GroupName, TokenId};
use crate::lifetimes::CLOCK_SKEW;
use crate::lineage::Lineage;
use crate::subject::{ActorChain, Subject};
use crate::time::Timestamp;
use crate::uri::Issuer;

/// What a cut is aimed at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum CutTarget {
    /// One token and every token derived from it.
    Token(TokenId),
    /// Every token that depends on a grant.
    Grant(GrantId),
    /// Every token whose chain contains the agent (by its SPIFFE ID, as our issuer names it) at any place.
    Agent(String),
    /// Every token whose subject is the person.
    Person(Subject),
    /// Every token that we issued to the client, and every token derived from one.
    Client(ClientId),
    /// Every token of ours that names the group: what it says rests on the rights of the group.
    Group(GroupName),
}

/// One cut. It stays in force after its target is active again: it refuses tokens issued up to `at`, not
/// later ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Everything below it is refused.
    pub target: CutTarget,
    /// Tokens [issued](TokenFacts::issued) at or before this millisecond are revoked.
    pub at: Timestamp,
    /// The time from which no token issued before `at` can be valid, so that the cut may be forgotten.
    pub forget: Timestamp,
}

/// The facts of a verified token that revocation needs.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the other fields are the claims of their names")]
pub struct TokenFacts<'a> {
    /// The issuer whose cuts the token is checked against. Names of agents and clients mean something only if
    /// this issuer has given them.
    pub ours: &'a Issuer,
    pub iss: &'a Issuer,
    pub jti: &'a TokenId,
    pub iat: Timestamp,
    /// The person of its `sub`, with the issuer that gave it; absent in an agent's own token.
    pub subject: Option<&'a Subject>,
    pub client: &'a ClientId,
    /// The actors of its `act`, outermost first; in an agent's own token, the agent.
    pub chain: &'a ActorChain,
    /// Its `lineage`: ancestors, their apps, and grants.
    pub lineage: &'a Lineage,
    /// Its `groups`; in a token of another issuer none.
    pub groups: &'a [GroupName],
}

impl TokenFacts<'_> {
    /// When the token was issued, at the latest. The answer is never later than the true time.
    ///
    /// `iat` has whole seconds, which is too coarse: a person may log in again within the second in which
    /// their password was changed. Our own ids contain the millisecond. Any other token has only `iat`, by a
    /// clock that may be
    /// [`CLOCK_SKEW`] ahead of ours.
    pub fn issued(&self) -> Timestamp {
        match self.jti.made_at() {
            Some(at) if at.secs() == self.iat.secs() => at,
            _ => self.iat.minus(CLOCK_SKEW),
        }
    }
}

/// All cuts in force.
///
/// A clone shares the cuts that both have. To clone a set and add one cut costs about the same with one cut
/// in force and with a million, in time and in memory.
#[derive(Clone, Debug, Default)]
pub struct RevocationSet {
    cuts: HashTrieMapSync<CutTarget, Cut>,
}

impl RevocationSet {
    /// A set without a cut: it refuses nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The cuts that were kept over a restart, which is `now`.
    ///
    /// A cut came into force a moment after the time that was stored with it. Tokens that were issued in
    /// between are below it too. The length of that moment is no longer known, so every cut counts as made
    /// now. More tokens are refused than necessary, and no revoked token becomes valid again.
    pub fn restored(cuts: impl IntoIterator<Item = Cut>, now: Timestamp) -> Self {
        let mut set = Self::new();
        for cut in cuts {
            set.insert(Cut { at: cut.at.max(now), ..cut });
        }
        set
    }

    /// Adds a cut. A later cut on the same target replaces an earlier one; an earlier one never weakens a
    /// later one.
    pub fn insert(&mut self, cut: Cut) {
        match self.cuts.get_mut(&cut.target) {
            None => self.cuts.insert_mut(cut.target.clone(), cut),
            Some(before) => {
                before.at = before.at.max(cut.at);
                before.forget = before.forget.max(cut.forget);
            }
        }
    }

    /// Forgets cuts that can no longer match a valid token.
    pub fn forget_before(&mut self, now: Timestamp) {
        let forgotten: Vec<CutTarget> =
            self.iter().filter(|cut| cut.forget <= now).map(|cut| cut.target.clone()).collect();
        for target in &forgotten {
            self.cuts.remove_mut(target);
        }
    }

    /// How many cuts are in force.
    pub fn len(&self) -> usize {
        self.cuts.size()
    }

    /// Whether nothing is cut.
    pub fn is_empty(&self) -> bool {
        self.cuts.is_empty()
    }

    /// Whether there is a cut on exactly this target.
    pub fn contains(&self, target: &CutTarget) -> bool {
        self.cuts.contains_key(target)
    }

    /// The cut on exactly this target, if there is one.
    pub fn get(&self, target: &CutTarget) -> Option<&Cut> {
        self.cuts.get(target)
    }

    /// All cuts, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Cut> {
        self.cuts.values()
    }

    /// The cut that refuses the token, if there is one.
    pub fn find(&self, token: &TokenFacts<'_>) -> Option<&Cut> {
        if self.cuts.is_empty() {
            return None;
        }
        let own = std::iter::once(CutTarget::Token(token.jti.clone()));
        let parents = token.lineage.parents.iter().cloned().map(CutTarget::Token);
        // A cut on a token is permanent: its id is never used again, so `iat` does not matter.
        let by_id = own.chain(parents).find_map(|target| self.cuts.get(&target));
        by_id.or_else(|| {
            let issued = token.issued();
            // Every other target may be allowed again later under the same name, perhaps with less.
            let grants = token.lineage.grants.iter().cloned().map(CutTarget::Grant);
            let agents = token
                .chain
                .iter()
                .filter(|actor| actor.iss == *token.ours)
                .map(|actor| CutTarget::Agent(actor.sub.clone()));
            let person = token.subject.cloned().map(CutTarget::Person);
            let client = (token.iss == token.ours).then_some(token.client);
            let clients = client.into_iter().chain(&token.lineage.clients).cloned().map(CutTarget::Client);
            let groups = token.groups.iter().cloned().map(CutTarget::Group);
            grants
                .chain(groups)
                .chain(agents)
                .chain(person)
                .chain(clients)
                .filter_map(|target| self.cuts.get(&target))
                .find(|cut| issued <= cut.at)
        })
    }

    /// Whether `target` has been cut at `since` or later: for an event, such as a login, that is not a token
    /// yet.
    pub fn has_cut_since(&self, target: &CutTarget, since: Timestamp) -> bool {
        self.cuts.get(target).is_some_and(|cut| since <= cut.at)
    }
}

#[cfg(test)]
mod tests;
