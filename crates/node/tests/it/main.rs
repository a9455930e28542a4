//! The node as a whole, against a real TLS server and through its real socket.

mod joining;
mod outage;
mod server;
mod workload;
mod world;
