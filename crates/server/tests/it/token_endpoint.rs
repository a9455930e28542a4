//! The token, introspection and revocation endpoints as strangers and clients see them over HTTP.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mandate_testkit::app::{
    ACCESS_TOKEN, Answer, CALLBACK, CLIENT_SECRET, CRM, EXCHANGE, FormPairs, claims, exchange, form,
    redemption,
};
use mandate_testkit::hostile_issuer::TestKey;
use mandate_token::Signer as _;

use crate::world::{Node, Server, spiffe_id};

const FORM: &str = "application/x-www-form-urlencoded";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// RFC 6749 §5.1 and §5.2: JSON, not to be kept, with an error that says something; and never our fault.
fn is_a_refusal(what: &str, answer: &Answer, statuses: &[u16]) {
    assert!(statuses.contains(&answer.status), "{what}: {answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store", "{what}");
    assert_eq!(answer.header("content-type"), "application/json", "{what}: {answer:?}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}");
    assert!(
        !answer.member("error").is_empty() && !answer.member("error_description").is_empty(),
        "{what}: {answer:?}"
    );
    assert!(answer.member("access_token").is_empty(), "{what}");
}

async fn post(
    server: &Server,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<reqwest::Body>,
) -> Answer {
    let mut request = server.app.http.post(server.url(path)).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.send().await.unwrap()).await
}

async fn as_desk_app(server: &Server, path: &str, form: &FormPairs) -> Answer {
    let encoded: String = url::form_urlencoded::byte_serialize(CLIENT_SECRET.as_bytes()).collect();
    let basic = format!("Basic {}", STANDARD.encode(format!("desk-app:{encoded}")));
    Answer::of(
        server
            .app
            .http
            .post(server.url(path))
            .header("authorization", basic)
            .form(form)
            .send()
            .await
            .unwrap(),
    )
    .await
}

fn with(mut form: FormPairs, name: &str, value: &str) -> FormPairs {
    match form.iter_mut().find(|(n, _)| n == name) {
        Some(pair) => value.clone_into(&mut pair.1),
        None => form.push((name.to_owned(), value.to_owned())),
    }
    form
}

/// A server, a node, Riley's own token and the SVID of her agent.
async fn world() -> (Server, Node, String, String) {
    let server = Server::story().await;
    let node = server.node().await;
    let riley = server.app.person_token("riley", None, None).await;
    let svid = node.svid("support-agent").await.unwrap();
    (server, node, riley, svid)
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_beside_a_good_body_are_refused_and_not_ignored() {
    let (server, node, riley, svid) = world().await;
    let good = exchange(&svid, &riley, CRM, "read:cases");
    for query in [
        "scope=send:mail",
        "resource=https://hr.acme.example",
        "subject_token=x",
        "token=x",
        "client_id=support-app",
    ] {
        for path in ["/token", "/introspect", "/revoke"] {
            let answer = server
                .app
                .http
                .post(server.url(&format!("{path}?{query}")))
                .form(&good)
                .send()
                .await
                .unwrap();
            let answer = Answer::of(answer).await;
            assert_eq!(answer.error(), "400 invalid_request", "{path}?{query} {answer:?}");
            assert!(answer.member("error_description").starts_with("parameter_in_query: "), "{answer:?}");
        }
    }
    let answer =
        Answer::of(server.app.http.post(server.url("/token?trace=1")).form(&good).send().await.unwrap())
            .await;
    assert_eq!(answer.status, 200, "what is no parameter of OAuth is ignored: {answer:?}");
    node.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_however_malformed_is_our_fault() {
    let server = Server::story().await;
    let long = format!("grant_type={}", "a".repeat(17 * 1024));
    let many = (0..60).map(|n| format!("p{n}=v")).collect::<Vec<_>>().join("&");
    let bodies: [(&str, &str, Vec<u8>); 20] = [
        ("nothing", FORM, vec![]),
        ("no grant type", FORM, b"client_id=support-app".to_vec()),
        ("an unknown grant type", FORM, b"grant_type=magic".to_vec()),
        ("client credentials with a resource", FORM, b"grant_type=client_credentials&client_id=support-app&resource=https%3A%2F%2Fcrm.acme.example".to_vec()),
        ("a password", FORM, b"grant_type=password&username=riley&password=x&client_id=support-app".to_vec()),
        ("a refresh token", FORM, b"grant_type=refresh_token&refresh_token=x&client_id=support-app".to_vec()),
        ("a document as client id, with a resource", FORM, b"grant_type=authorization_code&client_id=https%3A%2F%2Fevil.example%2Fclient.json&code=x&resource=https%3A%2F%2Fcrm.acme.example".to_vec()),
        ("a broken escape", FORM, b"grant_type=%ZZ".to_vec()),
        ("half an escape", FORM, b"grant_type=%4".to_vec()),
        ("no UTF-8, escaped", FORM, b"grant_type=%FF%FE".to_vec()),
        ("no UTF-8, raw", FORM, vec![b'a', b'=', 0xff, 0xfe]),
        ("a zero byte", FORM, b"grant_type=a%00b".to_vec()),
        ("a line break", FORM, b"grant_type=authorization_code&code=a%0d%0ab&client_id=support-app".to_vec()),
        ("a parameter twice", FORM, b"grant_type=authorization_code&grant_type=authorization_code".to_vec()),
        ("sixty parameters", FORM, many.into_bytes()),
        ("a long value", FORM, long.into_bytes()),
        ("as much as is read", FORM, vec![b'a'; 64 * 1024]),
        ("JSON", "application/json", b"{\"grant_type\":\"authorization_code\"}".to_vec()),
        ("parts", "multipart/form-data; boundary=x", b"--x--".to_vec()),
        ("text", "text/plain", b"grant_type=authorization_code".to_vec()),
    ];
    for (what, content_type, body) in bodies {
        for path in ["/token", "/introspect", "/revoke"] {
            let answer = post(&server, path, &[("content-type", content_type)], body.clone()).await;
            is_a_refusal(&format!("{what} at {path}"), &answer, &[400, 401]);
        }
    }
    let answer = post(&server, "/token", &[], "grant_type=authorization_code").await;
    is_a_refusal("no content type", &answer, &[400]);
    for bytes in [64 * 1024 + 1, 300 * 1024] {
        let answer = post(&server, "/token", &[("content-type", FORM)], vec![b'a'; bytes]).await;
        is_a_refusal("more than is read", &answer, &[413]);
        assert_eq!(answer.member("error"), "invalid_request");
    }
    for header in
        ["Basic !!!", "Basic Og==", "Basic", "Bearer x", "Digest x", "Basic c3VwcG9ydC1hcHA6", "\u{e9}"]
    {
        let body = "grant_type=authorization_code&code=x";
        let answer =
            post(&server, "/token", &[("content-type", FORM), ("authorization", header)], body).await;
        is_a_refusal(header, &answer, &[400, 401]);
    }
    let two = [("content-type", FORM), ("authorization", "Basic eDp5"), ("authorization", "Basic eDp5")];
    let answer = post(&server, "/token", &two, "grant_type=authorization_code&code=x").await;
    is_a_refusal("two Authorization headers", &answer, &[400]);
    assert_eq!(answer.member("error"), "invalid_request");
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let request = server
            .app
            .http
            .request(method.parse().unwrap(), server.url("/token?grant_type=authorization_code"));
        assert_eq!(request.send().await.unwrap().status(), 405, "{method}: a token request is a POST");
    }
    assert!(server.admin.audit_verify().await.unwrap().verified);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_is_ours_whatever_host_a_request_names() {
    let server = Server::story().await;
    let url = server.url("/.well-known/oauth-authorization-server");
    let honest = server.app.get(&url).await;
    assert_eq!(honest.member("issuer"), server.issuer());
    for (name, value) in [
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "host=evil.example;proto=https"),
        ("x-forwarded-proto", "https"),
        ("x-original-url", "/evil"),
    ] {
        let answer = Answer::of(server.app.http.get(&url).header(name, value).send().await.unwrap()).await;
        assert_eq!((answer.status, &answer.text), (200, &honest.text), "{name}");
    }
    let other =
        Answer::of(server.app.http.get(&url).header("host", "evil.example").send().await.unwrap()).await;
    assert!(other.status == 421 && !other.text.contains("evil.example"), "{other:?}");
    let keys = server.app.get(&server.url("/jwks.json")).await;
    assert!(keys.text.contains("\"kid\"") && !keys.text.contains("\"d\""), "public halves only");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_answers_a_token_for_one_resource_that_names_both_and_is_not_to_be_kept() {
    let (server, node, riley, svid) = world().await;
    let answer = server.app.token(&exchange(&svid, &riley, CRM, "read:cases")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        (answer.header("cache-control"), answer.header("content-type")),
        ("no-store", "application/json")
    );
    assert_eq!(answer.member("issued_token_type"), ACCESS_TOKEN, "RFC 8693 §2.2.1");
    let token = claims(&answer.member("access_token"));
    assert_eq!(token["sub"], "riley");
    assert_eq!(token["act"]["sub"], spiffe_id("support-agent"));
    assert_eq!(token["aud"], CRM, "one audience, as a string");
    assert_eq!(token["scope"], "read:cases");
    let record = server.newest_record().await;
    assert_eq!(record.jti.as_deref(), token["jti"].as_str(), "recorded before it was answered");
    node.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_exchange_sheds_the_agent() {
    let (server, node, riley, svid) = world().await;
    let mandate = server.mandate(&node).await;
    let bare = |subject: &str| {
        form(&[
            ("grant_type", EXCHANGE),
            ("subject_token", subject),
            ("subject_token_type", ACCESS_TOKEN),
            ("resource", CRM),
            ("scope", "read:cases"),
        ])
    };
    for (what, subject) in [("a mandate", &mandate), ("a person's token", &riley)] {
        // By a client, without an actor token; and with everything that only looks like one.
        let refused = as_desk_app(&server, "/token", &bare(subject)).await;
        is_a_refusal(what, &refused, &[400]);
        let typeless = as_desk_app(&server, "/token", &with(bare(subject), "actor_token", &svid)).await;
        is_a_refusal("an actor token without its type", &typeless, &[400]);
        let tokenless = as_desk_app(&server, "/token", &with(bare(subject), "actor_token_type", JWT)).await;
        is_a_refusal("an actor type without token", &tokenless, &[400]);
        let garbage = with(with(bare(subject), "actor_token", "not.a.jwt"), "actor_token_type", JWT);
        is_a_refusal("garbage as actor token", &as_desk_app(&server, "/token", &garbage).await, &[400]);
        let public = server.app.token(&with(bare(subject), "client_id", "support-app")).await;
        is_a_refusal("by a public client", &public, &[400, 401]);
        is_a_refusal("by nobody", &server.app.token(&bare(subject)).await, &[400, 401]);
    }
    node.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_an_access_token_is_a_subject_and_no_label_is_ignored() {
    let (server, node, riley, svid) = world().await;
    let good = exchange(&svid, &riley, CRM, "read:cases");
    // Somebody else's key, with every claim as ours are.
    let key = TestKey::generate();
    let payload = claims(&riley).to_string();
    let forged =
        key.sign_raw(&format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{}"}}"#, key.key_id()), &payload);
    let [header, body, signature] = riley.split('.').collect::<Vec<_>>().try_into().unwrap();
    let unsigned = {
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        format!("{}.{body}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#))
    };
    for (what, subject) in [
        ("an SVID", svid.clone()),
        ("a forged token", forged),
        ("an unsigned token", unsigned),
        (
            "another payload under the signature",
            format!("{header}.{}.{signature}", svid.split('.').nth(1).unwrap()),
        ),
        ("garbage", "x".to_owned()),
    ] {
        let answer = server.app.token(&with(good.clone(), "subject_token", &subject)).await;
        is_a_refusal(what, &answer, &[400]);
        assert_eq!(answer.member("error"), "invalid_request", "{what}: {answer:?}");
    }
    for kind in ["refresh_token", "id_token", "saml2", "id-jag", "txn_token", "nonsense"] {
        let answer = server
            .app
            .token(&with(
                good.clone(),
                "subject_token_type",
                &format!("urn:ietf:params:oauth:token-type:{kind}"),
            ))
            .await;
        is_a_refusal(kind, &answer, &[400]);
        let answer = server
            .app
            .token(&with(
                good.clone(),
                "requested_token_type",
                &format!("urn:ietf:params:oauth:token-type:{kind}"),
            ))
            .await;
        is_a_refusal(kind, &answer, &[400]);
        let actor = with(
            with(good.clone(), "actor_token", &svid),
            "actor_token_type",
            &format!("urn:ietf:params:oauth:token-type:{kind}"),
        );
        is_a_refusal(kind, &server.app.token(&actor).await, &[400]);
    }
    // The person's token is not her agent: as actor it is refused too.
    let actor = with(with(good.clone(), "actor_token", &riley), "actor_token_type", JWT);
    is_a_refusal("a person's token as actor", &server.app.token(&actor).await, &[400]);
    let answer = server.app.token(&with(good, "client_assertion", &riley)).await;
    is_a_refusal("a person's token as client assertion", &answer, &[400, 401]);
    node.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_resource_that_is_registered_byte_for_byte() {
    let (server, node, riley, svid) = world().await;
    let good = exchange(&svid, &riley, CRM, "read:cases");
    for resource in [
        "https://other.example",
        "https://crm.acme.example//",
        "https://CRM.acme.example",
        "HTTPS://crm.acme.example",
        "https://crm.acme.example:443",
        "https://crm.acme.example#x",
        "https://crm.acme.example?x",
        "https://user@crm.acme.example",
        "https://crm.acme.example%2F",
        "https://crm.acme.example/%2e%2e",
        "//crm.acme.example",
        "crm",
        "javascript:alert(1)",
        " https://crm.acme.example",
    ] {
        let answer = server.app.token(&with(good.clone(), "resource", resource)).await;
        is_a_refusal(resource, &answer, &[400]);
        assert_eq!(answer.member("error"), "invalid_target", "{resource}");
        let answer = server.app.token(&with(good.clone(), "audience", resource)).await;
        is_a_refusal(resource, &answer, &[400]);
        assert_eq!(answer.member("error"), "invalid_target", "audience {resource}");
    }
    let mut two = good.clone();
    two.push(("resource".to_owned(), server.issuer().to_owned()));
    let answer = server.app.token(&two).await;
    assert_eq!(answer.error(), "400 invalid_target", "two resources");
    let without: FormPairs = good.into_iter().filter(|(name, _)| name != "resource").collect();
    assert_eq!(server.app.token(&without).await.error(), "400 invalid_target", "no resource");
    node.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_only_ever_shrink() {
    let (server, node, riley, svid) = world().await;
    let ask =
        async |subject: &str, scope: &str| server.app.token(&exchange(&svid, subject, CRM, scope)).await;
    for (what, scope) in [
        ("beyond the agent's ceiling", "send:mail"),
        ("unknown at the resource", "delete:everything"),
        ("administration", "mandate:admin"),
        ("malformed", "read:cases  write:case_comments"),
        ("quoted", "\"read:cases\""),
    ] {
        let answer = ask(&riley, scope).await;
        is_a_refusal(what, &answer, &[400]);
        assert_eq!(answer.member("error"), "invalid_scope", "{what}: {answer:?}");
    }
    let partly = ask(&riley, "read:cases send:mail").await;
    assert_eq!(
        (partly.status, partly.member("scope").as_str()),
        (200, "read:cases"),
        "narrowed, and said so (RFC 6749 §3.3)"
    );
    // What Riley asked for at login bounds what her agent gets from that token.
    let narrow = server.app.person_token("riley", None, Some("read:cases")).await;
    let answer = ask(&narrow, "write:case_comments").await;
    assert_eq!(answer.error(), "400 invalid_scope", "{answer:?}");
    assert_eq!(ask(&narrow, "read:cases").await.status, 200);
    node.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_revokes_or_introspects_anonymously() {
    let (server, node, riley, _) = world().await;
    let mandate = server.mandate(&node).await;
    let size = server.audit_size().await;
    for token in [&riley, &mandate] {
        for path in ["/revoke", "/introspect"] {
            let bare = form(&[("token", token)]);
            is_a_refusal(
                path,
                &Answer::of(server.app.http.post(server.url(path)).form(&bare).send().await.unwrap()).await,
                &[401],
            );
            // A public client proves nothing by its name, and a confidential one is not proven by it.
            let client = if path == "/revoke" && *token == riley { "desk-app" } else { "support-app" };
            let named = with(bare, "client_id", client);
            is_a_refusal(
                path,
                &Answer::of(server.app.http.post(server.url(path)).form(&named).send().await.unwrap()).await,
                &[400, 401],
            );
        }
        assert_eq!(
            as_desk_app(&server, "/revoke", &form(&[("token", token)])).await.error(),
            "400 invalid_grant",
            "somebody else's token"
        );
    }
    assert_eq!(server.admin.status().await.unwrap().cuts, 0, "nothing was revoked");
    assert!(server.audit_size().await >= size + 6, "each refused revocation is recorded");
    // Its own agent may.
    let svid = node.svid("support-agent").await.unwrap();
    let own = form(&[
        ("token", &mandate),
        ("client_assertion_type", mandate_testkit::app::JWT_SPIFFE),
        ("client_assertion", &svid),
    ]);
    let answer =
        Answer::of(server.app.http.post(server.url("/revoke")).form(&own).send().await.unwrap()).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, ""), "{answer:?}");
    assert_eq!(server.admin.status().await.unwrap().cuts, 1);
    node.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_redeemed_once_with_its_own_verifier() {
    let server = Server::story().await;
    let code = async || {
        let page = server.app.open(&mandate_testkit::app::authorization(None, None)).await;
        let answer = server.app.log_in(&page, "riley", mandate_testkit::app::PASSWORD).await;
        let back = url::Url::parse(answer.header("location")).unwrap();
        back.query_pairs().find(|(key, _)| key == "code").unwrap().1.into_owned()
    };
    let first = code().await;
    for (name, value) in [
        ("code_verifier", "a".repeat(43)),
        ("code_verifier", "short".to_owned()),
        ("redirect_uri", format!("{CALLBACK}/")),
        ("client_id", "desk-app".to_owned()),
    ] {
        is_a_refusal(
            name,
            &server.app.token(&with(redemption(&code().await), name, &value)).await,
            &[400, 401],
        );
    }
    assert_eq!(server.app.token(&redemption("made-up")).await.error(), "400 invalid_grant");
    assert_eq!(server.app.token(&redemption(&first)).await.status, 200);
    assert_eq!(server.app.token(&redemption(&first)).await.error(), "400 invalid_grant");
    assert_eq!(server.admin.status().await.unwrap().cuts, 1, "the tokens from the first use are revoked");
    server.stop().await;
}
