//! Logins for a device that has no browser (RFC 8628): the device begins, and a person enters its code elsewhere
//! and logs in. What the device gets then is in `grants/device.rs`.

use std::sync::Arc;
use std::time::Duration;

use mandate_audit::RecordKind;
use mandate_core::lifetimes::{DEVICE_CODE_LIFETIME, REFRESH_LIFETIME};
use mandate_core::names::Parameter;
use mandate_core::{CutTarget, RequestSource, ResourceUri, ScopeSet, Secret, Timestamp};
use mandate_delegation::LoggedInPerson;
use mandate_store::Effect;
use mandate_store::codes::CodeHash;
use mandate_store::login_sessions::SessionHash;
use serde::Serialize;

use crate::asking_client::AskingClient;
use crate::authorize::{Wanted, asking, no_request_object, nothing_of_an_exchange};
use crate::client::Caller;
use crate::codes::{self, Granted};
use crate::device_codes::{BegunDevice, DevicePayload, INTERVAL};
use crate::device_refusal::DeviceRefusal;
use crate::engine::Engine;
use crate::form::Form;
use crate::metadata::{DEVICE_PATH, endpoint};
use crate::parameter::without_details;
use crate::refusal::{NotAllowed, RequestRefusal};
use crate::request::FormRequest;
use crate::stored_login::{StoredLogin, UpstreamToken};
use crate::trail::{Trail, unrecorded};
use crate::user_code::UserCode;
use crate::wire::OAuthError;

/// What would prove something elsewhere: here it would be ignored, and is refused.
const OF_GRANTS: [Parameter; 7] = [
    Parameter::Assertion,
    Parameter::Code,
    Parameter::DeviceCode,
    Parameter::RefreshToken,
    Parameter::RequestedActor,
    Parameter::Token,
    Parameter::UserCode,
];

/// The answer to a device that has begun (RFC 8628 §3.2). To be sent with `Cache-Control: no-store`.
#[derive(Debug)]
pub struct DeviceAuthorization {
    device_code: Secret,
    user_code: UserCode,
    verification_uri: String,
}

impl DeviceAuthorization {
    /// The response body. Holds both codes: not to be logged.
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            device_code: &'a str,
            user_code: &'a str,
            verification_uri: &'a str,
            verification_uri_complete: &'a str,
            expires_in: u64,
            interval: u64,
        }
        let user_code = self.user_code.to_string();
        let complete = format!("{}?{}={user_code}", self.verification_uri, Parameter::UserCode);
        let body = Body {
            device_code: self.device_code.expose_secret_str().unwrap_or_default(),
            user_code: &user_code,
            verification_uri: &self.verification_uri,
            verification_uri_complete: &complete,
            expires_in: DEVICE_CODE_LIFETIME.as_secs(),
            interval: INTERVAL.as_secs(),
        };
        serde_json::to_string(&body).unwrap_or_default()
    }
}

/// A device that waits for the person who entered its code.
#[derive(Clone, Debug)]
pub struct DeviceRequest {
    source: RequestSource,
    user_code: UserCode,
    hash: CodeHash,
    client: AskingClient,
    resource: Option<ResourceUri>,
    scopes: Option<ScopeSet>,
    pub(crate) offline: bool,
    expires: Timestamp,
}

impl DeviceRequest {
    /// The code, as the device shows it.
    pub fn user_code(&self) -> String {
        self.user_code.to_string()
    }

    /// The id of the client that asks.
    pub fn client_id(&self) -> &str {
        self.client.id().as_str()
    }

    /// The resource that the token is for; `None`: the token is for this server, to be exchanged.
    pub fn resource(&self) -> Option<&ResourceUri> {
        self.resource.as_ref()
    }

    /// The scopes that are asked for; `None`: all that the person has.
    pub fn scopes(&self) -> Option<&ScopeSet> {
        self.scopes.as_ref()
    }

    /// For how long after the login the client will be able to act for the person while they are away, if it asks
    /// for that and may. The page must say so.
    pub fn offline_for(&self) -> Option<Duration> {
        self.offline.then_some(REFRESH_LIFETIME)
    }

    pub(crate) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            source: self.source,
            client: &self.client,
            resource: self.resource.as_ref(),
            scopes: self.scopes.as_ref(),
            actor: None,
        }
    }
}

/// How a person has logged in for a device.
pub(crate) struct DeviceLogin<'a> {
    pub(crate) person: &'a LoggedInPerson,
    /// SHA-256 of the stored hash of the password, if it was by one.
    pub(crate) password: Option<[u8; 32]>,
    /// The session at an identity provider, which can end it.
    pub(crate) session: Option<SessionHash>,
    /// The refresh token of the identity provider, if it gave one.
    pub(crate) refresh: Option<Secret>,
}

impl Engine {
    /// A device begins to wait for a person (RFC 8628 §3.1). A refusal is recorded.
    ///
    /// # Errors
    /// The client is not authenticated or may not do that, asks for something that it cannot get, or too many
    /// devices wait.
    pub async fn device_authorization(
        &self,
        request: FormRequest<'_>,
    ) -> Result<DeviceAuthorization, OAuthError> {
        let mut trail = Trail::new(RecordKind::Authorize, self.basis.now(), request.source);
        match self.begin_device(&request, &mut trail).await {
            Ok(BegunDevice { device_code, user_code }) => Ok(DeviceAuthorization {
                device_code,
                user_code,
                verification_uri: endpoint(self.issuer(), DEVICE_PATH),
            }),
            Err(refusal) => Err(self.recorder.refuse(trail, refusal).await),
        }
    }

    async fn begin_device(
        &self,
        request: &FormRequest<'_>,
        trail: &mut Trail,
    ) -> Result<BegunDevice, RequestRefusal> {
        let form = request.form()?;
        trail.asks(&form, None);
        no_request_object(&form)?;
        nothing_of_an_exchange(&form)?;
        without_details(&form)?;
        if let Some(name) = OF_GRANTS.into_iter().find(|name| form.has(*name)) {
            return Err(RequestRefusal::Misplaced(name));
        }
        let snapshot = self.basis.snapshot();
        let (client, public) = match self.clients.authenticate(request, &form, &snapshot, trail).await? {
            Caller::App(client) => (client, false),
            Caller::Public(client) => (client, true),
            Caller::Unattested(_) => return Err(RequestRefusal::ClientNotAllowed(NotAllowed::Unattested)),
            Caller::Agent(_) => return Err(RequestRefusal::ClientNotAllowed(NotAllowed::DeviceByAgent)),
        };
        trail.client = Some(client.id().shared());
        // A client secret may have waited for its turn to be checked.
        let snapshot = self.basis.snapshot();
        let entry = client.confirmed(&snapshot.registry, &snapshot.revocations);
        let entry = entry.filter(|entry| entry.device);
        let entry = entry.ok_or(RequestRefusal::ClientNotAllowed(NotAllowed::Device))?;
        let entry = AskingClient::App(Arc::clone(entry));
        let asking = asking(&form, &entry, self.issuer(), &snapshot.registry)?;
        if public {
            self.devices.one_more(request.source, trail.now)?;
        }
        let payload = DevicePayload {
            client: client.id().clone(),
            resource: asking.resource,
            scopes: asking.scopes,
            offline: asking.offline,
            began: trail.now,
        };
        self.devices.begin(&payload).await
    }

    /// The device that waits with the code that a person at `source` typed. `shown`: this browser was shown it
    /// before. A refusal is recorded; it does not say whether there was such a code.
    ///
    /// # Errors
    /// No device waits with this code, or too many wrong ones were entered.
    pub async fn device_request(
        &self,
        typed: &str,
        shown: bool,
        source: RequestSource,
    ) -> Result<DeviceRequest, OAuthError> {
        let now = self.basis.now();
        let found = match self.devices.with_user_code(typed, shown, source, now).await {
            Ok(found) => found,
            Err(refusal) => {
                let trail = Trail::new(RecordKind::Authorize, now, source);
                return Err(self.recorder.refuse(trail, refusal).await);
            }
        };
        let DevicePayload { client, resource, scopes, offline, began } = found.payload;
        let snapshot = self.basis.snapshot();
        // The client may have lost this, or may be another one with the same name.
        let cut = snapshot.revocations.has_cut_since(&CutTarget::Client(client.clone()), began);
        let entry = snapshot.registry.client(&client).filter(|client| client.device && !cut);
        let Some(entry) = entry.map(Arc::clone) else {
            let mut trail = Trail::new(RecordKind::Authorize, now, source);
            trail.client = Some(client.shared());
            return Err(self.recorder.refuse(trail, DeviceRefusal::UserCodeUnknown.into()).await);
        };
        Ok(DeviceRequest {
            source,
            user_code: found.user_code,
            hash: found.hash,
            offline: offline && entry.refresh,
            client: AskingClient::App(entry),
            resource,
            scopes,
            expires: found.expires,
        })
    }

    /// The most that a token for the device can permit. As [`Engine::at_most`].
    pub fn at_most_for(&self, request: &DeviceRequest) -> ScopeSet {
        self.most_of(&request.wanted())
    }

    /// Refuses a form of the page for devices with an OAuth parameter in it that it does not have.
    pub async fn check_device_form(&self, source: RequestSource, form: &Form<'_>) -> Result<(), OAuthError> {
        let own = [Parameter::Password, Parameter::UserCode];
        let Some(name) = form.oauth_parameter_besides(&own) else { return Ok(()) };
        let trail = Trail::new(RecordKind::Authorize, self.basis.now(), source);
        Err(self.recorder.refuse(trail, RequestRefusal::InLoginForm(name)).await)
    }

    /// The person refuses the device, which is told so. That takes nothing from anybody, so it needs no login.
    ///
    /// # Errors
    /// The device does not wait any longer, or that cannot be written.
    pub async fn refuse_device(&self, request: &DeviceRequest) -> Result<(), OAuthError> {
        let now = self.basis.now();
        let trail = self.trail_of(&request.wanted(), now);
        let refusal = match self.devices.refuse(request.hash, now).await {
            Ok(true) => {
                self.recorder.refuse(trail, DeviceRefusal::Refused.into()).await;
                return Ok(());
            }
            Ok(false) => DeviceRefusal::UserCodeUnknown.into(),
            Err(refusal) => refusal,
        };
        Err(self.recorder.refuse(trail, refusal).await)
    }

    /// The person has logged in and allows the device: what that gives is kept as a code is, until the device asks
    /// for it. `trail` is that of the login.
    pub(crate) async fn allow_device(
        &self,
        request: &DeviceRequest,
        login: DeviceLogin<'_>,
        mut trail: Trail,
    ) -> Result<(), OAuthError> {
        let DeviceLogin { person, password, session, refresh } = login;
        // Nothing useless is kept: what the decision will be when the device asks.
        let view = match self.preview(&request.wanted(), person, trail.now, &mut trail) {
            Ok(view) => view,
            Err(refusal) => return Err(self.recorder.refuse(trail, refusal).await),
        };
        let granted = Granted {
            client: request.client.id().clone(),
            login: StoredLogin::of(person),
            resource: request.resource.clone(),
            scopes: request.scopes.clone(),
            offline: request.offline,
            password,
            upstream: refresh.filter(|_| request.offline).map(UpstreamToken),
        };
        // A password may have waited for its turn to be checked.
        let at = self.basis.now();
        let mut effects = match codes::keep((request.hash, request.expires), &granted, session) {
            Ok(effects) => effects,
            Err(refusal) => return Err(self.recorder.refuse(trail, refusal).await),
        };
        let forget = codes::noticed_until(request.expires);
        effects.insert(0, Effect::AllowDevice { hash: request.hash, at, forget });
        // For the record of a refusal by an effect.
        let again = Trail {
            stranger: trail.stranger,
            sub: trail.sub.clone(),
            ..self.trail_of(&request.wanted(), trail.now)
        };
        let recorded = self.recorder.permit(trail, effects, |record, known| {
            known.sub.clone_from(&view.terms.subject);
            known.scope = view.terms.scopes.clone();
            record.policies = view.policies;
            record.detail = Some("for another device".to_owned());
        });
        match recorded.await.map_err(|error| unrecorded(&error)) {
            Ok(_) => Ok(()),
            Err(gone @ RequestRefusal::Device(_)) => Err(self.recorder.refuse(again, gone).await),
            Err(other) => Err(other.to_error()),
        }
    }
}
