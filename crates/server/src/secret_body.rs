//! Requests whose body is a password or a secret.

use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::Response;

/// The answer to such a request ends its connection (RFC 9112 §9.6): the buffers through which the secret came, ours and
/// TLS's, are given back with it, and the program's allocator wipes what is given back. A connection that is kept would
/// keep them for as long as it idles.
pub(crate) async fn ends_connection(mut response: Response) -> Response {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
