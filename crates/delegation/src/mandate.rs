//! The result of a decision that permits.

use std::sync::Arc;

use mandate_audit::{Asked, Kind, Outcome, Record};
use mandate_core::{ActorChain, ClientId, Issuer, Lineage, Person, RecordId, Reservation, ScopeSet, Timestamp, TokenId};
use mandate_token::access_token::{self, Claims, Payload};

use crate::refusal::RefusalReason;

/// One delegation that has been decided: who, through whom, where, what, until when.
///
/// Only [`crate::decide`] builds it, and it cannot be cloned: `authority` consumes it, together with the receipt of its
/// durable audit record, to mint exactly one token.
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
    /// The claims of `view`.
    payload: Payload,
}

/// What a mandate says. A copy of it grants nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MandateView {
    /// Our issuer, the `iss` of the token.
    pub issuer: Issuer,
    /// On whose behalf.
    pub subject: Person,
    /// Who acts, outermost first; empty for a person's own token.
    pub chain: ActorChain,
    /// The one audience.
    pub resource: String,
    /// What is allowed there. Never empty.
    pub scopes: ScopeSet,
    /// From when: `iat`.
    pub issued: Timestamp,
    /// Until when: `exp`.
    pub expires: Timestamp,
    /// The token's id.
    pub jti: TokenId,
    /// To which client.
    pub client: ClientId,
    /// From which tokens and grants.
    pub lineage: Lineage,
    /// When the person last proved who they are (RFC 9068 §2.2.1), unchanged by exchanges.
    pub auth_time: Option<Timestamp>,
    /// Authentication context, unchanged by exchanges.
    pub acr: Option<String>,
    /// Authentication methods, unchanged by exchanges.
    pub amr: Vec<String>,
    /// What it uses up. It is taken in the transaction of its record.
    pub reservations: Vec<Reservation>,
    /// The policies that permitted it, by name.
    pub policies: Arc<[String]>,
}

impl Mandate {
    /// Refuses what no token can say. The record is written before the token is signed, so it must be known here.
    pub(crate) fn decided(view: MandateView) -> Result<Self, RefusalReason> {
        // What else there is to refuse in claims, `decide` has refused.
        let payload = access_token::encode(&view.claims()).map_err(|_| RefusalReason::TooMuchForOneToken)?;
        Ok(Self { view, payload })
    }

    /// What it says.
    pub fn view(&self) -> &MandateView {
        &self.view
    }

    /// What its token says, as it is signed.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }
}

impl MandateView {
    /// The claims of its token.
    pub fn claims(&self) -> Claims<'_> {
        Claims {
            iss: &self.issuer,
            subject: &self.subject,
            audience: &self.resource,
            client_id: &self.client,
            jti: &self.jti,
            iat: self.issued,
            exp: self.expires,
            scope: &self.scopes,
            chain: &self.chain,
            lineage: &self.lineage,
            auth_time: self.auth_time,
            acr: self.acr.as_deref(),
            amr: &self.amr,
            // Who may act next is decided from the registry at the next exchange, not written into the token.
            may_act: None,
        }
    }

    /// The audit record that must be durable before the token is minted. It says everything the token will say.
    pub fn record(&self, id: RecordId, kind: Kind, asked: Asked) -> Record {
        Record {
            sub: Some(self.subject.clone()),
            act: self.chain.clone(),
            aud: Some(self.resource.clone()),
            scope: self.scopes.clone(),
            jti: Some(self.jti.clone()),
            exp: Some(self.expires),
            client: Some(self.client.shared()),
            lineage: self.lineage.clone(),
            asked,
            policies: Arc::clone(&self.policies),
            ..Record::new(id, self.issued, kind, Outcome::Permitted, "ok")
        }
    }
}
