//! Backups made, restored, and refused.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a helper that fails is a test that fails")]

mod hostile;
mod whole;
mod world;
