//! A socket that answers one admin request and shows what was asked.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::JoinHandle;

/// Answers the next requests on `DIR/admin.sock`, one each. Joining gives the requests as they came.
pub(crate) fn answering(dir: &Path, answers: &[(&'static str, &str)]) -> JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(dir.join("admin.sock")).unwrap();
    let answers: Vec<(&'static str, String)> =
        answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
    std::thread::spawn(move || {
        answers
            .into_iter()
            .map(|(status, body)| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut seen = Vec::new();
                let mut chunk = [0u8; 4096];
                while !complete(&seen) {
                    let n = stream.read(&mut chunk).unwrap();
                    assert!(n > 0, "the client hung up: {}", String::from_utf8_lossy(&seen));
                    seen.extend_from_slice(&chunk[..n]);
                }
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                )
                .unwrap();
                String::from_utf8(seen).unwrap()
            })
            .collect()
    })
}

fn complete(seen: &[u8]) -> bool {
    let Some(end) = seen.windows(4).position(|w| w == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    seen.len() >= end + 4 + length
}

/// The JSON body of a request.
pub(crate) fn body(request: &str) -> serde_json::Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}
