//! mandate-api
