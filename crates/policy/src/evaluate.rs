//! Evaluation: for every scope first the person, then the agent; both must be permitted.

pub(crate) mod ruling;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use cedar_policy::{AuthorizationError, Context, Decision, EntityUid, PolicyId, Request};

use crate::compile::Policies;
use crate::facts::{CedarQuestion, InternalError, OwnQuestion, Question, QuestionFacts};
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
    /// The names of the policies that forbade, or that could not be evaluated, sorted. Empty if nothing
    /// permitted.
    pub policies: Vec<String>,
    /// Policies that could not be evaluated, each as `name: message`. A single one denies everything that was
    /// asked.
    pub errors: Vec<String>,
}

/// Why there is no [`Ruling`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRuling {
    /// The policies deny.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The question could not be asked. No policy and nobody who is asked about is the reason.
    #[error("the policies cannot be asked: {0}")]
    Failed(
        /// What went wrong.
        String,
    ),
}

impl From<InternalError> for NoRuling {
    fn from(InternalError(message): InternalError) -> Self {
        Self::Failed(message)
    }
}

impl Policies {
    /// Decides which of the scopes asked for are permitted.
    ///
    /// A ruling is remembered by all the facts that Cedar was given, because it depends only on them. A value
    /// is a fact if, and only if, a policy mentions it. So if a policy reads the time, the question is
    /// evaluated again when the time changes.
    ///
    /// # Errors
    /// A [`Denial`] if no scope is permitted to both, or if any policy failed to evaluate. Or
    /// [`NoRuling::Failed`] if the question could not be asked.
    pub fn evaluate(&self, question: &Question<'_>) -> Result<Arc<Ruling>, NoRuling> {
        self.answer(&QuestionFacts::gather(&self.mentioned, question))
    }

    /// As [`Policies::evaluate`], for an agent that asks on its own behalf: only the agent is asked about.
    ///
    /// # Errors
    /// As [`Policies::evaluate`]. The denied party is always the agent.
    pub fn evaluate_own(&self, question: &OwnQuestion<'_>) -> Result<Arc<Ruling>, NoRuling> {
        self.answer(&QuestionFacts::gather_own(&self.mentioned, question))
    }

    fn answer(&self, facts: &QuestionFacts<'_>) -> Result<Arc<Ruling>, NoRuling> {
        let fingerprint = facts.fingerprint();
        if let Some(ruling) = self.memo.get(&fingerprint) {
            return Ok(ruling);
        }
        let ruling = Arc::new(self.rule(facts, facts.in_cedar(&self.words)?)?);
        self.memo.insert(fingerprint, Arc::clone(&ruling));
        Ok(ruling)
    }

    fn rule(&self, facts: &QuestionFacts<'_>, mut terms: CedarQuestion) -> Result<Ruling, NoRuling> {
        let mut permitted = BTreeSet::new();
        let mut forbidden_person = BTreeSet::new();
        let mut forbidden_agent = BTreeSet::new();
        // Nobody is asked about but the agent, if it asks on its own behalf.
        let mut person_ever = terms.alone;
        let mut scopes = Vec::new();
        for (scope, context) in facts.scopes().zip(std::mem::take(&mut terms.contexts)) {
            let mut by_person = Vec::new();
            if !terms.alone {
                let person = self.ask(&terms, &terms.person, context.clone(), DeniedParty::Person)?;
                if !person.permitted {
                    forbidden_person.extend(person.policies);
                    continue;
                }
                person_ever = true;
                by_person = person.policies;
            }
            if let Some(agent) = &terms.agent {
                let agent = self.ask(&terms, agent, context, DeniedParty::Agent)?;
                if !agent.permitted {
                    forbidden_agent.extend(agent.policies);
                    continue;
                }
                permitted.extend(agent.policies);
            }
            permitted.extend(by_person);
            scopes.push(scope.clone());
        }
        if scopes.is_empty() {
            let (who, policies) = if person_ever {
                (DeniedParty::Agent, forbidden_agent)
            } else {
                (DeniedParty::Person, forbidden_person)
            };
            return Err(Denial { who, policies: policies.into_iter().collect(), errors: Vec::new() }.into());
        }
        Ok(Ruling::of(scopes.into_iter().collect(), permitted, &self.demanding))
    }

    fn ask(
        &self,
        terms: &CedarQuestion,
        principal: &EntityUid,
        context: Context,
        who: DeniedParty,
    ) -> Result<Answer, NoRuling> {
        let policies = match who {
            DeniedParty::Person => &self.actions.delegate,
            DeniedParty::Agent if terms.alone => &self.actions.act_alone,
            DeniedParty::Agent => &self.actions.act,
        };
        let request =
            Request::new(principal.clone(), policies.action.clone(), terms.resource.clone(), context, None)
                .map_err(InternalError::of)?;
        let decide = |set| {
            let response = self.authorizer.is_authorized(&request, set, &terms.entities);
            // Cedar ignores a policy that fails. An ignored forbid would permit what it forbids, so here a
            // failure is a denial.
            let errors: Vec<String> = response.diagnostics().errors().map(describe).collect();
            if errors.is_empty() {
                return Ok(response);
            }
            let failed: BTreeSet<String> = response.diagnostics().errors().map(failing).collect();
            Err(Denial { who, policies: failed.into_iter().collect(), errors })
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

/// The most characters of what went wrong in one policy: a message may repeat a text of the policy.
const MAX_MESSAGE: usize = 256;

fn describe(error: &AuthorizationError) -> String {
    match error {
        AuthorizationError::PolicyEvaluationError(e) => {
            let message: String = e.inner().to_string().chars().take(MAX_MESSAGE).collect();
            format!("{}: {message}", name(e.policy_id()))
        }
    }
}

fn failing(error: &AuthorizationError) -> String {
    match error {
        AuthorizationError::PolicyEvaluationError(e) => name(e.policy_id()),
    }
}

fn name(id: &PolicyId) -> String {
    AsRef::<str>::as_ref(id).to_owned()
}
