//! One structured line per decision, with nothing in it that was not verified and nothing secret.

use std::io::Write;
use std::sync::Arc;

use mandate_verifier::{DECISION_TARGET, Route};
use parking_lot::Mutex;
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

use crate::world::{RESOURCE, World, verify};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn every_decision_is_one_line() {
    let world = World::new().await;
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(lines.clone()).finish();
    let good = world.token("read:cases");
    let unsigned = format!("{good}x");
    let route = Route::requires("read:cases").unwrap();
    {
        let _guard = tracing::subscriber::set_default(subscriber);
        // Tests in other threads use the same event without a subscriber, and while one of them registers it
        // with `tracing`, it may be taken for one that nobody wants.
        for _ in 0..1000 {
            if !lines.0.lock().is_empty() {
                break;
            }
            tracing::callsite::rebuild_interest_cache();
            world.verifier.verify(None, &route).await.unwrap_err();
        }
        lines.0.lock().clear();
        verify(&world.verifier, &good, &route).await.unwrap();
        verify(&world.verifier, &good, &Route::requires("send:mail").unwrap()).await.unwrap_err();
        verify(&world.verifier, &unsigned, &route).await.unwrap_err();
        world.verifier.verify(None, &route).await.unwrap_err();
    }
    let text = String::from_utf8(lines.0.lock().clone()).unwrap();
    assert!(!text.contains(&good), "no token in the log");
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let decisions: Vec<&Value> = events.iter().filter(|event| event["target"] == DECISION_TARGET).collect();
    assert_eq!(decisions.len(), 4);
    let [permitted, narrow, forged, nothing] = decisions[..] else { panic!("{text}") };
    for (event, decision, reason, status) in [
        (permitted, "permitted", "ok", 200),
        (narrow, "refused", "insufficient_scope", 403),
        (nothing, "refused", "no_credentials", 401),
    ] {
        assert_eq!(
            (&event["decision"], &event["reason"], &event["status"]),
            (&decision.into(), &reason.into(), &status.into())
        );
        assert_eq!(event["aud"], RESOURCE);
    }
    for event in [permitted, narrow] {
        assert_eq!(event["sub"], "riley");
        assert_eq!(event["act"], "spiffe://acme.example/agent/support-agent");
        assert_eq!(event["jti"], "token-1");
    }
    for event in [forged, nothing] {
        assert!(
            event.get("sub").is_none() && event.get("jti").is_none(),
            "unverified claims are no facts: {event}"
        );
    }
    assert_eq!(forged["decision"], "refused");
}
