//! A whole authorization server in one process, without a listener: a real store in a temporary directory, a
//! real authority, audit log and engine, a clock that stands still, and the registry of the [`crate::story`].

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a world that cannot be set up is a failed test"
)]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_administration::{Administration, Operator, Permit, act};
use mandate_api::RegistryFile;
use mandate_api::admin::{ApplyRequest, RegistryItem, RevocationTarget};
use mandate_audit::{Outcome, Query, Record, RecordKind};
use mandate_authority::{Authority, JwtSvidGrant};
use mandate_core::digest::sha256;
use mandate_core::names::{AssertionType, GrantType, TokenType};
use mandate_core::registry::{Entry, EntryKind, Policy, Registry};
use mandate_core::{
    Clock, CutTarget, Entropy, HybridClock, Issuer, RecordId, RequestSource, RevocationSet, Secret, Subject,
    SystemEntropy, TokenId, TrustDomain,
};
use mandate_delegation::{liveness, revocation::cut};
use mandate_files::{Dir, own_user};
use mandate_identity::Identity;
use mandate_live::{Edition, Live, Snapshot};
use mandate_oauth::{
    Engine, EngineParts, LoginRefusal, OAuthError, SelfDescription, TokenResponse, Visitor, metadata,
    password,
};
use mandate_policy::Policies;
use mandate_stops::Stops;
use mandate_store::{Log, Store, records, registry, secrets};
use mandate_token::access_token::{self, Expect, Profile};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clock::SteppedClock;
use crate::database;
use crate::faulty_backend::{Faults, FaultyBackend};
pub use crate::form::{FORM, Pairs, Post, basic, encode, pairs, payload, with, without};
use crate::held_database::HeldDatabase;
use crate::hostile_issuer::TestKey;
use crate::repeating_backend::RepeatingBackend;
use crate::story::{self, CALLBACK, CLIENT_SECRET, ISSUER, PASSWORD, TRUST_DOMAIN};

/// The grant type of an exchange.
pub const EXCHANGE: &str = GrantType::TokenExchange.as_str();
/// The token type of our own access tokens.
pub const ACCESS_TOKEN: &str = TokenType::AccessToken.as_str();
/// The token type of JWT-SVIDs and of foreign access tokens.
pub const JWT: &str = TokenType::Jwt.as_str();
/// The name of the file with the server's secret at identity providers.
pub const LOGIN_SECRET_FILE: &str = "provider.secret";
/// The secret in the file of that name.
pub const LOGIN_SECRET: &str = "a secret: 0123456789+/%";
/// The verifier of every authorization request of the world (RFC 7636 Appendix B).
pub const CODE_VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// The world. Dropping it removes its directory.
pub struct World {
    /// The machine's clock; it stands still until moved.
    pub clock: Arc<SteppedClock>,
    /// The server's clock over it.
    pub hybrid: Arc<HybridClock>,
    /// The engine under test, without HTTP.
    pub engine: Engine,
    /// The snapshot and the meters that decisions read.
    pub live: Arc<Live>,
    /// The server's signing keys.
    pub authority: Arc<Authority>,
    /// The audit log, whose backend can be made to fail.
    pub log: Log,
    /// The engine for acts that take authority away.
    pub stops: Arc<Stops>,
    /// The engine that gives nodes and processes their identities.
    pub identity: Arc<Identity>,
    /// The engine of operators' acts.
    pub administration: Arc<Administration>,
    /// The database that the log is in.
    pub store: Store,
    /// The control over the audit log's backend: makes it fail.
    pub faults: Faults,
    /// The key of `batch-app`.
    pub batch_key: TestKey,
    serial: AtomicU64,
    dir: TempDir,
}

impl World {
    /// The world of the story.
    pub fn story() -> Self {
        Self::with_entries(Vec::new())
    }

    /// The world of the story with these entries added or put in place of the story's.
    pub fn with_entries(more: Vec<Entry>) -> Self {
        let registration = SelfDescription { dynamic_registration: true, ..SelfDescription::default() };
        Self::with_clients(more, registration)
    }

    /// The same, where these clients may describe themselves.
    pub fn with_clients(more: Vec<Entry>, self_description: SelfDescription) -> Self {
        let batch_key = TestKey::generate();
        let mut entries = story::entries(&batch_key.jwks());
        entries.extend(more);

        let dir = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(SteppedClock::default());
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let issuer: Issuer = ISSUER.parse().expect("an issuer");
        let trust_domain: TrustDomain = TRUST_DOMAIN.parse().expect("a trust domain");
        let store =
            database::open(&dir.path().join("state"), Arc::clone(&entropy)).expect("a store").rehearsing();
        let shared_clock: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let authority = Authority::open(
            store.clone(),
            trust_domain.clone(),
            issuer.clone(),
            Arc::clone(&shared_clock),
            Arc::clone(&entropy),
        );
        let authority = Arc::new(authority.expect("an authority"));
        let newest = store.read_blocking("newest", records::newest).expect("a time");
        let hybrid = Arc::new(HybridClock::new(shared_clock, newest));
        let signer = authority.checkpoint_signer();
        let (backend, faults) = FaultyBackend::new(RepeatingBackend::new(
            store.audit_backend(signer.origin()).expect("a backend"),
        ));
        let (log, _thread) = Log::start(backend, signer).expect("a log");

        store
            .transact_blocking("story", |tx| entries.iter().try_for_each(|entry| registry::put(tx, entry)))
            .expect("a registry");
        set_secrets(&store, entropy.as_ref());
        let (registry, policies) = loaded(&store);
        let snapshot = Snapshot {
            registry: Arc::new(registry),
            policies: Arc::new(policies),
            revocations: Arc::new(RevocationSet::new()),
            edition: Edition::default(),
        };
        let live = Arc::new(Live::new(issuer, snapshot, HashMap::new(), 0));
        let reserve = Dir::open(&dir.path().join("state")).expect("a directory");
        let found = Stops::look(reserve, authority.checkpoint_vkey()).expect("a reserve");
        let parts = mandate_stops::StopsParts {
            live: Arc::clone(&live),
            log: log.clone(),
            store: store.clone(),
            clock: Arc::clone(&hybrid),
        };
        let stops = Arc::new(Stops::start(parts, found).expect("the stops"));
        let identity = Arc::new(Identity::new(mandate_identity::IdentityParts {
            authority: Arc::clone(&authority),
            log: log.clone(),
            stops: Arc::clone(&stops),
            live: Arc::clone(&live),
            store: store.clone(),
            clock: Arc::clone(&hybrid),
            entropy: Arc::clone(&entropy),
        }));
        let administration = Arc::new(Administration::new(mandate_administration::AdministrationParts {
            live: Arc::clone(&live),
            store: store.clone(),
            log: log.clone(),
            stops: Arc::clone(&stops),
            authority: Arc::clone(&authority),
            identity: Arc::clone(&identity),
            trust_domain: trust_domain.clone(),
            clock: Arc::clone(&hybrid),
            entropy: Arc::clone(&entropy),
        }));
        let engine = Engine::new(EngineParts {
            live: Arc::clone(&live),
            trust_domain,
            authority: Arc::clone(&authority),
            log: log.clone(),
            stops: Arc::clone(&stops),
            store: store.clone(),
            clock: Arc::clone(&hybrid),
            self_description,
            entropy,
            login_secrets: Arc::new(|_, name| match name {
                LOGIN_SECRET_FILE => Ok(Secret::new(LOGIN_SECRET)),
                other => Err(format!("there is no {other}")),
            }),
        });
        let engine = engine.expect("an engine");
        Self {
            clock,
            hybrid,
            engine,
            live,
            authority,
            log,
            stops,
            identity,
            administration,
            store,
            faults,
            batch_key,
            serial: AtomicU64::new(0),
            dir,
        }
    }

    /// The directory of the database.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The registry and the policies that the database holds.
    pub fn stored(&self) -> (Registry, Policies) {
        loaded(&self.store)
    }

    /// Holds the database, as another program on this machine can.
    pub fn hold_database(&self) -> HeldDatabase {
        HeldDatabase::in_dir(&self.state_dir())
    }

    /// An operator with every role.
    pub fn operator() -> Operator {
        Operator::of_user(own_user().expect("a user")).expect("an operator")
    }

    async fn permit_to_apply(&self) -> Permit<act::ApplyRegistry> {
        self.administration.permit(&Self::operator()).await.expect("a permit")
    }

    /// Changes the registry as an operator does who applies a file with this entry.
    pub async fn apply(&self, entry: Entry) {
        let entries = RegistryFile::from_items([RegistryItem::of(&entry, self.live.issuer())]);
        let request = ApplyRequest { entries, prune: false, dry_run: false };
        let applied = self.administration.apply(self.permit_to_apply().await, request).await;
        let applied = applied.expect("a change that an operator may make");
        assert_eq!(applied.unchanged + applied.changes.len() as u64, 1, "{entry:?}");
    }

    /// Changes one entry of the registry in place.
    pub async fn change(&self, kind: EntryKind, key: &str, change: impl FnOnce(&mut Entry)) {
        self.apply(self.changed(kind, key, change)).await;
    }

    /// As [`World::change`], in the snapshot alone and without the cuts that belong to it: the registry alone
    /// must be enough.
    pub fn change_without_cuts(&self, kind: EntryKind, key: &str, change: impl FnOnce(&mut Entry)) {
        let entry = self.changed(kind, key, change);
        let (mut registry, policies) = loaded(&self.store);
        registry.put(entry);
        self.live.change_registry(Some(policies), |current| *current = registry);
    }

    /// Removes an entry in the snapshot alone, as [`World::change_without_cuts`] changes one.
    pub fn remove_without_cuts(&self, kind: EntryKind, key: &str) {
        let (mut registry, policies) = loaded(&self.store);
        registry.remove(kind, key);
        self.live.change_registry(Some(policies), |current| *current = registry);
    }

    fn changed(&self, kind: EntryKind, key: &str, change: impl FnOnce(&mut Entry)) -> Entry {
        let (registry, _) = loaded(&self.store);
        let mut entry = registry
            .entries()
            .into_iter()
            .find(|entry| (entry.kind(), entry.key()) == (kind, key))
            .expect("an entry");
        change(&mut entry);
        entry
    }

    /// Adds a policy of this name with this Cedar text.
    pub async fn forbid(&self, name: &str, source: &str) {
        self.apply(Entry::Policy(Policy { name: name.parse().expect("a name"), source: source.to_owned() }))
            .await;
    }

    /// Revokes a token, a person of ours or a client, as an operator does.
    pub async fn operator_revokes(&self, target: CutTarget) {
        let target = match target {
            CutTarget::Token(jti) => RevocationTarget::Token(jti),
            CutTarget::Client(id) => RevocationTarget::Client(id),
            CutTarget::Person(person) => RevocationTarget::Person(person.sub.parse().expect("a name")),
            CutTarget::Grant(id) => RevocationTarget::Grant(id),
            CutTarget::Agent(_) => panic!("an agent is revoked by its name"),
            CutTarget::Group(_) => panic!("a group is not revoked, its entry is changed"),
        };
        let permit = self.administration.permit::<act::Revoke>(&Self::operator()).await.expect("a permit");
        self.administration.revoke(permit, target).await.expect("a revocation");
    }

    /// Gives a person another password, as an operator does.
    pub async fn operator_sets_password(&self, name: &str, password: &str) {
        let permit = self.administration.permit::<act::SetPassword>(&Self::operator()).await;
        let set = self.administration.set_password(
            permit.expect("a permit"),
            name.to_owned(),
            Secret::new(password),
        );
        set.await.expect("a password");
    }

    /// Puts a cut in force, as incident response does.
    pub fn cut(&self, target: CutTarget) {
        self.live.cut(vec![cut(target, self.hybrid.now())], &self.hybrid);
    }

    /// The query of an authorization request for a client of the story, with S256 and a state.
    pub fn authorization(&self, client: &str, resource: Option<&str>, scope: Option<&str>) -> Pairs {
        let challenge = URL_SAFE_NO_PAD.encode(sha256(CODE_VERIFIER.as_bytes()));
        let mut query = pairs(&[
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", CALLBACK),
            ("state", "the state"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        query.extend(resource.map(|resource| ("resource".to_owned(), resource.to_owned())));
        query.extend(scope.map(|scope| ("scope".to_owned(), scope.to_owned())));
        query
    }

    /// Logs a person in and returns the code.
    pub async fn code(&self, query: &Pairs, name: &str) -> String {
        let request = self
            .engine
            .authorize(encode(query).as_bytes(), RequestSource::Other)
            .await
            .expect("a valid request");
        let redirect = self.engine.log_in(&request, name, Secret::new(PASSWORD)).await.expect("a login");
        parameter(redirect.location(), "code").expect("a code")
    }

    /// The form that redeems a code of a public client.
    pub fn redemption(&self, client: &str, code: &str) -> Pairs {
        pairs(&[
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", CODE_VERIFIER),
        ])
    }

    /// A device begins to wait for a person. Returns its answer (RFC 8628 §3.2).
    pub async fn device_authorization(
        &self,
        form: &Pairs,
        authorization: Option<&str>,
    ) -> Result<Value, OAuthError> {
        let body = encode(form);
        let post = Post::form(metadata::DEVICE_AUTHORIZATION_PATH, authorization, &body);
        let answer = self.engine.device_authorization(post.request()).await?;
        Ok(serde_json::from_str(&answer.to_json()).expect("JSON"))
    }

    /// A person enters the code of a device, logs in and allows it.
    pub async fn allow_device(&self, user_code: &str, name: &str) -> Result<(), OAuthError> {
        let request = self.engine.device_request(user_code, false, RequestSource::Other).await?;
        let password = Secret::new(PASSWORD);
        let answer = self.engine.log_in_for_device(Visitor::default(), &request, name, password).await;
        answer.map(drop).map_err(|refusal| match refusal {
            LoginRefusal::Wrong(error)
            | LoginRefusal::Paused(_, error)
            | LoginRefusal::Redirect { error, .. }
            | LoginRefusal::Unavailable(error) => error,
        })
    }

    /// The form by which a device of a public client asks for its token.
    pub fn polling(&self, client: &str, device_code: &str) -> Pairs {
        pairs(&[
            ("grant_type", GrantType::DeviceCode.as_str()),
            ("client_id", client),
            ("device_code", device_code),
        ])
    }

    /// The form by which a public client uses a refresh token.
    pub fn refreshing(&self, client: &str, token: &str) -> Pairs {
        pairs(&[
            ("grant_type", GrantType::RefreshToken.as_str()),
            ("client_id", client),
            ("refresh_token", token),
        ])
    }

    /// A person's own access token, by the code flow through `support-app`. Without a resource it is
    /// addressed to us.
    pub async fn person_token(&self, name: &str, resource: Option<&str>, scope: Option<&str>) -> String {
        let code = self.code(&self.authorization("support-app", resource, scope), name).await;
        exposed(&self.token(&self.redemption("support-app", &code), None).await.expect("a token"))
    }

    /// A JWT-SVID of an agent of the story, for our issuer.
    pub async fn svid(&self, agent: &str) -> String {
        self.svid_for(&story::spiffe_id(agent), &[ISSUER]).await
    }

    /// A JWT-SVID by the real authority, for any SPIFFE ID and audiences.
    pub async fn svid_for(&self, spiffe_id: &str, audiences: &[&str]) -> String {
        let now = self.hybrid.now();
        let domain = TRUST_DOMAIN.parse().expect("a trust domain");
        let audiences = audiences.iter().map(|aud| (*aud).to_owned()).collect();
        let jti = TokenId::generate(now, &SystemEntropy);
        let grant = JwtSvidGrant::new(&domain, spiffe_id.parse().expect("an ID"), audiences, jti, now)
            .expect("a grant");
        let mut record = Record::new(
            RecordId::generate(now, &SystemEntropy),
            now,
            RecordKind::Identity,
            Outcome::Permitted,
            "ok",
        );
        record.about = grant.known(self.engine.issuer()).into();
        let receipt = self.log.append(record, Vec::new()).await.expect("a receipt");
        self.authority.sign_jwt_svid(&grant, receipt).expect("a JWT-SVID")
    }

    /// An exchange by an agent that authenticates with its JWT-SVID, one of our tokens as subject.
    pub fn agent_exchange(&self, svid: &str, subject: &str, resource: &str, scope: &str) -> Pairs {
        pairs(&[
            ("grant_type", EXCHANGE),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"),
            ("client_assertion", svid),
            ("subject_token", subject),
            ("subject_token_type", ACCESS_TOKEN),
            ("resource", resource),
            ("scope", scope),
        ])
    }

    /// An exchange by a confidential client that presents an agent's JWT-SVID as actor token. Authenticate it
    /// by header or with [`World::assertion`].
    pub fn app_exchange(&self, actor: &str, subject: &str, resource: &str, scope: &str) -> Pairs {
        pairs(&[
            ("grant_type", EXCHANGE),
            ("actor_token", actor),
            ("actor_token_type", JWT),
            ("subject_token", subject),
            ("subject_token_type", ACCESS_TOKEN),
            ("resource", resource),
            ("scope", scope),
        ])
    }

    /// A request of an agent for a token of its own (RFC 6749 §4.4.2), authenticated by its JWT-SVID.
    pub fn own_behalf(&self, svid: &str, resource: &str, scope: &str) -> Pairs {
        pairs(&[
            ("grant_type", GrantType::ClientCredentials.as_str()),
            ("client_assertion_type", AssertionType::JwtSpiffe.as_str()),
            ("client_assertion", svid),
            ("resource", resource),
            ("scope", scope),
        ])
    }

    /// Claims of a proper client assertion of `batch-app`, with a fresh `jti`.
    pub fn assertion_claims(&self) -> Value {
        let now = self.clock.now().secs();
        let jti = format!("assertion-{}", self.serial.fetch_add(1, Ordering::SeqCst));
        json!({"iss": "batch-app", "sub": "batch-app", "aud": ISSUER, "iat": now, "exp": now + 60, "jti": jti})
    }

    /// A client assertion of `batch-app`, signed with its key.
    pub fn assertion(&self, claims: &Value) -> String {
        use mandate_token::Signer as _;
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.batch_key.key_id()});
        self.batch_key.sign_raw(&header.to_string(), &claims.to_string())
    }

    /// The form parameters that authenticate `batch-app` by that assertion.
    pub fn assertion_pairs(&self, assertion: &str) -> Pairs {
        pairs(&[
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", assertion),
        ])
    }

    /// The `Authorization` header of `desk-app`.
    pub fn desk_app(&self) -> String {
        basic("desk-app", CLIENT_SECRET)
    }

    /// The `Authorization` header of the CRM's own client.
    pub fn crm_api(&self) -> String {
        basic("crm-api", CLIENT_SECRET)
    }

    /// Riley's token for the CRM, by `support-agent`: the story's mandate.
    pub async fn mandate(&self) -> String {
        let subject = self.person_token("riley", None, None).await;
        let svid = self.svid("support-agent").await;
        exposed(
            &self
                .token(
                    &self.agent_exchange(&svid, &subject, story::CRM, "read:cases write:case_comments"),
                    None,
                )
                .await
                .expect("a mandate"),
        )
    }

    /// Posts a form to the token endpoint.
    pub async fn token(
        &self,
        form: &Pairs,
        authorization: Option<&str>,
    ) -> Result<TokenResponse, OAuthError> {
        self.engine.token(Post::form(metadata::TOKEN_PATH, authorization, &encode(form)).request()).await
    }

    /// Pushes an authorization request and returns its `request_uri`.
    pub async fn push(&self, form: &Pairs, authorization: Option<&str>) -> Result<String, OAuthError> {
        let pushed =
            self.engine.push(Post::form(metadata::PAR_PATH, authorization, &encode(form)).request()).await?;
        Ok(pushed.request_uri().to_owned())
    }

    /// Calls the introspection endpoint and parses the answer.
    pub async fn introspect(&self, form: &Pairs, authorization: Option<&str>) -> Result<Value, OAuthError> {
        let answer = self
            .engine
            .introspect(Post::form(metadata::INTROSPECT_PATH, authorization, &encode(form)).request())
            .await?;
        Ok(serde_json::from_str(&answer.to_json()).expect("JSON"))
    }

    /// Posts a form to the revocation endpoint.
    pub async fn revoke(&self, form: &Pairs, authorization: Option<&str>) -> Result<(), OAuthError> {
        self.engine.revoke(Post::form(metadata::REVOKE_PATH, authorization, &encode(form)).request()).await
    }

    /// The person for whom an access token of ours speaks, if the token counts now as a bearer token.
    pub fn speaks_for(&self, token: &str) -> Option<Subject> {
        let (keys, now, snapshot) =
            (self.authority.access_token_jwks(), self.hybrid.now(), self.live.snapshot());
        let issuer = self.live.issuer();
        let expect = Expect { issuer, keys: &keys, now, profile: Profile::Own, memo: None };
        let token = access_token::verify(token, &expect).ok()?;
        let person = liveness::living_person(
            &token.terms,
            issuer,
            liveness::Asker::Ourselves,
            &snapshot.registry,
            &snapshot.revocations,
            now,
        );
        person.ok().map(|person| person.id.clone())
    }

    /// The newest audit record.
    pub fn last_record(&self) -> Record {
        self.records(&Query { limit: Some(1), ..Query::default() }).pop().expect("a record")
    }

    /// Audit records, newest first.
    pub fn records(&self, query: &Query) -> Vec<Record> {
        let found = self.store.search_blocking("records", |tx| records::query(tx, query)).expect("records");
        found.expect("the place of an earlier answer").found.into_iter().map(|found| found.record).collect()
    }
}

/// The token of a response.
pub fn exposed(response: &TokenResponse) -> String {
    response.access_token().expose_token().to_owned()
}

/// The refresh token of a response.
pub fn refresh_token(response: &TokenResponse) -> String {
    let token = response.refresh_token().expect("a refresh token");
    token.expose_secret_str().expect("text").to_owned()
}

/// A query parameter of a redirect.
pub fn parameter(location: &str, name: &str) -> Option<String> {
    let url = url::Url::parse(location).expect("a URL");
    url.query_pairs().find(|(n, _)| n == name).map(|(_, value)| value.into_owned())
}

fn loaded(store: &Store) -> (Registry, Policies) {
    let entries = store.read_blocking("registry", registry::load).expect("a registry");
    let registry = Registry::from_entries(entries);
    let sources: Vec<_> =
        registry.policies().map(|policy| (policy.name.as_str().to_owned(), policy.source.clone())).collect();
    let policies = Policies::compile(sources.iter().map(|(name, source)| (name.as_str(), source.as_str())))
        .expect("policies");
    (registry, policies)
}

fn set_secrets(store: &Store, entropy: &dyn Entropy) {
    // Slow on purpose, so once for all worlds of a test run.
    static HASHES: OnceLock<(Secret, Secret)> = OnceLock::new();
    let hash = |text: &str| Secret::new(password::hash(&Secret::new(text), entropy).expect("a hash"));
    let (of_people, of_clients) = HASHES.get_or_init(|| (hash(PASSWORD), hash(CLIENT_SECRET)));
    let write = |tx: &mandate_store::Tx<'_>| {
        for name in ["riley", "casey"] {
            secrets::set_password(tx, &name.parse().expect("a name"), of_people)?;
        }
        for id in ["desk-app", "crm-api"] {
            secrets::set_client_secret(tx, &id.parse().expect("an id"), of_clients)?;
        }
        Ok(())
    };
    store.transact_blocking("story secrets", write).expect("secrets");
}
