//! mandate-delegation
