//! Who may call which operation: protected by one shared key, or by Mandate.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use mandate_verifier::{Freshness, Route, Verified, Verifier};
use subtle::ConstantTimeEq;

use crate::caller::Caller;
use crate::database::Database;
use crate::error::CrmError;

/// How the CRM is protected.
#[derive(Clone, Debug)]
pub enum Protection {
    /// Without Mandate: any client with the one key may do everything, and no record shows which client it
    /// was. Only for the comparison in the demo.
    DangerousSharedKey(SharedKey),
    /// Every operation needs a token for this CRM with the operation's scope.
    Mandate(Verifier),
}

impl Protection {
    /// See [`Protection::DangerousSharedKey`].
    #[must_use]
    pub fn dangerous_shared_key(key: SharedKey) -> Self {
        Self::DangerousSharedKey(key)
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::DangerousSharedKey(_) => "shared key",
            Self::Mandate(_) => "mandate",
        }
    }

    /// The operations of `methods`, for callers that may use `scope`.
    pub(crate) fn protect(
        &self,
        scope: &str,
        methods: MethodRouter<Database>,
    ) -> Result<MethodRouter<Database>, CrmError> {
        Ok(match self {
            Self::DangerousSharedKey(key) => methods.route_layer(from_fn_with_state(key.clone(), check_key)),
            // The last layer is the outermost: first the check, then the caller is read from the extensions
            // that it has set.
            Self::Mandate(verifier) => {
                methods.route_layer(from_fn(name_caller)).route_layer(verifier.layer(route(scope)?))
            }
        })
    }

    /// Lets refused clients find out where to get a token.
    pub(crate) fn advertise(&self, app: Router) -> Router {
        match self {
            Self::DangerousSharedKey(_) => app,
            Self::Mandate(verifier) => app.layer(verifier.metadata_layer()),
        }
    }
}

/// What each operation requires. Reading uses the default; closing deals and sending mail need knowledge of
/// revocations that is at most 10 seconds old.
fn route(scope: &str) -> Result<Route, CrmError> {
    let route = Route::requires(scope).map_err(|_| CrmError::Scope)?;
    let destructive = matches!(scope, "write:opportunities" | "send:mail");
    Ok(if destructive {
        route.freshness(Freshness::FailClosed { max_age: Duration::from_secs(10) })
    } else {
        route
    })
}

/// The one key of the CRM without Mandate. Does not print; compared in constant time.
#[derive(Clone)]
pub struct SharedKey(Vec<u8>);

/// The key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say what these fields are")]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("the key file {path} cannot be read")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The key is too short, or has characters that no HTTP header can carry.
    #[error("the shared key must be 16 to 512 printable ASCII characters without spaces")]
    Form,
}

impl SharedKey {
    /// From a file with the key on one line.
    pub fn from_file(path: &Path) -> Result<Self, KeyFileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| KeyFileError::Unreadable { path: path.to_owned(), source })?;
        // An editor may have put a byte order mark in front.
        Self::new(text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']))
    }

    /// From its text, 16 to 512 printable ASCII characters without spaces.
    pub fn new(key: &str) -> Result<Self, KeyFileError> {
        let good = (16..=512).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        if good { Ok(Self(key.as_bytes().to_vec())) } else { Err(KeyFileError::Form) }
    }

    fn opens(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        value.as_bytes().strip_prefix(b"Bearer ").is_some_and(|shown| shown.ct_eq(&self.0).into())
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(redacted)")
    }
}

async fn check_key(State(key): State<SharedKey>, request: Request, next: Next) -> Response {
    if key.opens(request.headers()) {
        return run_as(Caller::KeyHolder, request, next).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
    (StatusCode::UNAUTHORIZED, challenge).into_response()
}

async fn name_caller(mut request: Request, next: Next) -> Response {
    match request.extensions_mut().remove::<Verified>() {
        Some(verified) => run_as(Caller::Verified(Box::new(verified)), request, next).await,
        // Without the check in front nothing may pass.
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

async fn run_as(caller: Caller, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(caller.clone());
    let mut response = next.run(request).await;
    response.extensions_mut().insert(caller);
    response
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::SharedKey;

    const KEY: &str = "0123456789abcdef";

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("authorization", HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_the_whole_key_in_one_header_opens() {
        let key = SharedKey::new(KEY).unwrap();
        assert!(key.opens(&headers(&["Bearer 0123456789abcdef"])));
        for wrong in [
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Bearer ",
            "0123456789abcdef",
        ] {
            assert!(!key.opens(&headers(&[wrong])), "{wrong}");
        }
        assert!(!key.opens(&headers(&[])));
        assert!(!key.opens(&headers(&["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"])));
    }

    #[test]
    fn a_key_is_long_enough_and_does_not_print() {
        for bad in ["", "short", "with space 0123456789", "0123456789abcde\u{e9}", &"a".repeat(513)] {
            assert!(SharedKey::new(bad).is_err(), "{bad:?}");
        }
        assert!(!format!("{:?}", SharedKey::new(KEY).unwrap()).contains(KEY));
    }
}
