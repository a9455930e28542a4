//! Who may do what: one row for every act, with the least role that it needs. `roles.txt` beside the crate
//! shows the whole matrix.
//!
//! An act takes a [`Permit`] of its own type, and only [`Administration::permit`] makes one. So no act runs
//! without its row.

use std::fmt;
use std::marker::PhantomData;

use mandate_core::{Clock as _, RequestSource, Role};
use mandate_token::access_token::{self, Expect, Profile};

use crate::administration::Administration;
use crate::error::{AccessDenied, AdministrationError};
use crate::operator::Operator;

/// A type that stands for one act. Only the table implements it.
pub trait IsAct: sealed::Sealed + Send + Sync + 'static {
    /// The act, with its row in the table.
    const ACT: OperatorAct;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! acts {
    ($($(#[$about:meta])+ $name:ident $code:literal $least:ident $doing:literal;)+) => {
        /// Everything that an operator can do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum OperatorAct {
            $($(#[$about])+ $name,)+
        }

        impl OperatorAct {
            /// Every act, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its name in the table and in `roles.txt`.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)+
                }
            }

            /// The least role that it needs.
            pub const fn least(self) -> Role {
                match self {
                    $(Self::$name => Role::$least,)+
                }
            }

            /// What a refused operator tried to do, in the record of the refusal.
            pub const fn doing(self) -> &'static str {
                match self {
                    $(Self::$name => $doing,)+
                }
            }
        }

        /// A type for each act.
        pub mod act {
            $(
                $(#[$about])+
                #[derive(Debug)]
                pub enum $name {}

                impl super::sealed::Sealed for $name {}

                impl super::IsAct for $name {
                    const ACT: super::OperatorAct = super::OperatorAct::$name;
                }
            )+
        }
    };
}

acts! {
    /// Read the entries of the registry.
    ReadRegistry "read_registry" Viewer "read the registry";
    /// Read which nodes have joined.
    ReadNodes "read_nodes" Viewer "read the nodes";
    /// Read the state of the server.
    ReadStatus "read_status" Viewer "read the status";
    /// Read and verify the audit log.
    ReadAudit "read_audit" Viewer "read the audit log";
    /// Suspend an agent: it gets no identity and no token until it is activated.
    SuspendAgent "suspend_agent" Operator "suspend an agent";
    /// Contain an agent: stop it because of an incident.
    ContainAgent "contain_agent" Operator "contain an agent";
    /// End the containment of an agent, which is then suspended.
    ReleaseAgent "release_agent" Operator "release an agent";
    /// Disable a person: they cannot log in, and no agent can act for them.
    DisablePerson "disable_person" Operator "disable a person";
    /// Revoke tokens by a cut, or a grant permanently.
    Revoke "revoke" Operator "revoke";
    /// Ban a node permanently: it gets no information and no identities.
    BanNode "ban_node" Operator "ban a node";
    /// Let a suspended agent act again.
    ActivateAgent "activate_agent" Admin "activate an agent";
    /// Stop an agent permanently. Its name is never given to another one.
    RetireAgent "retire_agent" Admin "retire an agent";
    /// Let a disabled person act again.
    EnablePerson "enable_person" Admin "enable a person";
    /// Apply a registry file, or see what it would change.
    ApplyRegistry "apply_registry" Admin "apply a registry file";
    /// Set or replace the password of a person of the embedded directory.
    SetPassword "set_password" Admin "set a password";
    /// Set or replace the secret of a confidential client.
    SetClientSecret "set_client_secret" Admin "set a client's secret";
    /// Make a token with which one node can join.
    MakeJoinToken "make_join_token" Admin "make a join token";
    /// Sign with the next keys from now on.
    RotateKeys "rotate_keys" Admin "rotate the keys";
}

/// The proof that an operator may do one act. It is checked again when the act is done.
///
/// Nobody else makes one:
///
/// ```compile_fail,E0451
/// use mandate_administration::{Operator, Permit, act};
///
/// fn forged(by: Operator) -> Permit<act::Revoke> {
///     Permit { by, act: std::marker::PhantomData }
/// }
/// ```
pub struct Permit<A> {
    by: Operator,
    act: PhantomData<fn() -> A>,
}

impl<A> Permit<A> {
    /// The operator to whom the act is permitted.
    pub fn by(&self) -> &Operator {
        &self.by
    }
}

impl<A: IsAct> fmt::Debug for Permit<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("by", &self.by).field("act", &A::ACT).finish()
    }
}

impl Administration {
    /// The person whose access token of ours this is.
    pub fn operator(&self, token: &str) -> Result<Operator, AccessDenied> {
        let keys = self.authority.access_token_jwks();
        let expect = Expect {
            issuer: self.live.issuer(),
            keys: &keys,
            now: self.clock.now(),
            profile: Profile::Own,
            memo: None,
        };
        access_token::verify(token, &expect).map_err(|_| AccessDenied::Token).and_then(Operator::of_token)
    }

    fn may(&self, by: &Operator, least: Role) -> Result<(), AccessDenied> {
        by.may(least, &self.live, self.clock.now())
    }

    /// Permits an act to an operator whose role includes the one that it needs. A refusal is recorded.
    pub async fn permit<A: IsAct>(&self, by: &Operator) -> Result<Permit<A>, AdministrationError> {
        // People who are known and lack the right have a quota of records of their own, so that strangers
        // cannot hide what they tried.
        self.confirm_act(A::ACT, by, Some(RequestSource::Known)).await?;
        Ok(Permit { by: by.clone(), act: PhantomData })
    }

    /// Whether the operator may do at least one of these acts now. The refusal is not recorded here: the
    /// caller can say more about it.
    pub fn may_any(&self, by: &Operator, acts: &[OperatorAct]) -> Result<(), AccessDenied> {
        let mut refusal = None;
        for act in acts {
            match self.may(by, act.least()) {
                Ok(()) => return Ok(()),
                // `acts` is in the order of the table: the first one needs the least role.
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
        Err(refusal.unwrap_or(AccessDenied::Role(Role::Admin)))
    }

    /// The last check before an act that is in force at once, and before the work of one that is recorded
    /// first: that one is checked once more when its record is written.
    pub(crate) async fn confirm<A: IsAct>(&self, permit: &Permit<A>) -> Result<(), AdministrationError> {
        self.confirm_act(A::ACT, &permit.by, None).await
    }

    async fn confirm_act(
        &self,
        act: OperatorAct,
        by: &Operator,
        quota: Option<RequestSource>,
    ) -> Result<(), AdministrationError> {
        match self.may(by, act.least()) {
            Ok(()) => Ok(()),
            Err(why) => {
                self.record_refused(Some(by.to_string()), quota, why.code(), act.doing().to_owned()).await?;
                Err(AdministrationError::NotPermitted(why))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use mandate_core::Role;

    use super::OperatorAct;

    #[test]
    fn the_whole_matrix_is_the_committed_one() {
        let mut matrix = String::new();
        let mut line = |act: &str, cells: [&str; 4]| {
            let [viewer, operator, approver, admin] = cells;
            writeln!(matrix, "{act:20}{viewer:10}{operator:10}{approver:10}{admin}").unwrap();
        };
        line("act", Role::ALL.map(Role::as_str));
        for act in OperatorAct::ALL {
            line(act.code(), Role::ALL.map(|role| if role.includes(act.least()) { "may" } else { "-" }));
        }
        let committed = include_str!("../roles.txt");
        assert_eq!(matrix, committed, "if this is meant, roles.txt must become:\n{matrix}");
    }

    #[test]
    fn only_admin_does_what_may_give_authority() {
        let gives = |act: &OperatorAct| {
            matches!(
                act,
                OperatorAct::ActivateAgent
                    | OperatorAct::EnablePerson
                    | OperatorAct::ApplyRegistry
                    | OperatorAct::SetPassword
                    | OperatorAct::SetClientSecret
                    | OperatorAct::MakeJoinToken
                    | OperatorAct::RotateKeys
            )
        };
        for act in OperatorAct::ALL.iter().filter(|act| gives(act)) {
            for role in [Role::Viewer, Role::Operator, Role::Approver] {
                assert!(!role.includes(act.least()), "{act:?} {role:?}");
            }
        }
    }
}
