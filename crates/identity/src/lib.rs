//! mandate-identity
