use proptest::prelude::*;
use tlog_tiles::{node_hash, stored_hash_index};

use super::{Frontier, Hash, frontier_indexes, leaf_hash, location_of};

/// RFC 6962 §2.1, as written there.
fn by_the_rfc(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => tlog_tiles::EMPTY_HASH,
        [one] => *one,
        many => {
            let (left, right) = many.split_at(1 << (many.len() - 1).ilog2());
            node_hash(by_the_rfc(left), by_the_rfc(right))
        }
    }
}

#[test]
fn has_the_roots_of_the_certificate_transparency_test_vectors() {
    let leaves: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut tree = Frontier::new();
    for (size, root) in roots.iter().enumerate() {
        assert_eq!(base16ct::lower::encode_string(&tree.root().unwrap().0), *root, "{size} leaves");
        if let Some(leaf) = leaves.get(size) {
            tree.append(leaf_hash(leaf)).unwrap();
        }
    }
}

#[test]
fn a_tree_is_continued_from_what_was_stored() {
    let mut tree = Frontier::new();
    let mut stored: Vec<Vec<Hash>> = Vec::new();
    let mut leaves = Vec::new();
    for n in 0u32..300 {
        let read = |at: &u64| {
            let (record, place) = location_of(*at);
            stored[usize::try_from(record).unwrap()][place]
        };
        let hashes: Vec<Hash> = frontier_indexes(u64::from(n)).iter().map(read).collect();
        assert_eq!(Frontier::from_hashes(u64::from(n), &hashes).unwrap(), tree, "{n}");
        assert!(
            Frontier::from_hashes(u64::from(n) + 1, &hashes).is_err()
                || frontier_indexes(u64::from(n) + 1).len() == hashes.len()
        );
        assert_eq!(tree.root().unwrap(), by_the_rfc(&leaves), "{n}");
        leaves.push(leaf_hash(&n.to_be_bytes()));
        stored.push(tree.append(leaf_hash(&n.to_be_bytes())).unwrap());
    }
}

proptest! {
    #[test]
    fn every_stored_hash_is_found_where_it_was_put(level in 0u8..20, n in 0u64..100_000) {
        let (record, place) = location_of(stored_hash_index(level, n));
        prop_assert_eq!(place, usize::from(level));
        prop_assert_eq!(record, ((n + 1) << level) - 1);
    }
}
