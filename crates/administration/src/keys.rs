//! Rotating signing keys.

use std::sync::Arc;

use mandate_api::admin::{KeyItem, KeyRotationResponse};
use mandate_audit::RecordKind;
use mandate_authority::{Purpose, RotateError};
use mandate_core::Clock as _;

use crate::administration::{Administration, blocking, to_the_end};
use crate::authorization::{Permit, act};
use crate::error::AdministrationError;

/// The reason for a rotation that must wait.
const TOO_SOON: &str = "key_published_too_recently";

impl Administration {
    /// Signs with the next keys from now on. Issued tokens stay valid until they expire.
    ///
    /// `purpose`: `access-token` or `jwt-svid`; absent: both.
    pub async fn rotate_keys(
        self: &Arc<Self>,
        permit: Permit<act::RotateKeys>,
        purpose: Option<String>,
    ) -> Result<KeyRotationResponse, AdministrationError> {
        let engine = Arc::clone(self);
        to_the_end(async move { engine.rotate_now(&permit, purpose.as_deref()).await }).await
    }

    async fn rotate_now(
        &self,
        permit: &Permit<act::RotateKeys>,
        purpose: Option<&str>,
    ) -> Result<KeyRotationResponse, AdministrationError> {
        let purposes = match purpose {
            None => vec![Purpose::AccessToken, Purpose::JwtSvid],
            Some("access-token") => vec![Purpose::AccessToken],
            Some("jwt-svid") => vec![Purpose::JwtSvid],
            Some(other) => {
                let detail = format!("there is no key purpose `{other}`: use access-token or jwt-svid");
                return Err(AdministrationError::BadRequest(detail));
            }
        };
        // All or none: what is known to fail is refused before anything is recorded as done.
        let now = self.clock.now();
        for purpose in &purposes {
            if let Some(ready) = self.authority.ready(*purpose).filter(|ready| *ready > now) {
                return Err(self.rotation_refused(permit, *purpose, &RotateError::TooSoon { ready }).await);
            }
        }
        for purpose in &purposes {
            self.confirm(permit).await?;
            let record = self.record(RecordKind::Admin, permit, format!("rotate the {purpose} key"));
            self.append(permit, record, Vec::new()).await?;
            let (authority, purpose) = (Arc::clone(&self.authority), *purpose);
            // Another rotation may have come between.
            if let Err(error) = blocking(move || authority.rotate(purpose, now)).await? {
                return Err(self.rotation_refused(permit, purpose, &error).await);
            }
        }
        Ok(KeyRotationResponse { keys: self.keys(&purposes) })
    }

    /// Records that a key was not rotated, also if an earlier record says that it would be.
    async fn rotation_refused(
        &self,
        permit: &Permit<act::RotateKeys>,
        purpose: Purpose,
        error: &RotateError,
    ) -> AdministrationError {
        let (reason, answer) = match error {
            RotateError::TooSoon { ready } => (TOO_SOON, AdministrationError::KeyTooNew { ready: *ready }),
            RotateError::Keys(_) => ("internal", AdministrationError::internal(error)),
        };
        let what = format!("rotate the {purpose} key: {error}");
        match self.record_refused(Some(permit.by().to_string()), None, reason, what).await {
            Ok(()) => answer,
            Err(unavailable) => unavailable,
        }
    }

    pub(crate) fn keys(&self, purposes: &[Purpose]) -> Vec<KeyItem> {
        let active = |purpose: &Purpose| KeyItem {
            purpose: purpose.as_str().replace('_', "-"),
            kid: self.authority.active_key(*purpose),
            state: "active".to_owned(),
        };
        purposes.iter().map(active).collect()
    }
}
