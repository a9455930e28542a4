//! The CRM over real HTTP, in the world before and in the world after.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests end the test")]

mod mandate;
mod shared_key;
mod world;
