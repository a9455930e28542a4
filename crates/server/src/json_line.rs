//! JSON bodies end with a newline, so that the prompt in a terminal begins on a new line, and a file with one
//! answer is a text file.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

const NEWLINE: &[u8] = b"\n";

/// The answer to a request with this method, with a newline at the end if it is JSON.
pub(crate) fn end_with_newline(method: &Method, mut response: Response) -> Response {
    if !is_json(response.headers()) {
        return response;
    }
    let length = response.headers_mut().remove(CONTENT_LENGTH);
    if method == Method::HEAD {
        // RFC 9110 §8.6: the length that the body would have.
        let length = length.as_ref().and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if let Some(length) = length {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length + NEWLINE.len() as u64));
        }
        return response;
    }
    response.map(|body| Body::new(Ended { body, due: true }))
}

/// RFC 8259 §11, and the suffix of RFC 6839 §3.1.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default().trim();
    media_type == "application/json" || media_type.ends_with("+json")
}

/// A body, and then a newline.
struct Ended {
    body: Body,
    due: bool,
}

impl HttpBody for Ended {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_some() || !self.due {
            return Poll::Ready(frame);
        }
        self.due = false;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(NEWLINE)))))
    }

    fn is_end_stream(&self) -> bool {
        !self.due && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, due) = (self.body.size_hint(), if self.due { NEWLINE.len() as u64 } else { 0 });
        match hint.exact() {
            Some(exact) => hint.set_exact(exact + due),
            None => hint.set_lower(hint.lower() + due),
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
    use axum::http::{HeaderMap, Method};
    use axum::response::Response;
    use http_body_util::BodyExt as _;
    use hyper::body::Body as _;

    use super::end_with_newline;

    fn answer(content_type: &str, body: &'static str) -> Response {
        let response =
            Response::builder().header(CONTENT_TYPE, content_type).header(CONTENT_LENGTH, body.len());
        response.body(Body::from(body)).unwrap()
    }

    async fn read(response: Response) -> (HeaderMap, Option<u64>, String) {
        let (parts, body) = response.into_parts();
        let size = body.size_hint().exact();
        (parts.headers, size, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn json_ends_with_a_newline_that_its_length_counts() {
        for json in ["application/json", "application/problem+json", "application/json; charset=utf-8"] {
            let (headers, size, text) = read(end_with_newline(&Method::GET, answer(json, "{}"))).await;
            assert_eq!((headers.get(CONTENT_LENGTH), size, text.as_str()), (None, Some(3), "{}\n"), "{json}");
        }
    }

    #[tokio::test]
    async fn other_bodies_stay_as_they_are() {
        for other in ["text/html", "application/x-ndjson", "text/event-stream", "application/jsonx"] {
            let (headers, size, text) = read(end_with_newline(&Method::GET, answer(other, "{}"))).await;
            assert_eq!(
                (headers[CONTENT_LENGTH].as_bytes(), size, text.as_str()),
                (&b"2"[..], Some(2), "{}"),
                "{other}"
            );
        }
    }

    #[tokio::test]
    async fn an_answer_to_head_says_the_length_and_has_no_body() {
        let response = Response::builder()
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_LENGTH, 2)
            .body(Body::empty())
            .unwrap();
        let (headers, _, text) = read(end_with_newline(&Method::HEAD, response)).await;
        assert_eq!((headers[CONTENT_LENGTH].as_bytes(), text.as_str()), (&b"3"[..], ""));
    }
}
