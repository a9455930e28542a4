//! Programs in JavaScript, in `crates/testkit/node-clients`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scripts::Scripts;

/// A Node.js that can run them, with their packages beside it.
pub(crate) struct NodeProgram;

impl NodeProgram {
    /// Finds it, or says why the test is skipped.
    pub(crate) fn find() -> Option<Scripts> {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/node-clients");
        if !clients.join("node_modules").is_dir() {
            mandate_testkit::skipped(
                "run `npm ci` in crates/testkit/node-clients first; `cargo xtask interop` does",
            );
            return None;
        }
        // The packages bring a Node.js of the version they need, for systems whose own is older.
        let brought =
            ["x64", "arm64"].map(|cpu| clients.join(format!("node_modules/node-linux-{cpu}/bin/node")));
        let node = brought.into_iter().chain([PathBuf::from("node")]).find(|node| suits(node));
        if node.is_none() {
            mandate_testkit::skipped("there is no Node.js 20 or newer");
        }
        Some(Scripts { interpreter: node?, folder: clients })
    }
}

fn suits(node: &Path) -> bool {
    let output = Command::new(node).arg("--version").output();
    let version = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    version
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok())
        .is_some_and(|major| major >= 20)
}
