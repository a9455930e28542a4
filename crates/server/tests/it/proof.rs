//! The log over the admin API: pages, checkpoints, and what does not continue one.

use mandate_api::admin::{AuditQuery, JoinTokenRequest};
use mandate_api::client::ClientError;

use crate::world::Server;

async fn act(server: &Server, times: usize) {
    for _ in 0..times {
        server.admin.join_token(&JoinTokenRequest::default()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_paged_by_their_place_in_the_log() {
    let server = Server::empty().await;
    act(&server, 5).await;
    let mut query = AuditQuery { limit: Some(2), ..AuditQuery::default() };
    let mut indexes = Vec::new();
    loop {
        let page = server.records(query.clone()).await;
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        query.before = last.index.map(|index| index.to_string());
        indexes.extend(page.iter().map(|record| record.index.unwrap()));
        // A newer record moves no page.
        act(&server, 1).await;
    }
    assert_eq!(indexes, [4, 3, 2, 1, 0]);
    for before in ["", "x", "-1", "+1", "01", "1:", "1:1,1:1", "7:1"] {
        match server
            .admin
            .audit_records(&AuditQuery { before: Some(before.to_owned()), ..AuditQuery::default() })
            .await
        {
            Err(ClientError::Refused(problem)) => {
                assert_eq!(problem.code, "bad_request", "{before:?}");
                assert!(problem.detail.unwrap().starts_with("before: expected the index"), "{before:?}");
            }
            other => panic!("{before:?}: {other:?}"),
        }
    }
    let newest = server.newest_record().await;
    let key = server.admin.status().await.unwrap().audit_key;
    assert!(key.starts_with(&format!("{}+", newest.origin.unwrap())), "a record says which log it is in");
    assert_eq!(server.admin.audit_record(&newest.id).await.unwrap().index, newest.index);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_held_against_a_checkpoint_that_was_kept() {
    let server = Server::empty().await;
    let empty = server.admin.audit_checkpoint().await.unwrap();
    assert_eq!(empty.size, 0, "the empty log is signed");
    act(&server, 3).await;
    let kept = server.admin.audit_checkpoint().await.unwrap();
    act(&server, 2).await;
    for (note, size) in [(&empty.checkpoint, 0), (&kept.checkpoint, 3)] {
        let verified = server.admin.audit_verify_since(note).await.unwrap();
        assert_eq!(
            (verified.size, verified.since, verified.key.as_str()),
            (5, Some(size), kept.key.as_str())
        );
    }
    assert_eq!(server.admin.audit_verify().await.unwrap().since, None);

    match server.admin.audit_verify_since("no checkpoint").await {
        Err(ClientError::Refused(problem)) => assert_eq!(problem.code, "bad_request"),
        other => panic!("{other:?}"),
    }
    let other = Server::empty().await;
    let foreign = other.admin.audit_checkpoint().await.unwrap();
    let forged = kept.checkpoint.replace("\n3\n", "\n4\n");
    for note in [&foreign.checkpoint, &forged] {
        match server.admin.audit_verify_since(note).await {
            Err(ClientError::Server(problem)) => {
                assert_eq!(problem.code, "audit_broken");
                assert!(problem.detail.unwrap().contains("not of this log"));
            }
            other => panic!("{other:?}"),
        }
    }
    other.stop().await;
    server.stop().await;
}
