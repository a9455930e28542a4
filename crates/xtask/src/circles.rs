//! Circles of imports: files of one crate of which none can be understood before the others.
//!
//! Two files that need each other are close, and usually a part and its whole. A circle of more is refused,
//! unless `architecture.toml` lists it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::modules::{Arrows, Modules};
use crate::tree::File;

/// Up to so many files may need each other without being a circle.
const CLOSE: usize = 2;

/// The files that crates begin in.
const STARTS: [&str; 2] = ["lib.rs", "main.rs"];

/// Files that all need each other, perhaps through others of them.
#[derive(Debug)]
struct Circle {
    /// By path from the root.
    files: BTreeSet<String>,
    /// A line for each arrow between them.
    arrows: Vec<String>,
}

/// Every difference between the circles in `files` and those that are `listed`, as a sentence.
pub(crate) fn check(listed: &BTreeMap<String, usize>, files: &[File]) -> Vec<String> {
    compare(listed, &circles(files))
}

fn compare(listed: &BTreeMap<String, usize>, found: &[Circle]) -> Vec<String> {
    let mut broken = Vec::new();
    for circle in found {
        let size = circle.files.len();
        let arrows = circle.arrows.join("\n  ");
        let mut names = listed.iter().filter(|(file, _)| circle.files.contains(*file));
        let Some((name, known)) = names.next() else {
            broken.push(format!("{size} files need each other in a circle:\n  {arrows}"));
            continue;
        };
        match size.cmp(known) {
            Ordering::Less => {
                broken.push(format!("the circle of {name} has only {size} files: write {size} in [circles]"));
            }
            Ordering::Equal => {}
            Ordering::Greater => broken
                .push(format!("the circle of {name} has grown from {known} files to {size}:\n  {arrows}")),
        }
        for (again, _) in names {
            broken.push(format!("{again} is in the circle of {name}: take it out of [circles]"));
        }
    }
    for name in listed.keys().filter(|name| !found.iter().any(|circle| circle.files.contains(*name))) {
        broken.push(format!("{name} is in no circle: take it out of [circles]"));
    }
    broken
}

/// The circles of all crates.
fn circles(files: &[File]) -> Vec<Circle> {
    let mut crates: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust() && file.hand_written()) {
        if let Some((folder, path)) = file.path.split_once("/src/") {
            crates.entry(folder).or_default().insert(path, file.text.as_str());
        }
    }
    let mut found = Vec::new();
    for (folder, texts) in &crates {
        for start in STARTS {
            found.extend(in_crate(folder, &Modules::read(texts, start).arrows()));
        }
    }
    found
}

fn in_crate(folder: &str, arrows: &Arrows<'_>) -> Vec<Circle> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        arrows.keys().map(|file| (*file, reachable(file, arrows))).collect();
    let mut together = BTreeSet::new();
    for (file, there) in &reached {
        let returns = |other: &str| reached.get(other).is_some_and(|files| files.contains(*file));
        let circle: BTreeSet<&str> = there.iter().copied().filter(|other| returns(other)).collect();
        if circle.len() > CLOSE {
            together.insert(circle);
        }
    }
    together.iter().map(|files| circle(folder, files, arrows)).collect()
}

/// The files to which arrows lead from `from`, one after the other.
fn reachable<'a>(from: &str, arrows: &Arrows<'a>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(file) = open.pop() {
        for next in arrows.get(file).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(*next) {
                open.push(*next);
            }
        }
    }
    reached
}

fn circle(folder: &str, files: &BTreeSet<&str>, arrows: &Arrows<'_>) -> Circle {
    let mut lines = Vec::new();
    for from in files {
        for (to, import) in arrows.get(*from).into_iter().flatten() {
            if files.contains(*to) {
                lines.push(format!("{folder}/src/{from}:{} needs {to}: {import}", import.line));
            }
        }
    }
    Circle { files: files.iter().map(|file| format!("{folder}/src/{file}")).collect(), arrows: lines }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::check;
    use crate::tree::File;

    /// What is found in a crate of these files, if `listed` has the known circles.
    fn findings(listed: &[(&str, usize)], files: &[(&str, &str)]) -> Vec<String> {
        let listed: BTreeMap<String, usize> =
            listed.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect();
        let files = files
            .iter()
            .map(|(path, text)| File { path: format!("crates/c/src/{path}"), text: (*text).to_owned() });
        check(&listed, &files.collect::<Vec<_>>())
    }

    const LIB: (&str, &str) = ("lib.rs", "mod w;\nmod x;\nmod y;\nmod z;\npub use x::X;");
    const W: (&str, &str) = ("w.rs", "use crate::X;");
    const X: (&str, &str) = ("x.rs", "use crate::y::Y;\npub struct X;");
    const Y: (&str, &str) = ("y.rs", "\nuse super::{z::Z};\npub struct Y;");
    const Z: (&str, &str) = ("z.rs", "pub struct Z;\nfn f(_: crate::X) {}");

    #[test]
    fn a_circle_is_refused_and_each_of_its_arrows_named() {
        let expected = "3 files need each other in a circle:
  crates/c/src/x.rs:1 needs y.rs: crate::y::Y
  crates/c/src/y.rs:2 needs z.rs: super::z::Z
  crates/c/src/z.rs:2 needs x.rs: crate::X";
        assert_eq!(findings(&[], &[LIB, W, X, Y, Z]), [expected]);
        let main = ("main.rs", LIB.1);
        assert_eq!(findings(&[], &[main, W, X, Y, Z]), [expected]);
    }

    #[test]
    fn what_is_no_circle_of_three_passes() {
        let ends = ("z.rs", "pub struct Z;\n#[cfg(test)]\nmod tests {\n    use crate::x::X;\n}");
        assert_eq!(findings(&[], &[LIB, W, X, Y, ends]), Vec::<String>::new());
        let pair = ("y.rs", "use crate::x::X; pub struct Y;");
        assert_eq!(findings(&[], &[LIB, W, X, pair, ends]), Vec::<String>::new());
    }

    #[test]
    fn a_listed_circle_may_only_shrink() {
        let circle = [LIB, W, X, Y, Z];
        assert_eq!(findings(&[("crates/c/src/y.rs", 3)], &circle), Vec::<String>::new());
        for (listed, says) in [
            (
                &[("crates/c/src/y.rs", 4)][..],
                "the circle of crates/c/src/y.rs has only 3 files: write 3 in [circles]",
            ),
            (
                &[("crates/c/src/y.rs", 2)],
                "the circle of crates/c/src/y.rs has grown from 2 files to 3:\n  crates/c/src/x.rs:1 needs",
            ),
            (
                &[("crates/c/src/y.rs", 3), ("crates/c/src/w.rs", 3)],
                "crates/c/src/w.rs is in no circle: take it out",
            ),
            (
                &[("crates/c/src/x.rs", 3), ("crates/c/src/y.rs", 3)],
                "crates/c/src/y.rs is in the circle of crates/c/src/x.rs: take it out",
            ),
        ] {
            let found = findings(listed, &circle);
            assert!(found.len() == 1 && found[0].starts_with(says), "{says}: {found:?}");
        }
    }
}
