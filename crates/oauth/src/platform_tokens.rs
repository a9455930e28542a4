//! Tokens of platforms that prove an agent: as actor token, or as the assertion of a client (RFC 7523 §2.2).
//!
//! What a token claims chooses the agent's entry, and so the keys; then everything is verified with them. The
//! entry is chosen by ids that the platform never gives twice. A token that could prove two agents proves
//! none.

use std::sync::Arc;

use mandate_core::registry::{Agent, AgentState, Platform, PlatformProof};
use mandate_core::{Issuer, Timestamp};
use mandate_delegation::VerifiedActor;
use mandate_live::Snapshot;
use mandate_store::{Store, replay};
use mandate_token::platform_token::{Expect, PlatformToken, Unverified};
use mandate_token::{KeySet, TokenError};

use crate::basis::Basis;
use crate::foreign::{ForeignKeys, KeySource, NotVerified};
use crate::own_tokens::OwnTokens;
use crate::pinned_keys::PinnedKeys;

/// Verifies tokens of platforms.
pub(crate) struct PlatformTokens {
    pub(crate) basis: Basis,
    pub(crate) own: Arc<OwnTokens>,
    pub(crate) foreign: Arc<ForeignKeys>,
    pub(crate) pinned: Arc<PinnedKeys>,
    /// The memory of tokens that count once.
    pub(crate) store: Store,
}

/// A token whose issuer is that of a platform. Nothing in it is verified.
pub(crate) struct Sent<'t> {
    unverified: Unverified<'t>,
    issuer: Issuer,
    platform: Platform,
}

/// Why a token of a platform, or of another trust domain, proves no agent.
#[derive(Debug)]
pub(crate) enum NotProven {
    /// The token is refused, or the keys of its issuer are not there.
    Token(NotVerified),
    /// It is addressed to another audience than this one, which an entry names in place of our issuer.
    Audience(String),
    /// No agent's entry, or more than one, has a proof with what it says; with the reason, for the record.
    Agent(String),
    /// It counts once, and was used before.
    Replayed,
    /// Its use cannot be remembered, because the database cannot be written.
    Unavailable,
    /// The store failed.
    Internal(String),
}

impl From<TokenError> for NotProven {
    fn from(error: TokenError) -> Self {
        Self::Token(NotVerified::Token(error))
    }
}

/// The token as it was sent, if its issuer is that of a platform which proves agents. Our own JWT-SVIDs name
/// no issuer. A client's assertion names the client as issuer and as subject (RFC 7523 §3), and no platform
/// is the subject of its own tokens.
pub(crate) fn sent<'t>(token: &'t str, snapshot: &Snapshot) -> Option<Sent<'t>> {
    let unverified = Unverified::of(token).ok()?;
    let (issuer, subject) = unverified.parties().ok()?;
    let issuer = issuer.filter(|issuer| subject.as_ref() != Some(issuer))?;
    let platform = snapshot.registry.platform_of_issuer(&issuer)?;
    Some(Sent { unverified, issuer: issuer.parse().ok()?, platform })
}

impl PlatformTokens {
    /// Verifies a token and finds the agent that it proves.
    ///
    /// A token that counts once is used up as soon as it is verified, whatever becomes of the request.
    pub(crate) async fn verify(
        &self,
        sent: &Sent<'_>,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<VerifiedActor, NotProven> {
        let claims = sent.unverified.claims(sent.platform)?;
        let agents = snapshot.registry.agents_of_workload(&sent.issuer, sent.platform, &claims);
        let of = |agent| -> Vec<Candidate<'_>> { Candidate::all(agent, sent) };
        let candidates: Vec<_> = agents.iter().flat_map(of).collect();
        let fits = |candidate: &&Candidate<'_>| candidate.proof.missing_in(&claims).is_none();
        let chosen = chosen(candidates.iter().filter(fits))?;
        // If none fits, an entry for the same workload says which member is different.
        let Some(Candidate { agent, place, proof }) = chosen.or_else(|| candidates.first()) else {
            let ids = sent.platform.identity(|name| claims.get(name).map(String::as_str));
            let ids = ids.unwrap_or_default().replace('\n', " ");
            return Err(NotProven::Agent(format!("no entry names the workload: {ids}")));
        };
        let token =
            self.verified(sent, proof, now).await.map_err(|error| match (&proof.audience, error) {
                (Some(named), NotVerified::Token(TokenError::Audience)) => NotProven::Audience(named.clone()),
                (_, error) => unproven(error),
            })?;
        let (jti, expires) = (token.jti.clone(), token.expires);
        let actor = VerifiedActor::from_platform(agent, *place, token, now).map_err(|member| {
            let member = member.unwrap_or_default();
            let says = claims.get(member.as_str()).map_or("nothing", String::as_str);
            NotProven::Agent(format!("`{member}` of the proof of agent `{}` is not {says:?}", agent.name))
        })?;
        // The agent's proofs may differ in this: the strictest one that fits counts.
        let fitting = candidates.iter().filter(fits).filter(|other| other.agent.name == agent.name);
        if proof.single_use || fitting.clone().any(|other| other.proof.single_use) {
            let jti = jti.ok_or(TokenError::MissingClaim("jti"))?;
            self.first_use(&sent.issuer, jti, expires, now).await?;
        }
        Ok(actor)
    }

    async fn verified(
        &self,
        sent: &Sent<'_>,
        proof: &PlatformProof,
        now: Timestamp,
    ) -> Result<PlatformToken, NotVerified> {
        let verify = |keys: &KeySet| {
            sent.unverified.verify(&Expect {
                platform: proof.platform,
                issuer: &proof.issuer,
                keys,
                audience: proof.audience.as_deref().unwrap_or(self.basis.issuer().as_str()),
                now,
                memo: Some(self.own.memo()),
            })
        };
        match &proof.jwks {
            // A pinned set that cannot be read has no key.
            Some(jwks) => {
                let keys = self.pinned.of(jwks);
                let keys = keys.map_err(|_| NotVerified::Token(TokenError::UnknownKey(None)))?;
                verify(&keys).map_err(NotVerified::Token)
            }
            None => self.foreign.verified(&KeySource::of_proof(proof), now, verify).await,
        }
    }

    /// Remembers a token durably, before it counts: a crash must not make it usable again. Its id is unique
    /// for its issuer, whichever agent it proves.
    async fn first_use(
        &self,
        issuer: &Issuer,
        jti: String,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), NotProven> {
        // No client has an id with a tab in it.
        let user = format!("platform\t{issuer}");
        let remembered =
            self.store.transact("platform token", move |tx| replay::remember(tx, &user, &jti, expires, now));
        match remembered.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(NotProven::Replayed),
            // If the token cannot be stored, records cannot be written either.
            Err(error) if error.is_environment() => {
                tracing::error!(%error, "a token of a platform could not be remembered and is refused");
                Err(NotProven::Unavailable)
            }
            Err(error) => Err(NotProven::Internal(error.to_string())),
        }
    }
}

/// Why nothing is proven. A token that anybody can have made is answered as one whose workload no entry
/// names: otherwise a stranger could try ids, and learn which workloads have agents here.
fn unproven(error: NotVerified) -> NotProven {
    match error {
        NotVerified::Token(error) if error.precedes_signature() => {
            NotProven::Agent(format!("its issuer is not proven: {error}"))
        }
        NotVerified::KeyUnknown { .. } => {
            NotProven::Agent("its issuer is not proven: no published key has its kid".to_owned())
        }
        NotVerified::Token(_) | NotVerified::Unavailable(_) => NotProven::Token(error),
    }
}

/// A proof of an agent, for the workload and the issuer of a token.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    agent: &'a Arc<Agent>,
    /// The place of the proof in the agent's entry.
    place: usize,
    proof: &'a PlatformProof,
}

impl<'a> Candidate<'a> {
    fn all(agent: &'a Arc<Agent>, sent: &Sent<'_>) -> Vec<Self> {
        let proofs = agent.proofs.iter().enumerate();
        let proofs = proofs.filter_map(|(place, proof)| Some((place, proof.platform()?)));
        let proofs =
            proofs.filter(|(_, proof)| proof.issuer == sent.issuer && proof.platform == sent.platform);
        proofs.map(|(place, proof)| Self { agent, place, proof }).collect()
    }
}

/// The one agent of those whose proofs fit, with the first of its proofs. An agent that is retired stands for
/// history, and is chosen only if there is no other.
fn chosen<'c, 'a>(
    fitting: impl Iterator<Item = &'c Candidate<'a>>,
) -> Result<Option<&'c Candidate<'a>>, NotProven>
where
    'a: 'c,
{
    let (retired, living): (Vec<_>, Vec<_>) =
        fitting.partition(|candidate| candidate.agent.state == AgentState::Retired);
    let all = if living.is_empty() { retired } else { living };
    let first: Option<&Candidate<'_>> = all.first().copied();
    let another = first.and_then(|one| all.iter().find(|other| other.agent.name != one.agent.name));
    match (first, another) {
        (Some(one), Some(other)) => {
            let (one, other) = (&one.agent.name, &other.agent.name);
            Err(NotProven::Agent(format!("it would prove agent `{one}` and agent `{other}`")))
        }
        (first, _) => Ok(first),
    }
}
