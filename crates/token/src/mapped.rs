//! What an issuer's entry reads from its tokens besides who the person is: their groups and their tenant.

use mandate_core::registry::{ClaimPath, MAX_GROUPS, TrustedIssuer, is_group_id};

use crate::error::{TokenError, shortened};
use crate::strict_json::{Json, Object};

/// Where an issuer's tokens say it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mapping<'a> {
    /// Where they list the person's groups. `None`: it is not read.
    pub groups: Option<&'a ClaimPath>,
    /// Where they name the person's tenant. `None`: it is not read.
    pub tenant: Option<&'a ClaimPath>,
}

impl<'a> Mapping<'a> {
    /// As the issuer's entry says.
    pub const fn of(issuer: &'a TrustedIssuer) -> Self {
        Self { groups: issuer.groups_claim.as_ref(), tenant: issuer.tenant_claim.as_ref() }
    }
}

/// What a verified token of another issuer says there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappedClaims {
    /// The person's groups, as the issuer calls them. Empty if the token does not say it.
    pub groups: Vec<String>,
    /// The person's tenant, as the issuer calls it. `None` if the token does not say it.
    pub tenant: Option<String>,
}

impl MappedClaims {
    /// Reads what `mapping` names. What is absent is absent; what has another form is refused.
    pub(crate) fn read(claims: &Object<'_>, mapping: Mapping<'_>) -> Result<Self, TokenError> {
        Ok(Self { groups: groups(claims, mapping.groups)?, tenant: tenant(claims, mapping.tenant)? })
    }
}

/// A text of 1 to 128 bytes.
fn tenant(claims: &Object<'_>, path: Option<&ClaimPath>) -> Result<Option<String>, TokenError> {
    let Some(path) = path else { return Ok(None) };
    let Some(value) = at(claims, path)? else { return Ok(None) };
    match value.as_text().filter(|text| is_group_id(text)) {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(fault(path, "not a text of 1 to 128 bytes")),
    }
}

/// A list of at most 256 texts, each of 1 to 128 bytes.
fn groups(claims: &Object<'_>, path: Option<&ClaimPath>) -> Result<Vec<String>, TokenError> {
    let Some(path) = path else { return Ok(Vec::new()) };
    match at(claims, path)? {
        None => Ok(Vec::new()),
        Some(Json::List(items)) if items.len() > MAX_GROUPS => Err(fault(path, "more than 256 groups")),
        Some(Json::List(items)) => {
            let group = |item: &Json<'_>| item.as_text().filter(|text| is_group_id(text)).map(str::to_owned);
            let all: Option<Vec<String>> = items.iter().map(group).collect();
            all.ok_or_else(|| fault(path, "a group in it is not a text of 1 to 128 bytes"))
        }
        Some(_) => Err(fault(path, "not a list of groups")),
    }
}

fn at<'c, 'j>(claims: &'c Object<'j>, path: &ClaimPath) -> Result<Option<&'c Json<'j>>, TokenError> {
    let mut steps = path.steps();
    let mut found = match steps.next() {
        Some(name) => claims.get(&name),
        None => None,
    };
    for step in steps {
        found = match found {
            None => return Ok(None),
            Some(Json::Object(members)) => members.get(&step),
            Some(_) => return Err(fault(path, "a part of the pointer is not an object")),
        };
    }
    Ok(found)
}

fn fault(path: &ClaimPath, why: &'static str) -> TokenError {
    TokenError::MappedClaim { claim: shortened(path.as_str()), why }
}

/// Whether a token of Entra ID says that the person is in more groups than it lists, so that it lists none.
pub(crate) fn leaves_groups_out(claims: &Object<'_>) -> Option<&'static str> {
    const NAMES: &str = "_claim_names";
    const HAS_GROUPS: &str = "hasgroups";
    let elsewhere = match claims.get(NAMES) {
        Some(Json::Object(names)) => names.contains("groups"),
        _ => false,
    };
    let has_groups = match claims.get(HAS_GROUPS) {
        Some(Json::Bool(has)) => *has,
        Some(value) => value.as_text() == Some("true"),
        None => false,
    };
    elsewhere.then_some(NAMES).or(has_groups.then_some(HAS_GROUPS))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{MappedClaims, Mapping, leaves_groups_out};
    use crate::error::TokenError;
    use crate::strict_json;

    fn groups(path: &str, claims: &Value) -> Result<Vec<String>, TokenError> {
        let (path, text) = (path.parse().unwrap(), claims.to_string());
        let claims = strict_json::object(text.as_bytes()).unwrap();
        MappedClaims::read(&claims, Mapping { groups: Some(&path), ..Mapping::default() })
            .map(|mapped| mapped.groups)
    }

    #[test]
    fn groups_are_found_by_name_and_by_pointer_as_each_product_writes_them() {
        for (path, claims) in [
            ("groups", json!({"groups": ["a", "b"]})),
            ("cognito:groups", json!({"cognito:groups": ["a", "b"]})),
            ("https://example.com/groups", json!({"https://example.com/groups": ["a", "b"]})),
            ("/realm_access/roles", json!({"realm_access": {"roles": ["a", "b"]}})),
            ("/a~1b/c", json!({"a/b": {"c": ["a", "b"]}})),
        ] {
            assert_eq!(groups(path, &claims).unwrap(), ["a", "b"], "{path}");
        }
        let absent = [json!({}), json!({"realm_access": {}}), json!({"/realm_access/roles": ["a"]})];
        for claims in absent {
            assert_eq!(groups("/realm_access/roles", &claims), Ok(Vec::new()), "{claims}");
        }
        assert_eq!(groups("groups", &json!({"groups": []})), Ok(Vec::new()));
    }

    #[test]
    fn groups_of_another_form_are_refused_and_not_taken_for_none() {
        let many: Vec<String> = (0..257).map(|n| n.to_string()).collect();
        for bad in [
            json!("staff"),
            json!(null),
            json!(7),
            json!({"staff": true}),
            json!([7]),
            json!(["staff", null]),
            json!([["staff"]]),
            json!([""]),
            json!(["a\nb"]),
            json!(["a".repeat(129)]),
            json!(many),
        ] {
            let refused = groups("groups", &json!({"groups": bad}));
            assert!(matches!(refused, Err(TokenError::MappedClaim { .. })), "{bad}");
        }
        for bad in [json!("x"), json!(null), json!([{"roles": ["a"]}]), json!({"roles": "a"})] {
            let refused = groups("/realm_access/roles", &json!({"realm_access": bad}));
            assert!(matches!(refused, Err(TokenError::MappedClaim { .. })), "{bad}");
        }
        let all: Vec<String> = (0..256).map(|n| format!("{n:0>128}")).collect();
        assert_eq!(groups("groups", &json!({"groups": all})).unwrap(), all, "so many are read");
    }

    #[test]
    fn a_tenant_is_one_text_or_the_token_is_refused() {
        let of = |claims: Value| {
            let (path, text) = ("tid".parse().unwrap(), claims.to_string());
            let claims = strict_json::object(text.as_bytes()).unwrap();
            MappedClaims::read(&claims, Mapping { tenant: Some(&path), ..Mapping::default() })
                .map(|mapped| mapped.tenant)
        };
        assert_eq!(of(json!({"tid": "acme"})), Ok(Some("acme".to_owned())));
        assert_eq!(of(json!({})), Ok(None));
        for bad in [json!(null), json!(7), json!(["acme"]), json!(""), json!("a\nb"), json!("a".repeat(129))]
        {
            assert!(matches!(of(json!({ "tid": bad })), Err(TokenError::MappedClaim { .. })), "{bad}");
        }
    }

    #[test]
    fn a_token_of_entra_that_left_groups_out_is_recognized() {
        let of = |claims: Value| {
            let text = claims.to_string();
            leaves_groups_out(&strict_json::object(text.as_bytes()).unwrap())
        };
        assert_eq!(of(json!({"_claim_names": {"groups": "src1"}})), Some("_claim_names"));
        assert_eq!(of(json!({"hasgroups": true})), Some("hasgroups"));
        assert_eq!(of(json!({"hasgroups": "true"})), Some("hasgroups"));
        for none in [json!({}), json!({"hasgroups": false}), json!({"_claim_names": {"x": "src1"}})] {
            assert_eq!(of(none), None);
        }
    }
}
