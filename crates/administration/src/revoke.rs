//! Revoking issued tokens.

use std::sync::Arc;

use mandate_api::admin::{RevocationResponse, RevocationTarget};
use mandate_audit::RecordKind;
use mandate_core::registry::{Entry, EntryKind, Grant};
use mandate_core::{Clock as _, CutTarget, KnownTerms};
use mandate_delegation::revocation::cut;
use mandate_planning::states::{GrantAct, GrantState, StateMachine as _};
use mandate_stops::Stop;

use crate::administration::{Administration, recorded, to_the_end};
use crate::authorization::{Permit, act};
use crate::error::AdministrationError;
use crate::touches::{touched, touches_of_cut};

impl Administration {
    /// Cuts issued tokens. A grant is also revoked permanently.
    pub async fn revoke(
        self: &Arc<Self>,
        permit: Permit<act::Revoke>,
        target: RevocationTarget,
    ) -> Result<RevocationResponse, AdministrationError> {
        let engine = Arc::clone(self);
        to_the_end(async move { engine.revoke_now(&permit, target).await }).await
    }

    async fn revoke_now(
        &self,
        permit: &Permit<act::Revoke>,
        target: RevocationTarget,
    ) -> Result<RevocationResponse, AdministrationError> {
        self.confirm(permit).await?;
        let now = self.clock.now();
        let snapshot = self.snapshot();
        let registry = &snapshot.registry;
        let unknown = |kind, name: &str| AdministrationError::NotFound { kind, name: name.to_owned() };
        let mut closed: Option<(Grant, Grant)> = None;
        let (target, subject) = match target {
            RevocationTarget::Token(jti) => (CutTarget::Token(jti), None),
            RevocationTarget::Grant(id) => {
                let grant = registry.grant(&id).ok_or_else(|| unknown(EntryKind::Grant, id.as_str()))?;
                let after = GrantState::of(grant).after(GrantAct::Revoke);
                let after = after.map_err(|refusal| AdministrationError::State {
                    kind: EntryKind::Grant,
                    name: id.to_string(),
                    refusal,
                })?;
                closed = Some((
                    Grant::clone(grant),
                    Grant { revoked: after == Some(GrantState::Revoked), ..Grant::clone(grant) },
                ));
                (CutTarget::Grant(id), registry.person(&grant.person).map(|person| person.id.clone()))
            }
            RevocationTarget::Agent(name) => {
                let agent = registry.agent(&name).ok_or_else(|| unknown(EntryKind::Agent, name.as_str()))?;
                (CutTarget::Agent(agent.spiffe_id.as_str().to_owned()), None)
            }
            RevocationTarget::Person(name) => {
                let person =
                    registry.person(&name).ok_or_else(|| unknown(EntryKind::Person, name.as_str()))?;
                (CutTarget::Person(person.id.clone()), Some(person.id.clone()))
            }
            RevocationTarget::Client(id) => {
                // A client that describes itself has no entry.
                if !id.may_describe_itself() {
                    registry.client(&id).ok_or_else(|| unknown(EntryKind::Client, id.as_str()))?;
                }
                (CutTarget::Client(id), None)
            }
        };
        let cut = cut(target, now);
        let mut record = self.record(RecordKind::Revoke, permit, format!("revoked {}", name_of(&cut.target)));
        record.about = KnownTerms { sub: subject, ..KnownTerms::default() }.into();
        record.touched = touched(touches_of_cut(&cut.target, registry));
        let id = record.id.clone();
        let revoked = closed.as_ref().map(|(open, _)| open.id.clone());
        let stop = match closed {
            Some((open, closed)) => {
                let (open, closed) = (Entry::Grant(open), Entry::Grant(closed));
                let stop =
                    Stop::of_changes(record, [(Some(&open), Some(&closed))], vec![cut.clone()], &snapshot);
                stop.ok_or_else(|| {
                    AdministrationError::Internal("a grant that is revoked gives nothing".to_owned())
                })?
            }
            None => Stop::of_cuts(record, vec![cut.clone()]),
        };
        let taken = self.begin(stop)?.recorded().await;
        // A removal that came between the plan and the act, or was being written, took the grant with it.
        if let Some(id) = revoked.filter(|id| self.snapshot().registry.grant(id).is_none()) {
            return Err(unknown(EntryKind::Grant, id.as_str()));
        }
        let cut = taken.cuts.into_iter().next_back().unwrap_or(cut);
        Ok(RevocationResponse { cut, record: id, recorded: recorded(taken.recorded) })
    }
}

fn name_of(target: &CutTarget) -> String {
    match target {
        CutTarget::Token(jti) => format!("token {jti}"),
        CutTarget::Grant(id) => format!("grant {id}"),
        CutTarget::Agent(sub) => format!("agent {sub}"),
        CutTarget::Person(person) => format!("person {person}"),
        CutTarget::Client(id) => format!("client {id}"),
        CutTarget::Group(name) => format!("group {name}"),
    }
}
