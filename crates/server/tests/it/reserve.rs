//! A reserve for stops that somebody else wrote.

use std::sync::Arc;
use std::time::Duration;

use mandate_api::admin::{AuditQuery, JoinTokenRequest};
use mandate_audit::{Outcome, Record, RecordKind};
use mandate_core::{Clock as _, Cut, CutTarget, RecordId, SystemEntropy, Timestamp};
use mandate_delegation::revocation::cut;
use mandate_files::Dir;
use mandate_server::doctor::{DoctorState, examine};
use mandate_server::{ServeConfig, ServerError};
use mandate_stops::Stop;
use mandate_stops::reserve::{FILE, Reserve};
use serde_json::json;

use crate::world::{Server, spiffe_id};

/// Puts a stop that was made at `time` into the reserve of the server whose log has the key `log`.
fn leave_a_stop(config: &ServeConfig, log: &str, time: Timestamp, cuts: Vec<Cut>) {
    let record = Record::new(
        RecordId::generate(time, &SystemEntropy),
        time,
        RecordKind::Revoke,
        Outcome::Permitted,
        "ok",
    );
    let content = json!({"log": log, "by": "operator", "stop": Stop::of_cuts(record, cuts)});
    let (mut reserve, _) = Reserve::open(&Dir::open(&config.dir).unwrap()).unwrap();
    reserve.write(&serde_json::to_vec(&content).unwrap()).unwrap();
    reserve.sync().unwrap();
}

#[tokio::test]
async fn after_a_stop_in_the_reserve_everything_is_recorded_later_than_it_although_the_clock_was_set_back() {
    let server = Server::empty().await;
    let log = server.admin.status().await.unwrap().audit_key;
    let clock = Arc::clone(&server.clock);
    let dir = server.ended().await;
    let stopped = clock.now().plus(Duration::from_hours(1));
    leave_a_stop(
        &Server::config(&dir),
        &log,
        stopped,
        vec![cut(CutTarget::Agent(spiffe_id("support-agent")), stopped)],
    );
    let server = Server::start_again(dir, clock).await.map_err(|(_, error)| error).unwrap();
    assert!(server.clock.now() < stopped, "the machine's clock is behind");
    server.admin.join_token(&JoinTokenRequest::default()).await.unwrap();
    let made = server.records(AuditQuery { kind: Some("node".to_owned()), ..AuditQuery::default() }).await;
    assert_eq!(made.len(), 1);
    assert!(made[0].time.parse::<Timestamp>().unwrap() >= stopped, "{} is before {stopped}", made[0].time);
    server.stop().await;
}

#[tokio::test]
async fn a_stop_of_a_time_that_cannot_be_keeps_the_server_from_starting_until_it_is_moved_away() {
    let server = Server::empty().await;
    let log = server.admin.status().await.unwrap().audit_key;
    let clock = Arc::clone(&server.clock);
    let dir = server.ended().await;
    let config = Server::config(&dir);
    let now = clock.now();
    let years_later = now.plus(Duration::from_hours(24 * 365 * 100));
    leave_a_stop(&config, &log, years_later, Vec::new());

    let found = examine(&config, now, Arc::new(SystemEntropy), |_, _| {});
    let about = found.iter().find(|finding| finding.check == "reserve for stops").unwrap();
    assert_eq!(about.state, DoctorState::Problem, "{about:?}");
    assert!(
        about.detail.contains(&years_later.to_string()) && about.next.as_ref().unwrap().starts_with("mv "),
        "{about:?}"
    );

    let Err((dir, error)) = Server::start_again(dir, Arc::clone(&clock)).await else { panic!("it started") };
    assert!(matches!(error, ServerError::Reserve(_)), "{error}");
    assert!(error.to_string().contains("repeat the stops that must stay in force"), "{error}");
    std::fs::rename(config.dir.join(FILE), config.dir.join("moved")).unwrap();
    let server = Server::start_again(dir, clock).await.map_err(|(_, error)| error).unwrap();
    assert!(server.clock.now() < years_later);
    server.stop().await;
}
