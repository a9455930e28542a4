//! Which scopes a request asks for (RFC 6749 §3.3).

use mandate_core::names::Parameter;
use mandate_core::scope::OFFLINE_ACCESS;
use mandate_core::{Scope, ScopeSet};

use crate::form::Form;
use crate::parameter::{Optional, ParameterRow};
use crate::refusal::RequestRefusal;

const SCOPE: Optional = Optional(Parameter::Scope);
pub(crate) const PARAMETERS: &[ParameterRow] = &[SCOPE.row()];

/// The scopes that are asked for, and whether the client asks to act while the person is away (`OpenID` Connect
/// Core 1.0 §11): that is a scope of no resource.
pub(crate) fn asked_of_a_login(form: &Form<'_>) -> Result<(Option<ScopeSet>, bool), RequestRefusal> {
    let all = asked(form)?;
    let offline = all.as_ref().is_some_and(|all| all.iter().any(is_offline_access));
    Ok((all.map(|all| all.filter(|scope| !is_offline_access(scope))), offline))
}

fn is_offline_access(scope: &Scope) -> bool {
    scope.as_str() == OFFLINE_ACCESS
}

/// The scopes that are asked for; `None`: all that can be given.
pub(crate) fn asked(form: &Form<'_>) -> Result<Option<ScopeSet>, RequestRefusal> {
    SCOPE.read(form).map(|text| text.parse().map_err(RequestRefusal::ScopeMalformed)).transpose()
}
