//! To whom a token is addressed (RFC 7519 §4.1.3).

use std::iter;

use crate::uri::same;

/// One resource, or several. Tokens of other issuers may be addressed to several; a mandate never is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience {
    first: String,
    others: Vec<String>,
}

impl Audience {
    /// An audience of this resource alone.
    pub fn one(resource: String) -> Self {
        Self { first: resource, others: Vec::new() }
    }

    /// `first` and these others, as they are given.
    pub fn several(first: String, others: Vec<String>) -> Self {
        Self { first, others }
    }

    /// The resource, if it is the only one.
    pub fn sole(&self) -> Option<&str> {
        self.others.is_empty().then_some(self.first.as_str())
    }

    /// The resource that is named first. A decision that uses only this one ignores the others.
    pub fn first(&self) -> &str {
        &self.first
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        iter::once(self.first.as_str()).chain(self.others.iter().map(String::as_str))
    }

    /// Whether `resource` is the one, and there are no others. An empty path and `/` name the same resource,
    /// as in the registry; apart from that they compare bytewise.
    pub fn is_only(&self, resource: &str) -> bool {
        self.sole().is_some_and(|only| same(only, resource))
    }
}
