//! Rules about the project's texts: they name nothing of one machine, and no ticket that a reader cannot
//! open.

use crate::finding::Finding;
use crate::tree::File;

/// Paths that exist on one machine only. Written in halves so that this file passes its own rule.
const MACHINE_PATHS: &[&str] =
    &[concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Us", "ers/"), concat!("../sha", "red")];

/// Words that, before a number, refer to a tracker.
const TRACKER_WORDS: &[&str] = &["issue", "ticket", "pull request", "milestone", "sprint"];

/// Applies every rule to one file.
pub(crate) fn check(file: &File, findings: &mut Vec<Finding>) {
    let document = file.has_extension("md");
    for (number, line) in file.lines() {
        if let Some(path) = MACHINE_PATHS.iter().find(|path| stands_alone(line, path)) {
            findings.push(Finding::error(file, number, format!("{path} exists on one machine only")));
        }
        let text = if document { Some(line) } else { comment(file, line) };
        if let Some(reference) = text.and_then(|text| tracker_reference(text, document)) {
            findings.push(Finding::error(
                file,
                number,
                format!("{reference:?} means nothing to a reader; say what it was about"),
            ));
        }
    }
}

/// Whether `path` begins a path in `line`, not the middle of one: `/var/root/` is another path.
fn stands_alone(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line.get(..at).and_then(|b| b.chars().next_back());
        before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '-' | '_' | '.' | '/' | '}'))
    })
}

fn comment<'a>(file: &File, line: &'a str) -> Option<&'a str> {
    let start = if file.is_rust() || file.has_extension("proto") { "//" } else { "#" };
    line.trim_start().strip_prefix(start)
}

fn tracker_reference(text: &str, document: bool) -> Option<String> {
    let lower = text.to_lowercase();
    for word in TRACKER_WORDS {
        for (at, _) in lower.match_indices(word) {
            let after = lower.get(at + word.len()..).unwrap_or("").trim_start_matches([' ', '#']);
            let separated =
                !lower.get(at + word.len()..).unwrap_or("").starts_with(|c: char| c.is_ascii_digit());
            if separated && after.starts_with(|c: char| c.is_ascii_digit()) {
                let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
                return Some(format!("{word} {digits}"));
            }
        }
    }
    // `#12` in prose. Links to headings and `name#1` have something before the sign.
    document
        .then(|| {
            text.split([' ', '(', '[', ',']).find(|word| {
                word.strip_prefix('#').is_some_and(|rest| {
                    rest.trim_end_matches(['.', ',', ')', ']', ':', ';']).parse::<u32>().is_ok()
                })
            })
        })
        .flatten()
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tree::File;

    fn refused(path: &str, text: &str) -> bool {
        let mut findings = Vec::new();
        check(&File { path: path.to_owned(), text: text.to_owned() }, &mut findings);
        !findings.is_empty()
    }

    #[test]
    fn a_machine_path_is_refused_anywhere() {
        for text in
            [concat!("run /ro", "ot/x"), concat!("`/wo", "rk/main`"), concat!("see ../sha", "red/a.md")]
        {
            assert!(refused("README.md", text), "{text}");
            assert!(refused("crates/a/src/b.rs", text), "{text}");
        }
        assert!(!refused("README.md", "below /var/lib/network/ and https://a.example/team/root/x"));
    }

    #[test]
    fn a_ticket_number_is_refused_in_documents_and_comments() {
        for text in [concat!("see iss", "ue 3"), concat!("Iss", "ue #12"), "fixed in #12.", "(#7)"] {
            assert!(refused("docs/a.md", text), "{text}");
        }
        assert!(refused("crates/a/src/b.rs", concat!("/// For iss", "ue 3.")));
    }

    #[test]
    fn what_only_looks_like_one_is_fine() {
        for text in [
            "# 1 Start",
            "[x](#1-start)",
            "RFC 8693 §4.1",
            "issues tokens for 5 minutes",
            "the issuer 1",
            "name#1",
        ] {
            assert!(!refused("docs/a.md", text), "{text}");
        }
        assert!(!refused("crates/a/src/b.rs", "let colour = \"#123\";"));
    }
}
