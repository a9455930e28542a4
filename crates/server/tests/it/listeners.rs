//! What holds for every answer of every listener, to every client.

use std::net::SocketAddr;

use mandate_core::{Clock as _, SystemClock};
use mandate_server::Transport;
use mandate_testkit::app::{CALLBACK, FormPairs, PASSWORD, authorization, form, redemption};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::world::{LONG, Server};

/// Sends raw bytes, and returns everything that the server sends until it ends the answer.
async fn exchange(mut io: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A server that refuses a request before it has read all of it resets the connection behind its answer.
    let read = tokio::time::timeout(LONG, io.read_to_end(&mut answer)).await.expect("the answer did not end");
    assert!(read.is_ok() || !answer.is_empty(), "{read:?}");
    String::from_utf8(answer).unwrap()
}

async fn ask(address: SocketAddr, request: &str) -> String {
    exchange(TcpStream::connect(address).await.unwrap(), request).await
}

fn get(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

fn admin_address(server: &Server) -> SocketAddr {
    server.ready.admin_url.trim_start_matches("http://").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_somebody_has_pointed_at_this_machine_is_not_answered() {
    let server = Server::story().await;
    for address in [server.ready.public, admin_address(&server)] {
        let ours = [
            address.to_string(),
            format!("localhost:{}", address.port()),
            "127.0.0.1".to_owned(),
            "allowed.example:1".to_owned(),
        ];
        for host in ours {
            let answer = ask(address, &get("/openapi.json", &host)).await;
            assert_eq!(status(&answer), "200", "{host}: {answer}");
        }
        for host in [
            "evil.example",
            &format!("evil.example:{}", address.port()),
            "localhost.evil.example",
            "10.0.0.1",
            "[2001:db8::1]:80",
        ] {
            for path in ["/openapi.json", "/", "/token", "/v1/status", "/revocations", "/nothing"] {
                let answer = ask(address, &get(path, host)).await;
                assert_eq!(status(&answer), "421", "{host} {path}: {answer}");
                assert!(!answer.contains("evil.example") || answer.contains("--allow-host"), "{answer}");
            }
        }
        let absolute = format!(
            "GET http://evil.example/openapi.json HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        );
        assert_eq!(status(&ask(address, &absolute).await), "421", "the target's host counts");
        for request in [
            "GET /openapi.json HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned(),
            format!(
                "GET /openapi.json HTTP/1.1\r\nhost: {address}\r\nhost: {address}\r\nconnection: close\r\n\r\n"
            ),
            "GET /openapi.json HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n".to_owned(),
        ] {
            assert_eq!(status(&ask(address, &request).await), "400", "{request}");
        }
        assert_eq!(
            status(&ask(address, "GET /openapi.json HTTP/1.0\r\n\r\n").await),
            "200",
            "HTTP/1.0 names no host"
        );
        assert_eq!(
            status(&ask(address, "GET /openapi.json HTTP/1.0\r\nhost: evil.example\r\n\r\n").await),
            "421"
        );
    }
    let socket = UnixStream::connect(&server.ready.admin_socket).await.unwrap();
    assert_eq!(
        status(&exchange(socket, &get("/v1/status", "whatever.example")).await),
        "200",
        "no browser reaches a unix socket"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_kept_or_guessed_at_not_even_one_to_what_cannot_be_read() {
    let server = Server::story().await;
    let (public, admin) = (server.ready.public, admin_address(&server));
    let large = format!("GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: {}\r\n\r\n", "x".repeat(40 * 1024));
    let requests = [
        get("/openapi.json", "127.0.0.1"),
        get("/nothing", "127.0.0.1"),
        get("/v1/status", "127.0.0.1"),
        get("/v1/status", "evil.example"),
        get("/token", "127.0.0.1"),
        get("/authorize", "127.0.0.1"),
        "no HTTP at all\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", "x".repeat(70_000)),
        large,
    ];
    let addresses = [Some(public), Some(admin), None];
    let asked = requests.iter().flat_map(|request| addresses.map(|address| (request, address)));
    let answers = asked.map(async |(request, address)| {
        let answer = match address {
            Some(address) => ask(address, request).await,
            None => exchange(UnixStream::connect(&server.ready.admin_socket).await.unwrap(), request).await,
        };
        (request, address, answer)
    });
    for (request, address, answer) in futures_util::future::join_all(answers).await {
        let what = format!("{address:?}: {request:.60}: {answer:.300}");
        let (head, _) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{what}"));
        assert!(head.starts_with("HTTP/1.1 "), "{what}");
        assert_eq!(head.matches("x-content-type-options: nosniff").count(), 1, "{what}");
        assert_eq!(head.matches("cache-control: ").count(), 1, "{what}");
        assert!(head.contains("cache-control: no-store"), "{what}");
        assert!(!head.contains("strict-transport-security"), "browsers ignore it over plain HTTP: {what}");
        assert!(!head.to_ascii_lowercase().contains("server:"), "{what}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_of_other_origins_may_do_what_clients_in_a_browser_need_and_no_more() {
    let server = Server::story().await;
    let readable = [
        "/token",
        "/revoke",
        "/jwks.json",
        "/spiffe-bundle.json",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
    ];
    for path in readable {
        let preflight = server
            .app
            .http
            .request(reqwest::Method::OPTIONS, server.url(path))
            .header("origin", "https://app.example");
        let preflight = preflight
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization");
        let answer = preflight.send().await.unwrap();
        assert_eq!(answer.status(), 204, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("access-control-allow-origin"), "*", "{path}");
        for name in ["authorization", "content-type", "mcp-protocol-version"] {
            assert!(header("access-control-allow-headers").contains(name), "{path}");
        }
        assert!(header("access-control-allow-methods").contains("POST"));
        assert!(!answer.headers().contains_key("access-control-allow-credentials"), "{path}");
    }
    let origin = |request: reqwest::RequestBuilder| request.header("origin", "https://app.example");
    // A public client in a browser redeems its code and reads the token.
    let page = server.app.open(&authorization(None, None)).await;
    let back = url::Url::parse(server.app.log_in(&page, "riley", PASSWORD).await.header("location")).unwrap();
    let code = back.query_pairs().find(|(key, _)| key == "code").unwrap().1.into_owned();
    let redemption = redemption(&code);
    for (what, request) in [
        ("a token", server.app.http.post(server.url("/token")).form(&redemption)),
        ("a refusal", server.app.http.post(server.url("/token")).form(&form(&[("grant_type", "x")]))),
        ("a form too large", server.app.http.post(server.url("/token")).body("x".repeat(70 * 1024))),
        ("a document", server.app.http.get(server.url("/jwks.json"))),
    ] {
        let answer = origin(request).send().await.unwrap();
        assert_eq!(answer.headers()["access-control-allow-origin"], "*", "{what}");
        assert_eq!(answer.status() == 200, ["a token", "a document"].contains(&what), "{what}: {answer:?}");
    }
    for path in ["/authorize", "/introspect", "/revocations", "/", "/v1/status", "/healthz"] {
        for request in [server.app.http.get(server.url(path)), server.app.http.post(server.url(path))] {
            let answer = origin(request).send().await.unwrap();
            assert!(!answer.headers().contains_key("access-control-allow-origin"), "{path}");
        }
    }
    for path in ["/authorize", "/introspect", "/revocations", "/v1/status"] {
        let preflight = server
            .app
            .http
            .request(reqwest::Method::OPTIONS, server.url(path))
            .header("access-control-request-method", "POST");
        let answer = origin(preflight).send().await.unwrap();
        assert!(
            !answer.status().is_success() && !answer.headers().contains_key("access-control-allow-methods"),
            "{path}: {answer:?}"
        );
    }
    let no_question = server.app.http.request(reqwest::Method::OPTIONS, server.url("/token"));
    assert_eq!(origin(no_question).send().await.unwrap().status(), 405, "it asks for no method");
    let admin =
        server.app.http.request(reqwest::Method::OPTIONS, format!("{}/v1/status", server.ready.admin_url));
    assert!(!origin(admin).send().await.unwrap().headers().contains_key("access-control-allow-origin"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuers_own_address_says_what_it_is_and_what_is_nowhere_says_that() {
    let server = Server::story().await;
    let home = server.app.get(&server.url("/")).await;
    assert_eq!((home.status, home.header("content-type")), (200, "text/html; charset=utf-8"));
    for part in [server.issuer(), "/.well-known/oauth-authorization-server", "/jwks.json", "mandate status"] {
        assert!(home.text.contains(part), "{part}");
    }
    assert!(!home.text.contains(env!("CARGO_PKG_VERSION")), "strangers are told no version");
    assert!(home.header("content-security-policy").contains("frame-ancestors 'none'"));
    assert_eq!(server.app.get(&server.url("/nothing")).await.status, 404);
    let (with, without) =
        (server.app.get(&server.url("/.well-known/oauth-authorization-server")).await.json(), server.url(""));
    assert_eq!(with["issuer"], without);
    server.stop().await;
}

/// The token in the form that a browser with this cookie is shown at `server`.
async fn form_token(server: &Server, query: &FormPairs, cookie: &str) -> String {
    let url = url::Url::parse_with_params(&server.url("/authorize"), query).unwrap();
    let answer = server.app.http.get(url).header("cookie", cookie).send().await.unwrap();
    let again = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(again, cookie, "forms in several tabs are one browser's");
    let text = answer.text().await.unwrap();
    text.split_once("name=\"csrf\" value=\"").unwrap().1.split_once('"').unwrap().0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_of_an_issuer_with_a_path_is_at_each_address_where_clients_look_for_it() {
    let server = Server::empty_with(|config| {
        config.transport = Transport::DangerousBehindTlsProxy;
        config.issuer = Some("https://mandate.acme.example/tenant/1".parse().unwrap());
    })
    .await;
    let ask = async |path: &str| ask(server.ready.public, &get(path, "mandate.acme.example")).await;
    for path in [
        // RFC 8414 §3, the appended form, and clients that leave the path out.
        "/.well-known/oauth-authorization-server/tenant/1",
        "/tenant/1/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server",
        // The other two addresses at which MCP clients ask.
        "/.well-known/openid-configuration/tenant/1",
        "/tenant/1/.well-known/openid-configuration",
    ] {
        let answer = ask(path).await;
        assert_eq!(status(&answer), "200", "{path}: {answer}");
        for member in [
            r#""issuer":"https://mandate.acme.example/tenant/1""#,
            r#""token_endpoint":"https://mandate.acme.example/tenant/1/token""#,
            r#""code_challenge_methods_supported":["S256"]"#,
        ] {
            assert!(answer.contains(member), "{path}: {member}: {answer}");
        }
    }
    assert_eq!(status(&ask("/tenant/1/jwks.json").await), "200");
    for nowhere in [
        "/tenant/2/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/tenant",
        "/.well-known/openid-configuration/tenant",
        // Another issuer of the same host may be there.
        "/.well-known/openid-configuration",
        "/jwks.json",
    ] {
        assert_eq!(status(&ask(nowhere).await), "404", "{nowhere}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_login_form_is_bound_to_the_server_the_browser_and_the_request() {
    // A form from the future would be refused for that.
    let now = SystemClock.now();
    let (server, other) = (Server::story_at(now).await, Server::story_at(now).await);
    let page = server.app.open(&authorization(None, None)).await;
    let fields = |csrf: &str| {
        form(&[("csrf", csrf), ("name", "riley"), ("password", PASSWORD), ("decision", "allow")])
    };
    let submit = |csrf: String| {
        let (app, page) = (&server.app, &page);
        async move { app.submit(page, &page.cookie, &fields(&csrf)).await.status }
    };
    let cookie = page.cookie.split_once('=').unwrap().1.to_owned();
    assert_eq!(submit(cookie).await, 403, "what is in the cookie is no proof");
    // The same browser and request: only the server is another.
    assert_eq!(
        submit(form_token(&other, &authorization(None, None), &page.cookie).await).await,
        403,
        "another server's token"
    );
    let elsewhere = server.app.open(&authorization(None, None)).await;
    assert_eq!(submit(elsewhere.csrf).await, 403, "another browser's token");

    // The same browser, another request.
    let mut query = authorization(None, Some("read:cases"));
    query.retain(|(name, _)| name != "state");
    assert_eq!(submit(form_token(&server, &query, &page.cookie).await).await, 403, "another request's token");

    for (site, expected) in [("cross-site", 403), ("same-site", 403), ("same-origin", 303)] {
        let post = server
            .app
            .http
            .post(&page.url)
            .header("cookie", &page.cookie)
            .header("sec-fetch-site", site)
            .form(&fields(&page.csrf));
        assert_eq!(post.send().await.unwrap().status(), expected, "{site}");
    }
    server.clock.advance(std::time::Duration::from_secs(16 * 60));
    assert_eq!(submit(page.csrf.clone()).await, 403, "a form that lay open for too long");
    server.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_what_is_given_to_whom_and_where_the_answer_goes() {
    let server = Server::story().await;
    let everything = server.app.open(&authorization(None, None)).await.answer.text;
    // The issuer stands in the form's address too, which nobody sees.
    let issuer = format!("at <code>{}</code>", server.issuer());
    for part in ["at most", "read:cases", "write:case_comments", "send:mail", &issuer, "support-app"] {
        assert!(everything.contains(part), "{part}: {everything}");
    }
    let port = url::Url::parse(CALLBACK).unwrap().port().unwrap();
    assert!(
        everything.contains(&format!("127.0.0.1:{port}")),
        "the port says which program of this machine gets the answer"
    );
    let some = server.app.open(&authorization(None, Some("read:cases"))).await.answer.text;
    assert!(some.contains("read:cases") && !some.contains("send:mail"), "{some}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_page_lists_scopes_up_to_a_number_and_no_resources() {
    let server = Server::story().await;
    // Beside the one of the story, which has three scopes.
    let resource = |n: u32| {
        format!(
            "[[resource]]\nname = \"res{n}\"\nuri = \"https://res{n}.acme.example\"\nscopes = [\"read:{n}\", \"read:cases\"]\n"
        )
    };
    let page = async || server.app.open(&authorization(None, None)).await.answer.text;
    let listed = |page: &str| page.matches("<code class=\"scope\">").count();
    // A client without a list.
    let client = format!("[[client]]\nid = \"support-app\"\nredirect_uris = [\"{CALLBACK}\"]\n");
    server.apply(&client).await;
    server.apply(&(10..55).map(resource).collect::<String>()).await;
    let all = page().await;
    assert_eq!(listed(&all), 48, "{all}");
    assert!(all.contains("read:54") && !all.contains(" more"), "{all}");
    server.apply(&(55..58).map(resource).collect::<String>()).await;
    let more = page().await;
    assert_eq!(listed(&more), 48, "{more}");
    assert!(more.contains("and 3 more"), "{more}");
    for page in [all, more] {
        assert!(!page.contains("crm") && !page.contains("res1"), "strangers see this page: {page}");
    }
    server.stop().await;
}
