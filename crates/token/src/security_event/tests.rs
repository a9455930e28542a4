use std::sync::LazyLock;

use mandate_core::lifetimes::SECURITY_EVENT_AGE;
use mandate_core::{Issuer, Timestamp};
use serde_json::{Value, json};

use super::{EventDemand, EventSubject, Expect, KINDS, OPENID, SecurityEvent, verify};
use crate::KeyUse;
use crate::error::TokenError;
use crate::test_keys::Es256;

const PROVIDER: &str = "https://login.example";
const AUDIENCE: &str = "mandate-at-login";
const NOW: u64 = 1_700_000_000;
const AGE: u64 = SECURITY_EVENT_AGE.as_secs();

static KEY: LazyLock<Es256> = LazyLock::new(|| Es256::new(KeyUse::Signature));

fn events(kind: &str, event: &Value) -> Value {
    json!({ format!("{OPENID}{kind}"): event })
}

fn disabled() -> Value {
    events("risc/event-type/account-disabled", &json!({"reason": "hijacking"}))
}

fn user() -> Value {
    json!({"format": "iss_sub", "iss": PROVIDER, "sub": "user-7"})
}

fn with(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": PROVIDER, "aud": AUDIENCE, "iat": NOW, "jti": "e1", "txn": "8675309", "sub_id": user(),
        "events": disabled(),
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn checked(token: &str) -> Result<SecurityEvent, TokenError> {
    let (issuer, keys): (Issuer, _) = (PROVIDER.parse().unwrap(), KEY.key_set());
    verify(
        token,
        &Expect { issuer: &issuer, keys: &keys, audience: AUDIENCE, now: Timestamp::from_secs(NOW) },
    )
}

fn changed(changes: &Value) -> Result<SecurityEvent, TokenError> {
    checked(&KEY.sign_claims("secevent+jwt", &with(changes)))
}

fn code(changes: &Value) -> &'static str {
    changed(changes).map_or_else(|error| error.public_code(), |_| "ok")
}

fn demand(changes: &Value) -> EventDemand {
    changed(changes).unwrap().demand
}

fn dana() -> EventSubject {
    EventSubject::Person("user-7".to_owned())
}

#[test]
fn an_account_that_is_disabled_at_the_provider_is_named_by_issuer_and_subject() {
    let expected = SecurityEvent {
        kind: "risc/event-type/account-disabled",
        demand: EventDemand::Disable(dana()),
        id: "e1".into(),
        ends: Timestamp::from_secs(NOW + AGE),
    };
    assert_eq!(changed(&json!({})), Ok(expected));
    for fine in [
        json!({"aud": ["another", AUDIENCE]}),
        json!({"iat": NOW + 59}),
        json!({"iat": NOW - AGE + 1}),
        json!({"x": 1}),
        json!({"events": events("risc/event-type/account-purged", &json!({"x": {"y": []}}))}),
    ] {
        assert_eq!(demand(&fine), EventDemand::Disable(dana()), "{fine}");
    }
    assert!(checked(&KEY.sign_claims("SecEvent+JWT", &with(&json!({})))).is_ok(), "RFC 7515 §4.1.9");
}

#[test]
fn each_type_of_event_demands_what_the_documentation_says() {
    let of = |kind: &str, event: Value| match demand(&json!({"events": events(kind, &event)})) {
        EventDemand::Disable(named) => ("disables", Some(named)),
        EventDemand::EndLogins(named) => ("ends logins", Some(named)),
        EventDemand::Nothing => ("nothing", None),
    };
    for (kind, what) in [
        ("risc/event-type/account-disabled", "disables"),
        ("risc/event-type/account-purged", "disables"),
        ("risc/event-type/account-credential-change-required", "ends logins"),
        ("risc/event-type/credential-compromise", "ends logins"),
        ("risc/event-type/sessions-revoked", "ends logins"),
        ("caep/event-type/session-revoked", "ends logins"),
    ] {
        assert_eq!(of(kind, json!({})), (what, Some(dana())), "{kind}");
    }
    let change = "caep/event-type/credential-change";
    for (kind, _) in KINDS.iter().skip(7) {
        assert_eq!(of(kind, json!({})), ("nothing", None), "{kind}");
    }
    for kind in ["caep/event-type/unknown", "", "risc/event-type/account-disabled/"] {
        assert_eq!(of(kind, json!({})), ("nothing", None), "{kind}");
    }
    for change_type in ["revoke", "update", "delete"] {
        assert_eq!(of(change, json!({"change_type": change_type})), ("ends logins", Some(dana())));
    }
    assert_eq!(of(change, json!({"change_type": "create"})), ("nothing", None));
    let elsewhere = json!({"events": {"https://other.example/risc/event-type/account-disabled": {}}});
    assert_eq!(demand(&elsewhere), EventDemand::Nothing);
    for event in [json!({}), json!({"change_type": "x"}), json!({"change_type": 7})] {
        assert!(changed(&json!({"events": events(change, &event)})).is_err(), "{event}");
    }
    let verification = json!({
        "sub_id": {"format": "opaque", "id": "stream"},
        "events": events("ssf/event-type/verification", &json!({"state": "x"})),
    });
    assert_eq!(demand(&verification), EventDemand::Nothing);
}

#[test]
fn a_subject_is_named_by_what_only_its_provider_can_say() {
    let revoked = events("caep/event-type/session-revoked", &json!({}));
    let about = |subject: Value| demand(&json!({"sub_id": subject, "events": revoked}));
    let opaque = json!({"format": "opaque", "id": "s1"});
    assert_eq!(about(opaque.clone()), EventDemand::EndLogins(EventSubject::Opaque("s1".into())));
    let whole = json!({"format": "complex", "user": user(), "session": opaque, "device": {"format": "x"}});
    assert_eq!(about(whole), EventDemand::EndLogins(dana()), "more than asked, never less");
    let by_id = json!({"format": "complex", "user": {"format": "opaque", "id": "user-7"}});
    assert_eq!(about(by_id), EventDemand::EndLogins(dana()));
    let session = json!({"format": "complex", "session": opaque});
    assert_eq!(about(session), EventDemand::EndLogins(EventSubject::Session("s1".into())));

    let account = json!({"sub_id": {"format": "opaque", "id": "user-7"}});
    assert_eq!(demand(&account), EventDemand::Disable(EventSubject::Opaque("user-7".into())));
    let inside = events("risc/event-type/account-disabled", &json!({"subject": user()}));
    for sub_id in [Value::Null, user()] {
        assert_eq!(demand(&json!({"sub_id": sub_id, "events": inside})), EventDemand::Disable(dana()));
    }
}

#[test]
fn a_subject_that_names_nobody_here_is_refused() {
    let other = json!({"format": "iss_sub", "iss": PROVIDER, "sub": "user-8"});
    let inside = events("risc/event-type/account-disabled", &json!({"subject": other}));
    assert_eq!(code(&json!({"events": inside})), "claim_invalid", "two subjects");
    assert_eq!(code(&json!({"sub_id": null})), "claim_missing");
    for (subject, why) in [
        (json!({"format": "email", "email": "dana@example.com"}), "claim_invalid"),
        (json!({"format": "phone_number", "phone_number": "+12065550100"}), "claim_invalid"),
        (json!({"format": "account", "uri": "acct:dana@login.example"}), "claim_invalid"),
        (json!({"format": "aliases", "identifiers": [user()]}), "claim_invalid"),
        (json!({"format": "jwt_id", "iss": PROVIDER, "jti": "j"}), "claim_invalid"),
        (json!({"format": "iss_sub", "iss": "https://other.example", "sub": "user-7"}), "claim_invalid"),
        (json!({"format": "iss_sub", "iss": "https://login.example/", "sub": "user-7"}), "claim_invalid"),
        (json!({"format": "iss_sub", "iss": PROVIDER}), "claim_missing"),
        (json!({"format": "iss_sub", "iss": PROVIDER, "sub": 7}), "claim_invalid"),
        (json!({"format": "iss_sub", "iss": PROVIDER, "sub": ""}), "claim_invalid"),
        (json!({"subject_type": "iss_sub", "iss": PROVIDER, "sub": "user-7"}), "claim_missing"),
        (json!({"format": "opaque"}), "claim_missing"),
        (json!({"format": "complex"}), "claim_invalid"),
        (json!({"format": "complex", "user": "user-7"}), "claim_invalid"),
        (json!({"format": "complex", "user": {"format": "email", "email": "d@e.example"}}), "claim_invalid"),
        (json!({"format": "complex", "tenant": {"format": "opaque", "id": "t"}}), "claim_invalid"),
        (json!({"format": "complex", "session": {"format": "opaque", "id": "s1"}}), "claim_invalid"),
        (json!({"format": ["iss_sub"]}), "claim_invalid"),
        (json!("user-7"), "claim_invalid"),
        (json!([user()]), "claim_invalid"),
    ] {
        assert_eq!(code(&json!({"sub_id": subject})), why, "{subject}");
    }
    let revoked = events("caep/event-type/session-revoked", &json!({}));
    let by_name =
        json!({"format": "complex", "session": {"format": "iss_sub", "iss": PROVIDER, "sub": "s1"}});
    assert_eq!(code(&json!({"sub_id": by_name, "events": revoked})), "claim_invalid");
}

#[test]
fn what_is_no_security_event_of_the_provider_for_us_is_refused() {
    let two = json!({
        format!("{OPENID}risc/event-type/account-disabled"): {},
        format!("{OPENID}caep/event-type/session-revoked"): {},
    });
    for (changes, why) in [
        (json!({"iss": "https://other.example"}), "issuer"),
        (json!({"iss": "https://login.example/"}), "issuer"),
        (json!({"iss": null}), "claim_missing"),
        (json!({"aud": "another"}), "audience"),
        (json!({"aud": ["another", "third"]}), "audience"),
        (json!({"aud": []}), "claim_invalid"),
        (json!({"aud": null}), "claim_missing"),
        (json!({"sub": "user-7"}), "claim_invalid"),
        (json!({"exp": NOW + 60}), "claim_invalid"),
        (json!({"nonce": "n"}), "claim_invalid"),
        (json!({"jti": null}), "claim_missing"),
        (json!({"jti": 7}), "claim_invalid"),
        (json!({"iat": null}), "claim_missing"),
        (json!({"iat": NOW + 61}), "not_yet_valid"),
        (json!({"iat": NOW - AGE}), "age"),
        (json!({"events": null}), "claim_missing"),
        (json!({"events": {}}), "claim_invalid"),
        (json!({"events": two}), "claim_invalid"),
        (json!({"events": []}), "claim_invalid"),
        (json!({"events": format!("{OPENID}risc/event-type/account-disabled")}), "claim_invalid"),
        (json!({"events": events("risc/event-type/account-disabled", &json!(true))}), "claim_invalid"),
        (json!({"events": events("risc/event-type/account-disabled", &Value::Null)}), "claim_invalid"),
    ] {
        assert_eq!(code(&changes), why, "{changes}");
    }
    let claims = with(&json!({})).to_string();
    for typ in ["JWT", "logout+jwt", "at+jwt", ""] {
        let token = KEY.sign_claims(typ, &with(&json!({})));
        assert_eq!(checked(&token).unwrap_err().public_code(), "typ", "{typ}");
    }
    let untyped = json!({"alg": "ES256", "kid": KEY.kid()}).to_string();
    assert_eq!(checked(&KEY.sign_raw(&untyped, &claims)).unwrap_err().public_code(), "typ");
    for alg in ["none", "HS256"] {
        let header = json!({"alg": alg, "kid": KEY.kid(), "typ": "secevent+jwt"}).to_string();
        assert_eq!(checked(&KEY.sign_raw(&header, &claims)).unwrap_err().public_code(), "alg", "{alg}");
    }
    let stranger = Es256::new(KeyUse::Signature);
    let header = json!({"alg": "ES256", "kid": KEY.kid(), "typ": "secevent+jwt"}).to_string();
    assert_eq!(checked(&stranger.sign_raw(&header, &claims)).unwrap_err().public_code(), "signature");
    let unknown = json!({"alg": "ES256", "kid": "x", "typ": "secevent+jwt"}).to_string();
    assert_eq!(checked(&KEY.sign_raw(&unknown, &claims)).unwrap_err().public_code(), "unknown_key");
    let zipped = json!({"alg": "ES256", "kid": KEY.kid(), "typ": "secevent+jwt", "zip": "DEF"}).to_string();
    assert_eq!(checked(&KEY.sign_raw(&zipped, &claims)).unwrap_err().public_code(), "header");
    for garbage in ["", "x", "a.b.c", "e30.e30."] {
        assert!(checked(garbage).is_err(), "{garbage}");
    }
}
