//! mandate-node
