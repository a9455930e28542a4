//! Names of public types. In the workspace each has one meaning, so that it needs no other word beside it.
//!
//! A name that two crates define, also in generated code, is refused, unless `architecture.toml` lists it and
//! says why it has one meaning.

use std::collections::{BTreeMap, BTreeSet};

use crate::tokens::{Tokens, is_name};
use crate::tree::File;

/// What the definition of a type or of a trait begins with, after `pub`.
const KEYWORDS: &[&str] = &["struct", "enum", "union", "trait", "type"];

/// Where a name is defined: the crate, by its folder in `crates/`, and `path:line`.
type Place<'a> = (&'a str, String);

/// Every difference between the names that more than one crate defines in `files` and those that are
/// `listed` with a reason, as a sentence.
pub(crate) fn check(listed: &BTreeMap<String, String>, files: &[File]) -> Vec<String> {
    let shared = shared(files);
    let mut broken = Vec::new();
    for (name, places) in shared.iter().filter(|(name, _)| !listed.contains_key(**name)) {
        let places: Vec<&str> = places.iter().map(|(_, place)| place.as_str()).collect();
        broken.push(format!(
            "{name} is a public type of more than one crate: rename one of {}, or write in [same_names] why \
             it has one meaning",
            places.join(", ")
        ));
    }
    for (name, reason) in listed {
        if !shared.contains_key(name.as_str()) {
            broken.push(format!(
                "{name} is no public type of more than one crate: take it out of [same_names]"
            ));
        } else if reason.trim().is_empty() {
            broken.push(format!("{name} has no reason in [same_names]"));
        }
    }
    broken
}

/// The names of public types that more than one crate defines.
fn shared(files: &[File]) -> BTreeMap<&str, Vec<Place<'_>>> {
    let mut defined: BTreeMap<&str, Vec<Place<'_>>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let Some((folder, _)) = file.path.strip_prefix("crates/").and_then(|path| path.split_once("/src/"))
        else {
            continue;
        };
        for (name, line) in public_types(&file.text) {
            defined.entry(name).or_default().push((folder, format!("{}:{line}", file.path)));
        }
    }
    defined.retain(|_, places| places.iter().map(|(folder, _)| folder).collect::<BTreeSet<_>>().len() > 1);
    defined
}

/// The names of the public types that `source` defines outside of tests, with their lines.
fn public_types(source: &str) -> Vec<(&str, usize)> {
    let tokens = Tokens::shipped(source);
    let mut found = Vec::new();
    // `pub(crate)` goes on with a bracket, and a definition in a macro with a sign instead of the name.
    for at in (0..tokens.len()).filter(|at| tokens.text(*at) == "pub") {
        let keyword = if tokens.text(at + 1) == "unsafe" { at + 2 } else { at + 1 };
        let name = tokens.text(keyword + 1);
        if KEYWORDS.contains(&tokens.text(keyword)) && is_name(name) {
            found.push((name, tokens.line(keyword + 1)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{check, public_types};
    use crate::tree::File;

    /// What is found in these files, if `listed` has names with reasons.
    fn findings(listed: &[(&str, &str)], files: &[(&str, &str)]) -> Vec<String> {
        let listed: BTreeMap<String, String> =
            listed.iter().map(|(name, reason)| ((*name).to_owned(), (*reason).to_owned())).collect();
        let files: Vec<File> = files
            .iter()
            .map(|(path, text)| File { path: format!("crates/{path}"), text: (*text).to_owned() })
            .collect();
        check(&listed, &files)
    }

    const A: (&str, &str) = ("a/src/lib.rs", "\npub struct Verified;");
    const B: (&str, &str) = ("b/src/c/d.rs", "pub enum Verified {}");

    #[test]
    fn a_public_type_of_two_crates_is_refused_unless_a_reason_is_listed() {
        let found = findings(&[], &[A, B]);
        let says = "Verified is a public type of more than one crate: rename one of crates/a/src/lib.rs:2, \
                    crates/b/src/c/d.rs:1, ";
        assert!(matches!(&found[..], [one] if one.starts_with(says)), "{found:?}");
        assert_eq!(findings(&[("Verified", "it is the same proof")], &[A, B]), Vec::<String>::new());
    }

    #[test]
    fn a_generated_type_has_a_name_of_its_own_too() {
        let generated = ("b/src/generated/c.rs", "pub struct Verified;");
        assert!(matches!(&findings(&[], &[A, generated])[..], [one] if one.contains("generated/c.rs:1")));
    }

    #[test]
    fn a_listed_name_has_a_reason_and_is_needed() {
        assert_eq!(findings(&[("Verified", " ")], &[A, B]), ["Verified has no reason in [same_names]"]);
        assert_eq!(
            findings(&[("Verified", "it is the same proof")], &[A]),
            ["Verified is no public type of more than one crate: take it out of [same_names]"]
        );
    }

    #[test]
    fn names_that_only_one_crate_makes_public_pass() {
        for other in [
            ("a/src/b.rs", "pub trait Verified {}"),
            ("b/src/lib.rs", "pub(crate) struct Verified;"),
            ("b/src/lib.rs", "struct Verified; pub fn verified() -> Other {}"),
            ("b/src/lib.rs", "#[cfg(test)]\nmod tests { pub struct Verified; }"),
            ("b/src/lib.rs", "pub use a::Verified;"),
            ("b/tests/it/main.rs", "pub struct Verified;"),
        ] {
            assert_eq!(findings(&[], &[A, other]), Vec::<String>::new(), "{other:?}");
        }
    }

    #[test]
    fn every_kind_of_public_type_is_found() {
        let source = "pub struct A<T>(T);
/// pub struct No;
pub enum B {}
pub unsafe trait C {}
pub type D = A<u8>;
names! { pub enum E { F } }
macro_rules! m { ($n:ident) => { pub struct $n; } }
pub union G {}";
        let expected = [("A", 1), ("B", 3), ("C", 4), ("D", 5), ("E", 6), ("G", 8)];
        assert_eq!(public_types(source), expected);
    }
}
