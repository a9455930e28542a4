//! Forms as they are sent to the engine of a [`World`](crate::world::World), and what is read of its answers.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "an answer that cannot be read is a failed test"
)]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use mandate_core::RequestSource;
use mandate_oauth::{FormRequest, Headers};
use serde_json::Value;

use crate::story::ISSUER;

/// Form parameters, in order.
pub type Pairs = Vec<(String, String)>;

/// The content type of every form.
pub const FORM: &str = "application/x-www-form-urlencoded";

/// A request to a form endpoint of the world, with what it borrows.
pub struct Post<'a> {
    source: RequestSource,
    url: String,
    headers: Vec<(&'a str, &'a str)>,
    body: &'a [u8],
}

impl<'a> Post<'a> {
    /// To the endpoint of this path, perhaps with a query, with these headers and this body.
    pub fn to(path: &str, headers: Vec<(&'a str, &'a str)>, body: &'a [u8]) -> Self {
        Self { source: RequestSource::Other, url: format!("{ISSUER}{path}"), headers, body }
    }

    /// A form for `path`, with this `Authorization` header.
    pub fn form(path: &str, authorization: Option<&'a str>, body: &'a str) -> Self {
        let credentials = authorization.map(|value| ("authorization", value));
        Self::to(path, std::iter::once(("content-type", FORM)).chain(credentials).collect(), body.as_bytes())
    }

    /// The same request from `source`.
    #[must_use]
    pub fn from(self, source: RequestSource) -> Self {
        Self { source, ..self }
    }

    /// The request in the form that the engine takes.
    pub fn request(&self) -> FormRequest<'_> {
        let headers = Headers::new(&self.headers);
        FormRequest {
            source: self.source,
            method: "POST",
            url: &self.url,
            headers,
            body: self.body,
            proven: None,
        }
    }
}

/// Owned form parameters from literals.
pub fn pairs(list: &[(&str, &str)]) -> Pairs {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A form as it is sent.
pub fn encode(pairs: &Pairs) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// The same form with one parameter replaced, or added.
#[must_use]
pub fn with(mut form: Pairs, name: &str, value: &str) -> Pairs {
    match form.iter_mut().find(|(n, _)| n == name) {
        Some(pair) => value.clone_into(&mut pair.1),
        None => form.push((name.to_owned(), value.to_owned())),
    }
    form
}

/// The same form without a parameter.
#[must_use]
pub fn without(mut form: Pairs, name: &str) -> Pairs {
    form.retain(|(n, _)| n != name);
    form
}

/// The payload of a JWT, unverified.
pub fn payload(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}

/// An `Authorization: Basic` header (RFC 6749 §2.3.1: both halves form-encoded).
pub fn basic(id: &str, secret: &str) -> String {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret))))
}
