//! A doc comment says more than the name that it stands on: a shape, a unit, a bound or a source.

use crate::finding::Finding;
use crate::tree::File;

/// A doc comment of at most so many words only repeats the name of its item.
const FEW_WORDS: usize = 2;

/// What a short doc comment may be: code, a link, or the section of a standard.
const SAYS_SOMETHING: &[char] = &['`', '[', '§'];

/// Where doc comments are the help texts of the command line.
const HELP_TEXTS: &[&str] = &["crates/mandate/src/arguments.rs", "crates/mandate/src/arguments/"];

/// Applies the rule to one file.
pub(crate) fn check(file: &File, findings: &mut Vec<Finding>) {
    if !file.is_rust() || !file.hand_written() || HELP_TEXTS.iter().any(|path| file.path.starts_with(path)) {
        return;
    }
    let mut lines = file.lines().peekable();
    while let Some((number, line)) = lines.next() {
        let Some(first) = doc_text(line) else { continue };
        let mut more = false;
        while lines.next_if(|(_, line)| doc_text(line).is_some()).is_some() {
            more = true;
        }
        if !more && first.split_whitespace().count() <= FEW_WORDS && !first.contains(SAYS_SOMETHING) {
            findings.push(Finding::error(
                file,
                number,
                format!(
                    "{:?} only repeats a name; say a shape, a unit, a bound or a source, or nothing",
                    first.trim()
                ),
            ));
        }
    }
}

/// The text of a line of a doc comment.
fn doc_text(line: &str) -> Option<&str> {
    // Four slashes make an ordinary comment.
    line.trim_start().strip_prefix("///").filter(|text| !text.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tree::File;

    fn found(path: &str, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        check(&File { path: path.to_owned(), text: text.to_owned() }, &mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_doc_comment_of_at_most_two_words_is_refused() {
        for comment in ["/// Why.", "/// The file.", "    /// Banned."] {
            let findings = found("crates/a/src/b.rs", &format!("use c;\n\n{comment}\npub path: PathBuf,\n"));
            assert_eq!(findings.len(), 1, "{comment}: {findings:?}");
            assert!(
                findings.iter().all(|finding| finding.starts_with("error: crates/a/src/b.rs:3: ")),
                "{findings:?}"
            );
        }
    }

    #[test]
    fn a_doc_comment_that_says_something_is_fine() {
        for comment in [
            "/// The file's mode.",
            "/// `disable`.",
            "/// [`Terms::issuer`].",
            "/// RFC6749 §5.2.",
            "/// First line\n/// and another.",
            "/// Panics\n///\n/// When it is empty.",
            "// Why.",
            "//// Why.",
            "//! A crate.",
        ] {
            assert_eq!(
                found("crates/a/src/b.rs", &format!("{comment}\npub struct A;\n")),
                [""; 0],
                "{comment}"
            );
        }
    }

    #[test]
    fn help_texts_and_generated_code_are_left_alone() {
        for path in [
            "crates/mandate/src/arguments/audit.rs",
            "crates/mandate/src/arguments.rs",
            "crates/api/src/generated/node.rs",
            "docs/src/node.md",
        ] {
            assert_eq!(found(path, "/// Revocations\nRevoke,\n"), [""; 0], "{path}");
        }
    }
}
