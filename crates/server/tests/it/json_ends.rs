//! Every JSON answer ends with one newline, on every listener.

use mandate_testkit::app::{Answer, CRM, exchange, form};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::Server;

fn ends_with_a_newline(what: &str, answer: &Answer) {
    let content_type = answer.header("content-type");
    assert!(content_type.contains("json"), "{what}: {answer:?}");
    assert!(answer.text.ends_with('\n') && !answer.text.ends_with("\n\n"), "{what}: {:?}", answer.text);
    assert!(serde_json::from_str::<Value>(&answer.text).is_ok(), "{what}: {:?}", answer.text);
    assert_eq!(answer.header("content-length"), answer.text.len().to_string(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_json_answer_of_the_public_listener_ends_with_a_newline() {
    let server = Server::story().await;
    let node = server.node().await;
    for path in [
        "/.well-known/oauth-authorization-server",
        "/jwks.json",
        "/spiffe-bundle.json",
        "/openapi.json",
        "/v1/status",
    ] {
        let answer = server.app.get(&server.url(path)).await;
        ends_with_a_newline(path, &answer);
        let head = server.app.http.head(server.url(path)).send().await.unwrap();
        let length = head.headers()["content-length"].to_str().unwrap().to_owned();
        assert_eq!(
            (head.status().as_u16(), length),
            (answer.status, answer.text.len().to_string()),
            "HEAD {path}"
        );
    }
    let subject = server.app.person_token("riley", None, None).await;
    let good = exchange(&node.svid("support-agent").await.unwrap(), &subject, CRM, "read:cases");
    let answer = server.app.token(&good).await;
    assert_eq!(answer.status, 200);
    ends_with_a_newline("/token", &answer);
    ends_with_a_newline("/token, refused", &server.app.token(&form(&[("grant_type", "x")])).await);
    let mandate = answer.member("access_token");
    for (path, status) in [("/introspect", 401), ("/revoke", 401)] {
        let answer = Answer::of(
            server.app.http.post(server.url(path)).form(&[("token", &mandate)]).send().await.unwrap(),
        )
        .await;
        assert_eq!(answer.status, status, "{path}");
        ends_with_a_newline(path, &answer);
    }
    let introspected = server
        .app
        .http
        .post(server.url("/introspect"))
        .basic_auth("desk-app", Some(plain_secret(&server).await));
    let answer = Answer::of(introspected.form(&[("token", &mandate)]).send().await.unwrap()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    ends_with_a_newline("/introspect", &answer);
    node.stop().await;
    server.stop().await;
}

/// A secret that is the same form-encoded, set again.
async fn plain_secret(server: &Server) -> &'static str {
    let secret = "letters-and-digits-0123456789";
    let request = mandate_api::admin::ClientSecretRequest { secret: secret.to_owned() };
    server.admin.set_client_secret("desk-app", &request).await.unwrap();
    secret
}

#[tokio::test(flavor = "multi_thread")]
async fn every_json_answer_of_the_admin_api_ends_with_a_newline() {
    let server = Server::story().await;
    let token = server.app.person_token("olga", Some(server.issuer()), Some("mandate:admin")).await;
    let base = server.ready.admin_url.clone();
    let record = server.newest_record().await.id;
    let join = server.node().await;
    let node = join.spiffe_id.rsplit('/').next().unwrap().to_owned();
    join.stop().await;
    let document = server.app.get(&format!("{base}/openapi.json")).await;
    ends_with_a_newline("/openapi.json", &document);
    let mut seen = 0;
    for (path, item) in document.json()["paths"].as_object().unwrap() {
        for method in item
            .as_object()
            .unwrap()
            .keys()
            .filter(|method| ["get", "post", "put", "delete"].contains(&method.as_str()))
        {
            let id = if path.starts_with("/v1/audit") { record.as_str() } else { "desk-app" };
            let name = if path.starts_with("/v1/people") {
                "riley"
            } else if path.starts_with("/v1/nodes") {
                &node
            } else {
                "support-agent"
            };
            let url = format!(
                "{base}{}",
                path.replace("{kind}", "agent").replace("{name}", name).replace("{id}", id)
            );
            let body = match path.as_str() {
                "/v1/apply" => json!({"entries": {}, "dry_run": true}),
                "/v1/agents/{name}/state" => json!({"state": "active"}),
                "/v1/people/{name}/state" => json!({"disabled": false}),
                "/v1/revocations" => json!({"target": {"kind": "token", "id": "t"}}),
                path if path.ends_with("/password") => json!({"password": "another password"}),
                path if path.ends_with("/secret") => json!({"secret": "another secret of a client"}),
                _ => json!({}),
            };
            let method: Method = method.to_uppercase().parse().unwrap();
            let send = |with_token: bool| {
                let mut request = server.app.http.request(method.clone(), &url);
                if method != Method::GET {
                    request = request.json(&body);
                }
                if with_token { request.bearer_auth(&token) } else { request }.send()
            };
            let what = format!("{method} {url}");
            let answer = Answer::of(send(true).await.unwrap()).await;
            assert!(answer.status < 300 || answer.status == 409, "{what}: {answer:?}");
            if answer.header("content-type").ends_with("json")
                && !answer.header("content-type").contains("ndjson")
            {
                ends_with_a_newline(&what, &answer);
                seen += 1;
            }
            ends_with_a_newline(&format!("{what}, refused"), &Answer::of(send(false).await.unwrap()).await);
        }
    }
    assert!(seen >= 9, "{seen}");
    for (method, path) in
        [(Method::GET, "/nothing"), (Method::DELETE, "/v1/status"), (Method::POST, "/v1/apply")]
    {
        let answer = Answer::of(
            server
                .app
                .http
                .request(method, format!("{base}{path}"))
                .bearer_auth(&token)
                .body("{")
                .send()
                .await
                .unwrap(),
        );
        ends_with_a_newline(path, &answer.await);
    }
    server.stop().await;
}
