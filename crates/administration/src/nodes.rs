//! Nodes: how one is let in, which have joined, and stopping one.

use std::sync::Arc;
use std::time::Duration;

use mandate_api::admin::{BanResponse, JoinTokenResponse, NodeItem, NodeState};
use mandate_core::NodeState as StoredState;
use mandate_planning::states::{NodeAct, StateMachine as _};
use mandate_store::nodes::{self, Node};

use crate::administration::{Administration, recorded, to_the_end};
use crate::authorization::{Permit, act};
use crate::error::AdministrationError;
use crate::pages::{Listed, Page};
use crate::status::PATIENCE;

impl Administration {
    /// Makes a join token for one node.
    pub async fn join_token(
        &self,
        permit: Permit<act::MakeJoinToken>,
        ttl: Option<Duration>,
    ) -> Result<JoinTokenResponse, AdministrationError> {
        self.confirm(&permit).await?;
        self.record_stops().await?;
        let made = self.identity.create_join_token(&permit.by().to_string(), ttl).await;
        let token = made.map_err(|error| AdministrationError::of_identity(error, ""))?;
        // Recording took time, and the operator may have lost the role. A token that is not given away opens
        // nothing.
        self.confirm(&permit).await?;
        let text = token.text().expose_secret_str().unwrap_or_default().to_owned();
        Ok(JoinTokenResponse { token: text, expires_at: token.expires().to_string() })
    }

    /// Nodes that have ever joined, by name.
    pub async fn nodes(
        &self,
        _: &Permit<act::ReadNodes>,
        page: Page,
    ) -> Result<Listed<NodeItem>, AdministrationError> {
        let (after, most) = (page.after().to_owned(), page.one_more());
        let found = self.store.read("list nodes", move |tx| nodes::page(tx, &after, most)).await?;
        Ok(page.listed(found, |node| node.id.as_str()).map(|node| self.item(node)))
    }

    /// Bans a node permanently: from this moment on it gets no information and no identities, no matter which
    /// certificate it has.
    pub async fn ban_node(
        self: &Arc<Self>,
        permit: Permit<act::BanNode>,
        name: String,
    ) -> Result<BanResponse, AdministrationError> {
        let engine = Arc::clone(self);
        to_the_end(async move {
            engine.confirm(&permit).await?;
            let banned = engine.identity.ban_node(&permit.by().to_string(), &name).await;
            let banned = banned.map_err(|error| AdministrationError::of_identity(error, &name))?;
            // The ban is in force, and the answer does not wait for a disk that hangs.
            let store = engine.store.clone();
            let found = engine
                .looks
                .look(PATIENCE, move || store.read_blocking("read a node", |tx| nodes::get(tx, &name)))
                .await;
            let node = found.and_then(Result::ok).flatten();
            Ok(BanResponse { node: node.map(|node| engine.item(node)), recorded: recorded(banned) })
        })
        .await
    }

    /// The state of a node. A ban that is not in the database yet counts.
    pub(crate) fn node_state(&self, node: &Node) -> StoredState {
        let banned = self.stops.has_banned(&node.id).then(|| node.state.after(NodeAct::Ban).ok().flatten());
        banned.flatten().unwrap_or(node.state)
    }

    fn item(&self, node: Node) -> NodeItem {
        NodeItem {
            state: match self.node_state(&node) {
                StoredState::Joined => NodeState::Joined,
                StoredState::Banned => NodeState::Banned,
            },
            name: node.id,
            spiffe_id: node.spiffe_id.to_string(),
            joined: node.joined.to_string(),
            renewed: node.renewed.to_string(),
            expires: node.expires.to_string(),
        }
    }
}
