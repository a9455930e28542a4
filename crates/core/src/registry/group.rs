//! Groups of identity providers, and what they add to a person's rights.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Group, Person, Registry};
use crate::id::GroupName;
use crate::uri::Issuer;

/// The most groups that a token of another issuer may name.
pub const MAX_GROUPS: usize = 256;
/// The longest id of a group at its issuer, in bytes.
pub const MAX_GROUP_ID_LEN: usize = 128;

/// Whether a text can be the id of a group: 1 to 128 bytes without control characters.
pub fn is_group_id(text: &str) -> bool {
    (1..=MAX_GROUP_ID_LEN).contains(&text.len()) && !text.chars().any(char::is_control)
}

impl Registry {
    /// The group that this issuer calls so.
    pub fn group_by_id(&self, issuer: &Issuer, id: &str) -> Option<&Arc<Group>> {
        self.groups_by_id.get(issuer)?.get(id)
    }

    /// The groups of an issuer that its token named by these ids: those that are registered, ordered by name.
    /// None if the issuer's entry does not say, now, in which claim its tokens name groups.
    pub fn groups_of_ids(&self, issuer: &Issuer, ids: &[String]) -> Vec<Arc<Group>> {
        if ids.is_empty() || !self.tells_groups(issuer) {
            return Vec::new();
        }
        let Some(known) = self.groups_by_id.get(issuer) else { return Vec::new() };
        ordered(ids.iter().filter_map(|id| known.get(id)).map(Arc::clone).collect())
    }

    /// The groups of an issuer that a token of ours named: those that are still registered and still of this
    /// issuer, ordered by name. None if the issuer's entry no longer says in which claim its tokens name
    /// groups.
    pub fn groups_of_names(&self, issuer: &Issuer, names: &[GroupName]) -> Vec<Arc<Group>> {
        if names.is_empty() || !self.tells_groups(issuer) {
            return Vec::new();
        }
        let of_issuer = |name| self.group(name).filter(|group| group.issuer == *issuer);
        ordered(names.iter().filter_map(of_issuer).map(Arc::clone).collect())
    }

    fn tells_groups(&self, issuer: &Issuer) -> bool {
        self.issuer(issuer).is_some_and(|issuer| issuer.groups_claim.is_some())
    }
}

fn ordered(mut groups: Vec<Arc<Group>>) -> Vec<Arc<Group>> {
    groups.sort_by(|one, other| one.name.cmp(&other.name));
    groups.dedup_by(|one, other| one.name == other.name);
    groups
}

impl Person {
    /// The same person with the rights of these groups besides their own. All limits count, also those of a
    /// group beside a right that another one gives.
    #[must_use]
    pub fn with_groups(&self, groups: &[Arc<Group>]) -> Cow<'_, Self> {
        if groups.iter().all(|group| group.may.is_empty()) {
            return Cow::Borrowed(self);
        }
        let mut person = self.clone();
        person.may.extend(groups.iter().flat_map(|group| group.may.iter().cloned()));
        Cow::Owned(person)
    }
}
