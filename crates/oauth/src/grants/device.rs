//! The device authorization grant (RFC 8628 §3.4): a device that has no browser asks again and again whether a
//! person has logged in for it elsewhere.
//!
//! What the person's login gave is redeemed as an authorization code is.

use std::sync::Arc;

use mandate_audit::RecordKind;
use mandate_core::names::{GrantType, Parameter};
use mandate_delegation::LoginClient;

use super::handler::{Call, GrantAnswer, GrantHandler, Run};
use super::redemption::{Once, Redeemable, Redemption};
use crate::basis::Basis;
use crate::client::{Caller, Clients};
use crate::codes::{Codes, Granted, StoredCode};
use crate::conclusion::TokenResponse;
use crate::device_codes::{self, DeviceCodes};
use crate::device_refusal::DeviceRefusal;
use crate::form::Form;
use crate::parameter::{Optional, Required};
use crate::refusal::{NotAllowed, RequestRefusal};
use crate::request::FormRequest;
use crate::resource;
use crate::trail::Trail;
use crate::wire::OAuthError;

const DEVICE_CODE: Required = Required(Parameter::DeviceCode);
const RESOURCE: Optional = Optional(Parameter::Resource);

/// A device code proves that a person has logged in: at another grant it would be ignored, and is refused there.
pub(super) static GRANT: GrantHandler = GrantHandler {
    name: GrantType::DeviceCode,
    parameters: &[&[DEVICE_CODE.row().here_only(), RESOURCE.row()]],
    with: |parts| {
        let once = Once { what: "a device code", reused: || DeviceRefusal::CodeReused.into() };
        Box::new(DeviceGrant {
            basis: parts.basis.clone(),
            clients: Arc::clone(&parts.clients),
            devices: Arc::clone(&parts.devices),
            codes: Arc::clone(&parts.codes),
            redemption: Redemption::new(parts, once),
        })
    },
};

struct DeviceGrant {
    basis: Basis,
    clients: Arc<Clients>,
    devices: Arc<DeviceCodes>,
    codes: Arc<Codes>,
    redemption: Redemption,
}

impl Run for DeviceGrant {
    fn run<'c>(&'c self, call: Call<'c>) -> GrantAnswer<'c> {
        Box::pin(self.redeem(call))
    }
}

impl DeviceGrant {
    async fn redeem(&self, Call { request, form, now }: Call<'_>) -> Result<TokenResponse, OAuthError> {
        let mut trail = Trail::new(RecordKind::Token, now, request.source);
        trail.asks(form, None);
        match self.decide(request, form, &mut trail).await {
            // That somebody waits is no outcome: a record of each request would fill the log.
            Err(RequestRefusal::Device(waits @ (DeviceRefusal::Pending | DeviceRefusal::SlowDown))) => {
                Err(RequestRefusal::Device(waits).to_error())
            }
            decided => self.redemption.conclude(trail, decided).await,
        }
    }

    async fn decide(
        &self,
        request: &FormRequest<'_>,
        form: &Form<'_>,
        trail: &mut Trail,
    ) -> Result<Redeemable, RequestRefusal> {
        let now = trail.now;
        let snapshot = self.basis.snapshot();
        let client = match self.clients.authenticate(request, form, &snapshot, trail).await? {
            Caller::App(client) | Caller::Public(client) => client,
            Caller::Unattested(_) => return Err(RequestRefusal::ClientNotAllowed(NotAllowed::Unattested)),
            Caller::Agent(_) => return Err(RequestRefusal::ClientNotAllowed(NotAllowed::DeviceByAgent)),
        };
        trail.client = Some(client.id().shared());
        if snapshot.registry.client(client.id()).is_none_or(|client| !client.device) {
            return Err(RequestRefusal::ClientNotAllowed(NotAllowed::Device));
        }
        let hash = device_codes::hash(DEVICE_CODE.read(form)?);
        self.devices.answer(hash, client.id(), now).await?;
        let granted = match self.codes.look::<Granted>(hash, now).await? {
            // As with codes: a stranger's attempt does not use it up, and a second use counts as theft, no matter
            // which client presents it.
            StoredCode::Unused(granted) if granted.client != *client.id() => {
                return Err(DeviceRefusal::CodeOtherClient.into());
            }
            StoredCode::Unused(granted) => granted,
            StoredCode::Used(..) => return Err(self.redemption.cut_first_use(&hash, now).await),
            StoredCode::Gone => return Err(DeviceRefusal::Expired.into()),
        };
        resource::as_authorized(form, granted.resource.as_ref(), self.basis.issuer())?;
        trail.known();
        // A client secret may have waited for its turn to be checked.
        let snapshot = self.basis.snapshot();
        self.redemption.decide(LoginClient::App(client), (hash, &granted), None, &snapshot, trail)
    }
}
