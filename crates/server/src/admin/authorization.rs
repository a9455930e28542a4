//! Which acts a route is for: one row for every route. A route without a row cannot be called. Who may do an
//! act is in the table of the crate `administration`.

use axum::http::Method;
use mandate_administration::OperatorAct;
use mandate_api::admin::path;

/// What a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A proven operator who may do at least one of these acts, the one that needs the least first.
    Act(&'static [OperatorAct]),
    /// No particular caller: the document contains nothing about this installation.
    Anybody,
}

/// Every route of the admin API.
pub(crate) const ROWS: &[(Method, &str, Need)] = &[
    (Method::POST, path::APPLY, Need::Act(&[OperatorAct::ApplyRegistry])),
    (Method::GET, "/v1/registry/{kind}", Need::Act(&[OperatorAct::ReadRegistry])),
    (Method::GET, "/v1/registry/{kind}/{name}", Need::Act(&[OperatorAct::ReadRegistry])),
    (Method::POST, path::JOIN_TOKENS, Need::Act(&[OperatorAct::MakeJoinToken])),
    (Method::GET, path::NODES, Need::Act(&[OperatorAct::ReadNodes])),
    (Method::POST, "/v1/nodes/{name}/ban", Need::Act(&[OperatorAct::BanNode])),
    (
        Method::POST,
        "/v1/agents/{name}/state",
        Need::Act(&[
            OperatorAct::SuspendAgent,
            OperatorAct::ContainAgent,
            OperatorAct::ActivateAgent,
            OperatorAct::RetireAgent,
        ]),
    ),
    (Method::POST, "/v1/agents/{name}/release", Need::Act(&[OperatorAct::ReleaseAgent])),
    (
        Method::POST,
        "/v1/people/{name}/state",
        Need::Act(&[OperatorAct::DisablePerson, OperatorAct::EnablePerson]),
    ),
    (Method::POST, "/v1/people/{name}/password", Need::Act(&[OperatorAct::SetPassword])),
    (Method::POST, "/v1/clients/{id}/secret", Need::Act(&[OperatorAct::SetClientSecret])),
    (Method::POST, path::REVOCATIONS, Need::Act(&[OperatorAct::Revoke])),
    (Method::POST, path::KEYS_ROTATE, Need::Act(&[OperatorAct::RotateKeys])),
    (Method::GET, path::STATUS, Need::Act(&[OperatorAct::ReadStatus])),
    (Method::GET, path::AUDIT_RECORDS, Need::Act(&[OperatorAct::ReadAudit])),
    (Method::GET, "/v1/audit/records/{id}", Need::Act(&[OperatorAct::ReadAudit])),
    (Method::GET, path::AUDIT_VERIFY, Need::Act(&[OperatorAct::ReadAudit])),
    (Method::GET, path::AUDIT_CHECKPOINT, Need::Act(&[OperatorAct::ReadAudit])),
    (Method::GET, path::AUDIT_EXPORT, Need::Act(&[OperatorAct::ReadAudit])),
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
    use mandate_administration::OperatorAct;
    use mandate_core::Role;

    use super::{Need, ROWS, need};

    #[test]
    fn every_operation_of_the_document_has_a_row_and_every_row_an_operation() {
        let document: serde_json::Value = serde_json::from_str(&crate::admin::openapi()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let mut operations = 0;
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item
                .as_object()
                .unwrap()
                .keys()
                .filter(|m| ["get", "post", "put", "patch", "delete"].contains(&m.as_str()))
            {
                let method: Method = method.to_uppercase().parse().unwrap();
                assert!(matches!(need(&method, path), Some(Need::Act([_, ..]))), "{method} {path}");
                operations += 1;
            }
        }
        assert_eq!(operations + 1, ROWS.len(), "a row without an operation (all but the document itself)");
    }

    #[test]
    fn what_has_no_row_is_not_allowed() {
        assert_eq!(need(&Method::DELETE, "/v1/apply"), None);
        assert_eq!(need(&Method::GET, "/v1/secret"), None);
        assert_eq!(need(&Method::HEAD, "/v1/status"), Some(Need::Act(&[OperatorAct::ReadStatus])));
    }

    #[test]
    fn every_act_has_a_route_and_the_first_of_a_route_needs_the_least() {
        let acts = |need: &Need| match need {
            Need::Act(acts) => *acts,
            Need::Anybody => &[],
        };
        for act in OperatorAct::ALL {
            assert!(ROWS.iter().any(|(.., need)| acts(need).contains(act)), "{act:?}");
        }
        for (method, path, need) in ROWS {
            let acts = acts(need);
            assert!(acts.iter().all(|act| act.least().includes(acts[0].least())), "{method} {path}");
            assert!(
                *method != Method::GET || acts.iter().all(|act| act.least() == Role::Viewer),
                "{method} {path}: reading"
            );
            assert!(
                *method == Method::GET || acts.iter().all(|act| act.least() != Role::Viewer),
                "{method} {path}: a viewer changes nothing"
            );
        }
    }
}
