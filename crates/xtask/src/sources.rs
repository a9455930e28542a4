//! Rules about source text that no lint checks.

use crate::finding::Finding;
use crate::tree::File;

/// A file of more lines is reported.
const SOFT_LINES: usize = 600;
/// A file of more lines is refused.
const HARD_LINES: usize = 1000;

/// Names that say nothing about what a module does.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "common", "helper", "helpers", "manager", "managers", "misc", "stuff"];

/// Marks of unfinished work. Written in halves so that this file passes its own rule.
const UNFINISHED: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
const UNFINISHED_MACROS: &[&str] = &[concat!("to", "do!"), concat!("unimple", "mented!")];

/// The names of test doubles. They belong in the testkit, which no shipped crate depends on.
const DOUBLES: &[&str] = &["Fake", "Mock", "Stub", "Dummy"];

/// Calls that make or replace a file by its path: they follow links and do not check the owner.
const WRITES: &[&str] = &["fs::write(", "File::create", "File::options(", "OpenOptions", "fs::copy("];

/// Who may use that: the crate that makes files safely, programs of developers, and the verifier where that
/// crate does not build.
const MAY_WRITE: &[&str] = &[
    "crates/files/",
    "crates/testkit/",
    "crates/bench/",
    "crates/codegen/",
    "crates/xtask/",
    "crates/verifier/src/cache_file.rs",
];

/// What takes in code of a file with any name.
const INCLUDES: &[&str] = &["#[path =", "include!("];
/// The only such code: it is generated, and imports nothing of the crate.
const GENERATED: &str = "\"generated/";

/// The files that map errors to a wire, or to the errors and classes that a wire maps; and those that say
/// what a stop does to an entry of each kind.
const WIRES: &[&str] = &[
    "crates/administration/src/error.rs",
    "crates/core/src/registry/halt.rs",
    "crates/core/src/registry/narrowing.rs",
    "crates/identity/src/error.rs",
    "crates/identity/src/join.rs",
    "crates/node/src/refusal.rs",
    "crates/node/src/session/calls.rs",
    "crates/node/src/svids.rs",
    "crates/oauth/src/conclusion.rs",
    "crates/oauth/src/cuts.rs",
    "crates/oauth/src/login.rs",
    "crates/oauth/src/refusal.rs",
    "crates/oauth/src/trail.rs",
    "crates/oauth/src/wire.rs",
    "crates/oauth/src/wire/sentences.rs",
    "crates/server/src/admin/problem.rs",
    "crates/server/src/nodes/status.rs",
    "crates/verifier/src/refusal.rs",
];

/// Applies every rule to one file.
pub(crate) fn check(file: &File, findings: &mut Vec<Finding>) {
    if !file.hand_written() {
        return;
    }
    unfinished(file, findings);
    if file.is_rust() {
        length(file, findings);
        module_name(file, findings);
        reasons(file, findings);
        doubles(file, findings);
        writes(file, findings);
        taken_in(file, findings);
        wildcards(file, findings);
        broken_comments(file, findings);
    }
}

/// An empty line of a doc comment that became one of an ordinary comment, by a space in its mark.
fn broken_comments(file: &File, findings: &mut Vec<Finding>) {
    for (number, line) in file.lines() {
        if matches!(line.trim(), "// !" | "// /") {
            findings.push(Finding::error(
                file,
                number,
                "a space breaks the mark of a doc comment".to_owned(),
            ));
        }
    }
}

fn length(file: &File, findings: &mut Vec<Finding>) {
    let lines = file.text.lines().count();
    if lines > HARD_LINES {
        findings.push(Finding::error(
            file,
            lines,
            format!("{lines} lines; split it, {HARD_LINES} is the limit"),
        ));
    } else if lines > SOFT_LINES {
        findings.push(Finding::warning(
            file,
            lines,
            format!("{lines} lines; consider splitting it, {SOFT_LINES} is the aim"),
        ));
    }
}

fn module_name(file: &File, findings: &mut Vec<Finding>) {
    // Both `utils.rs` and `utils/…`; `tests/common/mod.rs` is no exception.
    let named = file.path.trim_end_matches(".rs").split('/').find(|part| EMPTY_NAMES.contains(part));
    if let Some(name) = named {
        findings.push(Finding::error(file, 1, format!("a module called {name:?} does not say what it does")));
    }
    for (number, line) in file.lines() {
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
        let inline =
            words.next() == Some("mod") && words.next().is_some_and(|name| EMPTY_NAMES.contains(&name));
        if inline {
            findings.push(Finding::error(file, number, "a module's name must say what it does".to_owned()));
        }
    }
}

fn unfinished(file: &File, findings: &mut Vec<Finding>) {
    for (number, line) in file.lines() {
        let word = UNFINISHED.iter().find(|word| has_word(line, word));
        // Examples that must not compile use one of the macros in place of a value.
        let example = ["///", "//!"].iter().any(|start| line.trim_start().starts_with(start));
        let found = word.or_else(|| UNFINISHED_MACROS.iter().find(|call| !example && line.contains(*call)));
        if let Some(found) = found {
            findings.push(Finding::error(file, number, format!("{found} marks unfinished work")));
        }
    }
}

/// Whether `line` contains `word` with nothing alphanumeric beside it.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let outside = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let (before, after) = (line.get(..at), line.get(at + word.len()..));
        outside(before.and_then(|b| b.chars().next_back())) && outside(after.and_then(|a| a.chars().next()))
    })
}

/// Every disabled lint has a reason, also where clippy does not check it.
fn reasons(file: &File, findings: &mut Vec<Finding>) {
    const ATTRIBUTES: [&str; 4] = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];
    for (number, line) in file.lines() {
        if !ATTRIBUTES.iter().any(|start| line.trim_start().starts_with(start)) {
            continue;
        }
        let attribute: String = file.text.lines().skip(number - 1).take(12).collect::<Vec<_>>().join(" ");
        let inside = attribute.split_once(")]").map_or(attribute.as_str(), |(inside, _)| inside);
        if !inside.contains("reason =") {
            findings.push(Finding::error(file, number, "a lint is lifted without a reason".to_owned()));
        }
    }
}

/// The lines of a shipped file, without its unit tests, which are at its end.
fn shipped_lines(file: &File) -> impl Iterator<Item = (usize, &str)> {
    let shipped =
        file.path.starts_with("crates/") && file.path.contains("/src/") && !file.path.ends_with("/tests.rs");
    file.lines().take_while(move |(_, line)| shipped && !line.starts_with("#[cfg(test)]"))
}

/// Files are written through the crate `files`, which opens folders step by step and checks who owns them.
fn writes(file: &File, findings: &mut Vec<Finding>) {
    if MAY_WRITE.iter().any(|path| file.path.starts_with(path)) {
        return;
    }
    for (number, line) in shipped_lines(file) {
        if let Some(call) = WRITES.iter().find(|call| line.contains(*call)) {
            findings.push(Finding::error(
                file,
                number,
                format!("{call} follows links and does not check the owner; write through mandate-files"),
            ));
        }
    }
}

/// A module is in the file that has its name: otherwise one crate takes in code of another, or code whose
/// imports are not checked.
fn taken_in(file: &File, findings: &mut Vec<Finding>) {
    for (number, line) in shipped_lines(file) {
        let from = INCLUDES.iter().find_map(|start| line.trim_start().strip_prefix(*start));
        if from.is_some_and(|from| !from.starts_with(GENERATED)) {
            findings.push(Finding::error(
                file,
                number,
                "a module is in the file that has its name".to_owned(),
            ));
        }
    }
}

/// Where errors are mapped to a wire, no arm takes what it does not name: a new error is a decision about its
/// answer.
fn wildcards(file: &File, findings: &mut Vec<Finding>) {
    if !WIRES.contains(&file.path.as_str()) {
        return;
    }
    for (number, line) in shipped_lines(file) {
        let code = line.split("//").next().unwrap_or(line).trim();
        let pattern = code.split_once("=>").map_or(code, |(pattern, _)| pattern);
        // The patterns of a long arm stand on lines of their own.
        let is_arm = pattern.len() < code.len() || code.starts_with("| ");
        if !is_arm {
            continue;
        }
        let pattern = pattern.split_once(" if ").map_or(pattern, |(pattern, _)| pattern);
        if pattern.split('|').any(|one| takes_anything(one.trim())) || takes_every_effect(pattern) {
            findings.push(Finding::error(
                file,
                number,
                "a wildcard arm hides what is new from this file; name what it takes".to_owned(),
            ));
        }
    }
}

/// Whether a pattern takes every value: `_`, a tuple of nothing else, or a name that is no variant.
fn takes_anything(pattern: &str) -> bool {
    let nothing_named =
        pattern.contains('_') && pattern.chars().all(|c| matches!(c, '_' | '(' | ')' | ',' | ' '));
    let name = pattern.starts_with(|c: char| c.is_ascii_lowercase())
        && pattern.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    nothing_named || (name && !matches!(pattern, "true" | "false"))
}

/// Whether a pattern takes whatever an effect refuses. That may be a failure of ours, which is nobody's
/// fault.
fn takes_every_effect(pattern: &str) -> bool {
    let within = pattern.split("EffectRefused(").skip(1).filter_map(|rest| rest.split_once(')'));
    within.map(|(name, _)| name).any(takes_anything)
}

fn doubles(file: &File, findings: &mut Vec<Finding>) {
    if file.path.starts_with("crates/testkit/") {
        return;
    }
    for (number, line) in shipped_lines(file) {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty());
        let defines = words.by_ref().any(|word| matches!(word, "struct" | "enum" | "trait"));
        if defines && words.next().is_some_and(|name| DOUBLES.iter().any(|double| name.starts_with(double))) {
            findings.push(Finding::error(file, number, "test doubles live in crates/testkit".to_owned()));
        }
    }
}

/// The definitions that weaken a check, as `path:line name`.
pub(crate) fn dangerous(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in
        files.iter().filter(|f| f.hand_written() && f.is_rust() && !f.path.starts_with("crates/xtask/"))
    {
        for (number, line) in file.lines() {
            let code = line.split("//").next().unwrap_or(line);
            let field = code.trim_start().split_once(':').map(|(name, _)| name.trim_end());
            if let Some(name) = field.filter(|name| {
                name.starts_with("dangerous_") && name.chars().all(|c| c.is_alphanumeric() || c == '_')
            }) {
                found.push(format!("{}:{number} {name}", file.path));
            }
            let mut words =
                code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty()).peekable();
            while let Some(word) = words.next() {
                let defines =
                    matches!(word, "fn" | "const" | "static" | "mod" | "let") || word.starts_with("pub");
                if let Some(name) = words.peek().filter(|name| defines && name.starts_with("dangerous_")) {
                    found.push(format!("{}:{number} {name}", file.path));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{HARD_LINES, SOFT_LINES, WIRES, check, dangerous};
    use crate::finding::{Finding, Weight};
    use crate::tree::File;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    fn findings(path: &str, text: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        check(&file(path, text), &mut findings);
        findings
    }

    fn refused(path: &str, text: &str) -> bool {
        findings(path, text).iter().any(|f| f.weight == Weight::Error)
    }

    #[test]
    fn a_long_file_is_reported_and_a_very_long_one_refused() {
        assert!(findings("crates/a/src/b.rs", &"\n".repeat(SOFT_LINES)).is_empty());
        assert_eq!(findings("crates/a/src/b.rs", &"\n".repeat(SOFT_LINES + 1))[0].weight, Weight::Warning);
        assert!(refused("crates/a/src/b.rs", &"\n".repeat(HARD_LINES + 1)));
        assert!(!refused("crates/a/src/generated/b.rs", &"\n".repeat(HARD_LINES + 1)));
    }

    #[test]
    fn a_module_name_that_says_nothing_is_refused() {
        assert!(refused("crates/a/src/utils.rs", ""));
        assert!(refused("crates/a/src/helpers/mod.rs", ""));
        assert!(refused("crates/a/tests/common/mod.rs", ""));
        assert!(refused("crates/a/src/b.rs", "pub(crate) mod manager {"));
        assert!(!refused("crates/a/src/commonality.rs", "mod grants;"));
    }

    #[test]
    fn unfinished_work_is_refused_in_any_text() {
        for mark in [
            concat!("// TO", "DO: x"),
            concat!("// XX", "X"),
            concat!("unimple", "mented!()"),
            concat!("(FIX", "ME)"),
        ] {
            assert!(refused("crates/a/src/b.rs", mark), "{mark}");
            assert!(refused("docs/a.md", mark), "{mark}");
        }
        assert!(!refused("crates/a/src/b.rs", concat!("/// forge(to", "do!())")));
        assert!(!refused("crates/a/src/b.rs", "let mastodon = \"XXXL\";"));
    }

    #[test]
    fn a_lifted_lint_without_a_reason_is_refused() {
        assert!(refused("crates/a/src/b.rs", "#[expect(clippy::panic)]\nfn f() {} // reason ="));
        assert!(refused("crates/a/src/b.rs", "#![allow(\n    clippy::panic,\n)]"));
        assert!(!refused("crates/a/src/b.rs", "#[expect(\n    clippy::panic,\n    reason = \"why\"\n)]"));
    }

    #[test]
    fn a_test_double_in_shipped_code_is_refused() {
        assert!(refused("crates/a/src/b.rs", "pub struct FakeClock;"));
        assert!(!refused("crates/testkit/src/b.rs", "pub struct FakeClock;"));
        assert!(!refused("crates/a/src/b.rs", "#[cfg(test)]\nmod tests {\n    struct FakeClock;\n}"));
        assert!(!refused("crates/a/src/b.rs", "pub struct Clock; // not a Fake one"));
    }

    #[test]
    fn a_file_that_is_written_by_its_path_is_refused_in_shipped_code() {
        for call in [
            "std::fs::write(&path, text)?;",
            "let file = File::create(path)?;",
            "OpenOptions::new().write(true)",
        ] {
            assert!(refused("crates/a/src/b.rs", call), "{call}");
            assert!(
                !refused("crates/files/src/b.rs", call) && !refused("crates/a/tests/it/b.rs", call),
                "{call}"
            );
            assert!(
                !refused("crates/a/src/b.rs", &format!("#[cfg(test)]\nmod tests {{\n    {call}\n}}")),
                "{call}"
            );
        }
        assert!(!refused("crates/a/src/b.rs", "dir.replace(name, 0o600, content, entropy)?;"));
    }

    #[test]
    fn code_of_a_file_with_another_name_is_refused() {
        for line in ["#[path = \"../../b/src/c.rs\"]", "    include!(\"../../b/src/c.rs\");"] {
            assert!(refused("crates/a/src/b.rs", line), "{line}");
        }
        assert!(!refused("crates/a/src/b.rs", "    include!(\"generated/c.rs\");"));
        assert!(!refused("crates/a/src/b.rs", "    let text = include_str!(\"c.sql\");"));
    }

    #[test]
    fn a_wildcard_arm_is_refused_where_errors_are_mapped_to_a_wire() {
        for arm in [
            "        _ => None,",
            "        _ if status == 503 => None,",
            "        A::B | _ => None,",
            "        | _",
            "        (_, _) => None,",
            "        error => private(error),",
            "        A::EffectRefused(why) => None,",
            "        Err(A::EffectRefused(why)) => None,",
            "        A::EffectRefused(_) | A::B => None,",
            "        | A::EffectRefused(why)",
        ] {
            for wire in WIRES {
                assert!(refused(wire, arm), "{arm} in {wire}");
            }
            assert!(!refused("crates/oauth/src/form.rs", arm), "{arm}");
        }
        for arm in [
            "        A::B(_) => None,",
            "        A::EffectRefused(E::C(_) | E::D) => None,",
            "        A::EffectRefused(why @ (E::C | E::D)) => None,",
            "        (_, B::C) => None,",
            "        true => None,",
            "        // _ => None",
            "    let f = |_| x;",
        ] {
            assert!(!refused(WIRES[0], arm), "{arm}");
        }
    }

    #[test]
    fn a_mark_of_a_doc_comment_with_a_space_in_it_is_refused() {
        for line in [concat!("//", " !"), concat!("    //", " /")] {
            assert!(refused("crates/a/src/b.rs", &format!("{line}\n")), "{line}");
            assert!(refused("crates/a/tests/it/b.rs", line), "{line}");
        }
        for line in ["//!", "    ///", "// ! is a mark", "// / too", "let a = b // /\n;", "//"] {
            assert!(!refused("crates/a/src/b.rs", line), "{line}");
        }
    }

    #[test]
    fn the_files_that_map_errors_to_a_wire_are_there() {
        for wire in WIRES {
            assert!(crate::root().join(wire).is_file(), "{wire} has another name now: say so in WIRES");
        }
    }

    #[test]
    fn what_weakens_a_check_is_listed() {
        let text = "    pub fn dangerous_skip(&self) {}\n    // fn dangerous_comment\n    x.dangerous_skip();\n    dangerous_flag: bool,\n";
        let expected = ["crates/a/src/b.rs:1 dangerous_skip", "crates/a/src/b.rs:4 dangerous_flag"];
        assert_eq!(dangerous(&[file("crates/a/src/b.rs", text)]), expected);
    }
}
