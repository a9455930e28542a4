//! Taking authority away while the disk is full, while the database is locked, and over the end of the
//! server.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mandate_api::admin::{ApplyRequest, AuditQuery, ClientSecretRequest, NodeState, problem_code};
use mandate_core::registry::EntryKind;
use mandate_testkit::app::{Answer, CLIENT_SECRET, CRM, FormPairs, fetch_svid, form, registry};
use mandate_testkit::database::OF_FILES;
use mandate_testkit::held_database::HeldDatabase;
use mandate_testkit::skipped;
use mandate_testkit::small_disk::SmallDisk;
use rusqlite::Connection;
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

use crate::processes::{Ran, Role, Server, keeps_files, run, run_into, unwritable};
use crate::strangers::percent;

/// The story, and an exchange of `support-agent` that succeeds.
async fn story(server: &Server, root: &Path) -> FormPairs {
    server.tell_the_story().await;
    let form = server.an_exchange(&root.join("node")).await;
    assert_eq!(server.app.token(&form).await.status, 200);
    form
}

/// From now on `desk-app` is told of tokens for the CRM. That needs no record, so it shows what is in force.
async fn let_the_crm_ask(server: &Server) {
    let crm = format!(
        "[[resource]]\nname = \"crm\"\nuri = \"{CRM}\"\nscopes = [\"read:cases\", \"write:case_comments\", \"send:mail\"]\nclient = \"desk-app\"\n"
    );
    let entries = mandate_api::registry_file::parse(&crm).unwrap();
    server.admin.apply(&ApplyRequest { entries, prune: false, dry_run: false }).await.unwrap();
    server
        .admin
        .set_client_secret("desk-app", &ClientSecretRequest { secret: CLIENT_SECRET.to_owned() })
        .await
        .unwrap();
}

/// What the CRM is told of a token.
async fn is_active(server: &Server, token: &str) -> bool {
    let asked = server
        .app
        .http
        .post(format!("{}/introspect", server.app.issuer))
        .basic_auth("desk-app", Some(percent(CLIENT_SECRET)));
    let answer = Answer::of(asked.form(&form(&[("token", token)])).send().await.unwrap()).await;
    answer.json()["active"].as_bool().unwrap_or_else(|| panic!("{answer:?}"))
}

fn mandate(server: &Server, arguments: &[&str]) -> Ran {
    run(&[arguments, &["--dir", &server.dir.to_string_lossy()]].concat())
}

/// No file of the server may grow beyond this many bytes; a file that already has this length cannot be
/// written at its end.
fn limit_files(server: &Server, bytes: u64) {
    let limited = Rlimit { current: Some(bytes), maximum: getrlimit(Resource::Fsize).maximum };
    prlimit(Some(server.role.pid()), Resource::Fsize, limited).unwrap();
}

fn lift(server: &Server) {
    prlimit(Some(server.role.pid()), Resource::Fsize, getrlimit(Resource::Fsize)).unwrap();
}

/// Exchanges until the log has no room left.
async fn until_nothing_fits(server: &Server, form: &FormPairs) {
    for _ in 0..5_000 {
        if server.app.token(form).await.status == 503 {
            return;
        }
    }
    panic!("a disk without room refuses at last");
}

async fn problems(server: &Server) -> Vec<String> {
    server.admin.status().await.unwrap().problems.into_iter().map(|problem| problem.code).collect()
}

async fn is_recorded(server: &Server, detail: &str) -> bool {
    is_recorded_as(server, "registry", detail).await
}

async fn is_recorded_as(server: &Server, kind: &str, detail: &str) -> bool {
    let query = AuditQuery { kind: Some(kind.to_owned()), ..AuditQuery::default() };
    let found = server.admin.audit_records(&query).await.unwrap();
    let count = found
        .iter()
        .filter(|record| record.detail.as_deref().is_some_and(|text| text.contains(detail)))
        .count();
    assert!(count < 2, "{found:?}");
    count == 1
}

const SUSPENDED: &str = "changed agent support-agent (state)";

async fn until_recorded(server: &Server) {
    until_recorded_as(server, "registry", SUSPENDED).await;
}

async fn until_recorded_as(server: &Server, kind: &str, detail: &str) {
    let begun = Instant::now();
    while !is_recorded_as(server, kind, detail).await {
        assert!(begun.elapsed() < Duration::from_secs(20), "it was never recorded");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn until_nothing_waits(server: &Server) {
    let begun = Instant::now();
    let waits = [problem_code::DISK_RESERVE.to_owned(), problem_code::UNRECORDED_STOPS.to_owned()];
    while problems(server).await.iter().any(|code| waits.contains(code)) {
        assert!(begun.elapsed() < Duration::from_secs(20), "something still waits for the log");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_disk_is_full_an_agent_is_stopped_at_once_and_its_record_waits_in_the_reserve() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    let form = story(&server, root.path()).await;
    let_the_crm_ask(&server).await;
    let agents = server.app.token(&form).await.member("access_token");
    let rileys = server.app.person_token("riley", Some(CRM), Some("read:cases")).await;
    assert!(is_active(&server, &agents).await && is_active(&server, &rileys).await);
    let wal = fs::metadata(server.dir.join("mandate.db-wal")).unwrap().len();
    limit_files(&server, wal + 64 * 1024);
    until_nothing_fits(&server, &form).await;

    let ran = mandate(&server, &["agent", "suspend", "support-agent"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("now suspended"), "{}", ran.out);
    assert!(ran.err.contains("reserve") && ran.err.contains("next: mandate status"), "{}", ran.err);
    assert!(problems(&server).await.contains(&problem_code::DISK_RESERVE.to_owned()));
    assert!(!is_recorded(&server, SUSPENDED).await);
    assert!(!is_active(&server, &agents).await, "it is in force although nothing can be recorded");
    assert!(is_active(&server, &rileys).await, "the person is not stopped");
    // Not one more token, though the log cannot say why.
    assert_eq!(server.app.token(&form).await.status, 503);
    let ran = mandate(&server, &["revoke", "person", "riley", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.out.contains("\"recorded\": \"reserve\"") || ran.out.contains("\"recorded\":\"reserve\""),
        "{}",
        ran.out
    );
    assert!(!is_active(&server, &rileys).await, "the person is stopped at once, too");
    let ran = mandate(&server, &["person", "disable", "riley"]);
    assert!(ran.code == Some(0) && ran.out.contains("riley is now disabled"), "{}{}", ran.out, ran.err);
    // What gives authority does not go this way.
    let ran = mandate(&server, &["agent", "activate", "support-agent"]);
    assert_eq!(ran.code, Some(1), "{}{}", ran.out, ran.err);

    lift(&server);
    until_recorded(&server).await;
    until_nothing_waits(&server).await;
    let refused = server.app.token(&form).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    for undone in [["agent", "activate", "support-agent"], ["person", "enable", "riley"]] {
        assert_eq!(mandate(&server, &undone).code, Some(0));
    }
    server.verify_the_log();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_log_had_it_a_stop_is_in_force_before_the_next_start_serves() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let mut server = Server::start(&dir);
    let form = story(&server, root.path()).await;
    let wal = fs::metadata(server.dir.join("mandate.db-wal")).unwrap().len();
    limit_files(&server, wal + 64 * 1024);
    until_nothing_fits(&server, &form).await;
    assert_eq!(mandate(&server, &["agent", "suspend", "support-agent"]).code, Some(0));
    server.role.kill();

    let server = Server::start(&dir);
    let refused = server.app.token(&form).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    until_recorded(&server).await;
    let state = server.admin.entry(EntryKind::Agent, "support-agent").await.unwrap();
    assert!(format!("{state:?}").contains("Suspended"), "{state:?}");
    server.verify_the_log();
    drop(server);
    // And it is recorded once, however often the server starts.
    let server = Server::start(&dir);
    assert!(is_recorded(&server, SUSPENDED).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_written_a_stop_is_in_force_and_the_command_says_that_it_is_not_recorded() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let server = Server::start(&dir);
    let form = story(&server, root.path()).await;
    let_the_crm_ask(&server).await;
    let agents = server.app.token(&form).await.member("access_token");
    assert!(is_active(&server, &agents).await);
    // Not even the reserve, whose space is there, may be written.
    limit_files(&server, 0);
    let ran = mandate(&server, &["agent", "suspend", "support-agent"]);
    assert_eq!(ran.code, Some(6), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("now suspended"), "{}", ran.out);
    assert!(
        ran.err.contains("in force, and not yet recorded") && ran.err.contains("next: mandate status"),
        "{}",
        ran.err
    );
    assert!(!is_active(&server, &agents).await, "it is in force as the command says");
    let ran = mandate(&server, &["revoke", "agent", "support-agent", "--json"]);
    assert_eq!(ran.code, Some(6), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("\"unrecorded\"") && ran.out.contains("not_yet"), "{}{}", ran.out, ran.err);
    assert!(problems(&server).await.contains(&problem_code::UNRECORDED_STOPS.to_owned()));
    let checked = mandate(&server, &["status", "--check"]);
    assert_eq!(checked.code, Some(5), "{}", checked.out);
    assert!(checked.out.contains("not yet recorded"), "{}", checked.out);
    assert_ne!(server.app.token(&form).await.status, 200);

    lift(&server);
    until_recorded(&server).await;
    until_nothing_waits(&server).await;
    assert_eq!(server.app.token(&form).await.status, 400);
    server.verify_the_log();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stop_goes_into_the_reserve_once_that_can_be_written_though_the_log_still_cannot() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    server.tell_the_story().await;
    let held = HeldDatabase::in_dir(&server.dir);
    limit_files(&server, 0);
    for agent in ["support-agent", "ops-agent"] {
        let ran = mandate(&server, &["agent", "suspend", agent]);
        assert_eq!(ran.code, Some(6), "{agent}: {}{}", ran.out, ran.err);
    }
    lift(&server);
    let both_are_kept = || {
        let reserve = fs::read(server.dir.join("stops.reserve")).unwrap();
        let text = String::from_utf8_lossy(&reserve);
        text.contains("changed agent support-agent") && text.contains("changed agent ops-agent")
    };
    let begun = Instant::now();
    while !both_are_kept() {
        assert!(begun.elapsed() < Duration::from_secs(20), "one is not in the reserve");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        problems(&server).await.contains(&problem_code::DISK_RESERVE.to_owned()),
        "both wait for the log there"
    );
    held.let_go();
    until_nothing_waits(&server).await;
    server.verify_the_log();
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_stop_is_not_recorded_is_told_also_where_standard_output_cannot_be_written() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    let joined = Joined::to(&server, root.path()).await;
    let dir = server.dir.to_string_lossy().into_owned();
    let stops = root.path().join("stops.toml");
    let story = registry(CRM, rustix::process::getuid().as_raw());
    let suspended =
        story.replacen("name = \"support-agent\"\n", "name = \"support-agent\"\nstate = \"suspended\"\n", 1);
    assert_ne!(suspended, story);
    fs::write(&stops, suspended).unwrap();
    let stops = stops.to_string_lossy();
    limit_files(&server, 0);
    // Each takes something away that nothing before it has taken.
    for [on_a_full_disk, to_nobody] in [
        [&["apply", "-f", &stops][..], &["agent", "suspend", "ops-agent"]],
        [&["person", "disable", "riley"], &["person", "disable", "olga"]],
        [&["revoke", "agent", "support-agent"], &["node", "ban", &joined.name]],
    ] {
        for ((output, out), arguments) in unwritable().into_iter().zip([on_a_full_disk, to_nobody]) {
            let ran = run_into(out, &[arguments, &["--dir", &dir]].concat());
            assert_eq!(ran.code, Some(6), "{arguments:?} {output}: {}", ran.err);
            assert!(
                ran.err.contains("in force, and not yet recorded"),
                "{arguments:?} {output}: {}",
                ran.err
            );
        }
    }
    for (output, out) in unwritable() {
        let ran = run_into(out, &["status", "--check", "--dir", &dir]);
        assert_eq!(ran.code, Some(5), "{output}: {}", ran.err);
    }
    lift(&server);
    until_nothing_waits(&server).await;
    // What is recorded is done; whether it was printed is another matter.
    for (output, out) in unwritable() {
        let ran = run_into(out, &["revoke", "person", "riley", "--dir", &dir]);
        assert_eq!(ran.code, Some(i32::from(output == "full")), "{output}: {}", ran.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unrecorded_stop_ends_with_the_process_as_the_command_says() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let mut server = Server::start(&dir);
    let form = story(&server, root.path()).await;
    limit_files(&server, 0);
    assert_eq!(mandate(&server, &["agent", "suspend", "support-agent"]).code, Some(6));
    server.role.kill();
    let server = Server::start(&dir);
    assert_eq!(server.app.token(&form).await.status, 200);
    assert!(!is_recorded(&server, SUSPENDED).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_stops_no_stop() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    let form = story(&server, root.path()).await;
    let_the_crm_ask(&server).await;
    let agents = server.app.token(&form).await.member("access_token");
    assert!(is_active(&server, &agents).await);
    let held = HeldDatabase::in_dir(&server.dir);
    let begun = Instant::now();
    let ran = mandate(&server, &["agent", "suspend", "support-agent"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("reserve"), "{}", ran.err);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(!is_active(&server, &agents).await, "it is in force although nothing can be recorded");
    assert_ne!(server.app.token(&form).await.status, 200);
    held.let_go();
    // What gives comes behind it in the log, also where the server has not tried again yet.
    let entries = mandate_api::registry_file::parse(
        "[[resource]]\nname = \"wiki\"\nuri = \"https://wiki.acme.example\"",
    )
    .unwrap();
    server.admin.apply(&ApplyRequest { entries, prune: false, dry_run: false }).await.unwrap();
    let query = AuditQuery { kind: Some("registry".to_owned()), limit: Some(2), ..AuditQuery::default() };
    let newest: Vec<_> = server
        .admin
        .audit_records(&query)
        .await
        .unwrap()
        .into_iter()
        .filter_map(|record| record.detail)
        .collect();
    assert_eq!(newest, ["created resource wiki", SUSPENDED]);
    assert_eq!(server.app.token(&form).await.status, 400);
}

/// The program that closes a database last removes its write-ahead log, which the server would miss: a reader
/// stays.
fn staying_reader(dir: &Path) -> Option<Connection> {
    let file = keeps_files().then(|| dir.join("mandate.db"))?;
    let reader = Connection::open(file).unwrap();
    reader.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).unwrap();
    Some(reader)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_waits_for_a_held_database_is_in_force_after_a_kill() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let mut server = Server::start(&dir);
    let form = story(&server, root.path()).await;
    let_the_crm_ask(&server).await;
    let agents = server.app.token(&form).await.member("access_token");
    let held = HeldDatabase::in_dir(&dir);
    let ran = mandate(&server, &["agent", "suspend", "support-agent"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("reserve"), "{}", ran.err);
    server.role.kill();
    let reader = staying_reader(&dir);
    held.let_go();
    let server = Server::start(&dir);
    drop(reader);
    assert!(!is_active(&server, &agents).await);
    assert_ne!(server.app.token(&form).await.status, 200);
    until_recorded(&server).await;
    server.verify_the_log();
}

/// A node that has joined, and serves this process.
struct Joined {
    node: Role,
    socket: PathBuf,
    dir: PathBuf,
    name: String,
}

impl Joined {
    async fn to(server: &Server, root: &Path) -> Self {
        server.tell_the_story().await;
        let dir = root.join("node");
        let (node, socket) = server.node(&dir).await;
        let nodes = server.admin.nodes().await.unwrap();
        let [ours] = nodes.as_slice() else { panic!("{nodes:?}") };
        let joined = Self { node, socket, dir, name: ours.name.clone() };
        assert!(joined.serves(server).await);
        joined
    }

    async fn serves(&self, server: &Server) -> bool {
        fetch_svid(&self.socket, "spiffe://acme.example/agent/support-agent", &server.app.issuer)
            .await
            .is_ok()
    }

    /// What a ban does to it at once: the identities that it holds are not given out any more.
    async fn is_stopped(&self, server: &Server) {
        let begun = Instant::now();
        while self.serves(server).await {
            assert!(begun.elapsed() < Duration::from_secs(2), "a banned node still serves");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.node.says("the server refuses this node");
        let nodes = server.admin.nodes().await.unwrap();
        assert_eq!((&nodes[0].name, nodes[0].state), (&self.name, NodeState::Banned));
    }

    /// How the same node fares when it is started again.
    fn starts_again(mut self, server: &Server) -> Role {
        self.node.kill();
        let (dir, socket, address) =
            (self.dir.to_string_lossy(), self.socket.to_string_lossy(), server.role.text("node_server"));
        let log = self.dir.with_extension("log");
        let arguments = ["node", "run", "--dir", &dir, "--server", &address, "--socket", &socket];
        Role::unready(&log, &arguments)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_does_not_keep_a_node_from_being_banned_and_the_ban_outlasts_the_server() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let mut server = Server::start(&dir);
    let joined = Joined::to(&server, root.path()).await;
    let held = HeldDatabase::in_dir(&dir);
    let begun = Instant::now();
    let ran = mandate(&server, &["node", "ban", &joined.name]);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains(&format!("{} is banned", joined.name)), "{}", ran.out);
    assert!(
        ran.err.contains("the record is in the reserve") && ran.err.contains("next: mandate status"),
        "{}",
        ran.err
    );
    joined.is_stopped(&server).await;
    // What would let another one in waits for the database.
    let ran = mandate(&server, &["node", "join-token"]);
    assert!(ran.code == Some(1) && ran.out.is_empty(), "{}{}", ran.out, ran.err);
    server.role.kill();
    let reader = staying_reader(&dir);
    held.let_go();

    let server = Server::start(&dir);
    drop(reader);
    let nodes = server.admin.nodes().await.unwrap();
    assert_eq!(
        (&nodes[0].name, nodes[0].state),
        (&joined.name, NodeState::Banned),
        "before anything is served"
    );
    let detail = format!("banned node {}", joined.name);
    until_recorded_as(&server, "node", &detail).await;
    joined.starts_again(&server).says("the server refuses this node");
    server.verify_the_log();
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_written_a_node_is_banned_and_the_command_says_that_it_is_not_recorded() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    let joined = Joined::to(&server, root.path()).await;
    limit_files(&server, 0);
    let ran = mandate(&server, &["node", "ban", &joined.name]);
    assert_eq!(ran.code, Some(6), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains(&format!("{} is banned", joined.name)), "{}", ran.out);
    assert!(
        ran.err.contains("in force, and not yet recorded") && ran.err.contains("next: mandate status"),
        "{}",
        ran.err
    );
    joined.is_stopped(&server).await;
    assert!(problems(&server).await.contains(&problem_code::UNRECORDED_STOPS.to_owned()));
    lift(&server);
    until_recorded_as(&server, "node", &format!("banned node {}", joined.name)).await;
    until_nothing_waits(&server).await;
    server.verify_the_log();
}

/// A disk that is really full: what a limit on files cannot show is whether writing in place needs new space.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_a_stop_outlasts_the_server_and_the_server_starts() {
    if !keeps_files() {
        return skipped(OF_FILES);
    }
    let root = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&root.path().join("disk")) else {
        skipped("this user may not mount a file system");
        return;
    };
    let dir = disk.path().join("server");
    let mut server = Server::start(&dir);
    let form = story(&server, root.path()).await;
    let_the_crm_ask(&server).await;
    let agents = server.app.token(&form).await.member("access_token");
    assert!(is_active(&server, &agents).await);
    // More records than there are free pages in the file: the next start cannot move them there, so nothing
    // fits then either.
    for _ in 0..60 {
        assert_eq!(server.app.token(&form).await.status, 200);
    }
    let ballast = disk.fill();
    until_nothing_fits(&server, &form).await;
    let ran = mandate(&server, &["agent", "suspend", "support-agent"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.err, server.role.log());
    assert!(ran.err.contains("reserve"), "{}", ran.err);
    assert!(!is_active(&server, &agents).await, "it is in force although nothing can be recorded");
    server.role.kill();
    let server = Server::start(&dir);
    assert!(!is_active(&server, &agents).await, "and from the start on");
    assert_ne!(server.app.token(&form).await.status, 200);
    // After a start the write-ahead log may begin again, and then the record has room in it.
    let told = problems(&server).await.contains(&problem_code::DISK_RESERVE.to_owned());
    assert!(told || is_recorded(&server, SUSPENDED).await);
    fs::remove_file(ballast).unwrap();
    until_recorded(&server).await;
    assert_eq!(server.app.token(&form).await.status, 400);
    server.verify_the_log();
    drop(server);
}
