//! One form for an ES256 signature.
//!
//! If (r, s) signs a message, then (r, n − s) does too: anybody can turn one into the other without the key.
//! Our own tokens have the smaller s and no other is accepted, so that a token of ours has exactly one form.
//! Foreign signers do not guarantee that, and RFC 7518 §3.4 does not require it.

/// The order n of P-256 (FIPS 186-5, SP 800-186 §3.2.1.3), big-endian.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
    0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// ⌊n / 2⌋, big-endian.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xde,
    0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

/// Whether a 64-byte ES256 signature has the smaller s.
pub(crate) fn is_low(signature: &[u8]) -> bool {
    signature.len() == 64 && signature.get(32..).is_some_and(|s| s <= HALF_ORDER.as_slice())
}

/// Replaces s by n − s where that is smaller. Anything but 64 bytes stays as it is.
pub(crate) fn make_low(signature: &mut [u8]) {
    if signature.len() != 64 || is_low(signature) {
        return;
    }
    if let Some(s) = signature.get_mut(32..) {
        let mut borrow = 0u16;
        for (digit, order) in s.iter_mut().zip(ORDER.iter()).rev() {
            let difference = 0x100 + u16::from(*order) - u16::from(*digit) - borrow;
            let [high, low] = difference.to_be_bytes();
            *digit = low;
            borrow = u16::from(high == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HALF_ORDER, ORDER, is_low, make_low};

    #[test]
    fn turns_each_high_s_into_its_low_twin() {
        let mut signature = [7u8; 64];
        signature[32..].copy_from_slice(&HALF_ORDER);
        assert!(is_low(&signature));
        make_low(&mut signature);
        assert_eq!(signature[32..], HALF_ORDER, "the boundary is low");
        // n − (⌊n/2⌋ + 1) = ⌊n/2⌋ because n is odd.
        signature[63] += 1;
        assert!(!is_low(&signature));
        make_low(&mut signature);
        assert_eq!(signature[32..], HALF_ORDER);
        signature[32..].copy_from_slice(&ORDER);
        signature[63] -= 1;
        make_low(&mut signature);
        let mut one = [0u8; 32];
        one[31] = 1;
        assert_eq!(signature[32..], one);
        assert_eq!(signature[..32], [7u8; 32], "r stays");
    }
}
