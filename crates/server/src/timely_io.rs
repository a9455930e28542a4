//! A connection whose peer must read what is sent, so that no peer can hold the connection by reading
//! nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long a peer may read nothing of what is ready for it. The kernel reports room again when a third of
/// its buffer is free, so it does not help a peer to read a byte from time to time.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// Up to so many bytes, several buffers are copied into one: that costs less than giving the kernel a list.
/// An answer has a head and a body.
const JOINED: usize = 2048;

/// A transport below TLS: TLS itself accepts writes although its peer reads nothing.
pub(crate) struct TimelyIo<I> {
    io: I,
    limit: Duration,
    /// When a peer that reads nothing must be disconnected. Set only when a peer stops reading, which is
    /// rare.
    alarm: Option<Pin<Box<Sleep>>>,
    is_stuck: bool,
}

impl<I> TimelyIo<I> {
    /// `io`, whose peer must read something within `limit`.
    pub(crate) fn new(io: I, limit: Duration) -> Self {
        Self { io, limit, alarm: None, is_stuck: false }
    }

    /// Watches the result of a write.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.is_stuck = false;
            return written;
        }
        let limit = self.limit;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !self.is_stuck {
            self.is_stuck = true;
            alarm.as_mut().reset(Instant::now() + limit);
        }
        alarm.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for TimelyIo<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for TimelyIo<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        let written = if bufs.len() > 1 && total <= JOINED {
            let mut space = [0; JOINED];
            let mut joined = ReadBuf::new(&mut space);
            for buf in bufs {
                joined.put_slice(buf);
            }
            Pin::new(&mut self.io).poll_write(cx, joined.filled())
        } else {
            Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
        };
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, IoSlice};
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, duplex};

    use super::TimelyIo;

    const SHORT: Duration = Duration::from_millis(20);

    /// So long that it does not matter.
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (io, _peer) = duplex(64);
        let mut io = TimelyIo::new(io, SHORT);
        let written =
            tokio::time::timeout(LONG, io.write_all(&[0; 65])).await.expect("it holds the connection");
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_peer_that_takes_something_has_all_of_the_time_again() {
        let (io, mut peer) = duplex(64);
        let mut io = TimelyIo::new(io, LONG);
        for _ in 0..3 {
            io.write_all(&[0; 64]).await.unwrap();
            assert!(!io.is_stuck);
            let written = Pin::new(&mut io).poll_write(&mut Context::from_waker(Waker::noop()), &[0]);
            assert!(written.is_pending() && io.is_stuck);
            peer.read_exact(&mut [0; 64]).await.unwrap();
        }
    }

    /// Takes `most` bytes a call, and notes whether they came as a list.
    struct Noting {
        most: usize,
        bytes: Vec<u8>,
        lists: usize,
    }

    impl AsyncWrite for Noting {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let count = buf.len().min(self.most);
            self.bytes.extend_from_slice(&buf[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            self.lists += 1;
            let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
            let count = all.len().min(self.most);
            self.bytes.extend_from_slice(&all[..count]);
            Poll::Ready(Ok(count))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn small_buffers_are_written_together_and_nothing_is_lost_if_only_a_part_is_taken() {
        for (one, other, in_one) in
            [(300, 1_200, true), (1_000, 1_048, true), (1_000, 1_049, false), (1, 5_000, false)]
        {
            for most in [usize::MAX, 700] {
                let mut io = TimelyIo::new(Noting { most, bytes: Vec::new(), lists: 0 }, SHORT);
                let (one, other) = (vec![b'1'; one], vec![b'2'; other]);
                let mut bufs = [IoSlice::new(&one), IoSlice::new(&other)];
                let mut left = &mut bufs[..];
                let first = io.write_vectored(left).await.unwrap();
                assert_eq!(io.io.lists == 0, in_one, "{} and {}", one.len(), other.len());
                IoSlice::advance_slices(&mut left, first);
                while !left.is_empty() {
                    let count = io.write_vectored(left).await.unwrap();
                    IoSlice::advance_slices(&mut left, count);
                }
                assert_eq!(io.io.bytes, [one.as_slice(), other.as_slice()].concat());
            }
        }
    }
}
