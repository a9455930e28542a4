//! The third outcome of a decision: a policy permits the request only after a person has approved it.
//!
//! An approval is of one request: of who gets what, for whom, where. It is bound to the [`RequestHash`]. The
//! same request asked again has the same hash, and a request that differs in anything that the approving
//! person saw has another.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::digest::sha256;
use mandate_token::access_token;

use crate::mandate::MandateView;
use crate::refusal::{DecisionRefusal, RefusalReason};

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

/// The canonical hash of a request that is to be approved: SHA-256 over
/// [`mandate_core::Terms::approval_form`] of the mandate that would be issued.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestHash([u8; 32]);

impl RequestHash {
    pub(crate) fn of(view: &MandateView) -> Self {
        Self(sha256(&view.terms.approval_form()))
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
