//! OAuth access tokens as JWT (RFC 9068), with the actor chain of RFC 8693 §4.1.
//!
//! A person of another issuer who is the subject of one of our own tokens has a `sub` that no person of ours
//! can have ([`subject_claim`]), and `sub_id` (RFC 9493) says how their own issuer names them. The private
//! claim `lineage` says from which tokens and grants a token descends. The `sub` of an agent's own token is
//! the agent's SPIFFE ID, with `sub_profile`.

mod act;
mod build;
mod explain;
mod foreign;
mod introspected;
mod own_behalf;
mod subject;

use mandate_core::lifetimes::{CLOCK_SKEW, PERSON_TOKEN_LIFETIME};
use mandate_core::registry::{MAX_GROUPS, SubjectScope, TokenProfile, TrustedIssuer};
use mandate_core::{
    ActorChain, Audience, ClientId, Confirmation, Details, GroupName, Issuer, Lineage, SaidActors, ScopeSet,
    Subject, TenantName, Terms, Timestamp, TokenId,
};
use serde_json::{Map, Value};

use crate::algorithm::Algorithm;
use crate::claim;
use crate::compact::{Compact, EcdsaForm, OtherMembers, SignatureCheck, VerifiedSignature, ZIP};
use crate::error::{TokenError, shortened};
use crate::key_set::{KeySet, KeyUse};
use crate::mapped::{MappedClaims, Mapping};
use crate::memo::SignatureMemo;
use crate::product::Shape;
pub use crate::sign::Payload;
use crate::strict_json::{self, Json, Object};

pub use act::MayAct;
pub use build::{build, encode, sign};
pub use explain::{Against, Explanation, Part, PartVerdict, Verdict, explain, explain_id_token};
pub(crate) use foreign::digest_id;
pub use foreign::foreign_token_id;
pub use introspected::{IntrospectionFault, introspected};
pub(crate) use own_behalf::is_of_no_person;
pub use subject::subject_claim;

/// The `typ` that we write (RFC 9068 §2.1).
pub const TYPE: &str = "at+jwt";

/// The most ids in each list of a lineage: far above what the chain depth allows.
const MAX_LINEAGE: usize = 64;

/// Which kind of issuer a token must come from, and so which rules it must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// This server: ES256 in the one accepted form, no header members other than `alg`, `kid` and `typ`, no
    /// clock skew at `exp`.
    Own,
    /// Another issuer that is trusted: any algorithm of [`Algorithm`], clock skew is allowed at `exp`. Our
    /// claims `sub_id` and `lineage` mean nothing there and are not read.
    Foreign(TokenProfile),
    /// As [`Profile::Foreign`], for an issuer that only identifies the person: scopes are not read either,
    /// and are empty.
    ForeignIdentity(TokenProfile),
}

impl Profile {
    /// The profile of the tokens of a trusted issuer.
    #[must_use]
    pub const fn of_issuer(issuer: &TrustedIssuer) -> Self {
        match issuer.subject_scope {
            SubjectScope::Token => Self::Foreign(issuer.profile),
            SubjectScope::IdentityOnly => Self::ForeignIdentity(issuer.profile),
        }
    }

    /// How the tokens of another issuer look.
    fn shape(self) -> Option<&'static Shape> {
        match self {
            Self::Own => None,
            Self::Foreign(product) | Self::ForeignIdentity(product) => Some(Shape::of(product)),
        }
    }
}

/// What a token is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// Who must have issued it, compared bytewise with `iss`.
    pub issuer: &'a Issuer,
    /// The key set of that issuer, in which the token's `kid` is looked up.
    pub keys: &'a KeySet,
    /// The time of the check.
    pub now: Timestamp,
    /// The rules for tokens of this issuer.
    pub profile: Profile,
    /// Where verified signatures are remembered; `None`: nowhere.
    pub memo: Option<&'a SignatureMemo>,
}

/// A verified access token. Its audience is not checked yet: see [`AccessToken::require_audience`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// What it says. In tokens of other issuers `jti` is [`foreign_token_id`], so that no issuer can name
    /// another's token; `details` and `lineage` are empty, no matter what such a token claims.
    pub terms: Terms,
    /// `nbf`: before this time the token is not valid.
    pub nbf: Option<Timestamp>,
    /// The only party that may become its next actor (RFC 8693 §4.4). Our own tokens do not say it: who may
    /// act next is decided from the registry at the next exchange.
    pub may_act: Option<MayAct>,
    /// What the entry of another issuer reads besides. In our own tokens it is empty.
    pub mapped: MappedClaims,
    /// What a token of another issuer says of its actors, for the record; `None` if it says nothing, and in tokens of
    /// our own, whose chain is all that they say.
    pub said_actors: Option<SaidActors>,
}

impl AccessToken {
    /// Requires that `aud` is `resource` and nothing else: see [`Audience::is_only`].
    pub fn require_audience(&self, resource: &str) -> Result<(), TokenError> {
        if self.terms.audience.is_only(resource) { Ok(()) } else { Err(TokenError::Audience) }
    }

    /// What the entry of its issuer requires of its claims and reads from them besides, whether the token has
    /// them or its issuer says them of it. If its issuer nests actors the other way round, they are in the order
    /// in which others read them.
    fn read_by_the_entry(mut self, claims: &Object<'_>, issuer: &TrustedIssuer) -> Result<Self, TokenError> {
        has_what_is_required(claims, issuer)?;
        self.mapped = MappedClaims::read(claims, Mapping::of(issuer))?;
        if issuer.oldest_actor_first {
            self.terms.chain = self.terms.chain.reversed();
            if let Some(said) = &mut self.said_actors {
                (said.form, said.chain) = (said.form.oldest_first(), said.chain.reversed());
            }
        }
        Ok(self)
    }

    /// Until when a token of another issuer is accepted: for at most [`PERSON_TOKEN_LIFETIME`] from its
    /// `iat`, even if its `exp` is later. Cuts are remembered for as long as our own tokens are valid, and a
    /// token must not outlive a cut that it is below.
    pub fn usable_until(&self) -> Timestamp {
        usable_until(self.terms.issued, self.terms.expires)
    }
}

pub(crate) fn usable_until(issued: Timestamp, expires: Timestamp) -> Timestamp {
    expires.min(issued.plus(PERSON_TOKEN_LIFETIME))
}

/// A token of another issuer, decoded and not yet read.
pub struct Decoded<'t> {
    text: &'t str,
    compact: Compact<'t>,
    payload: Vec<u8>,
}

impl<'t> Decoded<'t> {
    /// Decodes a compact JWS (RFC 7515 §7.1). Its type is checked when its issuer is known.
    pub fn of(token: &'t str) -> Result<Self, TokenError> {
        let compact = Compact::parse(token, OtherMembers::Ignore)?;
        let payload = compact.payload()?;
        Ok(Self { text: token, compact, payload })
    }

    /// Whether its header is that of an access token of this profile.
    pub fn check_header(&self, profile: Profile) -> Result<(), TokenError> {
        check_header(&self.compact, profile)
    }

    /// Reads what it says.
    pub fn read(&self) -> Result<Unverified<'_>, TokenError> {
        Ok(Unverified {
            text: self.text,
            compact: &self.compact,
            claims: strict_json::object(&self.payload)?,
        })
    }
}

/// A token of which nothing is verified yet. Its content may only be used to choose the keys that verify it,
/// and to choose the error if there are no keys.
pub struct Unverified<'d> {
    text: &'d str,
    pub(crate) compact: &'d Compact<'d>,
    pub(crate) claims: Object<'d>,
}

impl Unverified<'_> {
    /// The issuer that it names.
    pub fn issuer(&self) -> Result<&str, TokenError> {
        claim::required_text(&self.claims, "iss")
    }

    /// When it says that it was issued.
    pub fn issued(&self) -> Result<Timestamp, TokenError> {
        claim::required_time(&self.claims, "iat")
    }

    /// The token as it was sent.
    pub fn as_str(&self) -> &str {
        self.text
    }

    /// As [`verify`], without reading it again.
    pub fn verify(
        &self,
        issuer: &TrustedIssuer,
        keys: &KeySet,
        now: Timestamp,
        memo: Option<&SignatureMemo>,
    ) -> Result<AccessToken, TokenError> {
        let expect = Expect { issuer: &issuer.url, keys, now, profile: Profile::of_issuer(issuer), memo };
        check_header(self.compact, expect.profile)?;
        let verified = signature(self.compact, &expect)?;
        let about = (expect.issuer, expect.now, expect.profile);
        let token = read(Source::Signed(self.compact.signed()), &self.claims, about)?;
        let token = token.read_by_the_entry(&self.claims, issuer)?;
        verified.remember(expect.memo, token.terms.expires);
        Ok(token)
    }
}

impl std::fmt::Debug for Decoded<'_> {
    /// Prints no content, because nothing in it is verified.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoded").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Unverified<'_> {
    /// Prints no content, because nothing in it is verified.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unverified").finish_non_exhaustive()
    }
}

/// Verifies everything about an access token (RFC 9068 §4) except its audience and scopes.
pub fn verify(token: &str, expect: &Expect<'_>) -> Result<AccessToken, TokenError> {
    verify_payload(token, expect).map(|(token, _)| token)
}

/// As [`verify`], and also returns all signed claims.
pub fn verify_with_claims(
    token: &str,
    expect: &Expect<'_>,
) -> Result<(AccessToken, Map<String, Value>), TokenError> {
    let (token, payload) = verify_payload(token, expect)?;
    Ok((token, strict_json::object(&payload)?.to_map()))
}

fn verify_payload(token: &str, expect: &Expect<'_>) -> Result<(AccessToken, Vec<u8>), TokenError> {
    let others = match expect.profile {
        Profile::Own => OtherMembers::Refuse,
        Profile::Foreign(_) | Profile::ForeignIdentity(_) => OtherMembers::Ignore,
    };
    let compact = Compact::parse(token, others)?;
    check_header(&compact, expect.profile)?;
    if expect.profile == Profile::Own && compact.key_id.is_none() {
        return Err(TokenError::UnknownKey(None));
    }
    let verified = signature(&compact, expect)?;
    let payload = compact.payload()?;
    let about = (expect.issuer, expect.now, expect.profile);
    let token = read(Source::Signed(compact.signed()), &strict_json::object(&payload)?, about)?;
    verified.remember(expect.memo, token.terms.expires);
    Ok((token, payload))
}

fn signature(compact: &Compact<'_>, expect: &Expect<'_>) -> Result<VerifiedSignature, TokenError> {
    let (allowed, form): (&[Algorithm], _) = match expect.profile {
        Profile::Own => (&[Algorithm::Es256], EcdsaForm::LowOnly),
        Profile::Foreign(_) | Profile::ForeignIdentity(_) => (Algorithm::ALL, EcdsaForm::Either),
    };
    compact.verify(&SignatureCheck {
        keys: expect.keys,
        key_use: KeyUse::Signature,
        allowed,
        form,
        memo: expect.memo,
        now: expect.now,
    })
}

fn check_header(compact: &Compact<'_>, profile: Profile) -> Result<(), TokenError> {
    let Some(shape) = profile.shape() else {
        let typ = compact.typ.as_deref().unwrap_or_default();
        return if typ == TYPE { Ok(()) } else { Err(TokenError::Type(shortened(typ))) };
    };
    check_type(compact, shape)?;
    check_other_members(compact, shape)
}

/// Media types compare without regard to case (RFC 7515 §4.1.9).
pub(crate) fn check_type(compact: &Compact<'_>, shape: &Shape) -> Result<(), TokenError> {
    let typ = compact.typ.as_deref().unwrap_or_default();
    let known = shape.types.iter().any(|accepted| typ.eq_ignore_ascii_case(accepted));
    if known { Ok(()) } else { Err(TokenError::Type(shortened(typ))) }
}

pub(crate) fn check_other_members(compact: &Compact<'_>, shape: &Shape) -> Result<(), TokenError> {
    let refused = |name: &&String| {
        shape.not_in_header.contains(&name.as_str()) || (name.as_str() == ZIP && !shape.zip_none)
    };
    match compact.others.iter().find(refused) {
        Some(name) => Err(TokenError::Header(shortened(name))),
        None => Ok(()),
    }
}

/// Where the claims of a token are from.
#[derive(Clone, Copy)]
enum Source<'t> {
    /// From the token, of which this is the signed part.
    Signed(&'t str),
    /// From its issuer, about this token.
    Opaque(&'t str),
}

fn read(
    source: Source<'_>,
    claims: &Object<'_>,
    (issuer, now, profile): (&Issuer, Timestamp, Profile),
) -> Result<AccessToken, TokenError> {
    check_issuer(claims, issuer)?;
    let iss = issuer.clone();
    let (iat, exp) = (claim::required_time(claims, "iat")?, claim::required_time(claims, "exp")?);
    let nbf = claim::time(claims, "nbf")?;
    let skew = if profile == Profile::Own { std::time::Duration::ZERO } else { CLOCK_SKEW };
    claim::check_times((Some(iat), nbf, exp), now, skew)?;
    let said = match profile.shape() {
        None => own(claims, &iss)?,
        Some(shape) => foreign::read(source, claims, shape, (issuer, profile))?,
    };
    let terms = Terms {
        subject: said.subject,
        chain: said.chain,
        audience: said.audience,
        scopes: said.scopes,
        details: said.details,
        issued: iat,
        expires: exp,
        jti: said.jti,
        client: said.client,
        lineage: said.lineage,
        cnf: confirmation(claims)?,
        auth_time: claim::time(claims, "auth_time")?,
        acr: claim::text(claims, "acr")?.map(str::to_owned),
        amr: methods(claims)?,
        groups: said.groups,
        tenant: said.tenant,
        issuer: iss,
    };
    let may_act = act::may_act(claims.get("may_act"), &terms.issuer)?;
    let (mapped, said_actors) = (MappedClaims::default(), said.actors);
    Ok(AccessToken { terms, nbf, may_act, mapped, said_actors })
}

/// Whether it has the claims that the issuer's entry requires.
fn has_what_is_required(claims: &Object<'_>, issuer: &TrustedIssuer) -> Result<(), TokenError> {
    let lacks = |(name, value): &(&String, &String)| !has_text(claims, name, value);
    match issuer.required_claims.iter().find(lacks) {
        Some((name, _)) => Err(TokenError::RequiredClaim(name.clone())),
        None => Ok(()),
    }
}

fn has_text(claims: &Object<'_>, name: &str, text: &str) -> bool {
    claims.get(name).and_then(Json::as_text) == Some(text)
}

fn check_issuer(claims: &Object<'_>, issuer: &Issuer) -> Result<(), TokenError> {
    if claim::required_text(claims, "iss")? == issuer.as_str() { Ok(()) } else { Err(TokenError::Issuer) }
}

/// What our tokens and those of others say in different ways.
struct Said {
    subject: Option<Subject>,
    chain: ActorChain,
    audience: Audience,
    scopes: ScopeSet,
    details: Details,
    jti: TokenId,
    client: ClientId,
    lineage: Lineage,
    groups: Vec<GroupName>,
    tenant: Option<TenantName>,
    actors: Option<SaidActors>,
}

fn own(claims: &Object<'_>, iss: &Issuer) -> Result<Said, TokenError> {
    // A token of ours always has them, also where they say less than `sub_id`.
    claim::required_text(claims, "sub")?;
    let (subject, chain) = match own_behalf::agent(claims, iss)? {
        Some(agent) => (None, own_behalf::chain(agent)?),
        None => (Some(subject::person(claims, iss)?), act::chain(claims.get("act"), iss)?),
    };
    let jti = claim::required_text(claims, "jti")?;
    Ok(Said {
        jti: jti.parse().map_err(|_| TokenError::Claim { claim: "jti", why: "not one of our ids" })?,
        subject,
        chain,
        actors: None,
        lineage: lineage(claims)?,
        groups: groups(claims)?,
        tenant: tenant(claims)?,
        details: details(claims)?,
        scopes: scope(claims, "scope")?,
        audience: audience(claims)?,
        client: client(claims, "client_id")?.ok_or(TokenError::MissingClaim("client_id"))?,
    })
}

/// How the person authenticated (RFC 8176).
fn methods(claims: &Object<'_>) -> Result<Vec<String>, TokenError> {
    Ok(claims.get("amr").map(|list| claim::texts(list, "amr")).transpose()?.unwrap_or_default())
}

fn client(claims: &Object<'_>, name: &'static str) -> Result<Option<ClientId>, TokenError> {
    let fault = |_| TokenError::Claim { claim: name, why: "not a client id" };
    claim::text(claims, name)?.map(|text| text.parse().map_err(fault)).transpose()
}

fn audience(claims: &Object<'_>) -> Result<Audience, TokenError> {
    // Nearly always one text: then no list is made.
    if let Some(one @ Json::Text(_)) = claims.get("aud") {
        return Ok(Audience::one(claim::checked_text(one, "aud")?.to_owned()));
    }
    let mut all = claim::audiences(claims)?.into_iter();
    let first = all.next().ok_or(TokenError::MissingClaim("aud"))?;
    Ok(Audience::several(first, all.collect()))
}

fn scope(claims: &Object<'_>, name: &'static str) -> Result<ScopeSet, TokenError> {
    match claims.get(name) {
        None => Ok(ScopeSet::new()),
        // Some servers write an empty text if there is no scope.
        Some(Json::Text(text)) if text.is_empty() => Ok(ScopeSet::new()),
        Some(Json::Text(text)) => {
            text.parse().map_err(|_| TokenError::Claim { claim: name, why: "not a list of scopes" })
        }
        Some(_) => Err(TokenError::Claim { claim: name, why: "not a text" }),
    }
}

/// RFC 7800 §3.1. A `cnf` that is not understood still binds the token.
pub(crate) fn confirmation(claims: &Object<'_>) -> Result<Option<Confirmation>, TokenError> {
    match claims.get("cnf") {
        None => Ok(None),
        Some(Json::Object(members)) => {
            Ok(Some(Confirmation::of_members(members.iter().map(|(name, value)| (name, value.as_text())))))
        }
        Some(_) => Err(TokenError::Claim { claim: "cnf", why: "not an object" }),
    }
}

/// RFC 9396 §9.1. Our own tokens leave the claim out if it says nothing.
fn details(claims: &Object<'_>) -> Result<Details, TokenError> {
    let fault = |why| TokenError::Claim { claim: "authorization_details", why };
    let objects = match claims.get("authorization_details") {
        None => return Ok(Details::default()),
        Some(Json::List(items)) if !items.is_empty() => items.iter().map(|item| match item {
            Json::Object(members) => Some(members.to_map()),
            _ => None,
        }),
        Some(_) => return Err(fault("not a list of objects")),
    };
    let objects = objects.collect::<Option<Vec<_>>>().ok_or_else(|| fault("not a list of objects"))?;
    Details::new(objects).map_err(|_| fault("not authorization details"))
}

fn lineage(claims: &Object<'_>) -> Result<Lineage, TokenError> {
    let fault = TokenError::Claim { claim: "lineage", why: "not a lineage" };
    let Some(value) = claims.get("lineage") else { return Ok(Lineage::default()) };
    let lineage: Lineage = serde::Deserialize::deserialize(value.to_value()).map_err(|_| fault.clone())?;
    if lineage.longest() > MAX_LINEAGE { Err(fault) } else { Ok(lineage) }
}

/// The groups of our registry (RFC 9068 §2.2.3.1). Our own tokens leave the claim out if it says nothing.
fn groups(claims: &Object<'_>) -> Result<Vec<GroupName>, TokenError> {
    let fault = TokenError::Claim { claim: "groups", why: "not a list of our groups" };
    match claims.get("groups") {
        None => Ok(Vec::new()),
        Some(Json::List(items)) if (1..=MAX_GROUPS).contains(&items.len()) => {
            let group = |item: &Json<'_>| item.as_text().and_then(|text| text.parse().ok());
            items.iter().map(group).collect::<Option<_>>().ok_or(fault)
        }
        Some(_) => Err(fault),
    }
}

/// The tenant of the parties, as our registry calls it.
fn tenant(claims: &Object<'_>) -> Result<Option<TenantName>, TokenError> {
    let fault = |_| TokenError::Claim { claim: "tenant", why: "not the name of a tenant" };
    claim::text(claims, "tenant")?.map(|text| text.parse().map_err(fault)).transpose()
}

#[cfg(test)]
mod tests;
