//! Logout tokens: an identity provider says that a person's session there has ended (`OpenID` Connect
//! Back-Channel Logout §2.4, §2.6).

use mandate_core::lifetimes::{CLOCK_SKEW, LOGOUT_TOKEN_AGE};
use mandate_core::{Issuer, Timestamp};

use crate::algorithm::Algorithm;
use crate::claim;
use crate::compact::{Compact, EcdsaForm, OtherMembers, SignatureCheck, ZIP};
use crate::error::{TokenError, shortened};
use crate::id_token::addressed;
use crate::key_set::{KeySet, KeyUse};
use crate::strict_json::{self, Json};

/// The member of `events` that makes a token a logout token.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Whose logout token it must be.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// The provider, compared bytewise with `iss`.
    pub issuer: &'a Issuer,
    /// The provider's keys: those of its ID tokens.
    pub keys: &'a KeySet,
    /// This server's client id at the provider: the only `aud`.
    pub client_id: &'a str,
    /// The claim that names the person, as in ID tokens.
    pub subject: &'static str,
    /// The time of the check.
    pub now: Timestamp,
}

/// A verified logout token. It has a subject, a session, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutToken {
    /// Who the person is to the provider.
    pub subject: Option<String>,
    /// Which of the person's sessions has ended: `sid`.
    pub session: Option<String>,
    /// Its id: `jti`, unique for the provider.
    pub id: String,
    /// From then on it is too old. Until then its id must be remembered.
    pub ends: Timestamp,
}

/// Verifies a logout token.
///
/// It is stricter than the standard: `aud` is this server's client id and nothing else, and a token that was
/// issued more than [`LOGOUT_TOKEN_AGE`] ago is refused even before its `exp`.
///
/// # Errors
/// It is not a logout token of the provider for this server, or too old.
pub fn verify(token: &str, expect: &Expect<'_>) -> Result<LogoutToken, TokenError> {
    let compact = Compact::parse(token, OtherMembers::Ignore)?;
    // §2.4: `logout+jwt` is recommended; many providers write `JWT`, or nothing.
    let fits = |typ: &str| ["logout+jwt", "JWT"].iter().any(|known| typ.eq_ignore_ascii_case(known));
    if let Some(typ) = compact.typ.as_deref().filter(|typ| !fits(typ)) {
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
    // §2.4: a `nonce` would be that of an ID token.
    claim::refuse(&claims, &["nonce"])?;
    addressed(&claims, expect.issuer, expect.client_id)?;
    let (iat, exp) = (claim::required_time(&claims, "iat")?, claim::required_time(&claims, "exp")?);
    claim::check_times((Some(iat), None, exp), expect.now, CLOCK_SKEW)?;
    let ends = iat.plus(LOGOUT_TOKEN_AGE);
    if ends <= expect.now {
        return Err(TokenError::Age);
    }
    match claims.get("events") {
        Some(Json::Object(events)) if matches!(events.get(EVENT), Some(Json::Object(_))) => {}
        Some(_) => return Err(TokenError::Claim { claim: "events", why: "not that of a logout" }),
        None => return Err(TokenError::MissingClaim("events")),
    }
    let text = |name| claim::text(&claims, name).map(|text| text.map(str::to_owned));
    let (subject, session) = (text(expect.subject)?, text("sid")?);
    if subject.is_none() && session.is_none() {
        return Err(TokenError::MissingClaim(expect.subject));
    }
    Ok(LogoutToken { subject, session, id: claim::required_text(&claims, "jti")?.to_owned(), ends })
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use mandate_core::{Issuer, Timestamp};
    use serde_json::{Value, json};

    use super::{EVENT, Expect, LogoutToken, verify};
    use crate::KeyUse;
    use crate::error::TokenError;
    use crate::test_keys::Es256;

    const PROVIDER: &str = "https://login.example";
    const CLIENT: &str = "mandate-at-login";
    const NOW: u64 = 1_700_000_000;

    static KEY: LazyLock<Es256> = LazyLock::new(|| Es256::new(KeyUse::Signature));

    fn with(changes: &Value) -> Value {
        let mut claims = json!({
            "iss": PROVIDER, "sub": "user-7", "aud": CLIENT, "iat": NOW, "exp": NOW + 120, "jti": "l1",
            "events": {EVENT: {}}, "sid": "s1",
        });
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => claims.as_object_mut().unwrap().remove(name),
                value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        claims
    }

    fn checked(token: &str) -> Result<LogoutToken, TokenError> {
        let (issuer, keys): (Issuer, _) = (PROVIDER.parse().unwrap(), KEY.key_set());
        let now = Timestamp::from_secs(NOW);
        verify(token, &Expect { issuer: &issuer, keys: &keys, client_id: CLIENT, subject: "sub", now })
    }

    fn code(changes: &Value) -> &'static str {
        let token = KEY.sign_claims("logout+jwt", &with(changes));
        checked(&token).map_or_else(|error| error.public_code(), |_| "ok")
    }

    #[test]
    fn a_logout_token_names_a_person_or_a_session() {
        let token = KEY.sign_claims("logout+jwt", &with(&json!({})));
        let expected = LogoutToken {
            subject: Some("user-7".into()),
            session: Some("s1".into()),
            id: "l1".into(),
            ends: Timestamp::from_secs(NOW + 600),
        };
        assert_eq!(checked(&token), Ok(expected));
        let others = json!({"events": {EVENT: {"x": 1}, "urn:other": 7}, "aud": [CLIENT], "x": 1});
        for fine in [json!({"sid": null}), json!({"sub": null}), others, json!({"iat": NOW - 599})] {
            assert_eq!(code(&fine), "ok", "{fine}");
        }
        assert!(checked(&KEY.sign_claims("JWT", &with(&json!({})))).is_ok());
        let untyped = json!({"alg": "ES256", "kid": KEY.kid()}).to_string();
        assert!(checked(&KEY.sign_raw(&untyped, &with(&json!({})).to_string())).is_ok());
    }

    #[test]
    fn what_is_no_logout_token_of_the_provider_for_us_is_refused() {
        for (changes, why) in [
            (json!({"iss": "https://other.example"}), "issuer"),
            (json!({"iss": null}), "claim_missing"),
            (json!({"aud": "another-client"}), "audience"),
            (json!({"aud": [CLIENT, "another-client"]}), "audience"),
            (json!({"azp": "another-client"}), "claim_invalid"),
            (json!({"nonce": "n"}), "claim_invalid"),
            (json!({"events": null}), "claim_missing"),
            (json!({"events": {}}), "claim_invalid"),
            (json!({"events": [EVENT]}), "claim_invalid"),
            (json!({"events": EVENT}), "claim_invalid"),
            (json!({"events": {EVENT: true}}), "claim_invalid"),
            (json!({"events": {"urn:other": {}}}), "claim_invalid"),
            (json!({"sub": null, "sid": null}), "claim_missing"),
            (json!({"sub": 7}), "claim_invalid"),
            (json!({"sub": ""}), "claim_invalid"),
            (json!({"sid": ["s1"]}), "claim_invalid"),
            (json!({"jti": null}), "claim_missing"),
            (json!({"iat": null}), "claim_missing"),
            (json!({"exp": null}), "claim_missing"),
            (json!({"iat": NOW - 300, "exp": NOW - 60}), "expired"),
            (json!({"iat": NOW - 600}), "age"),
            (json!({"iat": NOW + 61}), "not_yet_valid"),
        ] {
            assert_eq!(code(&changes), why, "{changes}");
        }
        for typ in ["at+jwt", "id_token+jwt", "secevent+jwt"] {
            let token = KEY.sign_claims(typ, &with(&json!({})));
            assert_eq!(checked(&token).unwrap_err().public_code(), "typ", "{typ}");
        }
        let claims = with(&json!({})).to_string();
        for alg in ["none", "HS256"] {
            let header = json!({"alg": alg, "kid": KEY.kid(), "typ": "logout+jwt"}).to_string();
            assert_eq!(checked(&KEY.sign_raw(&header, &claims)).unwrap_err().public_code(), "alg", "{alg}");
        }
        let stranger = Es256::new(KeyUse::Signature);
        let header = json!({"alg": "ES256", "kid": KEY.kid()}).to_string();
        assert_eq!(checked(&stranger.sign_raw(&header, &claims)).unwrap_err().public_code(), "signature");
    }
}
