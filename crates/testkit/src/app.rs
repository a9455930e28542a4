//! An app, its person's browser, and an agent's process, all over the network: what a stranger sees of a
//! running server.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a client that cannot do its part ends the test"
)]

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper_util::rt::TokioIo;
use mandate_api::proto::workload::JwtsvidRequest;
use mandate_api::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use mandate_core::digest::sha256;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::net::UnixStream;
use tonic::transport::Endpoint;
use tonic::{Request, Status};

/// The registered redirect URI of `support-app`.
pub const CALLBACK: &str = "http://127.0.0.1:9200/callback";
/// The password of everybody in [`registry`], once it is set.
pub const PASSWORD: &str = "correct horse battery staple";
/// The secret of `desk-app`, once it is set.
pub const CLIENT_SECRET: &str = "a client secret: 0123456789+/%";
/// The identifier of the CRM, the resource of [`registry`].
pub const CRM: &str = "https://crm.acme.example";
/// The code verifier of every login (RFC 7636 Appendix B).
pub const CODE_VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// The grant type of an exchange (RFC 8693 §2.1).
pub const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// The token type of our access tokens.
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// The type of an assertion that is a JWT-SVID.
pub const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// Form parameters, in order.
pub type FormPairs = Vec<(String, String)>;

/// A registry file: `riley` and her `support-agent` at the CRM at `crm`, and `olga`, who administers the
/// server, with an `ops-agent` to which she granted even that. Every process of the user `uid` is both
/// agents.
pub fn registry(crm: &str, uid: u32) -> String {
    format!(
        r#"resource = [{{ name = "crm", uri = "{crm}", scopes = ["read:cases", "write:case_comments", "send:mail"] }}]
client = [
  {{ id = "support-app", redirect_uris = ["{CALLBACK}"], scopes = ["read:cases", "write:case_comments", "send:mail", "mandate:admin"] }},
  {{ id = "desk-app", redirect_uris = ["{CALLBACK}"], authentication = "client_secret_basic", agents = ["support-agent"] }},
]
[[person]]
name = "riley"
may = [{{ resource = "crm", scopes = ["read:cases", "write:case_comments", "send:mail"] }}]
[[person]]
name = "olga"
may = [{{ resource = "crm", scopes = ["read:cases"] }}, {{ resource = "mandate", scopes = ["mandate:admin"] }}]
[[agent]]
name = "support-agent"
owner = "riley"
purpose = "Works on support cases"
selectors = ["unix:uid:{uid}"]
ceiling = [{{ resource = "crm", scopes = ["read:cases", "write:case_comments"] }}]
[[agent]]
name = "ops-agent"
owner = "olga"
purpose = "Would administrate"
selectors = ["unix:uid:{uid}"]
ceiling = [{{ resource = "mandate", scopes = ["mandate:admin"] }}]
[[grant]]
person = "riley"
agent = "support-agent"
resource = "crm"
scopes = ["read:cases", "write:case_comments"]
[[grant]]
person = "olga"
agent = "ops-agent"
resource = "mandate"
scopes = ["mandate:admin"]
"#
    )
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// The status code of HTTP.
    pub status: u16,
    /// All headers of the answer.
    pub headers: HeaderMap,
    /// The body as text.
    pub text: String,
}

impl Answer {
    /// Reads a response to its end.
    pub async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.expect("a body") }
    }

    /// A header's text, empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON, null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// A text member of the JSON body, empty if it is absent.
    pub fn member(&self, name: &str) -> String {
        self.json().get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// The status and the OAuth error, as in `400 invalid_request`.
    pub fn error(&self) -> String {
        format!("{} {}", self.status, self.member("error"))
    }
}

/// The payload of a JWT, unverified.
pub fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}

/// Owned form parameters from literals.
pub fn form(list: &[(&str, &str)]) -> FormPairs {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The query of an authorization request of `support-app`, with S256 and a state.
pub fn authorization(resource: Option<&str>, scope: Option<&str>) -> FormPairs {
    let challenge = URL_SAFE_NO_PAD.encode(sha256(CODE_VERIFIER.as_bytes()));
    let mut query = form(&[
        ("response_type", "code"),
        ("client_id", "support-app"),
        ("redirect_uri", CALLBACK),
        ("state", "the state"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    query.extend(resource.map(|resource| ("resource".to_owned(), resource.to_owned())));
    query.extend(scope.map(|scope| ("scope".to_owned(), scope.to_owned())));
    query
}

/// The redemption of a code by `support-app`.
pub fn redemption(code: &str) -> FormPairs {
    form(&[
        ("grant_type", "authorization_code"),
        ("client_id", "support-app"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", CODE_VERIFIER),
    ])
}

/// The exchange of an agent that authenticates with its JWT-SVID.
pub fn exchange(svid: &str, subject: &str, resource: &str, scope: &str) -> FormPairs {
    form(&[
        ("grant_type", EXCHANGE),
        ("client_assertion_type", JWT_SPIFFE),
        ("client_assertion", svid),
        ("subject_token", subject),
        ("subject_token_type", ACCESS_TOKEN),
        ("resource", resource),
        ("scope", scope),
    ])
}

/// The app with the browser.
#[derive(Clone, Debug)]
pub struct App {
    /// A client that follows no redirect.
    pub http: reqwest::Client,
    /// The issuer of the server that it uses.
    pub issuer: String,
}

/// A login page as the browser holds it.
#[derive(Debug)]
pub struct LoginPage {
    /// The answer with the page in it.
    pub answer: Answer,
    /// The URL to which its form is posted.
    pub url: String,
    /// The value of the form's hidden field `csrf`.
    pub csrf: String,
    /// The cookie that came with it, as `name=value`.
    pub cookie: String,
}

impl App {
    /// An app of the server with this issuer.
    pub fn new(issuer: &str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "proxies of the environment are turned off here")]
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tls_certs_only([])
            .build()
            .expect("a client");
        Self { http, issuer: issuer.to_owned() }
    }

    /// Opens the login page for an authorization request.
    pub async fn open(&self, query: &FormPairs) -> LoginPage {
        let url = url::Url::parse_with_params(&format!("{}/authorize", self.issuer), query)
            .expect("a URL")
            .to_string();
        let answer = self.get(&url).await;
        let csrf =
            answer.text.split_once("name=\"csrf\" value=\"").and_then(|(_, rest)| rest.split_once('"'));
        let csrf = csrf.map_or("", |(value, _)| value).to_owned();
        let cookie = answer.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
        LoginPage { answer, url, csrf, cookie }
    }

    /// Posts the form of a login page, with these fields and this cookie.
    pub async fn submit(&self, page: &LoginPage, cookie: &str, fields: &FormPairs) -> Answer {
        let mut request = self.http.post(&page.url).form(fields);
        if !cookie.is_empty() {
            request = request.header("cookie", cookie);
        }
        Answer::of(request.send().await.expect("an answer")).await
    }

    /// Logs a person in as they should: name, password, allow.
    pub async fn log_in(&self, page: &LoginPage, name: &str, password: &str) -> Answer {
        let fields =
            form(&[("csrf", &page.csrf), ("name", name), ("password", password), ("decision", "allow")]);
        self.submit(page, &page.cookie, &fields).await
    }

    /// A person's own access token by the code flow, addressed to the issuer unless a resource is named.
    pub async fn person_token(&self, name: &str, resource: Option<&str>, scope: Option<&str>) -> String {
        let page = self.open(&authorization(resource, scope)).await;
        let answer = self.log_in(&page, name, PASSWORD).await;
        let back = url::Url::parse(answer.header("location")).expect("a redirect");
        let code = back.query_pairs().find(|(key, _)| key == "code").map(|(_, value)| value.into_owned());
        let code = code.expect("a code");
        let redemption = redemption(&code);
        let answer = self.token(&redemption).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.member("access_token")
    }

    /// Posts a form to the token endpoint.
    pub async fn token(&self, form: &FormPairs) -> Answer {
        self.try_token(form).await.expect("an answer")
    }

    /// As [`App::token`], for a server that may have ended.
    ///
    /// # Errors
    /// There was no complete answer.
    pub async fn try_token(&self, form: &FormPairs) -> reqwest::Result<Answer> {
        let response = self.http.post(format!("{}/token", self.issuer)).form(form).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, text: response.text().await? })
    }

    /// Sends a `GET` request to a URL.
    pub async fn get(&self, url: &str) -> Answer {
        Answer::of(self.http.get(url).send().await.expect("an answer")).await
    }
}

/// A JWT-SVID from a node's Workload API, for the calling process.
///
/// # Errors
/// What the node answers.
pub async fn fetch_svid(socket: &Path, spiffe_id: &str, audience: &str) -> Result<String, Status> {
    let path = socket.to_owned();
    let connect = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://node").connect_with_connector(connect).await;
    let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request =
        Request::new(JwtsvidRequest { audience: vec![audience.to_owned()], spiffe_id: spiffe_id.to_owned() });
    request.metadata_mut().insert("workload.spiffe.io", "true".parse().expect("ASCII"));
    let answer = SpiffeWorkloadApiClient::new(channel).fetch_jwtsvid(request).await?.into_inner();
    answer.svids.into_iter().next().map(|svid| svid.svid).ok_or_else(|| Status::not_found("an empty answer"))
}
