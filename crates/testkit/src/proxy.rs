//! A proxy that nobody should ask.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a test double that cannot do its part ends the test"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The variables by which the environment names a proxy.
const NAMES: [&str; 6] = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Those by which it names exceptions.
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Answers every connection with the same page, and counts them.
#[derive(Clone, Debug)]
pub struct LyingProxy {
    url: String,
    asked: Arc<AtomicUsize>,
}

impl LyingProxy {
    /// On a free port of 127.0.0.1, for as long as the process lives.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let proxy = Self { url, asked: Arc::default() };
        let asked = Arc::clone(&proxy.asked);
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                asked.fetch_add(1, Ordering::SeqCst);
                // A client that hangs up has been counted.
                let _ = stream.read(&mut [0; 4096]);
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 4\r\nconnection: close\r\n\r\nlies");
            }
        });
        proxy
    }

    /// The URL by which the environment names it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many connections it got.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// An environment in which everything goes through it, with no exceptions.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let named = NAMES.into_iter().map(|name| (name, self.url.clone()));
        named.chain(EXCEPTIONS.into_iter().map(|name| (name, String::new()))).collect()
    }
}
