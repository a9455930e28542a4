//! The authority: the only code that holds private signing keys.
//!
//! It signs access tokens, JWT-SVIDs, X.509-SVIDs and (through the audit log's sequencer) checkpoints, each
//! with keys that sign nothing else. Before a signature is made, the bytes that are about to be signed are
//! parsed again and checked against their profile.
//!
//! An access token comes from one place, [`Authority::mint`], which takes the [`mandate_delegation::Mandate`]
//! of a decision and the [`mandate_sequencer::Receipt`] of its durable record:
//!
//! ```
//! use mandate_sequencer::Receipt;
//! use mandate_authority::{AccessTokenString, Authority, MintError};
//! use mandate_delegation::Mandate;
//!
//! fn once(authority: &Authority, mandate: Mandate, receipt: Receipt) -> Result<AccessTokenString, MintError> {
//!     authority.mint(mandate, receipt)
//! }
//! ```
//!
//! Neither can be made elsewhere, and neither can be used twice:
//!
//! ```compile_fail,E0451
//! fn forge(record: mandate_audit::Record) -> mandate_sequencer::Receipt {
//!     mandate_sequencer::Receipt { record, index: 0 }
//! }
//! ```
//!
//! ```compile_fail,E0451
//! # use mandate_token::access_token::Payload;
//! fn forge(view: mandate_delegation::MandateView, payload: Payload) -> mandate_delegation::Mandate {
//!     mandate_delegation::Mandate { view, payload }
//! }
//! ```
//!
//! ```compile_fail,E0624
//! fn forge(view: mandate_delegation::MandateView) -> mandate_delegation::Mandate {
//!     mandate_delegation::Mandate::decided(view)
//! }
//! ```
//!
//! ```compile_fail,E0382
//! # use mandate_sequencer::Receipt;
//! # use mandate_authority::{AccessTokenString, Authority};
//! # use mandate_delegation::Mandate;
//! fn twice(authority: &Authority, mandate: Mandate, receipt: Receipt) {
//!     let _first = authority.mint(mandate, receipt);
//!     let _second = authority.mint(mandate, receipt);
//! }
//! ```
//!
//! ```compile_fail,E0423
//! fn forge(text: String) -> mandate_authority::AccessTokenString {
//!     mandate_authority::AccessTokenString(text)
//! }
//! ```

mod authority;
mod certificate_request;
mod error;
mod jws_key;
mod key_store;
mod lint;
mod mint;
mod mismatch;
mod node;
mod published;
mod ring;
mod svid;
mod x509;

pub use authority::{Authority, server_id};
pub use certificate_request::{InvalidRequest, MAX_REQUEST_LEN, ProvenKey};
pub use error::{CertificateError, MintError, OpenError, RotateError};
pub use lint::certificate::CertificateLint;
pub use lint::claims::ClaimsLint;
pub use mint::AccessTokenString;
pub use mismatch::Mismatch;
pub use node::NodeGrant;
pub use ring::Purpose;
pub use svid::{JwtSvidGrant, MAX_AUDIENCE_LEN, MAX_AUDIENCES, is_reserved};
pub use x509::{IssuedCertificate, ServerCertificate, ServerName};
