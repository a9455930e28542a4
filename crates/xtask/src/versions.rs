//! A rule about the book: what it says was tried, in which version, is what the tests are built with or
//! install.

use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::finding::Finding;
use crate::tree::File;

/// The titles of columns that make a table one about programs of other authors.
const TITLES: &[&str] = &["tested client", "version"];

/// A library in the version that the tests use.
#[derive(Debug)]
pub(crate) struct Pinned {
    /// What a row of the book begins with if it is about this language alone.
    language: &'static str,
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct CargoLock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct NodeLock {
    packages: Map<String, Value>,
}

/// Every library that a lock file or a list of requirements pins.
pub(crate) fn pinned(root: &Path) -> io::Result<Vec<Pinned>> {
    let read = |path: &str| fs::read_to_string(root.join(path));
    let rust: CargoLock = toml::from_str(&read("Cargo.lock")?).map_err(io::Error::other)?;
    let node: NodeLock = serde_json::from_str(&read("crates/testkit/node-clients/package-lock.json")?)?;
    let python = read("crates/testkit/python-clients/requirements.txt")?;
    let go = read("crates/testkit/go-clients/go.mod")?;

    let mut pinned: Vec<Pinned> = rust
        .package
        .into_iter()
        .map(|Package { name, version }| Pinned { language: "Rust", name, version })
        .collect();
    pinned.extend(node.packages.iter().filter_map(|(path, about)| {
        let (_, name) = path.rsplit_once("node_modules/")?;
        Some(Pinned {
            language: "JavaScript",
            name: name.to_owned(),
            version: about.get("version")?.as_str()?.to_owned(),
        })
    }));
    pinned.extend(python.lines().filter_map(|line| {
        let (name, version) = line.trim().split_once("==")?;
        // `PyJWT[crypto]` is PyJWT with more.
        let name = name.split('[').next().unwrap_or(name);
        Some(Pinned { language: "Python", name: name.to_owned(), version: version.to_owned() })
    }));
    pinned.extend(go_modules(&go).map(|(name, version)| Pinned {
        language: "Go",
        name: name.to_owned(),
        version: version.to_owned(),
    }));
    Ok(pinned)
}

/// The modules that a `go.mod` asks for itself, with their versions.
fn go_modules(file: &str) -> impl Iterator<Item = (&str, &str)> {
    let direct = file.lines().filter(|line| !line.contains("// indirect"));
    direct.filter_map(|line| line.trim().split_once(" v"))
}

/// Applies the rule to one file.
pub(crate) fn check(pinned: &[Pinned], file: &File, findings: &mut Vec<Finding>) {
    if !file.path.starts_with("docs/src/") || !file.has_extension("md") {
        return;
    }
    let (mut in_table, mut applies) = (false, false);
    for (number, line) in file.lines() {
        if !line.starts_with('|') {
            in_table = false;
            continue;
        }
        if !in_table {
            in_table = true;
            applies = line.split('|').any(|title| TITLES.contains(&title.trim()));
        }
        for (name, version) in claims(line).into_iter().filter(|_| applies) {
            let others = pinned.iter().filter(|one| one.name == name && speaks_of(line, one.language));
            let versions: Vec<&str> = others.map(|one| one.version.as_str()).collect();
            if !versions.iter().any(|one| is_the_version(one, version)) {
                let used = if versions.is_empty() { "none".to_owned() } else { versions.join(", ") };
                findings.push(Finding::error(
                    file,
                    number,
                    format!("{name} {version} is not tried: the tests use {used}"),
                ));
            }
        }
    }
}

/// Every `name` of a row with the version behind it, in the same cell or at the start of the next.
fn claims(row: &str) -> Vec<(&str, &str)> {
    let parts: Vec<&str> = row.split('`').collect();
    let pairs = parts.windows(2).skip(1).step_by(2);
    pairs
        .filter_map(|pair| {
            let &[name, after] = pair else { return None };
            let after = after.trim_start_matches([' ', '|']);
            // With what marks a prerelease, such as 0.2.0-alpha.1.
            let version = after.split(|c: char| !c.is_ascii_alphanumeric() && !".-".contains(c)).next()?;
            let version = version.trim_end_matches(['.', '-']);
            let is_version = version.starts_with(|c: char| c.is_ascii_digit()) && version.contains('.');
            is_version.then_some((name, version))
        })
        .collect()
}

/// Whether a row is about this language: it names it at its start, or names none.
fn speaks_of(row: &str, language: &str) -> bool {
    let start = row.trim_start_matches(['|', ' ']).split('`').next().unwrap_or_default();
    start.split_once(':').is_none_or(|(named, _)| named == language)
}

/// Whether `said` is the version, or its first numbers.
fn is_the_version(version: &str, said: &str) -> bool {
    version.strip_prefix(said).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::{Pinned, check, claims, go_modules, pinned};
    use crate::tree::File;

    fn found(table: &str) -> Vec<String> {
        let pinned =
            [("Rust", "spiffe", "0.19.2"), ("Python", "spiffe", "0.3.2"), ("Python", "grpcio", "1.85.3")];
        let pinned = pinned.map(|(language, name, version)| Pinned {
            language,
            name: name.to_owned(),
            version: version.to_owned(),
        });
        let mut findings = Vec::new();
        check(&pinned, &File { path: "docs/src/node.md".to_owned(), text: table.to_owned() }, &mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_version_that_the_tests_do_not_use_is_refused() {
        let table = |row: &str| found(&format!("text\n\n| tested client | |\n|---|---|\n{row}\n"));
        for right in [
            "| Rust: `spiffe` 0.19 | `crates/node/tests` |",
            "| Rust: `spiffe` 0.19.2 | |",
            "| Python: `spiffe` 0.3.2 with `grpcio` 1.85.3 | |",
            "| `spiffe` | 0.3.2 | |",
            "| `mandate svid fetch` | `crates/mandate/tests` |",
        ] {
            assert_eq!(table(right), [""; 0], "{right}");
        }
        for wrong in [
            "| Rust: `spiffe` 0.18 | |",
            "| Rust: `spiffe` 0.1 | |",
            "| Rust: `spiffe` 0.3.2 | |",
            "| Python: `spiffe` 0.3.2 with `grpcio` 1.85.4 | |",
            "| `go-spiffe` | 2.5.0 | |",
            "| `spiffe` | 0.3.2-alpha.1 | |",
        ] {
            assert_eq!(table(wrong).len(), 1, "{wrong}");
        }
        assert_eq!(found("| measured | |\n|---|---|\n| `spiffe` | 1.83 |\n"), [""; 0], "another table");
    }

    #[derive(Deserialize)]
    struct Newest {
        looked_up: String,
        go: BTreeMap<String, String>,
        npm: BTreeMap<String, String>,
        pypi: BTreeMap<String, String>,
    }

    /// What is the newest today is not known here. That nobody changes a pin without looking is.
    #[test]
    fn what_is_pinned_was_the_newest_on_the_day_that_the_book_names() {
        let read = |path: &str| std::fs::read_to_string(crate::root().join(path)).unwrap();
        let newest: Newest = toml::from_str(&read("crates/testkit/newest-versions.toml")).unwrap();
        let package: serde_json::Value =
            serde_json::from_str(&read("crates/testkit/node-clients/package.json")).unwrap();
        let npm: BTreeMap<String, String> = serde_json::from_value(package["dependencies"].clone()).unwrap();
        assert_eq!(npm, newest.npm);
        let python = read("crates/testkit/python-clients/requirements.txt");
        let pins = python.lines().filter_map(|line| line.trim().split_once("=="));
        let pypi: BTreeMap<String, String> = pins
            .map(|(name, version)| (name.split('[').next().unwrap_or(name).to_owned(), version.to_owned()))
            .collect();
        assert_eq!(pypi, newest.pypi);
        let go = read("crates/testkit/go-clients/go.mod");
        let go: BTreeMap<String, String> =
            go_modules(&go).map(|(name, version)| (name.to_owned(), version.to_owned())).collect();
        assert_eq!(go, newest.go);
        let said = format!("On {} the versions in this table were the newest", newest.looked_up);
        assert!(read("docs/src/tried-with.md").contains(&said), "{said}");
    }

    #[test]
    fn the_books_tables_name_versions_and_the_lock_files_have_them() {
        for (page, least) in [("docs/src/node.md", 3), ("docs/src/tried-with.md", 8)] {
            let text = std::fs::read_to_string(crate::root().join(page)).unwrap();
            assert!(
                text.lines().filter(|line| line.starts_with('|')).flat_map(claims).count() >= least,
                "{page}"
            );
        }
        let pinned = pinned(crate::root()).unwrap();
        for language in ["Rust", "JavaScript", "Python", "Go"] {
            assert!(pinned.iter().any(|one| one.language == language), "{language}");
        }
    }
}
