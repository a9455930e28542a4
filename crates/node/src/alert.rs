//! Detects the TLS alert by which a server refuses a node's certificate.
//!
//! With TLS 1.3 the server judges the client's certificate after the client's handshake is complete (RFC 8446
//! §2), so the alert comes when the client reads, or is still unread when a write fails. HTTP/2 reports both
//! like a broken connection.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much of what came before a failed write is read, in pieces of a kibibyte.
const MOST_PIECES: usize = 64;

/// The alert of one connection, if there was one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alert(Arc<OnceLock<AlertDescription>>);

impl Alert {
    /// Whether the server said that it does not accept this node's certificate (RFC 8446 §6.2).
    pub(crate) fn refuses_certificate(&self) -> bool {
        let refusals = [
            AlertDescription::BadCertificate,
            AlertDescription::UnsupportedCertificate,
            AlertDescription::CertificateRevoked,
            AlertDescription::CertificateExpired,
            AlertDescription::CertificateUnknown,
            AlertDescription::UnknownCA,
            AlertDescription::AccessDenied,
        ];
        self.0.get().is_some_and(|alert| refusals.contains(alert))
    }

    fn note(&self, error: &io::Error) {
        if let Some(rustls::Error::AlertReceived(alert)) =
            error.get_ref().and_then(|inner| inner.downcast_ref())
        {
            // The first one ended the connection.
            let _ = self.0.set(*alert);
        }
    }
}

/// A TLS connection that records the alert of its server.
pub(crate) struct Heard<I> {
    io: I,
    alert: Alert,
    /// Why a write failed, while what the server said before is not read yet.
    failed: Option<io::Error>,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Heard<I> {
    pub(crate) fn new(io: I, alert: Alert) -> Self {
        Self { io, alert, failed: None }
    }

    /// A write. The failure of a write is returned only after everything was read that the server sent before
    /// it closed the connection. The kernel reports the failed write at once, and the bytes to read a moment
    /// later.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut I>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.failed.is_none() {
            match write(Pin::new(&mut self.io), cx) {
                Poll::Ready(Err(error)) => {
                    self.alert.note(&error);
                    self.failed = Some(error);
                }
                written => return written,
            }
        }
        let mut piece = [0; 1024];
        for _ in 0..MOST_PIECES {
            let mut piece = ReadBuf::new(&mut piece);
            match Pin::new(&mut self.io).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {}
                Poll::Ready(Ok(())) => break,
                Poll::Ready(Err(error)) => {
                    self.alert.note(&error);
                    break;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Err(self.failed.take().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Heard<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if let Poll::Ready(Err(error)) = &read {
            self.alert.note(error);
        }
        read
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Heard<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.written(cx, |io, cx| io.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.written(cx, |io, cx| io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.written(cx, I::poll_flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.written(cx, I::poll_shutdown)
    }
}

#[cfg(test)]
mod tests {
    use super::{Alert, Heard};
    use rustls::AlertDescription;
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

    /// A connection that the server has closed: some bytes and then an alert can still be read, and nothing
    /// can be written.
    struct Closed {
        /// How often reading has to wait: the kernel has told of the failed write only.
        waits: usize,
        unread: usize,
        alert: AlertDescription,
    }

    impl AsyncRead for Closed {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(waits) = self.waits.checked_sub(1) {
                self.waits = waits;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.unread == 0 {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    rustls::Error::AlertReceived(self.alert),
                )));
            }
            let now = self.unread.min(buf.remaining());
            self.unread -= now;
            buf.put_slice(&vec![b'x'; now]);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Closed {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn an_alert_is_heard_also_when_a_write_fails_before_it_is_read() {
        for (alert, refuses) in [
            (AlertDescription::CertificateExpired, true),
            (AlertDescription::UnknownCA, true),
            (AlertDescription::InternalError, false),
            (AlertDescription::CloseNotify, false),
        ] {
            let (by_write, by_read) = (Alert::default(), Alert::default());
            let mut io = Heard::new(Closed { waits: 2, unread: 3_000, alert }, by_write.clone());
            assert_eq!(io.write_all(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            let mut io = Heard::new(Closed { waits: 0, unread: 0, alert }, by_read.clone());
            assert!(!by_read.refuses_certificate());
            assert!(io.read_u8().await.is_err());
            assert_eq!(
                (by_write.refuses_certificate(), by_read.refuses_certificate()),
                (refuses, refuses),
                "{alert:?}"
            );
        }
    }
}
