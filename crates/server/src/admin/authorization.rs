//! Who may call which route: one row for every route. A route without a row cannot be called.

use axum::http::Method;
use mandate_api::admin::path;

/// What a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A proven operator.
    Operator,
    /// No particular caller: the document contains nothing about this installation.
    Anybody,
}

/// Every route of the admin API.
pub(crate) const ROWS: &[(Method, &str, Need)] = &[
    (Method::POST, path::APPLY, Need::Operator),
    (Method::GET, "/v1/registry/{kind}", Need::Operator),
    (Method::GET, "/v1/registry/{kind}/{name}", Need::Operator),
    (Method::POST, path::JOIN_TOKENS, Need::Operator),
    (Method::GET, path::NODES, Need::Operator),
    (Method::POST, "/v1/nodes/{name}/ban", Need::Operator),
    (Method::POST, "/v1/agents/{name}/state", Need::Operator),
    (Method::POST, "/v1/people/{name}/state", Need::Operator),
    (Method::POST, "/v1/people/{name}/password", Need::Operator),
    (Method::POST, "/v1/clients/{id}/secret", Need::Operator),
    (Method::POST, path::REVOCATIONS, Need::Operator),
    (Method::POST, path::KEYS_ROTATE, Need::Operator),
    (Method::GET, path::STATUS, Need::Operator),
    (Method::GET, path::AUDIT_RECORDS, Need::Operator),
    (Method::GET, "/v1/audit/records/{id}", Need::Operator),
    (Method::GET, path::AUDIT_VERIFY, Need::Operator),
    (Method::GET, path::AUDIT_CHECKPOINT, Need::Operator),
    (Method::GET, path::AUDIT_EXPORT, Need::Operator),
    (Method::GET, path::OPENAPI, Need::Anybody),
];

/// What a route needs, or nothing if it has no row.
pub(crate) fn need(method: &Method, route: &str) -> Option<Need> {
    // axum answers HEAD by GET handlers.
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    ROWS.iter().find(|(m, path, _)| m == method && *path == route).map(|(_, _, need)| *need)
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::{Need, ROWS, need};

    #[test]
    fn every_operation_of_the_document_has_a_row_and_every_row_an_operation() {
        let document: serde_json::Value = serde_json::from_str(&crate::admin::openapi()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let mut operations = 0;
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys().filter(|m| ["get", "post", "put", "patch", "delete"].contains(&m.as_str())) {
                let method: Method = method.to_uppercase().parse().unwrap();
                assert_eq!(need(&method, path), Some(Need::Operator), "{method} {path}");
                operations += 1;
            }
        }
        assert_eq!(operations + 1, ROWS.len(), "a row without an operation (all but the document itself)");
    }

    #[test]
    fn what_has_no_row_is_not_allowed() {
        assert_eq!(need(&Method::DELETE, "/v1/apply"), None);
        assert_eq!(need(&Method::GET, "/v1/secret"), None);
        assert_eq!(need(&Method::HEAD, "/v1/status"), Some(Need::Operator));
    }
}
