use mandate_core::Timestamp;
use mandate_testkit::clock::SeededEntropy;

use super::{InclusionError, InclusionProof, StoredHashes};
use crate::checkpoint::CheckpointSigner;
use crate::record::{Outcome, Record, RecordKind};
use crate::tree::{Frontier, Hash, leaf_hash, location_of};

struct Rows(Vec<Vec<Hash>>);

impl StoredHashes for Rows {
    fn hash(&self, stored_index: u64) -> Option<Hash> {
        let (record, place) = location_of(stored_index);
        self.0.get(usize::try_from(record).ok()?)?.get(place).copied()
    }
}

fn leaf(n: u64) -> Vec<u8> {
    Record::new(
        format!("r{n}").parse().unwrap(),
        Timestamp::from_secs(n),
        RecordKind::Admin,
        Outcome::Permitted,
        "ok",
    )
    .to_leaf()
    .unwrap()
}

fn log(size: u64) -> (CheckpointSigner, Vec<u8>, Rows) {
    let signer = CheckpointSigner::generate("log.example", &SeededEntropy::new(1)).unwrap().0;
    let mut tree = Frontier::new();
    let rows = (0..size).map(|n| tree.append(leaf_hash(&leaf(n))).unwrap()).collect();
    let note = signer.sign(size, tree.root().unwrap()).unwrap();
    (signer, note, Rows(rows))
}

#[test]
fn every_record_of_every_small_log_is_proven() {
    for size in 1..20 {
        let (signer, note, rows) = log(size);
        for index in 0..size {
            let proof = InclusionProof::build(index, &leaf(index), &note, signer.verifier(), &rows).unwrap();
            assert_eq!(proof.verify(signer.verifier()).unwrap().id.as_str(), format!("r{index}"));
        }
        assert!(InclusionProof::build(size, &leaf(size), &note, signer.verifier(), &rows).is_err());
    }
}

#[test]
fn a_proof_of_another_record_place_path_or_checkpoint_is_refused() {
    let (signer, note, rows) = log(7);
    let good = InclusionProof::build(3, &leaf(3), &note, signer.verifier(), &rows).unwrap();
    let (_, note_of_six, _) = log(6);
    let stranger = CheckpointSigner::generate("log.example", &SeededEntropy::new(2)).unwrap().0;
    let refused = |edit: &dyn Fn(&mut InclusionProof)| {
        let mut proof = good.clone();
        edit(&mut proof);
        proof.verify(signer.verifier())
    };
    let not_included = |r| matches!(r, Err(InclusionError::NotIncluded { .. }));
    assert!(not_included(refused(&|p| p.leaf = String::from_utf8(leaf(4)).unwrap())));
    assert!(not_included(refused(&|p| p.index = 2)));
    assert!(not_included(refused(&|p| p.index = u64::MAX)));
    assert!(not_included(refused(&|p| p.path.swap(0, 1))));
    assert!(not_included(refused(&|p| drop(p.path.pop()))));
    assert!(not_included(refused(&|p| p.path.push("x".into()))));
    assert!(not_included(refused(&|p| p.path = vec![p.path[0].clone(); 10_000])));
    assert!(not_included(refused(&|p| p.checkpoint = String::from_utf8(note_of_six.clone()).unwrap())));
    assert!(matches!(good.verify(stranger.verifier()), Err(InclusionError::Checkpoint(_))));
}
