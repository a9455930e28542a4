//! `mandate issuer`: real HTTP, issuers that do what no issuer should, and input that is no token.

mod subjects;

use std::fs;

use mandate_core::{Clock as _, SystemClock};
use mandate_testkit::hostile_issuer::{HostileIssuer, TestKey, Trouble};
use mandate_testkit::tls_front::PrivateCa;
use mandate_token::Signer as _;
use serde_json::{Value, json};

use crate::admin_socket::answering;
use crate::{Ran, mandate};

const AUDIENCE: &str = "https://mandate.acme.example";
const FIRST: &str = "/.well-known/oauth-authorization-server";
const SECOND: &str = "/.well-known/openid-configuration";

/// A default access token of Keycloak with this change of its claims; null removes one.
fn keycloak(issuer: &str, key: &TestKey, change: &Value) -> String {
    let now = SystemClock.now().secs();
    let mut claims = json!({
        "iss": issuer, "sub": "user-7", "aud": AUDIENCE, "azp": "desk", "typ": "Bearer", "sid": "s1", "jti": "j1",
        "scope": "read:cases", "iat": now, "exp": now + 300, "name": "Dana Park",
        "preferred_username": "dana",
    });
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": key.key_id()});
    key.sign_raw(&header.to_string(), &claims.to_string())
}

/// `mandate issuer test` with these arguments besides the issuer, where no server runs.
fn test(idp: &HostileIssuer, token: &str, more: &[&str]) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    let ran = mandate(dir.path(), &[&["issuer", "test", idp.issuer().as_str()], more].concat(), token);
    shows_no_part_of(token, &ran);
    ran
}

const BY_HAND: [&str; 4] = ["--profile", "keycloak", "--audience", AUDIENCE];

/// Neither the signature nor the token, as header, claims or whole, is printed anywhere.
fn shows_no_part_of(token: &str, ran: &Ran) {
    for part in token.trim().split('.').filter(|part| part.len() > 8) {
        assert!(!ran.out.contains(part) && !ran.err.contains(part), "{}{}", ran.out, ran.err);
    }
}

fn report(ran: &Ran) -> Value {
    assert_eq!(ran.out.lines().count(), 1, "{}{}", ran.out, ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

fn row<'r>(report: &'r Value, name: &str) -> &'r Value {
    let rows = report["claims"].as_array().unwrap();
    // A claim, if a member of the header has the same name.
    let found = rows.iter().rfind(|row| row["name"] == name);
    assert!(found.is_some(), "no {name}: {report}");
    found.unwrap()
}

#[test]
fn a_token_is_explained_with_the_entry_of_the_running_server() {
    let (idp, dir) = (HostileIssuer::start(), tempfile::tempdir().unwrap());
    let issuer = idp.issuer();
    let entry =
        json!({"kind": "issuer", "url": issuer.as_str(), "audience": AUDIENCE, "profile": "keycloak"});
    let server = answering(dir.path(), &[("200 OK", &entry.to_string()), ("200 OK", &entry.to_string())]);
    let token = keycloak(issuer.as_str(), &idp.key(), &json!({}));
    let ran = mandate(dir.path(), &["issuer", "test", issuer.as_str()], &token);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    shows_no_part_of(&token, &ran);
    for part in [
        "An exchange takes this token as its subject, with the profile keycloak.",
        "The person is `user-7`",
        "accepted: the client",
        "accepted: the person",
        "accepted: a key of the issuer made it",
        "ignored",
        "header kid",
    ] {
        assert!(ran.out.contains(part), "{part}\n{}", ran.out);
    }
    let ran =
        mandate(dir.path(), &["issuer", "test", issuer.as_str(), "--json"], &format!("Bearer {token}\n"));
    let report = report(&ran);
    assert_eq!((ran.code, &report["version"], &report["taken"]), (0, &json!(1), &json!(true)), "{report}");
    assert_eq!((&report["entry"], &report["person"]), (&json!("server"), &json!("user-7")), "{report}");
    assert_eq!(row(&report, "name")["verdict"], "ignored");
    assert_eq!(row(&report, "signature").get("value"), None);
    assert!(server.join().unwrap().iter().all(|request| request.starts_with("GET /v1/registry/issuer/")));
}

#[test]
fn each_refusal_is_in_its_row_and_says_what_to_change() {
    let idp = HostileIssuer::start();
    let (name, key) = (idp.issuer().to_string(), idp.key());
    let now = SystemClock.now().secs();
    for (change, claim, code, advice) in [
        (json!({"typ": "ID", "nonce": "n"}), "typ", "not_access_token", "reads like an ID token"),
        (json!({"sid": null}), "sid", "not_a_person", "log a person in"),
        (json!({"client_id": "desk"}), "client_id", "not_a_person", "machine"),
        (json!({"preferred_username": null}), "preferred_username", "not_a_person", "`profile`"),
        (
            json!({"preferred_username": "service-account-x"}),
            "preferred_username",
            "not_a_person",
            "log a person in",
        ),
        (json!({"sub": null}), "sub", "claim_missing", "`basic`"),
        (json!({"aud": "account"}), "aud", "subject_not_for_presenter", "Audience mapper"),
        (json!({"aud": ["account", AUDIENCE]}), "aud", "subject_not_for_presenter", "other_audiences"),
        (json!({"aud": null}), "aud", "claim_missing", "Audience mapper"),
        (json!({"scope": null}), "scope", "nothing_in_common", "identity_only"),
        (json!({"iss": format!("{name}/")}), "iss", "issuer", "byte for byte"),
        (json!({"exp": now - 100, "iat": now - 400}), "exp", "expired", "just issued"),
        (json!({"iat": now - 3_700, "exp": now + 60}), "iat", "subject_expired", "just issued"),
        (json!({"cnf": {"jkt": "x"}}), "cnf", "subject_key_not_proven", "not bound to a key"),
    ] {
        let ran = test(&idp, &keycloak(&name, &key, &change), &[&BY_HAND[..], &["--json"]].concat());
        let report = report(&ran);
        assert_eq!((ran.code, &report["taken"]), (1, &json!(false)), "{change}: {}", ran.err);
        let row = row(&report, claim);
        assert_eq!((&row["verdict"], &row["code"]), (&json!("refused"), &json!(code)), "{change}: {report}");
        let changes = report["changes"].to_string();
        assert!(changes.contains(advice), "{change}: {changes}");
        assert!(ran.err.contains("an exchange refuses this token"), "{}", ran.err);
    }
    let ran = test(&idp, &keycloak(&name, &key, &json!({"typ": "ID"})), &BY_HAND);
    assert_eq!(ran.code, 1);
    for part in ["refused: for an access token of this product, `typ` must be", "To change:", "error: "] {
        assert!(ran.out.contains(part) || ran.err.contains(part), "{part}\n{}{}", ran.out, ran.err);
    }
}

#[test]
fn a_signature_that_is_not_the_issuers_is_refused_and_never_shown() {
    let idp = HostileIssuer::start();
    let name = idp.issuer().to_string();
    let token = keycloak(&name, &TestKey::generate(), &json!({}));
    let honest = keycloak(&name, &idp.key(), &json!({}));
    let forged = format!("{}.{}", honest.rsplit_once('.').unwrap().0, token.rsplit_once('.').unwrap().1);
    for (token, code) in [(&token, "unknown_key"), (&forged, "signature")] {
        for format in [&["--json"][..], &[]] {
            let ran = test(&idp, token, &[&BY_HAND[..], format].concat());
            assert_eq!(ran.code, 1, "{}", ran.err);
            if format.is_empty() {
                assert!(ran.out.contains("signature") && ran.out.contains("refused: "), "{}", ran.out);
            } else {
                assert_eq!(row(&report(&ran), "signature")["code"], code, "{}", ran.out);
            }
        }
    }
}

#[test]
fn without_a_profile_it_is_said_which_profiles_take_the_token() {
    let idp = HostileIssuer::start();
    let (name, key) = (idp.issuer().to_string(), idp.key());
    let ran = test(&idp, &keycloak(&name, &key, &json!({})), &["--json"]);
    let said = report(&ran);
    assert_eq!((ran.code, &said["taken"], &said["entry"]), (0, &Value::Null, &json!("none")), "{}", ran.err);
    assert!(ran.err.contains("no server was asked"), "{}", ran.err);
    let takers: Vec<&str> = said["profiles"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|tried| tried["taken"] == true)
        .map(|tried| tried["profile"].as_str().unwrap())
        .collect();
    assert_eq!(takers, ["keycloak"], "{said}");
    assert_eq!(row(&said, "aud")["verdict"], "not_checked");
    let ran = test(&idp, &keycloak(&name, &key, &json!({})), &[]);
    assert!(ran.out.contains("It is taken with:\n  profile = \"keycloak\"\n"), "{}", ran.out);

    let ran = test(&idp, &keycloak(&name, &key, &json!({"typ": "ID"})), &[]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.out.contains("No profile takes this token:\n  rfc9068: typ: the header says JWT\n"),
        "{}",
        ran.out
    );

    // With the wrong one, the right one is named.
    let wrong = ["--profile", "cognito", "--audience", AUDIENCE, "--json"];
    let said = report(&test(&idp, &keycloak(&name, &key, &json!({})), &wrong));
    assert!(said["changes"].to_string().contains("set profile = \\\"keycloak\\\""), "{said}");
}

#[test]
fn claims_that_the_entry_requires_and_scopes_that_do_not_count_are_given_by_hand() {
    let idp = HostileIssuer::start();
    let (name, key) = (idp.issuer().to_string(), idp.key());
    let token = keycloak(&name, &key, &json!({"scope": null, "acr": "2"}));
    let more = |require: &'static str| [&BY_HAND[..], &["--identity-only", "--require", require]].concat();
    assert_eq!(test(&idp, &token, &more("acr=2")).code, 0);
    let ran = test(&idp, &token, &more("acr=3"));
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("the entry requires the text `3`"), "{}", ran.out);
}

#[test]
fn what_is_no_token_is_a_usage_error_and_nobody_is_asked() {
    let idp = HostileIssuer::start();
    let token = keycloak(idp.issuer().as_str(), &idp.key(), &json!({}));
    let large = format!("{}.{}.x", "e30", "a".repeat(70_000));
    let long = json!({"x": "a".repeat(20_000)}).to_string();
    let long = idp.key().sign_raw(r#"{"alg":"ES256"}"#, &long);
    let twice = idp.key().sign_raw(r#"{"alg":"ES256"}"#, r#"{"iss":"a","iss":"b"}"#);
    for (input, says) in [
        ("", "empty"),
        ("\n", "empty"),
        (&format!("{token}\n{token}\n"), "more than one line"),
        (&large, "longer than"),
        (&long, "longer than 16384 bytes"),
        (&twice, "appears twice"),
        ("opaque-token", "opaque"),
        ("e30.e30.e30.e30.e30", "encrypted"),
        ("!.e30.x", "base64url"),
        ("W10.e30.x", "JSON object"),
    ] {
        let ran = test(&idp, input, &BY_HAND);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{says}: {}", ran.err);
        assert!(ran.err.contains(says) && ran.err.len() < 600, "{says}: {}", ran.err);
    }
    assert_eq!(idp.jwks_served(), 0, "the keys of nothing are not fetched");
    assert_eq!(test(&idp, "", &[&token]).code, 2, "never an argument");
    let ran = test(&idp, &token, &["--ca", "-"]);
    assert!(ran.code == 2 && ran.err.contains("only once"), "{}", ran.err);
}

#[test]
fn a_token_with_a_shared_secret_or_a_key_of_its_own_is_refused_by_its_header() {
    let idp = HostileIssuer::start();
    for (header, name) in [
        (json!({"alg": "HS256", "typ": "JWT"}), "alg"),
        (json!({"alg": "none"}), "alg"),
        (json!({"alg": "ES256", "typ": "JWT", "jwk": {"kty": "EC"}}), "jwk"),
    ] {
        let token = idp.key().sign_raw(&header.to_string(), r#"{"iss":"x"}"#);
        let ran = test(&idp, &token, &[&BY_HAND[..], &["--json"]].concat());
        assert_eq!(ran.code, 1, "{}", ran.err);
        assert_eq!(row(&report(&ran), name)["verdict"], "refused", "{}", ran.out);
    }
}

#[test]
fn a_token_inside_a_claim_is_not_shown() {
    let idp = HostileIssuer::start();
    let inner = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2lnbmF0dXJl";
    let change = json!({"upstream": inner, "https://x.example/tokens": {"id_token": inner}});
    let token = keycloak(idp.issuer().as_str(), &idp.key(), &change);
    for format in [&["--json"][..], &[]] {
        let ran = test(&idp, &token, &[&BY_HAND[..], format].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(!ran.out.contains("c2lnbmF0dXJl") && !ran.out.contains("eyJ"), "{}", ran.out);
        assert!(ran.out.contains("characters, not shown"), "{}", ran.out);
        assert!(!ran.out.contains("Dana Park"), "what has no effect is nobody's to read: {}", ran.out);
    }
}

/// Makes an issuer hostile.
type Spoil = fn(&HostileIssuer);

#[test]
fn metadata_that_lies_redirects_or_is_a_page_is_told_apart_and_writes_nothing() {
    let cases: [(&str, Spoil, i32, &str); 8] = [
        ("another issuer", |idp| idp.lie_about_issuer("https://other.example"), 3, "https://other.example"),
        ("a template", |idp| idp.lie_about_issuer("https://login.example/{tenantid}/v2.0"), 3, "one tenant"),
        ("a redirect", |idp| idp.fail_at(FIRST, Trouble::Status(302)), 1, "redirects are not followed"),
        ("a page", |idp| idp.serve_at(FIRST, "text/html", "<html>Log in</html>"), 1, "text/html"),
        ("a page as JSON", |idp| idp.serve_at(FIRST, "application/json", "<html>"), 1, "not a JSON object"),
        ("keys that are none", |idp| idp.serve_jwks(Some("<html>")), 1, "cannot be used"),
        ("a huge key set", |idp| idp.serve_jwks(Some(&"x".repeat(129 * 1024))), 1, "too large"),
        (
            "keys in clear elsewhere",
            |idp| {
                let metadata = json!({"issuer": idp.issuer(), "jwks_uri": "http://169.254.169.254/jwks"});
                idp.serve_metadata(Some(&metadata.to_string()));
            },
            1,
            "jwks_uri",
        ),
    ];
    for (what, spoil, code, says) in cases {
        let (idp, dir) = (HostileIssuer::start(), tempfile::tempdir().unwrap());
        let (name, file) = (idp.issuer().to_string(), dir.path().join("registry.toml"));
        spoil(&idp);
        let ran = test(&idp, &keycloak(&name, &idp.key(), &json!({})), &BY_HAND);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{what}: {}", ran.err);
        assert!(ran.err.contains(says), "{what}: {}", ran.err);
        let path = file.to_str().unwrap();
        let added = ["issuer", "add", &name, "--audience", AUDIENCE, "--file", path];
        let ran = mandate(dir.path(), &added, "");
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{what}: {}", ran.err);
        assert!(ran.err.contains(says) && !file.exists(), "{what}: {}", ran.err);
    }
}

#[test]
fn an_issuer_that_does_not_answer_is_unreachable() {
    let mut idp = HostileIssuer::start();
    let token = keycloak(idp.issuer().as_str(), &idp.key(), &json!({}));
    idp.fail_at(FIRST, Trouble::Silence);
    idp.fail_at(SECOND, Trouble::Silence);
    let begun = std::time::Instant::now();
    let ran = test(&idp, &token, &BY_HAND);
    assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{}", ran.err);
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
    idp.go_down();
    let ran = test(&idp, &token, &BY_HAND);
    assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_of_their_own_is_trusted_if_it_is_named() {
    let (idp, dir, authority) = (HostileIssuer::start(), tempfile::tempdir().unwrap(), PrivateCa::generate());
    let name = authority.in_front_of(&idp).await.to_string();
    let ca = dir.path().join("sso.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let token = keycloak(&name, &idp.key(), &json!({}));
    let by_hand = [&["issuer", "test", &name][..], &BY_HAND].concat();
    let ran = mandate(dir.path(), &by_hand, &token);
    assert_eq!(ran.code, 4, "{}", ran.err);
    let ran = mandate(dir.path(), &[&by_hand[..], &["--ca", ca.to_str().unwrap()]].concat(), &token);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);

    let file = dir.path().join("registry.toml");
    let add = ["issuer", "add", &name, "--audience", AUDIENCE, "--ca", ca.to_str().unwrap(), "--file"];
    let ran = mandate(dir.path(), &[&add[..], &[file.to_str().unwrap()]].concat(), "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(fs::read_to_string(&file).unwrap().contains("ca = \"sso.pem\"\n"), "relative to the file");
}

#[test]
fn an_issuer_is_found_and_its_entry_is_appended_once() {
    let (idp, dir) = (HostileIssuer::start(), tempfile::tempdir().unwrap());
    let (name, file) = (idp.issuer().to_string(), dir.path().join("registry.toml"));
    let path = file.to_str().unwrap();
    fs::write(&file, "# who may what\n[[person]]\nname = \"riley\" # first\n").unwrap();
    let add = ["issuer", "add", &name, "--audience", AUDIENCE, "--profile", "keycloak"];
    let ran = mandate(dir.path(), &add, "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let entry = format!("[[issuer]]\nurl = \"{name}\"\naudience = \"{AUDIENCE}\"\nprofile = \"keycloak\"\n");
    for part in [entry.as_str(), "Audience mapper", " next: mandate apply -f FILE --dry-run", "1 usable"] {
        assert!(ran.out.contains(part), "{part}\n{}", ran.out);
    }
    let ran = mandate(dir.path(), &[&add[..], &["--file", path, "--json"]].concat(), "");
    let added = report(&ran);
    assert_eq!((ran.code, &added["version"]), (0, &json!(1)), "{}", ran.err);
    assert_eq!((&added["toml"], &added["file"]), (&json!(entry), &json!(path)));
    assert_eq!(added["entry"]["profile"], "keycloak");
    assert_eq!(added["next"][0], format!("mandate apply -f {path} --dry-run"));
    let after = fs::read_to_string(&file).unwrap();
    assert_eq!(after, format!("# who may what\n[[person]]\nname = \"riley\" # first\n\n{entry}"));
    let again = mandate(dir.path(), &[&add[..], &["--file", path]].concat(), "");
    assert_eq!((again.code, again.out.as_str()), (2, ""), "{}", again.err);
    assert!(again.err.contains("registry.toml:5:1: the issuer"), "{}", again.err);
    assert_eq!(fs::read_to_string(&file).unwrap(), after);
}

#[test]
fn a_product_is_recognized_where_that_is_certain_and_says_what_it_needs() {
    let (idp, dir) = (HostileIssuer::start(), tempfile::tempdir().unwrap());
    let name = idp.issuer().to_string();
    let add = |more: &[&str]| mandate(dir.path(), &[&["issuer", "add", &name, "--json"], more].concat(), "");
    let added = report(&add(&["--audience", AUDIENCE]));
    assert_eq!((&added["profile"], &added["profile_from"]), (&json!("rfc9068"), &json!("unknown")));

    let metadata = json!({"issuer": name, "jwks_uri": format!("{name}/oauth/v2/keys")});
    idp.serve_metadata(Some(&metadata.to_string()));
    idp.serve_at("/oauth/v2/keys", "application/json", &idp.key().jwks());
    let ran = add(&["--audience", "287400900000000009"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("--require"), "{}", ran.err);
    let ran = add(&["--require", "mandate_subject=human", "--identity-only"]);
    assert!(ran.code == 2 && ran.err.contains("--audience AUDIENCE is needed"), "{}", ran.err);
    let ran = add(&["--audience", "2874", "--require", "mandate_subject=human", "--identity-only"]);
    let added = report(&ran);
    assert_eq!((&added["profile"], &added["profile_from"]), (&json!("zitadel"), &json!("issuer")), "{added}");
    assert_eq!(added["entry"]["claims"], json!({"require": {"mandate_subject": "human"}}));
    // The one that is given counts.
    let ran = add(&["--audience", AUDIENCE, "--profile", "auth0"]);
    assert_eq!(report(&ran)["profile_from"], "argument");
}

#[test]
fn the_audience_is_this_servers_own_issuer_unless_another_is_given() {
    let (idp, dir) = (HostileIssuer::start(), tempfile::tempdir().unwrap());
    let name = idp.issuer().to_string();
    let status = r#"{"version":"0.1.0","issuer":"https://m.example","trust_domain":"m.example","started":"2026-11-24T00:00:00.000Z","registry":{"resources":1,"people":0,"agents":0,"clients":0,"issuers":0,"grants":0,"policies":0},"audit_size":1,"audit_key":"k","cuts":0,"problems":[]}"#;
    let server = answering(dir.path(), &[("200 OK", status)]);
    let ran = mandate(dir.path(), &["issuer", "add", &name, "--json"], "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(report(&ran)["entry"]["audience"], "https://m.example");
    server.join().unwrap();
    let nobody = tempfile::tempdir().unwrap();
    let ran = mandate(nobody.path(), &["issuer", "add", &name], "");
    assert!(ran.code == 2 && ran.err.contains("--audience AUDIENCE is needed"), "{}", ran.err);
}

#[test]
fn an_issuer_for_logins_is_written_with_what_to_register_there() {
    let (idp, dir) = (HostileIssuer::start(), tempfile::tempdir().unwrap());
    let name = idp.issuer().to_string();
    let file = dir.path().join("registry.toml");
    let login = ["issuer", "add", &name, "--login", "--client-id", "mandate"];
    let more = ["--client-secret-file", "staff.secret", "--file", file.to_str().unwrap()];
    let metadata = |changes: &Value| {
        let mut metadata = json!({
            "issuer": name, "jwks_uri": format!("{name}/jwks"), "token_endpoint": format!("{name}/token"),
            "authorization_endpoint": format!("{name}/authorize"),
        });
        let (members, changes) = (metadata.as_object_mut().unwrap(), changes.as_object().unwrap());
        members.extend(changes.iter().map(|(name, value)| (name.clone(), value.clone())));
        idp.serve_metadata(Some(&metadata.to_string()));
    };
    for (changes, says) in [
        (json!({"authorization_endpoint": "javascript:alert(1)"}), "`authorization_endpoint` must be"),
        (json!({"token_endpoint": 7}), "`token_endpoint` is not a text"),
        (json!({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}), "takes no client secret"),
    ] {
        metadata(&changes);
        let ran = mandate(dir.path(), &[&login[..], &more].concat(), "");
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{changes}: {}", ran.err);
        assert!(ran.err.contains(says) && !file.exists(), "{changes}: {}", ran.err);
    }
    metadata(&json!({}));
    let ran = mandate(dir.path(), &[&login[..], &more].concat(), "");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{}", ran.out);
    let key = mandate_core::registry::login_key(&idp.issuer());
    for part in [
        &format!("redirect URI ISSUER/login/callback/{key}, with the issuer of this server"),
        "the web application `mandate`",
        "/staff.secret` of this server's directory",
    ] {
        assert!(ran.out.contains(part), "{part}\n{}", ran.out);
    }
    let text = fs::read_to_string(&file).unwrap();
    let entry = format!(
        "[[issuer]]\nurl = \"{name}\"\nlogin = true\nclient_id = \"mandate\"\nclient_secret_file = \"staff.secret\"\n"
    );
    assert_eq!(text, entry);

    let status = r#"{"version":"0.1.0","issuer":"https://m.example","trust_domain":"m.example","started":"2026-11-24T00:00:00.000Z","registry":{"resources":1,"people":0,"agents":0,"clients":0,"issuers":0,"grants":0,"policies":0},"audit_size":1,"audit_key":"k","cuts":0,"problems":[]}"#;
    let server = answering(dir.path(), &[("200 OK", status)]);
    let ran = mandate(dir.path(), &[&login[..], &["--audience", AUDIENCE, "--json"]].concat(), "");
    let added = report(&ran);
    assert_eq!(added["entry"]["audience"], AUDIENCE);
    let steps = added["steps"].to_string();
    assert!(steps.contains(&format!("https://m.example/login/callback/{key}")), "{steps}");
    assert!(steps.contains("address its access tokens"), "for tokens too: {steps}");
    server.join().unwrap();

    for incomplete in [&["--login"][..], &["--client-id", "x"], &["--client-secret-file", "x"]] {
        let ran = mandate(dir.path(), &[&["issuer", "add", &name], incomplete].concat(), "");
        assert_eq!(ran.code, 2, "{incomplete:?}: {}", ran.out);
    }
}

#[test]
fn keys_that_verify_nothing_are_no_issuer() {
    let (idp, dir) = (HostileIssuer::start(), tempfile::tempdir().unwrap());
    idp.serve_jwks(Some(r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#));
    let ran = mandate(dir.path(), &["issuer", "add", idp.issuer().as_str(), "--audience", AUDIENCE], "");
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{}", ran.err);
    assert!(ran.err.contains("none of the keys"), "{}", ran.err);
}

#[test]
fn a_server_that_refuses_or_fails_is_not_passed_over() {
    let idp = HostileIssuer::start();
    let token = keycloak(idp.issuer().as_str(), &idp.key(), &json!({}));
    let issuer = idp.issuer();
    let run = |status: &'static str, body: &str| {
        let dir = tempfile::tempdir().unwrap();
        let _server = answering(dir.path(), &[(status, body)]);
        mandate(dir.path(), &["issuer", "test", issuer.as_str(), "--profile", "keycloak"], &token)
    };
    let problem = |code: u16| {
        json!({"type": "/problems/x", "title": "No", "status": code, "code": "not_found"}).to_string()
    };
    let absent = run("404 Not Found", &problem(404));
    assert_eq!(absent.code, 0, "{}", absent.err);
    assert!(absent.err.contains("the server has no entry of this issuer"), "{}", absent.err);
    assert_eq!(run("403 Forbidden", &problem(403)).code, 3);
    assert_eq!(run("500 Internal Server Error", "").code, 1);
}

#[test]
fn lists_and_descriptions_of_issuers_name_profile_and_required_claims() {
    let dir = tempfile::tempdir().unwrap();
    let entry = json!({
        "kind": "issuer", "url": "https://auth.example.com", "audience": "2874", "profile": "zitadel",
        "subject_scope": "identity_only", "claims": {"require": {"mandate_subject": "human", "a": "b"}},
    });
    let (one, all) = (entry.to_string(), json!([entry]).to_string());
    let _server = answering(dir.path(), &[("200 OK", &all), ("200 OK", &one)]);
    let listed = mandate(dir.path(), &["get", "issuers"], "");
    assert_eq!(listed.code, 0, "{}", listed.err);
    let described = mandate(dir.path(), &["describe", "issuer", "https://auth.example.com"], "");
    assert_eq!(described.code, 0, "{}", described.err);
    for (text, parts) in [
        (&listed.out, ["PROFILE", "zitadel", "REQUIRED CLAIMS", "a = b; mandate_subject = human"]),
        (&described.out, ["Profile:", "zitadel", "Required claims:", "mandate_subject = human"]),
    ] {
        for part in parts {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
