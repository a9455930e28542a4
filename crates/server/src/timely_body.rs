//! A request body that must arrive in time, so that no client can hold a connection by sending almost
//! nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::places::Guest;

/// The body did not arrive in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request did not arrive in time")]
pub(crate) struct TooSlow;

/// A body with a deadline for all of it.
pub(crate) struct TimelyBody<B> {
    body: B,
    deadline: Instant,
    /// Set only if we must wait for the body, which is rare.
    alarm: Option<Pin<Box<Sleep>>>,
    /// The connection that sends it.
    guest: Option<Arc<Guest>>,
}

impl<B: Body> TimelyBody<B> {
    /// `body`, which has `limit` from now on.
    pub(crate) fn new(body: B, limit: Duration) -> Self {
        Self { body, deadline: Instant::now() + limit, alarm: None, guest: None }
    }

    /// As [`TimelyBody::new`], and `guest` is told when all of it has arrived.
    pub(crate) fn of(guest: &Arc<Guest>, body: B, limit: Duration) -> Self {
        if body.is_end_stream() {
            guest.is_served();
            return Self::new(body, limit);
        }
        Self { guest: Some(Arc::clone(guest)), ..Self::new(body, limit) }
    }

    fn has_arrived(&mut self) {
        if let Some(guest) = self.guest.take() {
            guest.is_served();
        }
    }
}

impl<B> Body for TimelyBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            if frame.is_none() || self.body.is_end_stream() {
                self.has_arrived();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        // A client that sends one byte at a time makes us wait after each byte, so the deadline ends its
        // request too.
        let deadline = self.deadline;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        alarm.as_mut().poll(cx).map(|()| Some(Err(TooSlow.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use axum::body::{Body, Bytes, to_bytes};
    use futures_util::{StreamExt as _, stream};

    use super::TimelyBody;

    async fn read(body: Body, limit: Duration) -> Option<Bytes> {
        to_bytes(Body::new(TimelyBody::new(body, limit)), 1024).await.ok()
    }

    #[tokio::test]
    async fn a_body_that_is_there_is_read_whole_however_short_the_time() {
        assert_eq!(read(Body::from("all of it"), Duration::ZERO).await.unwrap(), "all of it");
        assert_eq!(read(Body::empty(), Duration::ZERO).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_body_that_never_ends_ends_with_the_time() {
        let first = stream::iter([Ok::<_, Infallible>("a first byte")]);
        let stuck = Body::from_stream(first.chain(stream::pending()));
        assert_eq!(read(stuck, Duration::from_millis(5)).await, None);
    }

    #[tokio::test]
    async fn one_byte_at_a_time_is_no_way_around_it() {
        let drip = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Some((Ok::<_, Infallible>("."), ()))
        });
        assert_eq!(read(Body::from_stream(drip.take(900)), Duration::from_millis(20)).await, None);
    }
}
