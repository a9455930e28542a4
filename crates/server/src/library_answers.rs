//! The HTTP library itself answers a request head that it cannot read. Here such an answer gets the headers
//! that all other answers have.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The beginning of an answer that the library makes.
const BEGINNING: &[u8] = b"HTTP/1.1 4";

/// A header that all answers have except those of the library.
const MARK: &[u8] = b"x-content-type-options";

/// A connection to which the library writes.
pub(crate) struct LibraryAnswers<I> {
    io: I,
    /// The lines of headers that such answers lack.
    headers: &'static str,
    /// The unsent rest of such an answer.
    unsent: Vec<u8>,
}

impl<I> LibraryAnswers<I> {
    /// `io`, with `headers` for answers that the library makes.
    pub(crate) fn new(io: I, headers: &'static str) -> Self {
        Self { io, headers, unsent: Vec::new() }
    }

    /// Takes over such an answer. It is small, and written in one call.
    fn take_over(&mut self, written: &[u8]) -> bool {
        if !written.starts_with(BEGINNING) || !written.ends_with(b"\r\n\r\n") || contains(written, MARK) {
            return false;
        }
        let line = written.iter().position(|byte| *byte == b'\n');
        let Some((status, rest)) = line.and_then(|end| written.split_at_checked(end + 1)) else {
            return false;
        };
        self.unsent = [status, self.headers.as_bytes(), rest].concat();
        true
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

impl<I: AsyncWrite + Unpin> LibraryAnswers<I> {
    fn send_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, &self.unsent))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for LibraryAnswers<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for LibraryAnswers<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.send_unsent(cx))?;
        if self.take_over(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.send_unsent(cx))?;
        if let [only] = bufs
            && self.take_over(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send_unsent(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send_unsent(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::LibraryAnswers;

    /// So long that it does not matter.
    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn answers_that_the_library_makes_by_itself_get_the_headers_that_all_have() {
        let (io, mut peer) = duplex(1024);
        let mut io =
            LibraryAnswers::new(io, "cache-control: no-store\r\nx-content-type-options: nosniff\r\n");
        for (sent, received) in [
            (
                "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n",
                "HTTP/1.1 431 Request Header Fields Too Large\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\ncontent-length: 0\r\n\r\n",
            ),
            ("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"),
            (
                "HTTP/1.1 404 Not Found\r\nX-Content-Type-Options: nosniff\r\n\r\n",
                "HTTP/1.1 404 Not Found\r\nX-Content-Type-Options: nosniff\r\n\r\n",
            ),
            ("data: HTTP/1.1 400\r\n\r\n", "data: HTTP/1.1 400\r\n\r\n"),
        ] {
            for vectored in [false, true] {
                let count = if vectored {
                    io.write_vectored(&[std::io::IoSlice::new(sent.as_bytes())]).await
                } else {
                    io.write(sent.as_bytes()).await
                };
                assert_eq!(count.unwrap(), sent.len());
                io.flush().await.unwrap();
                let mut buffer = vec![0; received.len()];
                let read = tokio::time::timeout(LONG, peer.read_exact(&mut buffer)).await;
                let read = read.unwrap_or_else(|_| {
                    panic!("less than {received:?}: {:?}", String::from_utf8_lossy(&buffer))
                });
                read.unwrap();
                assert_eq!(String::from_utf8(buffer).unwrap(), received);
            }
        }
    }
}
