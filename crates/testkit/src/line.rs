//! A line between a client and a server that is slow, stands still or loses what it carries, as a network
//! does from time to time.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test double that cannot do its part ends the test"
)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

#[derive(Debug, Default)]
struct Conduct {
    delay_millis: AtomicU64,
    /// Answers do not arrive. What the client sends does.
    answers_held: AtomicBool,
    /// What is lost of the next exchange in which the client sends these bytes.
    loses: Mutex<Option<(&'static [u8], Lost)>>,
}

/// What a line loses. The connection ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// What the client sends: the server never gets it.
    Question,
    /// What the server answers: it has done what it was asked for.
    Answer,
}

/// Passes on what comes to a port of 127.0.0.1, for as long as the process lives.
#[derive(Clone, Debug)]
pub struct Line {
    port: u16,
    conduct: Arc<Conduct>,
}

impl Line {
    /// A line to a Unix socket.
    pub fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let line = Self { port: listener.local_addr().expect("an address").port(), conduct: Arc::default() };
        let conduct = Arc::clone(&line.conduct);
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                // A server that is not there ends the connection.
                let Ok(server) = UnixStream::connect(&socket) else { continue };
                let (from, to) =
                    (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
                let there = Arc::clone(&conduct);
                let answers = client.try_clone().expect("a socket");
                thread::spawn(move || {
                    pass(from, &to, &there, Some(&answers));
                    let _ = to.shutdown(Shutdown::Both);
                });
                let back = Arc::clone(&conduct);
                thread::spawn(move || {
                    pass(server, &client, &back, None);
                    let _ = TcpStream::shutdown(&client, Shutdown::Both);
                });
            }
        });
        line
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on what is sent takes so long, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.conduct
            .delay_millis
            .store(u64::try_from(delay.as_millis()).expect("a short delay"), Ordering::SeqCst);
    }

    /// Keeps all answers back until [`Line::release_answers`].
    pub fn hold_answers(&self) {
        self.conduct.answers_held.store(true, Ordering::SeqCst);
    }

    /// Loses the next question of a client that contains `bytes` in what it sends at once, or the answer to
    /// it.
    pub fn lose(&self, bytes: &'static [u8], lost: Lost) {
        *self.conduct.loses.lock() = Some((bytes, lost));
    }

    /// Lets the answers arrive that were kept back.
    pub fn release_answers(&self) {
        self.conduct.answers_held.store(false, Ordering::SeqCst);
    }
}

/// Passes on what is read. `answers` is where the answers to it go, if it is the client's.
fn pass(mut from: impl Read, mut to: impl Write, conduct: &Conduct, answers: Option<&TcpStream>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { return };
        thread::sleep(Duration::from_millis(conduct.delay_millis.load(Ordering::SeqCst)));
        while answers.is_none() && conduct.answers_held.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(2));
        }
        let lost = answers.and_then(|answers| Some((conduct.loses(bytes)?, answers)));
        if let Some((_, answers)) = lost {
            // The client hears nothing more.
            let _ = answers.shutdown(Shutdown::Both);
        }
        if matches!(lost, Some((Lost::Question, _))) || to.write_all(bytes).is_err() {
            return;
        }
        if lost.is_some() {
            // The server does it before it hears that its client is gone.
            thread::sleep(Duration::from_secs(4));
            return;
        }
    }
}

impl Conduct {
    /// What is lost of an exchange in which the client sends these bytes.
    fn loses(&self, bytes: &[u8]) -> Option<Lost> {
        let mut loses = self.loses.lock();
        let (needle, lost) = (*loses)?;
        let found = bytes.windows(needle.len()).any(|window| window == needle);
        found.then(|| loses.take()).map(|_| lost)
    }
}
