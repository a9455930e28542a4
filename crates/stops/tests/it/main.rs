//! Stops: in force whatever fails, recorded once, and never overtaken by what comes later.

#![expect(clippy::unwrap_used, clippy::panic, clippy::unreachable, reason = "helpers of tests end the test")]

mod faults;
mod reserve;
mod restart;
mod world;
