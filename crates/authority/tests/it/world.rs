//! One registry, one store, one log: enough to decide, record and mint.

use std::sync::Arc;
use std::thread::JoinHandle;

use mandate_audit::{Asked, Outcome, Record, RecordKind};
use mandate_authority::{Authority, JwtSvidGrant, NodeGrant};
use mandate_core::constraint::Constraints;
use mandate_core::registry::{
    Agent, AgentState, Client, ClientAuthentication, Entry, Grant, Permission, Person, Registry, Resource,
};
use mandate_core::{
    Clock, Entropy, Issuer, MeterId, RecordId, RevocationSet, ScopeSet, Timestamp, TokenId, TrustDomain,
};
use mandate_delegation::{
    AuthenticatedClient, Authorization, DecisionRequest, Exchange, Facts, LoggedInPerson, LoginClient,
    Mandate, MandateView, ProvenClient, VerifiedActor, VerifiedSubject, decide,
};
use mandate_policy::Policies;
use mandate_sequencer::Receipt;
use mandate_store::Log;
use mandate_testkit::clock::{SeededEntropy, SteppedClock};
use mandate_testkit::database;
use mandate_token::access_token::{self, AccessToken, Expect, Profile};
use mandate_token::jwt_svid;
use tempfile::TempDir;

pub(crate) const ISSUER: &str = "https://mandate.example";
pub(crate) const CRM: &str = "https://crm.example";
pub(crate) const AGENT: &str = "spiffe://acme.example/agent/support-agent";

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) clock: Arc<SteppedClock>,
    pub(crate) entropy: Arc<SeededEntropy>,
    pub(crate) authority: Authority,
    pub(crate) log: Log,
    thread: JoinHandle<()>,
    registry: Registry,
    policies: Policies,
}

pub(crate) fn issuer() -> Issuer {
    ISSUER.parse().unwrap()
}

pub(crate) fn domain() -> TrustDomain {
    "acme.example".parse().unwrap()
}

fn scopes(text: &str) -> ScopeSet {
    text.parse().unwrap()
}

fn allow(text: &str) -> Vec<Permission> {
    vec![Permission {
        resource: "crm".parse().unwrap(),
        scopes: scopes(text),
        constraints: Constraints::default(),
    }]
}

fn registry() -> Registry {
    Registry::from_entries([
        Entry::Resource(Resource {
            name: "crm".parse().unwrap(),
            uri: CRM.parse().unwrap(),
            scopes: scopes("read:cases write:cases"),
            tools: Vec::new(),
            agent: None,
            client: None,
            unattested: ScopeSet::new(),
            tenant: None,
        }),
        Entry::Person(Person {
            name: "riley".parse().unwrap(),
            id: mandate_core::Subject { iss: issuer(), sub: "riley".to_owned() },
            may: allow("read:cases write:cases"),
            disabled: false,
            tenant: None,
        }),
        Entry::Agent(Agent {
            name: "support-agent".parse().unwrap(),
            owner: "riley".parse().unwrap(),
            purpose: "Works on support cases".to_owned(),
            spiffe_id: AGENT.parse().unwrap(),
            selectors: vec!["unix:uid:1000".parse().unwrap()],
            proofs: Vec::new(),
            ceiling: allow("read:cases write:cases"),
            may: Vec::new(),
            chain_depth: 3,
            state: AgentState::Active,
            tenant: None,
        }),
        Entry::Grant(Grant {
            id: "g1".parse().unwrap(),
            person: "riley".parse().unwrap(),
            agent: "support-agent".parse().unwrap(),
            resource: "crm".parse().unwrap(),
            scopes: scopes("read:cases"),
            constraints: Constraints::default(),
            expires: None,
            span: None,
            max_uses: None,
            revoked: false,
        }),
        Entry::Client(app()),
    ])
}

fn app() -> Client {
    Client {
        id: "support-app".parse().unwrap(),
        redirect_uris: Vec::new(),
        authentication: ClientAuthentication::ClientSecretBasic,
        agents: vec!["support-agent".parse().unwrap()],
        scopes: None,
        refresh: false,
        require_pushed_authorization_requests: false,
        device: false,
        tenant: None,
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::in_dir(
            TempDir::new().unwrap(),
            Arc::new(SteppedClock::default()),
            Arc::new(SeededEntropy::default()),
        )
    }

    pub(crate) fn in_dir(dir: TempDir, clock: Arc<SteppedClock>, entropy: Arc<SeededEntropy>) -> Self {
        let store = database::open(dir.path(), Arc::clone(&entropy) as Arc<dyn Entropy>).unwrap();
        let clock_dyn = Arc::clone(&clock) as Arc<dyn Clock>;
        let authority = Authority::open(
            store.clone(),
            domain(),
            issuer(),
            clock_dyn,
            Arc::clone(&entropy) as Arc<dyn Entropy>,
        )
        .unwrap();
        let backend = store.audit_backend(authority.audit_origin()).unwrap();
        let (log, thread) = Log::start(backend, authority.checkpoint_signer()).unwrap();
        Self {
            dir,
            clock,
            entropy,
            authority,
            log,
            thread,
            registry: registry(),
            policies: Policies::compile([]).unwrap(),
        }
    }

    /// Everything is closed and opened again from disk.
    pub(crate) fn reopened(self) -> Self {
        let Self { dir, clock, entropy, authority, log, thread, .. } = self;
        drop((authority, log));
        thread.join().unwrap();
        Self::in_dir(dir, clock, entropy)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn jti(&self) -> TokenId {
        TokenId::generate(self.now(), self.entropy.as_ref())
    }

    fn decide(&self, request: DecisionRequest) -> Mandate {
        let revocations = RevocationSet::new();
        let used = |_: &MeterId| 0;
        let issuer = issuer();
        let facts = Facts {
            issuer: &issuer,
            registry: &self.registry,
            policies: &self.policies,
            revocations: &revocations,
            used: &used,
            behind: std::time::Duration::ZERO,
        };
        decide(request, &facts, self.now()).unwrap()
    }

    /// Riley logs in.
    pub(crate) fn login(&self) -> Mandate {
        self.decide(DecisionRequest::Authorization(Authorization {
            client: LoginClient::App(ProvenClient::assertion(Arc::new(app()), self.now())),
            person: LoggedInPerson::assertion("riley".parse().unwrap(), self.now()),
            resource: None,
            scopes: None,
            jti: self.jti(),
            continued: None,
        }))
    }

    /// The agent exchanges Riley's token.
    pub(crate) fn exchange(&self, subject: AccessToken) -> Mandate {
        let svid = self.svid(ISSUER);
        let svid = jwt_svid::verify(&svid, &self.authority.jwt_bundle(), &domain(), ISSUER, self.now(), None)
            .unwrap();
        self.decide(DecisionRequest::Exchange(Exchange {
            client: AuthenticatedClient::App(ProvenClient::assertion(Arc::new(app()), self.now())),
            subject: VerifiedSubject::own(subject),
            actor: Some(VerifiedActor::from_svid(svid, self.now())),
            resource: CRM.parse().unwrap(),
            scopes: None,
            jti: self.jti(),
        }))
    }

    /// Riley's token, minted and verified.
    pub(crate) fn subject_token(&self) -> AccessToken {
        let mandate = self.login();
        let receipt = self.receipt(self.record(mandate.view(), RecordKind::Token));
        self.verify(self.authority.mint(mandate, receipt).unwrap().expose_token()).unwrap()
    }

    pub(crate) fn verify(&self, token: &str) -> Result<AccessToken, mandate_token::TokenError> {
        let (issuer, keys) = (issuer(), self.authority.access_token_jwks());
        access_token::verify(
            token,
            &Expect { issuer: &issuer, keys: &keys, now: self.now(), profile: Profile::Own, memo: None },
        )
    }

    /// The record that says all of a mandate.
    pub(crate) fn record(&self, mandate: &MandateView, kind: RecordKind) -> Record {
        mandate.record(
            RecordId::generate(self.now(), self.entropy.as_ref()),
            kind,
            Asked::new(Some(CRM), None, None),
        )
    }

    pub(crate) fn blank(&self, kind: RecordKind, outcome: Outcome, reason: &str) -> Record {
        Record::new(RecordId::generate(self.now(), self.entropy.as_ref()), self.now(), kind, outcome, reason)
    }

    pub(crate) fn receipt(&self, record: Record) -> Receipt {
        self.log.append_blocking(record, Vec::new()).unwrap()
    }

    pub(crate) fn svid_grant(&self, audience: &str) -> JwtSvidGrant {
        JwtSvidGrant::new(
            &domain(),
            AGENT.parse().unwrap(),
            vec![audience.to_owned()],
            self.jti(),
            self.now(),
        )
        .unwrap()
    }

    pub(crate) fn svid_record(&self, grant: &JwtSvidGrant) -> Record {
        let mut record = self.blank(RecordKind::Identity, Outcome::Permitted, "ok");
        record.about = grant.known(&issuer()).into();
        record
    }

    pub(crate) fn svid(&self, audience: &str) -> String {
        let grant = self.svid_grant(audience);
        let receipt = self.receipt(self.svid_record(&grant));
        self.authority.sign_jwt_svid(&grant, receipt).unwrap()
    }

    pub(crate) fn node_grant(&self, name: &str) -> NodeGrant {
        NodeGrant::new(&domain(), name, self.now()).unwrap()
    }
}
