//! The documents that clients, APIs and other trust domains read, and what is beside them.

use reqwest::Method;

use super::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_public_listener_publishes() {
    let mut stage = Stage::new("Public documents").await;
    for (what, path) in [
        ("Authorization server metadata (RFC 8414)", "/.well-known/oauth-authorization-server"),
        ("The same with a slash at the end", "/.well-known/oauth-authorization-server/"),
        ("The keys of access tokens", "/jwks.json"),
        ("The keys of JWT-SVIDs: the trust bundle", "/spiffe-bundle.json"),
        ("Whether it serves", "/healthz"),
        ("The issuer's own address", "/"),
        (
            "Protected resource metadata: the server is no protected resource here",
            "/.well-known/oauth-protected-resource",
        ),
        ("The same for clients of OpenID Connect Discovery", "/.well-known/openid-configuration"),
        ("An address that does not exist", "/nothing"),
        ("Administration, which is elsewhere", "/v1/status"),
    ] {
        let request = stage.server.app.http.get(stage.server.url(path));
        stage.log.send(what, request).await;
    }
    for (what, method, path) in [
        ("The head of the keys", Method::HEAD, "/jwks.json"),
        ("Another method", Method::POST, "/jwks.json"),
        ("Another method at the metadata", Method::DELETE, "/.well-known/oauth-authorization-server"),
        ("An act of administration, which is elsewhere", Method::POST, "/v1/apply"),
    ] {
        let request = stage.server.app.http.request(method, stage.server.url(path));
        stage.log.send(what, request).await;
    }
    let preflight = stage.server.app.http.request(Method::OPTIONS, stage.server.url("/jwks.json"));
    let preflight =
        preflight.header("origin", "https://spa.example").header("access-control-request-method", "GET");
    stage.log.send("What a browser asks before a script's request", preflight).await;
    for (what, host) in [("Another server's host", "evil.example"), ("A host with a user", "user@127.0.0.1")]
    {
        let request = stage.server.app.http.get(stage.server.url("/jwks.json")).header("host", host);
        stage.log.send(what, request).await;
    }
    stage.end("metadata").await;
}
