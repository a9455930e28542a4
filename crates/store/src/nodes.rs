//! Nodes, and the single-use tokens by which they join.

use mandate_core::{NodeState, SpiffeId, Timestamp};

use crate::error::StoreError;
use crate::refusal::EffectRefusal;
use crate::tx::{Row, Tx, parsed};
use crate::value::values;

/// SHA-256 of a join token. The token itself is never stored.
pub type JoinTokenHash = [u8; 32];

/// A node that has joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name: the last segment of its SPIFFE ID.
    pub id: String,
    /// `spiffe://<trust domain>/node/<name>`.
    pub spiffe_id: SpiffeId,
    /// Whether it may renew and fetch.
    pub state: NodeState,
    /// When it first joined.
    pub joined: Timestamp,
    /// When its certificate was last renewed.
    pub renewed: Timestamp,
    /// When its newest certificate expires.
    pub expires: Timestamp,
}

/// Adds a join token that may be used once before `expires`.
pub fn insert_join_token(
    tx: &Tx<'_>,
    hash: &JoinTokenHash,
    by: &str,
    expires: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO join_tokens (hash, created_by, expires) VALUES ($1, $2, $3)",
        values![hash, by, expires],
    )?;
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

/// Uses up a join token for a node. The same node may use it again until it expires, because an answer can be
/// lost after it was made durable. No other node may.
pub fn consume_join_token(
    tx: &Tx<'_>,
    hash: &JoinTokenHash,
    node: &str,
    now: Timestamp,
) -> Result<TokenUse, StoreError> {
    let row =
        tx.first("SELECT expires, used, node FROM join_tokens WHERE hash = $1", values![hash], |row| {
            Ok((row.get::<Timestamp>(0)?, row.get::<Option<Timestamp>>(1)?, row.get::<Option<String>>(2)?))
        })?;
    match row {
        None => Err(EffectRefusal::JoinTokenUnknown.into()),
        Some((_, Some(_), by)) if by.as_deref() != Some(node) => Err(EffectRefusal::JoinTokenUsed.into()),
        Some((expires, ..)) if now >= expires => Err(EffectRefusal::JoinTokenExpired.into()),
        Some((_, Some(_), _)) => Ok(TokenUse::Again),
        Some((_, None, _)) => {
            let sql = "UPDATE join_tokens SET used = $1, node = $2 WHERE hash = $3 AND used IS NULL";
            tx.execute(sql, values![now, node, hash])?;
            Ok(TokenUse::First)
        }
    }
}

/// Forgets join tokens that expired before `now`, at most so many. Returns how many.
pub fn forget_join_tokens(tx: &Tx<'_>, now: Timestamp, most: u64) -> Result<usize, StoreError> {
    tx.execute(
        "DELETE FROM join_tokens WHERE hash IN (\
         SELECT hash FROM join_tokens WHERE expires < $1 ORDER BY expires LIMIT $2)",
        values![now, most],
    )
}

/// Adds a node, or replaces the one with the same id.
pub fn put(tx: &Tx<'_>, node: &Node) -> Result<(), StoreError> {
    let state = match node.state {
        NodeState::Joined => "joined",
        NodeState::Banned => "banned",
    };
    tx.execute(
        "INSERT INTO nodes (id, spiffe_id, state, joined, renewed, expires) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (id) DO UPDATE SET spiffe_id = excluded.spiffe_id, state = excluded.state, joined = excluded.joined,
         renewed = excluded.renewed, expires = excluded.expires",
        values![&node.id, node.spiffe_id.as_str(), state, node.joined, node.renewed, node.expires],
    )?;
    Ok(())
}

fn node(row: &Row<'_>) -> Result<Node, StoreError> {
    let state = match row.get(2)? {
        "joined" => NodeState::Joined,
        "banned" => NodeState::Banned,
        other => return Err(StoreError::Corrupt(format!("node state {other:?}"))),
    };
    let spiffe_id = parsed("SPIFFE ID", row.get(1)?)?;
    Ok(Node {
        id: row.get(0)?,
        spiffe_id,
        state,
        joined: row.get(3)?,
        renewed: row.get(4)?,
        expires: row.get(5)?,
    })
}

/// The node with that id.
pub fn get(tx: &Tx<'_>, id: &str) -> Result<Option<Node>, StoreError> {
    tx.first(
        "SELECT id, spiffe_id, state, joined, renewed, expires FROM nodes WHERE id = $1",
        values![id],
        node,
    )
}

/// All nodes, in the order of their names.
pub fn list(tx: &Tx<'_>) -> Result<Vec<Node>, StoreError> {
    tx.all("SELECT id, spiffe_id, state, joined, renewed, expires FROM nodes ORDER BY id", &[], node)
}

/// The first `most` nodes whose id is greater than `after`, by id, bytewise. No id is empty.
pub fn page(tx: &Tx<'_>, after: &str, most: usize) -> Result<Vec<Node>, StoreError> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    tx.all(
        "SELECT id, spiffe_id, state, joined, renewed, expires FROM nodes WHERE id > $1 ORDER BY id LIMIT $2",
        values![after, most],
        node,
    )
}
