//! The name that a client gives itself, as people are shown it.

/// The longest name, in characters.
const MAX_NAME: usize = 64;

/// The name, unless it could look like something else.
pub(crate) fn shown_name(name: String) -> Option<String> {
    let plain = (1..=MAX_NAME).contains(&name.chars().count())
        && name.chars().all(|c| c.is_alphanumeric() || c == ' ' || c.is_ascii_punctuation());
    plain.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::shown_name;

    #[test]
    fn a_name_that_could_look_like_something_else_is_not_shown() {
        for good in ["Notes", "Caf\u{e9} 2.0 (beta)", "\u{65e5}\u{672c}\u{8a9e}", &"x".repeat(64)] {
            assert_eq!(shown_name(good.to_owned()).as_deref(), Some(good));
        }
        for bad in ["", "a\nb", "a\tb", "a\u{202e}b", "a\u{200b}b", "a\u{0}b", &"x".repeat(65)] {
            assert_eq!(shown_name(bad.to_owned()), None, "{bad:?}");
        }
    }
}
