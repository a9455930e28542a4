//! Requests whose body is a password or a secret.

use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::Response;

/// The answer to such a request ends its connection (RFC 9112 §9.6). The buffers of the server and of TLS
/// that contained the secret are then given back, and the program's allocator wipes what is given back. A
/// connection that stays open would keep them for as long as it is idle.
pub(crate) async fn ends_connection(mut response: Response) -> Response {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
