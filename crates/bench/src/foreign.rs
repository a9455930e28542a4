//! What people and agents of other organizations cost: exchanges with each kind of foreign subject and actor
//! against our own, logins at an identity provider, many clients and issuers, and documents in caches.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use mandate_api::admin::PasswordRequest;
use mandate_core::names::{AssertionType, GrantType, Parameter, TokenType};
use mandate_core::{Clock as _, SystemClock};
use mandate_token::KeyUse;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::crypto::{Key, median, on_all_cores};
use crate::error::BenchError;
use crate::foreign_hosts::{CLIENT_ID, Host};
use crate::foreign_keys::{TokenKey, rs256_verify_us};
use crate::foreign_login::{APP, Browser, LoginTime, PASSWORD, REDIRECT_URI, authorize};
use crate::http::{form_encode, post_form};
use crate::identity_provider::AUDIENCE;
use crate::kernel::{CpuTime, at_rest, resident_mib};
use crate::load;
use crate::node_link::NodeLink;
use crate::processes::{Node, Server};
use crate::registry::{RESOURCE, SCOPES, apply, scopes, selector};

/// How many people each issuer has.
const PEOPLE: usize = 16;

/// How many clients and issuers a large registry has.
const CLIENTS: usize = 100_000;
const ISSUERS: usize = 1_000;

/// How many clients are applied at once.
const CHUNK: usize = 20_000;

/// How many clients with documents come: half as many again as the server keeps documents.
const DOCUMENTS: usize = 1_500;

const OTHER_DOMAIN: &str = "other.example";
const CLUSTER: &str = "https://cluster.example";
const ACCOUNT: &str = "3f1a8e2c-7f0d-4d51-9a55-0b2f6f0b7d11";

/// Whose token the subject is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SubjectOf {
    Us,
    Es256,
    Rs256,
}

/// What proves the agent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ActorOf {
    Us,
    TrustDomain,
    Platform,
}

/// What is measured, and its name in the figures; the first is what the others are compared with.
const KINDS: [(&str, SubjectOf, ActorOf); 6] = [
    ("own", SubjectOf::Us, ActorOf::Us),
    ("subject_es256", SubjectOf::Es256, ActorOf::Us),
    ("subject_rs256", SubjectOf::Rs256, ActorOf::Us),
    ("actor_trust_domain", SubjectOf::Us, ActorOf::TrustDomain),
    ("actor_platform", SubjectOf::Us, ActorOf::Platform),
    ("subject_rs256_actor_platform", SubjectOf::Rs256, ActorOf::Platform),
];

/// How much is measured.
pub(crate) struct ForeignExtent {
    rounds: usize,
    per_round: usize,
    logins: usize,
}

impl ForeignExtent {
    pub(crate) fn full() -> Self {
        Self { rounds: 7, per_round: 4096, logins: 1_000 }
    }

    pub(crate) fn quick() -> Self {
        Self { rounds: 3, per_round: 1024, logins: 200 }
    }
}

/// One kind of exchange: the server's CPU time in µs, that time / the raw cryptography of ES256, and that time /
/// the time with tokens of our own.
struct KindFigures {
    name: &'static str,
    cpu_us: f64,
    ratio: f64,
    to_own: f64,
}

/// The figures of a run.
pub(crate) struct ForeignFigures {
    rs256_verify_us: f64,
    es256_verify_us: f64,
    kinds: Vec<KindFigures>,
    login_ms: [f64; 2],
    login_provider_ms: f64,
    login_cpu_us: f64,
    small_cpu_us: f64,
    large_ratio: f64,
    small_mib: f64,
    large_mib: f64,
    issuers_mib: f64,
    documents_mib: f64,
    documents: usize,
}

impl ForeignFigures {
    pub(crate) fn table(&self) -> String {
        let mut out = format!(
            "CPU time of one verification            RS256 {:.1} us, ES256 {:.1} us\n",
            self.rs256_verify_us, self.es256_verify_us
        );
        for kind in &self.kinds {
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "exchange, {:<30} {:.1} us of CPU = {:.2} x raw, {:.2} x own",
                kind.name, kind.cpu_us, kind.ratio, kind.to_own
            );
        }
        out + &format!(
            "login at a provider, our own time       p50 {:.2} ms, p99 {:.2} ms, {:.0} us of CPU; the provider's token endpoint {:.2} ms\n\
             {CLIENTS} clients, {ISSUERS} issuers          {:.2} x the CPU time of a small registry ({:.1} us); {:.1} MiB instead of {:.1}\n\
             keys of {ISSUERS} issuers in the cache       {:.1} MiB more\n\
             {DOCUMENTS} clients with documents, {} fetched: {:.1} MiB more\n",
            self.login_ms[0],
            self.login_ms[1],
            self.login_cpu_us,
            self.login_provider_ms,
            self.large_ratio,
            self.small_cpu_us,
            self.large_mib,
            self.small_mib,
            self.issuers_mib,
            self.documents,
            self.documents_mib,
        )
    }

    pub(crate) fn json(&self) -> Value {
        let kinds: Vec<Value> = self
            .kinds
            .iter()
            .map(|kind| {
                json!({
                    "kind": kind.name,
                    "cpu_us": round(kind.cpu_us),
                    "cpu_ratio": round(kind.ratio),
                    "to_own": round(kind.to_own),
                })
            })
            .collect();
        json!({
            "rs256_verify_us": round(self.rs256_verify_us),
            "es256_verify_us": round(self.es256_verify_us),
            "kinds": kinds,
            "login_ms": round(self.login_ms[0]),
            "login_ms_p99": round(self.login_ms[1]),
            "login_provider_ms": round(self.login_provider_ms),
            "login_cpu_us": round(self.login_cpu_us),
            "small_registry_cpu_us": round(self.small_cpu_us),
            "large_registry_ratio": round(self.large_ratio),
            "small_registry_rss_mib": round(self.small_mib),
            "large_registry_rss_mib": round(self.large_mib),
            "issuers_rss_mib": round(self.issuers_mib),
            "documents_fetched": self.documents,
            "documents_rss_mib": round(self.documents_mib),
        })
    }
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

fn say(what: &str) {
    eprintln!("bench: {what} …");
}

/// A server, and everybody who comes to it.
struct World {
    server: Server,
    link: NodeLink,
    /// With ES256, and at which people log in.
    es256: Host,
    rs256: Host,
    domain: TokenKey,
    cluster: TokenKey,
    /// For each person of ours the refresh token.
    families: Vec<String>,
    issued: u64,
}

/// A name of a person, for each issuer.
fn person(at: usize) -> String {
    format!("person-{}", at % PEOPLE)
}

fn agent(name: &str, proof: &Value) -> Result<Value, BenchError> {
    let mut agent = json!({
        "name": name, "owner": "own-person-0", "purpose": "Works on cases of the benchmark",
        "ceiling": [{ "resource": "crm", "scopes": scopes() }],
    });
    if let Some(agent) = agent.as_object_mut() {
        match proof {
            Value::Null => agent.insert("selectors".to_owned(), json!([selector()?])),
            proof => agent.insert("proof".to_owned(), json!([proof])),
        };
    }
    Ok(agent)
}

impl World {
    /// Starts everything in `root`, with as many clients and issuers besides.
    async fn start(program: &Path, root: &Path, clients: usize, issuers: usize) -> Result<Self, BenchError> {
        std::fs::create_dir_all(root).map_err(BenchError::during("making a directory"))?;
        let options = ["--client-metadata-host", "127.0.0.1"];
        let server = Server::start_with(program, root, None, &options).await?;
        let (es256, rs256) =
            (Host::start(TokenKey::es256(KeyUse::Signature)?).await?, Host::start(TokenKey::rs256()?).await?);
        let (domain, cluster) = (TokenKey::es256(KeyUse::JwtSvid)?, TokenKey::rs256()?);
        let bundle = root.join("other.example.json");
        std::fs::write(&bundle, domain.jwks()).map_err(BenchError::during("writing a bundle"))?;

        let may = json!([{ "resource": "crm", "scopes": scopes() }]);
        let mut people = Vec::new();
        let mut grants = Vec::new();
        for at in 0..PEOPLE {
            let name = person(at);
            people.push(json!({ "name": format!("own-{name}"), "may": may }));
            for (prefix, host) in [("es", &es256), ("rs", &rs256)] {
                people.push(json!({ "name": format!("{prefix}-{name}"), "issuer": host.url, "sub": name, "may": may }));
            }
            for prefix in ["own", "es", "rs"] {
                for agent in ["agent-0", "worker", "pod"] {
                    grants.push(json!({ "person": format!("{prefix}-{name}"), "agent": agent, "resource": "crm", "scopes": scopes() }));
                }
            }
        }
        let spiffe = json!({ "kind": "spiffe", "trust_domain": OTHER_DOMAIN, "id": format!("spiffe://{OTHER_DOMAIN}/worker") });
        let kubernetes = json!({
            "kind": "kubernetes", "issuer": CLUSTER, "namespace": "support", "service_account": "triage", "uid": ACCOUNT,
            "jwks": cluster.jwks(),
        });
        let entries = json!({
            "resource": [{ "name": "crm", "uri": RESOURCE, "scopes": scopes(), "unattested": ["read:cases"] }],
            "issuer": [
                { "url": es256.url, "audience": AUDIENCE, "login": true, "client_id": CLIENT_ID },
                { "url": rs256.url, "audience": AUDIENCE },
            ],
            "trust_domain": [{ "name": OTHER_DOMAIN, "bundle": bundle }],
            "client": [{ "id": APP, "redirect_uris": [REDIRECT_URI], "refresh": true }],
            "person": people,
            "agent": [agent("agent-0", &Value::Null)?, agent("worker", &spiffe)?, agent("pod", &kubernetes)?],
            "grant": grants,
        });
        apply(&server.admin, entries).await?;
        let unused: Vec<Value> =
            (0..issuers).map(|at| json!({ "url": es256.issuer(at), "audience": AUDIENCE })).collect();
        if !unused.is_empty() {
            apply(&server.admin, json!({ "issuer": unused })).await?;
        }
        for first in (0..clients).step_by(CHUNK) {
            let chunk = first..clients.min(first + CHUNK);
            let clients: Vec<Value> = chunk
                .map(|at| json!({ "id": format!("client-{at}"), "redirect_uris": [format!("https://client-{at}.example/callback")] }))
                .collect();
            apply(&server.admin, json!({ "client": clients })).await?;
        }
        // The node is needed for its certificate alone.
        let node = Node::start(program, root, &server).await?;
        let link = NodeLink::open(&node.dir, &server.node_address, &server.issuer).await?;
        node.process.stop().await?;
        Ok(Self { server, link, es256, rs256, domain, cluster, families: Vec::new(), issued: 0 })
    }

    /// Logs in the people of ours.
    async fn log_in(&mut self) -> Result<(), BenchError> {
        let mut browser = Browser::open(&self.server.authority).await?;
        for at in 0..PEOPLE {
            let name = format!("own-{}", person(at));
            let password = PasswordRequest { password: PASSWORD.to_owned() };
            self.server
                .admin
                .set_password(&name, &password)
                .await
                .map_err(BenchError::during("setting a password"))?;
            self.families.push(browser.log_in(&name).await?.1);
        }
        Ok(())
    }

    /// Different tokens of people of ours.
    async fn own_subjects(&mut self, count: usize) -> Result<Vec<String>, BenchError> {
        let mut workers = JoinSet::new();
        let each = count.div_ceil(PEOPLE);
        for mut refresh_token in std::mem::take(&mut self.families) {
            let authority = self.server.authority.clone();
            workers.spawn(async move {
                let mut browser = Browser::open(&authority).await?;
                let mut tokens = Vec::with_capacity(each);
                for _ in 0..each {
                    let (token, next) = browser.refresh(&refresh_token).await?;
                    tokens.push(token);
                    refresh_token = next;
                }
                Ok::<_, BenchError>((refresh_token, tokens))
            });
        }
        let mut all = Vec::with_capacity(count);
        while let Some(done) = workers.join_next().await {
            let (family, tokens) = done.map_err(BenchError::during("a worker"))??;
            self.families.push(family);
            all.extend(tokens);
        }
        all.truncate(count);
        Ok(all)
    }

    /// A token of a person of another issuer (RFC 9068), different from all earlier ones.
    fn foreign_subject(&mut self, key: &TokenKey, issuer: &str, name: &str) -> Result<String, BenchError> {
        self.issued += 1;
        let now = SystemClock.now().secs();
        let claims = json!({
            "iss": issuer, "sub": name, "aud": AUDIENCE, "client_id": "portal", "jti": format!("token-{}", self.issued),
            "iat": now, "exp": now + 3_000, "auth_time": now, "scope": SCOPES,
        });
        key.sign("at+jwt", &claims)
    }

    async fn subjects(&mut self, of: SubjectOf, count: usize) -> Result<Vec<String>, BenchError> {
        let (key, url) = match of {
            SubjectOf::Us => return self.own_subjects(count).await,
            SubjectOf::Es256 => (Arc::clone(&self.es256.key), self.es256.url.clone()),
            SubjectOf::Rs256 => (Arc::clone(&self.rs256.key), self.rs256.url.clone()),
        };
        (0..count).map(|at| self.foreign_subject(&key, &url, &person(at))).collect()
    }

    /// Different tokens that prove one agent.
    async fn actors(&mut self, of: ActorOf, count: usize) -> Result<Vec<String>, BenchError> {
        let now = SystemClock.now().secs();
        let audience = self.server.issuer.clone();
        let mut all = Vec::with_capacity(count);
        if of == ActorOf::Us {
            return self.link.svids(&vec![0; count]).await;
        }
        for _ in 0..count {
            self.issued += 1;
            let jti = format!("proof-{}", self.issued);
            all.push(if of == ActorOf::TrustDomain {
                let sub = format!("spiffe://{OTHER_DOMAIN}/worker");
                let claims =
                    json!({ "sub": sub, "aud": [audience], "iat": now, "exp": now + 3_000, "jti": jti });
                self.domain.sign("JWT", &claims)?
            } else {
                let claims = json!({
                    "iss": CLUSTER, "sub": "system:serviceaccount:support:triage", "aud": [audience],
                    "iat": now, "nbf": now, "exp": now + 3_000, "jti": jti,
                    "kubernetes.io": {
                        "namespace": "support",
                        "serviceaccount": { "name": "triage", "uid": ACCOUNT },
                        "pod": { "name": "triage-7c5d", "uid": "0d1e9f44-9a35-4a5c-9df2-4c9b1f0f6a02" },
                    },
                });
                self.cluster.sign("JWT", &claims)?
            });
        }
        Ok(all)
    }

    /// Requests none of whose tokens the server has seen. The agent itself sends them.
    async fn requests(
        &mut self,
        subject: SubjectOf,
        actor: ActorOf,
        count: usize,
    ) -> Result<Arc<Vec<Vec<u8>>>, BenchError> {
        let (subjects, actors) = (self.subjects(subject, count).await?, self.actors(actor, count).await?);
        let requests = subjects
            .iter()
            .zip(&actors)
            .map(|(token, proof)| self.request((subject, token), (actor, proof)))
            .collect();
        Ok(Arc::new(requests))
    }

    fn request(&self, (subject, token): (SubjectOf, &str), (actor, proof): (ActorOf, &str)) -> Vec<u8> {
        let assertion = match actor {
            ActorOf::Us | ActorOf::TrustDomain => AssertionType::JwtSpiffe,
            ActorOf::Platform => AssertionType::JwtBearer,
        };
        let token_type = if subject == SubjectOf::Us { TokenType::AccessToken } else { TokenType::Jwt };
        let form = [
            (Parameter::GrantType, GrantType::TokenExchange.as_str()),
            (Parameter::ClientAssertionType, assertion.as_str()),
            (Parameter::ClientAssertion, proof),
            (Parameter::SubjectToken, token),
            (Parameter::SubjectTokenType, token_type.as_str()),
            (Parameter::Resource, RESOURCE),
            (Parameter::Scope, SCOPES),
        ];
        let pairs: Vec<String> =
            form.iter().map(|(name, value)| format!("{}={}", name.as_str(), form_encode(value))).collect();
        post_form(&self.server.authority, "/token", &pairs.join("&"))
    }

    /// CPU time of the server for each of these requests, in µs.
    async fn cpu_us(&self, requests: &Arc<Vec<Vec<u8>>>, count: usize) -> Result<f64, BenchError> {
        let before = CpuTime::of(self.server.pid())?;
        let outcome = load::closed(&self.server.authority, requests, count, load::CONNECTIONS).await?;
        let cpu = at_rest(self.server.pid()).await?.since(before);
        Ok(each_us(cpu, outcome.count()))
    }
}

fn each_us(cpu: CpuTime, count: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    let count = count as f64;
    cpu.total() * 1e6 / count
}

/// Runs the whole benchmark.
pub(crate) async fn measure(
    program: &Path,
    extent: &ForeignExtent,
    root: &Path,
) -> Result<ForeignFigures, BenchError> {
    say("starting a server with a small registry, and one with a large one");
    let mut small = World::start(program, &root.join("small"), 0, 0).await?;
    small.log_in().await?;
    let mut large = World::start(program, &root.join("large"), CLIENTS, ISSUERS).await?;

    say("100,000 clients and 1,000 issuers");
    let (small_us, large_ratio, small_mib, large_mib) =
        sizes(&mut small, &mut large, extent.rounds, extent.per_round).await?;
    let issuers_mib = used_issuers(&mut large).await? - large_mib;
    large.server.process.stop().await?;

    say("exchanges with foreign subjects and actors");
    let (kinds, es256_verify_us) = kinds(&mut small, extent).await?;

    say("logins at a provider");
    let (login_ms, login_provider_ms, login_cpu_us) = logins(&small, extent.logins).await?;

    say("clients with documents");
    let before = resident_mib(small.server.pid())?;
    let documents = described_clients(&small).await?;
    let documents_mib = resident_mib(small.server.pid())? - before;
    small.server.process.stop().await?;
    Ok(ForeignFigures {
        rs256_verify_us: rs256_verify_us()?,
        es256_verify_us,
        kinds,
        login_ms,
        login_provider_ms,
        login_cpu_us,
        small_cpu_us: small_us,
        large_ratio,
        small_mib,
        large_mib,
        issuers_mib,
        documents_mib,
        documents,
    })
}

/// The same exchanges with both registries in turn: CPU time with the small one, the median of the quotients, and
/// the memory of each.
async fn sizes(
    small: &mut World,
    large: &mut World,
    rounds: usize,
    per_round: usize,
) -> Result<(f64, f64, f64, f64), BenchError> {
    let mut requests = Vec::new();
    for world in [&mut *small, &mut *large] {
        let all = world.requests(SubjectOf::Es256, ActorOf::Us, PEOPLE).await?;
        // Once, so that both compare exchanges of known tokens.
        world.cpu_us(&all, per_round).await?;
        requests.push(all);
    }
    let (mut first, mut quotients) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut both = Vec::new();
        for (world, requests) in [&*small, &*large].into_iter().zip(&requests) {
            both.push(world.cpu_us(requests, per_round).await?);
        }
        if let [small_us, large_us] = both[..] {
            first.push(small_us);
            quotients.push(large_us / small_us);
        }
    }
    let mib = |world: &World| resident_mib(world.server.pid());
    Ok((median(&first), median(&quotients), mib(small)?, mib(large)?))
}

/// Shows a token of each of the many issuers, so that the server fetches the keys of all. Gives its memory.
async fn used_issuers(world: &mut World) -> Result<f64, BenchError> {
    let proof = world.actors(ActorOf::Us, 1).await?;
    let key = Arc::clone(&world.es256.key);
    let mut connection = crate::http::Connection::open(&world.server.authority).await?;
    for at in 0..ISSUERS {
        let token = world.foreign_subject(&key, &world.es256.issuer(at), "nobody")?;
        let proof = proof.first().map_or("", String::as_str);
        let request = world.request((SubjectOf::Es256, &token), (ActorOf::Us, proof));
        let answer = connection.exchange(&request).await?;
        let said = String::from_utf8_lossy(answer.body);
        // Its signature was verified. Then the registry has no person with that name.
        if answer.status != 400 || !said.contains("person_unknown") {
            return Err(BenchError(format!("a token of issuer {at}: {said}")));
        }
    }
    at_rest(world.server.pid()).await?;
    resident_mib(world.server.pid())
}

/// Opens the login pages of many clients that have documents. Gives how many were fetched.
async fn described_clients(world: &World) -> Result<usize, BenchError> {
    let mut browser = Browser::open(&world.server.authority).await?;
    for at in 0..DOCUMENTS {
        let more = [(Parameter::Resource.as_str(), RESOURCE), (Parameter::Scope.as_str(), "read:cases")];
        browser.login_page(&authorize(&world.es256.client(at), &more)).await?;
    }
    at_rest(world.server.pid()).await?;
    Ok(world.es256.documents())
}

/// Each kind in turn, every token new. Gives also the time of an ES256 verification.
async fn kinds(world: &mut World, extent: &ForeignExtent) -> Result<(Vec<KindFigures>, f64), BenchError> {
    let key = Arc::new(Key::generate()?);
    let mut all = KINDS.map(|_| (Vec::new(), Vec::new(), Vec::new()));
    // Every kind once: keys are fetched, and memory is there.
    for (_, subject, actor) in KINDS {
        let requests = world.requests(subject, actor, extent.per_round / 4).await?;
        world.cpu_us(&requests, requests.len()).await?;
    }
    let mut raw = on_all_cores(&key)?;
    for _ in 0..extent.rounds {
        let mut own = f64::NAN;
        for ((_, subject, actor), (cpu, ratios, to_own)) in KINDS.into_iter().zip(&mut all) {
            let requests = world.requests(subject, actor, extent.per_round).await?;
            at_rest(world.server.pid()).await?;
            let before = on_all_cores(&key)?;
            let used = world.cpu_us(&requests, requests.len()).await?;
            let after = on_all_cores(&key)?;
            if (subject, actor) == (SubjectOf::Us, ActorOf::Us) {
                own = used;
            }
            cpu.push(used);
            ratios.push(used / f64::midpoint(before.exchange_us(), after.exchange_us()));
            to_own.push(used / own);
            raw.extend(before);
            raw.extend(after);
        }
    }
    let figures = KINDS.iter().zip(&all).map(|((name, ..), (cpu, ratios, to_own))| KindFigures {
        name,
        cpu_us: median(cpu),
        ratio: median(ratios),
        to_own: median(to_own),
    });
    Ok((figures.collect(), raw.verify_us()))
}

/// Logins one after the other: p50 and p99 of our own time, the provider's time, and the server's CPU time.
async fn logins(world: &World, count: usize) -> Result<([f64; 2], f64, f64), BenchError> {
    let mut browser = Browser::open(&world.server.authority).await?;
    // Once, so that metadata and keys are there.
    browser.log_in_at(&world.server.issuer, &world.es256).await?;
    let before = at_rest(world.server.pid()).await?;
    let (mut own, mut provider) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        let LoginTime { own_ms, provider_ms } = browser.log_in_at(&world.server.issuer, &world.es256).await?;
        own.push(own_ms);
        provider.push(provider_ms);
    }
    let cpu = at_rest(world.server.pid()).await?.since(before);
    own.sort_by(f64::total_cmp);
    let at = |share: usize| own.get(count * share / 100).copied().unwrap_or(f64::NAN);
    Ok(([at(50), at(99)], median(&provider), each_us(cpu, count)))
}
