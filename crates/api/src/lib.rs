//! The contract of Mandate's own interfaces: the registry file, the admin API's documents and client, and the
//! generated gRPC messages of the SPIFFE Workload API and of the node protocol.
//!
//! Nothing here decides anything. The server and the command line both use these types, so that they always
//! match.

pub mod admin;
pub mod client;
pub mod problem;
pub mod proto;
pub mod registry_file;

pub use client::{AdminClient, ClientError, Endpoint, NoCertificate};
pub use problem::Problem;
pub use registry_file::RegistryFile;
