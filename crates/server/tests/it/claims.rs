//! A start that is refused leaves the database to the server that used it last.

use std::net::TcpListener;
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
