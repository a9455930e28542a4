//! What is in force now: the snapshot that every decision reads, and how much of each meter is used.
//!
//! It has the locks, the swaps and the subscriptions, so that [`mandate_delegation::decide`] needs none of
//! them.

mod live;

pub use live::{Edition, FeedCut, FeedPlace, Live, Overtaken, Pins, RegistryClaim, Removal, Snapshot};
