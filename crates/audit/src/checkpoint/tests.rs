use mandate_core::Secret;
use mandate_testkit::clock::SeededEntropy;

use super::{Checkpoint, CheckpointError, CheckpointSigner, CheckpointVerifier};
use crate::tree::leaf_hash;

fn signer(origin: &str, seed: u64) -> (CheckpointSigner, Secret) {
    CheckpointSigner::generate(origin, &SeededEntropy::new(seed)).unwrap()
}

#[test]
fn is_a_signed_note_that_its_verifier_key_opens() {
    let (signer, secret) = signer("log.example/1", 1);
    let note = signer.sign(7, leaf_hash(b"x")).unwrap();
    let text = String::from_utf8(note.clone()).unwrap();
    assert!(text.starts_with("log.example/1\n7\n"), "{text}");
    assert!(text.contains("\n\n— log.example/1 "), "{text}");
    let verifier = CheckpointVerifier::new(signer.verifier().vkey()).unwrap();
    let opened = verifier.open(&note).unwrap();
    assert_eq!((opened.origin.as_str(), opened.size, opened.root), ("log.example/1", 7, leaf_hash(b"x")));
    let again = CheckpointSigner::from_secret(&secret).unwrap();
    assert_eq!(again.sign(7, leaf_hash(b"x")).unwrap(), note);
}

#[test]
fn another_size_root_key_or_log_is_refused() {
    let (ours, _) = signer("log.example", 1);
    let (stranger, _) = signer("log.example", 2);
    let (other_log, _) = signer("log.other", 1);
    let note = String::from_utf8(ours.sign(7, leaf_hash(b"x")).unwrap()).unwrap();
    let verifier = ours.verifier();
    let signature = |r: Result<_, CheckpointError>| matches!(r, Err(CheckpointError::Signature(_)));
    assert!(signature(verifier.open(note.replace("\n7\n", "\n8\n").as_bytes())));
    assert!(signature(
        verifier.open(note.replace(&leaf_hash(b"x").to_string(), &leaf_hash(b"y").to_string()).as_bytes())
    ));
    assert!(signature(verifier.open(&stranger.sign(7, leaf_hash(b"x")).unwrap())));
    assert!(signature(verifier.open(&other_log.sign(7, leaf_hash(b"x")).unwrap())));
    for broken in ["", "log.example\n7\n", "\n\n", note.trim_end(), &note.replace('—', "-")] {
        assert!(verifier.open(broken.as_bytes()).is_err(), "{broken:?}");
    }
}

#[test]
fn the_form_is_told_from_the_signature() {
    let (ours, _) = signer("log.example", 1);
    let note = String::from_utf8(ours.sign(7, leaf_hash(b"x")).unwrap()).unwrap();
    assert!(Checkpoint::is_well_formed(note.as_bytes()));
    assert!(Checkpoint::is_well_formed(note.replace("\n7\n", "\n8\n").as_bytes()), "signed or not");
    let (no_size, no_signature) = (note.replace("\n7\n", "\nx\n"), note.replace('—', "-"));
    for broken in ["", "not a checkpoint", "log.example\n7\n", note.trim_end(), &no_size, &no_signature] {
        assert!(!Checkpoint::is_well_formed(broken.as_bytes()), "{broken:?}");
    }
}

#[test]
fn our_key_under_another_logs_text_is_refused() {
    // A note of another origin, truly signed by our key: what a log with two origins and one key would
    // publish.
    use signed_note::{Note, StandardSigner};
    let (ours, secret) = signer("log.example", 1);
    let skey = secret.expose_secret_str().unwrap().lines().next().unwrap().to_owned();
    let body = tlog_tiles::Checkpoint::new("log.other", 7, leaf_hash(b"x"), "").unwrap();
    let mut note = Note::new(&body.to_bytes(), &[]).unwrap();
    note.add_sigs(&[&StandardSigner::new(&skey).unwrap()]).unwrap();
    assert!(matches!(ours.verifier().open(&note.to_bytes()), Err(CheckpointError::OtherLog { .. })));
}

#[test]
fn keys_that_do_not_belong_together_and_names_that_cannot_be_are_refused() {
    let (_, one) = signer("log.example", 1);
    let (other, _) = signer("log.example", 2);
    let skey = one.expose_secret_str().unwrap().lines().next().unwrap().to_owned();
    let mixed = Secret::new(format!("{skey}\n{}", other.verifier().vkey()));
    assert_eq!(CheckpointSigner::from_secret(&mixed).unwrap_err(), CheckpointError::SigningKey);
    for text in ["", "x", "x\ny", skey.as_str()] {
        assert!(CheckpointSigner::from_secret(&Secret::new(text)).is_err(), "{text:?}");
    }
    for origin in ["", "a b", "a+b", "a\nb"] {
        assert!(
            matches!(
                CheckpointSigner::generate(origin, &SeededEntropy::new(1)),
                Err(CheckpointError::Origin(_))
            ),
            "{origin:?}"
        );
    }
    for vkey in ["", "log.example", "log.example+00000000+AAAA", "log.example+zz+AAAA"] {
        assert_eq!(CheckpointVerifier::new(vkey).unwrap_err(), CheckpointError::VerifierKey, "{vkey:?}");
    }
}

#[test]
fn the_private_key_does_not_print() {
    let (signer, secret) = signer("log.example", 1);
    let skey =
        secret.expose_secret_str().unwrap().lines().next().unwrap().rsplit('+').next().unwrap().to_owned();
    assert!(!format!("{signer:?} {secret:?}").contains(&skey));
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    verifier_key: String,
    checkpoints: Vec<Vector>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    note: String,
    size: Option<u64>,
    root: Option<String>,
    refusal: Option<String>,
}

fn code(error: &CheckpointError) -> &'static str {
    match error {
        CheckpointError::Origin(_) => "origin",
        CheckpointError::SigningKey => "signing_key",
        CheckpointError::VerifierKey => "verifier_key",
        CheckpointError::Malformed => "malformed",
        CheckpointError::Signature(_) => "signature",
        CheckpointError::OtherLog { .. } => "other_log",
    }
}

/// `vectors/checkpoints.json` was signed by another implementation.
#[test]
fn every_vector_is_opened_or_refused_as_it_says() {
    let vectors: Vectors =
        serde_json::from_str(include_str!("../../../../vectors/checkpoints.json")).unwrap();
    let verifier = CheckpointVerifier::new(&vectors.verifier_key).unwrap();
    for vector in &vectors.checkpoints {
        let opened = verifier.open(vector.note.as_bytes()).map_err(|error| code(&error));
        let opened = opened.map(|checkpoint| (checkpoint.size, checkpoint.root.to_string()));
        match (vector.size, &vector.root, vector.refusal.as_deref()) {
            (Some(size), Some(root), None) => assert_eq!(opened, Ok((size, root.clone())), "{}", vector.name),
            (None, None, Some(refusal)) => assert_eq!(opened, Err(refusal), "{}", vector.name),
            _ => panic!("{}: either size and root or a refusal", vector.name),
        }
    }
}
