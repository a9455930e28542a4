//! Nodes, and the single-use tokens by which they join.

use mandate_core::{SpiffeId, Timestamp};
use rusqlite::{Row, params};

use crate::effect::EffectRefusal;
use crate::error::StoreError;
use crate::tx::{Tx, parsed, time, timestamp};

/// SHA-256 of a join token. The token itself is never stored.
pub type JoinTokenHash = [u8; 32];

/// Whether a node may renew and fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It may.
    Joined,
    /// It may not, no matter which certificate it has.
    Banned,
}

/// A joined node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Its identity.
    pub spiffe_id: SpiffeId,
    /// Whether it may renew and fetch.
    pub state: NodeState,
    /// When it joined.
    pub joined: Timestamp,
    /// When its certificate was last renewed.
    pub renewed: Timestamp,
    /// When that certificate expires.
    pub expires: Timestamp,
}

/// Adds a join token that may be used once before `expires`.
pub fn insert_join_token(tx: &Tx<'_>, hash: &JoinTokenHash, by: &str, expires: Timestamp) -> Result<(), StoreError> {
    tx.execute("INSERT INTO join_tokens (hash, created_by, expires) VALUES (?, ?, ?)", params![hash, by, time(expires)])?;
    Ok(())
}

/// How a join token was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenUse {
    /// It had not been used.
    First,
    /// The same node has used it before.
    Again,
}

/// Uses up a join token for a node. The same node may use it again until it expires, because an answer can be lost after it
/// was made durable. No other node may.
pub fn consume_join_token(tx: &Tx<'_>, hash: &JoinTokenHash, node: &str, now: Timestamp) -> Result<TokenUse, StoreError> {
    let row = tx.first("SELECT expires, used, node FROM join_tokens WHERE hash = ?", [hash], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?, row.get::<_, Option<String>>(2)?))
    })?;
    match row {
        None => Err(EffectRefusal::JoinTokenUnknown.into()),
        Some((_, Some(_), by)) if by.as_deref() != Some(node) => Err(EffectRefusal::JoinTokenUsed.into()),
        Some((expires, ..)) if now >= timestamp(expires) => Err(EffectRefusal::JoinTokenExpired.into()),
        Some((_, Some(_), _)) => Ok(TokenUse::Again),
        Some((_, None, _)) => {
            tx.execute("UPDATE join_tokens SET used = ?, node = ? WHERE hash = ? AND used IS NULL", params![time(now), node, hash])?;
            Ok(TokenUse::First)
        }
    }
}

/// Forgets join tokens that expired before `now`. Returns how many.
pub fn forget_join_tokens(tx: &Tx<'_>, now: Timestamp) -> Result<usize, StoreError> {
    tx.execute("DELETE FROM join_tokens WHERE expires < ?", [time(now)])
}

/// Adds a node, or replaces the one with the same id.
pub fn put(tx: &Tx<'_>, node: &Node) -> Result<(), StoreError> {
    let state = match node.state {
        NodeState::Joined => "joined",
        NodeState::Banned => "banned",
    };
    tx.execute(
        "INSERT OR REPLACE INTO nodes (id, spiffe_id, state, joined, renewed, expires) VALUES (?, ?, ?, ?, ?, ?)",
        params![node.id, node.spiffe_id.as_str(), state, time(node.joined), time(node.renewed), time(node.expires)],
    )?;
    Ok(())
}

type Raw = (String, String, String, i64, i64, i64);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
}

fn node((id, spiffe_id, state, joined, renewed, expires): Raw) -> Result<Node, StoreError> {
    let state = match state.as_str() {
        "joined" => NodeState::Joined,
        "banned" => NodeState::Banned,
        other => return Err(StoreError::Corrupt(format!("node state {other:?}"))),
    };
    let (joined, renewed, expires) = (timestamp(joined), timestamp(renewed), timestamp(expires));
    Ok(Node { id, spiffe_id: parsed("SPIFFE ID", &spiffe_id)?, state, joined, renewed, expires })
}

/// The node with that id.
pub fn get(tx: &Tx<'_>, id: &str) -> Result<Option<Node>, StoreError> {
    tx.first("SELECT id, spiffe_id, state, joined, renewed, expires FROM nodes WHERE id = ?", [id], raw)?.map(node).transpose()
}

/// All nodes, by id.
pub fn list(tx: &Tx<'_>) -> Result<Vec<Node>, StoreError> {
    let rows = tx.all("SELECT id, spiffe_id, state, joined, renewed, expires FROM nodes ORDER BY id", [], raw)?;
    rows.into_iter().map(node).collect()
}
