//! One person, one agent, one resource: riley, support-agent, crm.

use std::sync::Arc;

use mandate_core::constraint::Constraints;
use mandate_core::registry::{Agent, AgentState, Grant, Permission, Person, Resource, Tool};
use mandate_core::{ScopeSet, Timestamp, subject};
use mandate_policy::{NoRuling, OwnQuestion, Policies, Question, Ruling};

/// Monday 2026-11-23, 22:00:00 UTC.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_795_471_200);

pub(crate) struct World {
    pub(crate) person: Person,
    pub(crate) agent: Agent,
    pub(crate) resource: Resource,
    pub(crate) grant: Grant,
    pub(crate) now: Timestamp,
    /// Scopes of a question that asks for nothing yet.
    pub(crate) nothing: ScopeSet,
}

/// Scopes separated by spaces; the empty text is the empty set.
pub(crate) fn scopes(text: &str) -> ScopeSet {
    text.split_whitespace().map(|s| s.parse().unwrap()).collect()
}

pub(crate) fn permission(resource: &str, text: &str) -> Permission {
    Permission {
        resource: resource.parse().unwrap(),
        scopes: scopes(text),
        constraints: Constraints::default(),
    }
}

impl World {
    /// `may`, ceiling and grant hold these scopes.
    pub(crate) fn new(may: &str, ceiling: &str, granted: &str) -> Self {
        let iss = "https://mandate.example".parse().unwrap();
        Self {
            person: Person {
                name: "riley".parse().unwrap(),
                id: subject::Subject { iss, sub: "riley".to_owned() },
                may: vec![permission("crm", may)],
                disabled: false,
                tenant: None,
            },
            agent: Agent {
                name: "support-agent".parse().unwrap(),
                owner: "riley".parse().unwrap(),
                purpose: "Works on support cases".to_owned(),
                spiffe_id: "spiffe://mandate.example/agent/support-agent".parse().unwrap(),
                selectors: vec!["unix:uid:1000".parse().unwrap()],
                proofs: Vec::new(),
                ceiling: vec![permission("crm", ceiling)],
                may: Vec::new(),
                chain_depth: 3,
                state: AgentState::Active,
                tenant: None,
            },
            resource: Resource {
                name: "crm".parse().unwrap(),
                uri: "https://crm.example".parse().unwrap(),
                scopes: scopes("read comment close mail"),
                tools: vec![
                    tool("close_opportunity", "close", |t| t.destructive = true),
                    tool("send_mail", "mail", |t| t.egress = true),
                ],
                agent: None,
                client: None,
                unattested: ScopeSet::new(),
                tenant: None,
            },
            grant: Grant {
                id: "g1".parse().unwrap(),
                person: "riley".parse().unwrap(),
                agent: "support-agent".parse().unwrap(),
                resource: "crm".parse().unwrap(),
                scopes: scopes(granted),
                constraints: Constraints::default(),
                expires: None,
                span: None,
                max_uses: None,
                revoked: false,
            },
            now: NOW,
            nothing: ScopeSet::new(),
        }
    }

    /// Everything is permitted everywhere.
    pub(crate) fn open() -> Self {
        let all = "read comment close mail";
        Self::new(all, all, all)
    }

    pub(crate) fn ask(&self, policies: &Policies, asked: &str) -> Result<Arc<Ruling>, NoRuling> {
        policies.evaluate(&Question { scopes: &scopes(asked), ..self.question() })
    }

    /// The agent asks on its own behalf.
    pub(crate) fn ask_alone(&self, policies: &Policies, asked: &str) -> Result<Arc<Ruling>, NoRuling> {
        policies.evaluate_own(&OwnQuestion {
            agent: &self.agent,
            owner: &self.person,
            resource: &self.resource,
            scopes: &scopes(asked),
            client: self.agent.spiffe_id.as_str(),
            now: self.now,
        })
    }

    pub(crate) fn question(&self) -> Question<'_> {
        Question {
            person: &self.person,
            groups: &[],
            agent: Some(&self.agent),
            resource: &self.resource,
            scopes: &self.nothing,
            grant: Some(&self.grant),
            client: "support-app",
            depth: 1,
            now: self.now,
        }
    }
}

fn tool(name: &str, scope: &str, mark: impl FnOnce(&mut Tool)) -> Tool {
    let mut tool = Tool {
        name: name.to_owned(),
        scope: scope.parse().unwrap(),
        destructive: false,
        egress: false,
        untrusted_input: false,
    };
    mark(&mut tool);
    tool
}

/// The built-in policies alone.
pub(crate) fn built_in() -> Policies {
    Policies::compile([]).unwrap()
}

/// The built-in policies and one more, called `extra`.
pub(crate) fn with(source: &str) -> Policies {
    Policies::compile([("extra", source)]).unwrap()
}
