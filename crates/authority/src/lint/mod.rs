//! Lint before sign: the bytes that are about to be signed are parsed again and checked against their
//! profile.
//!
//! The code that builds a token or certificate and the code that checks it share only the profile. So each of
//! them detects a mistake of the other, before it is signed.

pub(crate) mod certificate;
pub(crate) mod claims;
