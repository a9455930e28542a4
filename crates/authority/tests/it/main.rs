//! The authority over a real store, a real audit log and real decisions.

mod keys;
mod minting;
mod world;
