//! `mandate revoke …`

use mandate_api::admin::{AuditQuery, RevocationRequest, RevocationTarget};

use super::recorded;
use crate::arguments::Revoke;
use crate::connection::Connection;
use crate::failure::Failure;
use crate::screen::Screen;

fn target(arguments: &Revoke) -> (&Connection, RevocationTarget) {
    match arguments {
        Revoke::Token(x) => (&x.connection, RevocationTarget::Token(x.jti.clone())),
        Revoke::Grant(x) => (&x.connection, RevocationTarget::Grant(x.id.clone())),
        Revoke::Agent(x) => (&x.connection, RevocationTarget::Agent(x.name.clone())),
        Revoke::Person(x) => (&x.connection, RevocationTarget::Person(x.name.clone())),
        Revoke::Client(x) => (&x.connection, RevocationTarget::Client(x.id.clone())),
    }
}

pub(crate) fn run(arguments: &Revoke, screen: &Screen) -> Result<(), Failure> {
    let (connection, target) = target(arguments);
    let request = RevocationRequest { target };
    let admin = connection.open()?;
    let answer = admin.call(async |client| client.revoke(&request).await)?;
    // After the revocation, which must not depend on a log that can be read.
    let known = match &request.target {
        RevocationTarget::Token(jti) => {
            let query = AuditQuery { jti: Some(jti.to_string()), limit: Some(2), ..AuditQuery::default() };
            let found = admin.try_call(async |client| client.audit_records(&query).await);
            !matches!(found, Ok(Ok(records)) if records.iter().all(|record| record.id == answer.record.to_string()))
        }
        _ => true,
    };
    if !known {
        // Most likely a typing error. The token is revoked anyway: it may be dangerous even if the log does
        // not have it.
        screen.remark("note: the log has no token with that id; if one appears later, it is revoked.\n next: mandate audit query --agent NAME   (shows the ids)");
    }
    let what = match &request.target {
        RevocationTarget::Token(jti) => format!("Token {jti} and every token derived from it are revoked."),
        RevocationTarget::Grant(id) => {
            format!("Grant {id} is revoked permanently, with every token that depends on it.")
        }
        RevocationTarget::Agent(name) => {
            format!(
                "Every token that {name} acts in is revoked. The agent can get new ones; to stop it: mandate agent suspend {name}"
            )
        }
        RevocationTarget::Person(name) => format!("Every token of {name} is revoked."),
        RevocationTarget::Client(id) => format!("Every token that was issued to {id} is revoked."),
    };
    let shown = screen.show(&answer, || format!("{what}\nrecord: {}", answer.record));
    recorded::report(answer.recorded, screen, shown)
}
