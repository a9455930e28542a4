//! What operators with each role may call, and that their role counts when the request is complete.

use mandate_api::admin::{
    AgentStateRequest, ApplyRequest, AuditQuery, JoinTokenRequest, KeyRotationRequest, PasswordRequest,
    PersonStateRequest, RegistryItem, RevocationRequest, RevocationTarget,
};
use mandate_api::{AdminClient, ClientError, Endpoint};
use mandate_core::registry::{AgentState, EntryKind};
use mandate_core::{Role, Secret};
use mandate_testkit::app;
use reqwest::Method;

use crate::world::Server;

use super::call;

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_operator_any_more_when_the_body_has_arrived_changes_nothing() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = Server::story().await;
    let address = server.ready.admin_url.trim_start_matches("http://").to_owned();
    for (path, body) in [
        (
            "/v1/apply",
            r#"{"entries":{"policy":[{"name":"p","source":"permit (principal, action, resource);"}]}}"#,
        ),
        ("/v1/people/riley/password", r#"{"password":"another password"}"#),
        ("/v1/clients/desk-app/secret", r#"{"secret":"another secret of a client"}"#),
        ("/v1/revocations", r#"{"target":{"kind":"agent","id":"support-agent"}}"#),
        ("/v1/join-tokens", "{} "),
        ("/v1/keys/rotate", "{} "),
    ] {
        let token = server.app.person_token("olga", Some(server.issuer()), Some("mandate:admin")).await;
        let (first, rest) = body.split_at(body.len() / 2);
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        stream.write_all(format!("{head}{first}").as_bytes()).await.unwrap();
        // Time for the gate to see the head. Should it be slower, it refuses by itself, and less is shown
        // here.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let gone = "[[person]]\nname = \"olga\"\ndisabled = true\nmay = [{ resource = \"mandate\", scopes = [\"mandate:admin\"] }]\n";
        server.apply(gone).await;
        stream.write_all(rest.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401"), "{path}: {answer}");
        let record = server.newest_record().await;
        assert_eq!((record.outcome.as_str(), record.reason.as_str()), ("refused", "invalid_token"), "{path}");
        assert!(record.by.unwrap().contains("olga"), "{path}");
        server.apply(&gone.replace("true", "false")).await;
        // Tokens from before stay dead: for the next round the person logs in again.
        server.clock.advance(std::time::Duration::from_secs(1));
    }
    server.stop().await;
}

/// A person `name` with this role, and a client of theirs.
async fn with_role(server: &Server, name: &str, role: Role) -> (AdminClient, String) {
    let scope = role.scope();
    server
        .apply(&format!(
            "[[person]]\nname = \"{name}\"\nmay = [{{ resource = \"mandate\", scopes = [\"{scope}\"] }}]\n"
        ))
        .await;
    server.admin.set_password(name, &PasswordRequest { password: app::PASSWORD.to_owned() }).await.unwrap();
    let token = server.app.person_token(name, Some(server.issuer()), Some(scope)).await;
    let admin = server.ready.admin_url.parse().unwrap();
    (AdminClient::new(Endpoint::Tcp { server: admin, token: Secret::new(token.clone()) }), token)
}

/// A server whose `support-app` may ask for every role.
async fn with_roles() -> Server {
    let server = Server::story().await;
    let scopes: Vec<String> = Role::ALL.iter().map(|role| format!("\"{}\"", role.scope())).collect();
    let callback = app::CALLBACK;
    let client = format!(
        "[[client]]\nid = \"support-app\"\nredirect_uris = [\"{callback}\"]\nscopes = [{}]\n",
        scopes.join(", ")
    );
    server.apply(&client).await;
    server
}

fn forbidden<T>(answer: Result<T, ClientError>) -> bool {
    matches!(answer, Err(ClientError::Refused(problem)) if problem.status == 403)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_call_what_its_acts_are_for_and_is_told_which_role_it_lacks() {
    let server = with_roles().await;
    let agent = "support-agent";
    let state = |state| AgentStateRequest { state };
    for role in [Role::Viewer, Role::Approver, Role::Operator] {
        let (client, token) = with_role(&server, role.as_str(), role).await;
        client.status().await.unwrap();
        client.nodes().await.unwrap();
        client.list(EntryKind::Agent).await.unwrap();
        client.audit_records(&AuditQuery::default()).await.unwrap();
        client.audit_verify().await.unwrap();

        let stops = role == Role::Operator;
        assert_eq!(
            forbidden(client.set_agent_state(agent, &state(AgentState::Suspended)).await),
            !stops,
            "{role:?}"
        );
        assert_eq!(
            forbidden(client.set_agent_state(agent, &state(AgentState::Contained)).await),
            !stops,
            "{role:?}"
        );
        assert_eq!(forbidden(client.release_agent(agent).await), !stops, "{role:?}");
        assert_eq!(
            forbidden(client.set_person_state("riley", &PersonStateRequest { disabled: true }).await),
            !stops,
            "{role:?}"
        );
        let revocation = RevocationRequest { target: RevocationTarget::Agent(agent.parse().unwrap()) };
        assert_eq!(forbidden(client.revoke(&revocation).await), !stops, "{role:?}");

        // What gives something, or gives it back.
        let size = server.audit_size().await;
        assert!(forbidden(client.set_agent_state(agent, &state(AgentState::Active)).await), "{role:?}");
        assert!(forbidden(client.set_agent_state(agent, &state(AgentState::Retired)).await), "{role:?}");
        assert!(
            forbidden(client.set_person_state("riley", &PersonStateRequest { disabled: false }).await),
            "{role:?}"
        );
        assert!(forbidden(client.join_token(&JoinTokenRequest::default()).await), "{role:?}");
        assert!(forbidden(client.rotate_keys(&KeyRotationRequest::default()).await), "{role:?}");
        assert!(forbidden(client.apply(&ApplyRequest::default()).await), "{role:?}");
        assert!(
            forbidden(
                client.set_password("riley", &PasswordRequest { password: app::PASSWORD.to_owned() }).await
            ),
            "{role:?}"
        );
        assert_eq!(server.audit_size().await, size + 7, "each refusal left one record");
        let record = server.newest_record().await;
        assert_eq!(
            (record.outcome.as_str(), record.reason.as_str()),
            ("refused", "insufficient_scope"),
            "{role:?}"
        );

        let bearer = format!("Bearer {token}");
        let rotate = (Method::POST, "/v1/keys/rotate".to_owned());
        let answer = call(&server, &server.ready.admin_url, &rotate, &[("authorization", &bearer)]).await;
        let challenge = answer.header("www-authenticate");
        assert!(
            challenge.contains("insufficient_scope") && challenge.contains("scope=\"mandate:admin\""),
            "RFC 6750 §3.1: {challenge}"
        );
    }
    let agent = server.admin.entry(EntryKind::Agent, agent).await.unwrap();
    assert!(
        matches!(&agent.item, RegistryItem::Agent(agent) if agent.state == Some(AgentState::Suspended)),
        "{agent:?}"
    );
    server.stop().await;
}
