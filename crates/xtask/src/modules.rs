//! The modules of one crate, and which file needs which.
//!
//! A name leads to the file that defines it, through any number of `use` and `pub use`. To declare a module,
//! or to give a name of another module to others, does not need that module; to use the name does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::tokens::{Tokens, is_name};

/// How many names are followed from one to the next. It ends circles of names.
const HOPS: usize = 8;

/// For each file, the files that it needs, each with one import that says why.
pub(crate) type Arrows<'a> = BTreeMap<&'a str, BTreeMap<&'a str, Import<'a>>>;

/// A path in the source.
#[derive(Clone, Debug)]
pub(crate) struct Import<'a> {
    pub(crate) line: usize,
    path: Vec<&'a str>,
}

impl fmt::Display for Import<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path.join("::"))
    }
}

/// One name of a `use`.
#[derive(Debug)]
struct Bound<'a> {
    import: Import<'a>,
    /// The name in this module. `*` has none.
    name: Option<&'a str>,
    /// Whether it is for other modules too.
    public: bool,
}

#[derive(Debug, Default)]
struct Module<'a> {
    path: Vec<&'a str>,
    file: &'a str,
    /// The modules that it declares.
    children: BTreeSet<&'a str>,
    /// The names that it defines.
    items: BTreeSet<&'a str>,
    bound: Vec<Bound<'a>>,
    /// Paths of more than one name outside of `use`.
    mentions: Vec<Import<'a>>,
    /// The names that paths outside of `use` begin with.
    words: BTreeSet<&'a str>,
}

/// Where a path leads.
#[derive(Clone, Copy)]
enum Place<'m, 'a> {
    Module(&'m Module<'a>),
    /// An item, by its file.
    Item(&'a str),
    /// Another crate, or a file that is not there.
    Outside,
}

/// The modules of one crate, by path.
#[derive(Debug)]
pub(crate) struct Modules<'a>(BTreeMap<Vec<&'a str>, Module<'a>>);

impl<'a> Modules<'a> {
    /// Reads the crate that begins in the file `start`. `files` has the texts of the files below `src/`.
    pub(crate) fn read(files: &BTreeMap<&'a str, &'a str>, start: &str) -> Self {
        let mut modules = BTreeMap::new();
        let mut unread = vec![(Vec::new(), files.get_key_value(start))];
        while let Some((path, file)) = unread.pop() {
            let Some((&file, &text)) = file else { continue };
            let reader = Reader::new(text, path, file).read();
            unread.extend(reader.elsewhere.into_iter().map(|path| {
                let name = path.join("/");
                let file = files.get_key_value(format!("{name}.rs").as_str());
                let file = file.or_else(|| files.get_key_value(format!("{name}/mod.rs").as_str()));
                (path, file)
            }));
            modules.extend(reader.closed.into_iter().map(|module| (module.path.clone(), module)));
        }
        Self(modules)
    }

    /// For each file, the files that it needs.
    pub(crate) fn arrows(&self) -> Arrows<'a> {
        let mut arrows = Arrows::new();
        for module in self.0.values() {
            let needed = arrows.entry(module.file).or_default();
            for (file, import) in self.needs(module) {
                if file != module.file {
                    needed.entry(file).or_insert_with(|| import.clone());
                }
            }
        }
        arrows
    }

    fn needs<'m>(&'m self, module: &'m Module<'a>) -> Vec<(&'a str, &'m Import<'a>)> {
        let mut needs = Vec::new();
        for bound in &module.bound {
            let used = !bound.public || bound.name.is_none_or(|name| module.words.contains(name));
            match self.follow(module, &bound.import.path, HOPS) {
                Some(Place::Item(file)) if used => needs.push((file, &bound.import)),
                Some(Place::Module(all)) if bound.name.is_none() => needs.push((all.file, &bound.import)),
                // The paths that begin with a module's name show what is needed of it.
                _ => {}
            }
        }
        for mention in &module.mentions {
            match self.follow(module, &mention.path, HOPS) {
                Some(Place::Item(file)) => needs.push((file, mention)),
                Some(Place::Module(module)) => needs.push((module.file, mention)),
                Some(Place::Outside) | None => {}
            }
        }
        needs
    }

    /// Where `path` leads that stands in the module `from`. Nothing if it does not begin with a known name.
    fn follow<'m>(&'m self, from: &'m Module<'a>, path: &[&'a str], hops: usize) -> Option<Place<'m, 'a>> {
        let mut here = from;
        for (at, name) in path.iter().enumerate() {
            here = match *name {
                "crate" => self.0.get::<[&str]>(&[])?,
                "self" => here,
                "super" => here.path.split_last().and_then(|(_, parent)| self.0.get(parent))?,
                name => match self.named(here, name, hops) {
                    Some(Place::Module(module)) => module,
                    None if at > 0 => return Some(Place::Item(here.file)),
                    other => return other,
                },
            };
        }
        Some(Place::Module(here))
    }

    /// What `name` is in the module `here`.
    fn named<'m>(&'m self, here: &'m Module<'a>, name: &'a str, hops: usize) -> Option<Place<'m, 'a>> {
        let hops = hops.checked_sub(1)?;
        if here.children.contains(name) {
            let path: Vec<&'a str> = here.path.iter().copied().chain([name]).collect();
            return Some(self.0.get(&path).map_or(Place::Outside, Place::Module));
        }
        let mut known = None;
        for bound in here.bound.iter().filter(|bound| bound.name == Some(name)) {
            match self.follow(here, &bound.import.path, hops) {
                None | Some(Place::Outside) => known = Some(Place::Outside),
                found => return found,
            }
        }
        if known.is_some() {
            return known;
        }
        if here.items.contains(name) {
            return Some(Place::Item(here.file));
        }
        here.bound.iter().filter(|bound| bound.name.is_none()).find_map(|all| {
            match self.follow(here, &all.import.path, hops)? {
                Place::Module(module) => self.named(module, name, hops),
                Place::Item(_) | Place::Outside => None,
            }
        })
    }
}

/// Reads the modules of one file.
struct Reader<'a> {
    tokens: Tokens<'a>,
    at: usize,
    /// How many braces are open.
    depth: usize,
    /// The modules that are open, with the depth at which each one began. The innermost is last.
    open: Vec<(Module<'a>, usize)>,
    closed: Vec<Module<'a>>,
    /// The modules that are declared here and have files of their own.
    elsewhere: Vec<Vec<&'a str>>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, path: Vec<&'a str>, file: &'a str) -> Self {
        let module = Module { path, file, ..Module::default() };
        Self {
            tokens: Tokens::shipped(text),
            at: 0,
            depth: 0,
            open: vec![(module, 0)],
            closed: Vec::new(),
            elsewhere: Vec::new(),
        }
    }

    fn read(mut self) -> Self {
        let mut public = false;
        while self.at < self.tokens.len() {
            public = self.step(public);
        }
        self.closed.extend(self.open.drain(..).map(|(module, _)| module));
        self
    }

    /// The token `after` the current one.
    fn text(&self, after: usize) -> &'a str {
        self.tokens.text(self.at + after)
    }

    /// Reads what is next, which is for other modules too if it is `public`. Returns whether what follows is.
    fn step(&mut self, public: bool) -> bool {
        let (first, second, third) = (self.text(0), self.text(1), self.text(2));
        match (first, second) {
            ("#", "[") => {
                self.at = self.tokens.group_end(self.at + 1);
                return public;
            }
            ("pub", _) => {
                self.at += 1;
                if second == "(" && matches!(third, "crate" | "self" | "super" | "in") {
                    self.at = self.tokens.group_end(self.at);
                }
                return true;
            }
            // `impl Trait + use<'a>` imports nothing.
            ("use", after) if after != "<" => self.bind(public),
            ("mod", name) if matches!(third, ";" | "{") => self.declare(name, third == "{"),
            ("{", _) => {
                self.depth += 1;
                self.at += 1;
            }
            ("}", _) => self.close(),
            ("fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static", name) => {
                self.define(name);
            }
            ("macro_rules", "!") => self.define(third),
            _ if is_name(first) => self.mention(),
            _ => self.at += 1,
        }
        false
    }

    fn bind(&mut self, public: bool) {
        // `use ::name` names another crate.
        let outside = self.text(1) == "::";
        let mut names = Vec::new();
        self.at = tree(&self.tokens, self.at + 1, &[], public, &mut names);
        if let Some((module, _)) = self.open.last_mut().filter(|_| !outside) {
            module.bound.append(&mut names);
        }
    }

    fn declare(&mut self, name: &'a str, inline: bool) {
        self.at += 3;
        let Some((module, _)) = self.open.last_mut() else { return };
        module.children.insert(name);
        let path: Vec<&'a str> = module.path.iter().copied().chain([name]).collect();
        if inline {
            let child = Module { path, file: module.file, ..Module::default() };
            self.depth += 1;
            self.open.push((child, self.depth));
        } else {
            self.elsewhere.push(path);
        }
    }

    fn close(&mut self) {
        let ended = self.open.len() > 1 && self.open.last().is_some_and(|(_, began)| *began == self.depth);
        if ended {
            self.closed.extend(self.open.pop().map(|(module, _)| module));
        }
        self.depth = self.depth.saturating_sub(1);
        self.at += 1;
    }

    fn define(&mut self, name: &'a str) {
        if let Some((module, _)) = self.open.last_mut() {
            module.items.insert(name);
        }
        self.at += 1;
    }

    fn mention(&mut self) {
        let line = self.tokens.line(self.at);
        // A field, a method, or a name of another crate.
        let belongs =
            self.at.checked_sub(1).is_some_and(|before| matches!(self.tokens.text(before), "." | "::"));
        let first = self.text(0);
        let mut path = vec![first];
        self.at += 1;
        while self.text(0) == "::" && is_name(self.text(1)) {
            path.push(self.text(1));
            self.at += 2;
        }
        if let Some((module, _)) = self.open.last_mut().filter(|_| !belongs) {
            module.words.insert(first);
            if path.len() > 1 {
                module.mentions.push(Import { line, path });
            }
        }
    }
}

/// Reads the tree of a `use` that begins at `at`, below `above`. Returns the place behind it.
fn tree<'a>(
    tokens: &Tokens<'a>,
    mut at: usize,
    above: &[&'a str],
    public: bool,
    names: &mut Vec<Bound<'a>>,
) -> usize {
    let mut path = above.to_vec();
    let line = tokens.line(at);
    loop {
        match tokens.text(at) {
            "::" => at += 1,
            "{" => {
                at += 1;
                while !matches!(tokens.text(at), "}" | ";" | "") {
                    at = if tokens.text(at) == "," { at + 1 } else { tree(tokens, at, &path, public, names) };
                }
                return at + 1;
            }
            "*" => {
                names.push(Bound { import: Import { line, path }, name: None, public });
                return at + 1;
            }
            "as" => {
                names.push(Bound { import: Import { line, path }, name: Some(tokens.text(at + 1)), public });
                return at + 2;
            }
            "}" | "," | ";" | "" => break,
            name => {
                path.push(name);
                at += 1;
            }
        }
    }
    // `a::{self}` binds `a`.
    let name = path.iter().rev().find(|name| **name != "self").copied();
    if path.len() > above.len() && name.is_some() {
        names.push(Bound { import: Import { line, path }, name, public });
    }
    at
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Modules;

    /// The arrows of a crate of these files, as `from -> to by path`.
    fn arrows(files: &[(&'static str, &'static str)]) -> Vec<String> {
        let files: BTreeMap<&str, &str> = files.iter().copied().collect();
        let arrows = Modules::read(&files, "lib.rs").arrows();
        let each = arrows
            .iter()
            .flat_map(|(from, needed)| needed.iter().map(move |(to, import)| (from, to, import)));
        each.map(|(from, to, import)| format!("{from} -> {to} by {import}")).collect()
    }

    #[test]
    fn every_form_of_import_is_an_arrow() {
        for (text, expected) in [
            ("use crate::b::Bee;", "a.rs -> b.rs by crate::b::Bee"),
            ("use super::b::Bee;", "a.rs -> b.rs by super::b::Bee"),
            ("use crate::{a, b::{self, inner::{Deep as D}}};", "a.rs -> b/inner.rs by crate::b::inner::Deep"),
            ("use crate::b::{self}; fn f() { b::bee(); }", "a.rs -> b.rs by b::bee"),
            ("use crate::b as other; fn f() { other::bee(); }", "a.rs -> b.rs by other::bee"),
            ("use crate::b::*;", "a.rs -> b.rs by crate::b::*"),
            ("fn f() { crate::b::bee(); }", "a.rs -> b.rs by crate::b::bee"),
            ("fn f() { for i in 0..super::b::END {} }", "a.rs -> b.rs by super::b::END"),
            ("fn f<T: crate::b::Bee>(x: &'static T) -> char { '\"' }", "a.rs -> b.rs by crate::b::Bee"),
            ("fn f() { use crate::b::Bee; }", "a.rs -> b.rs by crate::b::Bee"),
            ("mod inner { use super::super::b::Bee; }", "a.rs -> b.rs by super::super::b::Bee"),
            ("macro_rules! m { () => { $crate::b::bee() } }", "a.rs -> b.rs by crate::b::bee"),
            ("pub use crate::b::Bee; fn f(x: Bee) {}", "a.rs -> b.rs by crate::b::Bee"),
        ] {
            let b = "pub mod inner; pub struct Bee; pub fn bee() {} pub const END: u8 = 1;";
            let files = [
                ("lib.rs", "mod a; mod b;"),
                ("a.rs", text),
                ("b.rs", b),
                ("b/inner.rs", "pub struct Deep;"),
            ];
            let all = arrows(&files);
            assert!(all.len() == 1 && all[0] == expected.trim_end_matches("::*"), "{text}: {all:?}");
        }
    }

    #[test]
    fn what_needs_no_other_file_is_no_arrow() {
        for text in [
            "use std::fmt; fn f() { fmt::b::c(); serde::b::d(); x.b::<u8>(); }",
            "use ::b::Bee;",
            "use crate::b;",
            "pub use crate::b::Bee;",
            "pub(crate) use crate::b::Bee;",
            "pub(in crate::b) fn f() {}",
            "// crate::b::bee()\nconst TEXT: &str = \"crate::b::bee()\";",
            "#[cfg(test)]\nmod tests { use crate::b::Bee; }",
            "#[cfg(test)] use crate::b::Bee;",
            "#[cfg(test)] mod checks;",
            "fn f(x: &Y) -> impl Fn() + use<'_> { crate::a::g() }",
        ] {
            let files = [
                ("lib.rs", "mod a; mod b;"),
                ("a.rs", text),
                ("a/checks.rs", "use crate::b::Bee;"),
                ("b.rs", "pub struct Bee;"),
            ];
            assert_eq!(arrows(&files), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_name_leads_to_the_file_that_defines_it() {
        for (lib, expected) in [
            ("mod a; pub mod b; pub use b::inner::Deep;", "b/inner.rs"),
            ("mod a; pub mod b; pub use b::*;", "b/inner.rs"),
            ("mod a; pub mod b; use b::Renamed as Deep;", "b/inner.rs"),
            ("mod a; pub mod b; pub mod out { pub use crate::b::Deep; } pub use out::Deep;", "b/inner.rs"),
            ("mod a; pub mod b; pub struct Deep;", "lib.rs"),
        ] {
            let b = "mod inner; pub use self::inner::{Deep, Deep as Renamed};";
            let files = [
                ("lib.rs", lib),
                ("a.rs", "use crate::Deep;"),
                ("b/mod.rs", b),
                ("b/inner.rs", "pub struct Deep;"),
            ];
            let found = arrows(&files);
            assert!(found.contains(&format!("a.rs -> {expected} by crate::Deep")), "{lib}: {found:?}");
        }
    }

    #[test]
    fn names_that_lead_to_each_other_end() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub use crate::b::*; pub use crate::b::X;"),
            ("b.rs", "pub use crate::a::*; use crate::a::X;"),
        ];
        // `X` is defined nowhere: to look for it must end, and hide no other arrow.
        let found = arrows(&files);
        let has = |arrow: &str| found.iter().any(|other| other == arrow);
        assert!(has("a.rs -> b.rs by crate::b") && has("b.rs -> a.rs by crate::a"), "{found:?}");
    }
}
