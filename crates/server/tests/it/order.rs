//! The order of records and of the ids in them, whatever is done to the machine's clock.

use std::sync::Arc;
use std::time::Duration;

use mandate_api::admin::{AuditQuery, JoinTokenRequest};
use mandate_core::{Clock as _, SystemClock, Timestamp, TokenId};
use mandate_testkit::clock::SteppedClock;

use crate::world::Server;

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_records_and_tokens_are_in_the_order_of_the_log_over_clocks_that_are_set_back_and_restarts() {
    let mut server = Server::story().await;
    for (n, back) in [0, 5, 400, 900].into_iter().enumerate() {
        // While it runs.
        server.clock.set(server.clock.now().minus(Duration::from_secs(back)));
        let token = server.admin.join_token(&JoinTokenRequest::default()).await.unwrap().token;
        // Its own clock is right: else it would take the server's certificate for one that is not valid yet.
        let right = Arc::new(SteppedClock::at(SystemClock.now()));
        let node = server.node_with_clock(&format!("node-{n}"), Some(token), right).await.unwrap();
        for _ in 0..2 {
            server.mandate(&node).await;
            server.clock.advance(Duration::from_millis(3));
        }
        node.stop().await;
        // While it does not.
        server.clock.set(server.clock.now().minus(Duration::from_secs(back / 2)));
        server = server.restart().await;
        server.clock.advance(Duration::from_millis(3));
    }
    let all = AuditQuery { limit: Some(10_000), ..AuditQuery::default() };
    let records = server.records(all).await;
    let (mut last, mut last_token) = (None::<(Timestamp, String)>, None::<(Timestamp, String)>);
    let mut tokens = 0;
    for record in records.iter().rev() {
        let made = made_at(&record.id);
        assert_eq!(record.time, made.to_string(), "{record:?}");
        is_later(&mut last, made, &record.id);
        if let Some(jti) = &record.jti {
            assert_eq!(made_at(jti), made, "{record:?}");
            is_later(&mut last_token, made, jti);
            tokens += 1;
        }
    }
    assert!(tokens >= 4 * 2 * 2, "mandates and people's tokens: {tokens}");
    server.stop().await;
}

fn made_at(id: &str) -> Timestamp {
    id.parse::<TokenId>().unwrap().made_at().unwrap()
}

/// Ids of one millisecond are in no order; those of different ones are in that of time, also as texts.
fn is_later(last: &mut Option<(Timestamp, String)>, made: Timestamp, id: &str) {
    if let Some((before, earlier)) = last {
        assert!(made >= *before, "{id} after {earlier}");
        assert!(made == *before || id > earlier.as_str(), "{id} after {earlier}");
    }
    *last = Some((made, id.to_owned()));
}
