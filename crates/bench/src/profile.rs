//! The parts of an exchange: samples of the server's CPU time by part, if `perf` is permitted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::error::BenchError;

/// A running `perf record`.
pub(crate) struct Recording {
    child: Child,
    file: PathBuf,
}

/// Each part's share of the samples, from 0 to 1.
pub(crate) type Shares = BTreeMap<&'static str, f64>;

impl Recording {
    /// Starts; `None` if there is no `perf` or it is not permitted.
    pub(crate) fn start(pid: u32, file: PathBuf) -> Option<Self> {
        let child = Command::new("perf")
            .args(["record", "-q", "-F", "999", "-p", &pid.to_string(), "-o"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        Some(Self { child, file })
    }

    /// Ends the recording and sums it up; `None` if it saw nothing.
    pub(crate) async fn finish(mut self) -> Result<Option<Shares>, BenchError> {
        let what = "perf";
        // SIGINT makes it write its file; SIGKILL would not.
        let interrupt = Command::new("kill")
            .args(["-INT", &self.child.id().unwrap_or_default().to_string()])
            .status()
            .await;
        interrupt.map_err(BenchError::during(what))?;
        self.child.wait().await.map_err(BenchError::during(what))?;
        let script = Command::new("perf")
            .args(["script", "-F", "ip,sym,dso", "-i"])
            .arg(&self.file)
            .stderr(Stdio::null())
            .output()
            .await;
        let text = String::from_utf8_lossy(&script.map_err(BenchError::during(what))?.stdout).into_owned();
        Ok(shares(&text))
    }
}

fn shares(script: &str) -> Option<Shares> {
    let mut counts: BTreeMap<&'static str, u32> = BTreeMap::new();
    let mut all = 0u32;
    for line in script.lines() {
        // "  7f03a4c2d1e0 symbol (object)"
        let Some((_, rest)) = line.trim().split_once(' ') else { continue };
        let (symbol, object) = rest.rsplit_once(" (").unwrap_or((rest, ""));
        *counts.entry(part(symbol, object)).or_default() += 1;
        all += 1;
    }
    (all > 0)
        .then(|| counts.into_iter().map(|(part, count)| (part, f64::from(count) / f64::from(all))).collect())
}

/// What reads and writes the database, in the server process.
const DATABASE: &str = "database: SQLite, or the client of PostgreSQL";

/// The part of the server that a function belongs to.
fn part(symbol: &str, object: &str) -> &'static str {
    let is = |names: &[&str]| names.iter().any(|name| symbol.contains(name));
    if object.contains("kernel") || object.starts_with('[') {
        "kernel: network, disk, wake-ups"
    } else if is(&[
        "aws_lc",
        "aws-lc",
        "p256",
        "ecp_nistz",
        "ecdsa",
        "bn_",
        "sha256",
        "sha512",
        "curve25519",
        "ed25519",
        "sha2::",
        "bignum",
    ]) {
        "cryptography"
    } else if is(&["cedar", "mandate_policy"]) {
        "policy"
    } else if object.contains("libc") || is(&["malloc", "cfree", "realloc", "memcpy", "memmove", "mimalloc"])
    {
        "allocating and copying"
    } else if is(&["serde", "strict_json", "base64", "itoa", "form_urlencoded", "percent_encoding"]) {
        "JSON, base64 and forms"
    } else if is(&["postgres"]) {
        // Before the runtime: the client's name begins with "tokio".
        DATABASE
    } else if is(&["tokio", "hyper", "axum", "tower", "mio::", "http::", "matchit", "parking_lot", "bytes::"])
    {
        "HTTP and runtime"
    } else if is(&["sqlite", "mandate_store"])
        || !symbol.contains("::") && !symbol.starts_with('<') && !symbol.starts_with("_R")
    {
        // SQLite is the only C left; most of its functions are static and carry no prefix.
        DATABASE
    } else if is(&["mandate_audit", "mandate_sequencer"]) {
        "audit: records, tree and sequencer"
    } else {
        "our own code and the standard library"
    }
}

#[cfg(test)]
mod tests {
    use super::{DATABASE, shares};

    #[test]
    fn adds_up_to_one() {
        let script = "  55 sqlite3VdbeExec (/x/mandate)\n  56 cedar_policy_core::ast::f (/x/mandate)\n  ff copy_user ([kernel.kallsyms])\n  57 balance (/x/mandate)\n\n";
        let shares = shares(script).unwrap();
        assert!((shares.values().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!((shares[DATABASE] - 0.5).abs() < 1e-9);
        assert!(super::shares("").is_none());
    }

    #[test]
    fn the_client_of_postgresql_is_not_the_runtime() {
        let script =
            "  55 tokio_postgres::query::query (/x/mandate)\n  56 tokio::runtime::task::poll (/x/mandate)\n";
        let shares = shares(script).unwrap();
        assert!((shares[DATABASE] - 0.5).abs() < 1e-9);
        assert!((shares["HTTP and runtime"] - 0.5).abs() < 1e-9);
    }
}
