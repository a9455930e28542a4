//! Signed checkpoints and verifier keys of audit logs, as they come from backups, bundles and other people.
//!
//! The first byte chooses how the rest is read: as a note, as a verifier key, or as a text that is signed
//! properly first, so that the code behind the signature check is reached too.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mandate_audit::{Checkpoint, CheckpointSigner, CheckpointVerifier};
use mandate_core::Secret;
use signed_note::{Note, StandardSigner};

// The key of `vectors/checkpoints.json`, that of RFC 8032, Section 7.1, test 1, which everybody knows.
const VERIFIER_KEY: &str = "log.example/1+dd8b4c84+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";
const SIGNING_KEY: &str = "PRIVATE+KEY+log.example/1+dd8b4c84+AZ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";

static SIGNER: LazyLock<CheckpointSigner> = LazyLock::new(|| {
    CheckpointSigner::from_secret(&Secret::new(format!("{SIGNING_KEY}\n{VERIFIER_KEY}"))).unwrap()
});
static ANY_TEXT: LazyLock<StandardSigner> = LazyLock::new(|| StandardSigner::new(SIGNING_KEY).unwrap());

/// Opens `note`. What is accepted has one form, says what was signed, and is signed in the same way again.
fn open(note: &[u8]) -> Option<Checkpoint> {
    let claimed = Checkpoint::origin_of(note);
    assert_eq!(claimed.is_some(), Checkpoint::is_well_formed(note));
    let checkpoint = SIGNER.verifier().open(note).ok()?;
    assert_eq!(claimed.as_deref(), Some(SIGNER.origin()), "accepted, and without the form of a checkpoint");
    let Checkpoint { origin, size, root } = &checkpoint;
    let start = format!("{origin}\n{size}\n{root}\n");
    assert!(note.starts_with(start.as_bytes()), "read as {start:?}");
    let again = SIGNER.sign(*size, *root).unwrap();
    assert_eq!(SIGNER.verifier().open(&again).as_ref(), Ok(&checkpoint));
    Some(checkpoint)
}

fn signed(text: &[u8]) -> Option<Vec<u8>> {
    let mut note = Note::new(text, &[]).ok()?;
    note.add_sigs(&[&*ANY_TEXT]).ok()?;
    Some(note.to_bytes())
}

fuzz_target!(|input: &[u8]| {
    match input.split_first() {
        Some((b'n', note)) => drop(open(note)),
        Some((b's', text)) => drop(signed(text).and_then(|note| open(&note))),
        Some((b'k', key)) => {
            if let Ok(text) = std::str::from_utf8(key)
                && let Ok(verifier) = CheckpointVerifier::new(text)
            {
                assert_eq!(verifier.vkey(), text.trim());
                assert!(text.trim().starts_with(verifier.origin()), "{text}");
            }
        }
        _ => {}
    }
});
