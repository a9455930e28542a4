//! Text as people's programs write it.
//!
//! Editors and shells of other systems put a byte order mark in front (U+FEFF, Unicode §23.8), and end lines
//! with CR LF. Neither is part of the text: a password with an invisible character in front would never
//! match.

use std::io::{self, BufRead, BufReader, Read};

use mandate_core::Secret;
use zeroize::Zeroizing;

/// The byte order mark in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// What is wrong with a text. Never says what the text is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// It begins with a byte order mark of UTF-16 or UTF-32.
    #[error("it is UTF-16 or UTF-32 text; save it as UTF-8")]
    Wide,
    /// Some bytes are not UTF-8.
    #[error("it is not UTF-8 text")]
    NotUtf8,
    /// The secret has no characters: its line is empty.
    #[error("it is empty")]
    Empty,
    /// It is longer than any valid text of its kind.
    #[error("it is longer than {0} bytes")]
    TooLong(u64),
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// The bytes behind a byte order mark, if there is one.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

/// A text without its byte order mark.
pub fn from_bytes(mut bytes: Vec<u8>) -> Result<String, TextError> {
    if is_wide(&bytes) {
        return Err(TextError::Wide);
    }
    if bytes.starts_with(MARK) {
        bytes.drain(..MARK.len());
    }
    String::from_utf8(bytes).map_err(|_| TextError::NotUtf8)
}

/// Reads a text to its end, `limit` bytes at most.
pub fn read(from: impl Read, limit: u64) -> Result<String, TextError> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(TextError::TooLong(limit)) } else { from_bytes(bytes) }
}

/// A secret of one line: the first line, without byte order mark and line end, and with its spaces. Later
/// lines are not part of it.
pub fn secret_line(from: impl Read, limit: u64) -> Result<Secret, TextError> {
    // One allocation, which is wiped: a buffer that grew would leave copies behind.
    let room = usize::try_from(limit).unwrap_or(0).saturating_add(8);
    let mut line = Zeroizing::new(Vec::with_capacity(room));
    BufReader::with_capacity(1, from).take(limit + 6).read_until(b'\n', &mut line)?;
    secret_of_line(&line, limit)
}

/// The secret in what was read already, as [`secret_line`].
pub fn secret_of_line(bytes: &[u8], limit: u64) -> Result<Secret, TextError> {
    if is_wide(bytes) {
        return Err(TextError::Wide);
    }
    let line = without_mark(bytes).split(|byte| *byte == b'\n').next().unwrap_or_default();
    let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
    let line = line.get(..end).unwrap_or_default();
    if line.len() as u64 > limit {
        return Err(TextError::TooLong(limit));
    }
    match std::str::from_utf8(line) {
        Err(_) => Err(TextError::NotUtf8),
        Ok("") => Err(TextError::Empty),
        Ok(_) => Ok(Secret::new(line)),
    }
}

/// Whether it begins with the byte order mark of UTF-16 or UTF-32, in either order. None of them begins UTF-8
/// text.
fn is_wide(bytes: &[u8]) -> bool {
    [&b"\xff\xfe"[..], b"\xfe\xff", b"\0\0\xfe\xff"].iter().any(|mark| bytes.starts_with(mark))
}

#[cfg(test)]
mod tests {
    use super::{TextError, from_bytes, read, secret_line, secret_of_line, without_mark};
    use proptest::prelude::*;

    #[test]
    fn a_secret_is_the_same_with_a_byte_order_mark_and_with_any_line_end() {
        for text in [
            &b"pass word"[..],
            b"pass word\n",
            b"pass word\r\n",
            b"\xef\xbb\xbfpass word",
            b"\xef\xbb\xbfpass word\r\n",
            b"pass word\nsecond\n",
        ] {
            assert_eq!(secret_line(text, 64).unwrap().expose_secret(), b"pass word", "{text:?}");
        }
        assert_eq!(
            secret_line(&b" p\xc3\xa4ss \r\n"[..], 64).unwrap().expose_secret(),
            b" p\xc3\xa4ss ",
            "spaces belong to it"
        );
    }

    #[test]
    fn what_is_no_secret_is_refused_without_showing_it() {
        for (bad, says) in [
            (&b""[..], "empty"),
            (b"\n", "empty"),
            (b"\xef\xbb\xbf\r\n", "empty"),
            (b"hunter2\xff\n", "UTF-8"),
            (b"\xff\xfeh\0u\0", "UTF-16"),
            (b"\xfe\xff\0h\0u", "UTF-16"),
            (b"0123456789abcdef0", "longer than 16"),
        ] {
            let error = secret_line(bad, 16).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("hunter2"), "{bad:?}: {error}");
        }
        assert!(
            secret_line(&b"\xef\xbb\xbf0123456789abcdef\r\n"[..], 16).is_ok(),
            "the bound is on the secret itself"
        );
    }

    #[test]
    fn a_text_loses_its_mark_and_nothing_else() {
        assert_eq!(read(&b"\xef\xbb\xbfa\r\nb\n"[..], 64).unwrap(), "a\r\nb\n");
        assert_eq!(
            read(&b"a \xef\xbb\xbf b"[..], 64).unwrap(),
            "a \u{feff} b",
            "a mark in the middle is a character"
        );
        assert!(matches!(read(&b"12345"[..], 4), Err(TextError::TooLong(4))));
        assert_eq!(without_mark(b"\xef\xbb\xbf\xef\xbb\xbfa"), b"\xef\xbb\xbfa", "one mark, not two");
    }

    proptest! {
        #[test]
        fn a_mark_never_changes_what_is_read(text in ".{0,40}") {
            prop_assume!(!text.starts_with('\u{feff}'));
            let marked = [super::MARK, text.as_bytes()].concat();
            prop_assert_eq!(from_bytes(marked.clone()).unwrap(), text.clone());
            let (plain, marked) = (secret_of_line(text.as_bytes(), 256), secret_of_line(&marked, 256));
            prop_assert_eq!(plain.ok(), marked.ok());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (secret_line(&bytes[..], 16), from_bytes(bytes.clone()));
        }
    }
}
