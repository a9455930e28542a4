//! A registry file of very many agents takes seconds. Operators go on meanwhile, and stop agents at once.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use mandate_api::admin::{
    AgentStateRequest, ApplyRequest, PersonStateRequest, RevocationRequest, RevocationTarget,
};
use mandate_api::registry_file;
use mandate_core::registry::AgentState;

use crate::processes::Server;

/// Enough for seconds of work.
const AGENTS: usize = 20_000;

fn agents(count: usize, purpose: &str) -> ApplyRequest {
    let mut file = String::new();
    for n in 0..count {
        write!(
            file,
            "[[agent]]\nname = \"a{n}\"\nowner = \"olga\"\npurpose = \"{purpose}\"\nselectors = [\"unix:uid:{n}\"]\nceiling = []\n"
        )
        .unwrap();
    }
    ApplyRequest { entries: registry_file::parse(&file).unwrap(), prune: false, dry_run: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_stop_waits_for_a_large_registry_file() {
    let root = tempfile::tempdir().unwrap();
    let server = Server::start(&root.path().join("server"));
    server.tell_the_story().await;
    server.admin.apply(&agents(200, "first")).await.unwrap();
    let grants = server.admin.list(mandate_core::registry::EntryKind::Grant).await.unwrap();
    let mut grants = grants.into_iter().filter_map(|entry| match entry.item {
        mandate_api::admin::RegistryItem::Grant(grant) => grant.id,
        _ => None,
    });

    let (admin, request) = (server.admin.clone(), agents(AGENTS, "second"));
    let begun = Instant::now();
    let large = tokio::spawn(async move {
        admin.apply(&request).await.unwrap();
        begun.elapsed()
    });
    let mut stopped = 0;
    while !large.is_finished() && stopped < 200 {
        let request = AgentStateRequest { state: AgentState::Suspended };
        assert_eq!(
            server.admin.set_agent_state(&format!("a{stopped}"), &request).await.unwrap().changes.len(),
            1
        );
        if stopped == 3 {
            server.admin.set_person_state("riley", &PersonStateRequest { disabled: true }).await.unwrap();
        }
        if let Some(grant) = grants.next().filter(|_| stopped > 3) {
            server.admin.revoke(&RevocationRequest { target: RevocationTarget::Grant(grant) }).await.unwrap();
        }
        server.admin.status().await.unwrap();
        stopped += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let whole = large.await.unwrap();
    assert!(stopped > 5, "{stopped} in {whole:?}, one after the other");
    for n in 0..stopped {
        let item = server
            .admin
            .entry(mandate_core::registry::EntryKind::Agent, &format!("a{n}"))
            .await
            .unwrap()
            .item;
        let mandate_api::admin::RegistryItem::Agent(agent) = item else { panic!("{item:?}") };
        assert_eq!((agent.state, agent.purpose.as_str()), (Some(AgentState::Suspended), "second"), "a{n}");
    }
    server.verify_the_log();
}
