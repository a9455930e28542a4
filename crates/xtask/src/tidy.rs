//! `cargo xtask tidy`: the rules that neither the compiler nor clippy can check.

use std::fs;
use std::io;
use std::path::Path;

use crate::architecture::{self, ArchitectureError, Rules};
use crate::dependencies::{self, DependencyError};
use crate::finding::{Finding, Weight};
use crate::tree::{self, File};
use crate::versions::{self, Pinned};
use crate::{attacks, circles, doc_comments, documents, protocol_names, purity, sources, type_names};

/// Why the project could not be checked, or is not tidy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TidyError {
    #[error("the tree could not be read: {0}")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    #[error(transparent)]
    Dependencies(#[from] DependencyError),
    #[error("{0} rules are broken")]
    Untidy(usize),
}

/// Everything that was found in the tree at `root`.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) findings: Vec<Finding>,
    /// Definitions that weaken a check, as `path:line name`.
    pub(crate) dangerous: Vec<String>,
}

impl Report {
    /// How many findings fail the check.
    pub(crate) fn errors(&self) -> usize {
        self.findings.iter().filter(|f| f.weight == Weight::Error).count()
    }
}

/// Applies every rule to the tree at `root`.
pub(crate) fn report(root: &Path) -> Result<Report, TidyError> {
    let files = tree::files(root)?;
    let pinned = versions::pinned(root)?;
    let mut findings = Vec::new();
    for file in &files {
        check(root, &pinned, file, &mut findings);
    }
    attacks::check(&files, &mut findings);
    protocol_names::check(&files, &mut findings);
    let rules = Rules::read(root)?;
    let broken = [
        dependencies::check(&rules, root)?,
        circles::check(&rules.circles, &files),
        type_names::check(&rules.same_names, &files),
    ]
    .concat();
    findings.extend(broken.into_iter().map(|message| Finding::of_rules(architecture::FILE, message)));
    Ok(Report { findings, dangerous: sources::dangerous(&files) })
}

/// Applies every rule about single files to one file.
fn check(root: &Path, pinned: &[Pinned], file: &File, findings: &mut Vec<Finding>) {
    sources::check(file, findings);
    doc_comments::check(file, findings);
    purity::check(file, findings);
    documents::check(file, findings);
    versions::check(pinned, file, findings);
    manifest(root, file, findings);
}

/// The crate that may call C itself.
const CALLS_C: &str = "allocator";

/// Every crate must use the workspace's lints, because otherwise they do not apply to it. Its first source
/// file must begin with what the crate is for.
fn manifest(root: &Path, file: &File, findings: &mut Vec<Finding>) {
    let Some(dir) = file
        .path
        .strip_prefix("crates/")
        .and_then(|p| p.strip_suffix("/Cargo.toml"))
        .filter(|d| !d.contains('/'))
    else {
        return;
    };
    // The workspace's lints forbid `unsafe`, also where it is expected.
    let taken = if dir == CALLS_C { "unsafe_code = \"deny\"" } else { "[lints]\nworkspace = true" };
    if !file.text.contains(taken) {
        findings.push(Finding::error(file, 1, "it does not take the workspace's lints".to_owned()));
    }
    let start = |name: &str| fs::read_to_string(root.join(format!("crates/{dir}/src/{name}"))).ok();
    if !start("lib.rs").or_else(|| start("main.rs")).is_some_and(|text| text.starts_with("//!")) {
        findings.push(Finding::error(
            file,
            1,
            "its first source file does not begin with what the crate is for".to_owned(),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tree::File;
    use crate::versions;

    #[test]
    fn each_rule_is_applied_to_each_file() {
        let pinned = versions::pinned(crate::root()).unwrap();
        for (path, text, says) in [
            ("crates/a/src/utils.rs", "", "does not say what it does"),
            ("crates/a/src/b.rs", "/// The file.\npub struct A;\n", "only repeats a name"),
            ("docs/src/node.md", "This mends ticket 12.\n", "means nothing to a reader"),
            (
                "docs/src/node.md",
                "| tested client | |\n|---|---|\n| Rust: `spiffe` 0.0 | |\n",
                "is not tried",
            ),
            ("crates/a/Cargo.toml", "[package]\n", "does not take the workspace's lints"),
        ] {
            let mut findings = Vec::new();
            check(
                crate::root(),
                &pinned,
                &File { path: path.to_owned(), text: text.to_owned() },
                &mut findings,
            );
            let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
            assert!(
                findings.iter().any(|finding| finding.starts_with("error: ") && finding.contains(says)),
                "{says}: {findings:?}"
            );
        }
    }

    #[test]
    fn the_project_is_tidy() {
        let report = super::report(crate::root()).unwrap();
        let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        assert_eq!(report.errors(), 0, "\n{}", findings.join("\n"));
    }
}
