//! SHA-256 digests as lower-case hexadecimal text, the only spelling that is accepted: selectors compare as text.

use aws_lc_rs::digest::{SHA256, digest};

/// The SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    from_digest(&digest(&SHA256, bytes))
}

/// A finished SHA-256 digest as an array.
pub(crate) fn from_digest(digest: &aws_lc_rs::digest::Digest) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    out
}

/// 64 lower-case hexadecimal digits as a digest.
pub(crate) fn decode_sha256(text: &str) -> Option<[u8; 32]> {
    let lower = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if text.len() != 64 || !lower {
        return None;
    }
    let mut out = [0; 32];
    for (at, to) in out.iter_mut().enumerate() {
        *to = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(out)
}
