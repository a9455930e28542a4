//! A full disk: refusals that say so, nothing lost, and work goes on when there is room again.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use mandate_api::ClientError;
use mandate_api::admin::{AuditQuery, JoinTokenRequest};
use mandate_testkit::app::claims;
use mandate_testkit::database::OF_FILES;
use mandate_testkit::skipped;
use mandate_testkit::small_disk::SmallDisk;
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

use crate::processes::{Server, keeps_files};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_decisions_with_a_reason_and_they_go_on_without_a_restart() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let root = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&root.path().join("disk")) else {
        // The next test does the same without a mount, on any machine.
        skipped("this user may not mount a file system");
        return;
    };
    // Its log is on the same disk, as is usual: a request that cannot be logged must still be answered.
    let server = Server::start(&disk.path().join("server"));
    fills_up_and_goes_on(
        server,
        root.path(),
        |_| disk.fill(),
        |_, ballast| fs::remove_file(ballast).unwrap(),
    )
    .await;
}

/// A limit on the size of files has the same effect as a full disk: a write fails that succeeded before.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_may_not_grow_stop_decisions_with_a_reason_and_they_go_on_without_a_restart() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    let limit = |server: &Server| {
        let now = fs::metadata(server.dir.join("mandate.db-wal")).unwrap().len();
        // That of this process, from which the server has its own.
        let before = getrlimit(Resource::Fsize);
        let limited = Rlimit { current: Some(now + 64 * 1024), maximum: before.maximum };
        prlimit(Some(server.role.pid()), Resource::Fsize, limited).unwrap();
        before
    };
    let lift = |server: &Server, before| {
        prlimit(Some(server.role.pid()), Resource::Fsize, before).unwrap();
    };
    fills_up_and_goes_on(server, root.path(), limit, lift).await;
}

async fn fills_up_and_goes_on<T>(
    mut server: Server,
    root: &Path,
    fill: impl Fn(&Server) -> T,
    free: impl Fn(&Server, T),
) {
    server.tell_the_story().await;
    let form = server.an_exchange(&root.join("node")).await;
    let mut held = HashSet::new();
    let mut jti = |token: &str| held.insert(claims(token)["jti"].as_str().unwrap().to_owned());

    for _ in 0..2 {
        let ballast = fill(&server);
        // The write-ahead log has some room left in its blocks. After that, nothing more fits.
        let mut refused = None;
        for _ in 0..2000 {
            let answer = match server.app.try_token(&form).await {
                Ok(answer) => answer,
                Err(error) => panic!("{error}: {}", server.role.end()),
            };
            if answer.status != 200 {
                refused = Some(answer);
                break;
            }
            jti(&answer.member("access_token"));
        }
        let Some(refused) = refused else { panic!("a disk without room refuses at last") };
        assert_eq!(refused.error(), "503 temporarily_unavailable", "{refused:?}");
        assert_eq!(refused.header("cache-control"), "no-store");
        assert!(
            refused.member("access_token").is_empty()
                && refused.member("error_description").contains("audit"),
            "{refused:?}"
        );
        // Operators are told what to do about it; reading goes on.
        match server.admin.join_token(&JoinTokenRequest::default()).await {
            Err(ClientError::Server(problem)) => {
                assert_eq!((problem.status, problem.code.as_str()), (503, "audit_unavailable"));
                assert!(problem.detail.unwrap().contains("disk"));
            }
            other => panic!("{other:?}"),
        }
        assert!(server.admin.status().await.is_ok());
        assert_eq!(server.app.token(&form).await.status, 503, "and again, without harm");

        free(&server, ballast);
        let answer = server.app.token(&form).await;
        assert_eq!(answer.status, 200, "room again, work again: {answer:?}");
        jti(&answer.member("access_token"));
        assert!(server.role.is_running());
    }

    let query =
        AuditQuery { kind: Some("exchange".to_owned()), limit: Some(100_000), ..AuditQuery::default() };
    let recorded: HashSet<_> = server
        .admin
        .audit_records(&query)
        .await
        .unwrap()
        .into_iter()
        .filter_map(|record| record.jti)
        .collect();
    assert!(held.is_subset(&recorded), "every token that was answered has its record");
    server.verify_the_log();
    let dir = server.dir.clone();
    assert_eq!(server.role.terminate(), Some(0));
    let again = Server::start(&dir);
    again.verify_the_log();
    drop(again);
}
