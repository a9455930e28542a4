//! The claims that name the person: `sub` (RFC 7519 §4.1.2) and, for people of other issuers, `sub_id` (RFC
//! 9493 §4.1).
//!
//! Ordinary libraries compare `sub` within `iss` and nothing else. So the `sub` of a person of another issuer
//! is made of both that issuer and the person's `sub` there, in a form that no name of our own directory can
//! take. The mapping is fixed: the same person always has the same `sub`, and two people never share one.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::digest::sha256;
use mandate_core::{Issuer, Subject};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::claim;
use crate::error::TokenError;
use crate::strict_json::{Json, Object};

/// The longest `sub` that we write for a person of another issuer, in bytes: what `OpenID` Connect Core §2
/// allows, and what APIs make room for.
const MAX_QUALIFIED_LEN: usize = 255;

/// All except the unreserved characters (RFC 3986 §2.3). In particular, the fragment of the readable form
/// never has a `:`.
const FRAGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The only format of a subject identifier that is written and read here (RFC 9493 §3.2.3).
const FORMAT: &str = "iss_sub";

/// The `sub` of `person` in a token of `ours`.
///
/// - A person of our own directory: their name, which never has a `:`.
/// - Any other person: `<issuer>#<sub>`, the sub percent-encoded. An issuer has no `#`, so that the two parts
///   stay apart.
/// - If that is longer than 255 bytes: `ni:///sha-256;<digest>` (RFC 6920 §3) of `<issuer>#<sub>`, in
///   base64url.
///
/// All forms are a `StringOrURI` (RFC 7519 §2): what has a `:` is a URI.
pub fn subject_claim<'p>(person: &'p Subject, ours: &Issuer) -> Cow<'p, str> {
    if person.iss == *ours {
        return Cow::Borrowed(&person.sub);
    }
    // Made of parts: `format!` would make the text longer step by step, and this is done several times for
    // each exchange.
    let mut readable = [person.iss.as_str(), "#"].concat();
    readable.reserve(person.sub.len());
    readable.extend(utf8_percent_encode(&person.sub, FRAGMENT));
    if readable.len() <= MAX_QUALIFIED_LEN {
        return Cow::Owned(readable);
    }
    let digest = sha256(format!("{}#{}", person.iss, person.sub).as_bytes());
    Cow::Owned(format!("ni:///sha-256;{}", URL_SAFE_NO_PAD.encode(digest)))
}

/// Whether `sub` could be the name of a person of our own directory: the `sub` of other people has a `:`.
pub(super) fn may_be_local(sub: &str) -> bool {
    !sub.contains(':')
}

/// The `sub_id` claim: the person as the other issuer names them.
#[derive(Serialize)]
pub(super) struct SubjectId<'p> {
    format: &'static str,
    iss: &'p Issuer,
    sub: &'p str,
}

impl<'p> SubjectId<'p> {
    /// Absent for a person of our own directory.
    pub(super) fn of(person: &'p Subject, ours: &Issuer) -> Option<Self> {
        (person.iss != *ours).then_some(Self { format: FORMAT, iss: &person.iss, sub: &person.sub })
    }
}

/// The person that a token of `ours` names.
pub(super) fn person(claims: &Object<'_>, ours: &Issuer) -> Result<Subject, TokenError> {
    // An earlier form had the bare `sub` and, separately, the issuer: read as today's form it would name
    // another person.
    if claims.contains("sub_iss") {
        return Err(TokenError::Claim { claim: "sub_iss", why: "an earlier form of naming people" });
    }
    let sub = claim::required_text(claims, "sub")?;
    let Some(id) = claims.get("sub_id") else {
        let fault = TokenError::Claim {
            claim: "sub",
            why: "it is of another issuer's person, but sub_id is missing",
        };
        return if may_be_local(sub) {
            Ok(Subject { iss: ours.clone(), sub: sub.to_owned() })
        } else {
            Err(fault)
        };
    };
    let person = identified(id)?;
    // Both name the same person (RFC 9493 §4.1), who is not one of ours.
    if person.iss == *ours || subject_claim(&person, ours) != sub {
        return Err(TokenError::Claim { claim: "sub_id", why: "it names another person than sub" });
    }
    Ok(person)
}

fn identified(id: &Json<'_>) -> Result<Subject, TokenError> {
    let fault = |why| TokenError::Claim { claim: "sub_id", why };
    let Json::Object(members) = id else { return Err(fault("not an object")) };
    let (mut format, mut iss, mut sub) = (None, None, None);
    for (name, value) in members.iter() {
        let value = claim::checked_text(value, "sub_id")?;
        match name {
            "format" => format = Some(value),
            "iss" => {
                iss = Some(value.parse::<Issuer>().map_err(|_| fault("iss is not an issuer identifier"))?);
            }
            "sub" => sub = Some(value.to_owned()),
            _ => return Err(fault("it has an unknown member")),
        }
    }
    match (format, iss, sub) {
        (Some(FORMAT), Some(iss), Some(sub)) => Ok(Subject { iss, sub }),
        _ => Err(fault("not a subject identifier of the format iss_sub")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use mandate_core::{Issuer, PersonName, Subject};
    use proptest::prelude::*;

    use super::{MAX_QUALIFIED_LEN, may_be_local, subject_claim};

    const OURS: &str = "https://m.example";

    fn named(iss: &str, sub: &str) -> String {
        let person = Subject { iss: iss.parse().unwrap(), sub: sub.to_owned() };
        subject_claim(&person, &OURS.parse().unwrap()).into_owned()
    }

    #[test]
    fn people_of_other_issuers_never_have_the_name_of_one_of_ours() {
        assert_eq!(named(OURS, "riley"), "riley");
        assert_eq!(named("https://login.acme.example", "riley"), "https://login.acme.example#riley");
        assert_eq!(
            named("https://m.example/", "riley"),
            "https://m.example/#riley",
            "bytewise another issuer"
        );
        assert_eq!(
            named("https://login.acme.example/t/1", "Å b|c"),
            "https://login.acme.example/t/1#%C3%85%20b%7Cc"
        );
        assert_eq!(
            named("https://login.acme.example", "a#b:c/d%20"),
            "https://login.acme.example#a%23b%3Ac%2Fd%2520"
        );
    }

    #[test]
    fn a_long_name_becomes_a_digest_of_fixed_size_and_stays_the_same() {
        let long = named("https://login.acme.example", &"x".repeat(2000));
        assert_eq!(long, "ni:///sha-256;vG04X-RHnRUqyBSScGQnab79mxS-l5T089an2SxTBIk");
        assert_ne!(long, named("https://login.acme.example", &"x".repeat(1999)));
        assert_ne!(long, named("https://other.example", &"x".repeat(2000)));
        let fits = MAX_QUALIFIED_LEN - "https://login.acme.example#".len();
        assert_eq!(named("https://login.acme.example", &"x".repeat(fits)).len(), MAX_QUALIFIED_LEN);
        assert!(named("https://login.acme.example", &"x".repeat(fits + 1)).starts_with("ni:///sha-256;"));
    }

    fn issuers() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            OURS,
            "https://m.example/",
            "https://m.example/a",
            "https://login.example",
            "http://127.0.0.1:1",
        ])
    }

    proptest! {
        #[test]
        fn two_people_never_share_a_sub(all in prop::collection::vec((issuers(), "[a-c#%:/ é]{1,4}|[a]{240,260}"), 2..40)) {
            let ours: Issuer = OURS.parse().unwrap();
            let mut seen: HashMap<String, Subject> = HashMap::new();
            for (iss, sub) in all {
                // Our own directory has names only.
                if iss == OURS && sub.parse::<PersonName>().is_err() {
                    continue;
                }
                let person = Subject { iss: iss.parse().unwrap(), sub };
                let claim = subject_claim(&person, &ours).into_owned();
                prop_assert!(claim.len() <= MAX_QUALIFIED_LEN && claim.is_ascii());
                prop_assert_eq!(may_be_local(&claim), person.iss == ours);
                let other = seen.entry(claim).or_insert_with(|| person.clone());
                prop_assert_eq!(&*other, &person);
            }
        }

        #[test]
        fn no_name_of_our_directory_reads_like_somebody_elses(name in "[a-z0-9:._-]{1,12}|[a-z0-9]:[a-z0-9]{1,12}") {
            if let Ok(name) = name.parse::<PersonName>() {
                prop_assert!(may_be_local(name.as_str()));
            }
        }
    }
}
