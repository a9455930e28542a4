//! SIGKILL in the middle of exchanges: every token that a client received has its record.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mandate_api::admin::AuditQuery;
use mandate_core::{Entropy as _, SystemEntropy};
use mandate_testkit::app::claims;

use crate::processes::{Server, run};

const ROUNDS: usize = 5;
const WORKERS: usize = 4;

fn up_to(most: usize) -> usize {
    let mut byte = [0u8; 1];
    SystemEntropy.fill(&mut byte);
    usize::from(byte[0]) % most + 1
}

async fn records(server: &Server) -> HashSet<String> {
    let query =
        AuditQuery { kind: Some("exchange".to_owned()), limit: Some(100_000), ..AuditQuery::default() };
    server.admin.audit_records(&query).await.unwrap().into_iter().filter_map(|record| record.jti).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_at_any_moment_starts_by_itself_and_lost_no_record_of_a_token() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let mut server = Server::start(&dir);
    let issuer = server.role.text("issuer");
    server.tell_the_story().await;
    let form = server.an_exchange(&root.path().join("node")).await;

    let mut held: HashSet<String> = HashSet::new();
    for round in 0..ROUNDS {
        let (received, enough) = (Arc::new(AtomicUsize::new(0)), up_to(40));
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                let (app, form, received) = (server.app.clone(), form.clone(), Arc::clone(&received));
                tokio::spawn(async move {
                    let mut jtis = Vec::new();
                    // Until the connection breaks: the server is gone.
                    while let Ok(answer) = app.try_token(&form).await {
                        assert_eq!(answer.status, 200, "{answer:?}");
                        jtis.push(claims(&answer.member("access_token"))["jti"].as_str().unwrap().to_owned());
                        received.fetch_add(1, Ordering::SeqCst);
                    }
                    jtis
                })
            })
            .collect();
        while received.load(Ordering::SeqCst) < enough {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Somewhere inside of one of the next exchanges.
        tokio::time::sleep(Duration::from_micros(up_to(250) as u64 * 40)).await;
        server.role.kill();
        for worker in workers {
            held.extend(worker.await.unwrap());
        }

        server = Server::start(&dir);
        assert_eq!(server.role.text("issuer"), issuer, "the same issuer at the same port");
        let recorded = records(&server).await;
        let lost: Vec<_> = held.difference(&recorded).collect();
        assert!(lost.is_empty(), "round {round}: {} of {} tokens have no record", lost.len(), held.len());
        server.verify_the_log();
        assert_eq!(server.app.token(&form).await.status, 200, "what was valid before still is");
    }

    // The log of all those lives is one log, and somebody else can verify it.
    let bundle = root.path().join("audit.bundle");
    let bundle = bundle.to_string_lossy();
    let exported = run(&["audit", "export", "--bundle", &bundle, "--dir", &dir.to_string_lossy()]);
    assert_eq!(exported.code, Some(0), "{}", exported.err);
    let key = server.admin.status().await.unwrap().audit_key;
    assert_eq!(server.role.terminate(), Some(0));
    let verified = run(&["audit", "verify", "--offline", &bundle, "--key", &key]);
    assert_eq!(verified.code, Some(0), "{}{}", verified.out, verified.err);
}
