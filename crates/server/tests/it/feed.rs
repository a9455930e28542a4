//! The revocation feed as it comes over the wire.

use std::time::Duration;

use mandate_api::admin::{RevocationRequest, RevocationTarget};
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
                self.text.push_str(std::str::from_utf8(&self.response.chunk().await.unwrap().unwrap()).unwrap());
            }
        });
        read.await.expect("nothing came");
        let (first, rest) = self.text.split_once("\n\n").unwrap();
        let (first, rest) = (first.to_owned(), rest.to_owned());
        self.text = rest;
        first
    }

    async fn ends(mut self) -> bool {
        tokio::time::timeout(LONG, async { while let Ok(Some(_)) = self.response.chunk().await {} }).await.is_ok()
    }
}

fn data(event: &str) -> Value {
    let line = event.lines().find_map(|line| line.strip_prefix("data: ").or_else(|| line.strip_prefix("data:"))).unwrap();
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
    assert_eq!(data(&live), serde_json::to_value(&first).unwrap(), "the cut in force, as the operator was told");

    let mut late = Feed::open(&server).await;
    assert_eq!(data(&late.next().await), serde_json::to_value(&first).unwrap());
    assert!(late.next().await.contains("event: ready"));
    let second = server.admin.revoke(&revoke_client("desk-app")).await.unwrap().cut;
    for feed in [&mut early, &mut late] {
        assert_eq!(data(&feed.next().await), serde_json::to_value(&second).unwrap());
    }
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
