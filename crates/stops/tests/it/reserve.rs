//! The file's format.

use mandate_files::{Dir, Making};
use mandate_stops::ReserveError;
use mandate_stops::reserve::{BLOCK, MAGIC, Reserve, SIZE, frames};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, proptest};

fn fresh() -> (tempfile::TempDir, Dir, Reserve) {
    let root = tempfile::tempdir().unwrap();
    let dir = Dir::open_or_make(&root.path().join("d"), Making::PRIVATE).unwrap();
    let (reserve, found) = Reserve::open(&dir).unwrap();
    assert!(found.is_empty());
    reserve.allocate(&dir).unwrap();
    (root, dir, reserve)
}

fn contents(dir: &Dir) -> Vec<Vec<u8>> {
    Reserve::open(dir).unwrap().1.into_iter().map(|frame| frame.content).collect()
}

#[test]
fn frames_are_found_in_the_order_in_which_they_were_written_wherever_they_lie() {
    let (_root, dir, mut reserve) = fresh();
    let content = |n: usize| format!("{n}").repeat(n * 100).into_bytes();
    let slots: Vec<_> = (1..=9).map(|n| reserve.write(&content(n)).unwrap()).collect();
    reserve.sync().unwrap();
    assert_eq!(contents(&dir), (1..=9).map(content).collect::<Vec<_>>());
    // The room of those in the middle is used again by later ones, and by a smaller one.
    slots.iter().skip(3).take(3).for_each(|slot| reserve.free(*slot));
    reserve.write(b"later").unwrap();
    let expected: Vec<_> = [1, 2, 3, 7, 8, 9].into_iter().map(content).chain([b"later".to_vec()]).collect();
    assert_eq!(contents(&dir), expected);
    let (mut reserve, _) = Reserve::open(&dir).unwrap();
    reserve.write(b"after a restart").unwrap();
    assert_eq!(contents(&dir).pop().unwrap(), b"after a restart");
    assert_eq!(contents(&dir).len(), 8, "nothing was written over what is in use");
}

#[test]
fn it_never_grows_and_says_when_it_is_full() {
    let (_root, dir, mut reserve) = fresh();
    let content = vec![b'x'; 10 * BLOCK];
    let mut slots = Vec::new();
    let error = loop {
        match reserve.write(&content) {
            Ok(slot) => slots.push(slot),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ReserveError::Full), "{error}");
    assert_eq!(slots.len(), SIZE / (11 * BLOCK));
    assert!(matches!(reserve.write(&vec![0; SIZE]), Err(ReserveError::Full)));
    assert_eq!(std::fs::metadata(dir.entry("stops.reserve")).unwrap().len(), SIZE as u64);
    reserve.free(slots.swap_remove(7));
    reserve.write(&content).unwrap();
    assert_eq!(reserve.used(), slots.len() * 11 * BLOCK + 11 * BLOCK);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_fault(number in any::<u64>(), length in 0..2560u32, rest in vec(any::<u8>(), 0..4 * BLOCK)) {
        let bytes = [&MAGIC[..], &number.to_le_bytes(), &length.to_le_bytes(), &rest].concat();
        assert!(frames(&bytes).is_empty());
    }
}

proptest! {
    // Each case writes a whole reserve.
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn one_changed_byte_makes_a_frame_count_for_nothing(content in vec(any::<u8>(), 0..2 * BLOCK), at in any::<usize>(), by in 1..=255u8) {
        let (_root, dir, mut reserve) = fresh();
        reserve.write(&content).unwrap();
        let mut bytes = std::fs::read(dir.entry("stops.reserve")).unwrap();
        let at = at % (56 + content.len());
        bytes[at] ^= by;
        assert!(frames(&bytes).is_empty());
    }
}
