//! A node that was away until its certificate had expired, under the programs as they are shipped:
//! libfaketime moves the clock of server and node, since certificates live for an hour.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::clock::FakeClock;
use crate::registry::{NO_KEYS, apply, registry};
use crate::server::{Process, Server, mandate};

const GRACE: &[&str] = &["--node-rejoin-grace", "1h"];

/// Seconds after the start at which the hour of a certificate is over, and an hour of grace after it is not.
const WITHIN: u64 = 90 * 60;

/// A server that lets nodes in again for an hour, and a node of it.
struct Away {
    clock: FakeClock,
    server: Server,
    log: PathBuf,
}

impl Away {
    fn start() -> Option<Self> {
        let clock = FakeClock::start()?;
        let server = Server::start_in(tempfile::tempdir().unwrap(), GRACE, &clock.environment());
        apply(&server, &registry(NO_KEYS, ""));
        Some(Self { log: server.dir().join("node.log"), clock, server })
    }

    /// `mandate node run`, with a join token if there is one.
    fn node(&self, token: Option<&str>) -> std::process::Command {
        let at = |name: &str| self.server.dir().join(name);
        let mut command =
            mandate(self.server.dir(), &["node", "run", "--json", "--server", self.server.node_address()]);
        command.arg("--dir").arg(at("node")).arg("--socket").arg(at("agent.sock"));
        if let Some(token) = token {
            fs::write(at("join.token"), token).unwrap();
            command.arg("--join-token-file").arg(at("join.token"));
        }
        command.envs(self.clock.environment()).stderr(File::create(&self.log).unwrap());
        command
    }

    /// Runs until it is ready; gives who it is.
    fn is_ready(&self, token: Option<&str>) -> String {
        let mut node = Process::start_logging(&mut self.node(token)).unwrap();
        node.json_line()["spiffe_id"].as_str().unwrap().to_owned()
    }

    /// Runs to its end; gives its exit code and what it says. One that goes on is killed, and has no code.
    fn ends(&self) -> (Option<i32>, String) {
        let mut node = self.node(None).stdout(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) && node.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(50));
        }
        // It may have ended by itself.
        let _ = node.kill();
        (node.wait().unwrap().code(), self.log())
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn join_token(&self) -> String {
        let made: Value =
            serde_json::from_str(&self.server.run(&["node", "join-token", "--json"], "")).unwrap();
        made["token"].as_str().unwrap().to_owned()
    }

    /// So many seconds from the start, server and all.
    fn at(self, seconds: u64, options: &[&str]) -> Self {
        let Self { clock, server, log } = self;
        let dir = server.kill();
        clock.set(&format!("+{seconds}"));
        Self { server: Server::start_in(dir, options, &clock.environment()), clock, log }
    }

    fn is_refused(&self, what: &str) {
        let (code, said) = self.ends();
        assert_eq!(code, Some(3), "{what}: {said}");
        for part in
            ["certificate expired at", "mandate node join-token", "--join-token-file", "--node-rejoin-grace"]
        {
            assert!(said.contains(part), "{what}: {part}: {said}");
        }
    }
}

#[test]
fn a_node_joins_again_with_its_expired_certificate_within_the_grace_and_not_after_it() {
    let Some(away) = Away::start() else { return };
    let name = away.is_ready(Some(&away.join_token()));
    let pem = away.server.dir().join("node/node.pem");
    let first = fs::read(&pem).unwrap();

    let away = away.at(WITHIN, GRACE);
    assert_eq!(away.is_ready(None), name, "it is the node that it was");
    assert!(away.log().contains("this node has joined again with its expired certificate"), "{}", away.log());
    assert_ne!(fs::read(&pem).unwrap(), first, "it has a new certificate, with a new key");
    let records = away.server.run(&["audit", "query", "--kind", "node", "--json"], "");
    assert!(records.contains("joined again with its certificate, which expired at"), "{records}");
    // The new certificate is good for its own hour.
    assert_eq!(away.is_ready(None), name);
    assert!(!away.log().contains("joined again"), "{}", away.log());

    // A copy of the old one is worth nothing, though its grace is not over.
    let second = fs::read(&pem).unwrap();
    fs::write(&pem, &first).unwrap();
    away.is_refused("an older certificate");
    fs::write(&pem, &second).unwrap();

    let away = away.at(2 * WITHIN + 60 * 60, GRACE);
    away.is_refused("after the grace");
    // What it says to do works, under another name.
    let token = away.join_token();
    assert_ne!(away.is_ready(Some(&token)), name);
}

#[test]
fn without_a_grace_an_expired_certificate_lets_nobody_in() {
    let Some(away) = Away::start() else { return };
    let name = away.is_ready(Some(&away.join_token()));
    let away = away.at(WITHIN, &[]);
    away.is_refused("without --node-rejoin-grace");
    let away = away.at(WITHIN, GRACE);
    assert_eq!(away.is_ready(None), name, "it had not been used up by asking");
}
