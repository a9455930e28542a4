//! Revocation as cuts: what has been cut, and whether a token hangs below a cut.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::{Deserialize, Serialize};

use crate::id::{ClientId, GrantId, TokenId};
use crate::lineage::Lineage;
use crate::subject::{ActorChain, Person};
use crate::time::Timestamp;

/// What a cut is aimed at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum CutTarget {
    /// One token and every token derived from it.
    Token(TokenId),
    /// Every token that rests on a grant.
    Grant(GrantId),
    /// Every token in whose chain the agent (by its `sub`, a SPIFFE ID) stands at any place.
    Agent(String),
    /// Every token whose subject is the person.
    Person(Person),
    /// Every token that was issued to the client.
    Client(ClientId),
}

/// One cut. It stays in force after its target is active again: it refuses tokens issued up to `at`, not later ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// What is cut.
    pub target: CutTarget,
    /// Tokens with `iat` (whole seconds) not after this are dead.
    pub at: Timestamp,
    /// When no token issued before `at` can be alive any more, so that the cut may be forgotten.
    pub forget: Timestamp,
}

/// What a verified token says that revocation needs.
#[derive(Clone, Copy, Debug)]
pub struct TokenFacts<'a> {
    /// Its `jti`.
    pub jti: &'a TokenId,
    /// Its `iat`.
    pub iat: Timestamp,
    /// Its subject.
    pub subject: &'a Person,
    /// Its `client_id`.
    pub client: &'a ClientId,
    /// Its actors.
    pub chain: &'a ActorChain,
    /// Its ancestry.
    pub lineage: &'a Lineage,
}

/// All cuts in force. Cheap to ask; swapped or extended as cuts arrive.
#[derive(Clone, Debug, Default)]
pub struct RevocationSet {
    cuts: HashMap<CutTarget, Cut>,
}

impl RevocationSet {
    /// No cuts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a cut. A later cut on the same target replaces an earlier one; an earlier one never weakens a later one.
    pub fn insert(&mut self, cut: Cut) {
        match self.cuts.entry(cut.target.clone()) {
            Entry::Vacant(free) => {
                free.insert(cut);
            }
            Entry::Occupied(mut taken) => {
                let before = taken.get_mut();
                before.at = before.at.max(cut.at);
                before.forget = before.forget.max(cut.forget);
            }
        }
    }

    /// Forgets cuts that can no longer match a living token.
    pub fn forget_before(&mut self, now: Timestamp) {
        self.cuts.retain(|_, cut| cut.forget > now);
    }

    /// How many cuts are in force.
    pub fn len(&self) -> usize {
        self.cuts.len()
    }

    /// Whether nothing is cut.
    pub fn is_empty(&self) -> bool {
        self.cuts.is_empty()
    }

    /// Whether exactly this is cut.
    pub fn contains(&self, target: &CutTarget) -> bool {
        self.cuts.contains_key(target)
    }

    /// All cuts, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Cut> {
        self.cuts.values()
    }

    /// The cut that a token hangs below, if any.
    pub fn find(&self, token: &TokenFacts<'_>) -> Option<&Cut> {
        if self.cuts.is_empty() {
            return None;
        }
        let own = std::iter::once(CutTarget::Token(token.jti.clone()));
        let parents = token.lineage.parents.iter().cloned().map(CutTarget::Token);
        // A cut token is dead for good: its id is never used again, so `iat` does not matter.
        let by_id = own.chain(parents).find_map(|target| self.cuts.get(&target));
        by_id.or_else(|| {
            // Everything else may be allowed again, perhaps in narrower form under the same name.
            let grants = token.lineage.grants.iter().cloned().map(CutTarget::Grant);
            let agents = token.chain.iter().map(|actor| CutTarget::Agent(actor.sub.clone()));
            let person = std::iter::once(CutTarget::Person(token.subject.clone()));
            let client = std::iter::once(CutTarget::Client(token.client.clone()));
            grants
                .chain(agents)
                .chain(person)
                .chain(client)
                .filter_map(|target| self.cuts.get(&target))
                .find(|cut| token.iat.secs() <= cut.at.secs())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Cut, CutTarget, RevocationSet, TokenFacts};
    use crate::{Actor, ActorChain, Lineage, Person, Timestamp};

    fn cut(target: CutTarget, at: u64) -> Cut {
        Cut { target, at: Timestamp::from_secs(at), forget: Timestamp::from_secs(at + 900) }
    }

    #[test]
    fn each_kind_of_cut_refuses_its_descendants_and_nothing_else() {
        let iss: crate::Issuer = "https://m.example".parse().unwrap();
        let subject = Person { iss: iss.clone(), sub: "riley".into() };
        let client = "app".parse().unwrap();
        let actor = |sub: &str| Actor { sub: sub.into(), iss: iss.clone(), sub_profile: None };
        let chain = ActorChain::new(vec![actor("spiffe://td/c"), actor("spiffe://td/b")]).unwrap();
        let lineage = Lineage { parents: vec!["p1".parse().unwrap(), "p2".parse().unwrap()], grants: vec!["g1".parse().unwrap()] };
        let jti = "t1".parse().unwrap();
        let facts =
            TokenFacts { jti: &jti, iat: Timestamp::from_secs(100), subject: &subject, client: &client, chain: &chain, lineage: &lineage };
        for (target, hit) in [
            (CutTarget::Token("t1".parse().unwrap()), true),
            (CutTarget::Token("p2".parse().unwrap()), true),
            (CutTarget::Token("p3".parse().unwrap()), false),
            (CutTarget::Grant("g1".parse().unwrap()), true),
            (CutTarget::Agent("spiffe://td/b".into()), true),
            (CutTarget::Agent("spiffe://td/x".into()), false),
            (CutTarget::Person(subject.clone()), true),
            (CutTarget::Client("app".parse().unwrap()), true),
            (CutTarget::Client("other".parse().unwrap()), false),
        ] {
            let mut set = RevocationSet::new();
            set.insert(cut(target.clone(), 100));
            assert_eq!(set.find(&facts).is_some(), hit, "{target:?}");
        }
    }

    #[test]
    fn a_narrowed_or_redeclared_grant_yields_living_tokens_again() {
        let iss: crate::Issuer = "https://m.example".parse().unwrap();
        let subject = Person { iss, sub: "riley".into() };
        let client = "app".parse().unwrap();
        let (jti, chain) = ("t1".parse().unwrap(), ActorChain::empty());
        let lineage = Lineage { parents: Vec::new(), grants: vec!["g1".parse().unwrap()] };
        let mut set = RevocationSet::new();
        set.insert(cut(CutTarget::Grant("g1".parse().unwrap()), 100));
        let at = |iat| TokenFacts {
            jti: &jti,
            iat: Timestamp::from_secs(iat),
            subject: &subject,
            client: &client,
            chain: &chain,
            lineage: &lineage,
        };
        assert!(set.find(&at(100)).is_some());
        assert!(set.find(&at(101)).is_none());
    }

    #[test]
    fn an_agent_cut_spares_later_tokens_and_an_older_cut_never_weakens_it() {
        let iss: crate::Issuer = "https://m.example".parse().unwrap();
        let subject = Person { iss: iss.clone(), sub: "riley".into() };
        let client = "app".parse().unwrap();
        let chain = ActorChain::new(vec![Actor { sub: "spiffe://td/b".into(), iss, sub_profile: None }]).unwrap();
        let (jti, lineage) = ("t1".parse().unwrap(), Lineage::default());
        let mut set = RevocationSet::new();
        set.insert(cut(CutTarget::Agent("spiffe://td/b".into()), 100));
        set.insert(cut(CutTarget::Agent("spiffe://td/b".into()), 50));
        let at = |iat| TokenFacts {
            jti: &jti,
            iat: Timestamp::from_secs(iat),
            subject: &subject,
            client: &client,
            chain: &chain,
            lineage: &lineage,
        };
        assert!(set.find(&at(100)).is_some());
        assert!(set.find(&at(101)).is_none());
        set.forget_before(Timestamp::from_secs(1001));
        assert!(set.is_empty());
    }
}
