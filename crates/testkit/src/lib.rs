//! mandate-testkit
