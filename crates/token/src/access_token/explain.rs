//! Why a token of another issuer is accepted or not, claim by claim: for operators who set up an issuer.
//!
//! Each row asks the function that verification asks. Verification ends at the first refusal; an explanation
//! shows all of them.

mod id_tokens;

pub use id_tokens::explain_id_token;

use mandate_core::ClientId;
use mandate_core::lifetimes::CLOCK_SKEW;
use mandate_core::registry::{SubjectScope, TrustedIssuer};
use mandate_core::{Audience, SaidActors, Terms, Timestamp};
use serde_json::Value;

use crate::claim;
use crate::compact::Compact;
use crate::error::TokenError;
use crate::key_set::KeySet;
use crate::mapped::{MappedClaims, Mapping, leaves_groups_out};
use crate::product::{Lacking, Shape, Shows};
use crate::strict_json::{Json, Object};

use super::{Decoded, Expect, Profile, act, foreign, own_behalf};
use super::{check_issuer, check_other_members, check_type, confirmation, has_text, methods, signature};

/// What a token is explained against.
#[derive(Clone, Copy, Debug)]
pub struct Against<'a> {
    /// The issuer, as its registry entry declares it or would.
    pub issuer: &'a TrustedIssuer,
    /// Whether its `audience` is known. If not, it is not checked to whom the token is addressed.
    pub checks_audience: bool,
    /// The key set of that issuer.
    pub keys: &'a KeySet,
    /// The time of the check.
    pub now: Timestamp,
}

/// Which part of a token a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A member of the header.
    Header,
    /// The signature as a whole.
    Signature,
    /// A claim of the payload.
    Claim,
}

impl Part {
    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Signature => "signature",
            Self::Claim => "claim",
        }
    }
}

/// What becomes of a part of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is accepted as this.
    Accepted(&'static str),
    /// It has no effect.
    Ignored,
    /// It would have to be compared with something that is not known.
    NotChecked(&'static str),
    /// The token is refused because of it.
    Refused {
        /// The code of the refusal, as an exchange answers and records it.
        code: &'static str,
        /// What is wrong, and what is expected. It holds neither the token nor its signature.
        why: String,
    },
}

impl Verdict {
    /// Its name in JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Ignored => "ignored",
            Self::NotChecked(_) => "not_checked",
            Self::Refused { .. } => "refused",
        }
    }

    /// Whether the token is refused because of it.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

/// One part of a token and its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartVerdict {
    /// Header, signature or claim.
    pub part: Part,
    /// The name of the member or claim.
    pub name: String,
    /// What the token says there. `None`: nothing, or the signature, which is never shown.
    pub value: Option<Value>,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// Why a token is accepted or not.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Everything that the token has, and what it lacks.
    pub findings: Vec<PartVerdict>,
    /// What verification answers. It says nothing about the audience.
    pub verified: Result<Terms, TokenError>,
    /// What it says of its actors, as it would be recorded, if it is taken.
    pub said_actors: Option<SaidActors>,
}

impl Explanation {
    /// Whether an exchange takes the token as its subject, as far as the token itself decides that. Who the
    /// person is, what they may do and whether they are disabled is for the registry to say.
    pub fn is_taken(&self) -> bool {
        self.verified.is_ok() && !self.findings.iter().any(|finding| finding.verdict.is_refusal())
    }

    /// The parts because of which the token is refused.
    pub fn refusals(&self) -> impl Iterator<Item = &PartVerdict> {
        self.findings.iter().filter(|finding| finding.verdict.is_refusal())
    }
}

/// Explains a token.
///
/// # Errors
/// If it is no signed token (RFC 7515 §7.1) with one JSON object as header and one as payload, so that there
/// is nothing to explain.
pub fn explain(token: &str, against: &Against<'_>) -> Result<Explanation, TokenError> {
    let decoded = match Decoded::of(token) {
        Ok(decoded) => decoded,
        Err(error) => return unread(error),
    };
    let unverified = decoded.read()?;
    let verified = unverified.verify(against.issuer, against.keys, against.now, None);
    let profile = Profile::of_issuer(against.issuer);
    let mut findings = Findings::default();
    let expect =
        Expect { issuer: &against.issuer.url, keys: against.keys, now: against.now, profile, memo: None };
    if let Some(shape) = profile.shape() {
        header(&mut findings, &decoded.compact, shape);
        findings.judge(
            Part::Signature,
            "signature",
            "a key of the issuer made it",
            &signature(&decoded.compact, &expect),
        );
        claims(&mut findings, &decoded.compact, &unverified.claims, shape, against);
    }
    let list = listed(findings, &unverified.claims);
    let said_actors = verified.as_ref().ok().and_then(|token| token.said_actors.clone());
    Ok(Explanation { findings: list, verified: verified.map(|token| token.terms), said_actors })
}

/// Of a token whose header ends its verification: nothing else in it is looked at.
fn unread(error: TokenError) -> Result<Explanation, TokenError> {
    if !matches!(error, TokenError::Header(_) | TokenError::Algorithm(_)) {
        return Err(error);
    }
    let mut findings = Findings::default();
    findings.refuse(&error);
    Ok(Explanation { findings: findings.list, verified: Err(error), said_actors: None })
}

/// The findings with the values that they are about, in the order of the token, where it has them.
fn listed(findings: Findings, claims: &Object<'_>) -> Vec<PartVerdict> {
    let mut list = findings.list;
    let place = |finding: &PartVerdict| match finding.part {
        Part::Header => (0, 0),
        Part::Signature => (1, 0),
        Part::Claim => (2, claims.iter().position(|(name, _)| name == finding.name).unwrap_or(usize::MAX)),
    };
    list.sort_by_key(place);
    for finding in &mut list {
        if finding.part == Part::Claim {
            finding.value = claims.get(&finding.name).map(Json::to_value);
        }
    }
    list
}

#[derive(Default)]
struct Findings {
    list: Vec<PartVerdict>,
}

impl Findings {
    /// A part has one verdict: the first refusal of it, else what is not checked, else the last use.
    fn add(&mut self, part: Part, name: &str, value: Option<Value>, verdict: Verdict) {
        let weight = |verdict: &Verdict| match verdict {
            Verdict::Ignored => 0,
            Verdict::Accepted(_) => 1,
            Verdict::NotChecked(_) => 2,
            Verdict::Refused { .. } => 3,
        };
        match self.list.iter_mut().find(|finding| finding.part == part && finding.name == name) {
            Some(finding) if finding.verdict.is_refusal() || weight(&verdict) < weight(&finding.verdict) => {}
            Some(finding) => finding.verdict = verdict,
            None => self.list.push(PartVerdict { part, name: name.to_owned(), value, verdict }),
        }
    }

    fn accept(&mut self, name: &str, used_as: &'static str) {
        self.add(Part::Claim, name, None, Verdict::Accepted(used_as));
    }

    fn refuse_claim(&mut self, name: &str, code: &'static str, why: String) {
        self.add(Part::Claim, name, None, Verdict::Refused { code, why });
    }

    /// Refuses the part that is at fault.
    fn refuse(&mut self, error: &TokenError) {
        self.refuse_at(Part::Claim, "", error);
    }

    /// The same, where the error does not say which part is at fault.
    fn refuse_at(&mut self, part: Part, name: &str, error: &TokenError) {
        let (part, name) = at_fault(error).unwrap_or((part, name));
        let verdict = Verdict::Refused { code: error.public_code(), why: error.to_string() };
        self.add(part, name, None, verdict);
    }

    fn judge<T>(&mut self, part: Part, name: &str, used_as: &'static str, outcome: &Result<T, TokenError>) {
        match outcome {
            Ok(_) => self.add(part, name, None, Verdict::Accepted(used_as)),
            Err(error) if part == Part::Signature => {
                let verdict = Verdict::Refused { code: error.public_code(), why: error.to_string() };
                self.add(part, name, None, verdict);
            }
            Err(error) => self.refuse_at(part, name, error),
        }
    }
}

/// The part that an error names.
fn at_fault(error: &TokenError) -> Option<(Part, &str)> {
    match error {
        TokenError::Header(name) => Some((Part::Header, name)),
        TokenError::Algorithm(_) => Some((Part::Header, "alg")),
        TokenError::Type(_) => Some((Part::Header, "typ")),
        TokenError::MissingClaim(claim)
        | TokenError::Claim { claim, .. }
        | TokenError::NotAccessToken(claim)
        | TokenError::NotIdToken(claim)
        | TokenError::NotAPerson(claim) => Some((Part::Claim, claim)),
        TokenError::RequiredClaim(claim) | TokenError::MappedClaim { claim, .. } => {
            Some((Part::Claim, claim))
        }
        TokenError::Issuer => Some((Part::Claim, "iss")),
        TokenError::Audience => Some((Part::Claim, "aud")),
        TokenError::Expired => Some((Part::Claim, "exp")),
        TokenError::Age => Some((Part::Claim, "iat")),
        TokenError::ActorChain(_) => Some((Part::Claim, "act")),
        TokenError::TooLarge
        | TokenError::Malformed(_)
        | TokenError::DuplicateMember
        | TokenError::TooDeep
        | TokenError::UnknownKey(_)
        | TokenError::AmbiguousKey(_)
        | TokenError::Signature
        | TokenError::SignatureOfUnnamedKey
        | TokenError::Inactive
        | TokenError::NotYetValid
        | TokenError::Lifetime
        | TokenError::TrustDomain => None,
    }
}

fn header(findings: &mut Findings, compact: &Compact<'_>, shape: &Shape) {
    let (typ, algorithm) = (compact.typ.as_deref(), compact.algorithm.name());
    match check_type(compact, shape) {
        Ok(()) if typ.is_none() => {}
        Ok(()) => {
            findings.add(
                Part::Header,
                "typ",
                typ.map(Value::from),
                Verdict::Accepted("the type of the product's access tokens"),
            );
        }
        Err(error) => {
            let accepted: Vec<String> = shape
                .types
                .iter()
                .map(|typ| if typ.is_empty() { "absent".to_owned() } else { format!("`{typ}`") })
                .collect();
            let why = format!("it must be {}", accepted.join(" or "));
            let verdict = Verdict::Refused { code: error.public_code(), why };
            findings.add(Part::Header, "typ", typ.map(Value::from), verdict);
        }
    }
    findings.add(Part::Header, "alg", Some(algorithm.into()), Verdict::Accepted("the algorithm"));
    if let Some(key_id) = &compact.key_id {
        findings.add(
            Part::Header,
            "kid",
            Some(key_id.as_str().into()),
            Verdict::Accepted("the name of the key"),
        );
    }
    if let Err(error) = check_other_members(compact, shape) {
        findings.refuse(&error);
    }
    for name in &compact.others {
        findings.add(Part::Header, name, None, Verdict::Ignored);
    }
}

fn claims(
    findings: &mut Findings,
    compact: &Compact<'_>,
    claims: &Object<'_>,
    shape: &Shape,
    against: &Against<'_>,
) {
    let issuer = against.issuer;
    // First: a rule of the product may be about one of them.
    for name in
        shape.of_parties.iter().filter(|name| claims.get(name).is_some_and(|it| it.as_text().is_some()))
    {
        findings.accept(name, "recorded, and decides nothing else");
    }
    findings.judge(Part::Claim, "iss", "the issuer", &check_issuer(claims, &issuer.url));
    times(findings, claims, against.now);
    rules(findings, claims, shape, issuer.url.as_str());
    findings.judge(Part::Claim, shape.subject, "the person", &claim::required_text(claims, shape.subject));
    let (id, lacking) = shape.id;
    if claims.contains(id) || lacking == Lacking::Refused {
        let known = foreign::id(compact.signed(), claims, shape, &issuer.url);
        findings.judge(Part::Claim, id, "the id of the token", &known);
    }
    let client = foreign::one_client(claims, shape);
    if let Err(error) = &client {
        findings.refuse(error);
    }
    for name in shape.client.iter().filter(|name| claims.contains(name)) {
        findings.accept(name, "the client");
    }
    audience(findings, claims, shape, client.as_ref().ok(), against);
    scopes(findings, claims, shape, issuer.subject_scope);
    actors(findings, claims, shape, client.as_ref().ok(), against);
    match confirmation(claims) {
        Err(error) => findings.refuse(&error),
        Ok(Some(_)) => findings.refuse_claim(
            "cnf",
            "subject_key_not_proven",
            "the token is bound to a key, and no proof of that key can be shown here".to_owned(),
        ),
        Ok(None) => {}
    }
    for (name, used_as, outcome) in [
        ("auth_time", "when the person logged in", claim::time(claims, "auth_time").map(drop)),
        ("acr", "how the person logged in", claim::text(claims, "acr").map(drop)),
        ("amr", "how the person logged in", methods(claims).map(drop)),
        ("may_act", "who alone may act", act::may_act(claims.get("may_act"), &issuer.url).map(drop)),
    ] {
        if claims.contains(name) {
            findings.judge(Part::Claim, name, used_as, &outcome);
        }
    }
    for (name, value) in &issuer.required_claims {
        if has_text(claims, name, value) {
            findings.accept(name, "required by the entry");
        } else {
            let error = TokenError::RequiredClaim(name.clone());
            findings.refuse_claim(
                name,
                error.public_code(),
                format!("the entry requires the text `{value}`"),
            );
        }
    }
    groups(findings, claims, issuer);
    tenant(findings, claims, issuer);
    for (name, _) in claims.iter() {
        findings.add(Part::Claim, name, None, Verdict::Ignored);
    }
}

/// What the entry reads of the person's groups. Which of them are registered is for the registry to say.
fn groups(findings: &mut Findings, claims: &Object<'_>, issuer: &TrustedIssuer) {
    let Some(path) = &issuer.groups_claim else { return };
    let name = path.steps().next().unwrap_or_default();
    match MappedClaims::read(claims, Mapping { groups: Some(path), ..Mapping::default() }) {
        Err(error) => findings.refuse_claim(&name, error.public_code(), error.to_string()),
        Ok(_) if claims.contains(&name) => findings.accept(&name, "the person's groups"),
        Ok(_) => {
            let why = "the token does not have it, so it proves no group";
            findings.add(Part::Claim, &name, None, Verdict::NotChecked(why));
        }
    }
    if let Some(instead) = leaves_groups_out(claims) {
        let why = "the person is in more groups than the token lists, so it lists none and proves no group: \
                   let the provider list only the groups that are assigned to the application";
        findings.add(Part::Claim, instead, None, Verdict::NotChecked(why));
    }
}

/// The person's tenant, if the entry reads it. Whose it must be is for the person's entry to say.
fn tenant(findings: &mut Findings, claims: &Object<'_>, issuer: &TrustedIssuer) {
    let Some(path) = &issuer.tenant_claim else { return };
    let name = path.steps().next().unwrap_or_default();
    let only = Mapping { tenant: Some(path), ..Mapping::default() };
    match MappedClaims::read(claims, only).map(|mapped| mapped.tenant) {
        Err(error) => findings.refuse_claim(&name, error.public_code(), error.to_string()),
        Ok(Some(_)) => findings.accept(&name, "the person's tenant, which must be that of their entry"),
        Ok(None) => {
            let why = "the entry reads the person's tenant there, and a token without it is refused";
            findings.refuse_claim(&name, "parties_apart", why.to_owned());
        }
    }
}

fn times(findings: &mut Findings, claims: &Object<'_>, now: Timestamp) {
    let (iat, exp) = (claim::required_time(claims, "iat"), claim::required_time(claims, "exp"));
    let nbf = claim::time(claims, "nbf");
    // Each alone with `exp`, so that the one at fault is named.
    for (name, at) in [("iat", iat.clone().map(Some)), ("nbf", nbf)] {
        let checked = match (at, &exp) {
            (Ok(Some(at)), Ok(exp)) => claim::check_times((Some(at), None, *exp), now, CLOCK_SKEW),
            (Ok(_), _) => Ok(()),
            (Err(error), _) => Err(error),
        };
        if claims.contains(name) || checked.is_err() {
            let used_as = if name == "iat" { "when it was issued" } else { "from when it is valid" };
            if claims.contains(name) {
                // An error about `exp` says nothing against it.
                findings.accept(name, used_as);
            }
            findings.judge(Part::Claim, name, used_as, &checked);
        }
    }
    findings.judge(Part::Claim, "exp", "until when it is valid", &exp);
    if let (Ok(iat), Ok(exp)) = (iat, exp) {
        old(findings, iat, exp, now);
    }
}

/// An exchange allows no clock skew at the end, and takes no token that is older than an hour.
fn old(findings: &mut Findings, iat: Timestamp, exp: Timestamp, now: Timestamp) {
    if exp <= now {
        findings.refuse(&TokenError::Expired);
    } else if super::usable_until(iat, exp) <= now {
        let why = "the token is older than an hour, and no older one is taken, whatever its `exp` says";
        findings.refuse_claim("iat", "subject_expired", why.to_owned());
    }
}

fn rules(findings: &mut Findings, claims: &Object<'_>, shape: &Shape, issuer: &str) {
    for (shows, rule, holds) in shape.outcomes(claims, issuer) {
        let claim = rule.claim();
        let (used_as, error) = match shows {
            Shows::AccessToken | Shows::IdToken => {
                ("shows an access token", TokenError::NotAccessToken(claim))
            }
            Shows::Person => ("shows a person", TokenError::NotAPerson(claim)),
        };
        if !holds {
            let what = match shows {
                Shows::AccessToken | Shows::IdToken => "for an access token of this product",
                Shows::Person => "if a person is the subject",
            };
            let why = format!("{what}, `{claim}` {}", rule.expected());
            findings.refuse_claim(claim, error.public_code(), why);
        } else if claims.contains(claim) {
            findings.accept(claim, used_as);
        }
    }
    if own_behalf::is_of_no_person(claims) {
        let error = TokenError::NotAPerson("sub_profile");
        let why = "it says that the subject is something else than a person (`user`)".to_owned();
        findings.refuse_claim("sub_profile", error.public_code(), why);
    }
}

fn audience(
    findings: &mut Findings,
    claims: &Object<'_>,
    shape: &Shape,
    client: Option<&ClientId>,
    against: &Against<'_>,
) {
    // Without a client it is known to whom the token is addressed only if it says so.
    let addressed = match client {
        Some(client) => foreign::addressed(claims, shape, client),
        None => super::audience(claims),
    };
    let audience = match addressed {
        Ok(audience) => audience,
        Err(error) => return findings.refuse(&error),
    };
    let (issuer, is_there) = (against.issuer, claims.contains("aud"));
    if against.checks_audience && !issuer.takes(&audience) {
        findings.refuse_claim("aud", "subject_not_for_presenter", not_for_us(issuer, &audience, is_there));
    } else if !against.checks_audience {
        let why = "the entry's `audience` is not known";
        findings.add(Part::Claim, "aud", None, Verdict::NotChecked(why));
    } else if is_there {
        findings.accept("aud", "to whom it is addressed");
    }
}

fn not_for_us(issuer: &TrustedIssuer, audience: &Audience, is_there: bool) -> String {
    let list = |items: Vec<&str>| items.iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ");
    if !is_there {
        return format!(
            "it is missing, so the token is addressed to its client {}, and the entry's `audience` is `{}`",
            list(audience.iter().collect()),
            issuer.audience
        );
    }
    if audience.iter().any(|aud| aud == issuer.audience) {
        let unnamed = list(issuer.unnamed(audience).collect());
        return format!("it also names {unnamed}, which `other_audiences` of the entry does not list");
    }
    format!("it does not name `{}`, the entry's `audience`", issuer.audience)
}

fn scopes(findings: &mut Findings, claims: &Object<'_>, shape: &Shape, subject_scope: SubjectScope) {
    let name = shape.scope.name();
    if subject_scope == SubjectScope::IdentityOnly {
        return;
    }
    match foreign::scopes(claims, shape.scope) {
        Err(error) => findings.refuse(&error),
        Ok(scopes) if scopes.is_empty() => findings.refuse_claim(
            name,
            "nothing_in_common",
            "there is no scope, and with `subject_scope = \"token\"` nothing beyond the token's scopes can be delegated"
                .to_owned(),
        ),
        Ok(_) => findings.accept(name, "the scopes that can be delegated"),
    }
}

fn actors(
    findings: &mut Findings,
    claims: &Object<'_>,
    shape: &Shape,
    client: Option<&ClientId>,
    against: &Against<'_>,
) {
    let issuer = &against.issuer.url;
    let chain = match client {
        Some(client) => foreign::chain(claims, shape, client, issuer).map(|(chain, _)| chain),
        None => act::chain(claims.get("act"), issuer),
    };
    let is_there = claims.contains("act");
    match chain {
        Err(error) => findings.refuse(&error),
        Ok(chain) if !chain.is_of(issuer) => findings.refuse_claim(
            "act",
            "chain_not_theirs",
            "an actor in it is of another issuer, for whom this one cannot speak".to_owned(),
        ),
        Ok(chain) => {
            if is_there {
                findings.accept("act", "who has acted, as history");
            }
            if chain.outermost().is_some() && claims.contains(foreign::ENTRA_ACTOR) {
                findings.accept(foreign::ENTRA_ACTOR, "the client is an agent, kept as history");
            }
        }
    }
}
