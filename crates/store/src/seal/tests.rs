use std::sync::Arc;

use mandate_core::Secret;
use mandate_testkit::clock::SeededEntropy;

use super::{SealedPlace, Sealer};

fn sealer(key: u8) -> Sealer {
    Sealer::new(&Secret::new([key; 32]), Arc::new(SeededEntropy::new(1))).unwrap()
}

const HERE: SealedPlace<'static> = SealedPlace { table: "keys", row: &[b"signing", b"k1"], column: "sealed" };

#[test]
fn opens_only_where_it_was_sealed_and_with_the_same_key() {
    let sealed = sealer(1).seal(HERE, b"secret").unwrap();
    assert_eq!(sealer(1).open(HERE, &sealed).unwrap().expose_secret(), b"secret");
    assert!(sealer(2).open(HERE, &sealed).is_err(), "another key");
    for (what, place) in [
        ("another table", SealedPlace { table: "codes", ..HERE }),
        ("another row", SealedPlace { row: &[b"signing", b"k2"], ..HERE }),
        ("a row cut elsewhere", SealedPlace { row: &[b"signingk", b"1"], ..HERE }),
        ("a row of one part", SealedPlace { row: &[b"signingk1"], ..HERE }),
        ("another column", SealedPlace { column: "public", ..HERE }),
        ("a column cut elsewhere", SealedPlace { row: &[b"signing", b"k1s"], column: "ealed", ..HERE }),
    ] {
        assert!(sealer(1).open(place, &sealed).is_err(), "{what}");
    }
}

#[test]
fn any_changed_byte_is_noticed() {
    let sealed = sealer(1).seal(HERE, b"secret").unwrap();
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(sealer(1).open(HERE, &changed).is_err(), "byte {at}");
        assert!(sealer(1).open(HERE, &sealed[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn one_value_sealed_twice_looks_different_and_neither_shows_it() {
    let sealer = sealer(1);
    let (one, two) = (sealer.seal(HERE, b"secret").unwrap(), sealer.seal(HERE, b"secret").unwrap());
    assert_ne!(one, two);
    assert!(!one.windows(6).any(|w| w == b"secret"));
    assert_eq!(format!("{sealer:?}"), "Sealer(redacted)");
}
