//! Minting: a mandate and the receipt of its durable record become one access token.

use std::fmt;

use mandate_audit::{Outcome, Record, RecordKind};
use mandate_core::Terms;
use mandate_delegation::Mandate;
use mandate_sequencer::Receipt;
use mandate_token::access_token;

use crate::error::MintError;
use crate::jws_key::JwsKey;
use crate::lint::claims::check_access_token;
use crate::mismatch::Mismatch;

/// A signed access token. It does not print: any holder of the text can use it.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessTokenString(String);

impl AccessTokenString {
    /// The compact JWS, for the answer to the client. The name is long so that every use can be found.
    pub fn expose_token(&self) -> &str {
        &self.0
    }

    /// As [`AccessTokenString::expose_token`], owned.
    pub fn into_exposed_token(self) -> String {
        self.0
    }
}

impl fmt::Debug for AccessTokenString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessTokenString(redacted)")
    }
}

/// Whether the record says that this mandate was permitted, with all of its content.
pub(crate) fn matches(terms: &Terms, record: &Record) -> Result<(), Mismatch> {
    if !matches!(record.kind, RecordKind::Exchange | RecordKind::Token) {
        return Err(Mismatch::Kind);
    }
    if record.outcome != Outcome::Permitted {
        return Err(Mismatch::Outcome);
    }
    let recorded = record.mandate().ok_or(Mismatch::NoMandate)?;
    if let Some(term) = recorded.first_difference(terms) {
        return Err(Mismatch::Term(term));
    }
    // The time of issue is written as that of the record.
    if record.time == terms.issued { Ok(()) } else { Err(Mismatch::Time) }
}

pub(crate) fn mint(
    key: &JwsKey,
    mandate: &Mandate,
    receipt: &Receipt,
) -> Result<AccessTokenString, MintError> {
    matches(&mandate.view().terms, receipt.record())?;
    sign(key, mandate)
}

/// Private to this module: nothing else may sign an access token.
fn sign(key: &JwsKey, mandate: &Mandate) -> Result<AccessTokenString, MintError> {
    let signer = key.linted(|message, kid| check_access_token(message, kid, &mandate.view().terms));
    match access_token::sign(mandate.payload(), &signer) {
        Ok(token) => Ok(AccessTokenString(token)),
        Err(_) => Err(signer.into_broken().map_or(MintError::Signature, MintError::Lint)),
    }
}
