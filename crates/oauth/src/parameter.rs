//! How grants and endpoints declare their parameters, and how a declared parameter is read.

use mandate_core::names::Parameter;

use crate::form::Form;
use crate::refusal::RequestRefusal;

/// One parameter of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterRow {
    /// The name of the parameter.
    pub parameter: Parameter,
    /// Whether it must be there.
    pub presence: Presence,
    /// What becomes of it at a grant that does not have it.
    pub elsewhere: Elsewhere,
}

/// Whether a parameter must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A request without it is refused.
    Required,
    /// It may be missing, or is required only for some clients or values of other parameters.
    Optional,
    /// It must be there if that parameter is there, and only then.
    With(Parameter),
}

/// What becomes of a parameter at a grant that does not have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// It is ignored (RFC 6749 §3.2).
    Ignored,
    /// The request is refused. The parameter names or proves a party: to ignore it would change who the token
    /// is for, or who acts.
    Refused,
}

impl ParameterRow {
    /// Whether it may be repeated.
    pub fn is_repeatable(&self) -> bool {
        Parameter::REPEATABLE.contains(&self.parameter)
    }

    const fn of(parameter: Parameter, presence: Presence) -> Self {
        Self { parameter, presence, elsewhere: Elsewhere::Ignored }
    }

    /// The same, refused at a grant that does not have it.
    pub(crate) const fn here_only(self) -> Self {
        Self { elsewhere: Elsewhere::Refused, ..self }
    }
}

/// A parameter that must be there.
#[derive(Clone, Copy)]
pub(crate) struct Required(pub(crate) Parameter);

impl Required {
    pub(crate) fn read<'f>(self, form: &'f Form<'_>) -> Result<&'f str, RequestRefusal> {
        form.get(self.0).ok_or(RequestRefusal::Missing(self.0))
    }

    pub(crate) const fn row(self) -> ParameterRow {
        ParameterRow::of(self.0, Presence::Required)
    }
}

/// A parameter that need not be there.
#[derive(Clone, Copy)]
pub(crate) struct Optional(pub(crate) Parameter);

impl Optional {
    pub(crate) fn read<'f>(self, form: &'f Form<'_>) -> Option<&'f str> {
        form.get(self.0)
    }

    pub(crate) const fn row(self) -> ParameterRow {
        ParameterRow::of(self.0, Presence::Optional)
    }
}

/// A parameter that must be there if, and only if, `other` is.
#[derive(Clone, Copy)]
pub(crate) struct With {
    pub(crate) parameter: Parameter,
    pub(crate) other: Optional,
}

impl With {
    /// The value of the other and its own, or neither.
    pub(crate) fn read<'f>(self, form: &'f Form<'_>) -> Result<Option<(&'f str, &'f str)>, RequestRefusal> {
        match (self.other.read(form), form.get(self.parameter)) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(RequestRefusal::Missing(self.parameter)),
            (None, Some(_)) => Err(RequestRefusal::Misplaced(self.parameter)),
            (Some(other), Some(own)) => Ok(Some((other, own))),
        }
    }

    pub(crate) const fn row(self) -> ParameterRow {
        ParameterRow::of(self.parameter, Presence::With(self.other.0))
    }
}

/// Asks for less than a request without it: if it were ignored, the token would be wider than what was asked
/// for (RFC 9396 §5). No grant and no login ignores it.
pub(crate) fn without_details(form: &Form<'_>) -> Result<(), RequestRefusal> {
    if form.has(Parameter::AuthorizationDetails) { Err(RequestRefusal::Details) } else { Ok(()) }
}
