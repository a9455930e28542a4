//! `mandate demo`: the story, played twice with an agent that obeys whatever the mail says.

mod agent;
mod error;
mod http;
mod login;
mod report;
mod stage;

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use mandate_api::admin::{ApplyRequest, AuditQuery, PasswordRequest, RevocationRequest, RevocationTarget};
use mandate_api::proto::workload::{Jwtsvid, JwtsvidRequest};
use mandate_api::registry_file;
use mandate_core::{Entropy, Secret};

pub(crate) use error::DemoError;

use crate::screen::Screen;
use agent::{Deeds, Orders};
use http::Http;
use report::{Cause, Evidence, Report, Telling, Timings};
use stage::{Bound, ControlPlane, Crm, Node};

/// The case whose mail hides the orders.
const CASE: u32 = 3;
const CLIENT: &str = "support-app";
const CALLBACK: &str = "http://127.0.0.1:9200/callback";
const AGENT: &str = "support-agent";

/// How long a stopped agent may go on before the demo calls it a failure.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// The story's registry. The agent is whatever process of this user runs this program.
fn registry(crm: &str, program: &Path, uid: u32) -> String {
    let program = program.display();
    format!(
        r#"[[resource]]
name   = "crm"
uri    = "{crm}"
scopes = ["read:cases", "write:case_comments", "write:opportunities", "send:mail"]
tools  = [
  {{ name = "close_opportunity", scope = "write:opportunities", destructive = true }},
  {{ name = "send_mail", scope = "send:mail", egress = true }},
]

[[person]]
name = "riley"
may  = [{{ resource = "crm", scopes = ["read:cases", "write:case_comments", "write:opportunities", "send:mail"] }}]

[[agent]]
name      = "{AGENT}"
owner     = "riley"
purpose   = "Works on support cases"
selectors = ["unix:uid:{uid}", "unix:path:{program}"]
ceiling   = [{{ resource = "crm", scopes = ["read:cases", "write:case_comments"] }}]

[[grant]]
person   = "riley"
agent    = "{AGENT}"
resource = "crm"
scopes   = ["read:cases", "write:case_comments"]
expires  = "1h"
max_uses = 500

[[client]]
id            = "{CLIENT}"
redirect_uris = ["{CALLBACK}"]
"#
    )
}

/// A JWT-SVID for the issuer alone, by the Workload API, as `mandate svid fetch` does it.
async fn fetch_svid(socket: &Path, audience: &str) -> Result<Jwtsvid, DemoError> {
    let request = JwtsvidRequest { audience: vec![audience.to_owned()], spiffe_id: String::new() };
    let fetched = crate::command::svid::ask(socket.to_owned(), request).await;
    fetched.map_err(|failure| DemoError::Workload(failure.text().trim().to_owned()))
}

fn random_text(entropy: &dyn Entropy) -> String {
    let mut bytes = [0u8; 24];
    entropy.fill(&mut bytes);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn write_secret(path: &Path, text: &str) -> Result<(), DemoError> {
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|source| DemoError::file(path, source))
}

/// What remains when the story has been told: everything still runs.
pub(crate) struct Stage {
    server: ControlPlane,
    node: Node,
    crm: Crm,
    root: PathBuf,
}

/// The story, played and judged.
pub(crate) struct Played {
    report: Report,
    refusals: Vec<mandate_api::admin::AuditRecord>,
    stage: Stage,
}

async fn before(root: &Path, entropy: &dyn Entropy) -> Result<Telling, DemoError> {
    let key_file = root.join("crm-shared-key");
    write_secret(&key_file, &random_text(entropy))?;
    let crm = Crm::with_shared_key(root, &key_file).await?;
    let deeds = stage::play(&Orders::SharedKey { crm: crm.url.clone(), key_file, case: CASE }).await?;
    telling(&crm, &deeds)
}

fn telling(crm: &Crm, deeds: &Deeds) -> Result<Telling, DemoError> {
    let seen = mandate_crm::inspect(&crm.database)?;
    let refused_by = |whom: &str| deeds.attempts.iter().filter(|a| a.refusals.iter().any(|text| text.starts_with(whom))).count();
    // Who changed something, as the resource itself recorded it.
    let mut attributed_to: Vec<String> = seen
        .calls
        .iter()
        .filter(|call| call.method == "POST" && call.decision != "refused")
        .filter_map(|call| Some(format!("{} by {}", call.sub.as_deref()?, call.act.as_deref()?.rsplit('/').next()?)))
        .collect();
    attributed_to.sort();
    attributed_to.dedup();
    Ok(Telling {
        task_done: deeds.task_done && seen.comments == 1,
        opportunities_closed: seen.closed(),
        mails_sent: seen.outbox.len(),
        refused_by_mandate: refused_by("the token endpoint"),
        refused_by_crm: refused_by("the CRM"),
        attributed_to,
    })
}

struct After {
    telling: Telling,
    deeds: Deeds,
    stage: Stage,
    timings: Timings,
    worked_with: Option<String>,
}

async fn after(root: &Path, entropy: &dyn Entropy) -> Result<After, DemoError> {
    let server = ControlPlane::start(root).await?;
    let node = Node::start(root, &server).await?;
    let bound: Bound = Crm::bind().await?;
    let program = std::env::current_exe().and_then(std::fs::canonicalize).map_err(|error| DemoError::start("this program", error))?;
    let text = registry(&bound.url, &program, rustix::process::getuid().as_raw());
    let file = registry_file::parse(&text).map_err(|error| DemoError::Registry(error.to_string()))?;
    let began = Instant::now();
    server.admin.apply(&ApplyRequest { entries: file, prune: false, dry_run: false }).await?;
    let apply_ms = began.elapsed().as_secs_f64() * 1e3;
    write_secret(&root.join("registry.toml"), &text)?;
    let password = random_text(entropy);
    write_secret(&root.join("riley-password"), &password)?;
    server.admin.set_password("riley", &PasswordRequest { password: password.clone() }).await?;
    let (crm, _verifier) = bound.with_mandate(root, &server.issuer).await?;

    let riley = login::log_in(&server.issuer, CLIENT, CALLBACK, "riley", &Secret::new(password), entropy).await?;
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
    let comment = seen.calls.iter().find(|call| call.path.ends_with("/comments") && call.decision != "refused");
    let worked_with = comment.and_then(|call| call.jti.clone());
    let timings = Timings {
        serve_ready_ms: server.start_ms(),
        node_ready_ms: node.start_ms(),
        apply_ms,
        svid_ms: deeds.svid_ms.unwrap_or_default(),
        exchange_ms: deeds.exchange_ms.unwrap_or_default(),
        stop_ms: stop(&server, &crm, &node, &riley).await?,
    };
    Ok(After { telling, deeds, stage: Stage { server, node, crm, root: root.to_owned() }, timings, worked_with })
}

/// Gives the agent a fresh token, stops the agent, and measures until the CRM refuses that token. Zero: it never did.
async fn stop(server: &ControlPlane, crm: &Crm, node: &Node, riley: &Secret) -> Result<f64, DemoError> {
    let token = agent_token(server, crm, node, riley).await?;
    let http = Http::new()?;
    let url = format!("{}/cases/{CASE}", crm.url);
    if !http.get(&url, Some(&token)).await?.is_success() {
        return Ok(0.0);
    }
    let name = AGENT.parse().map_err(|_| DemoError::Registry(AGENT.to_owned()))?;
    let began = Instant::now();
    server.admin.revoke(&RevocationRequest { target: RevocationTarget::Agent(name) }).await?;
    while began.elapsed() < STOP_PATIENCE {
        if http.get(&url, Some(&token)).await?.status == 401 {
            return Ok(began.elapsed().as_secs_f64() * 1e3);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(0.0)
}

async fn agent_token(server: &ControlPlane, crm: &Crm, node: &Node, riley: &Secret) -> Result<Secret, DemoError> {
    // This process runs the same program as the same user, so the node attests it as the agent too.
    let svid = fetch_svid(&node.socket, &server.issuer).await?;
    let exchange = agent::Exchange::new(&server.issuer, &crm.url, Secret::new(svid.svid), riley.clone())?;
    let reply = exchange.ask("read:cases").await?;
    reply.text_member("access_token").map(Secret::new).ok_or_else(|| DemoError::unexpected("the exchange", &reply))
}

async fn audit(after: &After) -> Result<(Evidence, Vec<mandate_api::admin::AuditRecord>), DemoError> {
    let admin = &after.stage.server.admin;
    let verification = admin.audit_verify().await?;
    let refused =
        AuditQuery { agent: Some(AGENT.to_owned()), outcome: Some("refused".to_owned()), limit: Some(1000), ..AuditQuery::default() };
    let refusals = admin.audit_records(&refused).await?;
    let own = after.deeds.spiffe_id.as_deref();
    let names_both = |record: &&mandate_api::admin::AuditRecord| {
        record.sub.as_deref() == Some("riley") && record.act.as_ref().map(|act| act.actor.sub.as_str()) == own && own.is_some()
    };
    let cause = match &after.worked_with {
        None => None,
        Some(jti) => {
            admin.audit_records(&AuditQuery { jti: Some(jti.clone()), ..AuditQuery::default() }).await?.first().and_then(|record| {
                let (sub, act) = (record.sub.clone()?, record.act.as_ref()?.actor.sub.clone());
                Some(Cause { sub, act, jti: jti.clone(), record: record.id.clone() })
            })
        }
    };
    let evidence = Evidence {
        verified: verification.verified,
        size: verification.size,
        refusals_with_both_names: refusals.iter().filter(names_both).count(),
        comment_caused_by: cause,
    };
    Ok((evidence, refusals))
}

/// Plays the story twice in `root` and judges it.
pub(crate) async fn play(root: &Path, entropy: &dyn Entropy, say: impl Fn(&str)) -> Result<Played, DemoError> {
    say("1/3  With one shared key: the agent holds the key of a service account …");
    let before = before(root, entropy).await?;
    say("2/3  With Mandate: the agent has an identity of its own and acts for Riley …");
    let after = after(root, entropy).await?;
    say("3/3  The audit log …");
    let (evidence, refusals) = audit(&after).await?;
    let mut report = Report { before, after: after.telling, audit: evidence, timings: after.timings, ..Report::default() };
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
        let shown = self.refusals.get(..self.refusals.len().min(6)).unwrap_or_default();
        format!(
            "\nThe same mail, the same agent, which obeys whatever the mail says:\n\n{}\n\nThe audit log ({} records, verified: {}), newest refusals first, {} of {}:\n\n{}\n\n{cause}",
            self.report.side_by_side(screen),
            audit.size,
            audit.verified,
            shown.len(),
            self.refusals.len(),
            report::evidence(screen, shown),
        )
    }

    /// Where everything is, for those who want to look around.
    pub(crate) fn addresses(&self) -> String {
        let Stage { server, node, crm, root } = &self.stage;
        let dir = server.dir.display();
        format!(
            "Everything still runs; Ctrl-C ends it.\n\n  issuer         {}\n  CRM            {}\n  Workload API   {}\n  server dir     {dir}\n  Riley's password is in {}\n\nLook around from another terminal:\n\n  mandate get agents --dir {dir}\n  mandate audit query --outcome refused --dir {dir}\n  mandate audit verify --dir {dir}\n  mandate svid fetch --socket {} --audience {}",
            server.issuer,
            crm.url,
            node.socket.display(),
            root.join("riley-password").display(),
            node.socket.display(),
            server.issuer,
        )
    }
}

/// The scripted agent's own process.
pub(crate) async fn run_agent(orders: &[u8]) -> Result<String, DemoError> {
    let orders = serde_json::from_slice(orders).map_err(|error| DemoError::start("the agent", error))?;
    let deeds = agent::run(orders).await?;
    serde_json::to_string(&deeds).map_err(|error| DemoError::start("the agent", error))
}
