//! What the tokens of a platform say and where, in a form that is the same for all platforms.

use std::borrow::Cow;
use std::time::Duration;

use mandate_core::registry::{MAX_MEMBER_LEN, MemberForm, Platform, PlatformClaims};

use crate::claim;
use crate::error::TokenError;
use crate::strict_json::{Json, Object};

/// The rules for the tokens of one platform.
pub(super) struct Rules {
    /// The values of `typ` in the header, in lower case; an empty one means that it may be absent.
    pub(super) types: &'static [&'static str],
    /// For how long after its `iat` a token is accepted, also if it expires later.
    pub(super) max_age: Duration,
    /// Claims that it has although they mostly belong to other tokens.
    pub(super) own: &'static [&'static str],
    /// What it says.
    pub(super) facts: &'static [Fact],
    /// What its `sub` must be.
    pub(super) sub: fn(&str, &PlatformClaims) -> Result<(), TokenError>,
}

/// One thing that a token says: the name by which entries and records know it, and where it is.
pub(super) struct Fact {
    pub(super) name: &'static str,
    /// The claim, and the members inside it.
    path: &'static [&'static str],
    pub(super) presence: Presence,
    /// Whether it may be `true` or `false` in JSON; otherwise these are texts, too.
    boolean: bool,
}

/// Whether a token must say it.
#[derive(PartialEq, Eq)]
pub(super) enum Presence {
    Required,
    Optional,
}

pub(super) const fn required(name: &'static str, path: &'static [&'static str]) -> Fact {
    Fact { name, path, presence: Presence::Required, boolean: false }
}

pub(super) const fn optional(name: &'static str, path: &'static [&'static str]) -> Fact {
    Fact { name, path, presence: Presence::Optional, boolean: false }
}

pub(super) const fn flag(name: &'static str, path: &'static [&'static str]) -> Fact {
    Fact { name, path, presence: Presence::Optional, boolean: true }
}

/// Claims of ID tokens and access tokens, of clients and people; no token of a workload has one of them.
const OF_OTHER_TOKENS: &[&str] = &[
    "act",
    "may_act",
    "events",
    "nonce",
    "at_hash",
    "c_hash",
    "s_hash",
    "auth_time",
    "scope",
    "scp",
    "client_id",
    "azp",
    "cnf",
];

impl Rules {
    pub(super) fn read(&self, claims: &Object<'_>, platform: Platform) -> Result<PlatformClaims, TokenError> {
        let others = OF_OTHER_TOKENS.iter().filter(|claim| !self.own.contains(claim));
        claim::refuse(claims, &others.copied().collect::<Vec<_>>())?;
        let mut said = PlatformClaims::new();
        for fact in self.facts {
            match fact.of(claims)? {
                Some(text) => {
                    let form = platform.member(fact.name).map_or(MemberForm::Text, |member| member.form);
                    if !form.accepts(&text) {
                        return Err(TokenError::Claim { claim: fact.claim(), why: "not of its usual form" });
                    }
                    said.insert(fact.name, text.into_owned());
                }
                None if fact.presence == Presence::Required => {
                    return Err(TokenError::MissingClaim(fact.claim()));
                }
                None => {}
            }
        }
        let sub = claim::required_text(claims, "sub")?;
        // RFC 7523 §3: so a client names itself. No platform is the subject of its own tokens.
        if claim::text(claims, "iss")? == Some(sub) {
            return Err(TokenError::Claim { claim: "sub", why: "it is the issuer itself" });
        }
        (self.sub)(sub, &said)?;
        Ok(said)
    }
}

impl Fact {
    /// The name for errors: that of the innermost member.
    fn claim(&self) -> &'static str {
        self.path.last().copied().unwrap_or(self.name)
    }

    /// An absent claim and an empty one say the same: platforms write both.
    fn of<'c>(&self, claims: &'c Object<'_>) -> Result<Option<Cow<'c, str>>, TokenError> {
        let fault = |why| Err(TokenError::Claim { claim: self.claim(), why });
        let Some((last, outer)) = self.path.split_last() else { return Ok(None) };
        let mut at = claims;
        for step in outer {
            at = match at.get(step) {
                None | Some(Json::Null) => return Ok(None),
                Some(Json::Object(inner)) => inner,
                Some(_) => return fault("not an object"),
            };
        }
        match at.get(last) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Text(text)) if text.is_empty() => Ok(None),
            Some(Json::Text(text)) if text.len() > MAX_MEMBER_LEN => fault("longer than 512 bytes"),
            Some(Json::Text(text)) => Ok(Some(Cow::Borrowed(text))),
            Some(Json::Number(number)) => match number.as_u64() {
                Some(number) => Ok(Some(Cow::Owned(number.to_string()))),
                None => fault("not a whole number"),
            },
            Some(Json::Bool(flag)) if self.boolean => {
                Ok(Some(Cow::Borrowed(if *flag { "true" } else { "false" })))
            }
            Some(_) => fault("not a text"),
        }
    }
}
