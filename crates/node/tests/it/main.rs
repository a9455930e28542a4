//! The node as a whole, against a real TLS server and through its real socket.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests end the test")]

mod connections;
mod joining;
mod outage;
mod server;
mod workload;
mod world;
