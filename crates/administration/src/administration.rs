//! What an operator can do. An act that gives authority is one audit record with its effects, then a swap of the snapshot
//! that decisions read. An act that only takes authority away is a [`Stop`], which is in force first.

mod registry_changes;

use std::sync::Arc;
use std::time::Duration;

use mandate_api::admin::{JoinTokenResponse, Recorded, RevocationResponse, RevocationTarget};
use mandate_audit::{Kind, Outcome, Receipt, Record, Touch, Touched};
use mandate_authority::Authority;
use mandate_core::registry::{Entry, Grant, Kind as EntryKind, Registry, Resource};
use mandate_core::uri::same;
use mandate_core::{Clock as _, Cut, CutTarget, Entropy, HybridClock, RecordId, RequestSource, ScopeSet, Secret, Timestamp, TrustDomain};
use mandate_delegation::revocation::cut;
use mandate_delegation::{Live, Snapshot};
use mandate_identity::{Identity, IdentityError};
use mandate_policy::{Policies, PolicyError};
use mandate_stops::{By, Looks, Pending, Stop, Stops};
use mandate_store::{AppendError, Effect, Log, Store, secrets};
use tokio::sync::Mutex;

use crate::admin::authentication;
use crate::error::ControlError;
use crate::health::{Disk, Health};
use crate::operator::Operator;

/// The name of the resource of our own administration.
pub(crate) const ADMINISTRATION: &str = "mandate";

/// What an act is refused with if the operator may no longer make it when its record is written.
const OPERATOR_REVOKED: &str = "operator_revoked";

/// The parts that operators act on.
pub(crate) struct Control {
    pub(crate) live: Arc<Live>,
    pub(crate) store: Store,
    pub(crate) log: Log,
    pub(crate) stops: Arc<Stops>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) clock: Arc<HybridClock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) health: Arc<Health>,
    pub(crate) disk: Disk,
    /// Places of status requests that wait for the disk.
    pub(crate) looks: Looks,
    pub(crate) node_server: String,
    pub(crate) started: Timestamp,
    /// One change of the registry at a time: each is planned against the result of the one before.
    pub(crate) changes: Mutex<()>,
}

/// Our own administration as a resource: its identifier is the issuer, its only scope the admin scope.
pub(crate) fn administration(issuer: &mandate_core::Issuer) -> Option<Resource> {
    Some(Resource {
        name: ADMINISTRATION.parse().ok()?,
        uri: issuer.as_str().parse().ok()?,
        scopes: mandate_api::admin::ADMIN_SCOPE.parse::<ScopeSet>().ok()?,
        tools: Vec::new(),
        agent: None,
        client: None,
    })
}

pub(crate) fn is_administration(entry: &Entry, issuer: &mandate_core::Issuer) -> bool {
    matches!(entry, Entry::Resource(resource) if resource.name.as_str() == ADMINISTRATION || same(resource.uri.as_str(), issuer.as_str()))
}

/// Compiles the policies of a registry.
pub(crate) fn compile(registry: &Registry) -> Result<Policies, PolicyError> {
    Policies::compile(policy_sources(registry))
}

/// The error of each policy because of which a registry's policies do not compile.
fn refused_policies(registry: &Registry) -> Vec<PolicyError> {
    Policies::refused(policy_sources(registry))
}

fn policy_sources(registry: &Registry) -> Vec<(&str, &str)> {
    let mut sources: Vec<(&str, &str)> = registry.policies().map(|policy| (policy.name.as_str(), policy.source.as_str())).collect();
    // The order must not depend on the registry's hashing: determining policies are listed in records.
    sources.sort_unstable();
    sources
}

impl Control {
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.live.snapshot()
    }

    fn record(&self, kind: Kind, by: &Operator, detail: String) -> Record {
        let now = self.clock.now();
        let mut record = Record::new(RecordId::generate(now, self.entropy.as_ref()), now, kind, Outcome::Permitted, "ok");
        record.by = Some(by.to_string());
        record.detail = Some(detail);
        record
    }

    /// Records an act that gives authority, after all earlier stops, and only if the operator may still make it in the moment
    /// in which it becomes durable: to wait for the disk can take long.
    async fn append(&self, by: &Operator, act: &str, record: Record, effects: Vec<Effect>) -> Result<Receipt, ControlError> {
        self.stops.record_changes().await.map_err(|error| ControlError::AuditUnavailable(error.to_string()))?;
        let (operator, live, clock) = (by.clone(), Arc::clone(&self.live), Arc::clone(&self.clock));
        let permitted = Box::new(move || authentication::still_permitted(&operator, &live, clock.now()).is_ok());
        match self.log.append_while(record, effects, permitted).await {
            Err(AppendError::GuardFailed) => {
                self.confirm(by, act).await?;
                Err(ControlError::Conflict(OPERATOR_REVOKED.to_owned()))
            }
            appended => appended.map_err(unrecorded),
        }
    }

    /// Records that a caller was refused administration; for a `stranger`, within the quota of its source.
    pub(crate) async fn record_refused(
        &self,
        who: Option<String>,
        stranger: Option<RequestSource>,
        reason: &'static str,
        what: String,
    ) -> Result<(), ControlError> {
        let now = self.clock.now();
        let mut record = Record::new(RecordId::generate(now, self.entropy.as_ref()), now, Kind::Admin, Outcome::Refused, reason);
        record.by = who;
        record.detail = Some(what);
        self.log.append_refusal(record, stranger).await.map_err(unrecorded)
    }

    /// The last check before an act that is in force at once, and before the work of one that is recorded first: then
    /// [`Control::append`] checks again.
    pub(crate) async fn confirm(&self, by: &Operator, act: &str) -> Result<(), ControlError> {
        match authentication::still_permitted(by, &self.live, self.clock.now()) {
            Ok(()) => Ok(()),
            Err(why) => {
                self.record_refused(Some(by.to_string()), None, why.code(), act.to_owned()).await?;
                Err(ControlError::NotOperator(why))
            }
        }
    }

    /// Takes authority away: in force at once, whether or not it can be recorded.
    fn begin(&self, stop: Stop) -> Result<Pending, ControlError> {
        self.stops.begin(stop, By::Operator).map_err(|error| ControlError::Internal(error.to_string()))
    }

    /// Cuts issued tokens. A grant is also revoked permanently.
    pub(crate) async fn revoke(&self, by: &Operator, target: RevocationTarget) -> Result<RevocationResponse, ControlError> {
        self.confirm(by, "revoke").await?;
        let now = self.clock.now();
        let snapshot = self.snapshot();
        let registry = &snapshot.registry;
        let unknown = |kind, name: &str| ControlError::NotFound { kind, name: name.to_owned() };
        let mut closed: Option<(Grant, Grant)> = None;
        let (target, subject) = match target {
            RevocationTarget::Token(jti) => (CutTarget::Token(jti), None),
            RevocationTarget::Grant(id) => {
                let grant = registry.grant(&id).ok_or_else(|| unknown(EntryKind::Grant, id.as_str()))?;
                closed = Some((Grant::clone(grant), Grant { revoked: true, ..Grant::clone(grant) }));
                (CutTarget::Grant(id), registry.person(&grant.person).map(|person| person.id.clone()))
            }
            RevocationTarget::Agent(name) => {
                let agent = registry.agent(&name).ok_or_else(|| unknown(EntryKind::Agent, name.as_str()))?;
                (CutTarget::Agent(agent.spiffe_id.as_str().to_owned()), None)
            }
            RevocationTarget::Person(name) => {
                let person = registry.person(&name).ok_or_else(|| unknown(EntryKind::Person, name.as_str()))?;
                (CutTarget::Person(person.id.clone()), Some(person.id.clone()))
            }
            RevocationTarget::Client(id) => {
                registry.client(&id).ok_or_else(|| unknown(EntryKind::Client, id.as_str()))?;
                (CutTarget::Client(id), None)
            }
        };
        let cut = cut(target, now);
        let mut record = self.record(Kind::Revoke, by, format!("revoked {}", name_of(&cut.target)));
        record.sub = subject;
        record.touched = touched(touches_of_cut(&cut.target, registry));
        let id = record.id.clone();
        let stop = match closed {
            Some((open, closed)) => {
                let (open, closed) = (Entry::Grant(open), Entry::Grant(closed));
                let stop = Stop::of_changes(record, [(Some(&open), Some(&closed))], vec![cut.clone()], registry);
                stop.ok_or_else(|| ControlError::Internal("a grant that is revoked gives nothing".to_owned()))?
            }
            None => Stop::of_cuts(record, vec![cut.clone()]),
        };
        let taken = self.begin(stop)?.recorded().await;
        let cut = taken.cuts.into_iter().next_back().unwrap_or(cut);
        Ok(RevocationResponse { cut, record: id, recorded: recorded(taken.recorded) })
    }

    /// Sets the password of a person of the embedded directory, and revokes tokens from logins with the old one.
    pub(crate) async fn set_password(&self, by: &Operator, name: &str, password: Secret) -> Result<(), ControlError> {
        check_secret(&password, 8, "Password")?;
        let phc = self.hash(password).await?;
        // From here on the person cannot be removed: the password would stay behind for the next person with that name.
        let _one_at_a_time = self.changes.lock().await;
        self.confirm(by, "set a password").await?;
        let snapshot = self.snapshot();
        let unknown = || ControlError::NotFound { kind: EntryKind::Person, name: name.to_owned() };
        let person = name.parse().ok().and_then(|name| snapshot.registry.person(&name)).ok_or_else(unknown)?;
        if person.id.iss != *self.live.issuer() {
            return Err(ControlError::BadRequest(format!("`{name}` logs in at {}, not here: there is no password to set", person.id.iss)));
        }
        let owner = person.name.clone();
        let had_one = self.store.read("is there a password", move |tx| secrets::password(tx, &owner).map(|old| old.is_some())).await?;
        // The first password opened nothing before it.
        let cuts: Vec<Cut> = had_one.then(|| cut(CutTarget::Person(person.id.clone()), self.clock.now())).into_iter().collect();
        let mut record = self.record(Kind::Admin, by, format!("set the password of {name}"));
        record.sub = Some(person.id.clone());
        let set = Effect::SetPassword { person: person.name.clone(), phc };
        self.append(by, "set a password", record, with_cuts([set], &cuts)).await?;
        self.live.cut(cuts, self.clock.as_ref());
        Ok(())
    }

    /// Sets the secret of a confidential client, and revokes tokens that were obtained with the old one.
    pub(crate) async fn set_client_secret(&self, by: &Operator, id: &str, secret: Secret) -> Result<(), ControlError> {
        check_secret(&secret, 16, "Client secret")?;
        let phc = self.hash(secret).await?;
        let _one_at_a_time = self.changes.lock().await;
        self.confirm(by, "set a client's secret").await?;
        let snapshot = self.snapshot();
        let unknown = || ControlError::NotFound { kind: EntryKind::Client, name: id.to_owned() };
        let client = id.parse().ok().and_then(|id| snapshot.registry.client(&id)).ok_or_else(unknown)?;
        if !client.authentication.has_secret() {
            return Err(ControlError::BadRequest(format!(
                "client `{id}` needs no secret: its entry has authentication = \"{}\"",
                client.authentication.method()
            )));
        }
        let owner = client.id.clone();
        let had_one = self.store.read("is there a secret", move |tx| secrets::client_secret(tx, &owner).map(|old| old.is_some())).await?;
        let cuts: Vec<Cut> = had_one.then(|| cut(CutTarget::Client(client.id.clone()), self.clock.now())).into_iter().collect();
        let mut record = self.record(Kind::Admin, by, format!("set the secret of client {id}"));
        record.touched = touched([Touch::Client(id)]);
        let set = Effect::SetClientSecret { client: client.id.clone(), phc };
        self.append(by, "set a client's secret", record, with_cuts([set], &cuts)).await?;
        self.live.cut(cuts, self.clock.as_ref());
        Ok(())
    }

    /// argon2id takes tens of milliseconds, so it must not run on the threads that serve requests.
    async fn hash(&self, secret: Secret) -> Result<Secret, ControlError> {
        let entropy = Arc::clone(&self.entropy);
        let hashed = tokio::task::spawn_blocking(move || mandate_oauth::password::hash(&secret, entropy.as_ref())).await;
        let hashed = hashed.map_err(|error| ControlError::Internal(error.to_string()))?;
        hashed.map(Secret::new).map_err(|error| ControlError::Internal(error.to_string()))
    }

    /// Makes a join token for one node.
    pub(crate) async fn join_token(&self, by: &Operator, ttl: Option<Duration>) -> Result<JoinTokenResponse, ControlError> {
        self.confirm(by, "make a join token").await?;
        self.stops.record_changes().await.map_err(|error| ControlError::AuditUnavailable(error.to_string()))?;
        match self.identity.create_join_token(&by.to_string(), ttl).await {
            // To record it took time. A token that is not given away opens nothing.
            Ok(token) => self.confirm(by, "make a join token").await.map(|()| JoinTokenResponse {
                token: token.text().expose_secret_str().unwrap_or_default().to_owned(),
                expires_at: token.expires().to_string(),
            }),
            Err(error @ IdentityError::JoinTokenLifetime) => Err(ControlError::BadRequest(error.to_string())),
            Err(IdentityError::AuditUnavailable(why)) => Err(ControlError::AuditUnavailable(why)),
            Err(error) => Err(ControlError::Internal(error.to_string())),
        }
    }

    /// Records an act of an operator that has no other effect in the store.
    pub(crate) async fn record_act(&self, by: &Operator, detail: String) -> Result<(), ControlError> {
        self.confirm(by, &detail).await?;
        let record = self.record(Kind::Admin, by, detail.clone());
        self.append(by, &detail, record, Vec::new()).await.map(drop)
    }
}

fn unrecorded(error: AppendError) -> ControlError {
    match error {
        AppendError::EffectRefused(refusal) => ControlError::Conflict(refusal.code().to_owned()),
        AppendError::GuardFailed => ControlError::Conflict(OPERATOR_REVOKED.to_owned()),
        AppendError::Unavailable(why) | AppendError::Invalid(why) => ControlError::AuditUnavailable(why),
    }
}

fn check_secret(secret: &Secret, least: usize, what: &'static str) -> Result<(), ControlError> {
    let length = secret.expose_secret_str().map_or(0, |text| text.chars().count());
    if (least..=1024).contains(&length) {
        Ok(())
    } else {
        Err(ControlError::BadRequest(format!("{what} must be {least} to 1024 characters.")))
    }
}

fn with_cuts(effects: impl IntoIterator<Item = Effect>, cuts: &[Cut]) -> Vec<Effect> {
    effects.into_iter().chain(cuts.iter().cloned().map(Effect::Cut)).collect()
}

fn touched<'a>(all: impl IntoIterator<Item = Touch<'a>>) -> Option<Box<Touched>> {
    let kept = Touched::of(all);
    (!kept.is_empty()).then(|| Box::new(kept))
}

/// The names by which a change of an entry is found later: the entry itself and, for a grant, its parties.
fn touches<'a>(entry: &'a Entry, registry: &'a Registry) -> Vec<Touch<'a>> {
    match entry {
        Entry::Resource(x) => vec![Touch::Resource(x.name.as_str()), Touch::Resource(x.uri.as_str())],
        Entry::Person(x) => vec![Touch::Person(&x.id)],
        Entry::Agent(x) => vec![Touch::Agent(x.name.as_str()), Touch::Agent(x.spiffe_id.as_str())],
        Entry::Client(x) => vec![Touch::Client(x.id.as_str())],
        Entry::Grant(x) => {
            let mut all = vec![Touch::Grant(x.id.as_str()), Touch::Agent(x.agent.as_str()), Touch::Resource(x.resource.as_str())];
            all.extend(registry.person(&x.person).map(|person| Touch::Person(&person.id)));
            all.extend(registry.agent(&x.agent).map(|agent| Touch::Agent(agent.spiffe_id.as_str())));
            all.extend(registry.resource(&x.resource).map(|resource| Touch::Resource(resource.uri.as_str())));
            all
        }
        Entry::Issuer(_) | Entry::Policy(_) => Vec::new(),
    }
}

/// Who else is affected by a change of an entry: the agents of a client, the agent and the client of a resource.
fn touches_beside<'a>(entry: &'a Entry, registry: &'a Registry) -> Vec<Touch<'a>> {
    let agents: &[_] = match entry {
        Entry::Client(x) => x.agents.as_slice(),
        Entry::Resource(x) => x.agent.as_slice(),
        Entry::Person(_) | Entry::Agent(_) | Entry::Issuer(_) | Entry::Grant(_) | Entry::Policy(_) => &[],
    };
    let mut all: Vec<Touch<'a>> = agents.iter().map(|name| Touch::Agent(name.as_str())).collect();
    all.extend(agents.iter().filter_map(|name| registry.agent(name)).map(|agent| Touch::Agent(agent.spiffe_id.as_str())));
    if let Entry::Resource(Resource { client: Some(client), .. }) = entry {
        all.push(Touch::Client(client.as_str()));
    }
    all
}

/// The names by which a revocation is found later.
fn touches_of_cut<'a>(target: &'a CutTarget, registry: &'a Registry) -> Vec<Touch<'a>> {
    match target {
        CutTarget::Token(jti) => vec![Touch::Token(jti.as_str())],
        CutTarget::Grant(id) => {
            let mut all = vec![Touch::Grant(id.as_str())];
            if let Some(grant) = registry.grant(id) {
                all.extend(registry.person(&grant.person).map(|person| Touch::Person(&person.id)));
                all.extend(registry.agent(&grant.agent).map(|agent| Touch::Agent(agent.spiffe_id.as_str())));
                all.extend(registry.resource(&grant.resource).map(|resource| Touch::Resource(resource.uri.as_str())));
            }
            all
        }
        CutTarget::Agent(sub) => {
            let agent = sub.parse().ok().and_then(|id| registry.agent_by_id(&id));
            std::iter::once(Touch::Agent(sub)).chain(agent.map(|agent| Touch::Agent(agent.name.as_str()))).collect()
        }
        CutTarget::Person(person) => vec![Touch::Person(person)],
        CutTarget::Client(id) => vec![Touch::Client(id.as_str())],
    }
}

fn name_of(target: &CutTarget) -> String {
    match target {
        CutTarget::Token(jti) => format!("token {jti}"),
        CutTarget::Grant(id) => format!("grant {id}"),
        CutTarget::Agent(sub) => format!("agent {sub}"),
        CutTarget::Person(person) => format!("person {person}"),
        CutTarget::Client(id) => format!("client {id}"),
    }
}

/// Where a stop is recorded, in the words of the admin API.
pub(crate) fn recorded(recorded: mandate_stops::Recorded) -> Recorded {
    match recorded {
        mandate_stops::Recorded::Log => Recorded::Log,
        mandate_stops::Recorded::Reserve => Recorded::Reserve,
        mandate_stops::Recorded::NotYet => Recorded::NotYet,
    }
}
