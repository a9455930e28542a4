//! Crates that compute from their arguments alone: their code names nothing of the machine.
//!
//! `architecture.toml` keeps runtimes out of them; this keeps out what the standard library has.

use crate::finding::Finding;
use crate::sources::has_word;
use crate::tree::File;

/// The sources of the pure crates.
const PURE: &[&str] = &[
    "crates/core/src/",
    "crates/token/src/",
    "crates/policy/src/",
    "crates/audit/src/",
    "crates/delegation/src/",
    "crates/planning/src/",
];

/// The files of these crates that may name some of it: the machine's clock and randomness, and a clock that
/// callers share.
const EXCEPT: &[(&str, &[&str])] = &[
    ("crates/core/src/system.rs", &["Instant", "SystemTime", "OnceLock"]),
    ("crates/core/src/hybrid_clock.rs", &["parking_lot"]),
];

/// Clocks, globals, locks, sockets and async code.
const IMPURE: &[&str] = &[
    "Instant",
    "SystemTime",
    "OnceLock",
    "LazyLock",
    "thread_local",
    "parking_lot",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
    "async",
    "tokio",
];

/// Modules of `std` that reach the machine.
const IMPURE_MODULES: &[&str] = &["env", "fs", "process", "thread"];

/// Reports what a pure crate names of the machine. Unit tests may name it.
pub(crate) fn check(file: &File, findings: &mut Vec<Finding>) {
    let pure = PURE.iter().any(|start| file.path.starts_with(start));
    if !pure || !file.is_rust() || file.path.contains("/tests/") || file.path.ends_with("/tests.rs") {
        return;
    }
    let excepted = EXCEPT.iter().find(|(path, _)| file.path == *path).map_or(&[][..], |(_, words)| *words);
    for (number, line) in file.lines().take_while(|(_, line)| !line.starts_with("#[cfg(test)]")) {
        let code = line.split("//").next().unwrap_or(line);
        let modules = if code.contains("std::") { IMPURE_MODULES } else { &[] };
        let named = IMPURE.iter().chain(modules).find(|word| has_word(code, word));
        if let Some(word) = named.filter(|word| !excepted.contains(*word)) {
            findings.push(Finding::error(
                file,
                number,
                format!("{word} in a crate that computes from its arguments alone"),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{EXCEPT, PURE, check};
    use crate::tree::File;

    fn refused(path: &str, text: &str) -> bool {
        let mut findings = Vec::new();
        check(&File { path: path.to_owned(), text: text.to_owned() }, &mut findings);
        !findings.is_empty()
    }

    #[test]
    fn a_pure_crate_names_no_clock_thread_file_socket_or_global_and_has_no_async_code() {
        for line in [
            "use std::thread::{self, JoinHandle};",
            "use std::{fs, io};",
            "    let home = std::env::var_os(\"HOME\");",
            "    let now = Instant::now();",
            "    let now = std::time::SystemTime::now();",
            "static SEEN: OnceLock<u64> = OnceLock::new();",
            "use parking_lot::Mutex;",
            "use tokio::sync::oneshot;",
            "pub async fn decide() {}",
            "use std::net::TcpStream;",
        ] {
            for path in ["crates/audit/src/b.rs", "crates/delegation/src/decide.rs"] {
                assert!(refused(path, line), "{line}");
            }
            assert!(!refused("crates/sequencer/src/b.rs", line), "{line}");
            assert!(!refused("crates/audit/src/b/tests.rs", line), "{line}");
            assert!(!refused("crates/audit/src/b.rs", &format!("#[cfg(test)]\n{line}")), "{line}");
            assert!(!refused("crates/audit/src/b.rs", &format!("// {line}")), "{line}");
        }
        for line in ["use std::io::{BufRead, Write};", "use std::net::IpAddr;", "let fs = asynchronous;"] {
            assert!(!refused("crates/audit/src/b.rs", line), "{line}");
        }
    }

    #[test]
    fn a_file_may_name_only_what_is_excepted_for_it() {
        assert!(!refused("crates/core/src/system.rs", "use std::time::{Instant, SystemTime};"));
        assert!(refused("crates/core/src/system.rs", "use std::thread;"));
        assert!(refused("crates/core/src/time.rs", "use std::time::{Instant, SystemTime};"));
    }

    #[test]
    fn each_crate_and_file_that_is_named_here_exists() {
        for path in PURE.iter().chain(EXCEPT.iter().map(|(path, _)| path)) {
            assert!(Path::new(crate::root()).join(path).exists(), "{path}");
        }
    }
}
