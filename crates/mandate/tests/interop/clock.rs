//! The machine's clock is set back and forward under the program as it is shipped: libfaketime tells it the
//! time.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use mandate_testkit::app::{Answer, CLIENT_SECRET, FormPairs, PASSWORD, exchange, form};
use serde_json::Value;
use tempfile::TempDir;

use crate::registry::{CRM, NO_KEYS, SCOPE, apply, registry};
use crate::server::Server;

/// Where Debian's package puts it.
fn libfaketime() -> Option<PathBuf> {
    let found = ["x86_64", "aarch64"]
        .map(|cpu| PathBuf::from(format!("/usr/lib/{cpu}-linux-gnu/faketime/libfaketimeMT.so.1")));
    let found = found.into_iter().find(|library| library.exists());
    if found.is_none() {
        mandate_testkit::skipped("install libfaketime first; `cargo xtask interop` does");
    }
    found
}

/// A clock that this test sets.
pub(crate) struct FakeClock {
    library: PathBuf,
    time: TempDir,
}

impl FakeClock {
    /// It shows the right time first. None without libfaketime.
    pub(crate) fn start() -> Option<Self> {
        let clock = Self { library: libfaketime()?, time: tempfile::tempdir().unwrap() };
        clock.set("+0");
        Some(clock)
    }

    /// Sets it so many seconds from the right time.
    pub(crate) fn set(&self, offset: &str) {
        let dir = self.time.path();
        // In one step: programs read it whenever they ask for the time.
        fs::write(dir.join("new"), offset).unwrap();
        fs::rename(dir.join("new"), dir.join("time")).unwrap();
    }

    /// What a program needs in its environment to go by it.
    pub(crate) fn environment(&self) -> [(&'static str, OsString); 4] {
        [
            ("LD_PRELOAD", self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.time.path().join("time").into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            // Pauses and time-outs go by the monotonic clock, which nobody can set.
            ("DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}

/// A server whose clock this test sets, with Riley's agent.
struct Clocked {
    server: Server,
    clock: FakeClock,
    svid: String,
}

impl Clocked {
    fn start() -> Option<Self> {
        let clock = FakeClock::start()?;
        let mut server = Server::start_in(tempfile::tempdir().unwrap(), &[], &clock.environment());
        apply(&server, &registry(NO_KEYS, ""));
        let socket = server.start_node();
        let (svid, _) = server.svid(&socket);
        Some(Self { server, clock, svid })
    }

    /// Sets the clock so many seconds from the right time.
    fn set(&self, offset: &str) {
        self.clock.set(offset);
    }

    fn restarted(self) -> Self {
        let Self { server, clock, svid } = self;
        Self { server: Server::start_in(server.kill(), &[], &clock.environment()), clock, svid }
    }

    async fn subject(&self) -> String {
        self.server.app().person_token("riley", None, None).await
    }

    async fn exchange(&self, subject: &str) -> Answer {
        self.server.app().token(&exchange(&self.svid, subject, CRM, SCOPE)).await
    }

    async fn mandate(&self, subject: &str) -> String {
        let answer = self.exchange(subject).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.member("access_token")
    }

    /// Whether the CRM would be told that the token is valid.
    async fn is_active(&self, token: &str) -> bool {
        let body: FormPairs = form(&[("token", token)]);
        let app = self.server.app();
        let asked = app.http.post(format!("{}/introspect", app.issuer)).basic_auth(
            "crm-api",
            // RFC 6749 §2.3.1: form-encoded.
            Some(url_encoded(CLIENT_SECRET)),
        );
        let answer: Value = asked.form(&body).send().await.unwrap().json().await.unwrap();
        answer["active"].as_bool().unwrap_or_else(|| panic!("{answer}"))
    }

    fn run(&self, command: &str) {
        self.server.run(&command.split(' ').collect::<Vec<_>>(), PASSWORD);
    }

    fn problems(&self) -> Vec<String> {
        let status: Value = serde_json::from_str(&self.server.run(&["status", "--json"], "")).unwrap();
        let codes = status["problems"]
            .as_array()
            .unwrap()
            .iter()
            .map(|problem| problem["code"].as_str().unwrap().to_owned());
        codes.collect()
    }
}

fn url_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// What ends a mandate, and what lets its agent work again.
const ACTS: [(&str, Option<&str>); 7] = [
    ("agent suspend support-agent", Some("agent activate support-agent")),
    ("person disable riley", Some("person enable riley")),
    ("revoke agent support-agent", None),
    ("revoke person riley", None),
    ("revoke client support-app", None),
    ("person set-password riley", None),
    ("agent suspend support-agent", Some("agent activate support-agent")),
];

/// Each act with a clock that is set back or forward just before it, and again before the revoked token is
/// tried.
#[tokio::test]
async fn what_is_stopped_stays_dead_however_the_clock_is_set_around_it() {
    let steps = ["-40", "-600", "+60", "-3600", "+90", "-30", "+120"];
    let Some(clocked) = Clocked::start() else { return };
    for ((stop, again), offset) in ACTS.into_iter().zip(steps) {
        let subject = clocked.subject().await;
        let mandate = clocked.mandate(&subject).await;
        assert!(clocked.is_active(&mandate).await);
        clocked.set(offset);
        clocked.run(stop);
        assert!(!clocked.is_active(&mandate).await, "{offset}: {stop}");
        if let Some(again) = again {
            clocked.run(again);
        }
        clocked.set("+0");
        assert!(!clocked.is_active(&mandate).await, "{offset}: {stop}");
        if !stop.contains("agent") {
            let refused = clocked.exchange(&subject).await;
            assert_eq!(refused.status, 400, "{offset}: {stop}: {refused:?}");
        }
        let fresh = clocked.mandate(&clocked.subject().await).await;
        assert!(clocked.is_active(&fresh).await, "{offset}: {stop}: what is issued afterwards lives");
    }
    assert!(clocked.problems().contains(&"clock_stepped".to_owned()), "{:?}", clocked.problems());
    clocked.run("audit verify");
}

#[tokio::test]
async fn a_clock_that_is_set_back_while_the_server_is_down_brings_nothing_back() {
    let Some(clocked) = Clocked::start() else { return };
    let subject = clocked.subject().await;
    let mandate = clocked.mandate(&subject).await;
    clocked.run("agent suspend support-agent");
    clocked.set("-900");
    let clocked = clocked.restarted();
    assert!(!clocked.is_active(&mandate).await);
    clocked.run("agent activate support-agent");
    assert!(!clocked.is_active(&mandate).await);
    let fresh = clocked.mandate(&clocked.subject().await).await;
    assert!(clocked.is_active(&fresh).await, "what is issued afterwards lives");
    assert!(clocked.problems().contains(&"clock_behind".to_owned()), "{:?}", clocked.problems());
    clocked.run("revoke person riley");
    assert!(!clocked.is_active(&fresh).await);

    clocked.set("+0");
    let clocked = clocked.restarted();
    assert!(!clocked.is_active(&mandate).await && !clocked.is_active(&fresh).await);
    assert!(clocked.is_active(&clocked.mandate(&clocked.subject().await).await).await);
    clocked.run("audit verify");
}
