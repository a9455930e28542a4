//! The caller: client authentication by exactly one method (RFC 6749 §2.3).

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mandate_core::registry::{AgentState, AssertionAudience, Client, ClientAuthentication, Registry};
use mandate_core::{ClientId, RequestSource, RevocationSet, Secret, SpiffeId, Timestamp};
use mandate_delegation::{AuthenticatedClient, ProvenClient, Snapshot, VerifiedActor};
use mandate_store::{replay, secrets};
use mandate_token::{KeySet, TokenError, client_assertion, jwt_svid};

use crate::engine::Engine;
use crate::form::{Form, decode_alone};
use crate::metadata;
use crate::names::{AssertionType, ClientMethod, Parameter};
use crate::refusal::Refusal;
use crate::request::{Repeated, Request};
use crate::trail::Trail;

/// An identified caller. A public client only claims its identity.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// An agent, by its JWT-SVID.
    Agent(VerifiedActor),
    /// A registered confidential client.
    App(ProvenClient),
    /// A registered public client. It has proven nothing.
    Public(ProvenClient),
}

impl Caller {
    /// Its client id.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Agent(agent) => agent.spiffe_id().as_str(),
            Self::App(client) | Self::Public(client) => client.id().as_str(),
        }
    }

    /// Whether its proof, or the entry that it named, is still valid.
    pub(crate) fn still_stands(&self, registry: &Registry, revocations: &RevocationSet, now: Timestamp) -> bool {
        match self {
            Self::Agent(agent) => agent.still_stands(revocations, now),
            Self::App(client) | Self::Public(client) => client.confirmed(registry, revocations).is_some(),
        }
    }

    /// Whether it may act: an agent must be registered and active. A client has no such state.
    pub(crate) fn is_active(&self, registry: &Registry) -> bool {
        match self {
            Self::Agent(agent) => is_active_agent(agent.spiffe_id(), registry),
            Self::App(_) | Self::Public(_) => true,
        }
    }

    /// As [`Caller::name`], for a record.
    pub(crate) fn shared_name(&self) -> Arc<str> {
        match self {
            Self::Agent(agent) => agent.spiffe_id().shared(),
            Self::App(client) | Self::Public(client) => client.id().shared(),
        }
    }

    /// The caller, if it has proven who it is.
    pub(crate) fn confidential(self, otherwise: &'static str) -> Result<AuthenticatedClient, Refusal> {
        match self {
            Self::Agent(agent) => Ok(AuthenticatedClient::Agent(agent)),
            Self::App(client) => Ok(AuthenticatedClient::App(client)),
            Self::Public(_) => Err(Refusal::ClientNotAllowed(otherwise)),
        }
    }
}

/// The credential with which a request proves its client.
enum Credential<'f> {
    Basic { id: String, secret: Secret },
    Post { id: &'f str, secret: Secret },
    SpiffeJwt(&'f str),
    PrivateKeyJwt(&'f str),
    Nothing { id: &'f str },
}

impl<'f> Credential<'f> {
    fn read(request: &Request<'_>, form: &'f Form<'_>) -> Result<Self, Refusal> {
        let (assertion, assertion_type) = (form.get(Parameter::ClientAssertion), form.get(Parameter::ClientAssertionType));
        let by_assertion = assertion.is_some() || assertion_type.is_some();
        let header = request.headers.single("authorization").map_err(|Repeated| Refusal::AuthorizationHeader("it is repeated"))?;
        if usize::from(by_assertion) + usize::from(form.has(Parameter::ClientSecret)) + usize::from(header.is_some()) > 1 {
            return Err(Refusal::ClientMethods);
        }
        if let Some(secret) = form.get(Parameter::ClientSecret) {
            let id = form.get(Parameter::ClientId).ok_or(Refusal::Missing(Parameter::ClientId))?;
            return Ok(Self::Post { id, secret: Secret::new(secret) });
        }
        if by_assertion {
            let assertion = assertion.ok_or(Refusal::Missing(Parameter::ClientAssertion))?;
            let assertion_type = assertion_type.ok_or(Refusal::Missing(Parameter::ClientAssertionType))?;
            return match AssertionType::named(assertion_type).ok_or(Refusal::ClientMethodUnsupported)? {
                AssertionType::JwtSpiffe => Ok(Self::SpiffeJwt(assertion)),
                AssertionType::JwtBearer => Ok(Self::PrivateKeyJwt(assertion)),
            };
        }
        match header {
            Some(header) => basic(header),
            None => form.get(Parameter::ClientId).map(|id| Self::Nothing { id }).ok_or(Refusal::ClientMissing),
        }
    }

    /// Who it claims to be, for the record of a failure.
    fn claimed(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Basic { id, .. } => Some(Cow::Borrowed(id)),
            Self::Post { id, .. } | Self::Nothing { id } => Some(Cow::Borrowed(id)),
            Self::SpiffeJwt(token) | Self::PrivateKeyJwt(token) => crate::token::claimed_subject(token).map(Cow::Owned),
        }
    }
}

/// `client_secret_basic`: both halves are form-encoded before they are joined (RFC 6749 §2.3.1).
fn basic<'f>(header: &str) -> Result<Credential<'f>, Refusal> {
    let (scheme, encoded) = header.split_once(' ').ok_or(Refusal::AuthorizationHeader("no credentials after the scheme"))?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return Err(Refusal::ClientMethodUnsupported);
    }
    let joined = Secret::new(STANDARD.decode(encoded.trim_start_matches(' ')).map_err(|_| Refusal::AuthorizationHeader("not base64"))?);
    let bytes = joined.expose_secret();
    let at = bytes.iter().position(|b| *b == b':').ok_or(Refusal::AuthorizationHeader("no colon"))?;
    let part = |bytes: Option<&[u8]>| {
        decode_alone(bytes.unwrap_or_default()).map(Cow::into_owned).map_err(|_| Refusal::AuthorizationHeader("not form-encoded"))
    };
    Ok(Credential::Basic { id: part(bytes.get(..at))?, secret: Secret::new(part(bytes.get(at + 1..))?) })
}

impl Engine {
    /// Authenticates the caller of a form endpoint.
    pub(crate) async fn authenticate(
        &self,
        request: &Request<'_>,
        form: &Form<'_>,
        snapshot: &Snapshot,
        trail: &mut Trail,
    ) -> Result<Caller, Refusal> {
        let credential = Credential::read(request, form)?;
        // The request's time was read before the snapshot. So if a credential in the snapshot is replaced, the time of that
        // change is later than the request's time.
        let at = trail.now;
        let proven = |client| ProvenClient::assertion(client, at);
        let caller = match &credential {
            Credential::SpiffeJwt(token) => self.by_svid(token, at).map(Caller::Agent),
            Credential::PrivateKeyJwt(token) => self.by_private_key(token, snapshot, at).await.map(|client| Caller::App(proven(client))),
            Credential::Basic { id, secret } => {
                let client = self.by_secret((id, secret), request.source, &ClientAuthentication::ClientSecretBasic, snapshot, at).await;
                client.map(|client| Caller::App(proven(client)))
            }
            Credential::Post { id, secret } => {
                let client = self.by_secret((id, secret), request.source, &ClientAuthentication::ClientSecretPost, snapshot, at).await;
                client.map(|client| Caller::App(proven(client)))
            }
            Credential::Nothing { id } => public(id, snapshot).map(|client| Caller::Public(proven(client))),
        };
        let caller = caller.inspect_err(|_| trail.note = credential.claimed().map(|id| claim_note(&id)))?;
        if form.get(Parameter::ClientId).is_some_and(|id| id != caller.name()) {
            trail.note = Some(claim_note(caller.name()));
            return Err(Refusal::ClientIdMismatch);
        }
        if !matches!(caller, Caller::Public(_)) {
            trail.client = Some(caller.shared_name());
            // An agent that is not active counts as a stranger: it must not fill the log.
            if caller.is_active(&snapshot.registry) {
                // The first time counts.
                if let Some(proven) = request.proven {
                    let _ = proven.set(caller.shared_name());
                }
                trail.known();
            }
        }
        Ok(caller)
    }

    /// `spiffe_jwt`: a JWT-SVID of our trust domain whose only audience is our issuer. It may be shown again until it expires,
    /// as SPIFFE intends.
    fn by_svid(&self, token: &str, now: Timestamp) -> Result<VerifiedActor, Refusal> {
        self.verify_svid(token, now).map_err(|error| assertion_refused(error, self.issuer().as_str()))
    }

    /// Verifies a JWT-SVID that is meant for us.
    pub(crate) fn verify_svid(&self, token: &str, now: Timestamp) -> Result<VerifiedActor, mandate_token::TokenError> {
        let keys = self.authority.jwt_bundle();
        let svid = jwt_svid::verify(token, &keys, &self.trust_domain, self.issuer().as_str(), now, Some(&self.memo))?;
        Ok(VerifiedActor::from_svid(svid, now))
    }

    /// `private_key_jwt` (RFC 7523 §3): a `jti` is accepted once, and there must be one audience: our issuer, as the revision of
    /// RFC 7523 requires, or our token endpoint for a client whose entry says so.
    async fn by_private_key(&self, token: &str, snapshot: &Snapshot, now: Timestamp) -> Result<Arc<Client>, Refusal> {
        let claimed = client_assertion::peek_client_id(token).map_err(Refusal::ClientAssertion)?;
        let client = snapshot.registry.client(&claimed).ok_or(Refusal::ClientFailed("unknown client"))?;
        let ClientAuthentication::PrivateKeyJwt { jwks, audience } = &client.authentication else {
            return Err(Refusal::ClientFailed("not registered for private_key_jwt"));
        };
        let keys = KeySet::from_json(jwks.as_bytes()).map_err(|error| Refusal::Internal(error.to_string()))?;
        let audience = match audience {
            AssertionAudience::Issuer => self.issuer().as_str().to_owned(),
            AssertionAudience::TokenEndpoint => metadata::endpoint(self.issuer(), metadata::TOKEN_PATH),
        };
        let assertion = client_assertion::verify(token, &keys, &audience, now).map_err(|error| assertion_refused(error, &audience))?;
        if assertion.client_id != client.id {
            return Err(Refusal::ClientFailed("the assertion names another client"));
        }
        self.first_use(client.id.clone(), assertion.jti, assertion.exp, now).await?;
        Ok(Arc::clone(client))
    }

    /// Remembers an assertion durably, before it counts: a crash must not make it usable again.
    async fn first_use(&self, client: ClientId, jti: String, exp: Timestamp, now: Timestamp) -> Result<(), Refusal> {
        let remembered = self.store.transact("client_assertion", move |tx| replay::remember(tx, client.as_str(), &jti, exp, now));
        match remembered.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::ClientAssertionReplayed),
            // What keeps the assertion from being remembered keeps records from being written.
            Err(error) if error.is_environment() => {
                tracing::error!(%error, "a client assertion could not be remembered and is refused");
                Err(Refusal::AuditUnavailable)
            }
            Err(error) => Err(Refusal::Internal(error.to_string())),
        }
    }

    /// `client_secret_basic` and `client_secret_post`. Unknown clients take as much time as wrong secrets. A client that knows
    /// its secret and sends it by the other method is told which method it is registered for.
    async fn by_secret(
        &self,
        (id, secret): (&str, &Secret),
        source: RequestSource,
        method: &ClientAuthentication,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Arc<Client>, Refusal> {
        let client = id.parse().ok().and_then(|id: ClientId| snapshot.registry.client(&id));
        let client = client.filter(|client| client.authentication.has_secret());
        let stored = match client {
            Some(client) => {
                let owner = client.id.clone();
                let stored = self.store.read("client_secret", move |tx| secrets::client_secret(tx, &owner)).await;
                stored.map_err(|error| Refusal::Internal(error.to_string()))?
            }
            None => None,
        };
        let matched = self.checker.check_remembered(id, source, secret.clone(), stored, now).await?;
        let client = client.ok_or(Refusal::ClientFailed("unknown client, or not registered for a client secret"))?;
        if !matched {
            return Err(Refusal::ClientFailed("wrong secret"));
        }
        if client.authentication == *method {
            Ok(Arc::clone(client))
        } else {
            Err(Refusal::ClientMethodOther(method_of(&client.authentication)))
        }
    }
}

/// The method that a client is registered for.
fn method_of(authentication: &ClientAuthentication) -> ClientMethod {
    match authentication {
        ClientAuthentication::None => ClientMethod::None,
        ClientAuthentication::ClientSecretBasic => ClientMethod::ClientSecretBasic,
        ClientAuthentication::ClientSecretPost => ClientMethod::ClientSecretPost,
        ClientAuthentication::PrivateKeyJwt { .. } => ClientMethod::PrivateKeyJwt,
    }
}

/// Whether this is a registered agent that is active.
pub(crate) fn is_active_agent(id: &SpiffeId, registry: &Registry) -> bool {
    registry.agent_by_id(id).is_some_and(|agent| agent.state == AgentState::Active)
}

/// A public client names itself; that is not authentication.
fn public(id: &str, snapshot: &Snapshot) -> Result<Arc<Client>, Refusal> {
    let client = id.parse().ok().and_then(|id: ClientId| snapshot.registry.client(&id)).ok_or(Refusal::ClientFailed("unknown client"))?;
    match client.authentication {
        ClientAuthentication::None => Ok(Arc::clone(client)),
        ClientAuthentication::ClientSecretBasic | ClientAuthentication::ClientSecretPost | ClientAuthentication::PrivateKeyJwt { .. } => {
            Err(Refusal::ClientMissing)
        }
    }
}

/// The answer to a refused assertion. It names the expected audience, which is public and which a client cannot guess.
fn assertion_refused(error: TokenError, audience: &str) -> Refusal {
    match error {
        TokenError::Audience => Refusal::ClientAssertionAudience(audience.to_owned()),
        error => Refusal::ClientAssertion(error),
    }
}

fn claim_note(id: &str) -> String {
    let shown: String = id.chars().filter(|c| !c.is_control()).take(200).collect();
    format!("claimed to be {shown:?}")
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::Credential;
    use crate::form::Form;
    use crate::names::{AssertionType, Parameter};
    use crate::refusal::Refusal;
    use crate::request::{Headers, Request};

    const JWT_BEARER: AssertionType = AssertionType::JwtBearer;
    const JWT_SPIFFE: AssertionType = AssertionType::JwtSpiffe;

    fn read(authorization: &[&str], body: &str) -> Result<String, Refusal> {
        let source = mandate_core::RequestSource::Other;
        let headers: Vec<_> = authorization.iter().map(|value| ("authorization", *value)).collect();
        let (url, headers) = ("https://m.example/token", Headers::new(&headers));
        let request = Request { source, method: "POST", url, headers, body: body.as_bytes(), proven: None };
        let form = Form::parse(body.as_bytes()).unwrap();
        Credential::read(&request, &form).map(|credential| match credential {
            Credential::Basic { id, secret } => format!("basic {id} {}", secret.expose_secret_str().unwrap()),
            Credential::Post { id, secret } => format!("post {id} {}", secret.expose_secret_str().unwrap()),
            Credential::SpiffeJwt(token) => format!("spiffe {token}"),
            Credential::PrivateKeyJwt(token) => format!("private {token}"),
            Credential::Nothing { id } => format!("nothing {id}"),
        })
    }

    fn basic(joined: &str) -> String {
        format!("Basic {}", STANDARD.encode(joined))
    }

    #[test]
    fn each_method_is_recognized() {
        assert_eq!(read(&[&basic("app:secret")], ""), Ok("basic app secret".into()));
        assert_eq!(read(&[&basic("my+app:p%3A%25:x")], ""), Ok("basic my app p:%:x".into()), "RFC 6749 section 2.3.1");
        assert_eq!(read(&[], &format!("client_assertion=x&client_assertion_type={JWT_SPIFFE}")), Ok("spiffe x".into()));
        assert_eq!(read(&[], &format!("client_assertion=x&client_assertion_type={JWT_BEARER}")), Ok("private x".into()));
        assert_eq!(read(&[], "client_id=app&client_secret=p%3A%25x"), Ok("post app p:%x".into()));
        assert_eq!(read(&[], "client_id=app"), Ok("nothing app".into()));
    }

    #[test]
    fn exactly_one_method_and_only_those_offered() {
        let both = basic("app:secret");
        let header = |text: &str| read(&[text], "");
        assert_eq!(read(&[&both], "client_secret=x"), Err(Refusal::ClientMethods));
        assert_eq!(read(&[&both], "client_assertion=x"), Err(Refusal::ClientMethods));
        assert_eq!(read(&[], "client_secret=x&client_assertion_type=y"), Err(Refusal::ClientMethods));
        assert_eq!(read(&[&both, &both], ""), Err(Refusal::AuthorizationHeader("it is repeated")));
        assert_eq!(read(&[], "client_secret=x"), Err(Refusal::Missing(Parameter::ClientId)));
        assert_eq!(read(&[], "client_assertion=x&client_assertion_type=urn:other"), Err(Refusal::ClientMethodUnsupported));
        assert_eq!(read(&[], "client_assertion=x"), Err(Refusal::Missing(Parameter::ClientAssertionType)));
        assert_eq!(read(&[], &format!("client_assertion_type={JWT_BEARER}")), Err(Refusal::Missing(Parameter::ClientAssertion)));
        assert_eq!(read(&[], "grant_type=x"), Err(Refusal::ClientMissing));
        assert_eq!(header("Bearer abc"), Err(Refusal::ClientMethodUnsupported));
        assert_eq!(header("Basic"), Err(Refusal::AuthorizationHeader("no credentials after the scheme")));
        assert_eq!(header("Basic !!"), Err(Refusal::AuthorizationHeader("not base64")));
        assert_eq!(header(&basic("no colon")), Err(Refusal::AuthorizationHeader("no colon")));
        assert_eq!(header(&basic("a:%zz")), Err(Refusal::AuthorizationHeader("not form-encoded")));
    }
}
