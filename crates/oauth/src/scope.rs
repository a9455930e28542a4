//! Which scopes a request asks for (RFC 6749 §3.3).

use mandate_core::ScopeSet;
use mandate_core::names::Parameter;

use crate::form::Form;
use crate::parameter::{Optional, ParameterRow};
use crate::refusal::RequestRefusal;

const SCOPE: Optional = Optional(Parameter::Scope);
pub(crate) const PARAMETERS: &[ParameterRow] = &[SCOPE.row()];

/// The scopes that are asked for; `None`: all that can be given.
pub(crate) fn asked(form: &Form<'_>) -> Result<Option<ScopeSet>, RequestRefusal> {
    SCOPE.read(form).map(|text| text.parse().map_err(RequestRefusal::ScopeMalformed)).transpose()
}
