//! What a grant type is: its name, its parameters, and how it is run.

use std::pin::Pin;
use std::sync::Arc;

use mandate_core::Timestamp;
use mandate_core::names::{GrantType, Parameter};

use crate::basis::Basis;
use crate::client::Clients;
use crate::codes::Codes;
use crate::conclusion::{Conclusion, TokenResponse};
use crate::cuts::Cuts;
use crate::foreign::ForeignKeys;
use crate::foreign_svids::ForeignSvids;
use crate::form::Form;
use crate::own_tokens::OwnTokens;
use crate::parameter::{Elsewhere, ParameterRow};
use crate::platform_tokens::PlatformTokens;
use crate::providers::ReadSecret;
use crate::refresh_tokens::RefreshTokens;
use crate::request::FormRequest;
use crate::trail::Recorder;
use crate::wire::OAuthError;

/// A grant type: what it is called, what it takes, and how it is run.
pub struct GrantHandler {
    /// The value of `grant_type`.
    pub(super) name: GrantType,
    /// Its parameters, beside `grant_type` and those of client authentication.
    pub(super) parameters: &'static [&'static [ParameterRow]],
    /// Makes the value that runs it, from the parts that it needs.
    pub(super) with: fn(&GrantParts) -> Box<dyn Run>,
}

impl GrantHandler {
    /// The value of `grant_type`.
    pub const fn name(&self) -> GrantType {
        self.name
    }

    /// Its parameters, beside `grant_type` and those of client authentication.
    pub fn parameters(&self) -> impl Iterator<Item = &'static ParameterRow> {
        self.parameters.iter().copied().flatten()
    }

    /// Whether it has this parameter.
    pub fn has(&self, parameter: Parameter) -> bool {
        self.parameters().any(|row| row.parameter == parameter)
    }

    /// Its parameters that other grants refuse.
    pub fn refused_elsewhere(&self) -> impl Iterator<Item = Parameter> {
        self.parameters().filter(|row| row.elsewhere == Elsewhere::Refused).map(|row| row.parameter)
    }
}

impl std::fmt::Debug for GrantHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("GrantHandler").field(&self.name).finish()
    }
}

/// The parts that a grant shares with other grants or with endpoints. A part that only one grant needs is not
/// here.
pub(crate) struct GrantParts {
    pub(crate) basis: Basis,
    pub(crate) recorder: Recorder,
    pub(crate) clients: Arc<Clients>,
    pub(crate) tokens: Arc<OwnTokens>,
    pub(crate) foreign: Arc<ForeignKeys>,
    pub(crate) platforms: Arc<PlatformTokens>,
    pub(crate) svids: Arc<ForeignSvids>,
    pub(crate) codes: Arc<Codes>,
    pub(crate) refresh: Arc<RefreshTokens>,
    pub(crate) cuts: Arc<Cuts>,
    pub(crate) conclusion: Arc<Conclusion>,
    pub(crate) login_secrets: ReadSecret,
}

/// A request to the token endpoint whose grant type is known.
#[derive(Clone, Copy)]
pub(crate) struct Call<'c> {
    pub(crate) request: &'c FormRequest<'c>,
    pub(crate) form: &'c Form<'c>,
    pub(crate) now: Timestamp,
}

/// The answer to a [`Call`], in the future.
pub(crate) type GrantAnswer<'c> =
    Pin<Box<dyn Future<Output = Result<TokenResponse, OAuthError>> + Send + 'c>>;

pub(crate) trait Run: Send + Sync {
    /// Answers a request. The outcome is durable in the audit log when the answer is there.
    fn run<'c>(&'c self, call: Call<'c>) -> GrantAnswer<'c>;
}
