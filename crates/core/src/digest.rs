//! SHA-256 (FIPS 180-4), computed by `aws-lc-rs`, like all other cryptography here.

use aws_lc_rs::digest::{Context, SHA256};

/// A SHA-256 that is being computed, piece by piece.
#[derive(Clone)]
pub struct Sha256(Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Sha256 {
    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes.
    pub fn finish(self) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.0.finish().as_ref());
        digest
    }
}

/// The digest of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::default();
    digest.update(bytes);
    digest.finish()
}

/// The digest of these parts in this order. Each follows its length in eight bytes, so that no two lists give
/// the same bytes.
pub fn sha256_of_list<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut digest = Sha256::default();
    for part in parts {
        digest.update(&(part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finish()
}

/// A digest from its 64 hexadecimal digits in lower case. No other spelling is accepted: texts with digests
/// are compared as texts.
pub fn sha256_from_hex(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    let decoded = base16ct::lower::decode(text, &mut digest).ok()?;
    (decoded.len() == 32).then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::{Sha256, sha256, sha256_from_hex, sha256_of_list};

    /// FIPS 180-4's example of one block.
    const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn agrees_with_the_standard_in_one_piece_and_in_many() {
        assert_eq!(base16ct::lower::encode_string(&sha256(b"abc")), OF_ABC);
        let mut digest = Sha256::default();
        for piece in [&b"a"[..], b"", b"bc"] {
            digest.update(piece);
        }
        assert_eq!(Some(digest.finish()), sha256_from_hex(OF_ABC));
    }

    #[test]
    fn lists_that_differ_only_in_where_a_part_ends_have_different_digests() {
        let lists: [&[&[u8]]; 5] = [&[b"a", b"bc"], &[b"ab", b"c"], &[b"abc"], &[b"abc", b""], &[]];
        for (at, one) in lists.iter().enumerate() {
            for other in lists.iter().skip(at + 1) {
                assert_ne!(sha256_of_list(one.iter().copied()), sha256_of_list(other.iter().copied()));
            }
        }
        assert_eq!(sha256_of_list([&b"a"[..]]), sha256(b"\0\0\0\0\0\0\0\x01a"));
    }

    #[test]
    fn only_64_digits_in_lower_case_are_a_digest() {
        for text in [
            "",
            "ab",
            &OF_ABC[1..],
            &OF_ABC[2..],
            &format!("{OF_ABC}00"),
            &OF_ABC.to_uppercase(),
            &OF_ABC.replace('b', "g"),
        ] {
            assert_eq!(sha256_from_hex(text), None, "{text}");
        }
    }
}
