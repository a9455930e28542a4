//! From registry entries to what Cedar evaluates: entities once per question, a context once per scope.
//!
//! There are two steps: first the facts, which are cheap to make and show whether the same question was asked
//! before; then their form in Cedar.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use mandate_core::digest::sha256;
use mandate_core::registry::{Agent, Grant, Group, Permission, Person, Resource, Tool};
use mandate_core::{ResourceName, Scope, ScopeSet, Timestamp};
use serde_json::{Map, Value as Json};

/// The question for a requested token, about the actions `delegate` and `act`: which of these scopes on this
/// resource the person and the agent are permitted.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The person for whom the token is.
    pub person: &'a Person,
    /// The groups of the person that the token or login proved.
    pub groups: &'a [Arc<Group>],
    /// The agent that will act. `None` when the person acts without an agent; then only the person must be
    /// permitted.
    pub agent: Option<&'a Agent>,
    /// The resource that the token is for.
    pub resource: &'a Resource,
    /// The scopes that are asked for.
    pub scopes: &'a ScopeSet,
    /// The grant in use. A grant between other parties, expired at `now` or revoked counts as none.
    pub grant: Option<&'a Grant>,
    /// The OAuth client that asks.
    pub client: &'a str,
    /// How many actors the resulting chain will have.
    pub depth: u8,
    /// The time of the decision.
    pub now: Timestamp,
}

/// The question for an agent's own token, about the action `act_alone`: which of these scopes on this
/// resource the agent is permitted on its own behalf.
#[derive(Clone, Copy, Debug)]
pub struct OwnQuestion<'a> {
    /// The agent, for which nobody but itself has asked.
    pub agent: &'a Agent,
    /// Its owner: the person who is responsible for it. The token is not for them.
    pub owner: &'a Person,
    /// The resource that the token is for.
    pub resource: &'a Resource,
    /// The scopes that are asked for.
    pub scopes: &'a ScopeSet,
    /// The OAuth client that asks: the agent.
    pub client: &'a str,
    /// The time of the decision.
    pub now: Timestamp,
}

/// Cedar refused a value that this crate made. The answer is a denial.
#[derive(Debug)]
pub(crate) struct InternalError(pub(crate) String);

impl InternalError {
    pub(crate) fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// The type names, parsed once.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    person: EntityTypeName,
    agent: EntityTypeName,
    resource: EntityTypeName,
}

impl Vocabulary {
    pub(crate) fn new() -> Result<Self, InternalError> {
        let kind = |name: &str| name.parse::<EntityTypeName>().map_err(InternalError::of);
        Ok(Self { person: kind("Person")?, agent: kind("Agent")?, resource: kind("Resource")? })
    }
}

/// The attributes that some policy mentions. Only those are computed, because every token needs a decision,
/// which must be cheap.
#[derive(Debug, Default)]
pub(crate) struct Mentioned {
    names: BTreeSet<String>,
    /// Some policy uses `context` as a whole.
    all: bool,
}

impl Mentioned {
    /// Adds what a policy in Cedar's JSON form mentions.
    ///
    /// Every text in it counts, and so does every part of a text between dots: this finds more than the
    /// attributes, never fewer. The parsed form is read, not the source: `context["n\u{6f}w"]` mentions
    /// `now`.
    pub(crate) fn add(&mut self, policy: &Json) {
        match policy {
            Json::Object(members) => {
                for (key, value) in members {
                    match (key.as_str(), value) {
                        ("." | "has", Json::Object(access)) => self.add_access(access),
                        ("Var", Json::String(name)) => self.all |= name == "context",
                        _ => self.add(value),
                    }
                }
            }
            Json::Array(items) => items.iter().for_each(|item| self.add(item)),
            Json::String(text) => self.names.extend(text.split('.').map(str::to_owned)),
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }

    /// `context` before a dot or `has` is not `context` as a value of its own.
    fn add_access(&mut self, access: &Map<String, Json>) {
        for (key, value) in access {
            let variable = key == "left" && value.get("Var").is_some();
            if !variable {
                self.add(value);
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        self.all || self.names.contains(name)
    }
}

/// A value that policies may read.
#[derive(Clone, Debug)]
enum Value<'a> {
    Text(&'a str),
    Flag(bool),
    Number(i64),
    Scopes(Scopes<'a>),
    Groups(&'a [Arc<Group>]),
}

/// Scopes that policies may read, without a copy of them.
#[derive(Clone, Copy, Debug)]
enum Scopes<'a> {
    /// Those of a set, if there is one.
    Of(Option<&'a ScopeSet>),
    /// Those of all permissions on one resource.
    On(&'a [Permission], &'a ResourceName),
}

impl<'a> Scopes<'a> {
    fn texts(self) -> impl Iterator<Item = &'a str> {
        let (set, permissions) = match self {
            Self::Of(set) => (set, None),
            Self::On(permissions, resource) => {
                (None, Some(permissions.iter().filter(move |p| p.resource == *resource)))
            }
        };
        let sets = set.into_iter().chain(permissions.into_iter().flatten().map(|p| &p.scopes));
        sets.flat_map(ScopeSet::iter).map(Scope::as_str)
    }
}

impl Value<'_> {
    fn in_cedar(&self) -> RestrictedExpression {
        let text = |value: &str| RestrictedExpression::new_string(value.to_owned());
        match self {
            Self::Text(value) => text(value),
            Self::Flag(value) => RestrictedExpression::new_bool(*value),
            Self::Number(value) => RestrictedExpression::new_long(*value),
            Self::Scopes(scopes) => RestrictedExpression::new_set(scopes.texts().map(text)),
            Self::Groups(groups) => {
                RestrictedExpression::new_set(groups.iter().map(|group| text(group.name.as_str())))
            }
        }
    }
}

/// Named values: those of them that some policy mentions.
#[derive(Debug)]
struct Attributes<'a> {
    mentioned: &'a Mentioned,
    pairs: Vec<(&'static str, Value<'a>)>,
}

impl<'a> Attributes<'a> {
    fn new(mentioned: &'a Mentioned) -> Self {
        Self { mentioned, pairs: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl FnOnce() -> Value<'a>) -> Self {
        if self.mentioned.has(name) {
            self.pairs.push((name, value()));
        }
        self
    }

    fn in_cedar(&self) -> impl Iterator<Item = (String, RestrictedExpression)> {
        self.pairs.iter().map(|(name, value)| ((*name).to_owned(), value.in_cedar()))
    }

    fn entity(&self, uid: EntityUid) -> Result<Entity, InternalError> {
        Entity::new(uid, self.in_cedar().collect(), HashSet::new()).map_err(InternalError::of)
    }
}

/// Everything that Cedar is told about a question, before it is converted into Cedar's form. The same facts
/// have the same answer.
#[derive(Debug)]
pub(crate) struct QuestionFacts<'a> {
    mentioned: &'a Mentioned,
    /// The agent asks on its own behalf.
    alone: bool,
    person: (&'a str, Attributes<'a>),
    agent: Option<(&'a str, Attributes<'a>)>,
    resource: (&'a str, Attributes<'a>),
    shared: Attributes<'a>,
    scopes: Vec<(&'a Scope, Attributes<'a>)>,
}

impl<'a> QuestionFacts<'a> {
    pub(crate) fn gather(mentioned: &'a Mentioned, question: &Question<'a>) -> Self {
        let on = &question.resource.name;
        let person = Attributes::new(mentioned)
            .with("name", || Value::Text(question.person.name.as_str()))
            .with("issuer", || Value::Text(question.person.id.iss.as_str()))
            .with("subject", || Value::Text(&question.person.id.sub))
            .with("disabled", || Value::Flag(question.person.disabled))
            .with("may", || Value::Scopes(Scopes::On(&question.person.may, on)))
            .with("groups", || Value::Groups(question.groups));
        let of_agent = |agent: &'a Agent| {
            Attributes::new(mentioned)
                .with("name", || Value::Text(agent.name.as_str()))
                .with("owner", || Value::Text(agent.owner.as_str()))
                .with("spiffe_id", || Value::Text(agent.spiffe_id.as_str()))
                .with("state", || Value::Text(agent.state.as_str()))
                .with("ceiling", || Value::Scopes(Scopes::On(&agent.ceiling, on)))
                .with("may", || Value::Scopes(Scopes::On(&agent.may, on)))
                .with("granted", || {
                    Value::Scopes(Scopes::Of(usable(question, agent).map(|grant| &grant.scopes)))
                })
        };
        let resource = Attributes::new(mentioned)
            .with("name", || Value::Text(on.as_str()))
            .with("uri", || Value::Text(question.resource.uri.as_str()));
        let secs = question.now.secs();
        let shared = Attributes::new(mentioned)
            .with("scopes", || Value::Scopes(Scopes::Of(Some(question.scopes))))
            .with("client", || Value::Text(question.client))
            .with("depth", || Value::Number(i64::from(question.depth)))
            .with("now", || number(secs))
            .with("hour", || number(secs / 3600 % 24))
            // 1970-01-01 was a Thursday, day 4 of a week that begins on Monday.
            .with("weekday", || number((secs / 86_400 + 3) % 7 + 1));
        let of_scope = |scope: &'a Scope| {
            let any = |mark: fn(&Tool) -> bool| {
                let mut behind = question.resource.tools.iter().filter(|tool| tool.scope == *scope);
                Value::Flag(behind.any(mark))
            };
            Attributes::new(mentioned)
                .with("scope", || Value::Text(scope.as_str()))
                .with("destructive", || any(|tool| tool.destructive))
                .with("egress", || any(|tool| tool.egress))
                .with("untrusted_input", || any(|tool| tool.untrusted_input))
        };
        Self {
            mentioned,
            alone: false,
            person: (question.person.name.as_str(), person),
            agent: question.agent.map(|agent| (agent.name.as_str(), of_agent(agent))),
            resource: (on.as_str(), resource),
            shared,
            scopes: question.scopes.iter().map(|scope| (scope, of_scope(scope))).collect(),
        }
    }

    /// As [`QuestionFacts::gather`], where an agent asks on its own behalf.
    pub(crate) fn gather_own(mentioned: &'a Mentioned, question: &OwnQuestion<'a>) -> Self {
        let OwnQuestion { agent, owner, resource, scopes, client, now } = *question;
        let (person, agent) = (owner, Some(agent));
        let asked =
            Question { person, groups: &[], agent, resource, scopes, grant: None, client, depth: 1, now };
        Self { alone: true, ..Self::gather(mentioned, &asked) }
    }

    /// The scopes that are asked about.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = &'a Scope> {
        self.scopes.iter().map(|(scope, _)| *scope)
    }

    /// The fingerprint of the facts: equal if and only if the facts are equal.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        // Room for most, so that it need not grow.
        let mut bytes = Bytes(Vec::with_capacity(1024));
        bytes.0.push(u8::from(self.alone));
        bytes.entity(self.person.0, &self.person.1);
        match &self.agent {
            Some((name, attributes)) => {
                bytes.0.push(1);
                bytes.entity(name, attributes);
            }
            None => bytes.0.push(0),
        }
        bytes.entity(self.resource.0, &self.resource.1);
        bytes.attributes(&self.shared);
        bytes.length(self.scopes.len());
        for (scope, attributes) in &self.scopes {
            bytes.entity(scope.as_str(), attributes);
        }
        Fingerprint(sha256(&bytes.0))
    }

    /// The facts in Cedar's terms.
    pub(crate) fn in_cedar(&self, words: &Vocabulary) -> Result<CedarQuestion, InternalError> {
        let uid = |kind: &EntityTypeName, name: &str| {
            EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(name))
        };
        let person = uid(&words.person, self.person.0);
        let resource = uid(&words.resource, self.resource.0);
        let mut all = vec![self.person.1.entity(person.clone())?, self.resource.1.entity(resource.clone())?];
        let agent = self.agent.as_ref().map(|(name, attributes)| (uid(&words.agent, name), attributes));
        if let Some((uid, attributes)) = &agent {
            all.push(attributes.entity(uid.clone())?);
        }
        let agent = agent.map(|(uid, _)| uid);
        let entities = Entities::from_entities(all, None).map_err(InternalError::of)?;
        let mut shared: Vec<_> = self.shared.in_cedar().collect();
        for (name, uid) in [("person", Some(&person)), ("agent", agent.as_ref())] {
            if let Some(uid) = uid.filter(|_| self.mentioned.has(name)) {
                shared.push((name.to_owned(), RestrictedExpression::new_entity_uid(uid.clone())));
            }
        }
        let mut contexts = Vec::with_capacity(self.scopes.len());
        for (_, own) in &self.scopes {
            let pairs = shared.iter().cloned().chain(own.in_cedar());
            contexts.push(Context::from_pairs(pairs).map_err(InternalError::of)?);
        }
        Ok(CedarQuestion { person, agent, alone: self.alone, resource, entities, contexts })
    }
}

/// A question in Cedar's terms.
pub(crate) struct CedarQuestion {
    pub(crate) person: EntityUid,
    pub(crate) agent: Option<EntityUid>,
    /// The agent asks on its own behalf.
    pub(crate) alone: bool,
    pub(crate) resource: EntityUid,
    pub(crate) entities: Entities,
    /// For each scope asked about, in their order.
    pub(crate) contexts: Vec<Context>,
}

/// SHA-256 of facts as bytes. Keeping the bytes would take a kilobyte for each remembered permit, and
/// comparing them would cost more than hashing what was just written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 32]);

/// Facts as bytes. Each text follows its length and each value follows its kind, so that different facts have
/// different bytes.
struct Bytes(Vec<u8>);

impl Bytes {
    fn length(&mut self, length: usize) {
        self.0.extend_from_slice(&length.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn attributes(&mut self, attributes: &Attributes<'_>) {
        self.length(attributes.pairs.len());
        for (name, value) in &attributes.pairs {
            self.text(name);
            match value {
                Value::Text(text) => {
                    self.0.push(0);
                    self.text(text);
                }
                Value::Flag(flag) => self.0.extend_from_slice(&[1, u8::from(*flag)]),
                Value::Number(number) => {
                    self.0.push(2);
                    self.0.extend_from_slice(&number.to_le_bytes());
                }
                Value::Groups(groups) => {
                    self.0.push(4);
                    self.length(groups.len());
                    for group in *groups {
                        self.text(group.name.as_str());
                    }
                }
                Value::Scopes(scopes) => {
                    self.0.push(3);
                    self.length(scopes.texts().count());
                    for text in scopes.texts() {
                        self.text(text);
                    }
                }
            }
        }
    }

    fn entity(&mut self, name: &str, attributes: &Attributes<'_>) {
        self.text(name);
        self.attributes(attributes);
    }
}

/// The grant, if it is between exactly these parties, not revoked and not expired.
fn usable<'a>(question: &Question<'a>, agent: &Agent) -> Option<&'a Grant> {
    question.grant.filter(|grant| {
        grant.person == question.person.name
            && grant.agent == agent.name
            && grant.resource == question.resource.name
            && grant.ended(question.now).is_none()
    })
}

fn number(value: u64) -> Value<'static> {
    Value::Number(i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use cedar_policy::{Entities, Request, Schema};
    use mandate_core::registry::{Agent, AgentState, Person, Resource};
    use mandate_core::subject;

    use super::{Mentioned, Question, QuestionFacts, Vocabulary};
    use crate::actions::Actions;

    /// Requests are built without a schema on the hot path; here the same values are held against it.
    #[test]
    fn the_facts_have_the_shape_that_the_schema_promises() {
        let schema: Schema = crate::compile::SCHEMA.parse().unwrap();
        let words = Vocabulary::new().unwrap();
        let all = Mentioned { all: true, ..Mentioned::default() };
        let iss = "https://mandate.example".parse().unwrap();
        let person = Person {
            name: "riley".parse().unwrap(),
            id: subject::Subject { iss, sub: "riley".to_owned() },
            may: vec![],
            disabled: false,
            tenant: None,
        };
        let agent = Agent {
            name: "support-agent".parse().unwrap(),
            owner: "riley".parse().unwrap(),
            purpose: String::new(),
            spiffe_id: "spiffe://mandate.example/agent/support-agent".parse().unwrap(),
            selectors: vec![],
            proofs: Vec::new(),
            ceiling: vec![],
            may: vec![],
            chain_depth: 3,
            state: AgentState::Active,
            tenant: None,
        };
        let resource = Resource {
            name: "crm".parse().unwrap(),
            uri: "https://crm.example".parse().unwrap(),
            scopes: "read".parse().unwrap(),
            tools: vec![],
            agent: None,
            client: None,
            unattested: mandate_core::ScopeSet::new(),
            tenant: None,
        };
        for agent in [Some(&agent), None] {
            let scopes = "read".parse().unwrap();
            let question = Question {
                person: &person,
                groups: &[],
                agent,
                resource: &resource,
                scopes: &scopes,
                grant: None,
                client: "app",
                depth: 1,
                now: mandate_core::Timestamp::from_secs(1),
            };
            let terms = QuestionFacts::gather(&all, &question).in_cedar(&words).unwrap();
            Entities::from_entities(terms.entities.iter().cloned(), Some(&schema)).unwrap();
            let actions = Actions::new(&schema).unwrap();
            let asked = [
                (Some(&terms.person), &actions.delegate.action),
                (terms.agent.as_ref(), &actions.act.action),
            ];
            let own = agent.map(|agent| super::OwnQuestion {
                agent,
                owner: &person,
                resource: &resource,
                scopes: &scopes,
                client: agent.spiffe_id.as_str(),
                now: mandate_core::Timestamp::from_secs(1),
            });
            if let Some(own) = own {
                let terms = QuestionFacts::gather_own(&all, &own).in_cedar(&words).unwrap();
                Entities::from_entities(terms.entities.iter().cloned(), Some(&schema)).unwrap();
                let (principal, action) = (terms.agent.unwrap(), actions.act_alone.action.clone());
                let context = terms.contexts[0].clone();
                Request::new(principal, action, terms.resource, context, Some(&schema)).unwrap();
            }
            for (principal, action) in asked {
                if let Some(principal) = principal {
                    let context = terms.contexts[0].clone();
                    Request::new(
                        principal.clone(),
                        action.clone(),
                        terms.resource.clone(),
                        context,
                        Some(&schema),
                    )
                    .unwrap();
                }
            }
        }
    }

    fn mentioned(condition: &str) -> Mentioned {
        let policy: cedar_policy::Policy =
            format!("forbid (principal, action, resource) when {{ {condition} }};").parse().unwrap();
        let mut mentioned = Mentioned::default();
        mentioned.add(&policy.to_json().unwrap());
        mentioned
    }

    #[test]
    fn every_way_to_reach_an_attribute_is_noticed() {
        for condition in [
            "context.now > 1",
            "context[\"now\"] > 1",
            "context[\"n\\u{6f}w\"] > 1",
            "context has now",
            "context has \"n\\u{6f}w\"",
            "if true then context.now > 1 else false",
            "[context.now].contains(1)",
            "{a: context.now} == {a: 1}",
            "(if true then context else context).now > 1",
            "principal.now like \"x\"",
            "context.person.now == 1",
            "context has person.now",
        ] {
            assert!(mentioned(condition).has("now"), "{condition}");
        }
        assert!(mentioned("context == {now: 1}").has("now") && mentioned("[context].isEmpty()").has("hour"));
        let few = mentioned("context.scope == \"later\" && context.egress");
        assert!(few.has("scope") && !few.has("now"), "{few:?}");
    }
}
