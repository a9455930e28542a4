//! The verifier against a real issuer over HTTP, which the tests rotate, stop and corrupt.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests end the test")]

mod decision_line;
mod discovery;
mod layer;
mod outage;
mod own_behalf;
mod revocation;
mod tls;
mod tokens;
mod vectors;
mod world;
