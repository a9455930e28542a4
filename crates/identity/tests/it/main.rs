//! The server's side of agent identity, with a real store, authority and audit log.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a step that cannot be taken is a failed test")]

mod issuing;
mod joining;
mod strangers;
mod world;
