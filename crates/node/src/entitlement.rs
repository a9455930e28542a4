//! Which process is entitled to which identity, according to the server's last state.

use std::collections::HashSet;

use mandate_api::proto::node as wire;
use mandate_core::selector::shows_all;
use mandate_core::{Selector, SpiffeId, TrustDomain, UnixSelector};

/// An identity and the selectors that a process must show for it: at least one, and first the one by which
/// the entry is found.
struct Entitlement {
    spiffe_id: SpiffeId,
    selectors: Box<[Selector]>,
    name: Box<str>,
}

/// An entry that does not entitle a process, and the selectors that the process does not show.
pub(crate) struct Near<'a> {
    pub(crate) spiffe_id: &'a SpiffeId,
    pub(crate) missing: Vec<&'a Selector>,
}

impl Entitlement {
    fn found_by(&self) -> Option<&Selector> {
        self.selectors.first()
    }
}

/// The entries of one state. Two sorted lists of positions find them by selector and by identity. A node
/// holds every entry of its server in memory, so there are no other indexes.
#[derive(Default)]
pub(crate) struct Entitlements {
    entries: Vec<Entitlement>,
    by_selector: Vec<u32>,
    by_id: Vec<u32>,
    digest_only: bool,
}

/// Entries are indexed by their rarest kind of selector, because that gives the shortest list. A digest is
/// known only after the file has been read, and the selectors of other attestors are known only after that.
fn rank(selector: &Selector) -> u8 {
    match selector {
        Selector::Unix(UnixSelector::Path(_)) => 0,
        Selector::Unix(UnixSelector::Uid(_)) => 1,
        Selector::Unix(UnixSelector::Gid(_)) => 2,
        Selector::Unix(UnixSelector::Sha256(_)) => 3,
        Selector::Other(_) => 4,
    }
}

fn is_digest(selector: &Selector) -> bool {
    matches!(selector, Selector::Unix(UnixSelector::Sha256(_)))
}

impl Entitlements {
    /// Builds the index for the entries of a pushed state.
    ///
    /// An entry that this node cannot serve is left out and logged: an identity outside the trust domain, a
    /// selector that none of its attestors shows, or no selector at all, which would entitle every process on
    /// the machine.
    pub(crate) fn new(pushed: Vec<wire::Entitlement>, trust_domain: &TrustDomain) -> Self {
        let mut entries = Vec::with_capacity(pushed.len());
        for entry in pushed {
            let id = entry.spiffe_id.parse::<SpiffeId>();
            let selectors: Result<Vec<Selector>, _> =
                entry.selectors.iter().map(|text| text.parse()).collect();
            match (id, selectors) {
                (Ok(spiffe_id), Ok(mut selectors))
                    if spiffe_id.is_member_of(trust_domain)
                        && !spiffe_id.path().is_empty()
                        && !selectors.is_empty()
                        && selectors.iter().all(Selector::is_attestable) =>
                {
                    selectors.sort_unstable_by_key(rank);
                    entries.push(Entitlement {
                        spiffe_id,
                        selectors: selectors.into(),
                        name: entry.name.into(),
                    });
                }
                (_, _) => {
                    tracing::warn!(spiffe_id = entry.spiffe_id, selectors = ?entry.selectors, "an entry cannot be served by this node");
                }
            }
        }
        let digest_only = entries.iter().any(|entry| entry.found_by().is_some_and(is_digest));
        let positions: Vec<u32> = (0..).zip(&entries).map(|(at, _)| at).collect();
        let mut all = Self { entries, by_selector: positions.clone(), by_id: positions, digest_only };
        let entries = &all.entries;
        all.by_selector.sort_by_key(|at| at_position(entries, *at).and_then(Entitlement::found_by));
        all.by_id.sort_by_key(|at| at_position(entries, *at).map(|entry| &entry.spiffe_id));
        all
    }

    fn candidates<'a>(&'a self, has: &[Selector]) -> impl Iterator<Item = (u32, &'a Entitlement)> {
        let found_by = |at: u32| at_position(&self.entries, at).and_then(Entitlement::found_by);
        has.iter().flat_map(move |selector| {
            let from = self.by_selector.partition_point(|at| found_by(*at) < Some(selector));
            let found = self
                .by_selector
                .iter()
                .skip(from)
                .copied()
                .take_while(move |at| found_by(*at) == Some(selector));
            found.filter_map(|at| Some((at, at_position(&self.entries, at)?)))
        })
    }

    /// Every identity to which a process with the selectors `has` is entitled, each once, in the order they
    /// were pushed.
    pub(crate) fn of<'a>(&'a self, has: &[Selector]) -> Vec<&'a SpiffeId> {
        let mut found: Vec<(u32, &SpiffeId)> = self
            .candidates(has)
            .filter(|(_, entry)| shows_all(has, &entry.selectors))
            .map(|(at, entry)| (at, &entry.spiffe_id))
            .collect();
        found.sort_unstable_by_key(|(at, _)| *at);
        let mut seen = HashSet::new();
        found.into_iter().filter(|(_, id)| seen.insert(*id)).map(|(_, id)| id).collect()
    }

    /// Whether the program's digest could entitle a process with these other `unix` selectors to more. If
    /// nothing depends on the digest, a large file is not read for every process.
    pub(crate) fn depend_on_digest(&self, has: &[Selector]) -> bool {
        // What other attestors will show is not known yet.
        let may_show = |needed: &Selector| {
            is_digest(needed) || has.contains(needed) || matches!(needed, Selector::Other(_))
        };
        let waits = |entry: &Entitlement| {
            entry.selectors.iter().any(is_digest) && entry.selectors.iter().all(may_show)
        };
        self.digest_only || self.candidates(has).any(|(_, entry)| waits(entry))
    }

    /// Whether any entry names this identity.
    pub(crate) fn names(&self, id: &SpiffeId) -> bool {
        self.by_id
            .binary_search_by_key(&Some(id), |at| {
                at_position(&self.entries, *at).map(|entry| &entry.spiffe_id)
            })
            .is_ok()
    }

    /// The agent's name for an identity, empty if the server gives none.
    pub(crate) fn name_of(&self, id: &SpiffeId) -> &str {
        let found = self.by_id.binary_search_by_key(&Some(id), |at| {
            at_position(&self.entries, *at).map(|entry| &entry.spiffe_id)
        });
        let entry =
            found.ok().and_then(|at| self.by_id.get(at)).and_then(|at| at_position(&self.entries, *at));
        entry.map_or("", |entry| &entry.name)
    }

    /// Up to `most` entries that are most similar to a process with the selectors `has`: those of `asked`, or
    /// those of which it shows a selector. Goes through every entry.
    pub(crate) fn nearest<'a>(
        &'a self,
        has: &[Selector],
        asked: Option<&SpiffeId>,
        most: usize,
    ) -> Vec<Near<'a>> {
        let near = |entry: &'a Entitlement| {
            let missing: Vec<_> = entry.selectors.iter().filter(|needed| !has.contains(needed)).collect();
            let concerns = match asked {
                Some(asked) => entry.spiffe_id == *asked,
                None => missing.len() < entry.selectors.len(),
            };
            concerns.then_some(Near { spiffe_id: &entry.spiffe_id, missing })
        };
        let mut all: Vec<Near<'a>> = self.entries.iter().filter_map(near).collect();
        all.sort_by_key(|near| near.missing.len());
        all.truncate(most);
        all
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

fn at_position(entries: &[Entitlement], at: u32) -> Option<&Entitlement> {
    entries.get(usize::try_from(at).ok()?)
}

#[cfg(test)]
mod tests {
    use super::Entitlements;
    use mandate_api::proto::node::Entitlement;
    use mandate_core::{Selector, SpiffeId};

    const DIGEST: &str = "unix:sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn entry(id: &str, selectors: &[&str]) -> Entitlement {
        let name = id.rsplit('/').next().unwrap_or_default().to_owned();
        Entitlement {
            spiffe_id: id.into(),
            selectors: selectors.iter().map(|&text| text.into()).collect(),
            name,
        }
    }

    fn selectors(texts: &[&str]) -> Vec<Selector> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn entitlements(entries: Vec<Entitlement>) -> Entitlements {
        Entitlements::new(entries, &"acme.example".parse().unwrap())
    }

    fn ids(all: &Entitlements, has: &[&str]) -> Vec<String> {
        all.of(&selectors(has)).into_iter().map(SpiffeId::to_string).collect()
    }

    #[test]
    fn every_selector_of_an_entry_is_needed() {
        let all = entitlements(vec![
            entry("spiffe://acme.example/agent/b", &["unix:uid:1000", "unix:path:/bin/a"]),
            entry("spiffe://acme.example/agent/a", &["unix:uid:1000"]),
        ]);
        assert_eq!(
            ids(&all, &["unix:uid:1000", "unix:gid:1000", "unix:path:/bin/a"]),
            ["spiffe://acme.example/agent/b", "spiffe://acme.example/agent/a"]
        );
        assert_eq!(ids(&all, &["unix:uid:1000", "unix:path:/bin/other"]), ["spiffe://acme.example/agent/a"]);
        assert!(ids(&all, &["unix:uid:1001", "unix:path:/bin/a"]).is_empty());
        // A group of the same number is not the user.
        assert!(ids(&all, &["unix:gid:1000", "unix:path:/bin/a"]).is_empty());
    }

    #[test]
    fn many_entries_are_found_by_selector_and_by_identity() {
        let uid = |n: usize| format!("unix:uid:{}", n % 100);
        let all = entitlements(
            (0..1000)
                .map(|n| entry(&format!("spiffe://acme.example/agent/{n}"), &[&uid(n), "unix:gid:5"]))
                .collect(),
        );
        for n in 0..100 {
            let found = ids(&all, &[&uid(n), "unix:gid:5"]);
            assert_eq!(
                found,
                (0..10).map(|k| format!("spiffe://acme.example/agent/{}", n + 100 * k)).collect::<Vec<_>>()
            );
            assert!(ids(&all, &[&uid(n), "unix:gid:6"]).is_empty());
            assert!(all.names(&found[3].parse().unwrap()));
        }
        assert!(!all.names(&"spiffe://acme.example/agent/1000".parse().unwrap()));
        assert!(!all.names(&"spiffe://acme.example/agent".parse().unwrap()));
    }

    #[test]
    fn two_entries_of_one_identity_count_once() {
        let all = entitlements(vec![
            entry("spiffe://acme.example/agent/a", &["unix:uid:1"]),
            entry("spiffe://acme.example/agent/a", &["unix:gid:1"]),
        ]);
        assert_eq!(ids(&all, &["unix:uid:1", "unix:gid:1"]), ["spiffe://acme.example/agent/a"]);
    }

    #[test]
    fn an_entry_without_selectors_entitles_nobody() {
        let all = entitlements(vec![entry("spiffe://acme.example/agent/a", &[])]);
        assert_eq!(all.len(), 0);
        assert!(ids(&all, &["unix:uid:0"]).is_empty());
    }

    #[test]
    fn an_entry_with_a_selector_that_cannot_be_attested_entitles_nobody() {
        for selector in ["k8s:ns:prod", "unix:user:riley", "nonsense"] {
            let all =
                entitlements(vec![entry("spiffe://acme.example/agent/a", &["unix:uid:1000", selector])]);
            assert_eq!(all.len(), 0, "{selector}");
            assert!(ids(&all, &["unix:uid:1000"]).is_empty());
        }
    }

    #[test]
    fn identities_outside_the_trust_domain_are_not_served() {
        for id in ["spiffe://other.example/agent/a", "spiffe://acme.example", "agent/a", ""] {
            assert_eq!(entitlements(vec![entry(id, &["unix:uid:1000"])]).len(), 0, "{id:?}");
        }
    }

    #[test]
    fn an_identity_has_its_agents_name() {
        let all = entitlements(vec![
            entry("spiffe://acme.example/agent/b", &["unix:uid:1"]),
            entry("spiffe://acme.example/x/a", &["unix:uid:1"]),
        ]);
        assert_eq!(all.name_of(&"spiffe://acme.example/agent/b".parse().unwrap()), "b");
        assert_eq!(all.name_of(&"spiffe://acme.example/x/a".parse().unwrap()), "a");
        assert_eq!(all.name_of(&"spiffe://acme.example/agent/c".parse().unwrap()), "");
    }

    #[test]
    fn the_nearest_entries_are_those_of_which_least_is_missing() {
        let all = entitlements(vec![
            entry("spiffe://acme.example/agent/far", &["unix:uid:1", "unix:gid:9", "unix:path:/bin/far"]),
            entry("spiffe://acme.example/agent/near", &["unix:uid:1", "unix:path:/bin/near"]),
            entry("spiffe://acme.example/agent/other", &["unix:uid:2"]),
        ]);
        let has = selectors(&["unix:uid:1", "unix:gid:1", "unix:path:/usr/bin/python3.11"]);
        let told = |asked: Option<&str>, most| -> Vec<(String, Vec<String>)> {
            let asked = asked.map(|id| id.parse().unwrap());
            let near = all.nearest(&has, asked.as_ref(), most);
            near.iter()
                .map(|near| {
                    (
                        near.spiffe_id.path().to_owned(),
                        near.missing.iter().map(std::string::ToString::to_string).collect(),
                    )
                })
                .collect()
        };
        let near = ("/agent/near".to_owned(), vec!["unix:path:/bin/near".to_owned()]);
        assert_eq!(told(None, 9)[0], near);
        assert_eq!(
            (told(None, 9).len(), told(None, 1)),
            (2, vec![near]),
            "an entry of which nothing is shown is not near"
        );
        assert_eq!(
            told(Some("spiffe://acme.example/agent/other"), 9),
            [("/agent/other".to_owned(), vec!["unix:uid:2".to_owned()])]
        );
    }

    #[test]
    fn the_digest_is_wanted_only_where_it_could_matter() {
        let all = entitlements(vec![
            entry("spiffe://acme.example/agent/a", &["unix:uid:1000", DIGEST]),
            entry("spiffe://acme.example/agent/b", &["unix:uid:1001"]),
        ]);
        assert!(all.depend_on_digest(&selectors(&["unix:uid:1000"])));
        assert!(!all.depend_on_digest(&selectors(&["unix:uid:1001"])));
        assert_eq!(ids(&all, &["unix:uid:1000", DIGEST]), ["spiffe://acme.example/agent/a"]);
        assert!(ids(&all, &["unix:uid:1000"]).is_empty());
        let by_digest_alone = entitlements(vec![entry("spiffe://acme.example/agent/a", &[DIGEST])]);
        assert!(by_digest_alone.depend_on_digest(&selectors(&["unix:uid:7"])));
    }
}
