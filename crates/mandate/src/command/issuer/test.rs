//! `mandate issuer test`: what an exchange makes of a token, claim by claim.

use std::fmt::Write as _;
use std::path::Path;

use mandate_core::registry::{SubjectScope, TokenProfile};
use mandate_core::{Clock as _, SaidActors, SystemClock, Timestamp};
use mandate_token::TokenError;
use mandate_token::access_token::{Against, Decoded, Explanation, Verdict, explain, explain_id_token};
use mandate_token::discovery::likely_product;
use serde::Serialize;

use super::verdicts::{self, Row};
use super::{Declared, Known, VERSION, settings};
use crate::arguments::IssuerTest;
use crate::connection::runtime;
use crate::failure::Failure;
use crate::input_file;
use crate::issuer_documents::IssuerDocuments;
use crate::screen::Screen;
use crate::secret_input;

/// The JSON that is printed.
#[derive(Serialize)]
struct Report {
    version: u8,
    issuer: String,
    /// Where the entry is from: `server`, `arguments`, or `none`.
    entry: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audience: Option<String>,
    metadata_url: String,
    keys: Keys,
    /// Whether an exchange takes the token as its subject; `null` if that depends on an audience or a profile
    /// that is not known.
    taken: Option<bool>,
    /// Why not, as an exchange says it: the code, and the part at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
    /// How the issuer names the person, if the token is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<String>,
    /// What it says of who acts for whom, as the record of an exchange has it, if the token is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    said_actors: Option<SaidActors>,
    claims: Vec<Row>,
    /// The profiles that were tried, if none was given, and otherwise those that would take the token
    /// instead.
    profiles: Vec<Tried>,
    /// What to change, on the provider's side or in the entry.
    changes: Vec<String>,
}

#[derive(Serialize)]
struct Keys {
    address: String,
    usable: usize,
}

/// What one profile makes of the token.
#[derive(Clone, Serialize)]
struct Tried {
    profile: &'static str,
    taken: bool,
    /// Only if `subject_scope` is `identity_only`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    identity_only: bool,
    /// Only if the entry requires a claim that only people's tokens have.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    needs_required_claim: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
}

/// The explanation with one profile.
struct Attempt {
    profile: TokenProfile,
    subject_scope: SubjectScope,
    kind: Kind,
    explanation: Explanation,
}

/// As what the token is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    AccessToken,
    IdToken,
}

impl Attempt {
    fn of(
        token: &str,
        declared: &Declared,
        documents: &IssuerDocuments,
        (profile, subject_scope): (TokenProfile, SubjectScope),
        (kind, now): (Kind, Timestamp),
    ) -> Result<Self, Failure> {
        let (issuer, keys) = (declared.trusted(profile, subject_scope), documents.keys(profile)?);
        let against =
            Against { issuer: &issuer, checks_audience: declared.audience.is_some(), keys: &keys, now };
        let explained = match kind {
            Kind::AccessToken => explain(token, &against),
            Kind::IdToken => explain_id_token(token, &against),
        };
        let explanation = explained
            .map_err(|error| Failure::usage(format!("this is no token that can be read: {error}")))?;
        Ok(Self { profile, subject_scope, kind, explanation })
    }

    /// As an exchange says it.
    fn refusal(&self) -> Option<String> {
        if self.explanation.is_taken() {
            return None;
        }
        if let Err(error) = &self.explanation.verified {
            return Some(error.public_text());
        }
        let first = self.explanation.refusals().next()?;
        match &first.verdict {
            Verdict::Refused { code, .. } => Some(format!("{code}: {}", first.name)),
            _ => None,
        }
    }

    fn tried(&self, declared: &Declared) -> Tried {
        Tried {
            profile: self.profile.as_str(),
            taken: self.explanation.is_taken(),
            identity_only: self.subject_scope == SubjectScope::IdentityOnly,
            needs_required_claim: self.kind == Kind::AccessToken
                && self.profile.needs_a_claim_of_people()
                && declared.required_claims.is_empty(),
            refusal: self.refusal(),
        }
    }
}

pub(crate) fn run(arguments: &IssuerTest, screen: &Screen) -> Result<(), Failure> {
    let from_standard_input = [
        Some(Path::new("-")),
        arguments.server.reach.token_file(),
        arguments.server.admin_ca.as_deref(),
        arguments.entry.ca.as_deref(),
    ];
    input_file::one_standard_input(&from_standard_input)?;
    let secret = secret_input::only_line("token", "mandate issuer test URL < FILE")?;
    let token = super::super::token::token_of(secret.expose_secret_str().unwrap_or_default());
    readable(token)?;
    let by_hand = arguments.entry.profile.is_some() && arguments.entry.audience.is_some();
    let known = if by_hand { Known::NoServer } else { arguments.server.entry(&arguments.url)? };
    let (found, is_absent) = match known {
        Known::Found(item) => (Some(item), false),
        Known::Absent => (None, true),
        Known::NoServer => (None, false),
    };
    let entry = match &found {
        Some(_) => "server",
        None if arguments.entry.profile.is_some() || arguments.entry.audience.is_some() => "arguments",
        None => "none",
    };
    if found.is_none() && !by_hand {
        screen.remark(if is_absent {
            "note: the server has no entry of this issuer."
        } else {
            "note: no server was asked for the entry of this issuer; --profile and --audience take its place."
        });
    }
    let mut declared = Declared::new(&arguments.url, found, &arguments.entry);
    let kind = if arguments.id_token { Kind::IdToken } else { Kind::AccessToken };
    if kind == Kind::IdToken {
        declared = declared.for_id_token(arguments.entry.audience.as_deref())?;
    }
    let client = declared.client(&arguments.entry)?;
    let documents = runtime()?.block_on(IssuerDocuments::fetch(&client, &arguments.url, declared.profile))?;
    let report = report(token, entry, &declared, &documents, (kind, SystemClock.now()))?;
    // Whether it is taken counts, also if nobody reads why.
    let printed = screen.show(&report, || text(screen, &report));
    match (&report.refusal, report.taken) {
        (Some(refusal), Some(false)) => {
            Err(Failure::failed(format!("an exchange refuses this token: {refusal}")))
        }
        _ => printed,
    }
}

/// What cannot be a signed token is told apart before anybody is asked.
fn readable(token: &str) -> Result<(), Failure> {
    let no_token =
        |why: &dyn std::fmt::Display| Failure::usage(format!("this is no token that can be read: {why}"));
    super::super::token::decode(token).map_err(|why| no_token(&why))?;
    match Decoded::of(token).and_then(|decoded| decoded.read().map(drop)) {
        // These are refusals, which are explained.
        Ok(()) | Err(TokenError::Header(_) | TokenError::Algorithm(_)) => Ok(()),
        Err(error) => Err(no_token(&error)),
    }
}

fn report(
    token: &str,
    entry: &'static str,
    declared: &Declared,
    documents: &IssuerDocuments,
    how: (Kind, Timestamp),
) -> Result<Report, Failure> {
    let attempt = |profile, scope| Attempt::of(token, declared, documents, (profile, scope), how);
    // If the scopes are all that is wrong, it is said what would help.
    let best = |profile| -> Result<Attempt, Failure> {
        let usual = attempt(profile, declared.subject_scope)?;
        if usual.explanation.is_taken() || how.0 == Kind::IdToken {
            return Ok(usual);
        }
        let narrow = attempt(profile, SubjectScope::IdentityOnly)?;
        Ok(if narrow.explanation.is_taken() { narrow } else { usual })
    };
    let tried = TokenProfile::ALL.iter().map(|profile| best(*profile)).collect::<Result<Vec<_>, _>>()?;
    let (shown, profiles): (_, Vec<Tried>) = if let Some(profile) = declared.profile {
        let others = tried.iter().filter(|other| other.profile != profile);
        let taking = others.filter(|other| other.explanation.is_taken());
        (attempt(profile, declared.subject_scope)?, taking.map(|other| other.tried(declared)).collect())
    } else {
        let profiles = tried.iter().map(|tried| tried.tried(declared)).collect();
        (most_likely(tried, likely_product(&declared.url, Some(&documents.jwks_uri)))?, profiles)
    };
    let is_taken = shown.explanation.is_taken();
    let keys = documents.keys(shown.profile)?;
    let mut changes = match how.0 {
        Kind::AccessToken => {
            settings::changes(&shown.explanation, shown.profile, declared.audience.as_deref())
        }
        Kind::IdToken => settings::id_token_changes(&shown.explanation, shown.profile),
    };
    if !is_taken && declared.profile.is_some() {
        changes.extend(profiles.iter().map(instead));
    }
    Ok(Report {
        version: VERSION,
        issuer: declared.url.to_string(),
        entry,
        profile: Some(shown.profile.as_str()),
        audience: declared.audience.clone(),
        metadata_url: documents.metadata_url.clone(),
        keys: Keys { address: documents.jwks_uri.to_string(), usable: keys.len() },
        taken: match (is_taken, declared.profile.is_some() && declared.audience.is_some()) {
            (false, _) => Some(false),
            (true, true) => Some(true),
            (true, false) => None,
        },
        refusal: shown.refusal(),
        person: shown
            .explanation
            .verified
            .as_ref()
            .ok()
            .filter(|_| is_taken)
            .and_then(|terms| terms.subject.as_ref().map(|person| person.sub.clone())),
        said_actors: shown.explanation.said_actors.clone().filter(|_| is_taken),
        claims: verdicts::rows(&shown.explanation),
        profiles,
        changes,
    })
}

/// Of the attempts, the one to show: one that takes the token, else that of the product which the issuer
/// seems to be, else the one with the fewest refusals.
fn most_likely(tried: Vec<Attempt>, likely: Option<TokenProfile>) -> Result<Attempt, Failure> {
    let distance = |attempt: &Attempt| {
        let taken = attempt.explanation.is_taken();
        (!taken, Some(attempt.profile) != likely, attempt.explanation.refusals().count())
    };
    tried.into_iter().min_by_key(distance).ok_or_else(|| Failure::failed("there is no profile to try"))
}

fn instead(tried: &Tried) -> String {
    format!("in the entry, set {}, if that is the product: the token is taken then", conditions(tried))
}

/// `profile = "zitadel"`, with what else it needs.
fn conditions(tried: &Tried) -> String {
    let mut text = format!("profile = \"{}\"", tried.profile);
    if tried.identity_only {
        text.push_str(", subject_scope = \"identity_only\"");
    }
    if tried.needs_required_claim {
        text.push_str(", claims.require with a claim that only people's tokens have");
    }
    text
}

fn text(screen: &Screen, report: &Report) -> String {
    let mut parts = vec![format!(
        "{} usable key{} at {}",
        report.keys.usable,
        if report.keys.usable == 1 { "" } else { "s" },
        report.keys.address
    )];
    parts.push(verdicts::text(screen, &report.claims));
    let shown = report.profile.unwrap_or_default();
    let mut verdict = match (report.taken, &report.refusal) {
        (Some(true), _) => format!("An exchange takes this token as its subject, with the profile {shown}."),
        (None, _) => {
            let unknown =
                if report.audience.is_none() { "its audience is not checked" } else { "no entry names it" };
            format!("With the profile {shown}, nothing refuses this token; {unknown}.")
        }
        (Some(false), refusal) => {
            let why = refusal.as_deref().unwrap_or_default();
            format!("An exchange refuses this token, with the profile {shown}: {why}")
        }
    };
    if let Some(person) = &report.person {
        // Writing to a String cannot fail.
        let _ = write!(
            verdict,
            "\nThe person is `{person}`: a [[person]] with this `sub` and the issuer gives them rights."
        );
    }
    if let Some(said) = &report.said_actors {
        let actors: Vec<&str> = said.chain.iter().map(|actor| actor.sub.as_str()).collect();
        let actors = if actors.is_empty() { "nobody".to_owned() } else { actors.join(", then ") };
        let form = said.form.as_str();
        // Writing to a String cannot fail.
        let _ = write!(
            verdict,
            "\nWho acted, the newest first: {actors} (in the form {form}). It is recorded, and permits nothing."
        );
    }
    parts.push(verdict);
    if report.entry == "none" || report.profiles.len() == TokenProfile::ALL.len() {
        let takers: Vec<String> =
            report.profiles.iter().filter(|tried| tried.taken).map(conditions).collect();
        parts.push(if takers.is_empty() {
            let why = |tried: &Tried| {
                format!("\n  {}: {}", tried.profile, tried.refusal.as_deref().unwrap_or_default())
            };
            format!("No profile takes this token:{}", report.profiles.iter().map(why).collect::<String>())
        } else {
            format!("It is taken with:\n  {}", takers.join("\n  "))
        });
    }
    if !report.changes.is_empty() {
        parts.push(format!("To change:\n  {}", report.changes.join("\n  ")));
    }
    parts.join("\n\n")
}
