//! Taking the bearer token out of a request (RFC 6750 §2), strictly.

use std::fmt;

use mandate_core::names::{AccessTokenType, Parameter};

use crate::refusal::Reason;

/// The credentials of a request, not checked yet.
///
/// With an HTTP framework, use the tower layer or `Presented::from_parts` (feature `tower`). Without one,
/// pass **every** `Authorization` header and the query string: a request with two credentials is refused,
/// because a proxy in front may have checked the other one (RFC 6750 §3.1, `invalid_request`).
///
/// ```
/// use mandate_verifier::Presented;
///
/// let headers: Vec<&[u8]> = vec![b"Bearer eyJ..."];
/// let presented = Presented::collect(headers, Some("page=2"));
/// # let _ = presented;
/// ```
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    authorization: Option<&'a [u8]>,
    more_than_one: bool,
    token_in_query: bool,
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("authorization", &self.authorization.map(|_| "redacted"))
            .finish_non_exhaustive()
    }
}

impl<'a> Presented<'a> {
    /// From the values of all `Authorization` headers, in any number, and the query string without its `?`.
    pub fn collect(authorization: impl IntoIterator<Item = &'a [u8]>, query: Option<&str>) -> Self {
        let mut values = authorization.into_iter();
        let first = values.next();
        Self {
            authorization: first,
            more_than_one: values.next().is_some(),
            token_in_query: query.is_some_and(query_has_token),
        }
    }

    /// From the head of an HTTP request.
    #[cfg(feature = "tower")]
    pub fn from_parts(parts: &'a http::request::Parts) -> Self {
        let values = parts.headers.get_all(http::header::AUTHORIZATION);
        Self::collect(values.iter().map(http::HeaderValue::as_bytes), parts.uri.query())
    }

    /// The one bearer token; `None` when the request shows none or uses a scheme that is not ours.
    pub(crate) fn bearer(&self) -> Result<Option<&'a str>, Reason> {
        if self.more_than_one {
            return Err(Reason::Malformed("more than one Authorization header"));
        }
        // OAuth 2.1 has removed RFC 6750 §2.3: a token in a URL gets into logs and `Referer` headers.
        if self.token_in_query {
            return Err(Reason::Malformed("an access token in the query string"));
        }
        let Some(value) = self.authorization else { return Ok(None) };
        let text = std::str::from_utf8(value)
            .map_err(|_| Reason::Malformed("an Authorization header that is not text"))?;
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        // RFC 9110 §11.1: the scheme is case-insensitive. An unsupported scheme is no credential of ours: the
        // challenge then carries no error code (RFC 6750 §3.1).
        if !scheme.eq_ignore_ascii_case(AccessTokenType::Bearer.as_str()) {
            return Ok(None);
        }
        let token = rest.trim_start_matches(' ');
        if token.is_empty() {
            return Err(Reason::Malformed("the Bearer scheme without a token"));
        }
        // RFC 6750 §2.1 b64token. A comma would be a second credential in one header.
        let b64token =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
        if token.bytes().all(b64token) {
            Ok(Some(token))
        } else {
            Err(Reason::Malformed("a bearer token with a character outside b64token"))
        }
    }
}

impl<'a> From<Option<&'a str>> for Presented<'a> {
    /// From the one `Authorization` header of a request. The caller has checked that there is only one.
    fn from(authorization: Option<&'a str>) -> Self {
        Self::collect(authorization.map(str::as_bytes), None)
    }
}

fn query_has_token(query: &str) -> bool {
    // Percent-decoded as a framework would, so that `access%5Ftoken=` is found, too.
    url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == Parameter::AccessToken.as_str())
}

#[cfg(test)]
mod tests {
    use super::Presented;
    use crate::refusal::Reason;

    fn bearer<'a>(values: &[&'a str], query: Option<&str>) -> Result<Option<&'a str>, Reason> {
        Presented::collect(values.iter().map(|v| v.as_bytes()), query).bearer()
    }

    #[test]
    fn takes_one_bearer_token_whatever_the_case_of_the_scheme() {
        for header in ["Bearer a.b-c_d~e+f/g=", "bearer a.b-c_d~e+f/g=", "BEARER  a.b-c_d~e+f/g="] {
            assert_eq!(bearer(&[header], Some("page=1")), Ok(Some("a.b-c_d~e+f/g=")), "{header}");
        }
    }

    #[test]
    fn another_scheme_is_no_credential() {
        for header in ["Basic YTpi", "DPoP abc", "Bearerx abc", ""] {
            assert_eq!(bearer(&[header], None), Ok(None), "{header}");
        }
        assert_eq!(bearer(&[], None), Ok(None));
    }

    #[test]
    fn refuses_two_credentials_and_malformed_ones() {
        assert!(bearer(&["Bearer a", "Bearer a"], None).is_err());
        assert!(bearer(&["Bearer a", "DPoP b"], None).is_err(), "both schemes in one request");
        assert!(bearer(&["Basic a", "Bearer b"], None).is_err());
        for header in [
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a, Bearer b",
            "Bearer a\tb",
            "Bearer \u{e9}",
            "Bearer \"a\"",
        ] {
            assert!(bearer(&[header], None).is_err(), "{header:?}");
        }
        assert!(Presented::collect([&b"Bearer \xff"[..]], None).bearer().is_err());
    }

    #[test]
    fn refuses_a_token_in_the_query_also_when_disguised() {
        for query in ["access_token=x", "a=1&access_token=", "access%5Ftoken=x", "%61ccess_token"] {
            assert!(bearer(&[], Some(query)).is_err(), "{query}");
            assert!(bearer(&["Bearer a"], Some(query)).is_err(), "{query}");
        }
        assert_eq!(bearer(&["Bearer a"], Some("my_access_token=x")), Ok(Some("a")));
    }

    #[test]
    fn prints_no_token() {
        let text = format!("{:?}", Presented::from(Some("Bearer topsecret")));
        assert!(!text.contains("topsecret"), "{text}");
    }
}
