//! The engine and its parts. Each endpoint has its own file.

use std::sync::Arc;

use mandate_authority::Authority;
use mandate_core::registry::{Client, ClientAuthentication};
use mandate_core::scope::OFFLINE_ACCESS;
use mandate_core::uri::same;
use mandate_core::{Entropy, HybridClock, Issuer, ScopeSet, TrustDomain};
use mandate_live::Live;
use mandate_stops::Stops;
use mandate_store::{Log, Store};

use crate::attempts::Attempts;
use tokio::sync::Semaphore;

use crate::actor_token::ActorTokens;
use crate::basis::Basis;
use crate::client::Clients;
use crate::codes::Codes;
use crate::conclusion::Conclusion;
use crate::cuts::Cuts;
use crate::device_codes::DeviceCodes;
use crate::foreign::ForeignKeys;
use crate::foreign_svids::ForeignSvids;
use crate::grants::{self, Grants};
use crate::metadata;
use crate::own_tokens::OwnTokens;
use crate::password::{Checker, PasswordError};
use crate::password_login::Passwords;
use crate::pinned_keys::PinnedKeys;
use crate::platform_tokens::PlatformTokens;
use crate::providers::{MOST_POSTS, Providers, ReadSecret, UsedStates};
use crate::pushed_requests::PushedRequests;
use crate::refresh_tokens::RefreshTokens;
use crate::self_described::{SelfDescribedClients, SelfDescription};
use crate::trail::Recorder;
use crate::upstream_logins::UpstreamLogins;

/// The parts of an engine.
pub struct EngineParts {
    /// The snapshot in force: registry, policies, cuts. It also has our issuer.
    pub live: Arc<Live>,
    /// The trust domain of our agents.
    pub trust_domain: TrustDomain,
    /// Signs access tokens, each for a mandate and its receipt.
    pub authority: Arc<Authority>,
    /// The audit log, in which every outcome is recorded.
    pub log: Log,
    /// The engine for acts that take authority away.
    pub stops: Arc<Stops>,
    /// The database, with codes, secrets and used client assertions.
    pub store: Store,
    /// The time, which never goes back.
    pub clock: Arc<HybridClock>,
    /// Which clients may describe themselves.
    pub self_description: SelfDescription,
    /// Randomness for codes, `jti` and the ids of records.
    pub entropy: Arc<dyn Entropy>,
    /// Reads this server's secrets at identity providers.
    pub login_secrets: ReadSecret,
}

/// The authorization server. Each part belongs to what needs it; endpoints are the files beside this one.
pub struct Engine {
    pub(crate) basis: Basis,
    pub(crate) recorder: Recorder,
    pub(crate) tokens: Arc<OwnTokens>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) self_described: Arc<SelfDescribedClients>,
    pub(crate) codes: Arc<Codes>,
    pub(crate) devices: Arc<DeviceCodes>,
    pub(crate) refresh: Arc<RefreshTokens>,
    pub(crate) cuts: Arc<Cuts>,
    pub(crate) passwords: Passwords,
    pub(crate) providers: Arc<Providers>,
    pub(crate) pushed: PushedRequests,
    pub(crate) grants: Grants,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("issuer", self.issuer()).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine of these parts. Fails only if argon2id cannot be set up.
    pub fn new(parts: EngineParts) -> Result<Self, PasswordError> {
        let EngineParts {
            live,
            trust_domain,
            authority,
            log,
            stops,
            store,
            clock,
            self_description,
            entropy,
            login_secrets,
        } = parts;
        let checker = Arc::new(Checker::new(entropy.as_ref())?);
        let attempts = Attempts::new(entropy.as_ref());
        let pushed = PushedRequests::new(Arc::clone(&entropy));
        let basis = Basis { live, clock, entropy };
        let recorder = Recorder { basis: basis.clone(), log };
        let tokens = Arc::new(OwnTokens::new(basis.clone(), Arc::clone(&authority), trust_domain));
        let foreign = Arc::new(ForeignKeys::default());
        let pinned = Arc::new(PinnedKeys::default());
        let platforms = Arc::new(PlatformTokens {
            basis: basis.clone(),
            own: Arc::clone(&tokens),
            foreign: Arc::clone(&foreign),
            pinned: Arc::clone(&pinned),
            store: store.clone(),
        });
        let svids = Arc::new(ForeignSvids {
            basis: basis.clone(),
            own: Arc::clone(&tokens),
            foreign: Arc::clone(&foreign),
        });
        let self_described =
            Arc::new(SelfDescribedClients::new(self_description, store.clone(), basis.issuer()));
        let clients = Clients {
            self_described: Arc::clone(&self_described),
            basis: basis.clone(),
            tokens: Arc::clone(&tokens),
            platforms: Arc::clone(&platforms),
            svids: Arc::clone(&svids),
            pinned,
            store: store.clone(),
            checker: Arc::clone(&checker),
        };
        let clients = Arc::new(clients);
        let cuts = Arc::new(Cuts::new(recorder.clone(), stops));
        let conclusion = Arc::new(Conclusion { recorder: recorder.clone(), authority });
        let passwords = Passwords { basis: basis.clone(), store: store.clone(), checker, attempts };
        let providers = Providers {
            basis: basis.clone(),
            foreign: Arc::clone(&foreign),
            store: store.clone(),
            secret: Arc::clone(&login_secrets),
            used: UsedStates::default(),
            places: Semaphore::new(MOST_POSTS),
            renewals: Semaphore::new(MOST_POSTS),
        };
        let providers = Arc::new(providers);
        let upstream = UpstreamLogins::new(basis.clone(), Arc::clone(&providers), store.clone());
        let codes = Arc::new(Codes { basis: basis.clone(), store: store.clone() });
        let devices = Arc::new(DeviceCodes::new(basis.clone(), store.clone()));
        let refresh = Arc::new(RefreshTokens { basis: basis.clone(), store });
        let grants = Grants::new(&grants::GrantParts {
            basis: basis.clone(),
            recorder: recorder.clone(),
            clients: Arc::clone(&clients),
            tokens: Arc::clone(&tokens),
            foreign,
            actors: Arc::new(ActorTokens {
                basis: basis.clone(),
                own: Arc::clone(&tokens),
                platforms,
                svids,
            }),
            codes: Arc::clone(&codes),
            devices: Arc::clone(&devices),
            refresh: Arc::clone(&refresh),
            cuts: Arc::clone(&cuts),
            upstream: Arc::new(upstream),
            conclusion,
            login_secrets,
        });
        Ok(Self {
            basis,
            recorder,
            tokens,
            clients,
            self_described,
            codes,
            devices,
            refresh,
            cuts,
            passwords,
            providers,
            pushed,
            grants,
        })
    }

    /// The `iss` of the tokens that this server issues.
    pub fn issuer(&self) -> &Issuer {
        self.basis.issuer()
    }

    /// The authorization server metadata (RFC 8414), with the scopes of every registered resource except our
    /// own administration: clients ask for all scopes in the metadata, and administration is only for clients
    /// whose entry lists it. Without scopes, if all of them are too many for one request; without `none` as a
    /// method of authentication, if no client is a public one; without logins on other devices, if no client may
    /// have them.
    pub fn metadata(&self) -> serde_json::Value {
        let snapshot = self.basis.snapshot();
        let open = snapshot
            .registry
            .resources()
            .filter(|resource| !same(resource.uri.as_str(), self.issuer().as_str()));
        let scopes: ScopeSet = open.flat_map(|resource| resource.scopes.iter().cloned()).collect();
        // Clients that find it there ask for it, whether or not they may have it.
        let refresh = snapshot.registry.clients().any(|client| client.refresh);
        let offline = OFFLINE_ACCESS.parse().ok().filter(|_| refresh);
        let scopes: ScopeSet = scopes.iter().cloned().chain(offline).collect();
        let is_public = |client: &Arc<Client>| matches!(client.authentication, ClientAuthentication::None);
        let (registration, metadata_documents) =
            (self.registers_clients(), self.self_described.documents.are_on());
        let offered = metadata::Offered {
            scopes: &scopes,
            public_clients: registration || metadata_documents || snapshot.registry.clients().any(is_public),
            registration,
            metadata_documents,
            devices: snapshot.registry.clients().any(|client| client.device),
        };
        metadata::document(self.issuer(), grants::names(), &offered)
    }
}
