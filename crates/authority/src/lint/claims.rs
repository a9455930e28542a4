//! JWT lint: RFC 9068 §2 for access tokens, SPIFFE JWT-SVID §2 and §3 for JWT-SVIDs.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::lifetimes::{JWT_SVID_LIFETIME, MAX_MANDATE_LIFETIME, PERSON_TOKEN_LIFETIME};
use mandate_core::{
    ActorChain, ClientId, Confirmation, Details, GrantId, GroupName, Issuer, Lineage, Subject,
    SubjectProfile, TenantName, Terms, Timestamp, TokenId,
};
use mandate_token::access_token::subject_claim;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::svid::JwtSvidGrant;

/// The rule that a token breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsLint {
    /// Not a JWS signing input.
    #[error("the token is not a JWS signing input")]
    Form,
    /// The header has other members than `alg`, `kid` and `typ`.
    #[error("the header has members that its profile does not have")]
    Header,
    /// `alg` is not the key's, or `kid` is not the key.
    #[error("the header names another key or algorithm")]
    Key,
    /// `typ` is not the profile's.
    #[error("the header's typ is not its profile's")]
    Type,
    /// A required claim is missing or malformed, or there is a claim that the profile does not have.
    #[error("the claims are not those of the profile")]
    Claims,
    /// `iss` is not ours.
    #[error("iss is not what was decided")]
    Issuer,
    /// `sub`, `sub_id` or `sub_profile` is not what was decided.
    #[error("sub is not what was decided")]
    Subject,
    /// `aud` is not exactly what was decided, or is empty.
    #[error("aud is not what was decided")]
    Audience,
    /// `client_id` is not what was decided.
    #[error("client_id is not what was decided")]
    Client,
    /// `jti` is not what was decided.
    #[error("jti is not what was decided")]
    Id,
    /// `scope` is not what was decided, or is empty.
    #[error("scope is not what was decided")]
    Scope,
    /// `authorization_details` is not what was decided, or an empty list.
    #[error("authorization_details is not what was decided")]
    Details,
    /// `cnf` is not what was decided, or names no key.
    #[error("cnf is not what was decided")]
    Confirmation,
    /// `act` is not what was decided.
    #[error("act is not what was decided")]
    Actors,
    /// `lineage` is not what was decided, or an agent's token has no ancestor.
    #[error("lineage is not what was decided")]
    Lineage,
    /// `auth_time`, `acr` or `amr` is not what was decided.
    #[error("the authentication claims are not what was decided")]
    Authentication,
    /// `groups` is not what was decided, or an empty list.
    #[error("groups is not what was decided")]
    Groups,
    /// `tenant` is not what was decided.
    #[error("tenant is not what was decided")]
    Tenant,
    /// `iat` or `exp` is not what was decided, or the token would be valid for too long.
    #[error("the lifetime is not as decided, or too long")]
    Lifetime,
    /// The subject is not an identity that may have this kind of token.
    #[error("the identity may not have this kind of token")]
    Identity,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    kid: Cow<'a, str>,
    #[serde(borrow)]
    typ: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessTokenClaims<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
    #[serde(borrow, default)]
    sub_id: Option<SubjectIdClaim<'a>>,
    #[serde(default)]
    sub_profile: Option<SubjectProfile>,
    #[serde(borrow)]
    aud: Cow<'a, str>,
    #[serde(borrow)]
    client_id: Cow<'a, str>,
    #[serde(borrow)]
    jti: Cow<'a, str>,
    iat: u64,
    exp: u64,
    #[serde(borrow)]
    scope: Cow<'a, str>,
    #[serde(borrow, default)]
    act: Option<ActClaim<'a>>,
    #[serde(borrow, default)]
    lineage: LineageClaim<'a>,
    #[serde(default)]
    auth_time: Option<u64>,
    #[serde(borrow, default)]
    acr: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    amr: Vec<Text<'a>>,
    #[serde(default)]
    authorization_details: Option<Vec<Map<String, Value>>>,
    #[serde(borrow, default)]
    cnf: Option<ConfirmationClaim<'a>>,
    #[serde(borrow, default)]
    groups: Option<Vec<Text<'a>>>,
    #[serde(borrow, default)]
    tenant: Option<Cow<'a, str>>,
}

/// RFC 9449 §6.1, RFC 8705 §3.1.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmationClaim<'a> {
    #[serde(borrow, default)]
    jkt: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "x5t#S256")]
    x5t_s256: Option<Cow<'a, str>>,
}

/// RFC 9493 §3.2.3.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectIdClaim<'a> {
    #[serde(borrow)]
    format: Cow<'a, str>,
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
}

/// A text in a list. `Cow` by itself would be read owned there.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LineageClaim<'a> {
    #[serde(borrow)]
    parents: Vec<Text<'a>>,
    #[serde(borrow)]
    grants: Vec<Text<'a>>,
    #[serde(borrow)]
    clients: Vec<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActClaim<'a> {
    #[serde(borrow)]
    sub: Cow<'a, str>,
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(default)]
    sub_profile: Option<SubjectProfile>,
    #[serde(borrow, default)]
    act: Option<Box<ActClaim<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SvidClaims<'a> {
    #[serde(borrow)]
    sub: Cow<'a, str>,
    aud: Vec<String>,
    iat: u64,
    exp: u64,
    #[serde(borrow)]
    jti: Cow<'a, str>,
}

fn decode(part: &[u8]) -> Result<Vec<u8>, ClaimsLint> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| ClaimsLint::Form)
}

fn require(holds: bool, otherwise: ClaimsLint) -> Result<(), ClaimsLint> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// Checks the header, and returns the payload.
fn open(message: &[u8], kid: &str, typ: &str) -> Result<Vec<u8>, ClaimsLint> {
    let dot = message.iter().position(|byte| *byte == b'.').ok_or(ClaimsLint::Form)?;
    let (header, payload) = message.split_at(dot);
    let header = decode(header)?;
    let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| ClaimsLint::Header)?;
    require(header.alg == "ES256" && header.kid == kid, ClaimsLint::Key)?;
    require(header.typ == typ, ClaimsLint::Type)?;
    decode(payload.get(1..).unwrap_or_default())
}

/// Whether `act` names exactly these actors, outermost first (RFC 8693 §4.1).
fn same_actors(act: Option<&ActClaim<'_>>, chain: &ActorChain) -> bool {
    let mut claimed = std::iter::successors(act, |act| act.act.as_deref());
    let same = chain.iter().all(|actor| {
        claimed.next().is_some_and(|act| {
            act.sub == actor.sub && act.iss == actor.iss.as_str() && act.sub_profile == actor.sub_profile
        })
    });
    same && claimed.next().is_none()
}

/// Whether a list has exactly these texts, in their order.
fn same_texts<'d>(claimed: &[Text<'_>], decided: impl ExactSizeIterator<Item = &'d str>) -> bool {
    claimed.len() == decided.len()
        && claimed.iter().zip(decided).all(|(claimed, decided)| claimed.0 == decided)
}

fn same_lineage(claimed: &LineageClaim<'_>, decided: &Lineage) -> bool {
    same_texts(&claimed.parents, decided.parents.iter().map(TokenId::as_str))
        && same_texts(&claimed.grants, decided.grants.iter().map(GrantId::as_str))
        && same_texts(&claimed.clients, decided.clients.iter().map(ClientId::as_str))
}

/// Whether `sub` and `sub_id` name this person. A person of ours has their name as `sub`; any other person
/// has a `sub` that no person of ours can have.
fn same_person(claims: &AccessTokenClaims<'_>, person: &Subject, issuer: &Issuer) -> bool {
    if claims.sub_profile.is_some() || claims.sub.is_empty() || claims.sub != subject_claim(person, issuer) {
        return false;
    }
    match &claims.sub_id {
        None => person.iss == *issuer && !claims.sub.contains(':'),
        Some(id) => {
            let same = id.format == "iss_sub" && id.iss == person.iss.as_str() && id.sub == person.sub;
            same && person.iss != *issuer && claims.sub.contains(':')
        }
    }
}

/// Whether the claims are an agent's own, and name the agent alone: its SPIFFE ID, which no person's `sub`
/// can be. Such a token descends from nothing, and nobody has logged in for it.
fn same_agent(claims: &AccessTokenClaims<'_>, decided: &Terms) -> bool {
    let mut agents = decided.chain.iter();
    let (Some(agent), None) = (agents.next(), agents.next()) else { return false };
    let named = claims.sub == agent.sub
        && claims.sub.starts_with("spiffe://")
        && claims.client_id == claims.sub
        && agent.iss == decided.issuer
        && claims.sub_profile == Some(SubjectProfile::AiAgent)
        && agent.sub_profile == claims.sub_profile;
    let Lineage { parents, grants, clients } = &decided.lineage;
    let of_nobody = parents.is_empty() && grants.is_empty() && clients.is_empty();
    let of_no_login = decided.auth_time.is_none() && decided.acr.is_none() && decided.amr.is_empty();
    let of_no_login = of_no_login && decided.groups.is_empty();
    named && of_nobody && of_no_login && claims.sub_id.is_none() && claims.act.is_none()
}

/// Whether `authorization_details` has exactly these objects, in their order. An empty list is left out.
fn same_details(claimed: Option<&[Map<String, Value>]>, decided: &Details) -> bool {
    match claimed {
        None => decided.is_empty(),
        Some(claimed) => !claimed.is_empty() && claimed.iter().eq(decided.iter()),
    }
}

/// Whether `groups` has exactly these names, in their order. An empty list is left out.
fn same_groups(claimed: Option<&[Text<'_>]>, decided: &[GroupName]) -> bool {
    match claimed {
        None => decided.is_empty(),
        Some(claimed) => !claimed.is_empty() && same_texts(claimed, decided.iter().map(GroupName::as_str)),
    }
}

/// Whether `cnf` names exactly this key (RFC 7800 §3.1).
fn same_key(claimed: Option<&ConfirmationClaim<'_>>, decided: Option<&Confirmation>) -> bool {
    let claimed = claimed.map(|cnf| (cnf.jkt.as_deref(), cnf.x5t_s256.as_deref()));
    match decided {
        None => claimed.is_none(),
        Some(Confirmation::Jkt(key)) => claimed == Some((Some(key.as_str()), None)),
        Some(Confirmation::X5tS256(certificate)) => claimed == Some((None, Some(certificate.as_str()))),
        Some(Confirmation::Unknown) => false,
    }
}

/// Checks the bytes of an access token that is about to be signed against the terms of the mandate that it is
/// minted from.
pub(crate) fn check_access_token(message: &[u8], kid: &str, decided: &Terms) -> Result<(), ClaimsLint> {
    use ClaimsLint as L;
    // RFC 9068 §2.1.
    let payload = open(message, kid, "at+jwt")?;
    let claims: AccessTokenClaims<'_> = serde_json::from_slice(&payload).map_err(|_| L::Claims)?;
    let Terms {
        issuer: iss,
        subject,
        chain,
        audience,
        scopes,
        details,
        issued: iat,
        expires: exp,
        jti,
        client,
        lineage,
        cnf,
        auth_time,
        acr,
        amr,
        groups,
        tenant,
    } = decided;

    require(claims.iss == iss.as_str(), L::Issuer)?;
    let same_subject = match subject {
        Some(person) => same_person(&claims, person, iss),
        None => same_agent(&claims, decided),
    };
    require(same_subject, L::Subject)?;
    require(!claims.aud.is_empty() && Some(claims.aud.as_ref()) == audience.sole(), L::Audience)?;
    require(claims.client_id == client.as_str(), L::Client)?;
    require(claims.jti == jti.as_str(), L::Id)?;

    // Both in bytewise order, separated by one space.
    let mut each = scopes.iter();
    let same = !scopes.is_empty()
        && claims.scope.split(' ').all(|scope| each.next().is_some_and(|s| s.as_str() == scope));
    require(same && each.next().is_none(), L::Scope)?;
    require(same_details(claims.authorization_details.as_deref(), details), L::Details)?;

    // The only actor of an agent's own token is its subject.
    require(subject.is_none() || same_actors(claims.act.as_ref(), chain), L::Actors)?;
    // An actor acts for a person by a grant of that person, and by a token or, if it is the first, by the
    // login; a client that describes itself by the login alone.
    let of_no_token = claims.lineage.parents.is_empty() && claims.lineage.clients.is_empty();
    let of_a_login = of_no_token && chain.depth() == 1;
    let granted = !claims.lineage.grants.is_empty();
    let rooted = subject.is_none()
        || chain.is_empty()
        || (decided.actor_is_unattested() && of_no_token && !granted)
        || (granted && (of_a_login || !claims.lineage.parents.is_empty()));
    require(rooted && same_lineage(&claims.lineage, lineage), L::Lineage)?;
    require(same_key(claims.cnf.as_ref(), cnf.as_ref()), L::Confirmation)?;
    let authenticated = claims.auth_time == auth_time.map(Timestamp::secs)
        && claims.acr.as_deref() == acr.as_deref()
        && same_texts(&claims.amr, amr.iter().map(String::as_str));
    require(authenticated, L::Authentication)?;
    require(same_groups(claims.groups.as_deref(), groups), L::Groups)?;
    require(claims.tenant.as_deref() == tenant.as_ref().map(TenantName::as_str), L::Tenant)?;

    let longest = if chain.is_empty() { PERSON_TOKEN_LIFETIME } else { MAX_MANDATE_LIFETIME.0 };
    let lifetime = claims.exp.checked_sub(claims.iat).filter(|secs| *secs > 0 && *secs <= longest.as_secs());
    let same = claims.iat == iat.secs() && claims.exp == exp.secs();
    require(same && lifetime.is_some(), L::Lifetime)
}

/// Checks the bytes of a JWT-SVID that is about to be signed against the grant it is signed for. `act` and
/// every other claim that does not belong in a JWT-SVID is refused (an SVID says who the agent is, never for
/// whom it acts).
pub(crate) fn check_jwt_svid(message: &[u8], kid: &str, grant: &JwtSvidGrant) -> Result<(), ClaimsLint> {
    use ClaimsLint as L;
    // JWT-SVID §2.3.
    let payload = open(message, kid, "JWT")?;
    let claims: SvidClaims<'_> = serde_json::from_slice(&payload).map_err(|_| L::Claims)?;
    require(claims.sub == grant.spiffe_id().as_str(), L::Subject)?;
    require(!claims.aud.is_empty() && claims.aud == grant.audiences(), L::Audience)?;
    require(claims.jti == grant.jti().as_str(), L::Id)?;
    let lifetime =
        claims.exp.checked_sub(claims.iat).filter(|secs| *secs > 0 && *secs <= JWT_SVID_LIFETIME.as_secs());
    let decided = claims.iat == grant.issued().secs() && claims.exp == grant.expires().secs();
    require(decided && lifetime.is_some(), L::Lifetime)
}

#[cfg(test)]
mod tests;
