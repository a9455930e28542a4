//! What strangers can have written into the log through each listener: a quota by source, and sums beyond it.

use std::net::{Ipv4Addr, SocketAddr};

use mandate_api::admin::{AuditQuery, AuditRecord};
use mandate_api::proto::node::JoinRequest;
use mandate_sequencer::strangers::{ALL_BYTES, MAX_SUMS, SOURCE_BYTES};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::node_link::NodeLink;
use crate::world::Server;

/// Another host, as far as the server can see.
fn host(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, n)
}

async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    // Otherwise each request of more than a segment waits for an acknowledgement that the other side delays.
    socket.set_nodelay(true).unwrap();
    socket.connect(to).await.unwrap()
}

/// Sends a request whose headers claim to come from elsewhere; gives the status of the answer.
async fn ask(stream: &mut TcpStream, line: &str, headers: &str, n: usize) -> u16 {
    let elsewhere =
        format!("x-forwarded-for: 198.51.100.{}\r\nforwarded: for=198.51.100.{}\r\n", n % 250, n % 250);
    let request = format!("{line} HTTP/1.1\r\nhost: 127.0.0.1\r\n{elsewhere}{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let read = stream.read_buf(&mut answer).await.unwrap();
        assert!(read > 0, "{line}: the connection ended: {}", String::from_utf8_lossy(&answer));
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            return head.split(' ').nth(1).unwrap().parse().unwrap();
        }
    }
}

async fn refusals(server: &Server, kind: &str) -> Vec<AuditRecord> {
    let query = AuditQuery {
        kind: Some(kind.into()),
        outcome: Some("refused".into()),
        limit: Some(10_000),
        ..AuditQuery::default()
    };
    server.records(query).await
}

/// What records of strangers' refusals take up in the log: leaves, and what the quota takes their hashes and
/// rows to be.
fn bytes(records: &[AuditRecord]) -> u64 {
    let leaf = |record: &AuditRecord| {
        assert!(record.policies.is_empty(), "{record:?}");
        // The log leaves an empty list out.
        serde_json::to_string(&AuditRecord { origin: None, index: None, ..record.clone() })
            .unwrap()
            .replace(",\"policies\":[]", "")
            .len() as u64
    };
    records.iter().map(|record| leaf(record) + 128).sum()
}

/// Sums by reason, newest first: source, reason and count.
fn sums(records: &[AuditRecord]) -> Vec<(String, String, u64)> {
    let sum = |record: &AuditRecord| {
        let sum = record.sum.as_ref()?;
        assert!(sum.first <= sum.last, "{sum:?}");
        Some((record.source.clone().unwrap(), record.reason.clone(), sum.count))
    };
    records.iter().filter_map(sum).collect()
}

/// The same after the server has ended and started again: sums are recorded at the end, too.
async fn later(server: Server, kind: &str) -> (Server, Vec<AuditRecord>) {
    let server = server.restart().await;
    let records = refusals(&server, kind).await;
    (server, records)
}

const NO_CREDENTIALS: &str = "";
const BAD_TOKEN: &str = "authorization: Bearer e30.e30.\"\\AAAA\r\n";

fn admin_address(server: &Server) -> SocketAddr {
    server.ready.admin_url.trim_start_matches("http://").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_at_the_admin_listener_is_recorded_within_a_quota_and_then_in_sums_and_hides_nobody_who_is_known()
 {
    let server = Server::story().await;
    let riley = server.app.person_token("riley", None, None).await;
    let mut stream = connect(host(1), admin_address(&server)).await;
    for n in 0..1000 {
        assert_eq!(ask(&mut stream, "GET /v1/status", NO_CREDENTIALS, n).await, 401);
        assert_eq!(ask(&mut stream, "GET /v1/audit/records", BAD_TOKEN, n).await, 401);
    }
    let single = refusals(&server, "admin").await;
    assert!(
        !single.is_empty() && bytes(&single) <= SOURCE_BYTES,
        "{} records, {} bytes",
        single.len(),
        bytes(&single)
    );
    assert!(
        single.iter().all(|record| record.source.as_deref() == Some("127.0.1.1") && record.sum.is_none()),
        "{:?}",
        single.first()
    );

    // Riley is no operator, and is known: by the same address, after the flood.
    let bearer = format!("authorization: Bearer {riley}\r\n");
    for n in 0..30 {
        assert_eq!(ask(&mut stream, "GET /v1/status", &bearer, n).await, 403);
    }
    let all = refusals(&server, "admin").await;
    assert_eq!(all.len(), single.len() + 30);
    let of_riley = |record: &AuditRecord| record.by.as_ref().is_some_and(|by| by.contains("riley"));
    assert!(all.iter().take(30).all(|record| record.source.as_deref() == Some("known") && of_riley(record)));

    // And within a quota, too.
    for n in 0..1000 {
        assert_eq!(ask(&mut stream, "GET /v1/status", &bearer, n).await, 403);
    }
    let all: Vec<_> = refusals(&server, "admin").await.into_iter().filter(of_riley).collect();
    assert!(bytes(&all) <= SOURCE_BYTES, "{} records, {} bytes", all.len(), bytes(&all));
    let of_known = all.len() as u64;

    let (server, all) = later(server, "admin").await;
    let of = |reason: &str| single.iter().filter(|record| record.reason == reason).count() as u64;
    let mut expected: Vec<_> = ["invalid_token", "no_credentials"]
        .map(|reason| ("127.0.1.1".to_owned(), reason.to_owned(), 1000 - of(reason)))
        .into();
    expected.push(("known".to_owned(), "insufficient_scope".to_owned(), 1030 - of_known));
    let mut found = sums(&all);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_from_many_addresses_has_a_bound_for_all_of_them_together() {
    let server = Server::story().await;
    let address = admin_address(&server);
    let mut all = JoinSet::new();
    for n in 1..=20 {
        all.spawn(async move {
            let mut stream = connect(host(n), address).await;
            for i in 0..250 {
                assert_eq!(ask(&mut stream, "GET /v1/status", NO_CREDENTIALS, i).await, 401);
            }
        });
    }
    while let Some(ended) = all.join_next().await {
        ended.unwrap();
    }
    let single = refusals(&server, "admin").await;
    assert!(
        bytes(&single) <= ALL_BYTES && bytes(&single) > ALL_BYTES / 2,
        "{} records, {} bytes",
        single.len(),
        bytes(&single)
    );
    let (server, all) = later(server, "admin").await;
    let sums = sums(&all);
    assert!(sums.len() <= MAX_SUMS, "{}", sums.len());
    assert_eq!(sums.iter().map(|(_, _, count)| count).sum::<u64>() + single.len() as u64, 20 * 250);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_endpoint_counts_by_the_address_of_the_connection_whatever_the_headers_say() {
    let server = Server::story().await;
    let form = "content-type: application/x-www-form-urlencoded\r\ncontent-length: 0\r\n";
    for (n, line, headers, kind, reason) in [
        (1, "GET /authorize?client_id=nobody", "", "authorize", "parameter_unacceptable"),
        (
            2,
            "POST /authorize?client_id=support-app&redirect_uri=https://evil.example",
            form,
            "authorize",
            "redirect_uri_unregistered",
        ),
        (3, "POST /token", form, "token", "parameter_missing"),
        (4, "POST /revoke", form, "revoke", "client_authentication_missing"),
        (5, "POST /introspect", form, "admin", "client_authentication_missing"),
    ] {
        for i in 0..400 {
            // A connection that may have brought a password ends with the answer.
            let mut stream = connect(host(n), server.ready.public).await;
            let status = ask(&mut stream, line, headers, i).await;
            assert!([400, 401].contains(&status), "{line}: {status}");
        }
        let own = |record: &AuditRecord| record.source == Some(host(n).to_string());
        let single: Vec<_> = refusals(&server, kind).await.into_iter().filter(own).collect();
        assert!(!single.is_empty() && bytes(&single) <= SOURCE_BYTES, "{line}: {} bytes", bytes(&single));
        assert!(
            single.len() < 400 && single.iter().all(|record| record.reason == reason),
            "{line}: {:?}",
            single.first()
        );
    }
    let server = server.restart().await;
    let query = AuditQuery { outcome: Some("refused".into()), limit: Some(10_000), ..AuditQuery::default() };
    let all = server.records(query).await;
    for n in 1..=5 {
        let own = all.iter().filter(|record| record.source == Some(host(n).to_string()));
        assert_eq!(
            own.map(|record| record.sum.as_ref().map_or(1, |sum| sum.count)).sum::<u64>(),
            400,
            "{n}: all are in the log"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_nodes_with_bad_join_tokens_is_recorded_within_a_quota_and_then_in_sums() {
    let server = Server::story().await;
    let node = server.node().await;
    let mut link =
        NodeLink::stranger(&server, "node", connect(host(7), server.ready.node_server).await).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
    for n in 0..400 {
        let hostile = format!("{n}\"\\\u{2028}\u{1}").repeat(100);
        let bad_token = link.client.join(JoinRequest { token: hostile.clone(), csr: csr.clone() }).await;
        let bad_request =
            link.client.join(JoinRequest { token: hostile.clone(), csr: hostile.into_bytes() }).await;
        assert!(bad_token.is_err() && bad_request.is_err());
    }
    let single = refusals(&server, "node").await;
    assert!(
        !single.is_empty() && bytes(&single) <= SOURCE_BYTES,
        "{} records, {} bytes",
        single.len(),
        bytes(&single)
    );
    assert!(
        single.iter().all(|record| record.source.as_deref() == Some("127.0.1.7")),
        "{:?}",
        single.first()
    );
    assert!(bytes(&single) / (single.len() as u64) < 512, "nothing of what was sent is in them");
    drop(link);
    node.stop().await;
    let (server, all) = later(server, "node").await;
    let of = |reason: &str| single.iter().filter(|record| record.reason == reason).count() as u64;
    let mut found = sums(&all);
    found.sort();
    let expected = ["certificate_request_refused", "join_token_refused"]
        .map(|reason| ("127.0.1.7".to_owned(), reason.to_owned(), 400 - of(reason)));
    assert_eq!(found, expected);
    server.stop().await;
}
