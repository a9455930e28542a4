//! A database that went back while the server was stopped: the directory knows what the log had.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mandate_api::admin::JoinTokenRequest;
use mandate_core::{Clock as _, SystemEntropy};
use mandate_server::doctor::{self, DoctorState};
use mandate_server::{ServeConfig, ServerError};
use mandate_store::LAST_CHECKPOINT;
use mandate_testkit::clock::SteppedClock;
use mandate_testkit::database::{self, literal};
use tempfile::TempDir;

use crate::world::{LONG, Server, soon};

fn state(dir: &Path) -> PathBuf {
    dir.join("server")
}

/// The size in a checkpoint.
fn size(note: &[u8]) -> u64 {
    std::str::from_utf8(note).unwrap().lines().nth(1).unwrap().parse().unwrap()
}

async fn act(server: &Server) {
    server.admin.join_token(&JoinTokenRequest::default()).await.unwrap();
}

/// Starts in a directory whose server has ended.
async fn start(
    mut dir: TempDir,
    clock: &Arc<SteppedClock>,
    accept_log_that_went_back: bool,
) -> Result<Server, (TempDir, ServerError)> {
    let begun = std::time::Instant::now();
    loop {
        let config = ServeConfig { accept_log_that_went_back, ..Server::config(&dir) };
        match Server::start_as(config, dir, Arc::clone(clock)).await {
            // The last connections still hold the directory.
            Err((held, ServerError::Store(_))) if begun.elapsed() < LONG => dir = held,
            started => return started,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What `mandate doctor` says about the last checkpoint, and what to do.
async fn last_checkpoint(dir: &TempDir, clock: &Arc<SteppedClock>) -> (DoctorState, String, Option<String>) {
    let (config, now) = (Server::config(dir), clock.now());
    let looked = move || doctor::examine(&config, now, Arc::new(SystemEntropy), |_, _| {});
    let found = tokio::task::spawn_blocking(looked).await.unwrap();
    let found = found.into_iter().find(|finding| finding.check == "last checkpoint").unwrap();
    (found.state, found.detail, found.next)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_went_back_while_the_server_was_stopped_is_refused_until_it_is_accepted_once() {
    let server = Server::empty().await;
    let clock = Arc::clone(&server.clock);
    act(&server).await;
    let dir = server.ended().await;
    let file = state(dir.path()).join(LAST_CHECKPOINT);
    let older = fs::read(&file).unwrap();
    let kept = size(&older);
    assert!(kept > 0, "it is written at the end");

    let server = start(dir, &clock, false).await.map_err(|(_, error)| error).unwrap();
    act(&server).await;
    act(&server).await;
    let written = server.audit_size().await;
    assert!(written >= kept + 2);
    soon(async || fs::read(&file).is_ok_and(|note| size(&note) == written)).await;
    let dir = server.ended().await;
    let (is, detail, _) = last_checkpoint(&dir, &clock).await;
    assert_eq!(is, DoctorState::Ok, "{detail}");
    assert!(detail.contains(&format!("has the {written} records")), "{detail}");
    let sql = format!("DELETE FROM records WHERE idx >= {kept}; UPDATE logs SET note = {};", literal(&older));
    database::edit(&state(dir.path()), &sql, &sql);

    let (is, detail, next) = last_checkpoint(&dir, &clock).await;
    assert_eq!(is, DoctorState::Problem, "{detail}");
    assert!(detail.contains(&format!("and the database has {kept}")), "{detail}");
    assert!(next.unwrap().contains(" --accept-log-that-went-back "));

    let Err((dir, error)) = start(dir, &clock, false).await else { panic!("it started") };
    let text = error.to_string();
    assert!(matches!(error, ServerError::WentBack(_)), "{text}");
    for part in
        ["the audit log went back", &format!("and the database has {kept}"), "--accept-log-that-went-back"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    // It is refused again: the attempt has changed nothing.
    let Err((dir, error)) = start(dir, &clock, false).await else { panic!("it started") };
    assert!(matches!(error, ServerError::WentBack(_)), "{error}");

    let server = start(dir, &clock, true).await.map_err(|(_, error)| error).unwrap();
    act(&server).await;
    let dir = server.ended().await;
    let server = start(dir, &clock, false).await.map_err(|(_, error)| error).unwrap();
    assert!(server.audit_size().await > kept, "accepted once, it is the log that counts");
    server.stop().await;
}
