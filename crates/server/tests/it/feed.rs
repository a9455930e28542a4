//! The revocation feed as it comes over the wire.

use std::time::Duration;

use mandate_api::admin::{RevocationRequest, RevocationTarget};
use mandate_testkit::app::CRM;
use mandate_verifier::Verifier;
use serde_json::Value;

use crate::world::{LONG, Server};

/// A feed that is being read.
struct Feed {
    response: reqwest::Response,
    text: String,
}

impl Feed {
    async fn open(server: &Server) -> Self {
        let response = server.app.http.get(server.url("/revocations")).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self { response, text: String::new() }
    }

    /// The next event or comment, without its blank line.
    async fn next(&mut self) -> String {
        let read = tokio::time::timeout(LONG, async {
            while !self.text.contains("\n\n") {
                self.text
                    .push_str(std::str::from_utf8(&self.response.chunk().await.unwrap().unwrap()).unwrap());
            }
        });
        read.await.expect("nothing came");
        let (first, rest) = self.text.split_once("\n\n").unwrap();
        let (first, rest) = (first.to_owned(), rest.to_owned());
        self.text = rest;
        first
    }

    async fn ends(mut self) -> bool {
        tokio::time::timeout(LONG, async { while let Ok(Some(_)) = self.response.chunk().await {} })
            .await
            .is_ok()
    }
}

fn data(event: &str) -> Value {
    let line = event
        .lines()
        .find_map(|line| line.strip_prefix("data: ").or_else(|| line.strip_prefix("data:")))
        .unwrap();
    serde_json::from_str(line).unwrap()
}

fn revoke_client(id: &str) -> RevocationRequest {
    RevocationRequest { target: RevocationTarget::Client(id.parse().unwrap()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_is_all_cuts_in_force_then_ready_then_each_new_one() {
    let server = Server::story().await;
    let mut early = Feed::open(&server).await;
    assert!(early.next().await.contains("event: ready"), "nothing is revoked yet");
    let first = server.admin.revoke(&revoke_client("support-app")).await.unwrap().cut;
    let live = early.next().await;
    assert!(live.contains("event: cut") && live.contains("id: "), "{live}");
    assert_eq!(
        data(&live),
        serde_json::to_value(&first).unwrap(),
        "the cut in force, as the operator was told"
    );

    let mut late = Feed::open(&server).await;
    assert_eq!(data(&late.next().await), serde_json::to_value(&first).unwrap());
    assert!(late.next().await.contains("event: ready"));
    let second = server.admin.revoke(&revoke_client("desk-app")).await.unwrap().cut;
    for feed in [&mut early, &mut late] {
        assert_eq!(data(&feed.next().await), serde_json::to_value(&second).unwrap());
    }
    server.stop().await;
}

/// The process that an event names, and the count of cuts.
fn place(event: &str) -> (String, u64) {
    let id = event.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    let (process, count) = id.split_once('-').unwrap();
    (process.to_owned(), count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_feed_has_other_ids_and_begins_with_all_cuts_whatever_a_reader_says_it_knows() {
    let server = Server::story().await;
    let mut feed = Feed::open(&server).await;
    assert!(feed.next().await.contains("event: ready"));
    server.admin.revoke(&revoke_client("support-app")).await.unwrap();
    let told = place(&feed.next().await);
    assert_eq!(told.1, 1);
    drop(feed);
    let server = server.restart().await;
    // As a browser does, which resumes by itself.
    let last = format!("{}-{}", told.0, told.1);
    let response =
        server.app.http.get(server.url("/revocations")).header("last-event-id", last).send().await.unwrap();
    let mut feed = Feed { response, text: String::new() };
    let again = feed.next().await;
    assert!(again.contains("support-app"), "{again}");
    assert_ne!(place(&again).0, told.0, "another process counts by itself");
    assert!(feed.next().await.contains("event: ready"));
    drop(feed);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verifier_misses_no_cut_over_a_restart_of_the_server() {
    // The restarted server has the address of the first one, from its directory.
    let server = Server::story().await;
    let issuer = server.ready.issuer.clone();
    let verifier =
        Verifier::builder(issuer, CRM.parse().unwrap()).clock(server.clock.clone()).build().unwrap();
    tokio::time::timeout(LONG, verifier.ready()).await.unwrap();
    let mut status = verifier.status();
    let mut known = async |cuts: usize| {
        tokio::time::timeout(LONG, status.wait_for(|status| status.feed_synced && status.cuts == cuts))
            .await
            .unwrap()
            .unwrap();
    };
    server.admin.revoke(&revoke_client("support-app")).await.unwrap();
    known(1).await;
    let server = server.restart().await;
    // The first that this process tells: another cut at the place that the verifier knows from the earlier
    // process.
    server.admin.revoke(&revoke_client("desk-app")).await.unwrap();
    known(2).await;
    let server = server.restart().await;
    let agent = RevocationRequest { target: RevocationTarget::Agent("support-agent".parse().unwrap()) };
    server.admin.revoke(&agent).await.unwrap();
    known(3).await;
    drop(verifier);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_feed_beats_and_ends_with_the_server() {
    let server = Server::story().await;
    let mut feed = Feed::open(&server).await;
    assert!(feed.next().await.contains("event: ready"));
    let beat = feed.next().await;
    assert!(beat.starts_with(':'), "a comment, which no reader takes for a cut: {beat}");
    let began = tokio::time::Instant::now();
    let (ended, ()) = tokio::join!(feed.ends(), server.stop());
    assert!(ended && began.elapsed() < Duration::from_secs(9), "an open feed does not hold the server up");
}
