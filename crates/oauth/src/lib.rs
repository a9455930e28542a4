//! mandate-oauth
