//! What scripts of other origins may do here: only what clients that run in a browser need (RFC 9700 §2.6).
//!
//! Never with credentials of the browser: no endpoint that allows this reads cookies.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

/// Lets scripts of all origins read an answer.
pub(super) fn readable(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("www-authenticate, retry-after"));
    response
}

/// `OPTIONS`: the preflight request of a browser before it sends a script's request. MCP clients send the
/// header of their protocol's version. A request that does not name a method is not a preflight request.
pub(super) async fn preflight(headers: HeaderMap) -> Response {
    if !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let headers = [
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, mcp-protocol-version"),
        (ACCESS_CONTROL_MAX_AGE, "7200"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}
