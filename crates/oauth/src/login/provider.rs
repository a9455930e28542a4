//! The login at an identity provider: the browser leaves for it, and comes back with its answer.

use mandate_audit::RecordKind;
use mandate_core::registry::login_key;
use mandate_core::{PersonName, RequestSource, Secret, Subject, Timestamp};
use mandate_delegation::LoggedInPerson;
use mandate_store::login_sessions::SessionHash;

use crate::authorize::{AuthorizationRequest, AuthorizeRefusal, Wanted};
use crate::device::{DeviceLogin, DeviceRequest};
use crate::engine::Engine;
use crate::form::Form;
use crate::login::Proof;
use crate::provider_refusal::ProviderRefusal;
use crate::providers::{self, Answer, PendingLogin, Proven, Purpose};
use crate::refusal::RequestRefusal;
use crate::trail::Trail;
use crate::wire::OAuthError;

/// An identity provider, as the login page offers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginProvider {
    /// What the form sends: 16 hexadecimal digits.
    pub key: String,
    /// Its issuer, without `https://`.
    pub name: String,
}

/// A browser that leaves for an identity provider.
#[derive(Debug)]
pub struct Departure {
    /// Where it goes. Holds `state` and `nonce`: not to be logged.
    pub location: String,
    /// What the browser has to bring back, sealed.
    pub pending: PendingLogin,
}

/// A browser that comes back from an identity provider.
#[derive(Debug)]
pub struct Callback<'a> {
    /// The key of the provider in the address.
    pub provider: &'a str,
    /// The query, with the provider's answer.
    pub query: &'a [u8],
    /// The login that this browser began, if it brought one that this server sealed.
    pub pending: Option<&'a PendingLogin>,
    /// Where the request came from.
    pub source: RequestSource,
}

/// A person who has logged in at an identity provider.
#[derive(Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Where the browser goes now, with a 303. Holds a code: not to be logged. `None` after a login for a device:
    /// show a page that says so.
    pub location: Option<String>,
    /// The person's name in the registry.
    pub person: PersonName,
}

impl std::fmt::Debug for Arrival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrival").field("person", &self.person).finish_non_exhaustive()
    }
}

/// A login at an identity provider that did not lead to a code, and to no answer for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallbackRefusal {
    /// Show a page; send the browser nowhere.
    Page(OAuthError),
    /// The provider has proven who the person is, and no entry names them: show what is missing.
    Stranger(Subject, OAuthError),
    /// Send the browser back to the client with the error.
    Redirect {
        /// The `Location`, for a 303.
        location: String,
        /// The error it carries.
        error: OAuthError,
    },
}

impl From<AuthorizeRefusal> for CallbackRefusal {
    fn from(refusal: AuthorizeRefusal) -> Self {
        match refusal {
            AuthorizeRefusal::Page(error) => Self::Page(error),
            AuthorizeRefusal::Redirect { location, error } => Self::Redirect { location, error },
        }
    }
}

impl Engine {
    /// The identity providers at which people log in, in the order of their names.
    pub fn login_providers(&self) -> Vec<LoginProvider> {
        let snapshot = self.basis.snapshot();
        let of = |url: &mandate_core::Issuer| LoginProvider {
            key: login_key(url),
            name: url.as_str().trim_start_matches("https://").to_owned(),
        };
        providers::of(&snapshot).into_iter().map(|provider| of(&provider.url)).collect()
    }

    /// Sends the browser to the provider with this key. `query` is that of the authorization request
    /// `request`. A refusal is recorded.
    ///
    /// # Errors
    /// Nobody logs in there, or its metadata cannot be fetched.
    pub async fn leave_for_provider(
        &self,
        request: &AuthorizationRequest,
        query: &str,
        key: &str,
    ) -> Result<Departure, OAuthError> {
        let purpose = Purpose { query, device: None, offline: request.offline };
        self.leave(&request.wanted(), purpose, key).await
    }

    /// Sends the browser to the provider with this key, for a device that waits. A refusal is recorded.
    ///
    /// # Errors
    /// As [`Engine::leave_for_provider`].
    pub async fn leave_for_device(
        &self,
        request: &DeviceRequest,
        key: &str,
    ) -> Result<Departure, OAuthError> {
        let device = Some(request.user_code());
        let purpose = Purpose { query: "", device, offline: request.offline };
        self.leave(&request.wanted(), purpose, key).await
    }

    async fn leave(
        &self,
        wanted: &Wanted<'_>,
        purpose: Purpose<'_>,
        key: &str,
    ) -> Result<Departure, OAuthError> {
        let now = self.basis.now();
        let snapshot = self.basis.snapshot();
        let left = match providers::with_key(&snapshot, key) {
            Some(provider) => self.providers.leave(provider, purpose, now).await,
            None => Err(ProviderRefusal::Unknown),
        };
        match left {
            Ok((location, pending)) => Ok(Departure { location: location.into(), pending }),
            Err(refusal) => Err(self.recorder.refuse(self.trail_of(wanted, now), refusal.into()).await),
        }
    }

    /// Takes the answer of a provider, and issues a code for the request with which the login began.
    ///
    /// The request is validated again: the registry may have changed while the person logged in. A refusal is
    /// recorded, and no account is ever made.
    ///
    /// # Errors
    /// The answer does not belong to a login of this browser, or the provider, the person or what is asked for
    /// is not acceptable.
    pub async fn return_from_provider(&self, callback: &Callback<'_>) -> Result<Arrival, CallbackRefusal> {
        let now = self.basis.now();
        let trail = Trail::new(RecordKind::Authorize, now, callback.source);
        let form = match Form::parse(callback.query) {
            Ok(form) => form,
            Err(error) => return Err(self.page(trail, RequestRefusal::Form(error)).await),
        };
        let used = self.providers.first_use(callback.provider, &form, callback.pending, now);
        let pending = match used {
            Ok(pending) => pending,
            Err(refusal) => return Err(self.page(trail, refusal.into()).await),
        };
        if let Some(code) = &pending.device {
            return self.return_for_device(code, callback, &form, pending).await;
        }
        let mut request = self.authorize_again(pending.query.as_bytes(), callback.source).await?;
        // Only what the person was told.
        request.offline &= pending.offline;
        let mut trail = self.login_trail(&request, now);
        let (person, session, refresh) = match self.person_from(callback, &form, pending, now).await {
            Ok(proven) => proven,
            Err(refusal @ ProviderRefusal::Declined(_)) => {
                return Err(self.back(&request, trail, refusal.into()).await);
            }
            Err(refusal) => return Err(self.unproven(trail, refusal).await),
        };
        trail.known();
        if !self.may_go_back(&request) {
            return Err(self.page(trail, RequestRefusal::Redirect).await);
        }
        let view = match self.preview(&request.wanted(), &person, now, &mut trail) {
            Ok(view) => view,
            Err(refusal) => return Err(self.back(&request, trail, refusal).await),
        };
        let location = self
            .issue_code(&request, &person, Proof::Provider(session, refresh), trail, view)
            .await
            .map_err(CallbackRefusal::Page)?;
        Ok(Arrival { location: Some(location), person: person.name().clone() })
    }

    /// As [`Engine::return_from_provider`], for the device with this code.
    async fn return_for_device(
        &self,
        code: &str,
        callback: &Callback<'_>,
        form: &Form<'_>,
        pending: &PendingLogin,
    ) -> Result<Arrival, CallbackRefusal> {
        let now = self.basis.now();
        let found = self.device_request(code, true, callback.source).await;
        let mut request = found.map_err(CallbackRefusal::Page)?;
        request.offline &= pending.offline;
        let mut trail = self.trail_of(&request.wanted(), now);
        let (person, session, refresh) = match self.person_from(callback, form, pending, now).await {
            Ok(proven) => proven,
            Err(refusal) => return Err(self.unproven(trail, refusal).await),
        };
        trail.known();
        let login = DeviceLogin { person: &person, password: None, session, refresh };
        self.allow_device(&request, login, trail).await.map_err(CallbackRefusal::Page)?;
        Ok(Arrival { location: None, person: person.name().clone() })
    }

    /// The person whom the provider's answer proves, their session there, and a refresh token if it gave one.
    async fn person_from(
        &self,
        callback: &Callback<'_>,
        form: &Form<'_>,
        pending: &PendingLogin,
        now: Timestamp,
    ) -> Result<(LoggedInPerson, Option<SessionHash>, Option<Secret>), ProviderRefusal> {
        let snapshot = self.basis.snapshot();
        let provider = providers::with_key(&snapshot, callback.provider).ok_or(ProviderRefusal::Unknown)?;
        let Proven { mut login, session, refresh } =
            self.providers.person(&Answer { form, pending, provider, now }).await?;
        // The provider may have taken its time.
        let snapshot = self.basis.snapshot();
        login.keep_registered_groups(&snapshot.registry);
        let Some(person) = snapshot.registry.person_by_id(&login.id).cloned() else {
            return Err(ProviderRefusal::Stranger(login.id));
        };
        Ok((LoggedInPerson::assertion_at_provider(person.name.clone(), now, login), session, refresh))
    }

    async fn unproven(&self, trail: Trail, refusal: ProviderRefusal) -> CallbackRefusal {
        match refusal {
            ProviderRefusal::Stranger(stranger) => {
                let refusal = ProviderRefusal::Stranger(stranger.clone());
                CallbackRefusal::Stranger(stranger, self.recorder.refuse(trail, refusal.into()).await)
            }
            refusal => self.page(trail, refusal.into()).await,
        }
    }

    async fn page(&self, trail: Trail, refusal: RequestRefusal) -> CallbackRefusal {
        CallbackRefusal::Page(self.recorder.refuse(trail, refusal).await)
    }

    async fn back(
        &self,
        request: &AuthorizationRequest,
        trail: Trail,
        refusal: RequestRefusal,
    ) -> CallbackRefusal {
        let error = self.recorder.refuse(trail, refusal).await;
        CallbackRefusal::Redirect { location: request.back.with_error(self.issuer(), &error), error }
    }
}
