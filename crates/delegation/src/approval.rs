//! The third outcome of a decision: a policy permits the request only after a person has approved it.
//!
//! An approval is of one request: of who gets what, for whom, where. It is bound to the [`RequestHash`]. The
//! same request asked again has the same hash, and a request that differs in anything that the approving
//! person saw has another.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::Terms;
use mandate_core::digest::sha256;
use mandate_token::access_token;

use crate::mandate::MandateView;
use crate::refusal::{DecisionRefusal, RefusalReason};

/// What the bytes that are hashed begin with: no other hash of ours is over such bytes. A change of the form
/// changes this text.
const DOMAIN: &str = "mandate approval request v1";

/// There is no mandate yet: policies demand that a person approves the request first.
///
/// Only [`crate::decide`] makes one. It holds no [`crate::Mandate`], and none can be made from it, so nothing
/// can be minted:
///
/// ```compile_fail,E0308
/// use mandate_delegation::{Mandate, NeedsApproval};
/// fn mint(_: Mandate) {}
/// fn without_approval(needs: NeedsApproval) {
///     mint(needs);
/// }
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct NeedsApproval {
    request: RequestHash,
    by: Arc<[String]>,
}

impl NeedsApproval {
    /// Refuses a request for which there could be no token, so that no person is asked about it. `by`: the
    /// policies that demand it.
    pub(crate) fn decided(view: &MandateView, by: &[String]) -> Result<Self, RefusalReason> {
        access_token::encode(&view.terms).map_err(|_| RefusalReason::TooMuchForOneToken)?;
        Ok(Self { request: RequestHash::of(view), by: by.into() })
    }

    /// The hash of the request: an approval must be bound to it.
    pub fn request(&self) -> RequestHash {
        self.request
    }

    /// The names of the policies that demand it, sorted.
    pub fn by(&self) -> &Arc<[String]> {
        &self.by
    }
}

/// Why [`crate::decide`] gives no mandate.
#[derive(Debug, PartialEq, Eq)]
pub enum Withheld {
    /// A refusal, which no approval changes.
    Refusal(DecisionRefusal),
    /// A person must approve it first.
    NeedsApproval(NeedsApproval),
    /// The policies could not be asked: a fault of this server, for which nobody who is asked about is
    /// responsible.
    Failed(
        /// What went wrong: private detail.
        String,
    ),
}

impl<R: Into<DecisionRefusal>> From<R> for Withheld {
    fn from(refusal: R) -> Self {
        Self::Refusal(refusal.into())
    }
}

/// The canonical hash of a request that is to be approved: SHA-256 over the parts of the mandate that would
/// be issued, in the order and the form of `vectors/approval-request.json`.
///
/// Each text is its length in bytes (64 bits, big-endian) and its bytes in UTF-8; each list is its length (64
/// bits, big-endian) and its items. So different requests have different bytes. What differs each time the
/// same thing is asked is left out: ids and times of tokens, their keys, and how and when the person logged
/// in. Details are the text of each object, its members sorted.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestHash([u8; 32]);

impl RequestHash {
    pub(crate) fn of(view: &MandateView) -> Self {
        Self(sha256(&canonical(view)))
    }
}

impl fmt::Display for RequestHash {
    /// As base64url, 43 characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for RequestHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestHash({self})")
    }
}

/// The bytes that are hashed. The pattern names every field: with a new field, this does not compile until it
/// says whether an approval is bound to the field.
pub(crate) fn canonical(view: &MandateView) -> Vec<u8> {
    let MandateView { terms, reservations: _, policies: _, evidence: _ } = view;
    let Terms {
        issuer,
        subject,
        chain,
        audience,
        scopes,
        details,
        client,
        lineage,
        issued: _,
        expires: _,
        jti: _,
        cnf: _,
        auth_time: _,
        acr: _,
        amr: _,
    } = &**terms;
    let mut bytes = Bytes(Vec::with_capacity(512));
    bytes.text(DOMAIN);
    bytes.text(issuer.as_str());
    bytes.text(subject.iss.as_str());
    bytes.text(&subject.sub);
    bytes.list(chain.depth());
    for actor in chain.iter() {
        bytes.text(actor.iss.as_str());
        bytes.text(&actor.sub);
    }
    // A decision has exactly one resource.
    bytes.text(audience.sole().unwrap_or_default());
    bytes.list(scopes.len());
    scopes.iter().for_each(|scope| bytes.text(scope.as_str()));
    bytes.text(client.as_str());
    bytes.list(lineage.clients.len());
    lineage.clients.iter().for_each(|client| bytes.text(client.as_str()));
    bytes.list(lineage.grants.len());
    lineage.grants.iter().for_each(|grant| bytes.text(grant.as_str()));
    // Last, and only if there are details. Everything before has a length, so no two requests have the same
    // bytes.
    if !details.is_empty() {
        let texts = details.texts();
        bytes.list(texts.len());
        texts.for_each(|text| bytes.text(&text));
    }
    bytes.0
}

struct Bytes(Vec<u8>);

impl Bytes {
    fn list(&mut self, length: usize) {
        self.0.extend_from_slice(&u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.list(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }
}
