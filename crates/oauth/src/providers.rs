//! Identity providers at which people log in (`OpenID` Connect Core §3.1, by authorization code): this server
//! is a client there.
//!
//! An answer counts only in the browser that began the login, once, at the address of the provider that was
//! asked, and with an ID token that has the nonce of this login. The access token that comes with it is
//! forgotten.

mod once;
mod pending;
mod renewal;
mod used_states;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::{Serializer, byte_serialize};
use mandate_core::names::{
    ChallengeMethod, ClientMethod, GrantType, Parameter, ResponseParameter, ResponseType,
};
use mandate_core::registry::{TokenProfile, TrustedIssuer, UpstreamClient, login_callback, login_key};
use mandate_core::scope::OFFLINE_ACCESS;
use mandate_core::{Issuer, Secret, Subject, Timestamp};
use mandate_delegation::{ProvenGroups, ProvenTenant, ProviderLogin};
use mandate_live::Snapshot;
use mandate_store::Store;
use mandate_store::login_sessions::{SessionHash, session_hash};
use mandate_token::discovery::ProviderMetadata;
use mandate_token::id_token::{self, Expect, IdToken, TokenAnswer};
use mandate_token::logout_token::{self, LogoutToken};
use mandate_token::security_event::{self, SecurityEvent};
use mandate_token::{KeySet, Mapping, TokenError};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use url::Url;

use crate::basis::Basis;
use crate::foreign::{ForeignKeys, KeySource, NotVerified, Posted, ToPost, Unavailable};
use crate::form::Form;
use crate::provider_refusal::ProviderRefusal;

pub(crate) use once::Once;
pub use pending::PendingLogin;
pub(crate) use pending::Purpose;
pub(crate) use renewal::{Renewed, Silence};
pub(crate) use used_states::UsedStates;

use used_states::Use;

/// How many requests to the token endpoints of providers there are at a time for people who log in, and how many
/// for logins that go on: each has a connection of its own.
pub(crate) const MOST_POSTS: usize = 32;

/// After a failure at the token endpoint: the person has to begin again, so there is nothing to wait for.
const AGAIN: u64 = 1;

/// Reads this server's secret at a provider from the file of that name in the provider's folder of login secrets:
/// the secret of one is never sent to another. The error says which file, and what is wrong with it.
pub type ReadSecret = Arc<dyn Fn(&Issuer, &str) -> Result<Secret, String> + Send + Sync>;

/// The providers of a snapshot at which people log in, in the order of their names.
pub(crate) fn of(snapshot: &Snapshot) -> Vec<&Arc<TrustedIssuer>> {
    let mut all: Vec<_> = snapshot.registry.issuers().filter(|issuer| issuer.login.is_some()).collect();
    all.sort_by(|one, other| one.url.cmp(&other.url));
    all
}

/// The provider with this key.
pub(crate) fn with_key<'s>(snapshot: &'s Snapshot, key: &str) -> Option<&'s Arc<TrustedIssuer>> {
    of(snapshot).into_iter().find(|provider| login_key(&provider.url) == key)
}

/// The identity providers as this server, their client, uses them.
pub(crate) struct Providers {
    pub(crate) basis: Basis,
    pub(crate) foreign: Arc<ForeignKeys>,
    /// The memory of logout tokens and security events that were used.
    pub(crate) store: Store,
    /// The answers that were used.
    pub(crate) used: UsedStates,
    /// The places of requests to the token endpoints of providers for people who log in.
    pub(crate) places: Semaphore,
    /// The places of those for logins that go on.
    pub(crate) renewals: Semaphore,
    pub(crate) secret: ReadSecret,
}

/// The answer of a provider, for the login that the browser began.
pub(crate) struct Answer<'a> {
    pub(crate) form: &'a Form<'a>,
    pub(crate) pending: &'a PendingLogin,
    pub(crate) provider: &'a TrustedIssuer,
    pub(crate) now: Timestamp,
}

/// A person, as a provider has proven them.
pub(crate) struct Proven {
    pub(crate) login: ProviderLogin,
    /// The digest of the session at the provider, if it has named one.
    pub(crate) session: Option<SessionHash>,
    /// The refresh token of the provider, if it gave one.
    pub(crate) refresh: Option<Secret>,
}

impl Providers {
    /// Where the browser goes to log in at `provider`, and what has to be known when it comes back (`OpenID`
    /// Connect Core §3.1.2.1).
    pub(crate) async fn leave(
        &self,
        provider: &TrustedIssuer,
        purpose: Purpose<'_>,
        now: Timestamp,
    ) -> Result<(Url, PendingLogin), ProviderRefusal> {
        let client = provider.login.as_ref().ok_or(ProviderRefusal::Unknown)?;
        let metadata = self.metadata(provider, now).await?;
        let goes_on = purpose.offline && metadata.gives_refresh_tokens;
        let pending = PendingLogin::begin(purpose, &provider.url, now, || self.basis.random());
        let scope = id_token::login_scope(provider.profile);
        let scope = if goes_on { format!("{scope} {OFFLINE_ACCESS}") } else { scope.to_owned() };
        let mut url = metadata.authorization_endpoint.clone();
        url.query_pairs_mut().extend_pairs([
            (Parameter::ResponseType.as_str(), ResponseType::Code.as_str()),
            (Parameter::ClientId.as_str(), &client.client_id),
            (Parameter::RedirectUri.as_str(), &login_callback(self.basis.issuer(), &provider.url)),
            (Parameter::Scope.as_str(), &scope),
            (Parameter::State.as_str(), &pending.state),
            (Parameter::Nonce.as_str(), &pending.nonce),
            (Parameter::CodeChallenge.as_str(), &pending.challenge()),
            (Parameter::CodeChallengeMethod.as_str(), ChallengeMethod::S256.as_str()),
        ]);
        // OpenID Connect Core §11: without it a provider ignores the scope. Entra does not need it.
        if goes_on && !matches!(provider.profile, TokenProfile::EntraV1 | TokenProfile::EntraV2) {
            url.query_pairs_mut().append_pair("prompt", "consent");
        }
        Ok((url, pending))
    }

    /// Uses up an answer that the browser brought to the address of the provider with this `key`.
    ///
    /// The memory of that ends with the process, and with it the key that sealed the login.
    pub(crate) fn first_use<'p>(
        &self,
        key: &str,
        form: &Form<'_>,
        pending: Option<&'p PendingLogin>,
        now: Timestamp,
    ) -> Result<&'p PendingLogin, ProviderRefusal> {
        let not_begun = ProviderRefusal::NotBegun;
        let pending = pending.ok_or(not_begun("it has no login of ours"))?;
        if login_key(&pending.provider) != key {
            return Err(not_begun("it began a login at another provider"));
        }
        let state = form.get(ResponseParameter::State).ok_or(not_begun("there is no state"))?;
        if !bool::from(state.as_bytes().ct_eq(pending.state.as_bytes())) {
            return Err(not_begun("the state is that of another login"));
        }
        // One that was begun later than now was begun before the clock was set back.
        if now >= pending.ends() || pending.began > now {
            return Err(not_begun("it was begun too long ago"));
        }
        match self.used.remember(&pending.state, pending.ends(), now) {
            Use::First => Ok(pending),
            Use::Again => Err(ProviderRefusal::Replayed),
            Use::Full => Err(ProviderRefusal::Unavailable {
                error: "too many answers of providers are remembered".to_owned(),
                retry_after: AGAIN,
            }),
        }
    }

    /// Whose session a provider has ended, by its logout token.
    pub(crate) async fn logged_out(
        &self,
        token: &str,
        provider: &TrustedIssuer,
        now: Timestamp,
    ) -> Result<LogoutToken, ProviderRefusal> {
        let client = provider.login.as_ref().ok_or(ProviderRefusal::Unknown)?;
        let verify = |keys: &KeySet| {
            logout_token::verify(
                token,
                &logout_token::Expect {
                    issuer: &provider.url,
                    keys,
                    client_id: &client.client_id,
                    subject: id_token::person_claim(provider.profile),
                    now,
                },
            )
        };
        let verified = self.foreign.verified(&KeySource::of_issuer(provider), now, verify).await;
        verified.map_err(|error| unverified(error, ProviderRefusal::Logout))
    }

    /// The security event that a provider pushes.
    pub(crate) async fn security_event(
        &self,
        token: &str,
        provider: &TrustedIssuer,
        audience: &str,
        now: Timestamp,
    ) -> Result<SecurityEvent, ProviderRefusal> {
        let issuer = &provider.url;
        let verify = |keys: &KeySet| {
            security_event::verify(token, &security_event::Expect { issuer, keys, audience, now })
        };
        let verified = self.foreign.verified(&KeySource::of_issuer(provider), now, verify).await;
        verified.map_err(|error| unverified(error, ProviderRefusal::Event))
    }

    /// Who the person is, by the ID token that the provider gives for its answer.
    pub(crate) async fn person(&self, answer: &Answer<'_>) -> Result<Proven, ProviderRefusal> {
        let Answer { form, provider, now, .. } = *answer;
        let client = provider.login.as_ref().ok_or(ProviderRefusal::Unknown)?;
        let metadata = self.metadata(provider, now).await?;
        // RFC 9207 §2.4: before anything else of the answer is used.
        let said = form.get(ResponseParameter::Iss);
        if said.is_some_and(|iss| iss != provider.url.as_str()) {
            return Err(ProviderRefusal::Answer("its iss is another issuer".to_owned()));
        }
        if said.is_none() && metadata.answers_with_issuer {
            return Err(ProviderRefusal::Answer("it has no iss, which its metadata promises".to_owned()));
        }
        if let Some(error) = form.get(ResponseParameter::Error) {
            return Err(ProviderRefusal::Declined(harmless(Some(error))));
        }
        let code = form.get(ResponseParameter::Code);
        let code = code.ok_or_else(|| ProviderRefusal::Answer("it has no code".to_owned()))?;
        let tokens = self.redeem(answer, client, &metadata, code).await?;
        let said = self.verified(answer, client, &tokens).await?;
        let IdToken { subject, auth_time, acr, amr, session, mapped } = said;
        let session = session.map(|sid| session_hash(&provider.url, &sid));
        let id = Subject { iss: provider.url.clone(), sub: subject };
        let (ids, tenant) = (mapped.groups, mapped.tenant);
        let tenant = provider.tenant_claim.clone().zip(tenant);
        let tenant = tenant.map(|(claim, text)| ProvenTenant { claim, text });
        let groups = provider.groups_claim.clone().map(|claim| ProvenGroups { claim, ids });
        let login = ProviderLogin { id, auth_time, acr, amr, groups, tenant };
        Ok(Proven { login, session, refresh: tokens.refresh_token })
    }

    async fn metadata(
        &self,
        provider: &TrustedIssuer,
        now: Timestamp,
    ) -> Result<Arc<ProviderMetadata>, ProviderRefusal> {
        let found = self.foreign.provider(provider, now).await;
        found.map_err(|error| unavailable(&error))
    }

    /// Redeems the code at the provider's token endpoint (`OpenID` Connect Core §3.1.3.1).
    async fn redeem(
        &self,
        answer: &Answer<'_>,
        client: &UpstreamClient,
        metadata: &ProviderMetadata,
        code: &str,
    ) -> Result<TokenAnswer, ProviderRefusal> {
        let provider = answer.provider;
        let credential = self.credential(&provider.url, client, metadata).await?;
        let redirect_uri = login_callback(self.basis.issuer(), &provider.url);
        let to_post = {
            let mut form = Serializer::new(String::new());
            form.append_pair(Parameter::GrantType.as_str(), GrantType::AuthorizationCode.as_str())
                .append_pair(Parameter::Code.as_str(), code)
                .append_pair(Parameter::RedirectUri.as_str(), &redirect_uri)
                .append_pair(Parameter::CodeVerifier.as_str(), &answer.pending.verifier);
            Self::to_post(metadata, client, &credential, form)
        };
        let place = self.places.try_acquire().map_err(|_| ProviderRefusal::Unavailable {
            error: "too many people are logging in at providers".to_owned(),
            retry_after: AGAIN,
        })?;
        let posted = self.post(provider, to_post).await?;
        drop(place);
        let body = posted.body.expose_secret();
        match posted.status {
            200 => id_token::tokens(body).map_err(|error| ProviderRefusal::Answer(error.to_string())),
            status => {
                let error = harmless(id_token::error_code(body).as_deref());
                Err(ProviderRefusal::Answer(format!("its token endpoint answers {status}: {error}")))
            }
        }
    }

    /// The request with a form to the provider's token endpoint, with this server's authentication.
    fn to_post<'m>(
        metadata: &'m ProviderMetadata,
        client: &UpstreamClient,
        credential: &Credential,
        mut form: Serializer<'_, String>,
    ) -> ToPost<'m> {
        let mut authorization = None;
        match credential {
            Credential::Basic(secret) => authorization = Some(basic(&client.client_id, secret)),
            Credential::Post(secret) => {
                form.append_pair(Parameter::ClientId.as_str(), &client.client_id)
                    .append_pair(Parameter::ClientSecret.as_str(), text_of(secret));
            }
            Credential::None => {
                form.append_pair(Parameter::ClientId.as_str(), &client.client_id);
            }
        }
        let body = Secret::new(form.finish());
        ToPost { url: &metadata.token_endpoint, authorization, body }
    }

    async fn post(&self, provider: &TrustedIssuer, to_post: ToPost<'_>) -> Result<Posted, ProviderRefusal> {
        let posted = self.foreign.post(provider, &to_post).await;
        posted.map_err(|error| ProviderRefusal::Unavailable { error: error.to_string(), retry_after: AGAIN })
    }

    /// How this server authenticates at the provider: with its secret in the way that the provider offers.
    async fn credential(
        &self,
        provider: &Issuer,
        client: &UpstreamClient,
        metadata: &ProviderMetadata,
    ) -> Result<Credential, ProviderRefusal> {
        let Some(file) = &client.client_secret_file else { return Ok(Credential::None) };
        let ours = |error: String| {
            tracing::error!(%error, "people cannot log in at an identity provider");
            ProviderRefusal::Unavailable { error, retry_after: AGAIN }
        };
        let (read, provider, file) = (Arc::clone(&self.secret), provider.clone(), file.clone());
        let read = tokio::task::spawn_blocking(move || read(&provider, &file)).await;
        let secret = read.map_err(|error| ours(error.to_string()))?.map_err(ours)?;
        let offered = |method| metadata.client_methods.contains(&method);
        if offered(ClientMethod::ClientSecretBasic) {
            Ok(Credential::Basic(secret))
        } else if offered(ClientMethod::ClientSecretPost) {
            Ok(Credential::Post(secret))
        } else {
            Err(ours("it offers no method of authentication with a client secret".to_owned()))
        }
    }

    async fn verified(
        &self,
        answer: &Answer<'_>,
        client: &UpstreamClient,
        tokens: &TokenAnswer,
    ) -> Result<IdToken, ProviderRefusal> {
        let Answer { pending, provider, now, .. } = *answer;
        let id_token = text_of(&tokens.id_token);
        let verify = |keys: &_| {
            id_token::verify(
                id_token,
                &Expect {
                    issuer: &provider.url,
                    keys,
                    client_id: &client.client_id,
                    nonce: Some(&pending.nonce),
                    since: pending.began,
                    access_token: text_of(&tokens.access_token),
                    subject: id_token::person_claim(provider.profile),
                    required: &provider.required_claims,
                    mapping: Mapping::of(provider),
                    now,
                },
            )
        };
        let verified = self.foreign.verified(&KeySource::of_issuer(provider), now, verify).await;
        verified.map_err(|error| unverified(error, ProviderRefusal::IdToken))
    }
}

/// Secrets are read as UTF-8.
pub(crate) fn text_of(secret: &Secret) -> &str {
    secret.expose_secret_str().unwrap_or_default()
}

/// How a client authenticates at the token endpoint.
enum Credential {
    Basic(Secret),
    Post(Secret),
    /// A public client, which PKCE protects.
    None,
}

/// RFC 6749 §2.3.1: both halves are encoded like a form's values.
pub(crate) fn basic(client_id: &str, secret: &Secret) -> Secret {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(client_id), encoded(text_of(secret)));
    Secret::new(format!("Basic {}", STANDARD.encode(pair)))
}

fn harmless(code: Option<&str>) -> String {
    let code = code.and_then(id_token::harmless_code);
    code.unwrap_or("without a code that can be shown").to_owned()
}

/// `refused`: the refusal if the token is the reason.
fn unverified(error: NotVerified, refused: impl FnOnce(TokenError) -> ProviderRefusal) -> ProviderRefusal {
    match error {
        NotVerified::Token(error) => refused(error),
        NotVerified::Unavailable(error) => unavailable(&error),
        NotVerified::KeyUnknown { retry_after } => ProviderRefusal::Unavailable {
            error: "its keys were fetched moments ago and lack that of the token".to_owned(),
            retry_after: whole_seconds(retry_after),
        },
    }
}

fn unavailable(error: &Unavailable) -> ProviderRefusal {
    ProviderRefusal::Unavailable {
        error: error.error.to_string(),
        retry_after: whole_seconds(error.retry_after),
    }
}

fn whole_seconds(span: Duration) -> u64 {
    span.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1)
}
