//! Which dependencies are allowed: `cargo metadata` against `deny.toml`, the file that cargo-deny reads too.
//!
//! It reads the part of that file that the project uses, and refuses a key that it does not know: a written
//! rule that is not enforced would be worse than none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Deserializer};
use spdx::{Expression, Licensee, ParseError, ParseMode};

const FILE: &str = "deny.toml";

/// The one registry that is known, as `cargo metadata` writes it.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// SPDX expressions as the manifests on crates.io write them: older ones have a slash for OR.
const OF_MANIFESTS: ParseMode = ParseMode { allow_slash_as_or_operator: true, ..ParseMode::STRICT };

/// Why the dependencies could not be checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LicenseError {
    #[error("{FILE} could not be read: {0}")]
    Read(#[from] io::Error),
    #[error("{FILE}: {0}")]
    Rules(#[from] toml::de::Error),
    #[error("{FILE}: {0} would not be held")]
    Unheld(String),
    #[error("cargo metadata failed: {0}")]
    Cargo(String),
    #[error("cargo metadata is not understood: {0}")]
    Metadata(#[from] serde_json::Error),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Rules {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
    /// It can have only one value here.
    #[serde(rename = "sources")]
    _sources: Sources,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Graph {
    targets: Vec<String>,
    /// Always true here: a dependency must not be left out because of the features of a build.
    #[serde(rename = "all-features")]
    _all_features: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Licenses {
    /// For the license texts, which cargo-deny compares; here only the manifests are read.
    #[serde(rename = "confidence-threshold")]
    _confidence_threshold: f64,
    #[serde(deserialize_with = "licensees")]
    allow: Vec<Licensee>,
    private: Private,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Private {
    ignore: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    #[serde(rename = "multiple-versions")]
    _multiple_versions: Allow,
    #[serde(rename = "wildcards")]
    _wildcards: Deny,
    allow_wildcard_paths: bool,
    deny: Vec<Banned>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    #[serde(rename = "unknown-registry")]
    _unknown_registry: Deny,
    #[serde(rename = "unknown-git")]
    _unknown_git: Deny,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Allow {
    Allow,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Deny {
    Deny,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    /// Where it comes from; none for a package in the repository.
    source: Option<String>,
    /// The registries to which it may be published: none of them, if the list is empty.
    publish: Option<Vec<String>>,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    req: String,
    path: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Debug, Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

/// A misspelt license would allow nothing, and nobody would notice.
fn licensees<'de, D: Deserializer<'de>>(texts: D) -> Result<Vec<Licensee>, D::Error> {
    let texts = Vec::<String>::deserialize(texts)?;
    texts.iter().map(|text| Licensee::parse(text).map_err(serde::de::Error::custom)).collect()
}

/// Everything about the dependencies that the rules do not allow, as a sentence.
pub(crate) fn check(root: &Path) -> Result<Vec<String>, LicenseError> {
    let rules = read(&fs::read_to_string(root.join(FILE))?)?;
    let product = metadata(root, "Cargo.toml", &rules)?;
    let mut broken = compare(&rules, &product, &shipped(&product));
    // The fuzz targets are given to nobody, so their licenses do not matter.
    for found in compare(&rules, &metadata(root, "fuzz/Cargo.toml", &rules)?, &BTreeSet::new()) {
        if !broken.contains(&found) {
            broken.push(found);
        }
    }
    Ok(broken)
}

fn read(text: &str) -> Result<Rules, LicenseError> {
    let rules: Rules = toml::from_str(text)?;
    if !rules.bans.allow_wildcard_paths {
        return Err(LicenseError::Unheld("allow-wildcard-paths = false".to_owned()));
    }
    // cargo-deny takes versions beside the name; here names are compared.
    let plain = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    match rules.bans.deny.iter().find(|banned| !plain(&banned.name)) {
        Some(banned) => {
            Err(LicenseError::Unheld(format!("the ban of `{}`, which is more than a name,", banned.name)))
        }
        None => Ok(rules),
    }
}

/// What `cargo metadata` says about a workspace, which is named by its manifest.
fn metadata(root: &Path, manifest: &str, rules: &Rules) -> Result<Metadata, LicenseError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args([
            "metadata",
            "--manifest-path",
            manifest,
            "--locked",
            "--all-features",
            "--format-version",
            "1",
        ])
        .current_dir(root);
    for target in &rules.graph.targets {
        command.args(["--filter-platform", target]);
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(LicenseError::Cargo(format!(
            "{manifest}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// `shipped` names the packages whose licenses matter.
fn compare(rules: &Rules, metadata: &Metadata, shipped: &BTreeSet<&str>) -> Vec<String> {
    let mut broken = Vec::new();
    for package in &metadata.packages {
        let who = format!("{} {}", package.name, package.version);
        if let Some(banned) = rules.bans.deny.iter().find(|banned| banned.name == package.name) {
            broken.push(format!("{who} is banned: {}", banned.reason));
        }
        match &package.source {
            Some(source) if source != CRATES_IO => broken.push(format!("{who} comes from {source}")),
            Some(_) => {}
            None => {
                let open = package.dependencies.iter().filter(|d| d.req == "*" && d.path.is_none());
                broken.extend(open.map(|d| format!("{who} takes any version of {}", d.name)));
            }
        }
        let private = rules.licenses.private.ignore && package.publish.as_ref().is_some_and(Vec::is_empty);
        // What only tests use is not given to anybody.
        if private || !shipped.contains(package.id.as_str()) {
            continue;
        }
        match &package.license {
            None => broken.push(format!("{who} names no license")),
            Some(text) => match permitted(text, &rules.licenses.allow) {
                Ok(true) => {}
                Ok(false) => broken.push(format!(
                    "{who} is licensed as {text}, of which [licenses] allows nothing that is enough"
                )),
                Err(error) => broken
                    .push(format!("{who} has a license that is not understood: {text}: {}", error.reason)),
            },
        }
    }
    broken
}

/// The packages that are part of a build of a workspace package, without being its dev-dependencies.
fn shipped(metadata: &Metadata) -> BTreeSet<&str> {
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let mut open: Vec<&str> =
        metadata.packages.iter().filter(|p| p.source.is_none()).map(|p| p.id.as_str()).collect();
    let mut reached: BTreeSet<&str> = open.iter().copied().collect();
    while let Some(id) = open.pop() {
        for edge in nodes.get(id).into_iter().flat_map(|node| &node.deps) {
            // Of an edge without any kind nothing is known.
            let only_tests = !edge.dep_kinds.is_empty()
                && edge.dep_kinds.iter().all(|kind| kind.kind.as_deref() == Some("dev"));
            if !only_tests && reached.insert(&edge.pkg) {
                open.push(&edge.pkg);
            }
        }
    }
    reached
}

/// Whether the licenses in `allowed` satisfy an SPDX expression.
fn permitted(expression: &str, allowed: &[Licensee]) -> Result<bool, ParseError> {
    let expression = Expression::parse_mode(expression, OF_MANIFESTS)?;
    Ok(expression.evaluate(|required| allowed.iter().any(|license| license.satisfies(required))))
}

#[cfg(test)]
mod tests {
    use super::{LicenseError, Licensee, Metadata, Rules, check, compare, permitted, read, shipped};
    use std::collections::BTreeSet;

    #[test]
    fn the_dependencies_are_what_the_rules_allow() {
        let broken = check(crate::root()).unwrap();
        assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    }

    #[test]
    fn an_expression_is_met_by_one_side_of_or_and_both_sides_of_and() {
        let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]
            .map(|text| Licensee::parse(text).unwrap());
        for (expression, met) in [
            ("MIT", Some(true)),
            ("GPL-3.0-only", Some(false)),
            ("MIT OR GPL-3.0-only", Some(true)),
            ("MIT/GPL-3.0-only", Some(true)),
            ("MIT AND GPL-3.0-only", Some(false)),
            ("(GPL-3.0-only OR Apache-2.0) AND MIT", Some(true)),
            ("GPL-3.0-only OR Apache-2.0 AND MIT", Some(true)),
            ("Apache-2.0 WITH LLVM-exception", Some(true)),
            ("MIT WITH LLVM-exception", Some(false)),
            ("", None),
            ("MIT OR", None),
            ("(MIT", None),
            ("MIT Apache-2.0", None),
            ("MTI", None),
        ] {
            assert_eq!(permitted(expression, &allowed).ok(), met, "{expression}");
        }
    }

    const RULES: &str = "[graph]
         targets = []
         all-features = true
         [licenses]
         confidence-threshold = 0.9
         allow = [\"MIT\"]
         private = { ignore = true }
         [bans]
         multiple-versions = \"allow\"
         wildcards = \"deny\"
         allow-wildcard-paths = true
         deny = [{ crate = \"bad\", reason = \"it is bad\" }]
         [sources]
         unknown-registry = \"deny\"
         unknown-git = \"deny\"";

    fn rules() -> Rules {
        read(RULES).unwrap()
    }

    fn metadata() -> Metadata {
        let registry = super::CRATES_IO;
        let package = |name: &str, license: &str, source: Option<&str>| serde_json::json!({"id": name, "name": name, "version": "1.0.0", "license": license, "source": source, "publish": null, "dependencies": []});
        let edge =
            |to: &str, kind: Option<&str>| serde_json::json!({"pkg": to, "dep_kinds": [{"kind": kind}]});
        let mut own = package("own", "Proprietary", None);
        own["publish"] = serde_json::json!([]);
        own["dependencies"] = serde_json::json!([{"name": "any", "req": "*", "path": null}, {"name": "beside", "req": "*", "path": "/p"}]);
        serde_json::from_value(serde_json::json!({
            "packages": [
                own,
                package("good", "MIT", Some(registry)),
                package("bad", "MIT", Some(registry)),
                package("copyleft", "GPL-3.0-only", Some(registry)),
                package("tested-with", "GPL-3.0-only", Some(registry)),
                package("elsewhere", "MIT", Some("git+https://git.example/elsewhere")),
            ],
            "resolve": {"nodes": [
                {"id": "own", "deps": [edge("good", None), edge("tested-with", Some("dev"))]},
                {"id": "good", "deps": [edge("copyleft", Some("build"))]},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn each_kind_of_dependency_that_is_not_allowed_is_named() {
        let metadata = metadata();
        assert_eq!(
            compare(&rules(), &metadata, &shipped(&metadata)),
            [
                "own 1.0.0 takes any version of any",
                "bad 1.0.0 is banned: it is bad",
                "copyleft 1.0.0 is licensed as GPL-3.0-only, of which [licenses] allows nothing that is enough",
                "elsewhere 1.0.0 comes from git+https://git.example/elsewhere",
            ]
        );
    }

    #[test]
    fn a_license_matters_only_where_something_is_shipped_and_a_source_everywhere() {
        let broken = compare(&rules(), &metadata(), &BTreeSet::new());
        assert!(!broken.iter().any(|found| found.contains("is licensed as")), "{broken:?}");
        assert!(broken.iter().any(|found| found.contains("comes from")), "{broken:?}");
    }

    #[test]
    fn an_edge_of_no_known_kind_may_be_shipped() {
        let mut metadata = metadata();
        metadata.resolve.nodes[0].deps[1].dep_kinds.clear();
        assert!(shipped(&metadata).contains("tested-with"));
    }

    #[test]
    fn a_rule_that_would_not_be_held_is_refused() {
        assert!(read(&RULES.replace("MIT", "MTI")).is_err(), "no such license");
        assert!(read("[advisories]\nyanked = \"deny\"").is_err());
        let refused =
            |from: &str, to: &str| matches!(read(&RULES.replace(from, to)), Err(LicenseError::Unheld(_)));
        assert!(refused("allow-wildcard-paths = true", "allow-wildcard-paths = false"));
        for name in ["bad@1", "bad:1.2", "bad = 1", ""] {
            assert!(refused("crate = \"bad\"", &format!("crate = \"{name}\"")), "{name:?}");
        }
    }
}
