//! The audit log of an organisation: many agents that work for many people at some resources, few of each
//! most of the time.

use std::sync::Arc;

use mandate_audit::{Asked, Outcome, Record, RecordKind, Touched};
use mandate_core::digest::sha256;
use mandate_core::{
    Actor, ActorChain, GrantId, Issuer, KnownTerms, Lineage, RecordId, Subject, SystemEntropy, Timestamp,
    TokenId,
};

use crate::error::BenchError;

/// How many agents there are, and how many people.
pub(crate) const AGENTS: u64 = 10_000;

pub(crate) const RESOURCES: u64 = 200;

/// How many clients that people log in to.
const CLIENTS: u64 = 50;

/// How many resources an agent has grants for.
const RESOURCES_OF_AGENT: u64 = 3;

/// Milliseconds from one record to the next: twenty in a second.
const PACE: u64 = 50;

/// The time of the first record.
const START: u64 = 1_764_000_000_000;

/// How many of a hundred records are about what.
const EXCHANGES: u64 = 85;
const TOKENS: u64 = 8;
const LOGINS: u64 = 4;
const IDENTITIES: u64 = 2;

pub(crate) fn agent(rank: u64) -> String {
    format!("spiffe://prod.example.com/agent/team-{}/agent-{rank}", rank % 40)
}

pub(crate) fn person(rank: u64) -> String {
    format!("person-{rank}@example.com")
}

pub(crate) fn resource(rank: u64) -> String {
    format!("https://service-{rank}.example.com/api")
}

/// The resource that an agent uses most.
pub(crate) fn main_resource(agent: u64) -> u64 {
    resource_of(agent, 0)
}

fn resource_of(agent: u64, which: u64) -> u64 {
    Random(agent * RESOURCES_OF_AGENT + which).ranked(RESOURCES)
}

/// Numbers that are the same in every run (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A rank from 0 to `end` - 1: the first occurs about twice as often as the second, ten times as often as
    /// the tenth.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank needs no more bits than a fraction has"
    )]
    fn ranked(&mut self, end: u64) -> u64 {
        let fraction = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        ((((end + 1) as f64).powf(fraction)) as u64 - 1).min(end - 1)
    }
}

/// Makes one record after the other.
pub(crate) struct Story {
    random: Random,
    entropy: SystemEntropy,
    issuer: Issuer,
    people: Issuer,
    policies: Arc<[String]>,
    next: u64,
}

impl Story {
    pub(crate) fn begin() -> Result<Self, BenchError> {
        let issuer = |text: &str| text.parse().map_err(BenchError::during("the name of an issuer"));
        Ok(Self {
            random: Random(1),
            entropy: SystemEntropy,
            issuer: issuer("https://auth.example.com")?,
            people: issuer("https://login.example.com/realms/staff")?,
            policies: Arc::new(["working-hours".to_owned(), "confidential-cases".to_owned()]),
            next: 0,
        })
    }

    fn actor(&self, agent_of: u64) -> Actor {
        Actor { sub: agent(agent_of), iss: self.issuer.clone(), sub_profile: None }
    }

    /// The grant of a person to an agent for a resource.
    fn grant(person: u64, agent: u64, resource: u64) -> Result<GrantId, BenchError> {
        let digest = sha256(format!("{person} {agent} {resource}").as_bytes());
        let number = digest.iter().take(16).fold(0, |number: u128, byte| (number << 8) | u128::from(*byte));
        format!("g-{number:032x}").parse().map_err(BenchError::during("the id of a grant"))
    }

    pub(crate) fn record(&mut self) -> Result<Record, BenchError> {
        let time = Timestamp::from_millis(START + self.next * PACE);
        self.next += 1;
        let agent_of = self.random.ranked(AGENTS);
        // Seven of ten times the one that it belongs to.
        let person_of = if self.random.below(10) < 7 { agent_of } else { self.random.ranked(AGENTS) };
        let which = self.random.ranked(RESOURCES_OF_AGENT);
        let resource_of = resource_of(agent_of, which);
        let about = self.random.below(100);
        let refused = self.random.below(20) == 0;
        let mut known = KnownTerms::default();
        let sub = Some(Subject { iss: self.people.clone(), sub: person(person_of) });
        let client: Arc<str> = format!("client-{}", self.random.ranked(CLIENTS)).into();
        let kind = if about < EXCHANGES {
            let mut agents = vec![agent_of];
            // One of five is handed on to another agent.
            if self.random.below(5) == 0 {
                agents.insert(0, self.random.ranked(AGENTS));
            }
            agents.dedup();
            let grants = agents
                .iter()
                .map(|agent| Self::grant(person_of, *agent, resource_of))
                .collect::<Result<_, _>>()?;
            known.client = agents.first().map(|outermost| agent(*outermost).into());
            let actors = agents.into_iter().map(|agent| self.actor(agent)).collect();
            known.act = ActorChain::new(actors).map_err(BenchError::during("a chain of actors"))?;
            known.lineage = Lineage { grants, ..Lineage::default() };
            known.aud = Some(resource(resource_of));
            known.sub = sub;
            RecordKind::Exchange
        } else if about < EXCHANGES + TOKENS + LOGINS {
            known.client = Some(client);
            known.aud = Some(resource(resource_of));
            known.sub = sub;
            if about < EXCHANGES + TOKENS { RecordKind::Token } else { RecordKind::Authorize }
        } else if about < EXCHANGES + TOKENS + LOGINS + IDENTITIES {
            known.act = ActorChain::new(vec![self.actor(agent_of)])
                .map_err(BenchError::during("a chain of actors"))?;
            RecordKind::Identity
        } else {
            RecordKind::Registry
        };
        let outcome = if refused { Outcome::Refused } else { Outcome::Permitted };
        if !refused && matches!(kind, RecordKind::Exchange | RecordKind::Token) {
            known.jti = Some(TokenId::generate(time, &self.entropy));
            known.exp = Some(time.plus(std::time::Duration::from_secs(300)));
            known.scope = "read:cases write:case_comments".parse().map_err(BenchError::during("scopes"))?;
        }
        let asked = Asked::new(known.aud.as_deref(), Some("read:cases write:case_comments"), None);
        let operator = kind == RecordKind::Registry;
        let touched =
            Touched { agents: vec![format!("agent-{agent_of}"), agent(agent_of)], ..Touched::default() };
        let reason = if refused { "scope_not_granted" } else { "ok" };
        Ok(Record {
            about: known.into(),
            asked,
            policies: Arc::clone(&self.policies),
            by: operator.then(|| format!("uid:{}", 1000 + person_of % 5)),
            touched: operator.then(|| Box::new(touched)),
            detail: refused.then(|| "the person has not granted this agent all of these scopes".to_owned()),
            ..Record::new(RecordId::generate(time, &self.entropy), time, kind, outcome, reason)
        })
    }
}
