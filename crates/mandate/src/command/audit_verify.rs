//! `mandate audit verify`, also without a server.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use mandate_audit::offline::{BundleError, Known, verify_bundle};
use serde::Serialize;

use crate::arguments::AuditVerify;
use crate::failure::{Failure, Fault};
use crate::screen::Screen;

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the members of the JSON that is printed")]
struct Verified {
    verified: bool,
    origin: String,
    size: u64,
    root: String,
    key: String,
    /// Whether the key was given by whoever verifies, and not taken from the bundle itself.
    key_given: bool,
}

pub(crate) fn run(arguments: &AuditVerify, screen: &Screen) -> Result<(), Failure> {
    if let Some(bundle) = &arguments.offline {
        return offline(bundle, arguments.key.as_deref(), screen);
    }
    let answer = arguments.connection.open()?.call(async |client| client.audit_verify().await)?;
    if !answer.verified {
        return Err(Failure::failed("the server says that its audit log does not verify"));
    }
    screen.show(&answer, || format!("The audit log verifies: {} records, root {}.\nkey: {}", answer.size, answer.root, answer.key))
}

fn offline(bundle: &Path, key: Option<&str>, screen: &Screen) -> Result<(), Failure> {
    let file = File::open(bundle).map_err(|error| Failure::caused(Fault::Usage, &format!("cannot read {}", bundle.display()), &error))?;
    let known = Known { vkey: key, since: None };
    let summary = verify_bundle(BufReader::with_capacity(1 << 20, file), known, |_, _| ()).map_err(|error| failure(bundle, &error))?;
    let verified = Verified {
        verified: true,
        origin: summary.origin,
        size: summary.size,
        root: summary.root.to_string(),
        key: summary.vkey,
        key_given: key.is_some(),
    };
    screen.show(&verified, || {
        let Verified { origin, size, root, key, .. } = &verified;
        let warning = if verified.key_given {
            String::new()
        } else {
            format!(
                "\nThe key is the bundle's own. That it is your log's, only you can say: mandate audit verify --offline {} --key KEY",
                bundle.display()
            )
        };
        format!("The bundle verifies: {size} records of {origin}, root {root}.\nkey: {key}{warning}")
    })
}

fn failure(bundle: &Path, error: &BundleError) -> Failure {
    let fault = match error {
        BundleError::Format(_) | BundleError::Key(_) | BundleError::NotABundle => Fault::Usage,
        BundleError::Io(_)
        | BundleError::Malformed { .. }
        | BundleError::Size { .. }
        | BundleError::OtherKey { .. }
        | BundleError::Tampered(_) => Fault::Failed,
    };
    if matches!(error, BundleError::NotABundle) {
        return Failure::usage(format!("{} is not an audit bundle", bundle.display()));
    }
    Failure::caused(fault, &format!("{} does not verify", bundle.display()), error)
}
