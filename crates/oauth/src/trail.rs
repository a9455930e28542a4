//! The record of a request: the facts that become known, and the outcome. It is written before the caller
//! gets the answer.

use std::sync::Arc;

use mandate_audit::{Asked, Outcome, Record, RecordKind};
use mandate_core::names::Parameter;
use mandate_core::registry::ProofEvidence;
use mandate_core::subject::MAX_PARSED_DEPTH;
use mandate_core::{
    Actor, ActorChain, Issuer, KnownTerms, MeterId, RequestSource, SaidActors, Subject, SubjectProfile,
    Timestamp,
};
use mandate_delegation::{DecisionRefusal, MandateView, RefusalReason, VerifiedActor, Withheld};
use mandate_sequencer::{Guard, Receipt};
use mandate_store::{AppendError, Effect, EffectRefusal, Log};

use crate::basis::Basis;
use crate::device_refusal::DeviceRefusal;
use crate::form::Form;
use crate::provider_refusal::ProviderRefusal;
use crate::refusal::{CredentialKind, RefusalClass, RequestRefusal};
use crate::wire::OAuthError;

/// Of how many policies that failed a record says what went wrong.
const MAX_ERRORS: usize = 8;

/// What is known about a request so far. Only verified facts are in `sub`, `act`, `aud` and `client`;
/// unverified texts of the request are in `asked`. There is one exception: a refused login has in `sub` the
/// existing person whose name was used.
pub(crate) struct Trail {
    pub(crate) kind: RecordKind,
    pub(crate) now: Timestamp,
    /// Where the request came from, until the requester has proven who they are.
    pub(crate) stranger: Option<RequestSource>,
    pub(crate) client: Option<Arc<str>>,
    pub(crate) sub: Option<Subject>,
    pub(crate) act: ActorChain,
    pub(crate) aud: Option<String>,
    pub(crate) asked: Asked,
    /// What the token of a platform said that proved the agent.
    pub(crate) proof: Option<Arc<ProofEvidence>>,
    /// What the subject token of another issuer said of its actors.
    pub(crate) said_actors: Option<Arc<SaidActors>>,
    pub(crate) policies: Arc<[String]>,
    /// A private note that goes before the refusal's own text.
    pub(crate) note: Option<String>,
}

impl Trail {
    /// The trail of a request from `source`, whose requester is a stranger until [`Trail::known`] is called.
    pub(crate) fn new(kind: RecordKind, now: Timestamp, source: RequestSource) -> Self {
        Self {
            kind,
            now,
            stranger: Some(source),
            client: None,
            sub: None,
            act: ActorChain::empty(),
            aud: None,
            asked: Asked::default(),
            proof: None,
            said_actors: None,
            policies: Arc::default(),
            note: None,
        }
    }

    /// The requester has proven who they are: by a client's credential, a password or a code.
    pub(crate) fn known(&mut self) {
        self.stranger = None;
    }

    /// Notes which policies decided a refusal, what went wrong in those that failed, and which tenants a
    /// request would have crossed.
    pub(crate) fn decided(&mut self, refused: &mut DecisionRefusal) {
        self.policies = std::mem::take(&mut refused.policies).into();
        let errors: Vec<&str> = refused.errors.iter().take(MAX_ERRORS).map(String::as_str).collect();
        let failed = (!errors.is_empty()).then(|| format!("policies failed ({})", errors.join("; ")));
        let crossed = refused.tenants.take().map(|crossing| crossing.to_string());
        let notes = self.note.take().into_iter().chain(failed).chain(crossed);
        self.note = notes.reduce(|all, more| format!("{all}: {more}"));
    }

    /// Notes the actors of a refusal, as far as they are proven: those before, and the current one.
    pub(crate) fn acted_by(&mut self, issuer: &Issuer, proven: &VerifiedActor) {
        let actor = Actor {
            sub: proven.spiffe_id().as_str().to_owned(),
            iss: issuer.clone(),
            sub_profile: Some(SubjectProfile::AiAgent),
        };
        // A chain that would loop or be too long is refused by the decision; the record then keeps the
        // history alone.
        if let Ok(chain) = self.act.extended(actor, MAX_PARSED_DEPTH) {
            self.act = chain;
        }
    }

    /// Why a code for an agent gives no mandate. The policies that decided are noted.
    pub(crate) fn of_delegated_login(&mut self, withheld: Withheld) -> RequestRefusal {
        match withheld {
            Withheld::Refusal(mut refused) => {
                self.decided(&mut refused);
                RequestRefusal::DelegatedLogin(refused.reason, refused.bounds)
            }
            withheld @ (Withheld::NeedsApproval(_) | Withheld::Failed(_)) => self.of_authorization(withheld),
        }
    }

    /// Why a person is not given their own token. The policies that decided are noted.
    pub(crate) fn of_authorization(&mut self, withheld: Withheld) -> RequestRefusal {
        match withheld {
            Withheld::Refusal(mut refused) => {
                self.decided(&mut refused);
                RequestRefusal::Authorization(refused.reason)
            }
            Withheld::NeedsApproval(needs) => {
                self.policies = Arc::clone(needs.by());
                RequestRefusal::ApprovalRequired(CredentialKind::Grant, needs.request().to_string())
            }
            Withheld::Failed(why) => RequestRefusal::Internal(why),
        }
    }

    /// Notes what a form asks for. `actor`: who the actor token claims to be, unverified.
    pub(crate) fn asks(&mut self, form: &Form<'_>, actor: Option<&str>) {
        self.asked = Asked::new(form.get(Parameter::Resource), form.get(Parameter::Scope), actor);
    }
}

/// Where every outcome is recorded, before the caller gets the answer.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) basis: Basis,
    pub(crate) log: Log,
}

impl Recorder {
    /// Records a refusal, then returns the answer for the caller.
    pub(crate) async fn refuse(&self, trail: Trail, refusal: RequestRefusal) -> OAuthError {
        self.refused(trail, refusal).await.to_error()
    }

    /// Records a refusal, then returns the one for the caller: another one if it cannot be recorded.
    pub(crate) async fn refused(&self, trail: Trail, refusal: RequestRefusal) -> RequestRefusal {
        let detail = match &trail.note {
            Some(note) => format!("{note}: {refusal}"),
            None => refusal.to_string(),
        };
        let stranger = trail.stranger;
        let record =
            self.record(trail, Outcome::Refused, refusal.code(), |record, _| record.detail = Some(detail));
        match self.log.append_refusal(record, stranger).await {
            Ok(()) => refusal,
            Err(error) => unrecorded(&error),
        }
    }

    /// Records what was taken and changes nothing, within the quota of strangers: who may send it may send it
    /// often.
    pub(crate) async fn without_effect(&self, trail: Trail, detail: String) -> Result<(), RequestRefusal> {
        let stranger = trail.stranger;
        let record =
            self.record(trail, Outcome::Refused, "no_effect", |record, _| record.detail = Some(detail));
        let appended = self.log.append_refusal(record, stranger).await;
        appended.map_err(|error| unrecorded(&error))
    }

    /// Records a mandate with its effects, if the guard still agrees by then. The authority needs the receipt
    /// before it signs.
    pub(crate) async fn mandate(
        &self,
        trail: Trail,
        view: &MandateView,
        effects: Vec<Effect>,
        guard: Option<Guard>,
    ) -> Result<Receipt, AppendError> {
        let record = view.record(self.basis.record_id(trail.now), trail.kind, trail.asked);
        match guard {
            Some(guard) => self.log.append_while(record, effects, guard).await,
            None => self.log.append(record, effects).await,
        }
    }

    /// Records a permission that is not a mandate, with its effects.
    pub(crate) async fn permit(
        &self,
        trail: Trail,
        effects: Vec<Effect>,
        fill: impl FnOnce(&mut Record, &mut KnownTerms),
    ) -> Result<Receipt, AppendError> {
        let record = self.permitted(trail, fill);
        self.log.append(record, effects).await
    }

    /// The record of a permission that is not a mandate.
    pub(crate) fn permitted(&self, trail: Trail, fill: impl FnOnce(&mut Record, &mut KnownTerms)) -> Record {
        self.record(trail, Outcome::Permitted, "ok", fill)
    }

    fn record(
        &self,
        trail: Trail,
        outcome: Outcome,
        reason: &str,
        fill: impl FnOnce(&mut Record, &mut KnownTerms),
    ) -> Record {
        let mut record = Record::new(self.basis.record_id(trail.now), trail.now, trail.kind, outcome, reason);
        record.asked = trail.asked;
        record.policies = trail.policies;
        record.proof = trail.proof;
        record.said_actors = trail.said_actors;
        let mut known = KnownTerms {
            sub: trail.sub,
            act: trail.act,
            aud: trail.aud,
            client: trail.client,
            ..KnownTerms::default()
        };
        fill(&mut record, &mut known);
        Record { about: known.into(), ..record }
    }
}

/// The refusal if a record with its effects was not written.
pub(crate) fn unrecorded(error: &AppendError) -> RequestRefusal {
    use EffectRefusal as E;
    let refusal = match error {
        AppendError::EffectRefused(E::MeterExhausted(MeterId::GrantUses(_))) => {
            RequestRefusal::Exchange(RefusalReason::GrantExhausted)
        }
        AppendError::EffectRefused(E::CodeUsed) => RequestRefusal::CodeReused,
        AppendError::EffectRefused(E::CodeExpired | E::CodeUnknown) => RequestRefusal::CodeUnknown,
        AppendError::EffectRefused(E::PushedRequestUsed) => RequestRefusal::PushedRequestUsed,
        AppendError::EffectRefused(E::RefreshUsed) => RequestRefusal::RefreshReused,
        AppendError::EffectRefused(E::RefreshUnknown | E::RefreshExpired) => RequestRefusal::RefreshUnknown,
        AppendError::EffectRefused(E::RefreshEnded) => RequestRefusal::RefreshEnded,
        AppendError::EffectRefused(E::LoginSessionEnded) => {
            ProviderRefusal::Answer("the session at the provider has ended".to_owned()).into()
        }
        // The only guard of a request is that the login still counts.
        AppendError::GuardFailed => RequestRefusal::Authorization(RefusalReason::SubjectRevoked),
        AppendError::EffectRefused(E::DeviceGone) => DeviceRefusal::UserCodeUnknown.into(),
        AppendError::EffectRefused(E::ClientsFull) => RequestRefusal::TooManyRegistrations,
        AppendError::EffectRefused(E::ClientGone) => RequestRefusal::ClientFailed("the client is gone"),
        // A change that is about to be in force: the next try is decided by it.
        AppendError::EffectRefused(E::RegistryChanged) | AppendError::Unavailable(_) => {
            RequestRefusal::AuditUnavailable
        }
        // No effect of a request, or a failure of ours.
        AppendError::EffectRefused(
            E::JoinTokenUnknown
            | E::JoinTokenUsed
            | E::JoinTokenExpired
            | E::NodeNameTaken
            | E::NodeBanned
            | E::NodeCertificateExpired
            | E::StopRecorded
            | E::Internal,
        )
        | AppendError::Invalid(_) => RequestRefusal::Internal(error.to_string()),
    };
    if matches!(refusal.class(), RefusalClass::Ours { .. }) {
        tracing::error!(%error, "an outcome could not be recorded and is refused");
    }
    refusal
}

#[cfg(test)]
mod tests {
    use mandate_audit::RecordKind;
    use mandate_core::{RequestSource, Timestamp};
    use mandate_delegation::Withheld;

    use super::{RefusalClass, Trail};

    #[test]
    fn policies_that_cannot_be_asked_are_a_fault_of_ours() {
        let mut trail = Trail::new(RecordKind::Token, Timestamp::from_millis(0), RequestSource::Other);
        let refusal = trail.of_authorization(Withheld::Failed("no context".to_owned()));
        assert!(matches!(refusal.class(), RefusalClass::Ours { .. }), "{refusal:?}");
        assert_eq!((refusal.code(), refusal.to_string().as_str()), ("internal", "internal: no context"));
        assert!(!refusal.to_error().description.contains("context"));
    }
}
