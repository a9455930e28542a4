//! The files of the project, as text.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct File {
    /// Its path from the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// Its lines, numbered from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// Whether a person wrote it.
    pub(crate) fn hand_written(&self) -> bool {
        !self.path.contains("/generated/")
    }

    /// Whether it is Rust source.
    pub(crate) fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }

    /// Whether its name ends in `.extension`.
    pub(crate) fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|e| e == extension)
    }
}

/// Build products and version control.
const SKIPPED: &[&str] = &[".git", "target", "node_modules", "corpus", "artifacts", "book"];

/// The extensions of text files.
const EXTENSIONS: &[&str] = &[
    "rs",
    "toml",
    "md",
    "proto",
    "cedar",
    "cedarschema",
    "sql",
    "sh",
    "js",
    "mjs",
    "css",
    "html",
    "json",
    "yml",
];

/// Every text file below `root`, sorted by path.
pub(crate) fn files(root: &Path) -> io::Result<Vec<File>> {
    let mut found = Vec::new();
    walk(root, root, &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn walk(root: &Path, dir: &Path, found: &mut Vec<File>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let name = entry.file_name();
        if entry.file_type()?.is_dir() {
            if SKIPPED.iter().all(|skipped| name != *skipped) {
                walk(root, &path, found)?;
            }
        } else if is_text(&path) {
            found.push(File { path: relative(root, &path), text: fs::read_to_string(&path)? });
        }
    }
    Ok(())
}

fn is_text(path: &Path) -> bool {
    match path.extension() {
        Some(extension) => EXTENSIONS.iter().any(|known| extension == *known),
        // Of files without extension only the CI script is ours to read.
        None => path.ends_with(".ci/run"),
    }
}

fn relative(root: &Path, path: &Path) -> String {
    let path: PathBuf = path.strip_prefix(root).unwrap_or(path).components().collect();
    path.to_string_lossy().replace('\\', "/")
}
