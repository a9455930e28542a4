//! `mandate demo`: the story, played twice with an agent that obeys everything that the mail says.

mod agent;
mod error;
mod http;
mod login;
mod report;
mod stage;
mod stop;
mod story;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use base64::Engine as _;
use mandate_api::admin::{ApplyRequest, AuditQuery, AuditRecord, PasswordRequest};
use mandate_api::registry_file;
use mandate_core::{Entropy, Secret, SystemEntropy};
use mandate_files::{FileError, Replace};

pub(crate) use error::DemoError;

use crate::screen::Screen;
use agent::{Deeds, Orders};
use report::{AuditEvidence, Cause, Report, Telling, Timings};
use stage::{Bound, ControlPlane, Crm, Node};
use story::{AGENT, CALLBACK, CASE, CLIENT};

fn random_text(entropy: &dyn Entropy) -> String {
    let mut bytes = [0u8; 24];
    entropy.fill(&mut bytes);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn write_secret(path: &Path, text: &str) -> Result<(), DemoError> {
    let written = mandate_files::output(path, false, &SystemEntropy).and_then(|mut new| {
        let doing = |source| FileError::Io { doing: "write", path: path.to_owned(), source };
        new.file().write_all(text.as_bytes()).map_err(doing)?;
        new.commit(Replace::Never)
    });
    written.map_err(|error| DemoError::file(path, std::io::Error::other(error)))
}

/// The parts after the story has been played: everything still runs.
pub(crate) struct Stage {
    server: ControlPlane,
    node: Node,
    crm: Crm,
    root: PathBuf,
}

/// The story, played and checked.
pub(crate) struct Played {
    report: Report,
    refusals: Vec<AuditRecord>,
    stage: Stage,
}

async fn before(root: &Path, entropy: &dyn Entropy) -> Result<Telling, DemoError> {
    let key_file = root.join("crm-shared-key");
    write_secret(&key_file, &random_text(entropy))?;
    let crm = Crm::with_shared_key(root, &key_file).await?;
    let deeds = stage::play(&Orders::SharedKey { crm: crm.url.clone(), key_file, case: CASE }).await?;
    telling(&crm, &deeds)
}

/// What happened, from the CRM's own records. Refusals of the authorization server are in the server's own
/// log.
fn telling(crm: &Crm, deeds: &Deeds) -> Result<Telling, DemoError> {
    let seen = mandate_crm::inspect(&crm.database)?;
    // Who changed something, as the resource itself recorded it.
    let mut attributed_to: Vec<String> = seen
        .calls
        .iter()
        .filter(|call| call.method == "POST" && call.decision != "refused")
        .filter_map(|call| {
            Some(format!("{} by {}", call.sub.as_deref()?, call.act.as_deref()?.rsplit('/').next()?))
        })
        .collect();
    attributed_to.sort();
    attributed_to.dedup();
    Ok(Telling {
        task_done: deeds.task_done && seen.comments == 1,
        opportunities_closed: seen.closed(),
        mails_sent: seen.outbox.len(),
        refused_by_mandate: 0,
        refused_by_crm: report::refused_by_crm(&seen.calls),
        attributed_to,
        faults: deeds.attempts.iter().flat_map(|attempt| &attempt.faults).cloned().collect(),
    })
}

struct After {
    telling: Telling,
    deeds: Deeds,
    stage: Stage,
    timings: Timings,
    riley: Secret,
    worked_with: Option<String>,
}

async fn after(
    root: &Path,
    store: &[String],
    entropy: &dyn Entropy,
    say: &impl Fn(&str),
) -> Result<After, DemoError> {
    say("     starting a server …");
    let server = ControlPlane::start(root, store).await?;
    say("     a node of this machine joins …");
    let node = Node::start(root, &server).await?;
    let bound: Bound = Crm::bind().await?;
    let program = std::env::current_exe()
        .and_then(std::fs::canonicalize)
        .map_err(|error| DemoError::start("this program", error))?;
    let text = story::registry(&bound.url, &program, rustix::process::getuid().as_raw());
    let file = registry_file::parse(&text).map_err(|error| DemoError::Registry(error.to_string()))?;
    let began = Instant::now();
    server.admin.apply(&ApplyRequest { entries: file, prune: false, dry_run: false }).await?;
    let apply_ms = began.elapsed().as_secs_f64() * 1e3;
    write_secret(&root.join("registry.toml"), &text)?;
    let password = random_text(entropy);
    write_secret(&root.join("riley-password"), &password)?;
    server.admin.set_password("riley", &PasswordRequest { password: password.clone() }).await?;
    let (crm, _verifier) = bound.with_mandate(root, &server.issuer).await?;

    say("     Riley logs in, and her agent reads its mails …");
    let riley =
        login::log_in(&server.issuer, CLIENT, CALLBACK, "riley", &Secret::new(password), entropy).await?;
    let orders = Orders::Mandate {
        crm: crm.url.clone(),
        issuer: server.issuer.clone(),
        socket: node.socket.clone(),
        subject_token: riley.expose_secret_str().unwrap_or_default().to_owned(),
        case: CASE,
    };
    let deeds = stage::play(&orders).await?;
    let telling = telling(&crm, &deeds)?;
    // The CRM's own record of the comment, and the token that made it.
    let seen = mandate_crm::inspect(&crm.database)?;
    let comment =
        seen.calls.iter().find(|call| call.path.ends_with("/comments") && call.decision != "refused");
    let worked_with = comment.and_then(|call| call.jti.clone());
    let timings = Timings {
        serve_ready_ms: server.start_ms(),
        node_ready_ms: node.start_ms(),
        apply_ms,
        svid_ms: deeds.svid_ms.unwrap_or_default(),
        exchange_ms: deeds.exchange_ms.unwrap_or_default(),
        ..Timings::default()
    };
    Ok(After {
        telling,
        deeds,
        stage: Stage { server, node, crm, root: root.to_owned() },
        timings,
        riley,
        worked_with,
    })
}

/// What the audit log says about the telling with Mandate, and the refusals of it.
async fn audit(after: &After) -> Result<(AuditEvidence, Vec<AuditRecord>), DemoError> {
    let admin = &after.stage.server.admin;
    let refused = AuditQuery {
        agent: Some(AGENT.to_owned()),
        outcome: Some("refused".to_owned()),
        limit: Some(1000),
        ..AuditQuery::default()
    };
    let refusals = admin.audit_records(&refused).await?;
    let cause = match &after.worked_with {
        None => None,
        Some(jti) => admin
            .audit_records(&AuditQuery { jti: Some(jti.clone()), ..AuditQuery::default() })
            .await?
            .first()
            .and_then(|record| {
                let (sub, act) = (record.sub.clone()?, record.act.as_ref()?.actor.sub.clone());
                Some(Cause { sub, act, jti: jti.clone(), record: record.id.clone() })
            }),
    };
    let own = after.deeds.spiffe_id.as_deref().unwrap_or_default();
    let with_both_names = report::with_both_names(&refusals, own);
    Ok((
        AuditEvidence {
            refusals_with_both_names: with_both_names,
            comment_caused_by: cause,
            ..AuditEvidence::default()
        },
        refusals,
    ))
}

/// Plays the story twice in `root` and checks the result. `store` are the options of `mandate serve` that
/// name its database.
pub(crate) async fn play(
    root: &Path,
    store: &[String],
    entropy: &dyn Entropy,
    say: impl Fn(&str),
) -> Result<Played, DemoError> {
    say("1/3  With one shared key: the agent holds the key of a service account …");
    let before = before(root, entropy).await?;
    say("2/3  With Mandate: the agent has an identity of its own and acts for Riley …");
    let mut after = after(root, store, entropy, &say).await?;
    let (mut audit, refusals) = audit(&after).await?;
    after.telling.refused_by_mandate = report::refused_by_mandate(&refusals);
    say("3/3  Stopping the agent, and the audit log …");
    let Stage { server, node, crm, .. } = &after.stage;
    let (stopped, spans) = stop::stop(server, crm, node, &after.riley).await?;
    let timings = Timings { stop_ms: spans.call_ms, stop_identity_ms: spans.identity_ms, ..after.timings };
    let verification = server.admin.audit_verify().await?;
    (audit.verified, audit.size) = (verification.verified, verification.size);
    let mut report = Report { before, after: after.telling, stopped, audit, timings, ..Report::default() };
    report.judge();
    Ok(Played { report, refusals, stage: after.stage })
}

impl Played {
    /// Whether every promise of the story was kept, and those that were not.
    pub(crate) fn verdict(&self) -> (bool, &[&'static str]) {
        (self.report.ok, &self.report.failed)
    }

    /// The whole report, for programs.
    pub(crate) fn report(&self) -> &impl serde::Serialize {
        &self.report
    }

    /// The table and the evidence, for people.
    pub(crate) fn text(&self, screen: &Screen) -> String {
        let audit = &self.report.audit;
        let cause = audit.comment_caused_by.as_ref().map_or_else(String::new, |cause| {
            format!(
                "Which person's request caused the comment? Token {} was Riley's mandate: sub={} act={}\n",
                cause.jti, cause.sub, cause.act
            )
        });
        format!(
            "\nThe same mail, and the same agent, which obeys every mail:\n\n{}\n\nWhat the audit log ({} records, verified: {}) says about the refusals before the agent was stopped:\n\n{}\n\n{cause}",
            self.report.side_by_side(screen),
            audit.size,
            audit.verified,
            report::evidence(screen, &self.refusals),
        )
    }

    /// Where everything is, for a user who wants to inspect it: commands that work as they are printed, even
    /// if this program is not in `PATH`.
    pub(crate) fn addresses(&self, program: &Path) -> String {
        let Stage { server, node, crm, root } = &self.stage;
        let (mandate, dir, socket) = (quoted(program), quoted(&server.dir), quoted(&node.socket));
        format!(
            "Everything still runs; Ctrl-C ends it.\n\n  issuer         {issuer}\n  CRM            {}\n  Workload API   {}\n  server dir     {}\n  Riley's password is in {}\n\nLook around from another terminal:\n\n  {mandate} get agents --dir {dir}\n  {mandate} audit query --outcome refused --dir {dir}\n  {mandate} audit verify --dir {dir}\n  {mandate} agent suspend {AGENT} --dir {dir}\n  {mandate} svid fetch --socket {socket} --audience {issuer}",
            crm.url,
            node.socket.display(),
            server.dir.display(),
            root.join("riley-password").display(),
            issuer = server.issuer,
        )
    }
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '+' | ':' | '@' | '%');
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// The scripted agent's own process.
pub(crate) async fn run_agent(orders: &[u8]) -> Result<String, DemoError> {
    let orders = serde_json::from_slice(orders).map_err(|error| DemoError::start("the agent", error))?;
    let deeds = agent::run(orders).await?;
    serde_json::to_string(&deeds).map_err(|error| DemoError::start("the agent", error))
}

#[cfg(test)]
mod tests {
    use super::quoted;
    use std::path::Path;

    #[test]
    fn a_path_is_one_word_of_a_shell_whatever_it_holds() {
        assert_eq!(quoted(Path::new("/tmp/mandate-demo-1/server")), "/tmp/mandate-demo-1/server");
        assert_eq!(quoted(Path::new("/home/it's me/mandate")), "'/home/it'\\''s me/mandate'");
    }
}
