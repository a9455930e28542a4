//! What is left of a password in the server's memory once it has been checked, and of a client's secret once
//! it is set.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use mandate_api::admin::{ClientSecretRequest, PasswordRequest};
use mandate_testkit::app::{Answer, PASSWORD, authorization};

use crate::processes::Server;

/// Written so that this form occurs nowhere except where the server received it.
fn password() -> String {
    ["not", "to", "be", "found", "7351"].join("-of-memory-")
}

/// The runs of pages that are not empty: most of what is reserved has never been used, and to look at it
/// takes minutes.
fn used(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    const EMPTY: [u8; 4096] = [0; 4096];
    let mut pages = content.chunks(EMPTY.len()).enumerate().peekable();
    std::iter::from_fn(move || {
        while pages.next_if(|(_, page)| **page == EMPTY[..page.len()]).is_some() {}
        let (first, _) = *pages.peek()?;
        let mut last = first;
        while let Some((at, _)) = pages.next_if(|(_, page)| **page != EMPTY[..page.len()]) {
            last = at;
        }
        content.get(first * EMPTY.len()..content.len().min((last + 1) * EMPTY.len()))
    })
}

/// Where `wanted` is in memory that the process may write.
fn found(pid: i32, wanted: &[u8]) -> Option<Vec<String>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut places = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next()?, words.next()?);
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-')?;
        let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
        let mut content = Vec::new();
        memory.seek(SeekFrom::Start(from)).ok()?;
        // What is reserved and has never been used cannot be read.
        if memory.by_ref().take(to - from).read_to_end(&mut content).is_err() {
            continue;
        }
        let here = used(&content)
            .map(|part| part.windows(wanted.len()).filter(|window| *window == wanted).count())
            .sum::<usize>();
        places.extend((here > 0).then(|| format!("{here} in {line}")));
    }
    Some(places)
}

/// A server and its process, unless this user may not read its memory.
async fn server_with_readable_memory(root: &Path) -> Option<(Server, i32)> {
    let server = Server::start(&root.join("server"));
    server.tell_the_story().await;
    let pid = server.role.pid().as_raw_nonzero().get();
    found(pid, b"mandate").is_some().then_some((server, pid))
}

#[tokio::test]
async fn a_password_is_gone_from_memory_once_it_has_been_checked() {
    let root = tempfile::tempdir().unwrap();
    let Some((server, pid)) = server_with_readable_memory(root.path()).await else {
        return mandate_testkit::skipped("this user may not read the memory of its own child");
    };
    assert!(!found(pid, server.app.issuer.as_bytes()).unwrap().is_empty(), "what is in memory is found");
    server.admin.set_password("riley", &PasswordRequest { password: password() }).await.unwrap();
    for wrong in [false, true] {
        let page = server.app.open(&authorization(None, None)).await;
        let typed = if wrong { format!("{}!", password()) } else { password() };
        let answer = server.app.log_in(&page, "riley", &typed).await;
        assert_eq!(answer.status, if wrong { 401 } else { 303 });
        assert_eq!(answer.header("connection"), "close");
    }
    comes_to_be_gone(pid, &password()).await;
}

/// The answer is on its way before the connection's buffers are given back.
async fn comes_to_be_gone(pid: i32, secret: &str) {
    let mut left = found(pid, secret.as_bytes()).unwrap();
    let begun = Instant::now();
    while !left.is_empty() && begun.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        left = found(pid, secret.as_bytes()).unwrap();
    }
    assert!(left.is_empty(), "{left:#?}");
}

#[tokio::test]
async fn a_clients_secret_is_gone_from_memory_once_it_is_set() {
    let root = tempfile::tempdir().unwrap();
    let Some((server, pid)) = server_with_readable_memory(root.path()).await else {
        return mandate_testkit::skipped("this user may not read the memory of its own child");
    };
    server.admin.set_password("olga", &PasswordRequest { password: PASSWORD.to_owned() }).await.unwrap();
    let token = server.app.person_token("olga", Some(&server.app.issuer), Some("mandate:admin")).await;
    // By a client that would keep the connection.
    let url = format!("{}/v1/clients/desk-app/secret", server.role.text("admin_url"));
    let asked =
        server.app.http.post(url).bearer_auth(token).json(&ClientSecretRequest { secret: password() });
    let answer = Answer::of(asked.send().await.unwrap()).await;
    assert_eq!((answer.status, answer.header("connection")), (204, "close"), "{answer:?}");
    comes_to_be_gone(pid, &password()).await;
}
