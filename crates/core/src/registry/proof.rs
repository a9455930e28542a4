//! How an agent proves itself with a token that this server did not issue: of the platform that runs it, or of
//! another trust domain.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::entries::{Agent, AgentState, Permission};
use super::platform::Platform;
use crate::scope::ScopeSet;
use crate::spiffe::SpiffeId;
use crate::uri::Issuer;

/// What a token of a platform says, by the names of [`ProofMember`](super::ProofMember)s, and further ids for
/// the record.
pub type PlatformClaims = BTreeMap<&'static str, String>;

/// One way in which an agent can prove itself without a node of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AgentProof {
    /// A token that a platform issued to the workload.
    Platform(PlatformProof),
    /// A JWT-SVID of another trust domain.
    Svid {
        /// The SPIFFE ID that it must have, whole. The registry has an entry for its trust domain.
        svid: SpiffeId,
    },
}

/// What a token of a platform must be to prove an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformProof {
    /// Whose tokens prove it. Its rules say how they are read.
    pub platform: Platform,
    /// The issuer of its tokens, compared bytewise with `iss`.
    pub issuer: Issuer,
    /// What the token must say: for each member one of these values.
    pub says: BTreeMap<String, BTreeSet<String>>,
    /// Whether a token counts once.
    pub single_use: bool,
    /// The only `aud` of its tokens, where the platform does not let a workload choose it; absent: our issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The most that the agent gets when such a token proves it, within its own ceiling; absent: no less than
    /// that. Of several proofs that a token satisfies, all count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Vec<Permission>>,
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
    /// The proof by a platform, if it is one.
    pub const fn platform(&self) -> Option<&PlatformProof> {
        match self {
            Self::Platform(proof) => Some(proof),
            Self::Svid { .. } => None,
        }
    }

    /// The SPIFFE ID of another trust domain, if that is the proof.
    pub const fn svid(&self) -> Option<&SpiffeId> {
        match self {
            Self::Svid { svid } => Some(svid),
            Self::Platform(_) => None,
        }
    }
}

impl PlatformProof {
    /// The proof that says this, and leaves everything else as it usually is.
    pub fn new(platform: Platform, issuer: Issuer, says: BTreeMap<String, BTreeSet<String>>) -> Self {
        Self {
            platform,
            issuer,
            says,
            single_use: platform.is_single_use(),
            audience: None,
            ceiling: None,
            jwks: None,
            ca: None,
            proxy: None,
        }
    }

    /// The first member that the token does not say as this requires; `None` if it says all.
    pub fn missing_in(&self, said: &PlatformClaims) -> Option<&str> {
        self.lacks(|name| said.get(name).map(String::as_str))
    }

    /// Whether a token that was verified with another proof of the agent satisfies this one, too.
    pub fn is_satisfied_by(&self, evidence: &ProofEvidence) -> bool {
        let same_place = evidence.kind == ProofKind::Platform(self.platform)
            && evidence.issuer.as_ref() == Some(&self.issuer);
        same_place && self.lacks(|name| evidence.claims.get(name).map(String::as_str)).is_none()
    }

    fn lacks<'v>(&self, said: impl Fn(&str) -> Option<&'v str>) -> Option<&str> {
        let lacks = |(name, values): &(&String, &BTreeSet<String>)| {
            said(name).is_none_or(|value| !values.contains(value))
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

/// What kind of proof it is, as `kind` in registry files and records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofKind {
    /// The token of a platform.
    Platform(Platform),
    /// A JWT-SVID of another trust domain.
    Spiffe,
}

impl ProofKind {
    /// The name of [`ProofKind::Spiffe`].
    const SPIFFE: &str = "spiffe";
    /// All names, for an error.
    const NAMES: &[&str] =
        &["github-actions", "kubernetes", "gitlab", "google", "azure", "aws", Self::SPIFFE];

    /// Its name in registry files and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Platform(platform) => platform.as_str(),
            Self::Spiffe => Self::SPIFFE,
        }
    }
}

impl fmt::Display for ProofKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ProofKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ProofKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let platform = Platform::ALL.iter().find(|platform| platform.as_str() == name);
        match platform {
            Some(platform) => Ok(Self::Platform(*platform)),
            None if name == Self::SPIFFE => Ok(Self::Spiffe),
            None => Err(serde::de::Error::unknown_variant(&name, Self::NAMES)),
        }
    }
}

/// What a token that this server did not issue said when it proved an agent, for the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofEvidence {
    /// What issued the token, by the name that entries have for it.
    pub kind: ProofKind,
    /// The issuer of the token of a platform; absent for a JWT-SVID, which its trust domain vouches for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Issuer>,
    /// The `jti` of the token, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Its ids and what it says of the run; of a JWT-SVID its `sub`.
    pub claims: BTreeMap<String, String>,
    /// The most that this proof allows on the resource of the mandate; absent if it has no ceiling of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<ScopeSet>,
}

/// Agents by the workloads that prove them.
#[derive(Clone, Debug, Default)]
pub(super) struct ProofIndex {
    by_workload: HashMap<(Issuer, String), Vec<Arc<Agent>>>,
    /// How many proofs name the issuer, of agents that are not retired and of those that are, by platform.
    issuers: HashMap<Issuer, BTreeMap<Platform, [usize; 2]>>,
    by_svid: HashMap<SpiffeId, Vec<Arc<Agent>>>,
}

impl ProofIndex {
    pub(super) fn add(&mut self, agent: &Arc<Agent>) {
        for id in agent.proofs.iter().filter_map(AgentProof::svid) {
            let agents = self.by_svid.entry(id.clone()).or_default();
            if !agents.iter().any(|other| other.name == agent.name) {
                agents.push(Arc::clone(agent));
            }
        }
        for proof in agent.proofs.iter().filter_map(AgentProof::platform) {
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
        for id in agent.proofs.iter().filter_map(AgentProof::svid) {
            if let Some(agents) = self.by_svid.get_mut(id) {
                agents.retain(|other| other.name != agent.name);
                if agents.is_empty() {
                    self.by_svid.remove(id);
                }
            }
        }
        for proof in agent.proofs.iter().filter_map(AgentProof::platform) {
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

    pub(super) fn agents_of_svid(&self, id: &SpiffeId) -> &[Arc<Agent>] {
        self.by_svid.get(id).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Agent, AgentState, Entry, EntryKind, Registry};
    use super::{AgentProof, Platform, PlatformClaims, PlatformProof, ProofKind};

    fn proof(says: &[(&str, &[&str])]) -> PlatformProof {
        let values = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        let issuer = "https://token.actions.githubusercontent.com".parse().unwrap();
        let says = says.iter().map(|(name, list)| ((*name).to_owned(), values(list))).collect();
        PlatformProof::new(Platform::GithubActions, issuer, says)
    }

    fn agent(name: &str, proofs: Vec<PlatformProof>) -> Agent {
        let proofs = proofs.into_iter().map(AgentProof::Platform).collect();
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
            tenant: None,
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
        let other = PlatformProof {
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
    fn agents_are_found_by_a_foreign_spiffe_id_as_long_as_they_are_there() {
        let id: crate::SpiffeId = "spiffe://example.org/ci/builder".parse().unwrap();
        let with = |name: &str| Agent {
            proofs: vec![AgentProof::Svid { svid: id.clone() }],
            ..agent(name, Vec::new())
        };
        let mut registry = Registry::from_entries([Entry::Agent(with("one"))]);
        let found = |registry: &Registry| registry.agents_of_svid(&id).len();
        registry.put(Entry::Agent(with("one")));
        assert_eq!(found(&registry), 1, "once");
        registry.put(Entry::Agent(agent("one", Vec::new())));
        assert_eq!(found(&registry), 0);
    }

    #[test]
    fn each_kind_of_proof_has_one_name_and_keeps_its_form() {
        let kinds = Platform::ALL.iter().map(|platform| ProofKind::Platform(*platform));
        let kinds: Vec<ProofKind> = kinds.chain([ProofKind::Spiffe]).collect();
        let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names, ProofKind::NAMES);
        for kind in kinds {
            let text = serde_json::to_string(&kind).unwrap();
            assert_eq!(serde_json::from_str::<ProofKind>(&text).unwrap(), kind);
        }
        let wrong = serde_json::from_str::<ProofKind>("\"vm\"").unwrap_err().to_string();
        assert!(
            wrong.contains("`github-actions`, `kubernetes`, `gitlab`, `google`, `azure`, `aws`, `spiffe`"),
            "{wrong}"
        );
        let platform = AgentProof::Platform(proof(&[REPOSITORY]));
        let svid = AgentProof::Svid { svid: "spiffe://example.org/ci".parse().unwrap() };
        for (proof, start) in [(platform, r#"{"platform":"github-actions""#), (svid, r#"{"svid":"spiffe:"#)] {
            let text = serde_json::to_string(&proof).unwrap();
            assert!(text.starts_with(start), "{text}");
            assert_eq!(serde_json::from_str::<AgentProof>(&text).unwrap(), proof);
        }
    }

    #[test]
    fn a_retired_agent_with_another_platform_does_not_say_whose_tokens_an_issuer_issues() {
        let issuer = "https://token.actions.githubusercontent.com";
        let mut registry =
            Registry::from_entries([Entry::Agent(agent("mistaken", vec![proof(&[REPOSITORY])]))]);
        let living = PlatformProof { platform: Platform::Gitlab, ..proof(&[("project_id", &["1"])]) };
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
