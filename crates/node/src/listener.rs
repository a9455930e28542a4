//! Connections of local processes: whose they are, and how many of them.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tonic::transport::server::Connected;

use crate::caller::Caller;
use crate::process::Gone;

/// How many connections there are at most, of all users and of one user: nobody can take the node away from the others.
const MOST: (usize, usize) = (2048, 512);

/// How long accepting rests after it failed, which mostly means that there are no file descriptors left.
const REST: Duration = Duration::from_millis(50);

/// Whether it has been said that processes are hidden.
static HIDDEN_SAID: AtomicBool = AtomicBool::new(false);

/// How many connections each user has.
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<HashMap<u32, usize>>>);

/// One connection's place among them.
struct Place {
    counts: Counts,
    uid: u32,
}

impl Counts {
    fn take(&self, uid: u32) -> Option<Place> {
        let (most, most_of_one) = MOST;
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = counts.values().sum();
        let of_one = counts.entry(uid).or_default();
        if all >= most || *of_one >= most_of_one {
            return None;
        }
        *of_one += 1;
        Some(Place { counts: self.clone(), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

/// A connection of a process that has been looked at.
pub(crate) struct Connection {
    stream: UnixStream,
    caller: Arc<Caller>,
    _place: Place,
}

/// The connections that arrive, without end.
pub(crate) fn connections(listener: UnixListener) -> impl Stream<Item = io::Result<Connection>> {
    stream::unfold((listener, Counts::default()), |(listener, counts)| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    if let Some(connection) = admit(stream, &counts) {
                        return Some((Ok(connection), (listener, counts)));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the Workload API was not accepted");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    })
}

fn admit(stream: UnixStream, counts: &Counts) -> Option<Connection> {
    let caller = match Caller::of(&stream) {
        Ok(caller) => Arc::new(caller),
        Err(gone) => {
            // A fault of this machine's set-up, which an operator has to see once, not at each connection.
            if gone == Gone::Hidden && !HIDDEN_SAID.swap(true, Ordering::Relaxed) {
                tracing::warn!("processes of other users are hidden from this node (hidepid, ProtectProc), so they are served nothing");
            }
            tracing::info!(%gone, "a caller of the Workload API cannot be attested");
            return None;
        }
    };
    let place = counts.take(caller.uid());
    if place.is_none() {
        tracing::warn!(uid = caller.uid(), pid = caller.pid(), "too many connections to the Workload API");
    }
    Some(Connection { stream, caller, _place: place? })
}

impl Connected for Connection {
    type ConnectInfo = Arc<Caller>;

    fn connect_info(&self) -> Arc<Caller> {
        Arc::clone(&self.caller)
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::{Counts, MOST};

    #[test]
    fn one_user_cannot_take_all_places() {
        let counts = Counts::default();
        let mut places: Vec<_> = (0..MOST.1).map(|_| counts.take(1000).unwrap()).collect();
        assert!(counts.take(1000).is_none());
        assert!(counts.take(1001).is_some());
        places.pop();
        assert!(counts.take(1000).is_some(), "a place that is given back can be taken again");
        drop(places);
        assert!(counts.0.lock().unwrap().is_empty(), "nothing is remembered of users who are gone");
    }

    #[test]
    fn all_users_together_have_a_limit() {
        let counts = Counts::default();
        let places: Vec<_> = (0..).map_while(|n: u32| counts.take(n)).collect();
        assert_eq!(places.len(), MOST.0);
    }
}
