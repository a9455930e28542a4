//! The caller: who a request comes from, and whether that is proven (RFC 6749 §2.3).

mod credential;

use std::sync::Arc;

use mandate_core::digest::sha256;
use mandate_core::lifetimes::MAX_SELF_DESCRIBED_ASSERTION_LIFETIME;
use mandate_core::names::Parameter;
use mandate_core::registry::{AssertionAudience, Client, ClientAuthentication, Registry};
use mandate_core::{
    ClientId, RequestSource, RevocationSet, Secret, SecretDigest, SelfAuthentication, SelfDescribed,
    Timestamp,
};
use mandate_delegation::{AuthenticatedClient, ProvenClient, UnattestedClient, VerifiedActor};
use mandate_live::Snapshot;
use mandate_store::{Store, replay, secrets};
use mandate_token::{KeySet, TokenError, client_assertion};

use crate::basis::Basis;
use crate::foreign_svids::{self, ForeignSvids};
use crate::form::Form;
use crate::metadata;
use crate::own_tokens::OwnTokens;
use crate::password::Checker;
use crate::pinned_keys::PinnedKeys;
use crate::platform_tokens::{self, NotProven, PlatformTokens};
use crate::refusal::{NotAllowed, RequestRefusal};
use crate::request::FormRequest;
use crate::self_described::{self, SelfDescribedClients};
use crate::trail::Trail;

use credential::Credential;

/// An identified caller. A public client only claims its identity.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// An agent, by its JWT-SVID, by one of another trust domain, or by the token of a platform.
    Agent(VerifiedActor),
    /// A registered confidential client.
    App(ProvenClient),
    /// A registered public client. It has proven nothing.
    Public(ProvenClient),
    /// A client that describes itself. Nothing proves who it is, also if it has shown its secret.
    Unattested(UnattestedClient),
}

impl Caller {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Agent(agent) => agent.spiffe_id().as_str(),
            Self::App(client) | Self::Public(client) => client.id().as_str(),
            Self::Unattested(client) => client.id().as_str(),
        }
    }

    /// Whether its proof, or the entry that it named, is still valid.
    pub(crate) fn still_stands(
        &self,
        registry: &Registry,
        revocations: &RevocationSet,
        now: Timestamp,
    ) -> bool {
        match self {
            Self::Agent(agent) => agent.still_stands(registry, revocations, now),
            Self::App(client) | Self::Public(client) => client.confirmed(registry, revocations).is_some(),
            Self::Unattested(client) => client.stands(revocations),
        }
    }

    /// Whether it may act: an agent must be registered and active. A client has no such state.
    pub(crate) fn is_active(&self, registry: &Registry) -> bool {
        match self {
            Self::Agent(agent) => registry.active_agent(agent.spiffe_id()).is_some(),
            Self::App(_) | Self::Public(_) | Self::Unattested(_) => true,
        }
    }

    /// As [`Caller::name`], for a record.
    pub(crate) fn shared_name(&self) -> Arc<str> {
        match self {
            Self::Agent(agent) => agent.spiffe_id().shared(),
            Self::App(client) | Self::Public(client) => client.id().shared(),
            Self::Unattested(client) => client.id().shared(),
        }
    }

    /// The caller, if it has proven who it is.
    pub(crate) fn confidential(self) -> Option<AuthenticatedClient> {
        match self {
            Self::Agent(agent) => Some(AuthenticatedClient::Agent(agent)),
            Self::App(client) => Some(AuthenticatedClient::App(client)),
            Self::Public(_) | Self::Unattested(_) => None,
        }
    }
}

pub(crate) struct Clients {
    pub(crate) basis: Basis,
    pub(crate) tokens: Arc<OwnTokens>,
    pub(crate) platforms: Arc<PlatformTokens>,
    pub(crate) svids: Arc<ForeignSvids>,
    pub(crate) pinned: Arc<PinnedKeys>,
    pub(crate) self_described: Arc<SelfDescribedClients>,
    /// Client secrets, and the memory of client assertions.
    pub(crate) store: Store,
    pub(crate) checker: Arc<Checker>,
}

impl Clients {
    /// Authenticates the caller of a form endpoint.
    pub(crate) async fn authenticate(
        &self,
        request: &FormRequest<'_>,
        form: &Form<'_>,
        snapshot: &Snapshot,
        trail: &mut Trail,
    ) -> Result<Caller, RequestRefusal> {
        let credential = Credential::read(request, form)?;
        // The request's time was read before the snapshot. So if a credential in the snapshot is replaced,
        // the time of that change is later than the request's time.
        let at = trail.now;
        let proven = |client| ProvenClient::assertion(client, at);
        let unattested = match claimed_id(&credential, snapshot) {
            Some(id) => self.self_described.find(&id, &snapshot.registry, at).await?,
            None => None,
        };
        let caller = match (&credential, unattested) {
            (credential, Some(client)) => {
                let named = form.get(Parameter::ClientId);
                let shown = self.by_itself(credential, client, named, request.source, at).await;
                shown.map(Caller::Unattested)
            }
            (Credential::SpiffeJwt(token), None) => match foreign_svids::sent(token, snapshot) {
                Some(sent) => {
                    let proven = self.svids.verify(&sent, snapshot, at).await;
                    proven.map(Caller::Agent).map_err(|error| self.unproven(error))
                }
                None => self.by_svid(token, at).map(Caller::Agent),
            },
            (Credential::JwtBearer(token), None) => {
                if let Some(sent) = platform_tokens::sent(token, snapshot) {
                    self.by_platform(&sent, snapshot, at).await.map(Caller::Agent)
                } else {
                    let named = form.get(Parameter::ClientId);
                    let client = self.by_private_key(token, named, snapshot, at).await;
                    client.map(|client| Caller::App(proven(client)))
                }
            }
            (Credential::Basic { id, secret }, None) => {
                let client = self
                    .by_secret(
                        (id, secret),
                        request.source,
                        &ClientAuthentication::ClientSecretBasic,
                        snapshot,
                        at,
                    )
                    .await;
                client.map(|client| Caller::App(proven(client)))
            }
            (Credential::Post { id, secret }, None) => {
                let client = self
                    .by_secret(
                        (id, secret),
                        request.source,
                        &ClientAuthentication::ClientSecretPost,
                        snapshot,
                        at,
                    )
                    .await;
                client.map(|client| Caller::App(proven(client)))
            }
            (Credential::Nothing { id }, None) => {
                public(id, snapshot).map(|client| Caller::Public(proven(client)))
            }
        };
        let caller = caller.inspect_err(|_| trail.note = credential.claimed().map(|id| claim_note(&id)))?;
        if form.get(Parameter::ClientId).is_some_and(|id| id != caller.name()) {
            trail.note = Some(claim_note(caller.name()));
            return Err(RequestRefusal::ClientIdMismatch);
        }
        if !matches!(caller, Caller::Public(_) | Caller::Unattested(_)) {
            trail.client = Some(caller.shared_name());
            if let Caller::Agent(agent) = &caller {
                trail.proof = agent.proof_evidence().cloned();
            }
            // An agent that is not active counts as a stranger: it must not fill the log.
            if caller.is_active(&snapshot.registry) {
                // If it is set already, it keeps its first value.
                if let Some(proven) = request.proven {
                    let _ = proven.set(caller.shared_name());
                }
                trail.known();
            }
        }
        Ok(caller)
    }

    /// Authenticates a caller that must not be anonymous; an agent must also be a registered, active one.
    pub(crate) async fn authenticate_confidential(
        &self,
        request: &FormRequest<'_>,
        form: &Form<'_>,
        snapshot: &Snapshot,
        trail: &mut Trail,
    ) -> Result<AuthenticatedClient, RequestRefusal> {
        // A public client is not authenticated: it only names itself.
        let caller = self.authenticate_active(request, form, snapshot, trail).await?;
        if matches!(caller, Caller::Unattested(_)) {
            return Err(RequestRefusal::ClientNotAllowed(NotAllowed::Unattested));
        }
        caller.confidential().ok_or(RequestRefusal::ClientMissing)
    }

    /// Authenticates a caller; an agent must also be a registered, active one. A public client has proven
    /// nothing.
    pub(crate) async fn authenticate_active(
        &self,
        request: &FormRequest<'_>,
        form: &Form<'_>,
        snapshot: &Snapshot,
        trail: &mut Trail,
    ) -> Result<Caller, RequestRefusal> {
        let caller = self.authenticate(request, form, snapshot, trail).await?;
        let (now, snapshot) = (self.basis.now(), self.basis.snapshot());
        if !caller.still_stands(&snapshot.registry, &snapshot.revocations, now) {
            return Err(RequestRefusal::ClientFailed(
                "its credential was replaced or revoked, or has expired, while it was checked",
            ));
        }
        if caller.is_active(&snapshot.registry) {
            Ok(caller)
        } else {
            Err(RequestRefusal::ClientFailed("not an active agent"))
        }
    }

    /// `spiffe_jwt`: a JWT-SVID of our trust domain whose only audience is our issuer. It may be shown again
    /// until it expires, as SPIFFE intends.
    fn by_svid(&self, token: &str, now: Timestamp) -> Result<VerifiedActor, RequestRefusal> {
        self.tokens.svid(token, now).map_err(|error| assertion_refused(error, self.basis.issuer().as_str()))
    }

    /// A token of a platform as assertion (RFC 7523 §2.2). Its issuer and its subject are not the client, as
    /// those of `private_key_jwt` are: the platform speaks for the workload, and an agent's entry says which
    /// agent that is.
    async fn by_platform(
        &self,
        sent: &platform_tokens::Sent<'_>,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<VerifiedActor, RequestRefusal> {
        self.platforms.verify(sent, snapshot, now).await.map_err(|error| self.unproven(error))
    }

    fn unproven(&self, error: NotProven) -> RequestRefusal {
        let issuer = self.basis.issuer().as_str();
        match error {
            NotProven::Token(error) => {
                RequestRefusal::unverified(error, |error| assertion_refused(error, issuer))
            }
            NotProven::Audience(named) => RequestRefusal::ClientAssertionAudience(named),
            NotProven::Agent(why) => RequestRefusal::NoAgentProven { client: true, why },
            NotProven::Replayed => RequestRefusal::ClientAssertionReplayed,
            NotProven::Unavailable => RequestRefusal::AuditUnavailable,
            NotProven::Internal(why) => RequestRefusal::Internal(why),
        }
    }

    /// `private_key_jwt` (RFC 7523 §3): a `jti` is accepted once, and there must be one audience: our issuer,
    /// as the revision of RFC 7523 requires, or our token endpoint for a client whose entry says so.
    async fn by_private_key(
        &self,
        token: &str,
        named: Option<&str>,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Arc<Client>, RequestRefusal> {
        let claimed = client_assertion::peek_client_id(token).map_err(RequestRefusal::ClientAssertion)?;
        let client =
            snapshot.registry.client(&claimed).ok_or(RequestRefusal::ClientFailed("unknown client"))?;
        let ClientAuthentication::PrivateKeyJwt { jwks, audience } = &client.authentication else {
            return Err(RequestRefusal::ClientFailed("not registered for private_key_jwt"));
        };
        let keys = self.pinned.of(jwks).map_err(|error| RequestRefusal::Internal(error.to_string()))?;
        let audience = match audience {
            AssertionAudience::Issuer => self.basis.issuer().as_str().to_owned(),
            AssertionAudience::TokenEndpoint => metadata::endpoint(self.basis.issuer(), metadata::TOKEN_PATH),
        };
        let assertion = client_assertion::verify(token, &keys, &audience, now)
            .map_err(|error| assertion_refused(error, &audience))?;
        if assertion.client_id != client.id {
            return Err(RequestRefusal::ClientFailed("the assertion names another client"));
        }
        // In a request of another client it is refused, and not used up.
        if named.is_some_and(|named| named != client.id.as_str()) {
            return Err(RequestRefusal::ClientIdMismatch);
        }
        self.first_use(client.id.as_str().to_owned(), assertion.jti, assertion.exp, now).await?;
        Ok(Arc::clone(client))
    }

    /// A client that describes itself, if it authenticates by the method that it describes. There is no other one,
    /// and not none (draft-ietf-oauth-client-id-metadata-document-02 §8.2). Nothing proves who runs it, also if it
    /// has a key.
    async fn by_itself(
        &self,
        credential: &Credential<'_>,
        client: Arc<SelfDescribed>,
        named: Option<&str>,
        source: RequestSource,
        now: Timestamp,
    ) -> Result<UnattestedClient, RequestRefusal> {
        let (Credential::JwtBearer(token), SelfAuthentication::PrivateKeyJwt(keys)) =
            (credential, &client.authentication)
        else {
            return shown(credential, client, now);
        };
        let (documents, issuer) = (&self.self_described.documents, self.basis.issuer().as_str());
        let verify = |keys: &KeySet| client_assertion::verify(token, keys, issuer, now);
        let mut verified = verify(documents.keys(keys, false, now).await?.as_ref());
        if matches!(verified, Err(TokenError::UnknownKey(_) | TokenError::SignatureOfUnnamedKey)) {
            // The client may have changed its keys.
            verified = verify(documents.keys(keys, true, now).await?.as_ref());
        }
        let assertion = verified.map_err(|error| assertion_refused(error, issuer))?;
        if assertion.client_id != client.id {
            return Err(RequestRefusal::ClientFailed("the assertion names another client"));
        }
        // In a request of another client it is refused, and not used up.
        if named.is_some_and(|named| named != client.id.as_str()) {
            return Err(RequestRefusal::ClientIdMismatch);
        }
        if assertion.exp > now.plus(MAX_SELF_DESCRIBED_ASSERTION_LIFETIME) {
            return Err(RequestRefusal::ClientAssertion(TokenError::Lifetime));
        }
        if !self.self_described.one_more_assertion(source, now) {
            return Err(RequestRefusal::Busy);
        }
        let (user, id) = self_described::remembered_as(&assertion);
        self.first_use(user.to_owned(), id, assertion.exp, now).await?;
        Ok(UnattestedClient::assertion(client, now))
    }

    /// Remembers an assertion durably, before it counts: a crash must not make it usable again.
    async fn first_use(
        &self,
        user: String,
        jti: String,
        exp: Timestamp,
        now: Timestamp,
    ) -> Result<(), RequestRefusal> {
        let remembered = self.store.transact(Parameter::ClientAssertion.as_str(), move |tx| {
            replay::remember(tx, &user, &jti, exp, now)
        });
        match remembered.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(RequestRefusal::ClientAssertionReplayed),
            // If the assertion cannot be stored, records cannot be written either.
            Err(error) if error.is_environment() => {
                tracing::error!(%error, "a client assertion could not be remembered and is refused");
                Err(RequestRefusal::AuditUnavailable)
            }
            Err(error) => Err(RequestRefusal::Internal(error.to_string())),
        }
    }

    /// `client_secret_basic` and `client_secret_post`. Unknown clients take as much time as wrong secrets. A
    /// client that knows its secret and sends it by the other method is told which method it is registered
    /// for.
    async fn by_secret(
        &self,
        (id, secret): (&str, &Secret),
        source: RequestSource,
        method: &ClientAuthentication,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Arc<Client>, RequestRefusal> {
        let client = id.parse().ok().and_then(|id: ClientId| snapshot.registry.client(&id));
        let client = client.filter(|client| client.authentication.has_secret());
        let stored = match client {
            Some(client) => {
                let owner = client.id.clone();
                let stored = self
                    .store
                    .read(Parameter::ClientSecret.as_str(), move |tx| secrets::client_secret(tx, &owner))
                    .await;
                stored.map_err(|error| RequestRefusal::Internal(error.to_string()))?
            }
            None => None,
        };
        let matched = self.checker.check_remembered(id, source, secret.clone(), stored, now).await?;
        let client = client
            .ok_or(RequestRefusal::ClientFailed("unknown client, or not registered for a client secret"))?;
        if !matched {
            return Err(RequestRefusal::ClientFailed("wrong secret"));
        }
        if client.authentication == *method {
            Ok(Arc::clone(client))
        } else {
            Err(RequestRefusal::ClientMethodOther(client.authentication.method()))
        }
    }
}

/// The client that a credential claims to be of. That of an assertion is only believed to find its keys.
fn claimed_id(credential: &Credential<'_>, snapshot: &Snapshot) -> Option<ClientId> {
    match credential {
        Credential::JwtBearer(token) if platform_tokens::sent(token, snapshot).is_none() => {
            client_assertion::peek_client_id(token).ok()
        }
        credential => credential.named()?.parse().ok(),
    }
}

/// A client that describes itself, if it shows its secret by the method that it registered, or has none.
fn shown(
    credential: &Credential<'_>,
    client: Arc<SelfDescribed>,
    now: Timestamp,
) -> Result<UnattestedClient, RequestRefusal> {
    use SelfAuthentication as A;
    // Nobody can choose the digest of a secret, so the time of this comparison says nothing about the secret.
    let same = |secret: &Secret, digest: &SecretDigest| sha256(secret.expose_secret()) == *digest;
    match (credential, &client.authentication) {
        (Credential::Nothing { .. }, A::None) => {}
        (Credential::Nothing { .. }, _) => return Err(RequestRefusal::ClientMissing),
        (Credential::Basic { secret, .. }, A::ClientSecretBasic(digest))
        | (Credential::Post { secret, .. }, A::ClientSecretPost(digest))
            if same(secret, digest) => {}
        (Credential::Basic { secret, .. } | Credential::Post { secret, .. }, method)
            if method.secret().is_some_and(|digest| same(secret, digest)) =>
        {
            return Err(RequestRefusal::ClientMethodOther(method.method()));
        }
        _ => return Err(RequestRefusal::ClientFailed("wrong secret of a client that registered itself")),
    }
    Ok(UnattestedClient::assertion(client, now))
}

/// A public client names itself; that is not authentication.
fn public(id: &str, snapshot: &Snapshot) -> Result<Arc<Client>, RequestRefusal> {
    let client = id
        .parse()
        .ok()
        .and_then(|id: ClientId| snapshot.registry.client(&id))
        .ok_or(RequestRefusal::ClientFailed("unknown client"))?;
    match client.authentication {
        ClientAuthentication::None => Ok(Arc::clone(client)),
        ClientAuthentication::ClientSecretBasic
        | ClientAuthentication::ClientSecretPost
        | ClientAuthentication::PrivateKeyJwt { .. } => Err(RequestRefusal::ClientMissing),
    }
}

/// The answer to a refused assertion. It names the expected audience, which is public and which a client
/// cannot guess.
fn assertion_refused(error: TokenError, audience: &str) -> RequestRefusal {
    match error {
        TokenError::Audience => RequestRefusal::ClientAssertionAudience(audience.to_owned()),
        error => RequestRefusal::ClientAssertion(error),
    }
}

fn claim_note(id: &str) -> String {
    let shown: String = id.chars().filter(|c| !c.is_control()).take(200).collect();
    format!("claimed to be {shown:?}")
}
