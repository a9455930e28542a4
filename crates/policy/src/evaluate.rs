//! Evaluation: for every scope first the person, then the agent; both must be permitted.

pub(crate) mod ruling;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use cedar_policy::{AuthorizationError, Context, Decision, EntityUid, PolicyId, Request};

use crate::compile::Policies;
use crate::facts::{CedarQuestion, InternalError, Question, QuestionFacts};
use ruling::Ruling;

/// Which of the two questions was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeniedParty {
    /// The person is not permitted any of the scopes.
    Person,
    /// The agent is not permitted any of the scopes that the person is permitted.
    Agent,
}

impl fmt::Display for DeniedParty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Person => "the person",
            Self::Agent => "the agent",
        })
    }
}

/// The policies permit no scope to the person and to the agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy denies {who}: forbidden by [{}], failed [{}]", .policies.join(", "), .errors.join("; "))]
pub struct Denial {
    /// Which of the two questions was denied.
    pub who: DeniedParty,
    /// The names of the policies that forbade, sorted. Empty if nothing permitted.
    pub policies: Vec<String>,
    /// Policies that could not be evaluated, each as `name: message`. A single one denies everything that was
    /// asked.
    pub errors: Vec<String>,
}

impl Policies {
    /// Decides which of the scopes asked for are permitted.
    ///
    /// A ruling is remembered by all the facts that Cedar was given, because it depends only on them. A value
    /// is a fact if, and only if, a policy mentions it. So if a policy reads the time, the question is
    /// evaluated again when the time changes.
    ///
    /// # Errors
    /// A [`Denial`] if no scope is permitted to both, or if any policy failed to evaluate.
    pub fn evaluate(&self, question: &Question<'_>) -> Result<Arc<Ruling>, Denial> {
        let internal = |InternalError(message)| Denial {
            who: DeniedParty::Person,
            policies: Vec::new(),
            errors: vec![format!("built-in: {message}")],
        };
        let facts = QuestionFacts::gather(&self.mentioned, question);
        let fingerprint = facts.fingerprint();
        if let Some(ruling) = self.memo.get(&fingerprint) {
            return Ok(ruling);
        }
        let ruling = Arc::new(self.rule(&facts, facts.in_cedar(&self.words).map_err(internal)?)?);
        self.memo.insert(fingerprint, Arc::clone(&ruling));
        Ok(ruling)
    }

    fn rule(&self, facts: &QuestionFacts<'_>, mut terms: CedarQuestion) -> Result<Ruling, Denial> {
        let mut permitted = BTreeSet::new();
        let mut forbidden_person = BTreeSet::new();
        let mut forbidden_agent = BTreeSet::new();
        let mut person_ever = false;
        let mut scopes = Vec::new();
        for (scope, context) in facts.scopes().zip(std::mem::take(&mut terms.contexts)) {
            let person = self.ask(&terms, &terms.person, context.clone(), DeniedParty::Person)?;
            if !person.permitted {
                forbidden_person.extend(person.policies);
                continue;
            }
            person_ever = true;
            if let Some(agent) = &terms.agent {
                let agent = self.ask(&terms, agent, context, DeniedParty::Agent)?;
                if !agent.permitted {
                    forbidden_agent.extend(agent.policies);
                    continue;
                }
                permitted.extend(agent.policies);
            }
            permitted.extend(person.policies);
            scopes.push(scope.clone());
        }
        if scopes.is_empty() {
            let (who, policies) = if person_ever {
                (DeniedParty::Agent, forbidden_agent)
            } else {
                (DeniedParty::Person, forbidden_person)
            };
            return Err(Denial { who, policies: policies.into_iter().collect(), errors: Vec::new() });
        }
        Ok(Ruling::of(scopes.into_iter().collect(), permitted, &self.demanding))
    }

    fn ask(
        &self,
        terms: &CedarQuestion,
        principal: &EntityUid,
        context: Context,
        who: DeniedParty,
    ) -> Result<Answer, Denial> {
        let policies = match who {
            DeniedParty::Person => &self.actions.delegate,
            DeniedParty::Agent => &self.actions.act,
        };
        let failed = |errors: Vec<String>| Denial { who, policies: Vec::new(), errors };
        let request =
            Request::new(principal.clone(), policies.action.clone(), terms.resource.clone(), context, None)
                .map_err(|e| failed(vec![format!("built-in: {e}")]))?;
        let decide = |set| {
            let response = self.authorizer.is_authorized(&request, set, &terms.entities);
            // Cedar ignores a policy that fails. An ignored forbid would permit what it forbids, so here a
            // failure is a denial.
            let errors: Vec<String> = response.diagnostics().errors().map(describe).collect();
            if errors.is_empty() { Ok(response) } else { Err(failed(errors)) }
        };
        let mut response = decide(&policies.deciding)?;
        if response.decision() == Decision::Deny {
            response = decide(&policies.full)?;
        }
        let permitted = response.decision() == Decision::Allow;
        Ok(Answer { permitted, policies: response.diagnostics().reason().map(name).collect() })
    }
}

struct Answer {
    permitted: bool,
    policies: Vec<String>,
}

fn describe(error: &AuthorizationError) -> String {
    match error {
        AuthorizationError::PolicyEvaluationError(e) => format!("{}: {}", name(e.policy_id()), e.inner()),
    }
}

fn name(id: &PolicyId) -> String {
    AsRef::<str>::as_ref(id).to_owned()
}
