//! mandate-authority
