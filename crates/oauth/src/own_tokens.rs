//! Verification of what we signed: access tokens and JWT-SVIDs.

use std::sync::Arc;

use mandate_authority::Authority;
use mandate_core::{Timestamp, TrustDomain};
use mandate_delegation::VerifiedActor;
use mandate_token::access_token::{self, AccessToken, Expect, Profile};
use mandate_token::{SignatureMemo, TokenError, jwt_svid};
use serde_json::{Map, Value};

use crate::basis::Basis;

/// How many verified signatures are remembered; about 120 bytes each.
const MEMO_CAPACITY: usize = 32 * 1024;

/// Verifies what we signed.
pub(crate) struct OwnTokens {
    basis: Basis,
    authority: Arc<Authority>,
    trust_domain: TrustDomain,
    memo: SignatureMemo,
}

impl OwnTokens {
    pub(crate) fn new(basis: Basis, authority: Arc<Authority>, trust_domain: TrustDomain) -> Self {
        Self { basis, authority, trust_domain, memo: SignatureMemo::new(MEMO_CAPACITY) }
    }

    /// The signatures that were verified lately. Those of other issuers are remembered with ours: the memory
    /// is bounded once.
    pub(crate) fn memo(&self) -> &SignatureMemo {
        &self.memo
    }

    /// Verifies an access token of ours.
    pub(crate) fn access_token(&self, token: &str, now: Timestamp) -> Result<AccessToken, TokenError> {
        let keys = self.authority.access_token_jwks();
        access_token::verify(
            token,
            &Expect {
                issuer: self.basis.issuer(),
                keys: &keys,
                now,
                profile: Profile::Own,
                memo: Some(&self.memo),
            },
        )
    }

    /// As [`OwnTokens::access_token`], with the signed claims as they are.
    pub(crate) fn access_token_with_claims(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<(AccessToken, Map<String, Value>), TokenError> {
        let keys = self.authority.access_token_jwks();
        let expect = Expect {
            issuer: self.basis.issuer(),
            keys: &keys,
            now,
            profile: Profile::Own,
            memo: Some(&self.memo),
        };
        access_token::verify_with_claims(token, &expect)
    }

    /// Verifies a JWT-SVID of our trust domain that is meant for us and nobody else.
    pub(crate) fn svid(&self, token: &str, now: Timestamp) -> Result<VerifiedActor, TokenError> {
        let keys = self.authority.jwt_bundle();
        let svid = jwt_svid::verify(
            token,
            &keys,
            &self.trust_domain,
            self.basis.issuer().as_str(),
            now,
            Some(&self.memo),
        )?;
        Ok(VerifiedActor::from_svid(svid, now))
    }
}
