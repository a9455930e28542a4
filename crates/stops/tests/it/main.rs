//! Stops: in force no matter what fails, recorded once, and never overtaken by later changes.

#![expect(clippy::unwrap_used, clippy::panic, clippy::unreachable, reason = "helpers of tests end the test")]

mod faults;
mod reserve;
mod restart;
mod world;
