//! A reserve for stops that somebody else wrote.

use std::sync::Arc;
use std::time::Duration;

use mandate_audit::{Kind, Outcome, Record};
use mandate_core::{Clock as _, RecordId, SystemEntropy};
use mandate_files::Dir;
use mandate_server::ServerError;
use mandate_server::doctor::{State, examine};
use mandate_stops::Stop;
use mandate_stops::reserve::{FILE, Reserve};
use serde_json::json;

use crate::world::Server;

#[tokio::test]
async fn a_stop_of_a_time_that_cannot_be_keeps_the_server_from_starting_until_it_is_moved_away() {
    let server = Server::empty().await;
    let log = server.admin.status().await.unwrap().audit_key;
    let clock = Arc::clone(&server.clock);
    let dir = server.ended().await;
    let config = Server::config(&dir);
    let now = clock.now();
    let years_later = now.plus(Duration::from_hours(24 * 365 * 100));
    let record = Record::new(RecordId::generate(now, &SystemEntropy), years_later, Kind::Revoke, Outcome::Permitted, "ok");
    let content = json!({"log": log, "by": "operator", "stop": Stop::of_cuts(record, Vec::new())});
    let (mut reserve, _) = Reserve::open(&Dir::open(&config.dir).unwrap()).unwrap();
    reserve.write(&serde_json::to_vec(&content).unwrap()).unwrap();
    reserve.sync().unwrap();

    let found = examine(&config, now, Arc::new(SystemEntropy), |_, _| {});
    let about = found.iter().find(|finding| finding.check == "reserve for stops").unwrap();
    assert_eq!(about.state, State::Problem, "{about:?}");
    assert!(about.detail.contains(&years_later.to_string()) && about.next.as_ref().unwrap().starts_with("mv "), "{about:?}");

    let Err((dir, error)) = Server::start_again(dir, Arc::clone(&clock)).await else { panic!("it started") };
    assert!(matches!(error, ServerError::Reserve(_)), "{error}");
    assert!(error.to_string().contains("stop again who must stay stopped"), "{error}");
    std::fs::rename(config.dir.join(FILE), config.dir.join("moved")).unwrap();
    let server = Server::start_again(dir, clock).await.map_err(|(_, error)| error).unwrap();
    assert!(server.clock.now() < years_later);
    server.stop().await;
}
