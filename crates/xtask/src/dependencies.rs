//! The direction of dependencies: `cargo metadata` against `architecture.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

/// The committed rules.
pub(crate) const FILE: &str = "architecture.toml";

/// Why the dependencies could not be compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DependencyError {
    #[error("{FILE} could not be read: {0}")]
    Read(#[from] io::Error),
    #[error("{FILE}: {0}")]
    Rules(#[from] toml::de::Error),
    #[error("cargo metadata failed: {0}")]
    Cargo(String),
    #[error("cargo metadata is not understood: {0}")]
    Metadata(#[from] serde_json::Error),
}

/// `architecture.toml`. Crates are named as their folders in `crates/`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    /// For each crate, the workspace crates that it may depend on.
    crates: BTreeMap<String, BTreeSet<String>>,
    /// For each crate, the workspace crates that it may not reach, not even through others.
    never: BTreeMap<String, BTreeSet<String>>,
    /// For each outside crate named here, the only workspace crates that may depend on it.
    only: BTreeMap<String, BTreeSet<String>>,
    /// Workspace crates that may only be dev-dependencies.
    dev_only: BTreeSet<String>,
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

/// What a workspace crate depends on in a build that is shipped.
#[derive(Debug, Default)]
struct Uses {
    inside: BTreeSet<String>,
    outside: BTreeSet<String>,
}

/// Every dependency that the rules do not allow, as a sentence.
pub(crate) fn check(root: &Path) -> Result<Vec<String>, DependencyError> {
    let rules = toml::from_str(&fs::read_to_string(root.join(FILE))?)?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root).output()?;
    if !output.status.success() {
        return Err(DependencyError::Cargo(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    Ok(compare(&rules, &uses(&metadata)))
}

fn folder(path: &str) -> String {
    path.trim_end_matches("/Cargo.toml").rsplit('/').next().unwrap_or(path).to_owned()
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

fn compare(rules: &Rules, actual: &BTreeMap<String, Uses>) -> Vec<String> {
    let mut broken = Vec::new();
    for (name, uses) in actual {
        let Some(allowed) = rules.crates.get(name) else {
            broken.push(format!("crate {name} is not listed under [crates]"));
            continue;
        };
        for used in uses.inside.difference(allowed) {
            broken.push(format!("{name} depends on {used}, which [crates] does not allow it"));
        }
        for used in uses.inside.intersection(&rules.dev_only) {
            broken.push(format!("{name} depends on {used}, which may only be a dev-dependency"));
        }
        for used in &uses.outside {
            if rules.only.get(used).is_some_and(|allowed| !allowed.contains(name)) {
                broken.push(format!("{name} depends on {used}, which [only] leaves to others"));
            }
        }
    }
    for (name, forbidden) in &rules.never {
        for reached in reachable(name, actual).intersection(forbidden) {
            broken.push(format!("{name} reaches {reached}, which [never] rules out"));
        }
    }
    // A rule about a crate that does not exist protects nothing and hides a misspelling.
    let named = rules.crates.iter().chain(&rules.never).chain(&rules.only);
    let mut mentioned: BTreeSet<&String> = named.flat_map(|(_, crates)| crates).chain(&rules.dev_only).collect();
    mentioned.extend(rules.crates.keys().chain(rules.never.keys()));
    for name in mentioned.into_iter().filter(|name| !actual.contains_key(*name)) {
        broken.push(format!("there is no crate {name}"));
    }
    broken
}

fn reachable(from: &str, actual: &BTreeMap<String, Uses>) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(name) = open.pop() {
        for next in actual.get(&name).into_iter().flat_map(|uses| &uses.inside) {
            if reached.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Metadata, Rules, Uses, check, compare, uses};

    #[test]
    fn the_workspace_keeps_to_its_architecture() {
        let broken = check(crate::root()).unwrap();
        assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    }

    fn rules() -> Rules {
        toml::from_str(
            "dev_only = [\"kit\"]
             [crates]
             core = []
             store = [\"core\"]
             node = [\"core\", \"middle\"]
             middle = [\"core\", \"store\"]
             kit = [\"core\"]
             [never]
             node = [\"store\"]
             [only]
             sql = [\"store\"]",
        )
        .unwrap()
    }

    fn workspace(edges: &[(&str, &[&str], &[&str])]) -> BTreeMap<String, Uses> {
        let set = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect();
        let mut all: BTreeMap<String, Uses> =
            ["core", "store", "node", "middle", "kit"].into_iter().map(|name| (name.to_owned(), Uses::default())).collect();
        all.extend(edges.iter().map(|(name, inside, outside)| ((*name).to_owned(), Uses { inside: set(inside), outside: set(outside) })));
        all
    }

    #[test]
    fn what_is_allowed_passes() {
        let actual = workspace(&[("store", &["core"], &["sql", "serde"]), ("middle", &["core", "store"], &[])]);
        assert_eq!(compare(&rules(), &actual), Vec::<String>::new());
    }

    #[test]
    fn each_kind_of_wrong_dependency_is_named() {
        for (edges, expected) in [
            (("core", &["store"][..], &[][..]), "core depends on store"),
            (("node", &["core"], &["sql"]), "node depends on sql"),
            (("store", &["core", "kit"], &[]), "may only be a dev-dependency"),
            (("stranger", &[], &[]), "crate stranger is not listed"),
        ] {
            let broken = compare(&rules(), &workspace(&[edges]));
            assert!(broken.iter().any(|b| b.contains(expected)), "{expected}: {broken:?}");
        }
    }

    #[test]
    fn a_crate_is_not_reached_through_another_either() {
        let actual = workspace(&[("node", &["middle"], &[]), ("middle", &["store"], &[])]);
        assert_eq!(compare(&rules(), &actual), ["node reaches store, which [never] rules out"]);
    }

    #[test]
    fn a_rule_about_nothing_is_reported() {
        let mut actual = workspace(&[]);
        actual.remove("store");
        assert!(compare(&rules(), &actual).contains(&"there is no crate store".to_owned()));
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
