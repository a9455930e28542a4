//! Why a device gets no token, or a person cannot log in for one (RFC 8628).

use std::borrow::Cow;
use std::time::Duration;

use mandate_core::lifetimes::DEVICE_CODE_LIFETIME;

/// A refusal of the device authorization grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceRefusal {
    /// No person has answered yet (RFC 8628 §3.5). Not recorded: nothing was decided.
    #[error("nobody has logged in for the device yet")]
    Pending,
    /// As [`DeviceRefusal::Pending`], and the device asks too often. Not recorded either.
    #[error("nobody has logged in for the device yet, and it asks too often")]
    SlowDown,
    /// The person has refused the device.
    #[error("the person refused the device")]
    Refused,
    /// Nobody has logged in for the device in time, or it has not asked again in time.
    #[error("the device code has expired")]
    Expired,
    /// There is no such device code.
    #[error("unknown device code")]
    CodeUnknown,
    /// The device code was redeemed before. The tokens from its first use are cut.
    #[error("device code used twice")]
    CodeReused,
    /// The device code belongs to another client.
    #[error("another client's device code")]
    CodeOtherClient,
    /// No device waits with this user code: it is mistyped, has expired, or has its answer.
    #[error("no device waits with this user code")]
    UserCodeUnknown,
    /// Too many wrong user codes were entered. The next one is read after this time.
    #[error("too many wrong user codes")]
    TooManyGuesses(Duration),
    /// As many devices wait as may, or too many began.
    #[error("too many devices wait")]
    TooManyDevices,
}

impl DeviceRefusal {
    /// A machine-readable token, and the sentence for the caller.
    pub(crate) fn sentence(&self) -> (&'static str, Cow<'static, str>) {
        match self {
            Self::Pending => {
                ("device_pending", "Nobody has logged in for this device yet. Ask again after the interval.".into())
            }
            Self::SlowDown => (
                "device_slow_down",
                "Nobody has logged in for this device yet, and it asks too often. Wait 5 seconds longer before each request from now on."
                    .into(),
            ),
            Self::Refused => ("device_refused", "The person refused the device.".into()),
            Self::Expired => (
                "device_code_expired",
                format!("The device code is older than {} minutes. Begin again.", DEVICE_CODE_LIFETIME.as_secs() / 60)
                    .into(),
            ),
            Self::CodeUnknown => ("device_code_unknown", "The device code is unknown. Begin again.".into()),
            Self::CodeReused => {
                ("device_code_reused", "The device code was used before. The token that it gave is revoked.".into())
            }
            Self::CodeOtherClient => {
                ("device_code_other_client", "The device code was issued to another client.".into())
            }
            Self::UserCodeUnknown => (
                "user_code_unknown",
                "No device waits with this code. It may be mistyped, too old, or answered already.".into(),
            ),
            Self::TooManyGuesses(_) => (
                "too_many_user_codes",
                "Too many wrong codes were entered. Wait, then try again.".into(),
            ),
            Self::TooManyDevices => (
                "too_many_devices",
                "Too many devices wait for a person, of this client, from there, or in all. Try again later.".into(),
            ),
        }
    }
}
