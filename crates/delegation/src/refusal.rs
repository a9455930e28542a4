//! Why there is no mandate. One enum, grouped by the party at fault; each wire maps it exhaustively.

use mandate_core::registry::TenantCrossing;
use mandate_core::{InvalidActorChain, ScopeSet};
use mandate_policy::{Denial, DeniedParty};

/// A refusal of [`crate::decide`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct DecisionRefusal {
    /// The first reason that was found.
    pub reason: RefusalReason,
    /// The policies that decided, or that could not be evaluated, by name.
    pub policies: Vec<String>,
    /// What went wrong in policies that could not be evaluated, each as `name: message`. Private detail.
    pub errors: Vec<String>,
    /// Which scopes each party allows, if the scopes are the reason.
    pub bounds: Option<Box<ScopeBounds>>,
    /// Which parties belong to which tenants, if that is the reason. Private detail.
    pub tenants: Option<Box<TenantCrossing>>,
}

/// The sets of scopes that were compared in a refused request of an agent, each limited to the requested
/// resource. An absent set was not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeBounds {
    /// The requested scopes or, if none were requested, all scopes of the resource.
    pub asked: ScopeSet,
    /// What the resource has.
    pub resource: Option<ScopeSet>,
    /// The scopes of the subject token, if they limit the result.
    pub subject: Option<ScopeSet>,
    /// What the client may ask for.
    pub client: Option<ScopeSet>,
    /// What the person may do there.
    pub person: Option<ScopeSet>,
    /// What the agent may do there on its own behalf.
    pub own: Option<ScopeSet>,
    /// What the agent's ceiling allows there.
    pub ceiling: Option<ScopeSet>,
    /// What the proofs that the agent's token satisfies allow, if they have a ceiling of their own.
    pub proof: Option<ScopeSet>,
    /// What the grant allows.
    pub grant: Option<ScopeSet>,
}

impl DecisionRefusal {
    /// A refusal of scopes, with the sets that it comes from.
    pub(crate) fn of_scopes(reason: RefusalReason, bounds: ScopeBounds) -> Self {
        Self { bounds: Some(Box::new(bounds)), ..Self::from(reason) }
    }

    /// Adds the policies that denied the same on another resource.
    pub(crate) fn add(&mut self, Denial { policies, errors, .. }: Denial) {
        self.policies.extend(policies);
        self.policies.sort_unstable();
        self.policies.dedup();
        self.errors.extend(errors);
    }
}

impl From<RefusalReason> for DecisionRefusal {
    fn from(reason: RefusalReason) -> Self {
        Self { reason, policies: Vec::new(), errors: Vec::new(), bounds: None, tenants: None }
    }
}

impl From<TenantCrossing> for DecisionRefusal {
    fn from(crossing: TenantCrossing) -> Self {
        Self { tenants: Some(Box::new(crossing)), ..RefusalReason::PartiesApart.into() }
    }
}

impl From<Denial> for DecisionRefusal {
    fn from(Denial { who, policies, errors }: Denial) -> Self {
        let reason = match who {
            DeniedParty::Person => RefusalReason::PolicyDeniesPerson,
            DeniedParty::Agent => RefusalReason::PolicyDeniesAgent,
        };
        Self { policies, errors, ..reason.into() }
    }
}

/// The reasons. The `Display` text is private detail, for the audit log; each wire has the public text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RefusalReason {
    // The subject.
    /// The subject is not in the registry.
    #[error("the subject is not a person of the registry")]
    PersonUnknown,
    /// The subject is disabled.
    #[error("the person is disabled")]
    PersonDisabled,
    /// The subject token, an ancestor of it, or one of its parties has been revoked; or the login of a code
    /// has.
    #[error("the subject token, a token that it descends from, one of its parties or the login is revoked")]
    SubjectRevoked,
    /// The subject token has expired.
    #[error("the subject token has expired")]
    SubjectExpired,
    /// The subject token is neither addressed to the presenter nor issued to it.
    #[error("the subject token is not for this presenter")]
    SubjectNotForPresenter,
    /// The subject token is bound to a key, and the presenter has not proven that key.
    #[error("the subject token is bound to a key that was not proven")]
    SubjectKeyNotProven,
    /// The subject token is an agent's own: there is no person whose authority could be delegated.
    #[error("the subject token is an agent's own, without a person")]
    SubjectIsAgent,
    // The actor.
    /// No actor was proven; a token without an actor would be impersonation.
    #[error("no actor was proven")]
    ActorRequired,
    /// The actor token names another agent than the authenticated client.
    #[error("the actor is not the authenticated client")]
    ActorNotClient,
    /// The actor that was proven is not the one to which the person consented.
    #[error("the actor is not the one that the person let act")]
    ActorNotRequested,
    /// The credential of the client or the actor has been replaced or revoked, or has expired, since it was
    /// checked.
    #[error("what the client or the actor proved is no longer valid")]
    ProofOutdated,
    /// The client may not present this agent's actor tokens.
    #[error("the client may not present this agent")]
    ClientMayNotPresent,
    /// The actor is not a registered agent.
    #[error("the actor is not a registered agent")]
    ActorUnknown,
    /// The agent is suspended, contained or retired.
    #[error("the agent is not active")]
    AgentNotActive,
    /// An earlier actor of the chain is no longer an active agent.
    #[error("an earlier actor of the chain is not active")]
    ChainActorNotActive,
    /// The subject token came through a client that describes itself, which nothing attests.
    #[error("the actor of the subject token is a client that describes itself")]
    ChainActorUnattested,
    /// A token of another issuer names actors of ours, of a third issuer, or by a SPIFFE ID of our trust
    /// domain.
    #[error(
        "a token of another issuer names an actor of ours, of a third issuer, or by a SPIFFE ID of our trust domain"
    )]
    ChainNotTheirs,
    /// `may_act` names another actor.
    #[error("may_act names another actor")]
    MayActMismatch,
    /// The chain would be deeper than allowed.
    #[error("the actor chain would be too deep")]
    ChainTooDeep,
    /// The actor is in the chain already, further in.
    #[error("the actor chain would loop")]
    ChainLoop,
    /// The token has been exchanged too many times in a row.
    #[error("the lineage would be too long")]
    LineageTooLong,
    /// The agent's entry lets it do nothing on its own behalf.
    #[error("the agent may do nothing on its own behalf")]
    NotOnOwnBehalf,
    // The target.
    /// No registered resource has this URI.
    #[error("the resource is not registered")]
    ResourceUnknown,
    /// The resource exists, but is never delegated (our own administration).
    #[error("the resource is not open to agents")]
    ResourceNotDelegable,
    // The permission.
    /// The person has given this agent no grant on this resource.
    #[error("there is no grant of the person to the agent on the resource")]
    NoGrant,
    /// There was a grant; it is revoked.
    #[error("the grant is revoked")]
    GrantRevoked,
    /// There was a grant; it has expired.
    #[error("the grant has expired")]
    GrantExpired,
    /// There was a grant; it has no uses left.
    #[error("the grant is used up")]
    GrantExhausted,
    /// More scopes were asked for than the subject token has.
    #[error("more scope asked for than the subject token carries")]
    ScopeExceedsSubject,
    /// A scope was asked for that the resource does not have; at a login, none that it has.
    #[error("a scope that the resource does not have")]
    ScopeUnknown,
    /// None of the scopes is among those that the client may ask for.
    #[error("the client may ask for nothing of what was asked")]
    ScopeBeyondClient,
    /// None of the scopes is within the person's rights.
    #[error("nothing asked for is within the person's rights")]
    ScopeBeyondPerson,
    /// None of the scopes is among those that the agent may use on its own behalf.
    #[error("the agent may do nothing of what was asked on its own behalf")]
    ScopeBeyondOwn,
    /// None of the scopes is within the agent's ceiling.
    #[error("nothing asked for is within the agent's ceiling")]
    ScopeBeyondCeiling,
    /// None of the scopes is within the ceiling of the proof that the agent's token satisfies.
    #[error("nothing asked for is within the ceiling of the agent's proof")]
    ScopeBeyondProof,
    /// The person who is responsible for the agent is disabled.
    #[error("the agent's owner is disabled")]
    OwnerDisabled,
    /// None of the scopes is within the grant.
    #[error("nothing asked for is within the grant")]
    ScopeBeyondGrant,
    /// The subject token, the client, the person, the ceiling and the grant have nothing in common.
    #[error("the intersection of subject token, client, person, ceiling and grant is empty")]
    NothingInCommon,
    /// Policy denies the person.
    #[error("policy denies the person")]
    PolicyDeniesPerson,
    /// Policy denies the agent.
    #[error("policy denies the agent")]
    PolicyDeniesAgent,
    /// There are more scopes, or longer ones, than a token can carry; or the rest of the token is too long.
    #[error("the token would be longer, or have more scopes, than can be read")]
    TooMuchForOneToken,
    /// Two of the parties belong to different tenants.
    #[error("two parties belong to different tenants")]
    PartiesApart,
    /// Nothing would be left of the lifetime.
    #[error("no lifetime would be left")]
    NoLifetime,
}

impl RefusalReason {
    /// The machine-readable token in audit records.
    pub const fn code(self) -> &'static str {
        match self {
            Self::PersonUnknown => "person_unknown",
            Self::PersonDisabled => "person_disabled",
            Self::SubjectRevoked => "subject_revoked",
            Self::SubjectExpired => "subject_expired",
            Self::SubjectNotForPresenter => "subject_not_for_presenter",
            Self::SubjectKeyNotProven => "subject_key_not_proven",
            Self::SubjectIsAgent => "subject_is_agent",
            Self::ActorRequired => "actor_required",
            Self::ActorNotClient => "actor_not_client",
            Self::ActorNotRequested => "actor_not_requested",
            Self::ProofOutdated => "proof_outdated",
            Self::ClientMayNotPresent => "client_may_not_present",
            Self::ActorUnknown => "actor_unknown",
            Self::AgentNotActive => "agent_not_active",
            Self::ChainActorNotActive => "chain_actor_not_active",
            Self::ChainActorUnattested => "chain_actor_unattested",
            Self::ChainNotTheirs => "chain_not_theirs",
            Self::MayActMismatch => "may_act_mismatch",
            Self::ChainTooDeep => "chain_too_deep",
            Self::ChainLoop => "chain_loop",
            Self::LineageTooLong => "lineage_too_long",
            Self::NotOnOwnBehalf => "not_on_own_behalf",
            Self::ResourceUnknown => "resource_unknown",
            Self::ResourceNotDelegable => "resource_not_delegable",
            Self::NoGrant => "no_grant",
            Self::GrantRevoked => "grant_revoked",
            Self::GrantExpired => "grant_expired",
            Self::GrantExhausted => "grant_exhausted",
            Self::ScopeExceedsSubject => "scope_exceeds_subject",
            Self::ScopeUnknown => "scope_unknown",
            Self::ScopeBeyondClient => "scope_beyond_client",
            Self::ScopeBeyondPerson => "scope_beyond_person",
            Self::ScopeBeyondOwn => "scope_beyond_own",
            Self::ScopeBeyondCeiling => "scope_beyond_ceiling",
            Self::ScopeBeyondProof => "scope_beyond_proof",
            Self::OwnerDisabled => "owner_disabled",
            Self::ScopeBeyondGrant => "scope_beyond_grant",
            Self::NothingInCommon => "nothing_in_common",
            Self::PolicyDeniesPerson => "policy_denies_person",
            Self::PolicyDeniesAgent => "policy_denies_agent",
            Self::TooMuchForOneToken => "too_much_for_one_token",
            Self::PartiesApart => "parties_apart",
            Self::NoLifetime => "no_lifetime",
        }
    }

    /// Every reason, for tables and tests.
    pub const ALL: &'static [Self] = &[
        Self::PersonUnknown,
        Self::PersonDisabled,
        Self::SubjectRevoked,
        Self::SubjectExpired,
        Self::SubjectNotForPresenter,
        Self::SubjectKeyNotProven,
        Self::SubjectIsAgent,
        Self::ActorRequired,
        Self::ActorNotClient,
        Self::ActorNotRequested,
        Self::ProofOutdated,
        Self::ClientMayNotPresent,
        Self::ActorUnknown,
        Self::AgentNotActive,
        Self::ChainActorNotActive,
        Self::ChainActorUnattested,
        Self::ChainNotTheirs,
        Self::MayActMismatch,
        Self::ChainTooDeep,
        Self::ChainLoop,
        Self::LineageTooLong,
        Self::NotOnOwnBehalf,
        Self::ResourceUnknown,
        Self::ResourceNotDelegable,
        Self::NoGrant,
        Self::GrantRevoked,
        Self::GrantExpired,
        Self::GrantExhausted,
        Self::ScopeExceedsSubject,
        Self::ScopeUnknown,
        Self::ScopeBeyondClient,
        Self::ScopeBeyondPerson,
        Self::ScopeBeyondOwn,
        Self::ScopeBeyondCeiling,
        Self::ScopeBeyondProof,
        Self::OwnerDisabled,
        Self::ScopeBeyondGrant,
        Self::NothingInCommon,
        Self::PolicyDeniesPerson,
        Self::PolicyDeniesAgent,
        Self::TooMuchForOneToken,
        Self::PartiesApart,
        Self::NoLifetime,
    ];
}

impl From<InvalidActorChain> for RefusalReason {
    fn from(invalid: InvalidActorChain) -> Self {
        match invalid {
            InvalidActorChain::TooDeep => Self::ChainTooDeep,
            InvalidActorChain::Loop => Self::ChainLoop,
            // A SPIFFE ID is never empty nor over 2048 bytes; should it ever be, the actor is not one of
            // ours.
            InvalidActorChain::Subject => Self::ActorUnknown,
        }
    }
}
