//! Every change that is written with its audit record, in the record's transaction, or not at all.

use mandate_core::registry::{Entry, EntryKind, Halt, RegistryVersion};
use mandate_core::{ClientId, Cut, NodeState, PersonName, RecordId, Reservation, Secret, Timestamp, TokenId};

use crate::codes::{self, CodeHash, Redemption};
use crate::error::StoreError;
use crate::nodes::{self, JoinTokenHash, Node, TokenUse};
use crate::refusal::EffectRefusal;
use crate::tx::Tx;
use crate::{cuts, meters, registry, secrets, stops};

/// A change that a record carries. It refuses with an [`EffectRefusal`], and then nothing of its entry is
/// written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Something is taken from meters: all of it or nothing.
    Reserve(Vec<Reservation>),
    /// An authorization code can be redeemed.
    KeepCode {
        /// Of the code.
        hash: CodeHash,
        /// What it stands for.
        payload: Secret,
        /// Before this time it may be redeemed.
        expires: Timestamp,
        /// Until this time its second use is noticed.
        forget: Timestamp,
    },
    /// An authorization code is used up.
    RedeemCode {
        /// Of the code.
        hash: CodeHash,
        /// The token that is issued for it.
        token: TokenId,
        /// When it was presented.
        at: Timestamp,
    },
    /// A node may join with a token.
    KeepJoinToken {
        /// Of the token.
        hash: JoinTokenHash,
        /// The operator who made it.
        by: String,
        /// Before this time it may be used.
        expires: Timestamp,
    },
    /// A node joins and uses up its token; or, if its first answer was lost, joins again with the same token.
    JoinNode {
        /// Of the token.
        token: JoinTokenHash,
        /// The node, as it is after its first use of the token.
        node: Node,
    },
    /// A node gets a new certificate.
    RenewNode {
        /// The node, with its new times.
        node: Node,
        /// When the certificate that it showed expires, if this must be its newest.
        newest: Option<Timestamp>,
    },
    /// A node is banned. A node that does not exist needs no ban.
    BanNode(
        /// Its id.
        String,
    ),
    /// The registry gets its next version. Belongs beside every effect that changes entries, except beside
    /// those that only halt them: a change that was planned before keeps a halt.
    AdvanceRegistry {
        /// The version that the change was planned from: it is refused if there is a newer one. A stop is
        /// made whatever came between, and has none.
        planned_from: Option<RegistryVersion>,
    },
    /// An entry is added to the registry.
    AddEntry(Box<Entry>),
    /// An entry of the registry is changed. If it was stopped since the change was planned, it stays stopped.
    ChangeEntry {
        /// As it will be.
        entry: Box<Entry>,
        /// How far it was stopped when the change was planned.
        planned_from: Option<Halt>,
    },
    /// An entry of the registry is narrowed. What was changed in it since that was planned stays, except for
    /// what the narrowing takes away. An entry that was removed has nothing left to take.
    NarrowEntry {
        /// As it was when the narrowing was planned.
        from: Box<Entry>,
        /// As it was to be.
        to: Box<Entry>,
    },
    /// An entry of the registry is stopped at least this far. An entry that was removed is stopped.
    HaltEntry {
        /// Its kind.
        kind: EntryKind,
        /// Its key.
        key: String,
        /// How far.
        halt: Halt,
    },
    /// An entry is removed from the registry, and with a person or client their secret.
    RemoveEntry {
        /// Its kind.
        kind: EntryKind,
        /// Its key.
        key: String,
    },
    /// Issued tokens are cut.
    Cut(Cut),
    /// A person's password is set.
    SetPassword {
        /// Whose.
        person: PersonName,
        /// The hash, PHC text.
        phc: Secret,
        /// Whether it takes the place of another, whose tokens are cut then. It is refused if that is no
        /// longer so.
        replaces: bool,
        /// The version of the registry in which this was the person: it is refused if there is a newer one,
        /// in which another may have the name.
        planned_from: RegistryVersion,
    },
    /// A client's secret is set.
    SetClientSecret {
        /// Whose.
        client: ClientId,
        /// The hash, PHC text.
        phc: Secret,
        /// Whether it takes the place of another, whose tokens are cut then. It is refused if that is no
        /// longer so.
        replaces: bool,
        /// The version of the registry in which this was the client: it is refused if there is a newer one,
        /// in which another may have the name.
        planned_from: RegistryVersion,
    },
    /// The record is that of a stop, and is written once.
    RecordStop(
        /// The record.
        RecordId,
    ),
}

impl mandate_audit::Effect for Effect {
    type Refusal = EffectRefusal;

    fn name(&self) -> &'static str {
        match self {
            Self::Reserve(_) => "reserve",
            Self::KeepCode { .. } => "keep_code",
            Self::RedeemCode { .. } => "redeem_code",
            Self::KeepJoinToken { .. } => "keep_join_token",
            Self::JoinNode { .. } => "join_node",
            Self::RenewNode { .. } => "renew_node",
            Self::BanNode(_) => "ban_node",
            Self::AdvanceRegistry { .. } => "advance_registry",
            Self::AddEntry(_) => "add_entry",
            Self::ChangeEntry { .. } => "change_entry",
            Self::NarrowEntry { .. } => "narrow_entry",
            Self::HaltEntry { .. } => "halt_entry",
            Self::RemoveEntry { .. } => "remove_entry",
            Self::Cut(_) => "cut",
            Self::SetPassword { .. } => "set_password",
            Self::SetClientSecret { .. } => "set_client_secret",
            Self::RecordStop(_) => "record_stop",
        }
    }
}

impl Effect {
    /// Makes the change. It may be made twice, after a transaction that was rolled back.
    pub(crate) fn apply(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        match self {
            Self::Reserve(reservations) => {
                reservations.iter().try_for_each(|reservation| meters::reserve(tx, reservation))
            }
            Self::KeepCode { hash, payload, expires, forget } => {
                codes::insert(tx, hash, payload.expose_secret(), *expires, *forget)
            }
            Self::RedeemCode { hash, token, at } => match codes::consume(tx, hash, token, *at)? {
                Redemption::First { .. } => Ok(()),
                Redemption::Again { .. } => Err(EffectRefusal::CodeUsed.into()),
                Redemption::Expired => Err(EffectRefusal::CodeExpired.into()),
                Redemption::Unknown => Err(EffectRefusal::CodeUnknown.into()),
            },
            Self::KeepJoinToken { hash, by, expires } => nodes::insert_join_token(tx, hash, by, *expires),
            Self::JoinNode { token, node } => join(tx, token, node),
            Self::RenewNode { node, newest } => match nodes::get(tx, &node.id)? {
                // Banned after the caller looked: the ban stands.
                None | Some(Node { state: NodeState::Banned, .. }) => Err(EffectRefusal::NodeBanned.into()),
                // Another has joined again with the same certificate meanwhile.
                Some(current) if newest.is_some_and(|newest| newest != current.expires) => {
                    Err(EffectRefusal::NodeCertificateExpired.into())
                }
                Some(_) => nodes::put(tx, node),
            },
            Self::BanNode(id) => nodes::get(tx, id)?
                .map_or(Ok(()), |node| nodes::put(tx, &Node { state: NodeState::Banned, ..node })),
            Self::AdvanceRegistry { planned_from } => registry::advance(tx, *planned_from),
            Self::AddEntry(entry) => registry::put(tx, entry),
            Self::ChangeEntry { entry, planned_from } => {
                let now = registry::get(tx, entry.kind(), entry.key())?;
                registry::put(tx, &Entry::clone(entry).keeping_a_stop(*planned_from, now.as_ref()))
            }
            Self::NarrowEntry { from, to } => registry::get(tx, from.kind(), from.key())?
                .map_or(Ok(()), |now| registry::put(tx, &now.narrowed(from, to))),
            Self::HaltEntry { kind, key, halt } => registry::get(tx, *kind, key)?
                .map_or(Ok(()), |entry| registry::put(tx, &entry.stopped(Some(*halt)))),
            Self::RemoveEntry { kind, key } => registry::remove(tx, *kind, key),
            Self::Cut(cut) => cuts::insert(tx, cut),
            Self::SetPassword { person, phc, replaces, planned_from } => {
                registry::still_at(tx, *planned_from)?;
                expected(secrets::password(tx, person)?.is_some(), *replaces)?;
                secrets::set_password(tx, person, phc)
            }
            Self::SetClientSecret { client, phc, replaces, planned_from } => {
                registry::still_at(tx, *planned_from)?;
                expected(secrets::client_secret(tx, client)?.is_some(), *replaces)?;
                secrets::set_client_secret(tx, client, phc)
            }
            Self::RecordStop(id) => stops::insert(tx, id),
        }
    }
}

/// Refuses a change that was planned from another state.
fn expected(found: bool, planned: bool) -> Result<(), StoreError> {
    if found == planned { Ok(()) } else { Err(EffectRefusal::RegistryChanged.into()) }
}

fn join(tx: &Tx<'_>, token: &JoinTokenHash, node: &Node) -> Result<(), StoreError> {
    let how = nodes::consume_join_token(tx, token, &node.id, node.joined)?;
    match (how, nodes::get(tx, &node.id)?) {
        (TokenUse::First, None) => nodes::put(tx, node),
        (TokenUse::Again, Some(before)) if before.state == NodeState::Joined => {
            nodes::put(tx, &Node { joined: before.joined, ..node.clone() })
        }
        (TokenUse::Again, Some(_)) => Err(EffectRefusal::NodeBanned.into()),
        (TokenUse::First, Some(_)) | (TokenUse::Again, None) => Err(EffectRefusal::NodeNameTaken.into()),
    }
}

#[cfg(test)]
mod tests;
