//! Security event tokens (RFC 8417), as the `OpenID` Shared Signals Framework 1.0 profiles them: an identity
//! provider says what became of an account or of a session there.
//!
//! What each type of event demands here is in [`demanded`]. Most demand nothing.

use mandate_core::lifetimes::{CLOCK_SKEW, SECURITY_EVENT_AGE};
use mandate_core::{Issuer, Timestamp};

use crate::algorithm::Algorithm;
use crate::claim;
use crate::compact::{Compact, EcdsaForm, OtherMembers, SignatureCheck, ZIP};
use crate::error::{TokenError, shortened};
use crate::key_set::{KeySet, KeyUse};
use crate::strict_json::{self, Json, Object};

/// RFC 8417 §2.3.
const TYPE: &str = "secevent+jwt";
/// Where the types of events of the `OpenID` Foundation begin.
const OPENID: &str = "https://schemas.openid.net/secevent/";
/// The claim that names whom the event is about (RFC 9493 §4.1).
const SUBJECT: &str = "sub_id";

/// Whose event it must be.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// The provider, compared bytewise with `iss`.
    pub issuer: &'a Issuer,
    /// The provider's keys: those of its ID tokens.
    pub keys: &'a KeySet,
    /// By which name the provider knows this server: one of `aud`.
    pub audience: &'a str,
    /// The time of the check.
    pub now: Timestamp,
}

/// A verified security event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityEvent {
    /// The type, such as `risc/event-type/account-disabled`: for records. Empty if it is no type that is known.
    pub kind: &'static str,
    /// What it demands.
    pub demand: EventDemand,
    /// Its id: `jti`, unique for the provider.
    pub id: String,
    /// From then on it is too old. Until then its id must be remembered.
    pub ends: Timestamp,
}

/// What an event demands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventDemand {
    /// The account must not be used: it is disabled or gone.
    Disable(EventSubject),
    /// What came from the logins so far ends. The account can be used.
    EndLogins(EventSubject),
    /// Nothing. Whom it is about is not read.
    Nothing,
}

/// Whom an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventSubject {
    /// The person with this `sub` at the provider.
    Person(String),
    /// The session with this `sid` there.
    Session(String),
    /// A person or a session: a text that the provider chose (RFC 9493 §3.2.7).
    Opaque(String),
}

/// What becomes of events of one type.
#[derive(Clone, Copy)]
enum Does {
    Disables,
    EndsLogins,
    /// As `change_type` says (CAEP 1.0 §3.3).
    FollowsChange,
    Nothing,
}

/// The types that are known, without what all of them begin with.
const KINDS: &[(&str, Does)] = &[
    ("risc/event-type/account-disabled", Does::Disables),
    ("risc/event-type/account-purged", Does::Disables),
    ("risc/event-type/account-credential-change-required", Does::EndsLogins),
    ("risc/event-type/credential-compromise", Does::EndsLogins),
    ("risc/event-type/sessions-revoked", Does::EndsLogins),
    ("caep/event-type/session-revoked", Does::EndsLogins),
    ("caep/event-type/credential-change", Does::FollowsChange),
    // What was taken is given back by an operator alone.
    ("risc/event-type/account-enabled", Does::Nothing),
    // They name an address, which names no person here.
    ("risc/event-type/identifier-changed", Does::Nothing),
    ("risc/event-type/identifier-recycled", Does::Nothing),
    ("risc/event-type/opt-in", Does::Nothing),
    ("risc/event-type/opt-out-initiated", Does::Nothing),
    ("risc/event-type/opt-out-cancelled", Does::Nothing),
    ("risc/event-type/opt-out-effective", Does::Nothing),
    ("risc/event-type/recovery-activated", Does::Nothing),
    ("risc/event-type/recovery-information-changed", Does::Nothing),
    ("caep/event-type/token-claims-change", Does::Nothing),
    ("caep/event-type/assurance-level-change", Does::Nothing),
    ("caep/event-type/device-compliance-change", Does::Nothing),
    ("caep/event-type/session-established", Does::Nothing),
    ("caep/event-type/session-presented", Does::Nothing),
    ("caep/event-type/risk-level-change", Does::Nothing),
    ("ssf/event-type/verification", Does::Nothing),
    ("ssf/event-type/stream-updated", Does::Nothing),
];

/// Verifies a security event.
///
/// `sub`, `exp` and `nonce` are refused: with them it could be another kind of token (Shared Signals Framework
/// §4.1.3). One that was issued more than [`SECURITY_EVENT_AGE`] ago is too old. Whom it is about must be named
/// only where the event demands something.
///
/// # Errors
/// It is not one security event of the provider for this server, or too old, or names nobody.
pub fn verify(token: &str, expect: &Expect<'_>) -> Result<SecurityEvent, TokenError> {
    let compact = Compact::parse(token, OtherMembers::Ignore)?;
    let typ = compact.typ.as_deref().unwrap_or_default();
    if !typ.eq_ignore_ascii_case(TYPE) {
        return Err(TokenError::Type(shortened(typ)));
    }
    if compact.others.iter().any(|name| name == ZIP) {
        return Err(TokenError::Header(ZIP.to_owned()));
    }
    compact.verify(&SignatureCheck {
        keys: expect.keys,
        key_use: KeyUse::Signature,
        allowed: Algorithm::ALL,
        form: EcdsaForm::Either,
        memo: None,
        now: expect.now,
    })?;
    let payload = compact.payload()?;
    let claims = strict_json::object(&payload)?;
    if claim::required_text(&claims, "iss")? != expect.issuer.as_str() {
        return Err(TokenError::Issuer);
    }
    // All that it is addressed to receive the same, also where this server is one of several (§4.1.8).
    if !claim::audiences(&claims)?.iter().any(|audience| audience == expect.audience) {
        return Err(TokenError::Audience);
    }
    claim::refuse(&claims, &["sub", "exp", "nonce"])?;
    let issued = claim::required_time(&claims, "iat")?;
    if issued > expect.now.plus(CLOCK_SKEW) {
        return Err(TokenError::NotYetValid);
    }
    let ends = issued.plus(SECURITY_EVENT_AGE);
    if ends <= expect.now {
        return Err(TokenError::Age);
    }
    let id = claim::required_text(&claims, "jti")?.to_owned();
    let (kind, does, event) = only_event(&claims)?;
    let demand = demanded(does, event, &claims, expect.issuer)?;
    Ok(SecurityEvent { kind, demand, id, ends })
}

/// The event. Several would be one event under several names (§4.2.1), and no provider needs that here.
fn only_event<'c, 'j>(claims: &'c Object<'j>) -> Result<(&'static str, Does, &'c Object<'j>), TokenError> {
    let fault = |why| Err(TokenError::Claim { claim: "events", why });
    let events = match claims.get("events") {
        Some(Json::Object(events)) => events,
        Some(_) => return fault("not an object"),
        None => return Err(TokenError::MissingClaim("events")),
    };
    let mut all = events.iter();
    let (uri, event) = match (all.next(), all.next()) {
        (Some((uri, Json::Object(event))), None) => (uri, event),
        (Some(_), None) => return fault("the event is not an object"),
        (None, _) => return fault("it is empty"),
        (Some(_), Some(_)) => return fault("more than one event"),
    };
    let known = uri.strip_prefix(OPENID).and_then(|name| KINDS.iter().find(|(kind, _)| *kind == name));
    let (kind, does) = known.copied().unwrap_or(("", Does::Nothing));
    Ok((kind, does, event))
}

fn demanded(
    does: Does,
    event: &Object<'_>,
    claims: &Object<'_>,
    issuer: &Issuer,
) -> Result<EventDemand, TokenError> {
    let ends = match does {
        Does::Nothing => false,
        Does::EndsLogins => true,
        Does::FollowsChange => match claim::required_text(event, "change_type")? {
            "create" => false,
            "revoke" | "update" | "delete" => true,
            _ => return Err(TokenError::Claim { claim: "change_type", why: "not one of the standard" }),
        },
        Does::Disables => {
            return match named(event, claims, issuer)? {
                EventSubject::Session(_) => {
                    Err(unnamed("it names a session, and the event is about an account"))
                }
                person => Ok(EventDemand::Disable(person)),
            };
        }
    };
    if ends { named(event, claims, issuer).map(EventDemand::EndLogins) } else { Ok(EventDemand::Nothing) }
}

const fn unnamed(why: &'static str) -> TokenError {
    TokenError::Claim { claim: SUBJECT, why }
}

/// Whom the event is about: by `sub_id`, or by `subject` of the event, where transmitters put it before
/// `sub_id` was there (§3.1.1).
fn named(event: &Object<'_>, claims: &Object<'_>, issuer: &Issuer) -> Result<EventSubject, TokenError> {
    let subject = match (claims.get(SUBJECT), event.get("subject")) {
        (Some(one), Some(other)) if one.to_value() != other.to_value() => {
            return Err(unnamed("the event names another subject"));
        }
        (Some(subject), _) | (None, Some(subject)) => subject,
        (None, None) => return Err(TokenError::MissingClaim(SUBJECT)),
    };
    let Json::Object(subject) = subject else { return Err(unnamed("not an object")) };
    match claim::required_text(subject, "format")? {
        "iss_sub" => person(subject, issuer),
        "opaque" => Ok(EventSubject::Opaque(claim::required_text(subject, "id")?.to_owned())),
        "complex" => complex(subject, issuer),
        _ => Err(unnamed("a format that names no person here")),
    }
}

/// RFC 9493 §3.2.3. A provider speaks of its own people alone.
fn person(subject: &Object<'_>, issuer: &Issuer) -> Result<EventSubject, TokenError> {
    if claim::required_text(subject, "iss")? != issuer.as_str() {
        return Err(unnamed("a subject of another issuer"));
    }
    Ok(EventSubject::Person(claim::required_text(subject, "sub")?.to_owned()))
}

/// Several members that are one subject together (§3.3). Of a user in a session or on a device everything ends:
/// more than was asked for, never less.
fn complex(subject: &Object<'_>, issuer: &Issuer) -> Result<EventSubject, TokenError> {
    match (subject.get("user"), subject.get("session")) {
        (Some(Json::Object(user)), _) => match claim::required_text(user, "format")? {
            "iss_sub" => person(user, issuer),
            "opaque" => Ok(EventSubject::Person(claim::required_text(user, "id")?.to_owned())),
            _ => Err(unnamed("a format that names no person here")),
        },
        (None, Some(Json::Object(session))) => match claim::required_text(session, "format")? {
            "opaque" => Ok(EventSubject::Session(claim::required_text(session, "id")?.to_owned())),
            _ => Err(unnamed("a format that names no session here")),
        },
        _ => Err(unnamed("neither a user nor a session")),
    }
}

#[cfg(test)]
mod tests;
