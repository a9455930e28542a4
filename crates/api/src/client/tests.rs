use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::{AdminClient, ClientError, Endpoint, escape};
use crate::admin::{AuditQuery, JoinTokenRequest};
use mandate_core::Secret;

/// Answers one request over `stream` with `answer` and returns the head of the request.
async fn answer(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    answer: &str,
) -> String {
    let mut seen = Vec::new();
    let mut chunk = [0u8; 4096];
    while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
        let n = stream.read(&mut chunk).await.unwrap();
        assert!(n > 0, "the client hung up");
        seen.extend_from_slice(&chunk[..n]);
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    String::from_utf8(seen).unwrap()
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn over_socket(response: String) -> (AdminClient, tokio::task::JoinHandle<String>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move { answer(listener.accept().await.unwrap().0, &response).await });
    (AdminClient::new(Endpoint::Socket(path)), server, dir)
}

#[tokio::test]
async fn asks_over_the_socket_and_reads_the_answer() {
    let (client, server, _dir) =
        over_socket(http("200 OK", r#"{"token":"t.p","expires_at":"2026-01-01T00:00:00Z"}"#));
    let made = client.join_token(&JoinTokenRequest::default()).await.unwrap();
    assert_eq!(made.token, "t.p");
    let seen = server.await.unwrap();
    assert!(seen.starts_with("POST /v1/join-tokens HTTP/1.1\r\n"), "{seen}");
    assert!(!seen.to_ascii_lowercase().contains("authorization"), "the uid is the credential: {seen}");
}

#[tokio::test]
async fn sends_the_token_over_tcp_and_shows_it_nowhere() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let task =
        tokio::spawn(async move { answer(listener.accept().await.unwrap().0, &http("200 OK", "[]")).await });
    let client = AdminClient::new(Endpoint::Tcp { server, token: Secret::new("abc.def\n") });
    assert!(!format!("{client:?}").contains("abc.def"));
    let query = AuditQuery { agent: Some("a&b c".into()), limit: Some(5), ..AuditQuery::default() };
    assert_eq!(client.audit_records(&query).await.unwrap(), vec![]);
    let seen = task.await.unwrap();
    assert!(seen.starts_with("GET /v1/audit/records?agent=a%26b+c&limit=5 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("authorization: Bearer abc.def\r\n"), "{seen}");
}

#[tokio::test]
async fn a_token_with_a_line_break_never_reaches_the_wire() {
    let server = "http://127.0.0.1:1".parse().unwrap();
    let client = AdminClient::new(Endpoint::Tcp { server, token: Secret::new("abc\r\nx-evil: 1") });
    let error = client.status().await.unwrap_err();
    assert!(matches!(&error, ClientError::Protocol { .. }) && !error.to_string().contains("evil"), "{error}");
}

#[tokio::test]
async fn tells_a_refusal_from_a_failure_and_from_silence() {
    let problem = r#"{"type":"/problems/forbidden","title":"Forbidden","status":403,"detail":"uid 7 may not","code":"forbidden"}"#;
    let (client, _server, _dir) = over_socket(http("403 Forbidden", problem));
    assert!(matches!(client.status().await, Err(ClientError::Refused(p)) if p.code == "forbidden"));

    let (client, _server, _dir) = over_socket(http("503 Service Unavailable", "<html>"));
    assert!(matches!(client.status().await, Err(ClientError::Server(p)) if p.status == 503));

    let (client, _server, _dir) = over_socket(http("200 OK", "<html>"));
    assert!(matches!(client.status().await, Err(ClientError::Protocol { .. })));

    let nobody = AdminClient::new(Endpoint::Socket(Path::new("/nonexistent/admin.sock").into()));
    assert!(matches!(nobody.status().await, Err(ClientError::Unreachable { .. })));

    let unreachable = AdminClient::new(Endpoint::Socket(format!("/{}", "d".repeat(107)).into()));
    let error = unreachable.status().await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Unreachable { source, .. } if source.to_string().contains("has 108 bytes")),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_not_waited_for_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let _stopped = UnixListener::bind(&path).unwrap();
    let client =
        AdminClient { silence: Duration::from_millis(50), ..AdminClient::new(Endpoint::Socket(path)) };
    let error = client.status().await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Unreachable { source, .. } if source.kind() == std::io::ErrorKind::TimedOut),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_is_busy_with_the_request_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        let (busy, _) = listener.accept().await.unwrap();
        // Three signs of life are given before the answer.
        for _ in 0..3 {
            let asked = answer(listener.accept().await.unwrap().0, &http("403 Forbidden", "{}")).await;
            assert!(asked.starts_with("GET /openapi.json ") && !asked.contains("authorization"), "{asked}");
        }
        answer(busy, &http("200 OK", "[]")).await
    });
    let client =
        AdminClient { silence: Duration::from_millis(300), ..AdminClient::new(Endpoint::Socket(path)) };
    assert_eq!(client.audit_records(&AuditQuery::default()).await.unwrap(), vec![]);
    server.await.unwrap();
}

/// A server that stands still in the middle of an answer of 20 bytes, and answers nothing else.
async fn halted(listener: UnixListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nline 1\n").await.unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_server_that_stands_still_in_the_middle_of_its_answer_is_not_waited_for_without_end() {
    let dir = tempfile::tempdir().unwrap();
    for export in [true, false] {
        let path = dir.path().join(format!("{export}.sock"));
        let server = tokio::spawn(halted(UnixListener::bind(&path).unwrap()));
        let client =
            AdminClient { silence: Duration::from_millis(50), ..AdminClient::new(Endpoint::Socket(path)) };
        let mut out = Vec::new();
        let asked = async {
            if export {
                client.audit_export(&mut out).await.map(drop)
            } else {
                client.status().await.map(drop)
            }
        };
        let error = tokio::time::timeout(Duration::from_secs(20), asked)
            .await
            .expect("it waits without end")
            .unwrap_err();
        assert!(
            matches!(&error, ClientError::Unreachable { source, .. } if source.kind() == std::io::ErrorKind::TimedOut),
            "{error}"
        );
        server.abort();
    }
}

#[tokio::test]
async fn a_server_that_needs_time_in_the_middle_of_its_answer_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        let (mut busy, _) = listener.accept().await.unwrap();
        busy.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\nline 1\n").await.unwrap();
        for _ in 0..3 {
            let asked = answer(listener.accept().await.unwrap().0, &http("403 Forbidden", "{}")).await;
            assert!(asked.starts_with("GET /openapi.json "), "{asked}");
        }
        busy.write_all(b"line 2\n").await.unwrap();
    });
    let client =
        AdminClient { silence: Duration::from_millis(300), ..AdminClient::new(Endpoint::Socket(path)) };
    let mut out = Vec::new();
    assert_eq!(client.audit_export(&mut out).await.unwrap(), 14);
    assert_eq!(out, b"line 1\nline 2\n");
    server.await.unwrap();
}

#[tokio::test]
async fn an_export_goes_to_its_writer_as_it_is() {
    let (client, _server, _dir) = over_socket(http("200 OK", "line 1\nline 2\n"));
    let mut out = Vec::new();
    assert_eq!(client.audit_export(&mut out).await.unwrap(), 14);
    assert_eq!(out, b"line 1\nline 2\n");
}

#[test]
fn a_key_is_one_path_segment_whatever_it_holds() {
    for (key, segment) in [
        ("crm", "crm"),
        ("https://login.example", "https%3A%2F%2Flogin.example"),
        ("..", "%2E%2E"),
        ("a?b#c/%", "a%3Fb%23c%2F%25"),
        ("é", "%C3%A9"),
    ] {
        assert_eq!(escape(key), segment);
    }
}
