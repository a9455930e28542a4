//! The whole server in this process, used over its listeners: HTTP as strangers, people and operators use it,
//! and a real node.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests end the test"
)]

mod administration;
mod away;
mod claims;
mod cuts;
mod device;
mod families;
mod faults;
mod feed;
mod json_ends;
mod listeners;
mod login;
mod node_link;
mod nodes;
mod order;
mod proof;
mod provider_login;
mod reserve;
mod rotation;
mod self_keys;
mod set_back;
mod single_use;
mod strangers;
mod token_endpoint;
mod touched;
mod transcript;
mod unusable;
mod world;
