//! Rules about the tests against attacks: the page that lists them names only tests that exist, and no test's
//! name has a code that is explained nowhere.

use std::collections::BTreeSet;

use crate::finding::Finding;
use crate::tree::File;

/// The page that names the tests against each attack.
const PAGE: &str = "docs/src/attacks.md";

/// Names of protocols that have the form of a code.
const PROTOCOLS: &[&str] = &["h2"];

struct Test<'a> {
    /// Its crate, by the folder in `crates/`.
    folder: &'a str,
    name: &'a str,
    file: &'a File,
    line: usize,
}

/// Applies the rules to all files together.
pub(crate) fn check(files: &[File], findings: &mut Vec<Finding>) {
    let tests: Vec<Test<'_>> = files.iter().filter(|file| file.is_rust()).flat_map(tests_in).collect();
    for test in &tests {
        if let Some(code) = code_in(test.name) {
            findings.push(Finding::error(
                test.file,
                test.line,
                format!("{code} in a test's name means nothing to a reader; name the behaviour, and list the attack in {PAGE}"),
            ));
        }
    }
    let known: BTreeSet<(&str, &str)> = tests.iter().map(|test| (test.folder, test.name)).collect();
    for page in files.iter().filter(|file| file.path == PAGE) {
        for (line, cell) in rows(page) {
            let mut names = cell.split('`').skip(1).step_by(2).peekable();
            if names.peek().is_none() {
                findings.push(Finding::error(page, line, "the row names no test".to_owned()));
            }
            for name in names {
                if !name.split_once("::").is_some_and(|test| known.contains(&test)) {
                    findings.push(Finding::error(
                        page,
                        line,
                        format!("there is no test {name}; write crate::test"),
                    ));
                }
            }
        }
    }
}

/// The tests of a file in `crates/`.
fn tests_in(file: &File) -> Vec<Test<'_>> {
    let Some((folder, _)) = file.path.strip_prefix("crates/").and_then(|path| path.split_once('/')) else {
        return Vec::new();
    };
    let mut tests = Vec::new();
    let mut announced = false;
    for (number, line) in file.lines() {
        let line_start = line.trim_start();
        if ["#[test]", "#[tokio::test"].iter().any(|attribute| line_start.starts_with(attribute)) {
            announced = true;
        } else if let Some(name) = function(line_start).filter(|_| announced) {
            // Other attributes and comments may stand between the attribute and the function.
            announced = false;
            tests.push(Test { folder, name, file, line: number });
        }
    }
    tests
}

/// The name of the function that a line defines.
fn function(line: &str) -> Option<&str> {
    let signature = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
    signature.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

/// The first word of a name that is one letter and a number of one or two digits.
fn code_in(name: &str) -> Option<&str> {
    name.split('_').find(|word| {
        let mut characters = word.chars();
        let letter = characters.next().is_some_and(|first| first.is_ascii_lowercase());
        let number = characters.as_str();
        letter
            && matches!(number.len(), 1 | 2)
            && number.bytes().all(|digit| digit.is_ascii_digit())
            && !PROTOCOLS.contains(word)
    })
}

/// The last cell of each row of the page's tables, with the number of its line. Heads are not rows.
fn rows(page: &File) -> impl Iterator<Item = (usize, &str)> {
    page.lines().filter_map(|(number, line)| {
        let (_, cell) = line.strip_prefix('|')?.strip_suffix('|')?.rsplit_once('|')?;
        let head = cell.trim() == "tests" || cell.starts_with("---");
        (!head).then_some((number, cell))
    })
}

#[cfg(test)]
mod tests {
    use super::{PAGE, check, code_in, rows};
    use crate::finding::Finding;
    use crate::tree::{self, File};

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    fn findings(files: &[File]) -> Vec<String> {
        let mut findings: Vec<Finding> = Vec::new();
        check(files, &mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

    /// The page with one row, beside two crates with a test each.
    fn with_row(row: &str) -> Vec<File> {
        vec![
            file("crates/a/src/b.rs", "#[test]\nfn scope_never_grows() {}\n\nfn no_test() {}\n"),
            file(
                "crates/c/tests/it/d.rs",
                "#[tokio::test(flavor = \"multi_thread\")]\n#[cfg(unix)]\nasync fn replayed() {}\n",
            ),
            file(PAGE, &format!("# Attacks\n\n| attack | tests |\n|---|---|\n{row}\n")),
        ]
    }

    #[test]
    fn a_row_names_tests_that_exist_in_the_crate() {
        for row in [
            "| more scopes, `scope` | `a::scope_never_grows` |",
            "| both | `a::scope_never_grows`, `c::replayed` |",
        ] {
            assert_eq!(findings(&with_row(row)), Vec::<String>::new(), "{row}");
        }
        for (row, says) in [
            ("| nothing |  |", "names no test"),
            ("| only words | see the tests |", "names no test"),
            ("| renamed | `a::scopes_never_grow` |", "no test a::scopes_never_grow;"),
            ("| one of two | `c::replayed`, `c::gone` |", "no test c::gone;"),
            ("| of another crate | `c::scope_never_grows` |", "no test c::scope_never_grows;"),
            ("| without its crate | `replayed` |", "no test replayed;"),
            ("| a function | `a::no_test` |", "no test a::no_test;"),
        ] {
            let found = findings(&with_row(row));
            assert!(
                matches!(&found[..], [one] if one.starts_with(&format!("error: {PAGE}:5: ")) && one.contains(says)),
                "{row}: {found:?}"
            );
        }
    }

    #[test]
    fn rows_of_other_pages_are_not_read() {
        assert_eq!(
            findings(&[file("docs/src/limits.md", "| attack | tests |\n|---|---|\n| x | `a::gone` |\n")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_code_in_the_name_of_a_test_is_refused() {
        for name in ["a7_a_chain_is_not_cut", "refuses_each_trick_of_z12", "the_k3_rule"] {
            let found =
                findings(&[file("crates/a/src/b.rs", &format!("\n    #[test]\n    fn {name}() {{}}\n"))]);
            assert!(
                matches!(&found[..], [one] if one.starts_with("error: crates/a/src/b.rs:3: ")),
                "{name}: {found:?}"
            );
        }
        let property = "proptest! {\n    #[test]\n    /// Never.\n    fn a7_never(x in 0..9) {}\n}\n";
        assert_eq!(findings(&[file("crates/a/src/b.rs", property)]).len(), 1);
        assert_eq!(findings(&[file("crates/a/src/b.rs", "fn a7_is_no_test() {}\n")]), Vec::<String>::new());
    }

    #[test]
    fn names_of_protocols_and_algorithms_are_no_codes() {
        for name in [
            "h2_accepts_it",
            "only_s256_and_always",
            "own_tokens_are_es256",
            "rfc_8693_figure_6",
            "a_b_c",
            "after_kill_9",
            "ipv6",
        ] {
            assert_eq!(code_in(name), None, "{name}");
        }
    }

    #[test]
    fn the_page_is_there_and_its_rows_are_read() {
        let files = tree::files(crate::root()).unwrap();
        let page = files.iter().find(|file| file.path == PAGE).unwrap();
        assert!(rows(page).count() >= 60, "{}", rows(page).count());
    }
}
