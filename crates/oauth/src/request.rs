//! A request as the engine reads it: without any type of an HTTP library.

use std::sync::{Arc, OnceLock};

use mandate_core::RequestSource;

use crate::form::{Form, FormError, is_form};
use crate::refusal::RequestRefusal;

/// A request to one of the form endpoints, as it came over the wire.
#[derive(Clone, Copy)]
pub struct FormRequest<'a> {
    /// Where it came from.
    pub source: RequestSource,
    /// The method, such as `POST`.
    pub method: &'a str,
    /// The absolute URL as the client used it: the origin of our issuer, and the path and query of the
    /// request.
    pub url: &'a str,
    /// The headers that an endpoint reads.
    pub headers: Headers<'a>,
    /// The body, not yet parsed.
    pub body: &'a [u8],
    /// Where the engine writes the caller's name, once it is proven. A public client proves nothing.
    pub proven: Option<&'a OnceLock<Arc<str>>>,
}

impl<'a> FormRequest<'a> {
    /// The query of the URL.
    pub fn query(&self) -> Option<&'a str> {
        self.url.split_once('?').map(|(_, query)| query)
    }

    /// The parameters, which belong in the body.
    pub(crate) fn form(&self) -> Result<Form<'a>, RequestRefusal> {
        // Parameters are sent in the body (RFC 6749 §4.1.3, RFC 8693 §2.1, RFC 7009 §2.1, RFC 7662 §2.1). One
        // in the query would be ignored, or would be read by another program.
        if let Some(query) = self.query()
            && let Some(name) = Form::parse(query.as_bytes())?.oauth_parameter()
        {
            return Err(RequestRefusal::InQuery(name));
        }
        if !is_form(self.headers.first("content-type")) {
            return Err(RequestRefusal::Form(FormError::ContentType));
        }
        Ok(Form::parse(self.body)?)
    }
}

impl std::fmt::Debug for FormRequest<'_> {
    /// Neither query, header values nor body: all of them can hold credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, headers, bytes) = (self.url.split('?').next(), &self.headers, self.body.len());
        f.debug_struct("FormRequest")
            .field("method", &self.method)
            .field("url", &path)
            .field("headers", headers)
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

/// The headers of a request: names in lower case, values as text. A value that is no text of visible ASCII
/// must be given as one that no header has, such as U+FFFD: it is then there, and wrong.
#[derive(Clone, Copy, Default)]
pub struct Headers<'a>(&'a [(&'a str, &'a str)]);

/// A header that must be single is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated;

impl<'a> Headers<'a> {
    /// These headers, in the order in which they were sent.
    pub const fn new(all: &'a [(&'a str, &'a str)]) -> Self {
        Self(all)
    }

    /// The only header of this name. Two readers of a repeated one could read different values.
    pub fn single(&self, name: &str) -> Result<Option<&'a str>, Repeated> {
        let mut all = self.all(name);
        let first = all.next();
        if all.next().is_some() { Err(Repeated) } else { Ok(first) }
    }

    /// The first header of this name.
    pub fn first(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.0.iter().filter(move |(other, _)| *other == name).map(|(_, value)| *value)
    }
}

impl std::fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use mandate_core::RequestSource;

    use super::{FormRequest, Headers, Repeated};

    const HEADERS: &[(&str, &str)] =
        &[("content-type", "text/plain"), ("dpop", "a"), ("authorization", "Basic eA=="), ("dpop", "a")];

    fn request(url: &str) -> FormRequest<'_> {
        let source = RequestSource::Other;
        FormRequest {
            source,
            method: "POST",
            url,
            headers: Headers::new(HEADERS),
            body: b"code=secret",
            proven: None,
        }
    }

    #[test]
    fn a_header_that_must_be_single_is_not_read_when_it_is_repeated() {
        let headers = Headers::new(HEADERS);
        assert_eq!(headers.single("authorization"), Ok(Some("Basic eA==")));
        assert_eq!(headers.single("dpop"), Err(Repeated), "also if both are the same");
        assert_eq!(headers.single("cookie"), Ok(None));
        assert_eq!((headers.first("dpop"), headers.first("cookie")), (Some("a"), None));
    }

    #[test]
    fn the_query_is_what_follows_the_first_question_mark() {
        assert_eq!(request("https://m.example/token").query(), None);
        assert_eq!(request("https://m.example/token?").query(), Some(""));
        assert_eq!(request("https://m.example/token?a=?b").query(), Some("a=?b"));
    }

    #[test]
    fn debug_shows_no_credentials() {
        let text = format!("{:?}", request("https://m.example/token?client_secret=hunter2"));
        assert!(text.contains("https://m.example/token") && text.contains("authorization"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("eA==") && !text.contains("secret"), "{text}");
    }
}
