//! `architecture.toml`: the rules about crates and modules that are committed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;

pub(crate) const FILE: &str = "architecture.toml";

/// Why there are no rules.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchitectureError {
    #[error("{FILE} could not be read: {0}")]
    Read(#[from] io::Error),
    #[error("{FILE}: {0}")]
    Rules(#[from] toml::de::Error),
}

/// `architecture.toml`. Crates are named as their folders in `crates/`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    /// For each crate, the workspace crates that it may depend on.
    pub(crate) crates: BTreeMap<String, BTreeSet<String>>,
    /// The names of `crates` as they stand in the file, the lowest first.
    #[serde(skip)]
    pub(crate) order: Vec<String>,
    /// For each crate, the crates that it may not reach, not even through others. They may be outside crates.
    pub(crate) never: BTreeMap<String, BTreeSet<String>>,
    /// For each outside crate named here, the only workspace crates that may depend on it.
    pub(crate) only: BTreeMap<String, BTreeSet<String>>,
    /// Workspace crates that may only be dev-dependencies.
    pub(crate) dev_only: BTreeSet<String>,
    /// The circles of imports that there are. Each is named by one of its files, with the number of its
    /// files.
    pub(crate) circles: BTreeMap<String, usize>,
    /// The names of public types that more than one crate defines, each with why it has one meaning.
    pub(crate) same_names: BTreeMap<String, String>,
}

impl Rules {
    /// The rules of the tree at `root`.
    pub(crate) fn read(root: &Path) -> Result<Self, ArchitectureError> {
        Ok(Self::parse(&fs::read_to_string(root.join(FILE))?)?)
    }

    /// The rules in `text`.
    pub(crate) fn parse(text: &str) -> Result<Self, toml::de::Error> {
        let rules: Self = toml::from_str(text)?;
        Ok(Self { order: order(text), ..rules })
    }
}

/// The names on the left side in the table `[crates]`. A parsed table has forgotten their order.
fn order(text: &str) -> Vec<String> {
    let table = text
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[crates]")
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    table.filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn the_order_is_that_of_the_lines() {
        let text = "dev_only = []\n# First.\n[crates]\nz = []\n# Of both.\nm = [\n  \"z\",\n]\na = [\"z\", \"m\"]\n\n[never]\nb = []\n";
        assert_eq!(order(text), ["z", "m", "a"]);
    }
}
