//! Readers of the revocation feed that read nothing, while thousands of revocations are in force.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mandate_api::admin::{RevocationRequest, RevocationTarget};
use tokio::task::JoinSet;

use crate::processes::Server;

/// How many readers there are, and how many revocations are in force.
const READERS: usize = 200;
const CUTS: usize = 3000;

/// As many files as that many feeds need.
const FILES: usize = 2048;

/// How long a reader may take none of what is ready for it, and some time more.
const PATIENCE: Duration = Duration::from_secs(40);

async fn revoke(server: &Server) {
    let mut workers = JoinSet::new();
    for worker in 0..30 {
        let admin = server.admin.clone();
        workers.spawn(async move {
            for n in (worker..CUTS).step_by(30) {
                let id = format!("{n:0>120}").parse().unwrap();
                admin.revoke(&RevocationRequest { target: RevocationTarget::Token(id) }).await.unwrap();
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended.unwrap();
    }
}

/// A reader that has been told that it is one, and reads no more.
fn reader(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /revocations HTTP/1.1\r\nhost: {address}\r\n\r\n").unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    stream
}

/// All that is left to read until the connection has ended.
fn rest(stream: &mut TcpStream) -> String {
    let (mut text, begun) = (Vec::new(), Instant::now());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer) {
            // An end with bytes on the way is a reset.
            Ok(0) | Err(_) => break,
            Ok(read) => text.extend(&buffer[..read]),
        }
        assert!(begun.elapsed() < PATIENCE, "it goes on");
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_read_nothing_are_ended_and_one_that_reads_is_told_everything() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start_with_files(&root.path().join("server"), FILES);
    server.tell_the_story().await;
    revoke(&server).await;
    assert_eq!(server.admin.status().await.unwrap().cuts, CUTS as u64);
    let public = server.app.issuer.trim_start_matches("http://").to_owned();
    let mut honest = reader(&public);
    let mut readers: Vec<TcpStream> = (0..READERS).map(|_| reader(&public)).collect();

    // One that reads is told everything.
    let mut text = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while !String::from_utf8_lossy(&text).contains("event: ready") {
        let read = honest.read(&mut buffer).unwrap();
        assert!(read > 0, "the feed ended");
        text.extend(&buffer[..read]);
    }
    assert_eq!(String::from_utf8_lossy(&text).matches("event: cut").count(), CUTS);

    let problem = async || {
        server
            .admin
            .status()
            .await
            .unwrap()
            .problems
            .iter()
            .any(|problem| problem.code == "feed_readers_cut_off")
    };
    let begun = Instant::now();
    while !problem().await {
        assert!(begun.elapsed() < PATIENCE, "nobody was ended");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for reader in &mut readers {
        assert!(!rest(reader).contains("event: ready"), "it was ended before it had taken everything");
    }
}
