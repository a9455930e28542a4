//! From registry entries to what Cedar evaluates: entities once per question, a context once per scope.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use mandate_core::registry::{Agent, Grant, Permission, Person, Resource};
use mandate_core::{ResourceName, Scope, ScopeSet, Timestamp};

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

/// Everything about a question that is the same for each of its scopes.
pub(crate) struct Facts<'a> {
    question: &'a Question<'a>,
    pub(crate) person: EntityUid,
    pub(crate) agent: Option<EntityUid>,
    pub(crate) resource: EntityUid,
    pub(crate) entities: Entities,
    shared: Vec<(&'static str, RestrictedExpression)>,
}

impl<'a> Facts<'a> {
    pub(crate) fn gather(words: &Vocabulary, question: &'a Question<'a>) -> Result<Self, InternalError> {
        let uid = |kind: &EntityTypeName, name: &str| EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(name));
        let person = uid(&words.person, question.person.name.as_str());
        let agent = question.agent.map(|a| uid(&words.agent, a.name.as_str()));
        let resource = uid(&words.resource, question.resource.name.as_str());

        let mut all = vec![
            entity(
                person.clone(),
                [
                    ("name", text(question.person.name.as_str())),
                    ("issuer", text(question.person.id.iss.as_str())),
                    ("subject", text(&question.person.id.sub)),
                    ("disabled", RestrictedExpression::new_bool(question.person.disabled)),
                ],
            )?,
            entity(resource.clone(), [("name", text(question.resource.name.as_str())), ("uri", text(question.resource.uri.as_str()))])?,
        ];
        if let (Some(agent), Some(uid)) = (question.agent, &agent) {
            all.push(entity(
                uid.clone(),
                [
                    ("name", text(agent.name.as_str())),
                    ("owner", text(agent.owner.as_str())),
                    ("spiffe_id", text(agent.spiffe_id.as_str())),
                    ("state", text(agent.state.as_str())),
                ],
            )?);
        }
        let entities = Entities::from_entities(all, None).map_err(InternalError::of)?;

        let on = &question.resource.name;
        let ceiling = question.agent.map_or(&[][..], |a| a.ceiling.as_slice());
        let granted = question.agent.and_then(|a| usable(question, a));
        let secs = question.now.secs();
        let mut shared = vec![
            ("person", RestrictedExpression::new_entity_uid(person.clone())),
            ("scopes", strings(question.scopes.iter())),
            ("may", strings(on_resource(&question.person.may, on))),
            ("ceiling", strings(on_resource(ceiling, on))),
            ("granted", strings(granted.into_iter().flat_map(|g| g.scopes.iter()))),
            ("client", text(question.client)),
            ("depth", RestrictedExpression::new_long(i64::from(question.depth))),
            ("now", long(secs)),
            ("hour", long(secs / 3600 % 24)),
            // 1970-01-01 was a Thursday, day 4 of a week that begins on Monday.
            ("weekday", long((secs / 86_400 + 3) % 7 + 1)),
        ];
        if let Some(agent) = &agent {
            shared.push(("agent", RestrictedExpression::new_entity_uid(agent.clone())));
        }
        Ok(Self { question, person, agent, resource, entities, shared })
    }

    /// The context of the question about one scope.
    pub(crate) fn context(&self, scope: &Scope) -> Result<Context, InternalError> {
        let tools = || self.question.resource.tools.iter().filter(|tool| tool.scope == *scope);
        let own = [
            ("scope", text(scope.as_str())),
            ("destructive", RestrictedExpression::new_bool(tools().any(|t| t.destructive))),
            ("egress", RestrictedExpression::new_bool(tools().any(|t| t.egress))),
            ("untrusted_input", RestrictedExpression::new_bool(tools().any(|t| t.untrusted_input))),
        ];
        let pairs = self.shared.iter().cloned().chain(own).map(|(name, value)| (name.to_owned(), value));
        Context::from_pairs(pairs).map_err(InternalError::of)
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

fn entity<const N: usize>(uid: EntityUid, attrs: [(&str, RestrictedExpression); N]) -> Result<Entity, InternalError> {
    let attrs: HashMap<String, RestrictedExpression> = attrs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Entity::new(uid, attrs, HashSet::new()).map_err(InternalError::of)
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
