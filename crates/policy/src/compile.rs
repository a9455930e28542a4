//! From policy texts to a validated set.

use std::collections::BTreeSet;
use std::str::FromStr;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{
    Authorizer, Effect, PolicyId, PolicySet, Schema, ValidationError, ValidationMode, Validator,
};

use crate::actions::{Actions, NAMES};
use crate::facts::{InternalError, Mentioned, Vocabulary};
use crate::limits;
use crate::memo::Memo;

/// The Cedar schema: the entities, attributes and actions that policies may use.
pub(crate) const SCHEMA: &str = include_str!("schema.cedarschema");

/// The built-in policy. Its determining policies are reported as `built-in/<id>`.
const DEFAULT_POLICY: &str = include_str!("default.cedar");

/// The longest policy text that is accepted, in bytes.
pub const MAX_POLICY_LEN: usize = 64 * 1024;

/// A policy was refused. The fault is always in the policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy {policy}, line {line}, column {column}: {message}")]
pub struct PolicyError {
    /// The name of the policy, as given to [`Policies::compile`].
    pub policy: String,
    /// The line in its source, from 1.
    pub line: usize,
    /// The column in that line, in characters, from 1.
    pub column: usize,
    /// What is wrong with it, and where Cedar knows it, how to repair it.
    pub message: String,
}

/// A compiled set of policies: the built-in ones and the registry's.
#[derive(Debug)]
pub struct Policies {
    /// In a box: compiled policies are moved by value, and these are some kilobytes.
    pub(crate) actions: Box<Actions>,
    /// What the policies mention that can apply when a token is asked for.
    pub(crate) mentioned: Mentioned,
    pub(crate) authorizer: Authorizer,
    pub(crate) words: Vocabulary,
    pub(crate) memo: Memo,
    /// The names of the permits that demand an approval.
    pub(crate) demanding: BTreeSet<String>,
    names: BTreeSet<String>,
}

impl Policies {
    /// Compiles the built-in policy together with `extra`, pairs of name and Cedar source.
    ///
    /// A source may hold several statements. If it holds one, decisions name it by the policy's name alone;
    /// the statements of a longer one are `name#1`, `name#2` and so on, or `name#<id>` where a statement has
    /// an `@id`.
    ///
    /// # Errors
    /// The first policy that does not parse, is too long or too deeply nested, is a template, has the name of
    /// another, or is not valid in strict mode; an `@approval` that is not `@approval("required")` of a
    /// permit. A policy that can never apply counts as not valid, because its author believes that it
    /// protects something.
    pub fn compile<'a>(extra: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, PolicyError> {
        Self::build(extra, Err)
    }

    /// Why [`Policies::compile`] refuses `extra`: the error of each policy, not only the first one's.
    pub fn refused<'a>(extra: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<PolicyError> {
        let mut all = Vec::new();
        let built = Self::build(extra, |error| {
            all.push(error);
            Ok(())
        });
        all.extend(built.err());
        all
    }

    /// `refuse` gets each error of a policy, and decides whether it ends the compilation.
    fn build<'a>(
        extra: impl IntoIterator<Item = (&'a str, &'a str)>,
        mut refuse: impl FnMut(PolicyError) -> Result<(), PolicyError>,
    ) -> Result<Self, PolicyError> {
        let internal =
            |message: String| PolicyError { policy: BUILT_IN.to_owned(), line: 1, column: 1, message };
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA)
            .map_err(|e| from_diagnostic(BUILT_IN, SCHEMA, &DetailedError::from(&e)))?;
        let actions = Actions::new(&schema).map_err(|InternalError(message)| internal(message))?;
        let validator = Validator::new(schema);
        let words = Vocabulary::new().map_err(|InternalError(message)| internal(message))?;
        let mut policies = Self {
            actions: Box::new(actions),
            mentioned: Mentioned::default(),
            authorizer: Authorizer::new(),
            words,
            memo: Memo::default(),
            demanding: BTreeSet::new(),
            names: BTreeSet::new(),
        };
        policies.add(&validator, BUILT_IN, DEFAULT_POLICY)?;
        for (name, source) in extra {
            let added = if name == BUILT_IN {
                Err(internal("another policy is already called built-in".to_owned()))
            } else {
                policies.add(&validator, name, source)
            };
            if let Err(error) = added {
                refuse(error)?;
            }
        }
        policies.actions.finish();
        Ok(policies)
    }

    fn add(&mut self, validator: &Validator, name: &str, source: &str) -> Result<(), PolicyError> {
        let refuse = |message: String| PolicyError { policy: name.to_owned(), line: 1, column: 1, message };
        if source.len() > MAX_POLICY_LEN {
            return Err(refuse(format!("longer than {MAX_POLICY_LEN} bytes")));
        }
        limits::check(source).map_err(|(offset, why)| {
            let (line, column) = position(source, offset);
            PolicyError { policy: name.to_owned(), line, column, message: why.to_string() }
        })?;
        let parsed = PolicySet::from_str(source)
            .map_err(|e| from_diagnostic(name, source, &DetailedError::from(&e)))?;
        if parsed.num_of_templates() > 0 {
            return Err(refuse(
                "a template with ?principal or ?resource is not accepted; write out the policy".to_owned(),
            ));
        }
        if parsed.is_empty() {
            return Err(refuse("it holds no statement".to_owned()));
        }
        let result = validator.validate(&parsed, ValidationMode::Strict);
        if let Some(error) = result.validation_errors().next() {
            let unknown_action = matches!(error, ValidationError::UnrecognizedActionId(_));
            let diagnostic = DetailedError::from(error);
            let mut error = from_diagnostic(name, source, &diagnostic);
            if unknown_action {
                // Cedar's help names one of those that are equally close, by chance.
                let unknown = without_own_name(&innermost(&diagnostic).message);
                error.message = format!("{unknown}; the actions are {NAMES}");
            }
            return Err(error);
        }
        if let Some(warning) = result.validation_warnings().next() {
            return Err(from_diagnostic(name, source, &DetailedError::from(warning)));
        }
        let many = parsed.num_of_policies() > 1;
        // Cedar numbers the statements `policy0`, `policy1`, … in the order of the text.
        for at in 0..parsed.num_of_policies() {
            let Some(policy) = parsed.policy(&PolicyId::new(format!("policy{at}"))) else {
                return Err(refuse(format!("statement {} was lost in parsing", at + 1)));
            };
            let id = match policy.annotation("id") {
                Some(id) if name == BUILT_IN => format!("{BUILT_IN}/{id}"),
                Some(id) if many => format!("{name}#{id}"),
                _ if many => format!("{name}#{}", at + 1),
                _ => name.to_owned(),
            };
            if !self.names.insert(id.clone()) {
                return Err(refuse(format!("another policy is already called {id}")));
            }
            match policy.annotation("approval") {
                None => {}
                Some("required") if policy.effect() == Effect::Permit => {
                    self.demanding.insert(id.clone());
                }
                Some("required") => {
                    return Err(refuse(format!(
                        "{id}: @approval belongs to a permit; an approval lifts no forbid"
                    )));
                }
                Some(_) => return Err(refuse(format!("{id}: the one value of @approval is \"required\""))),
            }
            let policy = policy.new_id(PolicyId::new(&id));
            if self.actions.add(&policy, name == BUILT_IN).map_err(|e| refuse(e.to_string()))? {
                self.mentioned.add(&policy.to_json().map_err(|e| refuse(e.to_string()))?);
            }
        }
        Ok(())
    }
}

const BUILT_IN: &str = "built-in";

/// The annotations that are read. Cedar accepts any name, so a misspelt one would be passed over, and with it
/// the demand for an approval.
const ANNOTATIONS: [&str; 2] = ["id", "approval"];

/// Finds an annotation that nothing reads, in a policy that is about to be applied. A policy that was stored
/// by an earlier version is not refused at a start.
///
/// # Errors
/// The first one, with its place and the name that was probably meant. A source that [`Policies::compile`]
/// refuses to parse, or that does not parse, has none.
pub fn check_annotations(name: &str, source: &str) -> Result<(), PolicyError> {
    if source.len() > MAX_POLICY_LEN || limits::check(source).is_err() {
        return Ok(());
    }
    let Ok(parsed) = PolicySet::from_str(source) else { return Ok(()) };
    let unknown: BTreeSet<&str> = parsed
        .policies()
        .flat_map(cedar_policy::Policy::annotations)
        .map(|(annotation, _)| annotation)
        .filter(|annotation| !ANNOTATIONS.contains(annotation))
        .collect();
    let Some((offset, annotation)) = first_of(&unknown, source) else { return Ok(()) };
    let (line, column) = position(source, offset);
    let lower = annotation.to_ascii_lowercase();
    let meant = ANNOTATIONS
        .into_iter()
        .map(|known| (strsim::normalized_damerau_levenshtein(&lower, known), known))
        .filter(|(likeness, known)| *likeness >= 0.5 || lower.contains(*known))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| format!("; did you mean @{known}?"))
        .unwrap_or_default();
    Err(PolicyError {
        policy: name.to_owned(),
        line,
        column,
        message: format!(
            "there is no annotation @{annotation}: @id and @approval are read; write a note as a comment, with //{meant}"
        ),
    })
}

/// The annotation of these that stands first, and where. The source is read once, however many there are.
fn first_of<'a>(annotations: &BTreeSet<&'a str>, source: &str) -> Option<(usize, &'a str)> {
    let named = |at: usize| {
        let rest = source.get(at + 1..)?.trim_start();
        let name = rest.split(|next: char| !next.is_alphanumeric() && next != '_').next()?;
        annotations.get(name).map(|annotation| (at, *annotation))
    };
    // A comment may come between `@` and the name.
    let found = source.match_indices('@').find_map(|(at, _)| named(at));
    found.or_else(|| annotations.first().map(|annotation| (0, *annotation)))
}

/// Uses the first source location anywhere in the diagnostic; parse errors have theirs in `related`.
fn from_diagnostic(policy: &str, source: &str, error: &DetailedError) -> PolicyError {
    let offset = first_offset(error).unwrap_or(0);
    let (line, column) = position(source, offset);
    let mut message = without_own_name(&innermost(error).message).to_owned();
    if let Some(help) = &innermost(error).help {
        message.push_str("; ");
        message.push_str(help);
    }
    PolicyError { policy: policy.to_owned(), line, column, message }
}

/// The message without Cedar's number for the statement, because that number is in no file.
fn without_own_name(message: &str) -> &str {
    let rest = message.strip_prefix("for policy `policy").and_then(|rest| rest.split_once("`, "));
    rest.filter(|(number, _)| number.bytes().all(|b| b.is_ascii_digit())).map_or(message, |(_, rest)| rest)
}

fn first_offset(error: &DetailedError) -> Option<usize> {
    let own = error.source_locations.iter().map(|label| label.loc.start).min();
    own.or_else(|| error.related.iter().find_map(first_offset))
}

/// The error that has the location, or else the outermost error.
fn innermost(error: &DetailedError) -> &DetailedError {
    if error.source_locations.is_empty() {
        error.related.iter().find(|e| first_offset(e).is_some()).map_or(error, innermost)
    } else {
        error
    }
}

fn position(source: &str, offset: usize) -> (usize, usize) {
    let before = source.get(..offset).unwrap_or(source);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    (line, column)
}
