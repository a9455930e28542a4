//! mandate-token
