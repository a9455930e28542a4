//! The grant for which a node's certificate is signed.

use mandate_audit::{Outcome, Record, RecordKind};
use mandate_core::lifetimes::X509_SVID_LIFETIME;
use mandate_core::{Actor, ActorChain, Issuer, KnownTerms, SpiffeId, SubjectProfile, Timestamp, TrustDomain};

use crate::error::CertificateError;
use crate::mismatch::Mismatch;

/// One node certificate that is to be issued. It signs nothing by itself: it needs the receipt of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeGrant {
    spiffe_id: SpiffeId,
    issued: Timestamp,
    expires: Timestamp,
}

impl NodeGrant {
    /// For `spiffe://<trust domain>/node/<name>`, from `now` on for one hour.
    pub fn new(trust_domain: &TrustDomain, name: &str, now: Timestamp) -> Result<Self, CertificateError> {
        // One segment: a name must not reach into another part of the name space.
        if name.is_empty() || name.contains('/') {
            return Err(CertificateError::Identity);
        }
        let spiffe_id =
            trust_domain.member(&format!("/node/{name}")).map_err(|_| CertificateError::Identity)?;
        Ok(Self {
            spiffe_id,
            issued: now,
            expires: Timestamp::from_secs(now.plus(X509_SVID_LIFETIME).secs()),
        })
    }

    /// The SPIFFE ID of the node.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// The time of issue.
    pub fn issued(&self) -> Timestamp {
        self.issued
    }

    /// `notAfter`: one hour after the issue.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// What a receipt for this grant must say; `issuer` names the actor.
    pub fn known(&self, issuer: &Issuer) -> KnownTerms {
        KnownTerms { act: chain(&self.spiffe_id, issuer), exp: Some(self.expires), ..KnownTerms::default() }
    }

    /// Whether `record` says that exactly this was permitted.
    pub(crate) fn matches(&self, issuer: &Issuer, record: &Record) -> Result<(), Mismatch> {
        if record.kind != RecordKind::Node {
            return Err(Mismatch::Kind);
        }
        if record.outcome != Outcome::Permitted {
            return Err(Mismatch::Outcome);
        }
        self.known(issuer)
            .said()
            .first_difference(&record.said())
            .map_or(Ok(()), |term| Err(Mismatch::Term(term)))
    }
}

fn chain(id: &SpiffeId, issuer: &Issuer) -> ActorChain {
    let actor = Actor {
        sub: id.as_str().to_owned(),
        iss: issuer.clone(),
        sub_profile: Some(SubjectProfile::Service),
    };
    // One actor of bounded length is always a valid chain.
    ActorChain::new(vec![actor]).unwrap_or_default()
}
