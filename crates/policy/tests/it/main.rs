//! What the policy crate promises, seen from outside.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod alone;
mod compiling;
mod deciding;
mod narrowing;
mod remembering;
mod world;
