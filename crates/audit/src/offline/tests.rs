use mandate_core::Timestamp;
use mandate_testkit::clock::SeededEntropy;

use super::{BundleError, BundleWriter, Known, verify_bundle};
use crate::checkpoint::{Checkpoint, CheckpointSigner};
use crate::record::{Outcome, Record, RecordKind};
use crate::tree::{Frontier, Hash, leaf_hash};
use crate::verification::{Tampered, TreeVerification};

fn signer(seed: u64) -> CheckpointSigner {
    CheckpointSigner::generate("log.example", &SeededEntropy::new(seed)).unwrap().0
}

fn leaf(n: u64) -> Vec<u8> {
    let id = format!("r{n}").parse().unwrap();
    Record::new(id, Timestamp::from_secs(n), RecordKind::Exchange, Outcome::Permitted, "ok \"quoted\" \u{e9}")
        .to_leaf()
        .unwrap()
}

/// A leaf and the hashes stored with it.
type Row = (Vec<u8>, Vec<Hash>);

fn stored(count: u64) -> (Frontier, Vec<Row>) {
    let mut tree = Frontier::new();
    let rows = (0..count).map(|n| (leaf(n), tree.append(leaf_hash(&leaf(n))).unwrap())).collect();
    (tree, rows)
}

fn bundle(count: u64, signer: &CheckpointSigner) -> String {
    let (tree, rows) = stored(count);
    let note = signer.sign(count, tree.root().unwrap()).unwrap();
    let mut out = BundleWriter::begin(Vec::new(), signer.verifier().vkey(), &note, count).unwrap();
    for (n, (leaf, hashes)) in (0..).zip(&rows) {
        out.record(n, leaf, hashes).unwrap();
    }
    String::from_utf8(out.finish().unwrap()).unwrap()
}

fn verify(bundle: &str) -> Result<crate::Summary, BundleError> {
    verify_bundle(
        bundle.as_bytes(),
        Known { vkey: Some(signer(1).verifier().vkey()), since: None },
        |_, _| {},
    )
}

fn edited(edit: impl FnOnce(&mut Vec<String>)) -> String {
    let mut lines: Vec<String> = bundle(9, &signer(1)).lines().map(str::to_owned).collect();
    edit(&mut lines);
    lines.join("\n") + "\n"
}

#[test]
fn a_whole_bundle_verifies_with_its_own_key_or_the_known_one_and_tells_progress() {
    let text = bundle(9, &signer(1));
    let mut seen = Vec::new();
    let summary = verify_bundle(text.as_bytes(), Known::default(), |done, of| seen.push((done, of))).unwrap();
    assert_eq!((summary.size, summary.origin.as_str()), (9, "log.example"));
    assert_eq!(seen.last(), Some(&(9, 9)));
    assert_eq!(verify(&text).unwrap(), summary);
    assert_eq!(verify(&bundle(0, &signer(1))).unwrap().size, 0);
}

#[test]
fn a_bundle_that_was_copied_as_a_text_is_the_same_bundle() {
    let text = bundle(9, &signer(1));
    for copied in [
        format!("\u{feff}{text}"),
        text.replace('\n', "\r\n"),
        format!("\u{feff}{}", text.replace('\n', "\r\n")),
    ] {
        assert_eq!(verify(&copied).unwrap(), verify(&text).unwrap(), "{:?}", copied.get(..20));
    }
    let inside = edited(|lines| lines[4].insert(0, '\u{feff}'));
    assert!(matches!(verify(&inside), Err(BundleError::Malformed { line: 5, .. })), "only at the beginning");
}

#[test]
fn a_changed_record_is_named_by_its_index() {
    let text = edited(|lines| lines[4] = lines[4].replace("r3", "rX"));
    assert!(matches!(verify(&text), Err(BundleError::Tampered(Tampered::Changed { index: 3 }))));
}

#[test]
fn a_removed_record_is_named_by_its_index() {
    let text = edited(|lines| drop(lines.remove(4)));
    assert!(matches!(verify(&text), Err(BundleError::Tampered(Tampered::Missing { index: 3, found: 4 }))));
    let renumbered = edited(|lines| {
        lines.remove(4);
        for (n, line) in lines.iter_mut().skip(1).enumerate() {
            let at = line.find(',').unwrap();
            *line = format!("{{\"index\":{n}{}", &line[at..]);
        }
    });
    assert!(matches!(verify(&renumbered), Err(BundleError::Tampered(Tampered::Tree { index: 3 }))));
}

#[test]
fn reordered_records_are_named_by_the_first_that_moved() {
    let text = edited(|lines| lines.swap(4, 5));
    assert!(matches!(verify(&text), Err(BundleError::Tampered(Tampered::Missing { index: 3, found: 4 }))));
}

#[test]
fn a_truncated_or_extended_bundle_is_refused() {
    let short = edited(|lines| drop(lines.pop()));
    assert!(matches!(
        verify(&short),
        Err(BundleError::Tampered(Tampered::Truncated { signed: 9, found: 8 }))
    ));
    let long: Vec<String> = bundle(10, &signer(1)).lines().map(str::to_owned).collect();
    let text = edited(|lines| lines.push(long[10].clone()));
    assert!(matches!(verify(&text), Err(BundleError::Tampered(Tampered::Unsigned { index: 9, signed: 9 }))));
}

#[test]
fn a_log_rewritten_with_all_its_hashes_does_not_have_the_signed_root() {
    let mut tree = Frontier::new();
    let (real, _) = stored(9);
    let note = signer(1).sign(9, real.root().unwrap()).unwrap();
    let mut out = BundleWriter::begin(Vec::new(), signer(1).verifier().vkey(), &note, 9).unwrap();
    for n in 0..9 {
        let forged = leaf(if n == 3 { 99 } else { n });
        out.record(n, &forged, &tree.append(leaf_hash(&forged)).unwrap()).unwrap();
    }
    let text = String::from_utf8(out.finish().unwrap()).unwrap();
    assert!(matches!(verify(&text), Err(BundleError::Tampered(Tampered::Root { size: 9, .. }))));
}

#[test]
fn a_bundle_that_a_stranger_signed_does_not_have_the_known_key() {
    let text = bundle(9, &signer(2));
    assert!(verify_bundle(text.as_bytes(), Known::default(), |_, _| {}).is_ok(), "it is whole in itself");
    assert!(matches!(verify(&text), Err(BundleError::OtherKey { .. })));
    // The known key in the header, a stranger's signature on the checkpoint.
    let mixed = text.replace(signer(2).verifier().vkey(), signer(1).verifier().vkey());
    assert!(matches!(verify(&mixed), Err(BundleError::Tampered(Tampered::Checkpoint(_)))));
}

#[test]
fn a_swapped_or_missing_checkpoint_is_refused() {
    let of_five: Vec<String> = bundle(5, &signer(1)).lines().map(str::to_owned).collect();
    let swapped = edited(|lines| lines[0] = of_five[0].clone());
    assert!(matches!(
        verify(&swapped),
        Err(BundleError::Tampered(Tampered::Unsigned { index: 5, signed: 5 }))
    ));
    let header = super::Header {
        format: super::FORMAT.into(),
        vkey: signer(1).verifier().vkey().into(),
        checkpoint: None,
        size: 9,
    };
    let missing = edited(|lines| lines[0] = serde_json::to_string(&header).unwrap());
    assert!(matches!(verify(&missing), Err(BundleError::Tampered(Tampered::NoCheckpoint { size: 9 }))));
}

#[test]
fn an_empty_bundle_needs_the_signature_over_an_empty_log() {
    let vkey = signer(1).verifier().vkey().to_owned();
    let header =
        |checkpoint| super::Header { format: super::FORMAT.into(), vkey: vkey.clone(), checkpoint, size: 0 };
    let line = |header: &super::Header| serde_json::to_string(header).unwrap() + "\n";
    let unsigned = line(&header(None));
    assert!(matches!(verify(&unsigned), Err(BundleError::Tampered(Tampered::NoCheckpoint { size: 0 }))));
    let absent = unsigned.replace("\"checkpoint\":null,", "");
    assert!(matches!(verify(&absent), Err(BundleError::Tampered(Tampered::NoCheckpoint { size: 0 }))));
    let of_nine = header(header_of(9).checkpoint);
    assert!(matches!(
        verify(&line(&of_nine)),
        Err(BundleError::Tampered(Tampered::Truncated { signed: 9, found: 0 }))
    ));
    let empty = header(Some(String::from_utf8(signer(1).first_checkpoint().unwrap()).unwrap()));
    assert_eq!(verify(&line(&empty)).unwrap().size, 0);
}

fn header_of(count: u64) -> super::Header {
    serde_json::from_str(bundle(count, &signer(1)).lines().next().unwrap()).unwrap()
}

#[test]
fn a_header_that_promises_another_number_of_records_is_refused() {
    for said in [0, 8, 10] {
        let text = edited(|lines| lines[0] = lines[0].replace("\"size\":9", &format!("\"size\":{said}")));
        assert!(matches!(verify(&text), Err(BundleError::Size { said: s, found: 9 }) if s == said));
    }
}

#[test]
fn a_bundle_that_does_not_continue_a_kept_checkpoint_is_refused() {
    let kept = |count: u64, by: u64| {
        let (tree, _) = stored(count);
        signer(by).sign(count, tree.root().unwrap()).unwrap()
    };
    let since = |text: &str, note: &[u8]| {
        verify_bundle(text.as_bytes(), Known { vkey: None, since: Some(note) }, |_, _| {})
    };
    let text = bundle(9, &signer(1));
    for size in [0, 1, 4, 9] {
        assert_eq!(since(&text, &kept(size, 1)).unwrap().size, 9, "{size}");
    }
    let older = bundle(5, &signer(1));
    assert!(matches!(since(&older, &kept(9, 1)), Err(BundleError::Tampered(Tampered::History { size: 9 }))));
    let rewritten = signer(1).sign(4, leaf_hash(b"else")).unwrap();
    assert!(matches!(since(&text, &rewritten), Err(BundleError::Tampered(Tampered::History { size: 4 }))));
    // Another log, whole in itself and with a key of its own.
    assert!(matches!(
        since(&bundle(9, &signer(2)), &kept(4, 1)),
        Err(BundleError::Tampered(Tampered::Earlier(_)))
    ));
    assert!(matches!(since(&text, b"junk"), Err(BundleError::Tampered(Tampered::Earlier(_)))));
}

#[test]
fn malformed_bundles_are_refused_with_the_line() {
    for (text, line) in [
        (edited(|lines| lines[0] = lines[0].replace("\"size\"", "\"sizes\"")), 1),
        (edited(|lines| lines[3] = "{}".into()), 4),
        (edited(|lines| lines[3] = lines[3].replace("\"hashes\":[\"", "\"hashes\":[\"!")), 4),
        (edited(|lines| lines[3].insert(1, ' ')).replace("\"index\":2", "\"index\":2,\"index\":2"), 4),
        (bundle(3, &signer(1)).trim_end().to_owned(), 4),
        (edited(|lines| lines[2] = "x".repeat(1 << 20)), 3),
    ] {
        match verify(&text) {
            Err(BundleError::Malformed { line: found, .. }) => assert_eq!(found, line),
            other => panic!("line {line}: {other:?}"),
        }
    }
    for other in ["", "x\n", "{}\n", "{\"format\":1}\n", "\n", "no line end"] {
        assert!(matches!(verify(other), Err(BundleError::NotABundle)), "{other:?}");
    }
    let future = edited(|lines| lines[0] = lines[0].replace("bundle/1", "bundle/2"));
    assert!(matches!(verify(&future), Err(BundleError::Format(_))));
}

#[test]
fn a_log_that_its_own_key_signed_again_does_not_continue_an_earlier_checkpoint() {
    let (tree, rows) = stored(4);
    let (kept, _) = stored(3);
    let verifier = signer(1).verifier().clone();
    let note = signer(1).sign(4, tree.root().unwrap()).unwrap();
    let run = |earlier: Checkpoint| {
        let mut verification = TreeVerification::new().continuing(earlier);
        for (n, (leaf, hashes)) in (0..).zip(&rows) {
            verification.push(n, leaf, hashes).unwrap();
        }
        verification.finish(Some(&note), &verifier)
    };
    let of = |size, root| Checkpoint { origin: "log.example".into(), size, root };
    assert!(run(of(3, kept.root().unwrap())).is_ok());
    assert!(run(of(0, Frontier::new().root().unwrap())).is_ok());
    assert!(run(of(4, tree.root().unwrap())).is_ok());
    assert!(matches!(run(of(3, leaf_hash(b"else"))), Err(Tampered::History { size: 3 })));
    assert!(
        matches!(run(of(5, tree.root().unwrap())), Err(Tampered::History { size: 5 })),
        "the log became shorter"
    );
}
