//! From registry entries to what Cedar evaluates: entities once per question, a context once per scope.

use std::collections::{BTreeSet, HashSet};

use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use mandate_core::registry::{Agent, Grant, Permission, Person, Resource, Tool};
use mandate_core::{ResourceName, Scope, ScopeSet, Timestamp};
use serde_json::{Map, Value};

/// What is asked: whether these scopes on this resource are permitted to the person and to the agent.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// For whom.
    pub person: &'a Person,
    /// By whom. `None` when the person acts without an agent; then only the person must be permitted.
    pub agent: Option<&'a Agent>,
    /// On which resource.
    pub resource: &'a Resource,
    /// Which scopes are asked for.
    pub scopes: &'a ScopeSet,
    /// The grant in use. A grant between other parties, expired at `now` or revoked counts as none.
    pub grant: Option<&'a Grant>,
    /// The OAuth client that asks.
    pub client: &'a str,
    /// How many actors the resulting chain will have.
    pub depth: u8,
    /// When.
    pub now: Timestamp,
}

/// Cedar refused a value of our own making. Answered as a denial.
#[derive(Debug)]
pub(crate) struct InternalError(pub(crate) String);

impl InternalError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// The type names and actions, parsed once.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    person: EntityTypeName,
    agent: EntityTypeName,
    resource: EntityTypeName,
    pub(crate) delegate: EntityUid,
    pub(crate) act: EntityUid,
}

impl Vocabulary {
    pub(crate) fn new() -> Result<Self, InternalError> {
        let kind = |name: &str| name.parse::<EntityTypeName>().map_err(InternalError::of);
        let action = kind("Action")?;
        let named = |id: &str| EntityUid::from_type_name_and_id(action.clone(), EntityId::new(id));
        Ok(Self {
            person: kind("Person")?,
            agent: kind("Agent")?,
            resource: kind("Resource")?,
            delegate: named("delegate"),
            act: named("act"),
        })
    }
}

/// The attributes that some policy mentions. Only those are worth making: a decision is on the path of every token.
#[derive(Debug, Default)]
pub(crate) struct Mentioned {
    names: BTreeSet<String>,
    /// Some policy uses `context` as a whole.
    all: bool,
}

impl Mentioned {
    /// Adds what a policy in Cedar's JSON form mentions.
    ///
    /// Every text in it counts, and whatever stands between its dots: more than the attributes, never fewer. The parsed
    /// form is looked at, not the source: `context["n\u{6f}w"]` mentions `now`.
    pub(crate) fn add(&mut self, policy: &Value) {
        match policy {
            Value::Object(members) => {
                for (key, value) in members {
                    match (key.as_str(), value) {
                        ("." | "has", Value::Object(access)) => self.add_access(access),
                        ("Var", Value::String(name)) => self.all |= name == "context",
                        _ => self.add(value),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::String(text) => self.names.extend(text.split('.').map(str::to_owned)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// `context` before a dot or `has` is not `context` as a value of its own.
    fn add_access(&mut self, access: &Map<String, Value>) {
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

/// Attributes in the making.
struct Attributes<'a> {
    mentioned: &'a Mentioned,
    pairs: Vec<(String, RestrictedExpression)>,
}

impl<'a> Attributes<'a> {
    fn new(mentioned: &'a Mentioned) -> Self {
        Self { mentioned, pairs: Vec::new() }
    }

    fn with(mut self, name: &str, value: impl FnOnce() -> RestrictedExpression) -> Self {
        if self.mentioned.has(name) {
            self.pairs.push((name.to_owned(), value()));
        }
        self
    }

    fn entity(self, uid: EntityUid) -> Result<Entity, InternalError> {
        Entity::new(uid, self.pairs.into_iter().collect(), HashSet::new()).map_err(InternalError::of)
    }
}

/// Everything about a question that is the same for each of its scopes.
pub(crate) struct Facts<'a> {
    question: &'a Question<'a>,
    mentioned: &'a Mentioned,
    pub(crate) person: EntityUid,
    pub(crate) agent: Option<EntityUid>,
    pub(crate) resource: EntityUid,
    pub(crate) entities: Entities,
    shared: Vec<(String, RestrictedExpression)>,
}

impl<'a> Facts<'a> {
    pub(crate) fn gather(words: &Vocabulary, mentioned: &'a Mentioned, question: &'a Question<'a>) -> Result<Self, InternalError> {
        let uid = |kind: &EntityTypeName, name: &str| EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(name));
        let person = uid(&words.person, question.person.name.as_str());
        let agent = question.agent.map(|a| uid(&words.agent, a.name.as_str()));
        let resource = uid(&words.resource, question.resource.name.as_str());

        let on = &question.resource.name;
        let mut all = Vec::with_capacity(3);
        all.push(
            Attributes::new(mentioned)
                .with("name", || text(question.person.name.as_str()))
                .with("issuer", || text(question.person.id.iss.as_str()))
                .with("subject", || text(&question.person.id.sub))
                .with("disabled", || RestrictedExpression::new_bool(question.person.disabled))
                .with("may", || strings(on_resource(&question.person.may, on)))
                .entity(person.clone())?,
        );
        if let (Some(agent), Some(uid)) = (question.agent, &agent) {
            all.push(
                Attributes::new(mentioned)
                    .with("name", || text(agent.name.as_str()))
                    .with("owner", || text(agent.owner.as_str()))
                    .with("spiffe_id", || text(agent.spiffe_id.as_str()))
                    .with("state", || text(agent.state.as_str()))
                    .with("ceiling", || strings(on_resource(&agent.ceiling, on)))
                    .with("granted", || strings(usable(question, agent).into_iter().flat_map(|g| g.scopes.iter())))
                    .entity(uid.clone())?,
            );
        }
        all.push(
            Attributes::new(mentioned)
                .with("name", || text(on.as_str()))
                .with("uri", || text(question.resource.uri.as_str()))
                .entity(resource.clone())?,
        );
        let entities = Entities::from_entities(all, None).map_err(InternalError::of)?;

        let secs = question.now.secs();
        let mut shared = Attributes::new(mentioned)
            .with("person", || RestrictedExpression::new_entity_uid(person.clone()))
            .with("scopes", || strings(question.scopes.iter()))
            .with("client", || text(question.client))
            .with("depth", || RestrictedExpression::new_long(i64::from(question.depth)))
            .with("now", || long(secs))
            .with("hour", || long(secs / 3600 % 24))
            // 1970-01-01 was a Thursday, day 4 of a week that begins on Monday.
            .with("weekday", || long((secs / 86_400 + 3) % 7 + 1));
        if let Some(agent) = &agent {
            shared = shared.with("agent", || RestrictedExpression::new_entity_uid(agent.clone()));
        }
        let shared = shared.pairs;
        Ok(Self { question, mentioned, person, agent, resource, entities, shared })
    }

    /// The context of the question about one scope.
    pub(crate) fn context(&self, scope: &Scope) -> Result<Context, InternalError> {
        let any = |mark: fn(&Tool) -> bool| {
            let mut behind = self.question.resource.tools.iter().filter(|tool| tool.scope == *scope);
            RestrictedExpression::new_bool(behind.any(mark))
        };
        let own = Attributes::new(self.mentioned)
            .with("scope", || text(scope.as_str()))
            .with("destructive", || any(|tool| tool.destructive))
            .with("egress", || any(|tool| tool.egress))
            .with("untrusted_input", || any(|tool| tool.untrusted_input));
        Context::from_pairs(self.shared.iter().cloned().chain(own.pairs)).map_err(InternalError::of)
    }
}

/// The grant, if it is between exactly these parties, not revoked and not expired.
fn usable<'a>(question: &Question<'a>, agent: &Agent) -> Option<&'a Grant> {
    question.grant.filter(|grant| {
        grant.person == question.person.name
            && grant.agent == agent.name
            && grant.resource == question.resource.name
            && !grant.revoked
            && grant.expires.is_none_or(|expires| question.now < expires)
    })
}

fn on_resource<'a>(permissions: &'a [Permission], resource: &'a ResourceName) -> impl Iterator<Item = &'a Scope> {
    permissions.iter().filter(move |p| p.resource == *resource).flat_map(|p| p.scopes.iter())
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn long(value: u64) -> RestrictedExpression {
    RestrictedExpression::new_long(i64::try_from(value).unwrap_or(i64::MAX))
}

fn strings<'a>(scopes: impl Iterator<Item = &'a Scope>) -> RestrictedExpression {
    RestrictedExpression::new_set(scopes.map(|scope| text(scope.as_str())))
}

#[cfg(test)]
mod tests {
    use cedar_policy::{Entities, Request, Schema};
    use mandate_core::registry::{Agent, AgentState, Person, Resource};
    use mandate_core::subject;

    use super::{Facts, Mentioned, Question, Vocabulary};

    /// Requests are built without a schema on the hot path; here the same values are held against it.
    #[test]
    fn the_facts_have_the_shape_that_the_schema_promises() {
        let schema: Schema = crate::SCHEMA.parse().unwrap();
        let words = Vocabulary::new().unwrap();
        let all = Mentioned { all: true, ..Mentioned::default() };
        let iss = "https://mandate.example".parse().unwrap();
        let person =
            Person { name: "riley".parse().unwrap(), id: subject::Person { iss, sub: "riley".to_owned() }, may: vec![], disabled: false };
        let agent = Agent {
            name: "support-agent".parse().unwrap(),
            owner: "riley".parse().unwrap(),
            purpose: String::new(),
            spiffe_id: "spiffe://mandate.example/agent/support-agent".parse().unwrap(),
            selectors: vec![],
            ceiling: vec![],
            chain_depth: 3,
            state: AgentState::Active,
        };
        let resource = Resource {
            name: "crm".parse().unwrap(),
            uri: "https://crm.example".parse().unwrap(),
            scopes: "read".parse().unwrap(),
            tools: vec![],
            agent: None,
            client: None,
        };
        for agent in [Some(&agent), None] {
            let scopes = "read".parse().unwrap();
            let question = Question {
                person: &person,
                agent,
                resource: &resource,
                scopes: &scopes,
                grant: None,
                client: "app",
                depth: 1,
                now: mandate_core::Timestamp::from_secs(1),
            };
            let facts = Facts::gather(&words, &all, &question).unwrap();
            Entities::from_entities(facts.entities.iter().cloned(), Some(&schema)).unwrap();
            let context = facts.context(scopes.iter().next().unwrap()).unwrap();
            let asked = [(Some(&facts.person), &words.delegate), (facts.agent.as_ref(), &words.act)];
            for (principal, action) in asked {
                if let Some(principal) = principal {
                    Request::new(principal.clone(), action.clone(), facts.resource.clone(), context.clone(), Some(&schema)).unwrap();
                }
            }
        }
    }

    fn mentioned(condition: &str) -> Mentioned {
        let policy: cedar_policy::Policy = format!("forbid (principal, action, resource) when {{ {condition} }};").parse().unwrap();
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
