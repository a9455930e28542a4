//! The admin socket's threads. Operators never wait behind other requests: a command that stops an agent is
//! most needed when the server is busiest.

use std::io;
use std::os::unix::net::UnixListener;

use tokio::runtime::{Builder, Runtime};

use crate::listener::{Shutdown, Site, serve_unix};
use crate::places::Places;

/// A runtime with two threads: while one works on a large request, the other takes the next. It ends when
/// this is dropped.
pub(crate) struct AdminThread(Option<Runtime>);

impl AdminThread {
    pub(crate) fn start() -> io::Result<Self> {
        Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("admin socket")
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
    }

    /// Serves the admin socket on it until shutdown, with this many places.
    pub(crate) fn serve(
        &self,
        listener: UnixListener,
        places: usize,
        site: Site,
        shutdown: Shutdown,
    ) -> impl Future<Output = ()> + Send + use<> {
        // Both halves together are what is set aside for the socket; a process of another user gets one of
        // the second.
        let places = Places::new(places / 2, places / 2, 0);
        let serving = self.0.as_ref().map(|runtime| {
            runtime.spawn(async move {
                // It belongs to the runtime in which it is made.
                match tokio::net::UnixListener::from_std(listener) {
                    Ok(listener) => serve_unix(listener, places, site, shutdown).await,
                    Err(error) => tracing::error!(%error, "the admin socket cannot be served"),
                }
            })
        });
        async move {
            if let Some(serving) = serving {
                let _ = serving.await;
            }
        }
    }
}

impl Drop for AdminThread {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Inside another runtime nobody may wait for the end of this one.
            runtime.shutdown_background();
        }
    }
}
