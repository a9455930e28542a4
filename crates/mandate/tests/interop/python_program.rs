//! Programs in Python, in `crates/testkit/python-clients`.

use std::path::Path;

use crate::scripts::Scripts;

/// A Python with the packages that they need.
pub(crate) struct PythonProgram;

impl PythonProgram {
    /// Finds it, or says why the test is skipped.
    pub(crate) fn find() -> Option<Scripts> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let interpreter = root.join("target/python-clients/bin/python");
        if !interpreter.is_file() {
            mandate_testkit::skipped("there is no target/python-clients; `cargo xtask interop` makes it");
            return None;
        }
        Some(Scripts { interpreter, folder: root.join("crates/testkit/python-clients") })
    }
}
