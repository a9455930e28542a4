//! Every change that is written with its audit record, in the record's transaction, or not at all.

use mandate_core::digest::sha256;
use mandate_core::registry::{Entry, EntryKind, Halt, RegistryVersion};
use mandate_core::{
    ClientId, Cut, CutTarget, NodeState, PersonName, RecordId, Reservation, Secret, SelfDescribed, Timestamp,
    TokenId,
};

use crate::codes::{self, CodeHash, Redemption};
use crate::error::StoreError;
use crate::login_sessions::{self, SessionHash};
use crate::nodes::{self, JoinTokenHash, Node, TokenUse};
use crate::refresh::{Family, RefreshHash};
use crate::refusal::EffectRefusal;
use crate::tx::Tx;
use crate::{cuts, device_requests, meters, refresh, registry, replay, secrets, self_registered, stops};

/// A change that a record carries. It refuses with an [`EffectRefusal`], and then nothing of its entry is
/// written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Something is taken from meters: all of it or nothing.
    Reserve(Vec<Reservation>),
    /// An authorization code can be redeemed.
    KeepCode {
        /// SHA-256 of the code.
        hash: CodeHash,
        /// What the code was issued for. The store seals it and does not read it.
        payload: Secret,
        /// Before this time it may be redeemed.
        expires: Timestamp,
        /// Until this time its second use is noticed.
        forget: Timestamp,
    },
    /// An authorization code is used up.
    RedeemCode {
        /// SHA-256 of the code.
        hash: CodeHash,
        /// The token that is issued for it.
        token: TokenId,
        /// When the code was presented: a code that has expired by then is refused.
        at: Timestamp,
    },
    /// A login gives its client refresh tokens. It is refused if a newer version of the registry, or another
    /// password of the person, is in the database and not yet in force: what that cuts ended before this.
    KeepRefresh {
        /// Who logged in for which client, what that gave, and when it ends.
        family: Box<Family>,
        /// SHA-256 of its first refresh token.
        hash: RefreshHash,
        /// Before this time the token must be used.
        expires: Timestamp,
        /// The person's name in the registry.
        name: PersonName,
        /// SHA-256 of the stored hash of the password by which the person logged in; `None`: at an identity
        /// provider.
        password: Option<[u8; 32]>,
        /// SHA-256 of the code that is redeemed: what ends its session at an identity provider ends the
        /// family.
        code: CodeHash,
        /// The version of the registry by which the login was decided.
        planned_from: RegistryVersion,
    },
    /// A refresh token is used up, and another one takes its place.
    RotateRefresh {
        /// SHA-256 of the token.
        hash: RefreshHash,
        /// SHA-256 of the one that takes its place.
        next: RefreshHash,
        /// Before this time the next one must be used.
        expires: Timestamp,
        /// When the token was presented: one that has expired by then is refused.
        at: Timestamp,
    },
    /// A code came from a person's session at an identity provider, which the provider can end.
    KeepLoginSession {
        /// The digest of provider and session.
        session: SessionHash,
        /// SHA-256 of the code.
        code: CodeHash,
        /// Until this time it is remembered.
        forget: Timestamp,
    },
    /// A pushed authorization request is used up: its person has logged in (RFC 9126 §4).
    UsePushedRequest {
        /// The client that pushed it.
        client: ClientId,
        /// The id that the request was given.
        id: String,
        /// Until this time its second use is noticed. It does not count any longer then.
        forget: Timestamp,
        /// When the person has logged in.
        at: Timestamp,
    },
    /// A node may join with a token.
    KeepJoinToken {
        /// SHA-256 of the token.
        hash: JoinTokenHash,
        /// The operator who made it, as [`mandate_audit::Record::by`].
        by: String,
        /// Before this time it may be used.
        expires: Timestamp,
    },
    /// A node joins and uses up its token; or, if its first answer was lost, joins again with the same token.
    JoinNode {
        /// SHA-256 of the token.
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
        /// The node's name: the last segment of its SPIFFE ID.
        String,
    ),
    /// The registry gets its next version. It belongs beside every effect that changes entries, except beside
    /// those that only halt them: a change that was planned before keeps a halt.
    AdvanceRegistry {
        /// The version from which the change was planned: the effect is refused if there is a newer one. None
        /// for a stop, which is made whatever was changed in between.
        planned_from: Option<RegistryVersion>,
    },
    /// An entry is added to the registry.
    AddEntry(Box<Entry>),
    /// An entry of the registry is changed. If it was stopped since the change was planned, it stays stopped.
    /// A person who becomes another one loses the password, and a client that needs no secret any longer
    /// loses its secret.
    ChangeEntry {
        /// The entry after the change.
        entry: Box<Entry>,
        /// How far the entry was stopped when the change was planned.
        planned_from: Option<Halt>,
    },
    /// An entry of the registry is narrowed. What was changed in it since that was planned stays, except for
    /// what the narrowing takes away. An entry that was removed has nothing left to take.
    NarrowEntry {
        /// The entry as it was when the narrowing was planned.
        from: Box<Entry>,
        /// The entry as it was to be.
        to: Box<Entry>,
    },
    /// An entry of the registry is stopped at least this far. An entry that was removed is stopped.
    HaltEntry {
        /// The kind of the entry.
        kind: EntryKind,
        /// The key of the entry within its kind.
        key: String,
        /// How far it is stopped at least.
        halt: Halt,
    },
    /// An entry is removed from the registry, and with a person or client their secret.
    RemoveEntry {
        /// The kind of the entry.
        kind: EntryKind,
        /// The key of the entry within its kind.
        key: String,
        /// How far the entry was stopped when the removal was planned: the effect is refused if it was
        /// stopped further since, because such an entry may have to stay. None for an entry without a state,
        /// and for a stop, which is made whatever was changed in between.
        planned_from: Option<Halt>,
    },
    /// Tokens below this cut are refused from now on. The refresh tokens of its person, its client or its token
    /// are ended, and a client that registered itself is removed: they live longer than the cut is remembered.
    Cut(Cut),
    /// A person's password is set.
    SetPassword {
        /// Whose password it is.
        person: PersonName,
        /// The argon2id hash of the password, in PHC string format.
        phc: Secret,
        /// Whether the person had a password when this was planned. Tokens that were obtained with the old
        /// one are cut by other effects of the record. This effect is refused if it is no longer so.
        replaces: bool,
        /// The version of the registry in which the person was found. The effect is refused if there is a
        /// newer one, in which the name may be another person's.
        planned_from: RegistryVersion,
    },
    /// A client's secret is set.
    SetClientSecret {
        /// Whose secret it is.
        client: ClientId,
        /// The argon2id hash of the secret, in PHC string format.
        phc: Secret,
        /// Whether the client had a secret when this was planned. Tokens that were obtained with the old one
        /// are cut by other effects of the record. This effect is refused if it is no longer so.
        replaces: bool,
        /// The version of the registry in which the client was found. The effect is refused if there is a
        /// newer one, in which the name may be another client's.
        planned_from: RegistryVersion,
    },
    /// A client has registered itself.
    KeepClient {
        /// The client, with the id that it was given.
        client: Box<SelfDescribed>,
        /// When it is forgotten if nobody logs in by it until then.
        forget: Timestamp,
        /// The effect is refused if there are so many already.
        most: u64,
    },
    /// A person logged in by a client that registered itself. It is refused if the client is gone.
    UseClient {
        /// The id of the client.
        client: ClientId,
        /// When it is forgotten if nobody logs in by it again.
        forget: Timestamp,
    },
    /// A person has logged in elsewhere and allows a device that waits (RFC 8628). What that gives is kept beside
    /// it, by [`Effect::KeepCode`] with the same hash. It is refused if the device does not wait any longer.
    AllowDevice {
        /// The hash of its device code.
        hash: CodeHash,
        /// When the person allowed it: a device that has expired by then is refused.
        at: Timestamp,
        /// Until this time the device code is known.
        forget: Timestamp,
    },
    /// The record is that of a stop. A second record of the same stop is refused.
    RecordStop(
        /// The id of the record.
        RecordId,
    ),
}

impl mandate_sequencer::Effect for Effect {
    type Refusal = EffectRefusal;

    fn name(&self) -> &'static str {
        match self {
            Self::Reserve(_) => "reserve",
            Self::KeepCode { .. } => "keep_code",
            Self::RedeemCode { .. } => "redeem_code",
            Self::KeepRefresh { .. } => "keep_refresh",
            Self::RotateRefresh { .. } => "rotate_refresh",
            Self::KeepLoginSession { .. } => "keep_login_session",
            Self::UsePushedRequest { .. } => "use_pushed_request",
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
            Self::KeepClient { .. } => "keep_client",
            Self::UseClient { .. } => "use_client",
            Self::AllowDevice { .. } => "allow_device",
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
            Self::KeepRefresh { family, hash, expires, code, name, password, planned_from } => {
                registry::still_at(tx, *planned_from)?;
                if let Some(password) = password {
                    let now = secrets::password(tx, name)?.map(|phc| sha256(phc.expose_secret()));
                    if now != Some(*password) {
                        return Err(EffectRefusal::RefreshEnded.into());
                    }
                }
                refresh::insert(tx, family, (hash, *expires), code)
            }
            Self::RotateRefresh { hash, next, expires, at } => refresh::rotate(tx, hash, next, *expires, *at),
            Self::KeepLoginSession { session, code, forget } => {
                login_sessions::insert(tx, session, code, *forget)
            }
            Self::UsePushedRequest { client, id, forget, at } => {
                // No client has an id with a tab in it, so no assertion is taken for a request.
                if replay::remember(tx, &format!("pushed\t{client}"), id, *forget, *at)? {
                    Ok(())
                } else {
                    Err(EffectRefusal::PushedRequestUsed.into())
                }
            }
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
                registry::forget_secret_of_another(tx, now.as_ref(), entry)?;
                registry::put(tx, &Entry::clone(entry).keeping_a_stop(*planned_from, now.as_ref()))
            }
            Self::NarrowEntry { from, to } => registry::get(tx, from.kind(), from.key())?
                .map_or(Ok(()), |now| registry::put(tx, &now.narrowed(from, to))),
            Self::HaltEntry { kind, key, halt } => registry::get(tx, *kind, key)?
                .map_or(Ok(()), |entry| registry::put(tx, &entry.stopped(Some(*halt)))),
            Self::RemoveEntry { kind, key, planned_from } => {
                if let Some(then) = planned_from {
                    let now = registry::get(tx, *kind, key)?.and_then(|entry| entry.halt());
                    expected(now > Some(*then), false)?;
                }
                registry::remove(tx, *kind, key)
            }
            Self::Cut(cut) => {
                cuts::insert(tx, cut)?;
                if let CutTarget::Client(client) = &cut.target {
                    self_registered::remove(tx, client)?;
                }
                refresh::end(tx, cut)
            }
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
            Self::KeepClient { client, forget, most } => self_registered::insert(tx, client, *forget, *most),
            Self::UseClient { client, forget } => self_registered::keep(tx, client, *forget),
            Self::AllowDevice { hash, at, forget } => device_requests::allow(tx, hash, *at, *forget),
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
