//! An operator's acts are found by the entries that they affect.

use mandate_api::admin::{
    AuditQuery, ClientSecretRequest, PasswordRequest, RevocationRequest, RevocationTarget,
};
use mandate_core::Clock as _;
use mandate_testkit::app::{CALLBACK, CLIENT_SECRET, CRM, PASSWORD, exchange};
use mandate_testkit::hostile_issuer::HostileIssuer;

use crate::world::{Server, spiffe_id};

/// The details of the records that match, the newest first.
async fn found(server: &Server, query: AuditQuery) -> Vec<String> {
    server.records(query).await.into_iter().map(|record| record.detail.unwrap_or_default()).collect()
}

fn about_agent(agent: &str) -> AuditQuery {
    AuditQuery { agent: Some(agent.to_owned()), ..AuditQuery::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_suspended_an_agent_is_found_by_the_agent() {
    let server = Server::story().await;
    server.apply("[[agent]]\nname = \"support-agent\"\nowner = \"riley\"\npurpose = \"Works on support cases\"\nselectors = [\"unix:uid:1\"]\nstate = \"suspended\"\n").await;
    for name in ["support-agent", &spiffe_id("support-agent")] {
        let records = server.records(about_agent(name)).await;
        let newest = records.first().unwrap();
        assert!(newest.detail.as_deref().unwrap().contains("changed agent support-agent"), "{newest:?}");
        assert_eq!(
            (newest.kind.as_str(), newest.by.as_deref()),
            ("registry", Some(format!("uid:{}", rustix::process::getuid().as_raw()).as_str()))
        );
        // The change that declared it, with its grant, is found too; what touched the other agent alone is
        // not.
        assert!(records.iter().any(|record| {
            record.detail.as_deref().unwrap_or_default().contains("created agent support-agent")
        }));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revocations_and_secrets_are_found_by_whom_they_touch() {
    let server = Server::story().await;
    let revoke = async |target| server.admin.revoke(&RevocationRequest { target }).await.unwrap();
    revoke(RevocationTarget::Agent("support-agent".parse().unwrap())).await;
    assert!(found(&server, about_agent("support-agent")).await[0].starts_with("revoked agent"));
    revoke(RevocationTarget::Client("support-app".parse().unwrap())).await;
    let client = |id: &str| AuditQuery { client: Some(id.to_owned()), ..AuditQuery::default() };
    assert!(found(&server, client("support-app")).await[0].starts_with("revoked client support-app"));
    server
        .admin
        .set_client_secret("desk-app", &ClientSecretRequest { secret: CLIENT_SECRET.to_owned() })
        .await
        .unwrap();
    assert!(found(&server, client("desk-app")).await[0].starts_with("set the secret of client desk-app"));
    assert!(!found(&server, client("support-app")).await[0].contains("desk-app"));

    let grants = server.admin.list(mandate_core::registry::EntryKind::Grant).await.unwrap();
    let grant = grants.iter().find_map(|entry| match &entry.item {
        mandate_api::admin::RegistryItem::Grant(grant) if grant.agent.as_str() == "support-agent" => {
            grant.id.clone()
        }
        _ => None,
    });
    let grant = grant.unwrap();
    revoke(RevocationTarget::Grant(grant.clone())).await;
    for query in [
        AuditQuery { grant: Some(grant.to_string()), ..AuditQuery::default() },
        AuditQuery { person: Some("riley".to_owned()), ..AuditQuery::default() },
        AuditQuery { resource: Some("crm".to_owned()), ..AuditQuery::default() },
        about_agent("support-agent"),
    ] {
        assert!(found(&server, query.clone()).await[0].starts_with("revoked grant"), "{query:?}");
    }

    let token: mandate_core::TokenId = "01968f7e-3c5a-7b21-9f0e-5d8c2a417b36".parse().unwrap();
    revoke(RevocationTarget::Token(token.clone())).await;
    let by_token = found(&server, AuditQuery { jti: Some(token.to_string()), ..AuditQuery::default() }).await;
    assert_eq!(by_token.len(), 1, "{by_token:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_issuers_clients_and_resources_are_found_by_the_people_and_agents_they_affect() {
    let server = Server::story().await;
    let issuer = |scope: &str| {
        let ours = server.issuer();
        format!(
            "issuer = [{{ url = \"https://login.example\", audience = \"{ours}\", subject_scope = \"{scope}\" }}]\n"
        )
    };
    let dana = "person = [{ name = \"dana\", issuer = \"https://login.example\", sub = \"user-7\" }]\n";
    server.apply(&format!("{}{dana}", issuer("token"))).await;
    server.apply(&issuer("identity_only")).await;
    let person = |name: &str| AuditQuery { person: Some(name.to_owned()), ..AuditQuery::default() };
    assert!(found(&server, person("dana")).await[0].starts_with("changed issuer https://login.example"));
    assert!(
        !found(&server, person("riley")).await[0].contains("issuer"),
        "the people of other issuers are not affected"
    );

    let client = format!(
        "client = [{{ id = \"desk-app\", redirect_uris = [\"{CALLBACK}\"], authentication = \"client_secret_basic\", agents = [\"ops-agent\"] }}]\n"
    );
    server.apply(&client).await;
    for agent in ["support-agent", "ops-agent", &spiffe_id("support-agent"), &spiffe_id("ops-agent")] {
        assert!(
            found(&server, about_agent(agent)).await[0].starts_with("changed client desk-app"),
            "{agent}: before or after"
        );
    }

    let resource = format!(
        "resource = [{{ name = \"crm\", uri = \"{CRM}\", scopes = [\"read:cases\", \"write:case_comments\", \"send:mail\"], agent = \"support-agent\", client = \"desk-app\" }}]\n"
    );
    server.apply(&resource).await;
    let client = AuditQuery { client: Some("desk-app".to_owned()), ..AuditQuery::default() };
    for query in [about_agent("support-agent"), about_agent(&spiffe_id("support-agent")), client] {
        assert!(found(&server, query.clone()).await[0].starts_with("changed resource crm"), "{query:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_did_is_found_by_the_operator_and_by_kind() {
    let server = Server::story().await;
    server.admin.set_password("riley", &PasswordRequest { password: PASSWORD.to_owned() }).await.unwrap();
    let own = format!("uid:{}", rustix::process::getuid().as_raw());
    let by = |by: &str, kind: Option<&str>| AuditQuery {
        by: Some(by.to_owned()),
        kind: kind.map(str::to_owned),
        ..AuditQuery::default()
    };
    assert_eq!(found(&server, by(&own, Some("admin"))).await[0], "set the password of riley");
    assert!(found(&server, by(&own, Some("registry"))).await[0].contains("created"));
    assert!(found(&server, by("olga", None)).await.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_issuers_actor_of_the_same_name_did_is_not_found_as_the_agents() {
    let (server, idp) = (Server::story().await, HostileIssuer::start());
    let (theirs, ours) = (idp.issuer(), server.issuer());
    server
        .apply(&format!(
            r#"issuer = [{{ url = "{theirs}", audience = "{ours}" }}]
person = [{{ name = "dana", issuer = "{theirs}", sub = "user-7", may = [{{ resource = "crm", scopes = ["read:cases"] }}] }}]
grant = [{{ person = "dana", agent = "support-agent", resource = "crm", scopes = ["read:cases"] }}]
"#
        ))
        .await;
    let mut terms = idp.terms(ours, "read:cases", server.clock.now());
    terms.subject.as_mut().unwrap().sub = "user-7".to_owned();
    terms.client = "portal".parse().unwrap();
    terms.lineage = mandate_core::Lineage::default();
    let actor = mandate_core::Actor { sub: spiffe_id("ops-agent"), iss: theirs, sub_profile: None };
    terms.chain = mandate_core::ActorChain::new(vec![actor]).unwrap();
    let node = server.node().await;
    let mut form = exchange(&node.svid("support-agent").await.unwrap(), &idp.sign(&terms), CRM, "read:cases");
    form.retain(|(name, _)| name != "subject_token_type");
    form.push(("subject_token_type".to_owned(), "urn:ietf:params:oauth:token-type:jwt".to_owned()));
    let answer = server.app.token(&form).await;
    // Refused, and the record of it names the actor.
    assert!(answer.status == 400 && answer.text.contains("chain_not_theirs"), "{answer:?}");
    let exchanges = async |agent: &str| {
        server.records(about_agent(agent)).await.iter().filter(|record| record.kind == "exchange").count()
    };
    assert_eq!(exchanges("support-agent").await, 1);
    for name in ["ops-agent", &spiffe_id("ops-agent")] {
        assert_eq!(exchanges(name).await, 0, "{name} did nothing");
    }
    node.stop().await;
    server.stop().await;
}
