//! What the access tokens of other issuers say, under the names that their product uses.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::digest::sha256;
use mandate_core::{
    Actor, ActorChain, ActorForm, Audience, ClientId, Details, Issuer, Lineage, SaidActors, Scope, ScopeSet,
    Subject, SubjectProfile, TokenId,
};

use crate::claim;
use crate::error::TokenError;
use crate::product::{ActorClaims, AudienceClaim, Lacking, ScopeClaim, Shape};
use crate::strict_json::{Json, Object};

use super::{Profile, Said, Source, act, audience, client, own_behalf, scope};

/// The most scopes of a token that lists them.
const MAX_SCOPES: usize = 256;

/// The id under which a token of another issuer is known here: `f.` and the base64url SHA-256 of
/// `<issuer>#<jti>`.
pub fn foreign_token_id(issuer: &Issuer, jti: &str) -> Result<TokenId, TokenError> {
    let mut text = [issuer.as_str(), "#", jti].concat();
    let digest = sha256(text.as_bytes());
    text.clear();
    text.push_str("f.");
    URL_SAFE_NO_PAD.encode_string(digest, &mut text);
    text.parse().map_err(|_| TokenError::Claim { claim: "jti", why: "not usable as an id" })
}

/// As [`foreign_token_id`], of a token without an id. No `jti` has a control character, so that no issuer can
/// write one that gives the id of another token.
pub(crate) fn digest_id(issuer: &Issuer, signed: &str) -> Result<TokenId, TokenError> {
    foreign_token_id(issuer, &["\0", signed].concat())
}

pub(super) fn read(
    source: Source<'_>,
    claims: &Object<'_>,
    shape: &Shape,
    (iss, profile): (&Issuer, Profile),
) -> Result<Said, TokenError> {
    if let Some(claim) = shape.not_access_token(claims, iss.as_str()) {
        return Err(TokenError::NotAccessToken(claim));
    }
    if let Some(claim) = shape.not_a_person(claims, iss.as_str()) {
        return Err(TokenError::NotAPerson(claim));
    }
    if own_behalf::is_of_no_person(claims) {
        return Err(TokenError::NotAPerson("sub_profile"));
    }
    let sub = claim::required_text(claims, shape.subject)?.to_owned();
    let jti = match source {
        Source::Signed(signed) => id(signed, claims, shape, iss)?,
        // Whatever id the issuer gives it, what was sent is what it is known by.
        Source::Opaque(token) => digest_id(iss, token)?,
    };
    let client = one_client(claims, shape)?;
    let audience = addressed(claims, shape, &client)?;
    let scopes = match profile {
        Profile::ForeignIdentity(_) => ScopeSet::new(),
        Profile::Own | Profile::Foreign(_) => scopes(claims, shape.scope)?,
    };
    let (chain, form) = chain(claims, shape, &client, iss)?;
    Ok(Said {
        subject: Some(Subject { iss: iss.clone(), sub }),
        actors: said_actors(claims, shape, (&chain, form)),
        chain,
        audience,
        scopes,
        details: Details::default(),
        jti,
        client,
        lineage: Lineage::default(),
        groups: Vec::new(),
        tenant: None,
    })
}

/// The id under which the token is known here.
pub(super) fn id(
    signed: &str,
    claims: &Object<'_>,
    shape: &Shape,
    iss: &Issuer,
) -> Result<TokenId, TokenError> {
    let (name, lacking) = shape.id;
    match (claim::text(claims, name)?, lacking) {
        (Some(id), _) => foreign_token_id(iss, id),
        (None, Lacking::Digest) => digest_id(iss, signed),
        (None, Lacking::Refused) => Err(TokenError::MissingClaim(name)),
    }
}

/// To whom the token is addressed.
pub(super) fn addressed(
    claims: &Object<'_>,
    shape: &Shape,
    client: &ClientId,
) -> Result<Audience, TokenError> {
    match (claims.contains("aud"), shape.audience) {
        (false, AudienceClaim::OrClient) => Ok(Audience::one(client.as_str().to_owned())),
        _ => audience(claims),
    }
}

/// The client that all claims for it name.
pub(super) fn one_client(claims: &Object<'_>, shape: &Shape) -> Result<ClientId, TokenError> {
    let mut found: Option<ClientId> = None;
    for name in shape.client {
        let Some(named) = client(claims, name)? else { continue };
        if found.as_ref().is_some_and(|other| *other != named) {
            return Err(TokenError::Claim { claim: name, why: "another claim names another client" });
        }
        found = Some(named);
    }
    found.ok_or(TokenError::MissingClaim(shape.client.first().copied().unwrap_or("client_id")))
}

pub(super) fn scopes(claims: &Object<'_>, form: ScopeClaim) -> Result<ScopeSet, TokenError> {
    let (list, text) = match form {
        ScopeClaim::Text(_) => (false, true),
        ScopeClaim::List(_) => (true, false),
        ScopeClaim::Either(_) => (true, true),
    };
    let name = form.name();
    let fault = |why| TokenError::Claim { claim: name, why };
    match claims.get(name) {
        Some(Json::List(items)) if list && items.len() <= MAX_SCOPES => {
            let one = |item: &Json<'_>| item.as_text().and_then(|text| text.parse::<Scope>().ok());
            items.iter().map(one).collect::<Option<ScopeSet>>().ok_or_else(|| fault("not a list of scopes"))
        }
        Some(Json::List(_)) if list => Err(fault("too many scopes")),
        Some(_) if !text => Err(fault("not a list")),
        _ => scope(claims, name),
    }
}

/// Who acted for the person when the token was issued. It is history, and gives nobody authority.
pub(super) fn chain(
    claims: &Object<'_>,
    shape: &Shape,
    client: &ClientId,
    iss: &Issuer,
) -> Result<(ActorChain, ActorForm), TokenError> {
    let agent = match shape.actors {
        ActorClaims::Act | ActorClaims::ActOfIssuer => false,
        ActorClaims::EntraFacets => claim::text(claims, ENTRA_ACTOR)?
            .is_some_and(|facets| facets.split(' ').any(|facet| facet == ENTRA_AGENT)),
    };
    let (act, form) = acted(claims, shape, iss)?;
    if !agent {
        return Ok((act, form));
    }
    let actor = Actor {
        sub: client.as_str().to_owned(),
        iss: iss.clone(),
        sub_profile: Some(SubjectProfile::AiAgent),
    };
    Ok((ActorChain::new(std::iter::once(actor).chain(act.iter().cloned()).collect())?, form))
}

/// What is in `act`, and in which form it is.
fn acted(claims: &Object<'_>, shape: &Shape, iss: &Issuer) -> Result<(ActorChain, ActorForm), TokenError> {
    let act = claims.get("act");
    Ok(match shape.actors {
        ActorClaims::Act => (act::chain(act, iss)?, ActorForm::Rfc8693),
        ActorClaims::EntraFacets => (act::chain(act, iss)?, ActorForm::EntraFacets),
        ActorClaims::ActOfIssuer => {
            let (chain, without) = act::chain_of(act, iss)?;
            (chain, if without { ActorForm::WithoutIssuer } else { ActorForm::Rfc8693 })
        }
    })
}

/// What the token says of its actors, for the record.
pub(super) fn said_actors(
    claims: &Object<'_>,
    shape: &Shape,
    (chain, form): (&ActorChain, ActorForm),
) -> Option<SaidActors> {
    let said = |name: &&'static str| Some((*name, claims.get(name)?.to_value()));
    SaidActors::new(form, chain.clone(), shape.of_parties.iter().filter_map(said))
}

/// What the client of an Entra token is, as numbers with spaces between them.
pub(super) const ENTRA_ACTOR: &str = "xms_act_fct";
/// An agent's identity.
const ENTRA_AGENT: &str = "11";
