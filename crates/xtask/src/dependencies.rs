//! The direction of dependencies: `cargo metadata` and `Cargo.lock` against `architecture.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::architecture::Rules;

/// Why the dependencies could not be compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DependencyError {
    #[error("cargo metadata could not be run: {0}")]
    Run(#[source] io::Error),
    #[error("Cargo.lock could not be read: {0}")]
    Lock(#[source] io::Error),
    #[error("Cargo.lock is not understood: {0}")]
    Locked(#[from] toml::de::Error),
    #[error("cargo metadata failed: {0}")]
    Cargo(String),
    #[error("cargo metadata is not understood: {0}")]
    Metadata(#[from] serde_json::Error),
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

/// `Cargo.lock`: what outside crates depend on, in a build for any machine with the features that the
/// workspace asks for.
#[derive(Debug, Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Debug, Deserialize)]
struct Locked {
    name: String,
    /// Where it is from. Absent for a crate of the workspace, whose tests are among its dependencies here.
    source: Option<String>,
    /// Each a name, with a version where there are several.
    #[serde(default)]
    dependencies: Vec<String>,
}

/// For each outside crate, those that it depends on. All versions of a crate count as one.
type Outside = BTreeMap<String, BTreeSet<String>>;

fn outside(lock: Lock) -> Outside {
    let mut all = Outside::new();
    for package in lock.package.into_iter().filter(|package| package.source.is_some()) {
        let names = package.dependencies.iter().filter_map(|used| used.split(' ').next());
        all.entry(package.name).or_default().extend(names.map(str::to_owned));
    }
    all
}

/// What a workspace crate depends on in a build that is shipped.
#[derive(Debug, Default)]
struct Uses {
    inside: BTreeSet<String>,
    outside: BTreeSet<String>,
}

/// Every dependency that `rules` do not allow, and every rule that allows what nobody needs, as a sentence.
pub(crate) fn check(rules: &Rules, root: &Path) -> Result<Vec<String>, DependencyError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .map_err(DependencyError::Run)?;
    if !output.status.success() {
        return Err(DependencyError::Cargo(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    let lock = fs::read_to_string(root.join("Cargo.lock")).map_err(DependencyError::Lock)?;
    let outside = outside(toml::from_str(&lock)?);
    Ok([named_alike(&metadata), compare(rules, &uses(&metadata), &outside)].concat())
}

fn folder(path: &str) -> String {
    path.trim_end_matches("/Cargo.toml").rsplit('/').next().unwrap_or(path).to_owned()
}

/// Crates are named as their folders: of two with the same name, only one would be compared.
fn named_alike(metadata: &Metadata) -> Vec<String> {
    let mut names = BTreeSet::new();
    let all = metadata.packages.iter().map(|package| folder(&package.manifest_path));
    all.filter(|name| !names.insert(name.clone()))
        .map(|name| format!("two crates have folders named {name}"))
        .collect()
}

fn uses(metadata: &Metadata) -> BTreeMap<String, Uses> {
    let mut all = BTreeMap::new();
    for package in &metadata.packages {
        let mut uses = Uses::default();
        // Tests may look at anything; what is shipped may not.
        for dependency in package.dependencies.iter().filter(|d| d.kind.as_deref() != Some("dev")) {
            match &dependency.path {
                Some(path) => uses.inside.insert(folder(path)),
                None => uses.outside.insert(dependency.name.clone()),
            };
        }
        all.insert(folder(&package.manifest_path), uses);
    }
    all
}

fn compare(rules: &Rules, actual: &BTreeMap<String, Uses>, outside: &Outside) -> Vec<String> {
    let mut broken = Vec::new();
    for (name, uses) in actual {
        let Some(allowed) = rules.crates.get(name) else {
            broken.push(format!("crate {name} is not listed under [crates]"));
            continue;
        };
        for used in uses.inside.difference(allowed) {
            broken.push(format!("{name} depends on {used}, which [crates] does not allow it"));
        }
        for unused in allowed.difference(&uses.inside) {
            broken.push(format!("{name} does not depend on {unused}: take it out of [crates]"));
        }
        // Such crates may use one another: what is released reaches none of them, because it may not use the
        // first.
        if !rules.dev_only.contains(name) {
            for used in uses.inside.intersection(&rules.dev_only) {
                broken.push(format!("{name} depends on {used}, which may only be a dev-dependency"));
            }
        }
        for used in &uses.outside {
            if rules.only.get(used).is_some_and(|allowed| !allowed.contains(name)) {
                broken.push(format!("{name} depends on {used}, which [only] leaves to others"));
            }
        }
    }
    for (outside, allowed) in &rules.only {
        for name in allowed
            .iter()
            .filter(|name| actual.get(*name).is_some_and(|uses| !uses.outside.contains(outside)))
        {
            broken.push(format!("{name} does not depend on {outside}: take it out of [only]"));
        }
    }
    broken.extend(upward(rules));
    for (name, forbidden) in &rules.never {
        for reached in reachable(name, actual, outside).intersection(forbidden) {
            broken.push(format!("{name} reaches {reached}, which [never] rules out"));
        }
    }
    // A rule about a crate that does not exist protects nothing and hides a misspelling.
    let named = rules.crates.iter().chain(&rules.only);
    let mut mentioned: BTreeSet<&String> =
        named.flat_map(|(_, crates)| crates).chain(&rules.dev_only).collect();
    mentioned.extend(rules.crates.keys().chain(rules.never.keys()));
    for name in mentioned.into_iter().filter(|name| !actual.contains_key(*name)) {
        broken.push(format!("there is no crate {name}"));
    }
    let forbidden: BTreeSet<&String> = rules.never.values().flatten().collect();
    for name in
        forbidden.into_iter().filter(|name| !actual.contains_key(*name) && !outside.contains_key(*name))
    {
        broken.push(format!("[never] names {name}, which is no crate, here or in Cargo.lock"));
    }
    broken
}

/// Permissions that lead up, or into a circle of crates: a crate depends only on what stands above it in the
/// file.
fn upward(rules: &Rules) -> Vec<String> {
    let place = |name: &String| rules.order.iter().position(|other| other == name);
    let all = rules.crates.iter().flat_map(|(name, allowed)| allowed.iter().map(move |used| (name, used)));
    let upward =
        all.filter(|(name, used)| place(used).zip(place(name)).is_none_or(|(used, name)| used >= name));
    upward
        .map(|(name, used)| format!("{name} may depend on {used}, which is not above it in [crates]"))
        .collect()
}

/// The workspace crates that `from` needs, directly or through others, and the outside crates that these
/// need.
fn reachable(from: &str, actual: &BTreeMap<String, Uses>, outside: &Outside) -> BTreeSet<String> {
    let inside = closure([from], |name| actual.get(name).map(|uses| &uses.inside));
    let crates = inside.iter().map(String::as_str).chain([from]);
    let direct = crates.filter_map(|name| actual.get(name)).flat_map(|uses| &uses.outside);
    let direct: BTreeSet<&str> = direct.map(String::as_str).collect();
    let outside = closure(direct.iter().copied(), |name| outside.get(name));
    direct.into_iter().map(str::to_owned).chain(outside).chain(inside.clone()).collect()
}

/// What can be reached from the names in `from` by at least one step.
fn closure<'a>(
    from: impl IntoIterator<Item = &'a str>,
    next: impl Fn(&str) -> Option<&'a BTreeSet<String>>,
) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = from.into_iter().collect();
    while let Some(name) = open.pop() {
        for used in next(name).into_iter().flatten() {
            if reached.insert(used.clone()) {
                open.push(used);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Lock, Metadata, Outside, Uses, check, named_alike, outside, uses};
    use crate::architecture::Rules;

    #[test]
    fn the_workspace_keeps_to_its_architecture() {
        let broken = check(&Rules::read(crate::root()).unwrap(), crate::root()).unwrap();
        assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    }

    const RULES: &str = "
dev_only = [\"kit\"]
[crates]
core = []
store = [\"core\"]
middle = [\"core\"]
node = [\"core\", \"middle\"]
kit = [\"core\"]
[never]
node = [\"store\"]
[only]
sql = [\"store\"]
anything = []
[circles]
[same_names]
";

    fn rules() -> Rules {
        Rules::parse(RULES).unwrap()
    }

    fn compare(rules: &Rules, actual: &BTreeMap<String, Uses>) -> Vec<String> {
        super::compare(rules, actual, &Outside::new())
    }

    /// A workspace that uses all that the rules allow, except for these crates.
    fn workspace(others: &[(&str, &[&str], &[&str])]) -> BTreeMap<String, Uses> {
        let set = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect();
        let all: [(&str, &[&str], &[&str]); 5] = [
            ("core", &[], &[]),
            ("store", &["core"], &["sql", "serde"]),
            ("middle", &["core"], &[]),
            ("node", &["core", "middle"], &[]),
            ("kit", &["core"], &[]),
        ];
        let all = all.iter().chain(others);
        all.map(|(name, inside, outside)| {
            ((*name).to_owned(), Uses { inside: set(inside), outside: set(outside) })
        })
        .collect()
    }

    #[test]
    fn what_is_allowed_passes() {
        assert_eq!(compare(&rules(), &workspace(&[])), Vec::<String>::new());
    }

    #[test]
    fn each_kind_of_wrong_dependency_is_named() {
        for (edges, expected) in [
            (("core", &["store"][..], &[][..]), "core depends on store"),
            (("node", &["core", "middle"], &["sql"]), "node depends on sql"),
            (("store", &["core", "kit"], &["sql"]), "may only be a dev-dependency"),
            (("stranger", &[], &[]), "crate stranger is not listed"),
        ] {
            let broken = compare(&rules(), &workspace(&[edges]));
            assert!(broken.iter().any(|b| b.contains(expected)), "{expected}: {broken:?}");
        }
    }

    #[test]
    fn crates_that_are_never_released_may_use_one_another_if_that_is_listed() {
        let listed =
            RULES.replace("[\"kit\"]", "[\"kit\", \"load\"]").replace("[never]", "load = [\"kit\"]\n[never]");
        let actual = workspace(&[("load", &["kit"], &[])]);
        assert_eq!(compare(&Rules::parse(&listed).unwrap(), &actual), Vec::<String>::new());
        let unlisted = listed.replace("load = [\"kit\"]", "load = []");
        assert_eq!(
            compare(&Rules::parse(&unlisted).unwrap(), &actual),
            ["load depends on kit, which [crates] does not allow it"]
        );
        let released = listed.replace("[\"kit\", \"load\"]", "[\"kit\"]");
        assert_eq!(
            compare(&Rules::parse(&released).unwrap(), &actual),
            ["load depends on kit, which may only be a dev-dependency"]
        );
    }

    #[test]
    fn a_permission_that_is_not_used_is_named() {
        let actual = workspace(&[("node", &["core"], &[])]);
        assert_eq!(compare(&rules(), &actual), ["node does not depend on middle: take it out of [crates]"]);
        let actual = workspace(&[("store", &["core"], &["serde"])]);
        assert_eq!(compare(&rules(), &actual), ["store does not depend on sql: take it out of [only]"]);
    }

    #[test]
    fn a_permission_that_leads_up_is_named() {
        let rules =
            Rules::parse(&RULES.replace("middle = [\"core\"]", "middle = [\"core\", \"node\"]")).unwrap();
        let actual = workspace(&[("middle", &["core", "node"], &[])]);
        assert_eq!(
            compare(&rules, &actual),
            ["middle may depend on node, which is not above it in [crates]"]
        );
    }

    #[test]
    fn a_crate_is_not_reached_through_another_either() {
        let rules =
            Rules::parse(&RULES.replace("middle = [\"core\"]", "middle = [\"core\", \"store\"]")).unwrap();
        let actual = workspace(&[("middle", &["core", "store"], &[])]);
        assert_eq!(compare(&rules, &actual), ["node reaches store, which [never] rules out"]);
    }

    #[test]
    fn an_outside_crate_is_not_reached_through_another_either() {
        let rules = Rules::parse(
            &RULES.replace("[never]\n", "[never]\nkit = [\"runtime\"]\nmiddle = [\"runtime\"]\n"),
        )
        .unwrap();
        let lock: Lock = toml::from_str(
            "
[[package]]
name = \"wire\"
version = \"1.0.0\"
source = \"registry\"
[[package]]
name = \"wire\"
version = \"2.0.0\"
source = \"registry\"
dependencies = [\"runtime 1.0.0 (registry)\"]
[[package]]
name = \"runtime\"
version = \"1.0.0\"
source = \"registry\"
# Of the workspace: a dependency of its tests is none of its own.
[[package]]
name = \"kit\"
version = \"0.1.0\"
dependencies = [\"runtime\"]
",
        )
        .unwrap();
        let outside = outside(lock);
        assert!(!outside.contains_key("kit"));
        let compare = |actual| super::compare(&rules, &actual, &outside);
        assert_eq!(compare(workspace(&[])), Vec::<String>::new());
        let expected = ["middle reaches runtime, which [never] rules out"];
        assert_eq!(compare(workspace(&[("middle", &["core"], &["wire"])])), expected);
        assert_eq!(compare(workspace(&[("middle", &["core"], &["runtime"])])), expected);
        assert_eq!(
            compare(workspace(&[("core", &[], &["wire"])])),
            ["kit reaches runtime, which [never] rules out", expected[0]]
        );
    }

    #[test]
    fn two_crates_with_one_name_are_reported() {
        let package = |path: &str| serde_json::json!({"manifest_path": path, "dependencies": []});
        let packages =
            ["/p/crates/core/Cargo.toml", "/p/examples/core/Cargo.toml", "/p/crates/kit/Cargo.toml"]
                .map(package);
        let metadata: Metadata = serde_json::from_value(serde_json::json!({"packages": packages})).unwrap();
        assert_eq!(named_alike(&metadata), ["two crates have folders named core"]);
    }

    #[test]
    fn a_rule_about_nothing_is_reported() {
        let mut actual = workspace(&[]);
        actual.remove("store");
        assert!(compare(&rules(), &actual).contains(&"there is no crate store".to_owned()));
        let rules = Rules::parse(&RULES.replace("node = [\"store\"]", "node = [\"runtme\"]")).unwrap();
        assert_eq!(
            compare(&rules, &workspace(&[])),
            ["[never] names runtme, which is no crate, here or in Cargo.lock"]
        );
    }

    #[test]
    fn dev_dependencies_are_free_and_build_dependencies_are_not() {
        let metadata: Metadata = serde_json::from_value(serde_json::json!({"packages": [{
            "manifest_path": "/p/crates/core/Cargo.toml",
            "dependencies": [
                {"name": "sql", "kind": "dev", "path": null},
                {"name": "codegen", "kind": "build", "path": null},
                {"name": "x-store", "kind": null, "path": "/p/crates/store"},
            ],
        }]}))
        .unwrap();
        let uses = uses(&metadata);
        assert!(uses["core"].outside.iter().eq(["codegen"]));
        assert!(uses["core"].inside.iter().eq(["store"]));
    }
}
