//! The removal of what has expired.

use mandate_core::Timestamp;

use crate::error::StoreError;
use crate::store::Store;
use crate::tx::Tx;
use crate::{codes, cuts, device_requests, login_sessions, nodes, refresh, replay, self_registered};

/// How many rows one transaction removes: a few milliseconds' worth, for which other writers wait.
const PIECE: u64 = 256;

/// The sum of what [`sweep_blocking`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many rows were removed.
    pub rows: u64,
    /// In how many transactions.
    pub transactions: u64,
}

/// Removes codes, cuts, assertions, join tokens, clients that registered themselves, refresh tokens, sessions at
/// identity providers and devices that waited, once they can no longer match anything at `now`, a few rows in each transaction. `ends` is
/// asked before each: if it says so, the rest stays for the next time. Blocks.
pub fn sweep_blocking(store: &Store, now: Timestamp, ends: &dyn Fn() -> bool) -> Result<Swept, StoreError> {
    type Forget = fn(&Tx<'_>, Timestamp, u64) -> Result<usize, StoreError>;
    let all: [Forget; 10] = [
        codes::forget,
        cuts::forget,
        replay::forget,
        nodes::forget_join_tokens,
        self_registered::forget,
        refresh::forget_tokens,
        refresh::forget_families,
        login_sessions::forget,
        login_sessions::forget_ended,
        device_requests::forget,
    ];
    let mut swept = Swept::default();
    for forget in all {
        loop {
            if ends() {
                return Ok(swept);
            }
            let removed = store.transact_blocking("sweep", |tx| forget(tx, now, PIECE))? as u64;
            swept.rows += removed;
            swept.transactions += 1;
            if removed < PIECE {
                break;
            }
        }
    }
    Ok(swept)
}
