//! A start that is refused leaves the database to the server that used it last.

use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use mandate_server::{ServeConfig, ServerError, StoreAddress};
use mandate_testkit::clock::SteppedClock;
use mandate_testkit::postgres::Cluster;
use mandate_testkit::skipped;
use tempfile::TempDir;

use crate::world::{LONG, Server};

/// Starts in a directory whose server has ended, when its last connections let go of the directory and of the
/// database.
async fn start(
    config: &ServeConfig,
    mut dir: TempDir,
    clock: &Arc<SteppedClock>,
) -> Result<Server, (TempDir, ServerError)> {
    let begun = std::time::Instant::now();
    loop {
        match Server::start_as(config.clone(), dir, Arc::clone(clock)).await {
            Err((held, ServerError::Store(_))) if begun.elapsed() < LONG => dir = held,
            started => return started,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_claims_its_database_only_once_nothing_refuses_it() {
    let Some(cluster) = Cluster::start(&[]) else { return skipped("PostgreSQL is not installed") };
    let database = cluster.create_database();
    let name = || cluster.sql(&database, "SELECT value FROM meta WHERE name = 'server'");
    let store = StoreAddress::Postgres(Box::new(cluster.url(&database).parse().unwrap()));
    let server = Server::empty_with(|config| config.store = store.clone()).await;
    let first = name();
    assert!(!first.is_empty());
    let clock = Arc::clone(&server.clock);
    let mut dir = server.ended().await;
    let right = ServeConfig { store, ..Server::config(&dir) };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    for refused in [
        ServeConfig { trust_domain: Some("other.example".parse().unwrap()), ..right.clone() },
        ServeConfig { node_listen: taken.local_addr().unwrap(), ..right.clone() },
    ] {
        let Err((back, error)) = start(&refused, dir, &clock).await else { panic!("it started") };
        assert!(matches!(error, ServerError::Config(_) | ServerError::Listen { .. }), "{error}");
        assert_eq!(name(), first, "{error}");
        dir = back;
    }
    let server = start(&right, dir, &clock).await.map_err(|(_, error)| error).unwrap();
    assert_ne!(name(), first);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_nobody_asks_to_write_ends_when_another_uses_its_database() {
    let Some(cluster) = Cluster::start(&[]) else { return skipped("PostgreSQL is not installed") };
    let database = cluster.create_database();
    let store = StoreAddress::Postgres(Box::new(cluster.url(&database).parse().unwrap()));
    let server = Server::empty_with(|config| config.store = store).await;
    // Another server takes the lock, keeps it, and notes that it uses the database.
    let mut other = cluster.session(&database);
    other.args([
        "--command",
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'; \
         SELECT pg_advisory_lock(1298428977)",
        "--command",
        "UPDATE meta SET value = 'another' WHERE name = 'server'",
        "--command",
        "SELECT pg_sleep(60)",
    ]);
    let mut other = other.stdout(Stdio::null()).spawn().unwrap();
    let ended = tokio::time::timeout(LONG, server.ends_by_itself()).await;
    other.kill().unwrap();
    other.wait().unwrap();
    let error = ended.expect("it goes on");
    assert!(matches!(error, ServerError::Ended(_)), "{error}");
}
