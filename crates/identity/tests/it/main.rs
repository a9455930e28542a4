//! The server's side of agent identity, with a real store, authority and audit log.

mod issuing;
mod joining;
mod world;
