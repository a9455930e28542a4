//! Random sequences of logins, refreshes, exchanges, revocations and restarts: no token exceeds what it descends
//! from, and none outlives a revoked ancestor.

use std::collections::BTreeSet;
use std::time::Duration;

use mandate_api::admin::{RevocationRequest, RevocationTarget};
use mandate_core::Clock as _;
use mandate_testkit::app::{
    Answer, CALLBACK, CLIENT_SECRET, CRM, PASSWORD, authorization, exchange, redemption,
};
use serde_json::Value;

use crate::away::{by_app, form, refresh};
use crate::world::{Node, Server};

const STEPS: usize = 40;
const SCOPES: [&str; 2] = ["read:cases", "write:case_comments"];

/// `SplitMix64`: the same sequence for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).unwrap()
    }

    fn scopes(&mut self) -> String {
        [SCOPES[0].to_owned(), SCOPES[1].to_owned(), SCOPES.join(" ")][self.below(3)].clone()
    }
}

/// A token that was issued.
struct Token {
    text: String,
    claims: Value,
    login: usize,
    /// It, or a token that it descends from, was revoked.
    revoked: bool,
    /// The place of the token that it was exchanged from.
    parent: Option<usize>,
}

/// A login with refresh tokens, the newest last.
struct Login {
    refresh: Vec<String>,
    scopes: BTreeSet<String>,
    at: u64,
    ended: bool,
}

#[derive(Default)]
struct Model {
    tokens: Vec<Token>,
    logins: Vec<Login>,
    /// Whether an operator has revoked the person: a restart then refuses all that was issued before it.
    person_cut: bool,
    done: Vec<String>,
}

fn claims(token: &str) -> Value {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

fn scopes_of(claims: &Value) -> BTreeSet<String> {
    claims["scope"].as_str().unwrap().split(' ').map(str::to_owned).collect()
}

impl Model {
    fn issued(&mut self, answer: &Answer, login: usize, parent: Option<usize>) {
        let text = answer.member("access_token");
        let claims = claims(&text);
        let of = &self.logins[login];
        assert!(scopes_of(&claims).is_subset(&of.scopes), "{:?}", self.done);
        assert!(claims["exp"].as_u64().unwrap() <= of.at + 30 * 24 * 3600, "{:?}", self.done);
        assert_eq!(claims["auth_time"], of.at, "{:?}", self.done);
        if let Some(parent) = parent {
            let before = &self.tokens[parent].claims;
            assert!(scopes_of(&claims).is_subset(&scopes_of(before)), "{:?}", self.done);
            assert!(claims["exp"].as_u64() <= before["exp"].as_u64(), "{:?}", self.done);
        }
        self.tokens.push(Token { text, claims, login, revoked: false, parent });
    }

    fn end(&mut self, login: usize) {
        self.logins[login].ended = true;
        self.tokens.iter_mut().filter(|token| token.login == login).for_each(|token| token.revoked = true);
    }

    fn end_all(&mut self) {
        (0..self.logins.len()).for_each(|login| self.end(login));
    }

    fn revoke(&mut self, at: usize) {
        let first = self.tokens.iter().position(|token| token.login == self.tokens[at].login);
        if first == Some(at) {
            return self.end(self.tokens[at].login);
        }
        self.tokens[at].revoked = true;
        for below in at + 1..self.tokens.len() {
            let parent = self.tokens[below].parent;
            self.tokens[below].revoked |= parent.is_some_and(|parent| self.tokens[parent].revoked);
        }
    }
}

async fn post(server: &Server, path: &str, token: &str) -> Answer {
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let request = server.app.http.post(server.url(path)).form(&form(&[("token", token)]));
    let request = request.basic_auth(encoded("desk-app"), Some(encoded(CLIENT_SECRET)));
    Answer::of(request.send().await.unwrap()).await
}

async fn login(server: &Server, scopes: &str) -> Answer {
    let mut query = authorization(None, Some(&format!("{scopes} offline_access")));
    query
        .iter_mut()
        .filter(|(name, _)| name == "client_id")
        .for_each(|pair| "desk-app".clone_into(&mut pair.1));
    let page = server.app.open(&query).await;
    let back = url::Url::parse(server.app.log_in(&page, "riley", PASSWORD).await.header("location")).unwrap();
    let code = back.query_pairs().find(|(key, _)| key == "code").unwrap().1.into_owned();
    by_app(server, redemption(&code)).await
}

/// What every token is said to be, and what is expected.
async fn agrees(server: &Server, model: &Model) {
    let now = server.clock.now().secs();
    for token in &model.tokens {
        let exp = token.claims["exp"].as_u64().unwrap();
        if now.abs_diff(exp) > 1 {
            let active = post(server, "/introspect", &token.text).await.json()["active"].clone();
            assert_eq!(active, !token.revoked && now < exp, "{} after {:?}", token.claims, model.done);
        }
    }
    for login in &model.logins {
        let (newest, used) = login.refresh.split_last().unwrap();
        let active = post(server, "/introspect", newest).await.json()["active"].clone();
        assert_eq!(active, !login.ended, "after {:?}", model.done);
        if let Some(used) = used.last() {
            assert_eq!(post(server, "/introspect", used).await.json()["active"], false);
        }
    }
}

async fn step(server: &Server, node: &Node, model: &mut Model, random: &mut Random) {
    let act = random.below(12);
    let (logins, tokens) = (model.logins.len(), model.tokens.len());
    match act {
        0 | 1 => {
            let scopes = random.scopes();
            model.done.push(format!("login {logins} for {scopes}"));
            let answer = login(server, &scopes).await;
            assert_eq!(answer.status, 200, "{answer:?} after {:?}", model.done);
            let at = claims(&answer.member("access_token"))["auth_time"].as_u64().unwrap();
            let scopes = scopes.split(' ').map(str::to_owned).collect();
            model.logins.push(Login {
                refresh: vec![answer.member("refresh_token")],
                scopes,
                at,
                ended: false,
            });
            model.issued(&answer, logins, None);
        }
        2..=5 if logins > 0 => {
            let at = random.below(logins);
            model.done.push(format!("refresh {at}"));
            let answer = refresh(server, model.logins[at].refresh.last().unwrap()).await;
            assert_eq!(answer.status == 200, !model.logins[at].ended, "{answer:?} after {:?}", model.done);
            if answer.status == 200 {
                model.logins[at].refresh.push(answer.member("refresh_token"));
                model.issued(&answer, at, None);
            }
        }
        6..=8 if tokens > 0 => {
            let at = random.below(tokens);
            model.done.push(format!("exchange token {at}"));
            let svid = node.svid("support-agent").await.unwrap();
            let form = exchange(&svid, &model.tokens[at].text, CRM, "read:cases");
            let answer = server.app.token(&form).await;
            if answer.status == 200 {
                assert!(!model.tokens[at].revoked, "{answer:?} after {:?}", model.done);
                model.issued(&answer, model.tokens[at].login, Some(at));
            }
        }
        9 if logins > 0 => {
            let at = random.below(logins);
            let which = random.below(model.logins[at].refresh.len());
            let token = model.logins[at].refresh[which].clone();
            if random.below(2) == 0 {
                model.done.push(format!("revoke refresh token {which} of login {at}"));
                assert_eq!(post(server, "/revoke", &token).await.status, 200);
                model.end(at);
            } else if which + 1 < model.logins[at].refresh.len() {
                model.done.push(format!("use refresh token {which} of login {at} again"));
                assert_eq!(refresh(server, &token).await.status, 400, "after {:?}", model.done);
                model.end(at);
            }
        }
        10 if tokens > 0 => {
            let at = random.below(tokens);
            let jti = model.tokens[at].claims["jti"].as_str().unwrap().parse().unwrap();
            model.done.push(format!("revoke token {at}"));
            let revocation = RevocationRequest { target: RevocationTarget::Token(jti) };
            server.admin.revoke(&revocation).await.unwrap();
            model.revoke(at);
        }
        11 if random.below(4) == 0 => {
            model.done.push("revoke the person".to_owned());
            let target = RevocationTarget::Person("riley".parse().unwrap());
            server.admin.revoke(&RevocationRequest { target }).await.unwrap();
            model.person_cut = true;
            model.end_all();
        }
        _ => {
            let seconds = random.below(40) as u64;
            model.done.push(format!("{seconds} s later"));
            server.clock.advance(Duration::from_secs(seconds));
        }
    }
    server.clock.advance(Duration::from_millis(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_exceeds_what_it_descends_from_or_outlives_a_revoked_ancestor() {
    for seed in [1, 2, 3] {
        let mut server = Server::story().await;
        server
            .apply(&format!(
                r#"resource = [{{ name = "crm", uri = "{CRM}", scopes = ["read:cases", "write:case_comments", "send:mail"], client = "desk-app" }}]
client = [{{ id = "desk-app", redirect_uris = ["{CALLBACK}"], authentication = "client_secret_basic", agents = ["support-agent"], refresh = true }}]"#
            ))
            .await;
        server.clock.advance(Duration::from_millis(1));
        let (mut model, mut random) = (Model::default(), Random(seed));
        for part in 0..3 {
            let node = server.node().await;
            for _ in 0..STEPS {
                step(&server, &node, &mut model, &mut random).await;
                agrees(&server, &model).await;
            }
            node.stop().await;
            if part < 2 {
                model.done.push("restart".to_owned());
                server = server.restart().await;
                server.clock.advance(Duration::from_millis(2));
                if model.person_cut {
                    model.end_all();
                }
                agrees(&server, &model).await;
            }
        }
        assert!(model.tokens.len() > 20 && model.logins.len() > 5, "{:?}", model.done);
        server.stop().await;
    }
}
