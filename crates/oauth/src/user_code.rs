//! The code that a person copies from a device to a browser (RFC 8628 §6.1).

use std::fmt;

use mandate_core::digest::sha256_of_list;
use mandate_store::device_requests::UserCodeHash;

/// The letters of a code: no vowels, so that they make no words.
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// How many letters a code has: 20^8 codes, so 34.5 bits. `docs/src/device-code.md` says why that is enough.
const LETTERS: usize = 8;
/// Below this, each letter has as many bytes as every other.
const FAIR: u8 = 240;

/// A code of eight letters. Who knows it may answer the device, so it is in no `Debug` text.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct UserCode([u8; LETTERS]);

impl UserCode {
    /// A new code. `random`: each call gives other bytes.
    pub(crate) fn generate(random: impl Fn() -> [u8; 32]) -> Self {
        let bytes = std::iter::repeat_with(random).flatten().filter(|byte| *byte < FAIR);
        let mut letters = bytes.filter_map(|byte| ALPHABET.get(usize::from(byte) % ALPHABET.len()).copied());
        Self(std::array::from_fn(|_| letters.next().unwrap_or_default()))
    }

    /// The code that a person typed: case, and every character that is no letter of a code, are ignored, as RFC
    /// 8628 §6.1 recommends. `None` if it has more or fewer letters than a code.
    pub(crate) fn typed(text: &str) -> Option<Self> {
        let upper = text.bytes().map(|byte| byte.to_ascii_uppercase());
        let mut letters = upper.filter(|byte| ALPHABET.contains(byte));
        let mut code = [0; LETTERS];
        for place in &mut code {
            *place = letters.next()?;
        }
        letters.next().is_none().then_some(Self(code))
    }

    /// The digest under which its device is kept.
    pub(crate) fn hash(&self) -> UserCodeHash {
        sha256_of_list([b"mandate user code".as_slice(), &self.0])
    }
}

impl fmt::Display for UserCode {
    /// In two groups, as a device shows it: `WDJB-MJHT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, letter) in self.0.iter().enumerate() {
            if at == LETTERS / 2 {
                f.write_str("-")?;
            }
            write!(f, "{}", char::from(*letter))?;
        }
        Ok(())
    }
}

impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCode(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use super::{ALPHABET, UserCode};

    #[test]
    fn what_a_person_types_is_read_without_case_and_punctuation() {
        let code = UserCode::typed("WDJB-MJHT").unwrap();
        for typed in
            ["wdjbmjht", " wdjb mjht ", "W.D.J.B/M\u{2011}J_H T", "WDJB\u{2014}MJHT\n", "w-d-j-b-m-j-h-t"]
        {
            assert_eq!(UserCode::typed(typed), Some(code.clone()), "{typed}");
        }
        for other in ["", "WDJB-MJH", "WDJB-MJHTB", "1234-5678", "AEIOU-AEIOU", "WDJB-MJHV"] {
            assert_ne!(UserCode::typed(other), Some(code.clone()), "{other}");
        }
        assert_eq!(
            (code.to_string().as_str(), format!("{code:?}").as_str()),
            ("WDJB-MJHT", "UserCode(redacted)")
        );
    }

    #[test]
    fn every_letter_is_as_likely_as_every_other() {
        // Each byte that counts makes one letter eight times.
        let mut counts = BTreeMap::new();
        for byte in 0..240 {
            let code = UserCode::generate(|| [byte; 32]).to_string();
            for letter in code.bytes().filter(|letter| *letter != b'-') {
                *counts.entry(letter).or_insert(0) += 1;
            }
        }
        assert_eq!(counts.keys().copied().collect::<Vec<_>>(), ALPHABET);
        assert!(counts.values().all(|count| *count == 240 / 20 * 8), "{counts:?}");
        let first = Cell::new(true);
        let random = || [if first.replace(false) { 240 } else { 0 }; 32];
        assert_eq!(UserCode::generate(random).to_string(), "BBBB-BBBB", "the bytes that are left make none");
    }

    #[test]
    fn two_codes_have_two_digests() {
        let hash = |text: &str| UserCode::typed(text).unwrap().hash();
        assert_eq!(hash("WDJB-MJHT"), hash("wdjbmjht"));
        assert_ne!(hash("WDJB-MJHT"), hash("WDJB-MJHV"));
    }
}
