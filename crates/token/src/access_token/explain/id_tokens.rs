//! Why an ID token of another issuer is accepted as a subject token or not.

use serde_json::Value;

use super::{Against, Explanation, Findings, Part, Verdict, groups, listed, old, tenant, times};
use crate::access_token::{Decoded, has_text};
use crate::claim;
use crate::compact::Compact;
use crate::error::TokenError;
use crate::id_token::{self, person_claim};
use crate::product::{IdTokenShape, Shows};
use crate::strict_json::Object;

/// What the claims that verification reads are accepted as.
const READ: &[(&str, &str)] = &[
    ("iss", "the issuer"),
    ("sub", "the subject"),
    ("aud", "to whom it is addressed"),
    ("azp", "the client to which it was issued"),
    ("iat", "when it was issued"),
    ("exp", "until when it is valid"),
    ("auth_time", "when the person logged in"),
    ("acr", "how the person logged in"),
    ("amr", "how the person logged in"),
];

/// As [`super::explain`], of an ID token that is sent as the subject token of an exchange.
///
/// # Errors
/// If it is no signed token (RFC 7515 §7.1) with one JSON object as header and one as payload, so that there
/// is nothing to explain.
pub fn explain_id_token(token: &str, against: &Against<'_>) -> Result<Explanation, TokenError> {
    let decoded = match Decoded::of(token) {
        Ok(decoded) => decoded,
        Err(error) => return super::unread(error),
    };
    let unverified = decoded.read()?;
    let issuer = against.issuer;
    let verified = id_token::identify(&unverified, issuer, against.keys, against.now, None);
    let mut findings = Findings::default();
    header(&mut findings, &decoded.compact);
    claims(&mut findings, &unverified.claims, against);
    if let Err(error) = &verified {
        let part = if is_of_signature(error) { Part::Signature } else { Part::Claim };
        let name = if is_of_signature(error) { "signature" } else { "iat" };
        findings.refuse_at(part, name, error);
    } else {
        findings.add(Part::Signature, "signature", None, Verdict::Accepted("a key of the issuer made it"));
    }
    if let Ok(person) = &verified {
        addressed(&mut findings, person, against);
        let (iat, exp) = (person.terms.issued, claim::required_time(&unverified.claims, "exp")?);
        old(&mut findings, iat, exp, against.now);
    }
    let list = listed(findings, &unverified.claims);
    Ok(Explanation { findings: list, verified: verified.map(|person| person.terms), said_actors: None })
}

fn is_of_signature(error: &TokenError) -> bool {
    matches!(
        error,
        TokenError::UnknownKey(_)
            | TokenError::AmbiguousKey(_)
            | TokenError::Signature
            | TokenError::SignatureOfUnnamedKey
    )
}

fn header(findings: &mut Findings, compact: &Compact<'_>) {
    let algorithm = compact.algorithm.name();
    findings.add(Part::Header, "alg", Some(algorithm.into()), Verdict::Accepted("the algorithm"));
    if let Some(typ) = &compact.typ {
        let verdict = Verdict::Accepted("the type of ID tokens");
        findings.add(Part::Header, "typ", Some(Value::from(typ.as_str())), verdict);
    }
    if let Some(key_id) = &compact.key_id {
        let verdict = Verdict::Accepted("the name of the key");
        findings.add(Part::Header, "kid", Some(key_id.as_str().into()), verdict);
    }
    for name in &compact.others {
        findings.add(Part::Header, name, None, Verdict::Ignored);
    }
}

fn claims(findings: &mut Findings, claims: &Object<'_>, against: &Against<'_>) {
    let issuer = against.issuer;
    for (name, used_as) in READ.iter().filter(|(name, _)| claims.contains(name)) {
        findings.accept(name, used_as);
    }
    let person = person_claim(issuer.profile);
    if claims.contains(person) {
        findings.accept(person, "the person");
    }
    for (shows, rule, holds) in IdTokenShape::of(issuer.profile).outcomes(claims, issuer.url.as_str()) {
        let claim = rule.claim();
        let (used_as, error, what) = match shows {
            Shows::Person => ("shows a person", TokenError::NotAPerson(claim), "if a person is the subject"),
            Shows::AccessToken | Shows::IdToken => {
                ("shows an ID token", TokenError::NotIdToken(claim), "for an ID token of this product")
            }
        };
        if !holds {
            let why = format!("{what}, `{claim}` {}", rule.expected());
            findings.refuse_claim(claim, error.public_code(), why);
        } else if claims.contains(claim) {
            findings.accept(claim, used_as);
        }
    }
    times(findings, claims, against.now);
    for (name, value) in &issuer.required_claims {
        if has_text(claims, name, value) {
            findings.accept(name, "required by the entry");
        } else {
            let code = TokenError::RequiredClaim(name.clone()).public_code();
            findings.refuse_claim(name, code, format!("the entry requires the text `{value}`"));
        }
    }
    groups(findings, claims, issuer);
    tenant(findings, claims, issuer);
    for (name, _) in claims.iter() {
        findings.add(Part::Claim, name, None, Verdict::Ignored);
    }
}

/// Whether the entry lets some client of ours present it. Which one presents it is known at the exchange.
fn addressed(findings: &mut Findings, person: &id_token::IdentifiedPerson, against: &Against<'_>) {
    let (issuer, terms) = (against.issuer, &person.terms);
    let party = terms.client.as_str();
    let mut clients = issuer.id_tokens.iter().map(|known| known.client.as_str());
    if terms.cnf.is_some() {
        let why = "the token is bound to a key, and no proof of that key can be shown here".to_owned();
        findings.refuse_claim("cnf", "subject_key_not_proven", why);
    }
    if !against.checks_audience {
        let why = "the entry's `id_tokens` are not known";
        findings.add(Part::Claim, "aud", None, Verdict::NotChecked(why));
    } else if !clients.any(|client| issuer.takes_id_token(&terms.audience, party, client)) {
        let why = format!(
            "it was issued to `{party}`, and `id_tokens` of the entry does not name that audience alone, or with others that `other_audiences` has"
        );
        findings.refuse_claim("aud", "subject_not_for_presenter", why);
    }
}
