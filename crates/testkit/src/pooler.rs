//! A pooler of PostgreSQL's connections that gives all its clients the same few sessions, as poolers may that
//! pool by transaction or by statement.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test double that cannot do its part ends the test"
)]

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;

/// The sessions, which of them is next, and what the server said when the first one began.
struct Sessions {
    servers: Vec<UnixStream>,
    current: usize,
    greeting: Option<Vec<u8>>,
}

/// A pooler on a port of 127.0.0.1, for as long as the process lives. Returns the port.
///
/// It has so many sessions, and takes the next one for each question that is not prepared (`Query`). It
/// passes on whole questions, up to `Query` or `Sync`, and their answers (PostgreSQL 15, chapter 55).
pub fn start(socket: &Path, sessions: usize) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let servers = (0..sessions).map(|_| UnixStream::connect(socket).expect("a server")).collect();
    let session = Arc::new(Mutex::new(Sessions { servers, current: 0, greeting: None }));
    thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let session = Arc::clone(&session);
            // A client that goes away ends its own thread.
            thread::spawn(move || serve(client, &session));
        }
    });
    port
}

fn serve(mut client: TcpStream, session: &Mutex<Sessions>) -> io::Result<()> {
    let start = message(&mut client, Vec::new())?;
    let greeting = session.lock().greeted(&start)?;
    client.write_all(&greeting)?;
    let mut question = Vec::new();
    loop {
        let next = typed(&mut client)?;
        let kind = next.first().copied();
        if kind == Some(b'X') {
            return Ok(());
        }
        question.extend(next);
        if matches!(kind, Some(b'Q' | b'S')) {
            let answer = session.lock().answered(&question)?;
            client.write_all(&answer)?;
            question.clear();
        }
    }
}

impl Sessions {
    /// The greeting of the first client, for all of them.
    fn greeted(&mut self, start: &[u8]) -> io::Result<Vec<u8>> {
        if let Some(greeting) = &self.greeting {
            return Ok(greeting.clone());
        }
        let greetings: Result<Vec<_>, _> =
            self.servers.iter_mut().map(|server| answered(server, start)).collect();
        let greeting = greetings?.into_iter().next().unwrap_or_default();
        self.greeting = Some(greeting.clone());
        Ok(greeting)
    }

    fn answered(&mut self, question: &[u8]) -> io::Result<Vec<u8>> {
        if question.first() == Some(&b'Q') {
            self.current = (self.current + 1) % self.servers.len();
        }
        let server = self.servers.get_mut(self.current).ok_or(io::ErrorKind::NotConnected)?;
        answered(server, question)
    }
}

/// What the server answers, up to `ReadyForQuery`.
fn answered(server: &mut UnixStream, question: &[u8]) -> io::Result<Vec<u8>> {
    server.write_all(question)?;
    let mut answer = Vec::new();
    loop {
        let next = typed(server)?;
        let ready = next.first() == Some(&b'Z');
        answer.extend(next);
        if ready {
            return Ok(answer);
        }
    }
}

/// A message with its type before its length.
fn typed(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut kind = vec![0];
    from.read_exact(&mut kind)?;
    message(from, kind)
}

/// Reads a length, which counts itself, and so many bytes behind `head`.
fn message(from: &mut impl Read, mut head: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let rest = u64::from(u32::from_be_bytes(length)).saturating_sub(4);
    head.extend(length);
    from.take(rest).read_to_end(&mut head)?;
    Ok(head)
}
