//! Another process holds the server's database: a request for a change is refused within two seconds and told
//! when to try again, and work goes on without a restart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mandate_api::admin::{
    AgentStateRequest, ApplyRequest, ApplyResponse, JoinTokenRequest, PasswordRequest, PersonStateRequest,
    RegistryItem,
};
use mandate_api::registry_file::AgentItem;
use mandate_api::{ClientError, RegistryFile};
use mandate_core::registry::{AgentState, EntryKind};
use mandate_testkit::app::{Answer, CRM, PASSWORD, authorization, fetch_svid, redemption};
use mandate_testkit::held_database::HeldDatabase;
use reqwest::Method;
use serde_json::{Value, json};

use crate::processes::Server;

const PATIENCE: Duration = Duration::from_secs(2);

async fn code(server: &Server) -> String {
    let page = server.app.open(&authorization(None, None)).await;
    let back = server.app.log_in(&page, "riley", PASSWORD).await;
    let back = url::Url::parse(back.header("location")).unwrap();
    back.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned()
}

fn says_when_to_try_again(what: &str, answer: &Answer, begun: Instant) {
    assert!(begun.elapsed() < PATIENCE, "{what} took {:?}", begun.elapsed());
    assert_eq!(answer.status, 503, "{what}: {answer:?}");
    assert!(answer.header("retry-after").parse::<u32>().unwrap() > 0, "{what}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_refuses_in_time_on_every_wire_and_work_goes_on_afterwards() {
    let root = tempfile::tempdir().unwrap();
    let mut server = Server::start(&root.path().join("server"));
    server.tell_the_story().await;
    server.admin.set_password("olga", &PasswordRequest { password: PASSWORD.to_owned() }).await.unwrap();
    let admin_token = server.app.person_token("olga", Some(&server.app.issuer), Some("mandate:admin")).await;
    let exchange = server.an_exchange(&root.path().join("node")).await;
    let (mandate, code) = (server.app.token(&exchange).await.member("access_token"), code(&server).await);
    let redemption = redemption(&code);
    let login = server.app.open(&authorization(None, None)).await;
    let issuer =
        |audience: &str| json!({"issuer": [{"url": "https://login.acme.example", "audience": audience}]});
    let entries = serde_json::from_value(issuer("https://mandate.acme.example")).unwrap();
    server.admin.apply(&ApplyRequest { entries, prune: false, dry_run: false }).await.unwrap();

    let held = HeldDatabase::in_dir(&server.dir);
    for (what, parameters) in [("an exchange", &exchange), ("a code", &redemption)] {
        let begun = Instant::now();
        let answer = server.app.token(parameters).await;
        says_when_to_try_again(what, &answer, begun);
        assert_eq!(answer.error(), "503 temporarily_unavailable", "{what}");
        assert!(answer.member("error_description").starts_with("audit_unavailable: "), "{what}: {answer:?}");
    }
    let begun = Instant::now();
    let revoked = server
        .app
        .http
        .post(format!("{}/revoke", server.app.issuer))
        .form(&[("token", &*mandate), ("client_id", "support-app")]);
    says_when_to_try_again("a revocation", &Answer::of(revoked.send().await.unwrap()).await, begun);
    let begun = Instant::now();
    let page = server.app.log_in(&login, "riley", PASSWORD).await;
    says_when_to_try_again("a login", &page, begun);

    let base = server.role.text("admin_url");
    let acts: [(&str, Value); 6] = [
        (
            "/v1/apply",
            json!({"entries": {"resource": [{"name": "wiki", "uri": "https://wiki.acme.example", "scopes": ["read:pages"]}]}}),
        ),
        ("/v1/apply", json!({"entries": issuer("https://other.acme.example")})),
        ("/v1/people/riley/password", json!({"password": "another password"})),
        ("/v1/clients/desk-app/secret", json!({"secret": "another secret of a client"})),
        ("/v1/join-tokens", json!({})),
        ("/v1/keys/rotate", json!({"purpose": "access-token"})),
    ];
    for (path, body) in &acts {
        let begun = Instant::now();
        let request = server
            .app
            .http
            .request(Method::POST, format!("{base}{path}"))
            .bearer_auth(&admin_token)
            .json(body);
        let answer = Answer::of(request.send().await.unwrap()).await;
        says_when_to_try_again(path, &answer, begun);
        let problem = answer.json();
        assert_eq!(problem["code"], "audit_unavailable", "{path}: {problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("another program may hold the database") && detail.contains("look whether"),
            "{path}: {detail}"
        );
    }
    // What takes authority away is in force, and its record in the reserve.
    let (begun, body) = (Instant::now(), json!({"target": {"kind": "agent", "id": "support-agent"}}));
    let request = server
        .app
        .http
        .request(Method::POST, format!("{base}/v1/revocations"))
        .bearer_auth(&admin_token)
        .json(&body);
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    assert_eq!((answer.status, &answer.json()["recorded"]), (200, &json!("reserve")), "{answer:?}");
    assert!(matches!(
        server.admin.join_token(&JoinTokenRequest::default()).await,
        Err(ClientError::Server(_))
    ));
    let database = async || {
        server.admin.status().await.unwrap().problems.into_iter().find(|problem| problem.code == "database")
    };
    let told = database().await.expect("reading goes on, and says what keeps the server from writing");
    assert!(told.detail.starts_with("another program held the database"), "{told:?}");

    held.let_go();
    assert_eq!(server.app.token(&exchange).await.status, 200);
    assert_eq!(server.app.token(&redemption).await.status, 200, "the code was not used up");
    assert_eq!(
        server.app.log_in(&server.app.open(&authorization(None, None)).await, "riley", PASSWORD).await.status,
        303
    );
    server.admin.join_token(&JoinTokenRequest::default()).await.unwrap();
    assert_eq!(database().await, None);
    assert!(server.role.is_running());
    server.verify_the_log();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_hears_in_time_that_its_identity_is_not_issued_while_the_database_is_held() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    server.tell_the_story().await;
    let (_node, socket) = server.node(&root.path().join("node")).await;
    let id = "spiffe://acme.example/agent/support-agent";
    let held = HeldDatabase::in_dir(&server.dir);
    for _ in 0..3 {
        let begun = Instant::now();
        let refused = fetch_svid(&socket, id, CRM).await.unwrap_err();
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        assert_eq!(
            (refused.code(), refused.message()),
            (tonic::Code::Unavailable, "the server did not issue the SVID; try again")
        );
    }
    held.let_go();
    fetch_svid(&socket, id, CRM).await.unwrap();
    server.verify_the_log();
}

/// Waits until the server has the request and waits for the database. Its patience is longer.
async fn under_way() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// How often a test tries again if this machine was too slow for the server's patience.
const TRIES: usize = 20;

async fn agent(server: &Server) -> AgentItem {
    match server.admin.entry(EntryKind::Agent, "support-agent").await.unwrap().item {
        RegistryItem::Agent(agent) => agent,
        other => panic!("{other:?}"),
    }
}

async fn is_disabled(server: &Server, person: &str) -> bool {
    match server.admin.entry(EntryKind::Person, person).await.unwrap().item {
        RegistryItem::Person(person) => person.disabled == Some(true),
        other => panic!("{other:?}"),
    }
}

async fn set_state(server: &Server, state: AgentState) -> ApplyResponse {
    server.admin.set_agent_state("support-agent", &AgentStateRequest { state }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_during_a_change_of_the_same_entry_outlives_the_change() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("server");
    let server = Arc::new(Server::start(&dir));
    server.tell_the_story().await;
    let mut changed = false;
    for _ in 0..TRIES {
        set_state(&server, AgentState::Active).await;
        let item = AgentItem { purpose: "another purpose".to_owned(), ..agent(&server).await };
        let entries = RegistryFile::from_items([RegistryItem::Agent(item)]);
        let held = HeldDatabase::in_dir(&server.dir);
        let admin = server.admin.clone();
        let change = tokio::spawn(async move {
            admin.apply(&ApplyRequest { entries, prune: false, dry_run: false }).await
        });
        under_way().await;
        let also = Arc::clone(&server);
        let stop = tokio::spawn(async move { set_state(&also, AgentState::Suspended).await });
        let begun = Instant::now();
        while agent(&server).await.state != Some(AgentState::Suspended) {
            assert!(begun.elapsed() < PATIENCE, "the stop is not in force");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        held.let_go();
        assert_eq!(stop.await.unwrap().changes.len(), 1);
        changed = change.await.unwrap().is_ok();
        if changed {
            break;
        }
    }
    assert!(changed);
    let is_both = |agent: AgentItem| {
        assert_eq!((agent.state, agent.purpose.as_str()), (Some(AgentState::Suspended), "another purpose"));
    };
    is_both(agent(&server).await);
    drop(server);
    is_both(agent(&Server::start(&dir)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_is_disabled_while_an_act_waits_for_the_database_does_not_make_it() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    server.tell_the_story().await;
    server.admin.set_password("olga", &PasswordRequest { password: PASSWORD.to_owned() }).await.unwrap();
    let base = server.role.text("admin_url");
    let mut statuses = Vec::new();
    for _ in 0..TRIES {
        server.admin.set_person_state("olga", &PersonStateRequest { disabled: false }).await.unwrap();
        let token = server.app.person_token("olga", Some(&server.app.issuer), Some("mandate:admin")).await;
        let held = HeldDatabase::in_dir(&server.dir);
        let acts = [
            (
                "/v1/apply",
                json!({"entries": {"resource": [{"name": "wiki", "uri": "https://wiki.acme.example", "scopes": ["read:pages"]}]}}),
            ),
            ("/v1/join-tokens", json!({})),
        ];
        let acts = acts.map(|(path, body)| {
            let request = server
                .app
                .http
                .request(Method::POST, format!("{base}{path}"))
                .bearer_auth(&token)
                .json(&body);
            tokio::spawn(async move { Answer::of(request.send().await.unwrap()).await.status })
        });
        under_way().await;
        let admin = server.admin.clone();
        let stop = tokio::spawn(async move {
            admin.set_person_state("olga", &PersonStateRequest { disabled: true }).await
        });
        let begun = Instant::now();
        while !is_disabled(&server, "olga").await {
            assert!(begun.elapsed() < PATIENCE, "the stop is not in force");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        held.let_go();
        stop.await.unwrap().unwrap();
        statuses.clear();
        for act in acts {
            statuses.push(act.await.unwrap());
        }
        if statuses.iter().all(|status| *status != 503) {
            break;
        }
    }
    assert_eq!(statuses, [401, 401]);
    assert!(server.admin.entry(EntryKind::Resource, "wiki").await.is_err(), "nothing came of it");
    server.verify_the_log();
}
