//! The result of a decision that permits.

use std::sync::Arc;

use mandate_audit::{Asked, Record, RecordKind};
use mandate_core::registry::ProofEvidence;
use mandate_core::{RecordId, Reservation, SaidActors, Terms};
use mandate_token::access_token::{self, Payload};

use crate::refusal::RefusalReason;

/// One delegation that has been decided: who, through whom, where, what, until when.
///
/// Only [`crate::decide`] builds it, and it cannot be cloned: `authority` consumes it, together with the
/// receipt of its durable audit record, to mint exactly one token.
///
/// ```compile_fail,E0451
/// // There is no constructor, and the fields are private.
/// # use mandate_token::access_token::Payload;
/// fn forged(view: mandate_delegation::MandateView, payload: Payload) -> mandate_delegation::Mandate {
///     mandate_delegation::Mandate { view, payload }
/// }
/// ```
///
/// ```compile_fail,E0599
/// fn twice(mandate: mandate_delegation::Mandate) -> (mandate_delegation::Mandate, mandate_delegation::Mandate) {
///     (mandate.clone(), mandate)
/// }
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct Mandate {
    view: MandateView,
    /// The terms of `view`, as claims.
    payload: Payload,
}

/// What a mandate says, and how it came about. A copy of it grants nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MandateView {
    /// What its token says and its record repeats.
    pub terms: Arc<Terms>,
    /// What it uses up. It is taken in the transaction of its record.
    pub reservations: Vec<Reservation>,
    /// The policies that permitted it, by name.
    pub policies: Arc<[String]>,
    /// What the token of a platform said that proved the agent; `None` if a JWT-SVID did.
    pub evidence: Option<Arc<ProofEvidence>>,
    /// What the subject token of another issuer said of its actors. It is recorded, and gives nobody authority.
    pub said_actors: Option<Arc<SaidActors>>,
}

impl Mandate {
    /// Refuses terms for which there can be no token. This must be known here, because the record is written
    /// before the signature.
    pub(crate) fn decided(view: MandateView) -> Result<Self, RefusalReason> {
        // `decide` has already refused everything else that claims must not say.
        let payload = access_token::encode(&view.terms).map_err(|_| RefusalReason::TooMuchForOneToken)?;
        Ok(Self { view, payload })
    }

    /// The terms and how they came about, as a copy that grants nothing.
    pub fn view(&self) -> &MandateView {
        &self.view
    }

    /// What its token says, as it is signed.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }
}

impl MandateView {
    /// The audit record that must be durable before the token is minted. It says everything the token will
    /// say.
    pub fn record(&self, id: RecordId, kind: RecordKind, asked: Asked) -> Record {
        let unattested = self.terms.actor_is_unattested();
        Record {
            detail: unattested.then(|| "unattested: the actor is a client that describes itself".to_owned()),
            asked,
            policies: Arc::clone(&self.policies),
            proof: self.evidence.clone(),
            said_actors: self.said_actors.clone(),
            ..Record::of_mandate(id, kind, Arc::clone(&self.terms))
        }
    }
}
