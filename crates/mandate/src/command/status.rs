//! `mandate status` and `mandate key rotate`

use mandate_api::admin::{KeyItem, KeyRotationRequest};

use crate::arguments::{KeyRotate, Purpose, Status};
use crate::failure::Failure;
use crate::screen::Screen;
use crate::table::{list, table};

fn keys(screen: &Screen, keys: &[KeyItem]) -> String {
    let row = |key: &KeyItem| vec![key.purpose.clone(), key.state.clone(), key.kid.clone()];
    table(screen, &["PURPOSE", "STATE", "KEY ID"], keys.iter().map(row).collect())
}

pub(crate) fn run(arguments: &Status, screen: &Screen) -> Result<(), Failure> {
    let status = arguments.connection.open()?.call(async |client| client.status().await)?;
    screen.show(&status, || {
        let counts = status.registry;
        let registry = [
            (counts.agents, "agent", "agents"),
            // The administration of the server itself is always one of them.
            (counts.resources, "resource (built in)", "resources (one of them built in)"),
            (counts.people, "person", "people"),
            (counts.clients, "client", "clients"),
            (counts.issuers, "issuer", "issuers"),
            (counts.grants, "grant", "grants"),
            (counts.policies, "policy", "policies"),
        ];
        let declared = registry.iter().filter(|(count, ..)| *count > 0);
        let registry: Vec<String> =
            declared.map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many })).collect();
        let facts = list(
            screen,
            vec![
                ("Version", status.version.clone()),
                ("Issuer", status.issuer.clone()),
                ("Trust domain", status.trust_domain.clone()),
                ("Nodes connect to", status.node_server.clone().unwrap_or_default()),
                ("Running since", status.started.clone()),
                ("Registry", if registry.is_empty() { "empty".to_owned() } else { registry.join(", ") }),
                ("Audit records", status.audit_size.to_string()),
                ("Audit key", status.audit_key.clone()),
                ("Cuts in force", status.cuts.to_string()),
            ],
        );
        format!("{facts}\n\n{}", keys(screen, &status.keys))
    })
}

pub(crate) fn rotate_keys(arguments: &KeyRotate, screen: &Screen) -> Result<(), Failure> {
    let purpose = arguments.purpose.map(|purpose| match purpose {
        Purpose::AccessToken => "access-token".to_owned(),
        Purpose::JwtSvid => "jwt-svid".to_owned(),
    });
    let request = KeyRotationRequest { purpose };
    let answer = arguments.connection.open()?.call(async |client| client.rotate_keys(&request).await)?;
    screen.show(&answer, || keys(screen, &answer.keys))
}
