//! The table of grant types. It decides which grants and parameters are offered, which are refused, and what
//! the errors say.

mod client_credentials;
mod code;
mod device;
mod exchange;
mod handler;
mod redemption;
mod refresh;

use mandate_core::names::{GrantType, Parameter};

use crate::form::Form;
use crate::parameter::{Required, without_details};
use crate::refusal::RequestRefusal;

pub use handler::GrantHandler;
pub(crate) use handler::{Call, GrantParts, Run};

/// The grant types that are offered.
pub static TABLE: [&GrantHandler; 5] =
    [&code::GRANT, &refresh::GRANT, &client_credentials::GRANT, &exchange::GRANT, &device::GRANT];

/// The `grant_type` of each, in the order of the table.
pub fn names() -> impl Iterator<Item = GrantType> {
    TABLE.iter().map(|grant| grant.name())
}

/// The grants, with the parts that they need.
pub(crate) struct Grants([(&'static GrantHandler, Box<dyn Run>); TABLE.len()]);

impl Grants {
    pub(crate) fn new(parts: &GrantParts) -> Self {
        Self(TABLE.map(|grant| (grant, (grant.with)(parts))))
    }

    /// The grant that a request is for. Refused if there is no such grant, or if a parameter belongs to
    /// another one.
    pub(crate) fn of(&self, form: &Form<'_>) -> Result<&dyn Run, RequestRefusal> {
        let name = Required(Parameter::GrantType).read(form)?;
        without_details(form)?;
        let found = self.0.iter().find(|(grant, _)| grant.name().as_str() == name);
        let (grant, run) = found.ok_or_else(|| RequestRefusal::GrantType(names().collect()))?;
        misplaced(grant, form).map_or(Ok(run.as_ref()), |parameter| Err(RequestRefusal::Misplaced(parameter)))
    }
}

/// The first parameter of the form that belongs to another grant and must not be ignored.
fn misplaced(grant: &GrantHandler, form: &Form<'_>) -> Option<Parameter> {
    let others = TABLE.iter().filter(|other| other.name() != grant.name());
    let refused = others.flat_map(|other| other.refused_elsewhere());
    // It belongs to the authorization request, and names a party too.
    let refused = refused.chain([Parameter::RequestedActor]);
    refused.filter(|parameter| !grant.has(*parameter) && form.has(parameter)).min()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mandate_core::names::{GrantType, Parameter};

    use super::{TABLE, misplaced, names};
    use crate::form::Form;
    use crate::parameter::Presence;

    #[test]
    fn every_grant_type_that_has_a_name_is_in_the_table_once() {
        assert_eq!(names().collect::<Vec<_>>(), GrantType::ALL);
    }

    #[test]
    fn a_grant_names_each_of_its_parameters_once_and_what_they_depend_on() {
        for grant in TABLE {
            let all: Vec<_> = grant.parameters().collect();
            let distinct: BTreeSet<_> = all.iter().map(|row| row.parameter).collect();
            assert_eq!(all.len(), distinct.len(), "{grant:?}");
            for row in all {
                assert!(
                    !matches!(row.presence, Presence::With(other) if !grant.has(other)),
                    "{row:?} of {grant:?}"
                );
                assert_eq!(
                    row.is_repeatable(),
                    matches!(row.parameter, Parameter::Resource | Parameter::Audience)
                );
            }
        }
    }

    #[test]
    fn what_names_or_proves_a_party_is_misplaced_at_other_grants_and_the_first_by_name_is_told() {
        let told = |grant, text: &str| {
            misplaced(
                TABLE.iter().find(|one| one.name() == grant).unwrap(),
                &Form::parse(text.as_bytes()).unwrap(),
            )
        };
        let at_code = |text: &str| told(GrantType::AuthorizationCode, text);
        for name in ["subject_token", "subject_token_type"] {
            assert_eq!(at_code(&format!("{name}=x")), Parameter::named(name));
            assert_eq!(told(GrantType::TokenExchange, &format!("{name}=x")), None, "its own");
        }
        for name in ["actor_token", "actor_token_type"] {
            assert_eq!(at_code(&format!("{name}=x")), None, "it proves the agent that the person let act");
            assert_eq!(told(GrantType::TokenExchange, &format!("{name}=x")), None, "its own");
            assert_eq!(told(GrantType::RefreshToken, &format!("{name}=x")), Parameter::named(name));
        }
        assert_eq!(at_code("subject_token_type=x&subject_token=x"), Some(Parameter::SubjectToken));
        assert_eq!(
            at_code("audience=x&scope=x&requested_token_type=x&actor_token="),
            None,
            "ignored (RFC 6749 section 3.2)"
        );
        assert_eq!(told(GrantType::TokenExchange, "code_verifier=x&redirect_uri=x"), None);
        assert_eq!(told(GrantType::TokenExchange, "code=x"), Some(Parameter::Code), "it proves a login");
        for grant in GrantType::ALL.iter().filter(|grant| **grant != GrantType::RefreshToken) {
            assert_eq!(told(*grant, "refresh_token=x"), Some(Parameter::RefreshToken), "{grant:?}");
        }
        assert_eq!(told(GrantType::RefreshToken, "code=x"), Some(Parameter::Code));
        for grant in GrantType::ALL.iter().filter(|grant| **grant != GrantType::DeviceCode) {
            assert_eq!(told(*grant, "device_code=x"), Some(Parameter::DeviceCode), "{grant:?}");
        }
        assert_eq!(told(GrantType::DeviceCode, "code=x"), Some(Parameter::Code));
        let alone = |text: &str| told(GrantType::ClientCredentials, text);
        for name in ["actor_token", "actor_token_type", "code", "subject_token", "subject_token_type"] {
            assert_eq!(alone(&format!("{name}=x")), Parameter::named(name), "an agent asks for itself");
        }
        assert_eq!(alone("resource=x&audience=x&scope=x&requested_token_type=x"), None);
        for grant in GrantType::ALL {
            let named = "requested_actor=x";
            assert_eq!(told(*grant, named), Some(Parameter::RequestedActor), "{grant:?}");
        }
    }
}
