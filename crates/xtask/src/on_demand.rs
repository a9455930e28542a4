//! `cargo xtask interop --on-demand PRODUCT`: a product that is too large or too slow for every run is
//! installed in `target/on-demand`, and its tests run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::setup::present;
use crate::steps::{StepOutcome, Steps, answers, run_with};

/// Where the products are. Their tests look for them here.
const FOLDER: &str = "target/on-demand";

/// The version of Keycloak. That of SPIRE is in the Go module.
const KEYCLOAK: &str = "26.7.3";

/// The Go module that pins SPIRE's programs and everything they are built of.
const SPIRE_MODULE: &str = "crates/testkit/on-demand/spire";

/// The oldest Java on which Keycloak runs.
const JAVA: u32 = 21;

/// A product that is tried when somebody asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Product {
    /// Keycloak, as Maven Central has it: a login, its access tokens, a logout
    Keycloak,
    /// SPIRE's server and agent, built from their Go module: their JWT-SVIDs prove an agent
    Spire,
}

impl Product {
    /// Also the module of its tests.
    const fn name(self) -> &'static str {
        match self {
            Self::Keycloak => "keycloak",
            Self::Spire => "spire",
        }
    }
}

pub(crate) fn take(root: &Path, product: Product, no_setup: bool, steps: &mut Steps) {
    steps.announce(2);
    let java = (product == Product::Keycloak).then(java_home).flatten();
    steps.take(product.name(), || match product {
        _ if no_setup => StepOutcome::Skipped("--no-setup".to_owned()),
        Product::Keycloak => keycloak(root, java.as_deref()),
        Product::Spire => spire(root),
    });
    // Tests on demand are ignored otherwise.
    let module = format!("{}::", product.name());
    let cargo = ["--package", "mandate", "--test", "interop", "--", "--ignored", "--nocapture", &module];
    let java: Vec<(&str, &Path)> = java.iter().map(|home| ("JAVA_HOME", home.as_path())).collect();
    steps.cargo_test(root, &format!("tests with {}", product.name()), &cargo, &java);
}

/// Installs Keycloak, and builds it for a database in memory: each test has one of its own.
fn keycloak(root: &Path, java: Option<&Path>) -> StepOutcome {
    let folder = root.join(FOLDER).join("keycloak");
    let built = folder.join("built");
    if fs::read_to_string(&built).is_ok_and(|version| version == KEYCLOAK) {
        println!("Keycloak {KEYCLOAK} is in {}", folder.display());
        return StepOutcome::Passed;
    }
    let Some(java) = java else {
        return StepOutcome::Skipped(format!("there is no Java {JAVA}: set JAVA_HOME"));
    };
    if !present("mvn") {
        return StepOutcome::Skipped(
            "there is no Maven (mvn), which fetches it from Maven Central".to_owned(),
        );
    }
    if let Err(error) = fs::remove_dir_all(&folder).or_else(only_if_there) {
        return StepOutcome::Failed(format!("{} cannot be emptied: {error}", folder.display()));
    }
    let artifact = format!("-Dartifact=org.keycloak:keycloak-quarkus-dist:{KEYCLOAK}:zip");
    let into = format!("-DoutputDirectory={}", folder.display());
    // Without a project Maven would write this list into the folder in which it runs.
    let markers = format!("-DmarkersDirectory={}", folder.join("unpacked").display());
    let java_home: &[(&str, &Path)] = &[("JAVA_HOME", java)];
    let unpack = ["--quiet", "dependency:unpack", &artifact, &into, &markers];
    let outcome = run_with(root, "mvn", &unpack, java_home);
    if outcome != StepOutcome::Passed {
        return outcome;
    }
    let program = folder.join(format!("keycloak-{KEYCLOAK}/bin/kc.sh"));
    let outcome = run_with(&folder, &program.to_string_lossy(), &["build", "--db=dev-mem"], java_home);
    match (outcome, fs::write(&built, KEYCLOAK)) {
        (StepOutcome::Passed, Err(error)) => {
            StepOutcome::Failed(format!("{} cannot be written: {error}", built.display()))
        }
        (outcome, _) => outcome,
    }
}

/// A folder that is not there is empty.
fn only_if_there(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Builds SPIRE's programs. Go keeps what it has built, so this takes minutes only once.
fn spire(root: &Path) -> StepOutcome {
    if !answers(Command::new("go").arg("version")) {
        return StepOutcome::Skipped("there is no Go".to_owned());
    }
    let into = root.join(FOLDER).join("spire");
    if let Err(error) = fs::create_dir_all(&into) {
        return StepOutcome::Failed(format!("{} cannot be made: {error}", into.display()));
    }
    run_with(&root.join(SPIRE_MODULE), "go", &["install", "-mod=readonly", "tool"], &[("GOBIN", &into)])
}

/// The home of a Java that is new enough: that of `JAVA_HOME`, or one where Debian puts them.
fn java_home() -> Option<PathBuf> {
    let named = std::env::var_os("JAVA_HOME").map(PathBuf::from);
    let installed = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten().map(|entry| entry.path());
    named.into_iter().chain(installed).find(|home| {
        let release = fs::read_to_string(home.join("release")).unwrap_or_default();
        java_version(&release).is_some_and(|version| version >= JAVA)
    })
}

/// The major version in the file `release` of a Java.
fn java_version(release: &str) -> Option<u32> {
    let version = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION=\""))?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::{KEYCLOAK, SPIRE_MODULE, java_version};

    #[test]
    fn the_version_of_a_java_is_in_its_release() {
        assert_eq!(java_version("IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"25.0.3\"\n"), Some(25));
        assert_eq!(java_version("JAVA_VERSION=\"1.8.0_402\"\n"), Some(1));
        assert_eq!(java_version("JAVA_VERSION=\"21\"\n"), Some(21));
        assert_eq!(java_version(""), None);
    }

    /// What the page says was run is what the test runs.
    #[test]
    fn the_settings_of_keycloak_in_the_book_are_those_of_the_script() {
        let read = |path: &str| fs::read_to_string(crate::root().join(path)).unwrap();
        let script = read("crates/testkit/on-demand/keycloak/settings.sh");
        let (_, commands) = script.split_once("set -eu\n\n").unwrap();
        assert!(commands.lines().count() > 30);
        let page = read("docs/src/keycloak.md");
        assert!(page.contains(commands.trim_end()), "copy the script into the page");
        assert!(page.contains(&format!("Keycloak {KEYCLOAK} ")), "the version");
    }

    /// The table of the page, whose rows the tests on demand are behind.
    #[test]
    fn the_book_names_the_versions_that_are_tried_on_demand() {
        let read = |path: &str| fs::read_to_string(crate::root().join(path)).unwrap();
        let page = read("docs/src/tried-with.md");
        let module = read(&format!("{SPIRE_MODULE}/go.mod"));
        let spire = module.lines().find_map(|line| line.trim().strip_prefix("github.com/spiffe/spire v"));
        let spire = spire.unwrap().split(' ').next().unwrap();
        for (name, version, test) in [("Keycloak", KEYCLOAK, "keycloak.rs"), ("SPIRE", spire, "spire.rs")] {
            let row = page.lines().find(|line| line.starts_with(&format!("| {name} |")));
            let row = row.unwrap_or_else(|| panic!("the page does not name {name}"));
            assert!(row.contains(&format!("| {version} |")) && row.contains(&format!("`{test}`")), "{row}");
            let tests = read(&format!("crates/mandate/tests/interop/{test}"));
            assert!(tests.contains("#[ignore = \"on demand\"]"), "{test}");
        }
        let newest: BTreeMap<String, toml::Value> =
            toml::from_str(&read("crates/testkit/newest-versions.toml")).unwrap();
        assert_eq!(newest["maven"]["org.keycloak:keycloak-quarkus-dist"].as_str(), Some(KEYCLOAK));
    }
}
