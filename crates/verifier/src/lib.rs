//! mandate-verifier
