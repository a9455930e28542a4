//! Lint before sign: the bytes that are about to be signed are parsed again and held against their profile.
//!
//! The code that builds a token or certificate and the code that checks it share nothing but the profile, so that a
//! mistake in one is caught by the other, before a signature makes it matter.

pub(crate) mod certificate;
pub(crate) mod claims;
