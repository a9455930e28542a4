//! `cargo xtask codegen`: Rust from the `.proto` files, without an installed `protoc`, checked in. With
//! `--check` it changes nothing and fails if what is checked in is not up to date.
//!
//! It is a separate crate, so that the compiler of `.proto` files is built only when it is needed, and not
//! for every task.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks on stdout and stderr"
)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where the interface definitions are.
const PROTO_DIR: &str = "crates/api/proto";
/// Where the generated code is checked in.
const OUT_DIR: &str = "crates/api/src/generated";

/// Messages that contain a secret. They get no derived `Debug`; `mandate-api` has an implementation that
/// leaves the secret out.
const SECRET_MESSAGES: &[&str] = &[
    ".X509SVID",
    ".JWTSVID",
    ".ValidateJWTSVIDRequest",
    ".mandate.node.v1.JoinRequest",
    ".mandate.node.v1.IssueJwtSvidResponse",
];

/// Why code could not be generated or is not what is checked in.
#[derive(Debug, thiserror::Error)]
enum CodegenError {
    #[error("{0}")]
    Proto(#[from] protox::Error),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("not up to date: {}; run `cargo xtask codegen`", .0.join(", "))]
    Stale(Vec<String>),
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => write(root()).map(|files| println!("wrote {}", files.join(", "))),
        ["--check"] => check(root()),
        _ => {
            eprintln!("error: the only argument is --check");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CodegenError {
    let path = path.to_owned();
    move |source| CodegenError::Io { path, source }
}

/// Writes the generated files and returns their names.
fn write(root: &Path) -> Result<Vec<String>, CodegenError> {
    let out = root.join(OUT_DIR);
    fs::create_dir_all(&out).map_err(at(&out))?;
    let files = generate(root)?;
    for (name, text) in &files {
        let path = out.join(name);
        fs::write(&path, text).map_err(at(&path))?;
    }
    for name in strangers(&out, &files)? {
        let path = out.join(name);
        fs::remove_file(&path).map_err(at(&path))?;
    }
    Ok(files.into_iter().map(|(name, _)| format!("{OUT_DIR}/{name}")).collect())
}

/// Succeeds only if the checked-in files are what would be generated now.
fn check(root: &Path) -> Result<(), CodegenError> {
    let out = root.join(OUT_DIR);
    let files = generate(root)?;
    let mut stale = strangers(&out, &files)?;
    for (name, text) in &files {
        if fs::read_to_string(out.join(name)).ok().as_ref() != Some(text) {
            stale.push(name.clone());
        }
    }
    stale.sort();
    if stale.is_empty() { Ok(()) } else { Err(CodegenError::Stale(stale)) }
}

/// `name.proto` becomes `name.rs`, no matter what the name of its package is.
fn generate(root: &Path) -> Result<Vec<(String, String)>, CodegenError> {
    let protos = root.join(PROTO_DIR);
    let mut files = Vec::new();
    for name in names(&protos, "proto")? {
        let out = tempfile::tempdir().map_err(at(Path::new("a temporary directory")))?;
        let set = protox::compile([&name], [&protos])?;
        tonic_prost_build::configure()
            .skip_debug(SECRET_MESSAGES.iter().copied())
            .out_dir(out.path())
            .compile_fds(set)
            .map_err(at(&protos.join(&name)))?;
        let mut text = String::new();
        // One file for one package: an import of a well-known type generates none.
        for produced in names(out.path(), "rs")? {
            let path = out.path().join(produced);
            text.push_str(&fs::read_to_string(&path).map_err(at(&path))?);
        }
        files.push((format!("{}.rs", name.trim_end_matches(".proto")), text));
    }
    Ok(files)
}

/// Files in `out` that are no longer generated from a `.proto` file.
fn strangers(out: &Path, files: &[(String, String)]) -> Result<Vec<String>, CodegenError> {
    let mut present = if out.is_dir() { names(out, "rs")? } else { Vec::new() };
    present.retain(|name| files.iter().all(|(known, _)| known != name));
    Ok(present)
}

fn names(dir: &Path, extension: &str) -> Result<Vec<String>, CodegenError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let path = entry.map_err(at(dir))?.path();
        if path.extension().is_some_and(|e| e == extension)
            && let Some(name) = path.file_name().and_then(|n| n.to_str())
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{CodegenError, OUT_DIR, PROTO_DIR, check, write};

    fn tree(proto: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(PROTO_DIR)).unwrap();
        put(root.path(), proto);
        root
    }

    fn put(root: &Path, proto: &str) {
        fs::write(root.join(PROTO_DIR).join("a.proto"), proto).unwrap();
    }

    #[test]
    fn what_is_checked_in_is_what_is_generated() {
        check(super::root()).unwrap();
    }

    #[test]
    fn a_changed_definition_and_a_stranger_are_stale() {
        let root = tree("syntax = \"proto3\"; message A { string b = 1; }");
        assert!(matches!(check(root.path()), Err(CodegenError::Stale(_))), "nothing generated yet");
        write(root.path()).unwrap();
        check(root.path()).unwrap();
        put(root.path(), "syntax = \"proto3\"; message A { string c = 1; }");
        assert!(matches!(check(root.path()), Err(CodegenError::Stale(names)) if names == ["a.rs"]));
        write(root.path()).unwrap();
        fs::write(root.path().join(OUT_DIR).join("left_over.rs"), "").unwrap();
        assert!(matches!(check(root.path()), Err(CodegenError::Stale(names)) if names == ["left_over.rs"]));
        write(root.path()).unwrap();
        check(root.path()).unwrap();
    }

    #[test]
    fn a_broken_definition_is_an_error_that_names_its_place() {
        let root = tree("syntax = \"proto3\"; message A { strin b = 1; }");
        let error = write(root.path()).unwrap_err().to_string();
        assert!(error.contains("strin"), "{error}");
    }
}
