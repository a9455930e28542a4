//! Every value that counts once, offered at every endpoint that takes any of them, by its own client and by
//! another one: it is refused there, and afterwards it still works where it belongs.

use mandate_api::admin::JoinTokenRequest;
use mandate_core::Clock as _;
use mandate_testkit::app::{
    Answer, CALLBACK, CLIENT_SECRET, CRM, FormPairs, JWT_SPIFFE, LoginPage, PASSWORD, authorization, form,
    redemption,
};
use mandate_testkit::hostile_issuer::TestKey;
use mandate_testkit::provider_double::asked;
use mandate_token::Signer as _;
use serde_json::json;

use crate::device::{self, DEVICE_CODE};
use crate::provider_login::{Away, Login};
use crate::world::Server;

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What counts once, and where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Once {
    Code,
    LoginForm,
    ProviderState,
    RefreshToken,
    DeviceCode,
    UserCode,
    JoinToken,
    ClientAssertion,
}

const ALL: [Once; 8] = [
    Once::Code,
    Once::LoginForm,
    Once::ProviderState,
    Once::RefreshToken,
    Once::DeviceCode,
    Once::UserCode,
    Once::JoinToken,
    Once::ClientAssertion,
];

/// Where something that counts once is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A parameter of the token endpoint, with its grant.
    Token(&'static str, &'static str),
    Assertion(&'static str, &'static str),
    Introspection,
    Revocation,
    DeviceAuthorization(&'static str),
    DevicePage,
    DeviceForm,
    LoginForm,
    Callback(&'static str),
    Node,
}

fn places() -> Vec<Place> {
    let mut all = vec![
        Place::Token("code", "authorization_code"),
        Place::Token("refresh_token", "refresh_token"),
        Place::Token("device_code", DEVICE_CODE),
        Place::Token("user_code", DEVICE_CODE),
        Place::Token("subject_token", mandate_testkit::app::EXCHANGE),
        Place::Token("actor_token", mandate_testkit::app::EXCHANGE),
        Place::Introspection,
        Place::Revocation,
        Place::DevicePage,
        Place::DeviceForm,
        Place::LoginForm,
        Place::Callback("state"),
        Place::Callback("code"),
        Place::Node,
    ];
    for kind in [JWT_BEARER, JWT_SPIFFE] {
        all.extend(["/token", "/device_authorization"].map(|path| Place::Assertion(kind, path)));
    }
    for name in ["code", "refresh_token", "device_code", "user_code", "token"] {
        all.push(Place::DeviceAuthorization(name));
    }
    all
}

impl Once {
    /// Whether it is taken there, by its client.
    fn belongs_to(self, place: Place) -> bool {
        match self {
            Self::Code => place == Place::Token("code", "authorization_code"),
            Self::LoginForm => place == Place::LoginForm,
            Self::ProviderState => place == Place::Callback("state"),
            // Introspection tells it to its client, and revocation ends it for its client.
            Self::RefreshToken => {
                matches!(place, Place::Introspection | Place::Revocation)
                    || place == Place::Token("refresh_token", "refresh_token")
            }
            Self::DeviceCode => place == Place::Token("device_code", DEVICE_CODE),
            Self::UserCode => place == Place::DevicePage,
            Self::JoinToken => place == Place::Node,
            Self::ClientAssertion => matches!(place, Place::Assertion(JWT_BEARER, _)),
        }
    }
}

/// A server with clients of every kind, an identity provider, and a key of `key-app`.
struct World {
    login: Login,
    key: TestKey,
}

/// A value, and what belongs to it where it counts.
struct Held {
    value: String,
    page: Option<LoginPage>,
    away: Option<Away>,
    device: Option<device::Device>,
}

impl Held {
    fn of(value: String) -> Self {
        Self { value, page: None, away: None, device: None }
    }
}

impl World {
    async fn new() -> Self {
        let (login, key) = (Login::new().await, TestKey::generate());
        let apps = format!(
            r#"client = [
  {{ id = "support-app", redirect_uris = ["{CALLBACK}"], refresh = true, device = true }},
  {{ id = "other-app", redirect_uris = ["{CALLBACK}"], refresh = true, device = true }},
  {{ id = "tv-app", redirect_uris = ["{CALLBACK}"], refresh = true, device = true }},
  {{ id = "key-app", redirect_uris = ["{CALLBACK}"], authentication = "private_key_jwt", jwks = '{}' }},
]"#,
            key.jwks()
        );
        login.server.apply(&apps).await;
        Self { login, key }
    }

    fn server(&self) -> &Server {
        &self.login.server
    }

    async fn code(&self, scope: &str) -> String {
        let app = &self.server().app;
        let page = app.open(&authorization(Some(CRM), Some(scope))).await;
        let back = app.log_in(&page, "riley", PASSWORD).await;
        let back = url::Url::parse(back.header("location")).unwrap();
        back.query_pairs().find(|(key, _)| key == "code").unwrap().1.into_owned()
    }

    /// A new value of this kind: those of clients are of `support-app`, or of `tv-app` where they are of a device.
    async fn make(&self, once: Once) -> Held {
        let server = self.server();
        match once {
            Once::Code => Held::of(self.code("read:cases").await),
            Once::LoginForm => {
                let page = server.app.open(&authorization(Some(CRM), Some("read:cases"))).await;
                Held { page: Some(page), ..Held::of(String::new()) }.with_form()
            }
            Once::ProviderState => {
                let away = self.login.leave().await;
                let state = asked(&away.location, "state");
                Held { away: Some(away), ..Held::of(state) }
            }
            Once::RefreshToken => {
                let code = self.code("read:cases offline_access").await;
                Held::of(server.app.token(&redemption(&code)).await.member("refresh_token"))
            }
            Once::DeviceCode => {
                let device = device::begun(server, "read:cases").await;
                device::allow(server, &device).await;
                Held::of(device.code)
            }
            Once::UserCode => {
                let device = device::begun(server, "read:cases").await;
                let value = device.user_code.clone();
                Held { device: Some(device), ..Held::of(value) }
            }
            Once::JoinToken => {
                Held::of(server.admin.join_token(&JoinTokenRequest::default()).await.unwrap().token)
            }
            Once::ClientAssertion => {
                let now = server.clock.now().secs();
                let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.key.key_id()});
                let claims = json!({
                    "iss": "key-app", "sub": "key-app", "aud": server.issuer(), "jti": format!("a{now}"),
                    "iat": now, "exp": now + 60,
                });
                Held::of(self.key.sign_raw(&header.to_string(), &claims.to_string()))
            }
        }
    }

    async fn post(&self, path: &str, fields: &FormPairs) -> Answer {
        let request = self.server().app.http.post(self.server().url(path)).form(fields);
        Answer::of(request.send().await.unwrap()).await
    }

    /// Whether the value is accepted at a place where `client` brings it.
    async fn accepts(&self, place: Place, client: &str, value: &str) -> bool {
        let server = self.server();
        let pairs = |list: &[(&str, &str)]| form(list);
        let answer = match place {
            Place::Token(name, grant) => {
                let mut fields = pairs(&[
                    ("grant_type", grant),
                    ("client_id", client),
                    ("redirect_uri", CALLBACK),
                    ("code_verifier", mandate_testkit::app::CODE_VERIFIER),
                    ("resource", CRM),
                    (name, value),
                ]);
                let kind = match name {
                    "subject_token" => Some(("subject_token_type", mandate_testkit::app::ACCESS_TOKEN)),
                    "actor_token" => Some(("actor_token_type", "urn:ietf:params:oauth:token-type:jwt")),
                    _ => None,
                };
                fields.extend(kind.map(|(name, value)| (name.to_owned(), value.to_owned())));
                self.post("/token", &fields).await
            }
            Place::Assertion(kind, path) => {
                let fields = pairs(&[
                    ("grant_type", "authorization_code"),
                    ("client_id", client),
                    ("client_assertion_type", kind),
                    ("client_assertion", value),
                    ("code_verifier", mandate_testkit::app::CODE_VERIFIER),
                    ("redirect_uri", CALLBACK),
                    ("resource", CRM),
                ]);
                self.post(path, &fields).await
            }
            Place::Introspection => {
                let request =
                    server.app.http.post(server.url("/introspect")).form(&pairs(&[("token", value)]));
                let request = device::by_desk_app(request, CLIENT_SECRET);
                let answer = Answer::of(request.send().await.unwrap()).await;
                return answer.status == 200 && answer.json() != json!({"active": false});
            }
            Place::Revocation => {
                // RFC 7009 §2.2: 200 also if there was nothing to revoke. What counts is that the value still works.
                self.post("/revoke", &pairs(&[("client_id", client), ("token", value)])).await;
                return false;
            }
            Place::DeviceAuthorization(name) => {
                self.post(
                    "/device_authorization",
                    &pairs(&[("client_id", client), ("resource", CRM), (name, value)]),
                )
                .await
            }
            Place::DevicePage => {
                let page = device::entered(server, value).await;
                return page.answer.status == 200;
            }
            Place::DeviceForm => {
                let waiting = device::begun(server, "read:cases").await;
                let page = device::entered(server, &waiting.user_code).await;
                let mut fields = device::answer_of(&page, &waiting.user_code, "allow");
                value.clone_into(&mut fields[0].1);
                device::submit(server, &page.cookie, &fields).await
            }
            Place::LoginForm => {
                let page = server.app.open(&authorization(Some(CRM), Some("read:cases"))).await;
                let fields = pairs(&[
                    ("csrf", value),
                    ("name", "riley"),
                    ("password", PASSWORD),
                    ("decision", "allow"),
                ]);
                let answer = server.app.submit(&page, &page.cookie, &fields).await;
                return answer.status == 303;
            }
            Place::Callback(name) => {
                // In the session of another login, whose own state is right where the value is the code.
                let away = self.login.leave().await;
                let state = asked(&away.location, "state");
                let query = if name == "state" {
                    [("code", "c"), ("state", value)]
                } else {
                    [("code", value), ("state", state.as_str())]
                };
                let back = asked(&away.location, "redirect_uri");
                let url = url::Url::parse_with_params(&back, &query).unwrap();
                let request = server.app.http.get(url.as_str()).header("cookie", &away.cookie);
                let answer = Answer::of(request.send().await.unwrap()).await;
                return answer.status == 303 && answer.header("location").contains("code=");
            }
            Place::Node => return server.node_in("thief", Some(value.to_owned())).await.is_ok(),
        };
        (200..400).contains(&answer.status)
    }

    /// Whether the value still works where it belongs.
    async fn works(&self, once: Once, held: &Held) -> bool {
        let server = self.server();
        match once {
            Once::Code => {
                self.accepts(Place::Token("code", "authorization_code"), "support-app", &held.value).await
            }
            Once::RefreshToken => {
                self.accepts(Place::Token("refresh_token", "refresh_token"), "support-app", &held.value).await
            }
            Once::DeviceCode => {
                self.accepts(Place::Token("device_code", DEVICE_CODE), "tv-app", &held.value).await
            }
            Once::LoginForm => {
                let page = held.page.as_ref().unwrap();
                server.app.log_in(page, "riley", PASSWORD).await.status == 303
            }
            Once::ProviderState => {
                let away = held.away.as_ref().unwrap();
                self.login.give(away, "user-7");
                let answer = self.login.come_back(away, &away.cookie).await;
                answer.status == 303 && answer.header("location").contains("code=")
            }
            Once::UserCode => {
                let device = held.device.as_ref().unwrap();
                device::allow(server, device).await;
                server.app.token(&device::polling(device)).await.status == 200
            }
            Once::JoinToken => match server.node_in("honest", Some(held.value.clone())).await {
                Ok(node) => {
                    node.stop().await;
                    true
                }
                Err(_) => false,
            },
            Once::ClientAssertion => {
                let fields = form(&[
                    ("client_assertion_type", JWT_BEARER),
                    ("client_assertion", &held.value),
                    ("token", "x"),
                ]);
                self.post("/introspect", &fields).await.status == 200
            }
        }
    }
}

impl Held {
    /// The value of a login form is its token.
    fn with_form(mut self) -> Self {
        self.value = self.page.as_ref().map(|page| page.csrf.clone()).unwrap_or_default();
        self
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_counts_once_is_refused_everywhere_else_and_still_works_where_it_belongs() {
    let world = World::new().await;
    for once in ALL {
        let held = world.make(once).await;
        assert!(!held.value.is_empty(), "{once:?}");
        let own = match once {
            Once::DeviceCode => "tv-app",
            Once::ClientAssertion => "key-app",
            _ => "support-app",
        };
        for place in places() {
            for client in [own, "other-app"] {
                // The right place, in the right session, uses it up: see below. In the others it is refused too.
                let may = once.belongs_to(place) && (client == own || is_of_nobody(once));
                if may {
                    continue;
                }
                let accepted = world.accepts(place, client, &held.value).await;
                assert!(!accepted, "{once:?} at {place:?} by {client}");
            }
        }
        assert!(world.works(once, &held).await, "{once:?} still works where it belongs");
        let again =
            matches!(once, Once::Code | Once::RefreshToken | Once::DeviceCode | Once::ClientAssertion);
        assert!(!again || !world.works(once, &held).await, "{once:?} works once");
    }
    world.login.server.stop().await;
}

/// What belongs to a browser or a node, and not to a client.
fn is_of_nobody(once: Once) -> bool {
    matches!(once, Once::UserCode | Once::JoinToken)
}
