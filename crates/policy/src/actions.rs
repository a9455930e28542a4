//! The actions that policies are about. Each has a compiled set of its own, so that a question evaluates no
//! policy that cannot apply to it.

use cedar_policy::{
    ActionConstraint, Effect, EntityId, EntityTypeName, EntityUid, Policy, PolicySet, PolicySetError,
    PrincipalConstraint, Schema,
};

use crate::facts::InternalError;

/// The names of all actions, for the refusal of another one.
pub(crate) const NAMES: &str = "delegate, act, act_alone, call, administer, approve and release";

/// The policies that can apply to one action.
#[derive(Debug)]
pub(crate) struct ActionPolicies {
    pub(crate) action: EntityUid,
    /// The entity types that the action's principals may have.
    principals: Vec<EntityTypeName>,
    /// Every policy that can apply to the action.
    pub(crate) full: PolicySet,
    /// The policies that decide whether it is permitted. The built-in permits contain all built-in limits. So
    /// if there are no other permits, the built-in forbids only explain a denial, and are left out.
    pub(crate) deciding: PolicySet,
}

impl ActionPolicies {
    fn new(schema: &Schema, name: &str) -> Result<Self, InternalError> {
        let action = EntityUid::from_type_name_and_id(
            "Action".parse().map_err(InternalError::of)?,
            EntityId::new(name),
        );
        let principals = schema.principals_for_action(&action).into_iter().flatten().cloned().collect();
        Ok(Self { action, principals, full: PolicySet::new(), deciding: PolicySet::new() })
    }

    /// Whether a policy can ever apply, by its head.
    fn can_apply(&self, policy: &Policy) -> bool {
        let action = match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(only) => only == self.action,
            ActionConstraint::In(some) => some.contains(&self.action),
        };
        // No entity of ours is in another one: `in` is the same as `==`.
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::In(only) | PrincipalConstraint::Eq(only) => {
                self.principals.contains(only.type_name())
            }
            PrincipalConstraint::Is(kind) | PrincipalConstraint::IsIn(kind, _) => {
                self.principals.contains(&kind)
            }
        };
        action && principal
    }

    /// Adds a policy if it can ever apply. Returns whether it can.
    fn add(&mut self, policy: &Policy, built_in: bool) -> Result<bool, Box<PolicySetError>> {
        if !self.can_apply(policy) {
            return Ok(false);
        }
        let explains_only = built_in && policy.effect() == Effect::Forbid;
        if !explains_only {
            self.deciding.add(policy.clone()).map_err(Box::new)?;
        }
        self.full.add(policy.clone()).map_err(Box::new)?;
        Ok(true)
    }

    fn finish(&mut self) {
        if self.full.policies().filter(|policy| policy.effect() == Effect::Permit).count() > 1 {
            self.deciding = self.full.clone();
        }
    }
}

/// The sets of all actions of the schema.
#[derive(Debug)]
pub(crate) struct Actions {
    /// May the person do this, and so let an agent do it for them?
    pub(crate) delegate: ActionPolicies,
    /// May the agent do this for that person?
    pub(crate) act: ActionPolicies,
    /// May the agent do this on its own behalf?
    pub(crate) act_alone: ActionPolicies,
    call: ActionPolicies,
    administer: ActionPolicies,
    approve: ActionPolicies,
    release: ActionPolicies,
}

impl Actions {
    pub(crate) fn new(schema: &Schema) -> Result<Self, InternalError> {
        let of = |name| ActionPolicies::new(schema, name);
        Ok(Self {
            delegate: of("delegate")?,
            act: of("act")?,
            act_alone: of("act_alone")?,
            call: of("call")?,
            administer: of("administer")?,
            approve: of("approve")?,
            release: of("release")?,
        })
    }

    /// Adds a policy to the set of each action to which it can ever apply. Returns whether it can apply when
    /// a token is asked for.
    pub(crate) fn add(&mut self, policy: &Policy, built_in: bool) -> Result<bool, Box<PolicySetError>> {
        let delegate = self.delegate.add(policy, built_in)?;
        let act = self.act.add(policy, built_in)?;
        let act_alone = self.act_alone.add(policy, built_in)?;
        for other in [&mut self.call, &mut self.administer, &mut self.approve, &mut self.release] {
            other.add(policy, built_in)?;
        }
        Ok(delegate || act || act_alone)
    }

    /// Call it after the last policy.
    pub(crate) fn finish(&mut self) {
        for action in [
            &mut self.delegate,
            &mut self.act,
            &mut self.act_alone,
            &mut self.call,
            &mut self.administer,
            &mut self.approve,
            &mut self.release,
        ] {
            action.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Actions, NAMES};
    use crate::Policies;
    use crate::compile::SCHEMA;
    use cedar_policy::Schema;

    #[test]
    fn every_action_of_the_schema_has_a_set_and_principals() {
        let schema: Schema = SCHEMA.parse().unwrap();
        let Actions { delegate, act, act_alone, call, administer, approve, release } =
            Actions::new(&schema).unwrap();
        let all = [delegate, act, act_alone, call, administer, approve, release];
        let mut named: Vec<&str> = all.iter().map(|set| set.action.id().unescaped()).collect();
        assert_eq!(named.join(", "), NAMES.replace(" and ", ", "));
        let mut declared: Vec<&str> = schema.actions().map(|action| action.id().unescaped()).collect();
        named.sort_unstable();
        declared.sort_unstable();
        assert_eq!(named, declared);
        assert!(all.iter().all(|set| !set.principals.is_empty()));
    }

    #[test]
    fn a_policy_is_only_in_the_sets_of_actions_to_which_it_can_apply() {
        let sets = |source: &str| {
            let policies = Policies::compile([("extra", source)]).unwrap();
            let Actions { delegate, act, act_alone, call, administer, approve, release } = *policies.actions;
            let has = |set: &super::ActionPolicies| {
                set.full.policies().any(|policy| AsRef::<str>::as_ref(policy.id()) == "extra")
            };
            let all = [&delegate, &act, &act_alone, &call, &administer, &approve, &release];
            all.into_iter()
                .filter(|set| has(set))
                .map(|set| set.action.id().unescaped().to_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            sets("forbid (principal, action, resource);"),
            "delegate act act_alone call administer approve release"
        );
        assert_eq!(sets("forbid (principal is Agent, action, resource);"), "act act_alone call release");
        assert_eq!(
            sets("forbid (principal == Person::\"riley\", action, resource);"),
            "delegate call administer approve"
        );
        assert_eq!(
            sets("forbid (principal in Agent::\"a\", action, resource);"),
            "act act_alone call release"
        );
        assert_eq!(sets("forbid (principal, action == Action::\"release\", resource);"), "release");
        assert_eq!(
            sets("forbid (principal is Person, action in [Action::\"act\", Action::\"call\"], resource);"),
            "call"
        );
    }
}
