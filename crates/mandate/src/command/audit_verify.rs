//! `mandate audit verify`, also without a server, and `mandate audit checkpoint`.

use std::io::BufReader;
use std::path::Path;

use mandate_audit::Checkpoint;
use mandate_audit::offline::{BundleError, Known, verify_bundle};
use serde::Serialize;

use crate::arguments::{AuditCheckpointArguments, AuditVerify, verifier_key};
use crate::failure::{Failure, Fault};
use crate::input_file;
use crate::screen::Screen;

#[derive(Serialize)]
struct VerifiedBundle {
    verified: bool,
    origin: String,
    size: u64,
    root: String,
    key: String,
    /// Whether the caller gave the key. If not, the key was taken from the bundle itself.
    key_given: bool,
    /// Whether it also continues a checkpoint that was kept earlier.
    since_given: bool,
}

/// A checkpoint is a few hundred bytes.
const MAX_CHECKPOINT: u64 = 64 * 1024;

/// What `mandate audit checkpoint` printed earlier, with or without `--json`.
fn kept(path: &Path) -> Result<String, Failure> {
    // A user who put an older checkpoint there could hide that records are missing.
    let text = input_file::read_trusted_text(path, MAX_CHECKPOINT)?;
    // A note ends its lines with a newline alone (C2SP signed-note); tools of other systems may have added
    // the other half.
    let text = text.replace("\r\n", "\n");
    let note = if text.starts_with('{') {
        serde_json::from_str::<serde_json::Value>(&text)
            .ok()
            .and_then(|value| Some(value.get("checkpoint")?.as_str()?.to_owned()))
    } else {
        Some(text)
    };
    note.filter(|note| Checkpoint::is_well_formed(note.as_bytes())).ok_or_else(|| {
        Failure::usage(format!("{} holds no checkpoint", input_file::shown(path)))
            .next("mandate audit checkpoint > kept.checkpoint")
    })
}

pub(crate) fn checkpoint(arguments: &AuditCheckpointArguments, screen: &Screen) -> Result<(), Failure> {
    let answer = arguments.connection.open()?.call(async |client| client.audit_checkpoint().await)?;
    screen.show(&answer, || answer.checkpoint.clone())
}

pub(crate) fn run(arguments: &AuditVerify, screen: &Screen) -> Result<(), Failure> {
    input_file::one_standard_input(&[
        arguments.offline.as_deref(),
        arguments.key_file.as_deref(),
        arguments.since.as_deref(),
    ])?;
    let since = arguments.since.as_deref().map(kept).transpose()?;
    if let Some(bundle) = &arguments.offline {
        let key = match &arguments.key_file {
            Some(file) => Some(known_key(file)?),
            None => arguments.key.clone(),
        };
        return offline(bundle, key.as_deref(), since.as_deref(), screen);
    }
    let answer = arguments.connection.open()?.call(async |client| match &since {
        Some(note) => client.audit_verify_since(note).await,
        None => client.audit_verify().await,
    })?;
    if !answer.verified {
        return Err(Failure::failed("the server says that its audit log does not verify"));
    }
    if since.is_some() && answer.since.is_none() {
        return Err(Failure::failed("the server did not compare its log with the earlier checkpoint"));
    }
    screen.show(&answer, || {
        let continues = answer
            .since
            .map(|size| format!(" It continues the checkpoint of {size} records."))
            .unwrap_or_default();
        if !answer.logs.is_empty() {
            let continues = answer
                .since
                .map(|size| format!(" One continues the checkpoint of {size} records."))
                .unwrap_or_default();
            let lines = answer.logs.iter().map(|log| {
                format!("{}: {} records, root {}, key {}", log.origin, log.size, log.root, log.key)
            });
            let head = format!("All {} audit logs verify.{continues}", answer.logs.len());
            return std::iter::once(head).chain(lines).collect::<Vec<_>>().join("\n");
        }
        format!(
            "The audit log verifies: {} records, root {}.{continues}\nkey: {}",
            answer.size, answer.root, answer.key
        )
    })
}

/// The key in a file, also in the whole of what `mandate status` prints.
fn known_key(path: &Path) -> Result<String, Failure> {
    let text = input_file::read_trusted_text(path, MAX_CHECKPOINT)?;
    let line = text.lines().find_map(|line| line.strip_prefix("Audit key:")).unwrap_or(&text);
    verifier_key(line)
        .map_err(|why| Failure::usage(format!("{} holds no verifier key: {why}", input_file::shown(path))))
}

fn offline(bundle: &Path, key: Option<&str>, since: Option<&str>, screen: &Screen) -> Result<(), Failure> {
    let file = input_file::open(bundle)?;
    let known = Known { vkey: key, since: since.map(str::as_bytes) };
    let summary = verify_bundle(BufReader::with_capacity(1 << 20, file), known, |_, _| ())
        .map_err(|error| failure(bundle, &error))?;
    let verified = VerifiedBundle {
        verified: true,
        origin: summary.origin,
        size: summary.size,
        root: summary.root.to_string(),
        key: summary.vkey,
        key_given: key.is_some(),
        since_given: since.is_some(),
    };
    screen.show(&verified, || {
        let VerifiedBundle { origin, size, root, key, .. } = &verified;
        let continues = if verified.since_given { " It continues the kept checkpoint." } else { "" };
        // A kept checkpoint is signed by the log's key, so it says as much as the key.
        let warning = if verified.key_given || verified.since_given {
            String::new()
        } else {
            format!(
                "\nThe key comes from the bundle itself. To prove that this is your log, give the key that you kept:\nnext: mandate audit verify --offline {} --key-file FILE   (holds the Audit key of mandate status)",
                bundle.display()
            )
        };
        format!("The bundle verifies: {size} records of {origin}, root {root}.{continues}\nkey: {key}{warning}")
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
        return Failure::usage(format!("{} is not an audit bundle", input_file::shown(bundle)));
    }
    Failure::caused(fault, &format!("{} does not verify", input_file::shown(bundle)), error)
}
