//! The results of checks that passed. Later steps take these values, never raw strings or booleans.
//!
//! Each is built from a value that only a successful verification returns: a token that `mandate-token`
//! verified, or a registry entry whose credential the caller has just checked. In the second case the
//! constructor is called `assertion`, so that every place that makes this claim can be found.

use std::sync::Arc;
use std::time::Duration;

use mandate_core::registry::{
    Agent, AgentProof, ClaimPath, Client, ForeignDomain, Group, Permission, ProofEvidence, ProofKind,
    Registry, SubjectScope, TrustedIssuer,
};
use mandate_core::{
    ActorChain, ClientId, CutTarget, Lineage, PersonName, RevocationSet, SaidActors, SelfDescribed, SpiffeId,
    Subject, Terms, Timestamp, TokenId,
};
use mandate_token::MappedClaims;
use mandate_token::access_token::{AccessToken, MayAct};
use mandate_token::id_token::IdentifiedPerson;
use mandate_token::jwt_svid::JwtSvid;
use mandate_token::platform_token::PlatformToken;
use serde::{Deserialize, Serialize};

/// Where a subject token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectOrigin {
    /// This server issued it.
    Own,
    /// A trusted issuer issued it, as a token of this kind.
    Foreign(Arc<TrustedIssuer>, ForeignToken),
}

/// What a token of another issuer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignToken {
    /// An access token: `audience` of the issuer's entry says who may present it.
    AccessToken,
    /// An ID token: `id_tokens` of the entry says who may present it. It proves who the person is, and no scope.
    IdToken,
    /// An opaque access token: its issuer was asked. As an access token, and only from a client whose opaque tokens
    /// are of this issuer.
    OpaqueAccessToken,
}

/// A subject token whose signature, type, issuer and times have been verified.
#[derive(Clone, Debug)]
pub struct VerifiedSubject {
    pub(crate) origin: SubjectOrigin,
    pub(crate) terms: Terms,
    pub(crate) may_act: Option<MayAct>,
    /// What the entry of its issuer reads besides; of a token of our own nothing.
    pub(crate) mapped: MappedClaims,
    pub(crate) said_actors: Option<Arc<SaidActors>>,
}

impl VerifiedSubject {
    /// From an access token of our own.
    pub fn own(token: AccessToken) -> Self {
        let AccessToken { terms, may_act, mapped, .. } = token;
        Self { origin: SubjectOrigin::Own, terms, may_act, mapped, said_actors: None }
    }

    /// A login that has just been decided. There is no token of it.
    pub(crate) fn of_login(terms: Terms) -> Self {
        Self {
            origin: SubjectOrigin::Own,
            terms,
            may_act: None,
            mapped: MappedClaims::default(),
            said_actors: None,
        }
    }

    /// From an access token of a trusted issuer. Its lineage is empty, no matter what it claims. Its `jti` is
    /// the digest of issuer and `jti` that `mandate-token` makes, so that no other issuer can name one of our
    /// tokens.
    ///
    /// Here it is valid only until [`AccessToken::usable_until`].
    pub fn foreign(token: AccessToken, issuer: Arc<TrustedIssuer>) -> Self {
        Self::of_another(token, issuer, ForeignToken::AccessToken)
    }

    /// The same, of a token about which its issuer was asked.
    pub fn introspected(token: AccessToken, issuer: Arc<TrustedIssuer>) -> Self {
        Self::of_another(token, issuer, ForeignToken::OpaqueAccessToken)
    }

    fn of_another(token: AccessToken, issuer: Arc<TrustedIssuer>, kind: ForeignToken) -> Self {
        let expires = token.usable_until();
        let AccessToken { terms, may_act, mapped, said_actors, .. } = token;
        Self {
            origin: SubjectOrigin::Foreign(issuer, kind),
            terms: Terms { lineage: Lineage::default(), expires, ..terms },
            may_act,
            mapped,
            said_actors: said_actors.map(Arc::new),
        }
    }

    /// The groups that it proves, which count now. A token of another issuer names them as that issuer does,
    /// a token of our own by their names in the registry.
    pub(crate) fn groups(&self, registry: &Registry) -> Vec<Arc<Group>> {
        match &self.origin {
            SubjectOrigin::Foreign(issuer, _) => registry.groups_of_ids(&issuer.url, &self.mapped.groups),
            SubjectOrigin::Own => match &self.terms.subject {
                Some(person) => registry.groups_of_names(&person.iss, &self.terms.groups),
                None => Vec::new(),
            },
        }
    }

    /// From an ID token of a trusted issuer.
    pub fn identified(token: IdentifiedPerson, issuer: Arc<TrustedIssuer>) -> Self {
        let origin = SubjectOrigin::Foreign(issuer, ForeignToken::IdToken);
        let IdentifiedPerson { terms, mapped } = token;
        Self { origin, terms, may_act: None, mapped, said_actors: None }
    }

    /// The person for whom the exchange is made; `None` if it is an agent's own token, which is refused.
    pub fn person(&self) -> Option<&Subject> {
        self.terms.subject.as_ref()
    }

    /// The actors so far, outermost first.
    pub fn chain(&self) -> &ActorChain {
        &self.terms.chain
    }

    /// What a token of another issuer said of its actors, for the record.
    pub fn said_actors(&self) -> Option<&Arc<SaidActors>> {
        self.said_actors.as_ref()
    }

    /// The trusted issuer that issued it; `None` for a token of our own.
    pub fn trusted_issuer(&self) -> Option<&TrustedIssuer> {
        match &self.origin {
            SubjectOrigin::Own => None,
            SubjectOrigin::Foreign(issuer, _) => Some(issuer),
        }
    }

    /// Whether it is an ID token.
    pub fn is_id_token(&self) -> bool {
        matches!(&self.origin, SubjectOrigin::Foreign(_, ForeignToken::IdToken))
    }

    /// Its id; for a token of another issuer, a digest of issuer and `jti`.
    pub fn jti(&self) -> &TokenId {
        &self.terms.jti
    }

    /// Whether the token's own scopes limit the result.
    pub(crate) fn scopes_bound_the_result(&self) -> bool {
        match &self.origin {
            SubjectOrigin::Own => true,
            SubjectOrigin::Foreign(issuer, ForeignToken::AccessToken | ForeignToken::OpaqueAccessToken) => {
                issuer.subject_scope == SubjectScope::Token
            }
            SubjectOrigin::Foreign(_, ForeignToken::IdToken) => false,
        }
    }
}

/// An actor whose workload credential has been verified, with the class of that evidence.
///
/// It may be outdated after every wait: check it again with [`VerifiedActor::still_stands`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedActor {
    spiffe_id: SpiffeId,
    at: Timestamp,
    expires: Timestamp,
    by: ProvenBy,
}

/// What proved an actor.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ProvenBy {
    /// A JWT-SVID of our trust domain: a node attested the process.
    Svid,
    /// A token of a platform, which satisfied one proof of the agent's entry.
    Platform {
        agent: Arc<Agent>,
        /// The place of the proof in the entry.
        proof: usize,
        evidence: Arc<ProofEvidence>,
    },
    /// A JWT-SVID of another trust domain, whose SPIFFE ID the agent's entry names.
    ForeignSvid {
        svid: SpiffeId,
        /// The trust domain as the registry described it when the JWT-SVID was verified.
        domain: Arc<ForeignDomain>,
        evidence: Arc<ProofEvidence>,
    },
}

impl VerifiedActor {
    /// From a JWT-SVID that was verified at `at` for our issuer as its sole audience.
    pub fn from_svid(svid: JwtSvid, at: Timestamp) -> Self {
        Self { spiffe_id: svid.spiffe_id, at, expires: svid.exp, by: ProvenBy::Svid }
    }

    /// From a token of a platform that was verified at `at` for our issuer as its sole audience: the agent,
    /// if the token says everything that a proof of the agent requires. `proof`: its place in the agent's
    /// entry. Otherwise the member that the token does not say; none if there is no such proof.
    pub fn from_platform(
        agent: &Arc<Agent>,
        proof: usize,
        token: PlatformToken,
        at: Timestamp,
    ) -> Result<Self, Option<String>> {
        let required = agent.proofs.get(proof).and_then(AgentProof::platform).ok_or(None)?;
        if let Some(member) = required.missing_in(&token.claims) {
            return Err(Some(member.to_owned()));
        }
        let claims = token.claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let (kind, issuer) = (ProofKind::Platform(required.platform), Some(required.issuer.clone()));
        let evidence = Arc::new(ProofEvidence { kind, issuer, token: token.jti, claims, ceiling: None });
        let (spiffe_id, expires) = (agent.spiffe_id.clone(), token.expires);
        Ok(Self {
            spiffe_id,
            at,
            expires,
            by: ProvenBy::Platform { agent: Arc::clone(agent), proof, evidence },
        })
    }

    /// From a JWT-SVID of the trust domain `domain` that was verified at `at` with its bundle, for our issuer
    /// as its sole audience: the agent, if its entry names that SPIFFE ID; otherwise `None`.
    pub fn from_foreign_svid(
        agent: &Arc<Agent>,
        domain: &Arc<ForeignDomain>,
        svid: JwtSvid,
        at: Timestamp,
    ) -> Option<Self> {
        let JwtSvid { spiffe_id: id, exp, jti, .. } = svid;
        let is_named = agent.proofs.iter().any(|proof| proof.svid() == Some(&id));
        if !is_named || !id.is_member_of(&domain.name) {
            return None;
        }
        let claims = [("sub".to_owned(), id.as_str().to_owned())].into();
        let evidence = Arc::new(ProofEvidence {
            kind: ProofKind::Spiffe,
            issuer: None,
            token: jti,
            claims,
            ceiling: None,
        });
        let by = ProvenBy::ForeignSvid { svid: id, domain: Arc::clone(domain), evidence };
        Some(Self { spiffe_id: agent.spiffe_id.clone(), at, expires: exp, by })
    }

    /// The actor's SPIFFE ID.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// What the token said that proved it; `None` if a JWT-SVID of ours proved it.
    pub fn proof_evidence(&self) -> Option<&Arc<ProofEvidence>> {
        match &self.by {
            ProvenBy::Svid => None,
            ProvenBy::Platform { evidence, .. } | ProvenBy::ForeignSvid { evidence, .. } => Some(evidence),
        }
    }

    /// The ceilings of all proofs of the agent's present entry that its token satisfies.
    pub(crate) fn ceilings<'a>(&self, agent: &'a Agent) -> Vec<&'a [Permission]> {
        let Some(evidence) = self.proof_evidence() else { return Vec::new() };
        let satisfied = agent.proofs.iter().filter_map(AgentProof::platform);
        satisfied
            .filter(|proof| proof.is_satisfied_by(evidence))
            .filter_map(|proof| proof.ceiling.as_deref())
            .collect()
    }

    /// Whether the verification is still valid: the credential has not expired, the agent has not been cut
    /// since, its entry still has the proof that the credential satisfied, and the trust domain of a JWT-SVID
    /// is still trusted as it was. This does not check whether
    /// the agent is active. A cut in the same millisecond counts as made before: cuts do not reach
    /// credentials that were already issued.
    pub fn still_stands(&self, registry: &Registry, revocations: &RevocationSet, now: Timestamp) -> bool {
        let agent = CutTarget::Agent(self.spiffe_id.as_str().to_owned());
        let declared = match &self.by {
            ProvenBy::Svid => true,
            ProvenBy::Platform { agent, proof, .. } => agent.proofs.get(*proof).is_some_and(|proof| {
                registry.agent_by_id(&self.spiffe_id).is_some_and(|now| now.proofs.contains(proof))
            }),
            ProvenBy::ForeignSvid { svid, domain, .. } => {
                let names_it =
                    |agent: &Arc<Agent>| agent.proofs.iter().any(|proof| proof.svid() == Some(svid));
                registry.agent_by_id(&self.spiffe_id).is_some_and(names_it)
                    && registry.trust_domain(&domain.name).is_some_and(|now| now == domain)
            }
        };
        declared
            && now < self.expires
            && !revocations.has_cut_since(&agent, self.at.plus(Duration::from_millis(1)))
    }
}

/// A registered client as it was when it authenticated, and the time of its authentication. For a public
/// client: of its request.
///
/// Requests wait for a hash, for another issuer's keys, for the disk. Meanwhile the client's keys or secret
/// may be replaced. So only [`ProvenClient::confirmed`] returns the client, after a check against the state
/// that the decision uses.
#[derive(Clone, Debug)]
pub struct ProvenClient {
    client: Arc<Client>,
    at: Timestamp,
}

impl ProvenClient {
    /// Claims that `client`'s registered credential was checked and passed, and that everything that the
    /// check used was read at `at` or later.
    pub fn assertion(client: Arc<Client>, at: Timestamp) -> Self {
        Self { client, at }
    }

    /// Its `client_id` (RFC 6749 §2.2).
    pub fn id(&self) -> &ClientId {
        &self.client.id
    }

    /// The client as it is registered now. `None` if it is no longer registered, if it now authenticates by
    /// another method or with other keys, or if it has been cut since; a new secret is a cut.
    pub fn confirmed<'r>(
        &self,
        registry: &'r Registry,
        revocations: &RevocationSet,
    ) -> Option<&'r Arc<Client>> {
        let now = registry.client(&self.client.id)?;
        let same = now.authentication == self.client.authentication;
        let cut = revocations.has_cut_since(&CutTarget::Client(now.id.clone()), self.at);
        (same && !cut).then_some(now)
    }
}

/// A client that describes itself. Nothing proves who it is, also if it has shown the secret that it was given
/// when it registered. It can be the client of a login and nothing else: no exchange takes one.
#[derive(Clone, Debug)]
pub struct UnattestedClient {
    client: Arc<SelfDescribed>,
    at: Timestamp,
}

impl UnattestedClient {
    /// Claims that `client` was read from the database, or from its URL, at `at` or shortly before, and has
    /// shown its secret if it has one and this is not yet the login.
    pub fn assertion(client: Arc<SelfDescribed>, at: Timestamp) -> Self {
        Self { client, at }
    }

    /// Its `client_id` (RFC 6749 §2.2).
    pub fn id(&self) -> &ClientId {
        &self.client.id
    }

    /// What it says of itself.
    pub fn client(&self) -> &Arc<SelfDescribed> {
        &self.client
    }

    /// Whether it has not been cut since. One that registered itself is removed with the cut, so no cut on it
    /// is ever over.
    pub fn stands(&self, revocations: &RevocationSet) -> bool {
        let cut = CutTarget::Client(self.client.id.clone());
        let removed = self.client.id.is_self_registered() && revocations.contains(&cut);
        !removed && !revocations.has_cut_since(&cut, self.at)
    }
}

/// The client for which a person logs in.
#[derive(Clone, Debug)]
pub enum LoginClient {
    /// A client that an operator registered.
    App(ProvenClient),
    /// A client that describes itself: it becomes the actor of the token, and nothing attests it.
    Unattested(UnattestedClient),
}

impl LoginClient {
    /// Its `client_id` (RFC 6749 §2.2).
    pub fn id(&self) -> &ClientId {
        match self {
            Self::App(client) => client.id(),
            Self::Unattested(client) => client.id(),
        }
    }
}

/// A client that has proven who it is.
#[derive(Clone, Debug)]
pub enum AuthenticatedClient {
    /// An agent, by its JWT-SVID (`spiffe_jwt`) or by the token of a platform.
    Agent(VerifiedActor),
    /// A registered confidential client.
    App(ProvenClient),
}

impl AuthenticatedClient {
    /// Its id: the registered client id, or the agent's SPIFFE ID.
    pub fn name(&self) -> &str {
        match self {
            Self::Agent(actor) => actor.spiffe_id.as_str(),
            Self::App(client) => client.id().as_str(),
        }
    }

    /// Whether its proof is still valid.
    pub fn still_stands(&self, registry: &Registry, revocations: &RevocationSet, now: Timestamp) -> bool {
        match self {
            Self::Agent(agent) => agent.still_stands(registry, revocations, now),
            Self::App(client) => client.confirmed(registry, revocations).is_some(),
        }
    }
}

/// What an identity provider said of a person who logged in there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderLogin {
    /// The person: the provider, and who they are to it.
    pub id: Subject,
    /// When the person proved who they are, if the provider says it.
    pub auth_time: Option<Timestamp>,
    /// How strong that proof was, if the provider says it.
    pub acr: Option<String>,
    /// By which methods; empty if the provider does not say it.
    pub amr: Vec<String>,
    /// The groups in which the person was then; absent if the provider's entry did not say where it names
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<ProvenGroups>,
    /// The tenant of the person; absent if its entry did not read it, or it did not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<ProvenTenant>,
}

impl ProviderLogin {
    /// Forgets the groups that the registry does not have. A login is kept for as long as it goes on, and
    /// these give nothing.
    pub fn keep_registered_groups(&mut self, registry: &Registry) {
        if let Some(groups) = &mut self.groups {
            groups.ids.retain(|id| registry.group_by_id(&self.id.iss, id).is_some());
        }
    }

    /// The groups that it proves, which count now.
    pub(crate) fn groups_now(&self, registry: &Registry) -> Vec<Arc<Group>> {
        let Some(ProvenGroups { claim, ids }) = &self.groups else { return Vec::new() };
        let now = registry.issuer(&self.id.iss).and_then(|provider| provider.groups_claim.as_ref());
        if now == Some(claim) { registry.groups_of_ids(&self.id.iss, ids) } else { Vec::new() }
    }

    /// The tenant that it proves, if the entry of the provider reads it in the same claim now.
    pub(crate) fn tenant_now(&self, provider: &TrustedIssuer) -> Option<&str> {
        let ProvenTenant { claim, text } = self.tenant.as_ref()?;
        (provider.tenant_claim.as_ref() == Some(claim)).then_some(text.as_str())
    }
}

/// The groups that an identity provider named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenGroups {
    /// In which claim. They count while the provider's entry names this one.
    pub claim: ClaimPath,
    /// As the provider calls them.
    pub ids: Vec<String>,
}

/// The tenant that an identity provider named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenTenant {
    /// In which claim. It counts while the provider's entry names this one.
    pub claim: ClaimPath,
    /// As the provider calls it.
    pub text: String,
}

/// A person who has just proven who they are: by a password of the embedded directory, or at an identity
/// provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedInPerson {
    pub(crate) name: PersonName,
    pub(crate) at: Timestamp,
    pub(crate) provider: Option<ProviderLogin>,
}

impl LoggedInPerson {
    /// Claims that the person's password has been checked at `at`, and passed.
    pub fn assertion(name: PersonName, at: Timestamp) -> Self {
        Self { name, at, provider: None }
    }

    /// Claims that an identity provider has proven at `at` who the person is, in answer to a login of ours.
    pub fn assertion_at_provider(name: PersonName, at: Timestamp, provider: ProviderLogin) -> Self {
        Self { name, at, provider: Some(provider) }
    }

    /// The person's name in the registry.
    pub fn name(&self) -> &PersonName {
        &self.name
    }

    /// When the person logged in.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// What the identity provider said; `None` for a login with a password.
    pub fn provider(&self) -> Option<&ProviderLogin> {
        self.provider.as_ref()
    }
}

#[cfg(test)]
impl VerifiedActor {
    /// For the tests of `decide`, which start where verification ends.
    pub(crate) fn for_test(spiffe_id: &str) -> Self {
        Self::for_test_at(spiffe_id, Timestamp::from_secs(1_900_000_000), Timestamp::from_secs(2_000_000_000))
    }

    pub(crate) fn for_test_at(spiffe_id: &str, at: Timestamp, expires: Timestamp) -> Self {
        Self { spiffe_id: spiffe_id.parse().unwrap(), at, expires, by: ProvenBy::Svid }
    }
}

#[cfg(test)]
mod tests;
