//! Tokens that platforms issue to the workloads that they run: jobs of CI, pods, machines of a cloud.
//!
//! They are signed like ID tokens and access tokens, mostly say `JWT` in their header, and differ in what
//! they say. For each platform a [`Rules`], in a file of its own: which claims must be there, under which
//! names they say what an agent's entry requires, what shows that the token is another one, and for how long
//! it is accepted. Names that somebody else can have tomorrow (of a repository, an owner, a project) identify
//! nothing; ids do.

mod aws;
mod azure;
mod github_actions;
mod gitlab;
mod google;
mod kubernetes;
mod rules;

use std::time::Duration;

use mandate_core::registry::{Platform, PlatformClaims};
use mandate_core::{Issuer, Timestamp};

use crate::algorithm::Algorithm;
use crate::claim;
use crate::compact::{Compact, EcdsaForm, OtherMembers, SignatureCheck};
use crate::error::{TokenError, shortened};
use crate::key_set::{KeySet, KeyUse};
use crate::memo::SignatureMemo;
use crate::strict_json;

use rules::Rules;

/// The rules for the tokens of a platform.
const fn rules_of(platform: Platform) -> &'static Rules {
    match platform {
        Platform::GithubActions => &github_actions::RULES,
        Platform::Kubernetes => &kubernetes::RULES,
        Platform::Gitlab => &gitlab::RULES,
        Platform::Google => &google::RULES,
        Platform::Azure => &azure::RULES,
        Platform::Aws => &aws::RULES,
    }
}

/// A verified token of a platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformToken {
    /// What it says of the workload and its run.
    pub claims: PlatformClaims,
    /// Its `jti`, unique per issuer, if it has one.
    pub jti: Option<String>,
    /// When it was issued.
    pub issued: Timestamp,
    /// Until when it is accepted: its `exp`, or the end of the time for which tokens of its platform are
    /// accepted, whichever is earlier.
    pub expires: Timestamp,
}

/// What a token is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// The platform that issues the tokens of `issuer`.
    pub platform: Platform,
    /// Who must have issued it, compared bytewise with `iss`.
    pub issuer: &'a Issuer,
    /// The key set of that issuer.
    pub keys: &'a KeySet,
    /// What its `aud` must be, as sole value.
    pub audience: &'a str,
    /// The time of the check.
    pub now: Timestamp,
    /// Where verified signatures are remembered; `None`: nowhere.
    pub memo: Option<&'a SignatureMemo>,
}

/// A token, decoded and not verified. Its content may only be used to choose the entry and the keys that
/// verify it.
pub struct Unverified<'t> {
    compact: Compact<'t>,
    payload: Vec<u8>,
}

impl std::fmt::Debug for Unverified<'_> {
    /// Prints no content, because nothing in it is verified.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unverified").finish_non_exhaustive()
    }
}

impl<'t> Unverified<'t> {
    /// Decodes a compact JWS (RFC 7515 §7.1).
    pub fn of(token: &'t str) -> Result<Self, TokenError> {
        let compact = Compact::parse(token, OtherMembers::Ignore)?;
        let payload = compact.payload()?;
        Ok(Self { compact, payload })
    }

    /// The `iss` and the `sub` that it names.
    pub fn parties(&self) -> Result<(Option<String>, Option<String>), TokenError> {
        let claims = strict_json::object(&self.payload)?;
        let text = |name| claim::text(&claims, name).map(|text| text.map(str::to_owned));
        Ok((text("iss")?, text("sub")?))
    }

    /// What it says of the workload, in the form that tokens of this platform have.
    pub fn claims(&self, platform: Platform) -> Result<PlatformClaims, TokenError> {
        rules_of(platform).read(&strict_json::object(&self.payload)?, platform)
    }

    /// Verifies everything about it but that an agent's entry names what it says.
    ///
    /// Any algorithm of [`Algorithm`] is accepted that fits the key: none of them can be used to sign with
    /// what verifies, and the keys are those of the one pinned issuer.
    pub fn verify(&self, expect: &Expect<'_>) -> Result<PlatformToken, TokenError> {
        let rules = rules_of(expect.platform);
        let typ = self.compact.typ.as_deref().unwrap_or_default();
        // Media types compare without regard to case (RFC 7515 §4.1.9).
        if !rules.types.iter().any(|accepted| typ.eq_ignore_ascii_case(accepted)) {
            return Err(TokenError::Type(shortened(typ)));
        }
        // Every platform names its key. A token that names none was not made by one.
        if self.compact.key_id.is_none() {
            return Err(TokenError::UnknownKey(None));
        }
        let verified = self.compact.verify(&SignatureCheck {
            keys: expect.keys,
            key_use: KeyUse::Signature,
            allowed: Algorithm::ALL,
            form: EcdsaForm::Either,
            memo: expect.memo,
            now: expect.now,
        })?;
        let claims = strict_json::object(&self.payload)?;
        if claim::required_text(&claims, "iss")? != expect.issuer.as_str() {
            return Err(TokenError::Issuer);
        }
        claim::sole_audience(&claim::audiences(&claims)?, expect.audience)?;
        let (issued, exp) = (claim::required_time(&claims, "iat")?, claim::required_time(&claims, "exp")?);
        claim::check_times((Some(issued), claim::time(&claims, "nbf")?, exp), expect.now, Duration::ZERO)?;
        let expires = exp.min(issued.plus(rules.max_age));
        if expect.now >= expires {
            return Err(TokenError::Age);
        }
        let jti = claim::text(&claims, "jti")?.map(str::to_owned);
        let said = rules.read(&claims, expect.platform)?;
        verified.remember(expect.memo, expires);
        Ok(PlatformToken { claims: said, jti, issued, expires })
    }
}

#[cfg(test)]
mod tests;
