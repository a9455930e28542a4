//! The whole server in this process, met over its listeners: HTTP as strangers, people and operators speak it, and a
//! real node. A test that plays a known attack has the attack's id in its name (`a1`, `k6`, `z9`).

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests end the test")]

mod administration;
mod cuts;
mod feed;
mod json_ends;
mod listeners;
mod login;
mod node_link;
mod nodes;
mod proof;
mod rotation;
mod token_endpoint;
mod touched;
mod unusable;
mod world;
