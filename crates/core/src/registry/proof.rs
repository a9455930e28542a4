//! How an agent proves itself with a token of the platform that runs it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entries::{Agent, AgentState};
use super::platform::Platform;
use crate::uri::Issuer;

/// What a token of a platform says, by the names of [`ProofMember`](super::ProofMember)s, and further ids for
/// the record.
pub type PlatformClaims = BTreeMap<&'static str, String>;

/// One way in which an agent can prove itself without a node: a token that a platform issued to the workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentProof {
    /// Whose tokens prove it. Its rules say how they are read.
    pub platform: Platform,
    /// The issuer of its tokens, compared bytewise with `iss`.
    pub issuer: Issuer,
    /// What the token must say: for each member one of these values.
    pub says: BTreeMap<String, BTreeSet<String>>,
    /// Whether a token counts once.
    pub single_use: bool,
    /// The issuer's public keys, a JWK Set as JSON text; absent: they are fetched from the issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// The only certificate authorities that are trusted for the issuer's servers, as PEM; absent: those of
    /// the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The proxy through which the issuer is reached; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
}

impl AgentProof {
    /// The first member that the token does not say as this requires; `None` if it says all.
    pub fn missing_in(&self, said: &PlatformClaims) -> Option<&str> {
        let lacks = |(name, values): &(&String, &BTreeSet<String>)| {
            said.get(name.as_str()).is_none_or(|value| !values.contains(value))
        };
        self.says.iter().find(lacks).map(|(name, _)| name.as_str())
    }

    /// Whether one token could satisfy both: no member that both name has different values.
    pub fn overlaps(&self, other: &Self) -> bool {
        let same_place = (self.platform, &self.issuer) == (other.platform, &other.issuer);
        same_place
            && self
                .says
                .iter()
                .all(|(name, values)| other.says.get(name).is_none_or(|theirs| !values.is_disjoint(theirs)))
    }

    /// Issuer and workload, by which proofs are found.
    pub fn workload(&self) -> Option<(Issuer, String)> {
        let identity = self.platform.identity(|name| {
            let mut values = self.says.get(name)?.iter();
            // Several would be several workloads.
            values.next().filter(|_| values.next().is_none()).map(String::as_str)
        });
        identity.map(|identity| (self.issuer.clone(), identity))
    }
}

/// What a token of a platform said when it proved an agent, for the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformEvidence {
    /// Which platform issued the token, by the name that entries have for it.
    pub kind: Platform,
    /// The issuer of the token.
    pub issuer: Issuer,
    /// The `jti` of the token, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Its ids and what it says of the run.
    pub claims: BTreeMap<String, String>,
}

/// Agents by the workloads that prove them.
#[derive(Clone, Debug, Default)]
pub(super) struct ProofIndex {
    by_workload: HashMap<(Issuer, String), Vec<Arc<Agent>>>,
    /// How many proofs name the issuer, of agents that are not retired and of those that are, by platform.
    issuers: HashMap<Issuer, BTreeMap<Platform, [usize; 2]>>,
}

impl ProofIndex {
    pub(super) fn add(&mut self, agent: &Arc<Agent>) {
        for proof in &agent.proofs {
            let platforms = self.issuers.entry(proof.issuer.clone()).or_default();
            let [living, retired] = platforms.entry(proof.platform).or_default();
            *(if agent.state == AgentState::Retired { retired } else { living }) += 1;
            let Some(workload) = proof.workload() else { continue };
            let agents = self.by_workload.entry(workload).or_default();
            if !agents.iter().any(|other| other.name == agent.name) {
                agents.push(Arc::clone(agent));
            }
        }
    }

    pub(super) fn remove(&mut self, agent: &Agent) {
        for proof in &agent.proofs {
            if let Some(platforms) = self.issuers.get_mut(&proof.issuer) {
                if let Some([living, retired]) = platforms.get_mut(&proof.platform) {
                    *(if agent.state == AgentState::Retired { retired } else { living }) -= 1;
                }
                platforms.retain(|_, count| *count != [0, 0]);
                if platforms.is_empty() {
                    self.issuers.remove(&proof.issuer);
                }
            }
            let Some(workload) = proof.workload() else { continue };
            if let Some(agents) = self.by_workload.get_mut(&workload) {
                agents.retain(|other| other.name != agent.name);
                if agents.is_empty() {
                    self.by_workload.remove(&workload);
                }
            }
        }
    }

    /// The platform whose tokens this issuer issues. A retired agent stays in the registry and may have been
    /// declared with another one by mistake, so it says so only if no other agent does.
    pub(super) fn platform(&self, issuer: &str) -> Option<Platform> {
        let platforms = self.issuers.get(issuer)?;
        let living = platforms.iter().find(|(_, [living, _])| *living > 0);
        living.or_else(|| platforms.iter().next()).map(|(platform, _)| *platform)
    }

    pub(super) fn agents(&self, issuer: &Issuer, platform: Platform, said: &PlatformClaims) -> &[Arc<Agent>] {
        let identity = platform.identity(|name| said.get(name).map(String::as_str));
        let found = identity.and_then(|identity| self.by_workload.get(&(issuer.clone(), identity)));
        found.map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Agent, AgentState, Entry, EntryKind, Registry};
    use super::{AgentProof, Platform, PlatformClaims};

    fn proof(says: &[(&str, &[&str])]) -> AgentProof {
        let values = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        AgentProof {
            platform: Platform::GithubActions,
            issuer: "https://token.actions.githubusercontent.com".parse().unwrap(),
            says: says.iter().map(|(name, list)| ((*name).to_owned(), values(list))).collect(),
            single_use: true,
            jwks: None,
            ca: None,
            proxy: None,
        }
    }

    fn agent(name: &str, proofs: Vec<AgentProof>) -> Agent {
        Agent {
            name: name.parse().unwrap(),
            owner: "olga".parse().unwrap(),
            spiffe_id: format!("spiffe://acme.example/agent/{name}").parse().unwrap(),
            selectors: Vec::new(),
            proofs,
            ceiling: Vec::new(),
            may: Vec::new(),
            chain_depth: 1,
            state: AgentState::Active,
            purpose: String::new(),
        }
    }

    const REPOSITORY: (&str, &[&str]) = ("repository_id", &["74"]);
    const OWNER: (&str, &[&str]) = ("repository_owner_id", &["65"]);

    #[test]
    fn two_proofs_overlap_unless_a_member_that_both_name_keeps_them_apart() {
        let of = |event: &[&str], environment: Option<&str>| {
            let mut proof = proof(&[REPOSITORY, OWNER, ("event_name", event)]);
            let values = environment.map(|name| ("environment".to_owned(), [name.to_owned()].into()));
            proof.says.extend(values);
            proof
        };
        let push = of(&["push"], None);
        assert!(push.overlaps(&of(&["push", "schedule"], None)));
        assert!(push.overlaps(&of(&["push"], Some("prod"))), "a token may have an environment too");
        assert!(!push.overlaps(&of(&["pull_request"], None)));
        assert!(!of(&["push"], Some("test")).overlaps(&of(&["push"], Some("prod"))));
        let other = AgentProof {
            issuer: "https://ghes.acme.example/_services/token".parse().unwrap(),
            ..push.clone()
        };
        assert!(!push.overlaps(&other), "another issuer");
    }

    #[test]
    fn a_token_says_everything_that_a_proof_requires_or_it_proves_nothing() {
        let proof = proof(&[REPOSITORY, OWNER, ("event_name", &["push", "release"])]);
        let said: PlatformClaims = [
            ("repository_id", "74".to_owned()),
            ("repository_owner_id", "65".to_owned()),
            ("event_name", "release".to_owned()),
            ("ref", "refs/heads/main".to_owned()),
        ]
        .into();
        assert_eq!(proof.missing_in(&said), None);
        for name in ["repository_id", "repository_owner_id", "event_name"] {
            let mut without = said.clone();
            without.remove(name);
            assert_eq!(proof.missing_in(&without), Some(name));
            let mut another = said.clone();
            another.insert(name, "1".to_owned());
            assert_eq!(proof.missing_in(&another), Some(name));
        }
    }

    #[test]
    fn agents_are_found_by_workload_as_long_as_they_are_there() {
        let issuer = "https://token.actions.githubusercontent.com".parse().unwrap();
        let said: PlatformClaims =
            [("repository_id", "74".to_owned()), ("repository_owner_id", "65".to_owned())].into();
        let found = |registry: &Registry| -> Vec<String> {
            let agents = registry.agents_of_workload(&issuer, Platform::GithubActions, &said);
            agents.iter().map(|agent| agent.name.to_string()).collect()
        };
        let one = agent(
            "one",
            vec![proof(&[REPOSITORY, OWNER]), proof(&[REPOSITORY, OWNER, ("ref", &["refs/x"])])],
        );
        let mut registry = Registry::from_entries([Entry::Agent(one.clone())]);
        assert_eq!(found(&registry), ["one"], "once, with two proofs");
        assert_eq!(registry.platform_of_issuer(issuer.as_str()), Some(Platform::GithubActions));
        registry.put(Entry::Agent(one));
        registry.put(Entry::Agent(agent("two", vec![proof(&[REPOSITORY, OWNER])])));
        assert_eq!(found(&registry), ["one", "two"]);
        registry.put(Entry::Agent(agent("one", Vec::new())));
        assert_eq!(found(&registry), ["two"]);
        registry.remove(EntryKind::Agent, "two");
        assert!(found(&registry).is_empty());
        assert_eq!(registry.platform_of_issuer(issuer.as_str()), None);
    }

    #[test]
    fn a_retired_agent_with_another_platform_does_not_say_whose_tokens_an_issuer_issues() {
        let issuer = "https://token.actions.githubusercontent.com";
        let mut registry =
            Registry::from_entries([Entry::Agent(agent("mistaken", vec![proof(&[REPOSITORY])]))]);
        let living = AgentProof { platform: Platform::Gitlab, ..proof(&[("project_id", &["1"])]) };
        registry.put(Entry::Agent(Agent {
            state: AgentState::Retired,
            ..agent("mistaken", vec![proof(&[REPOSITORY])])
        }));
        assert_eq!(registry.platform_of_issuer(issuer), Some(Platform::GithubActions));
        registry.put(Entry::Agent(agent("right", vec![living])));
        assert_eq!(registry.platform_of_issuer(issuer), Some(Platform::Gitlab));
        registry.remove(EntryKind::Agent, "right");
        assert_eq!(registry.platform_of_issuer(issuer), Some(Platform::GithubActions));
        registry.remove(EntryKind::Agent, "mistaken");
        assert_eq!(registry.platform_of_issuer(issuer), None);
    }
}
