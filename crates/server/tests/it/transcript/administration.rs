//! The admin API over TCP: each row of the authorization table, without and with the right, and each answer
//! of its own.

use mandate_api::admin::{ClientSecretRequest, RevocationRequest, RevocationTarget};
use mandate_testkit::app::{CLIENT_SECRET, CRM, PASSWORD};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::stage::Stage;

/// The administrator's token, and the stage.
struct Desk {
    stage: Stage,
    olga: String,
}

impl Desk {
    async fn new(title: &str) -> Self {
        let stage = Stage::with_node(title).await;
        let issuer = stage.server.issuer().to_owned();
        let olga = stage.server.app.person_token("olga", Some(&issuer), Some("mandate:admin")).await;
        Self { stage, olga }
    }

    fn request(&self, method: Method, path: &str, body: Option<&Value>) -> RequestBuilder {
        let request = self
            .stage
            .server
            .app
            .http
            .request(method, format!("{}{path}", self.stage.server.ready.admin_url));
        match body {
            Some(body) => request.json(body),
            None => request,
        }
    }

    /// As the administrator. `row` is the method and the path as in the table; `path` has the names filled
    /// in.
    async fn ask(&mut self, row: &str, what: &str, path: &str, body: Option<Value>) -> Value {
        let method: Method = row.split(' ').next().unwrap().parse().unwrap();
        let request = self.request(method, path, body.as_ref()).bearer_auth(&self.olga);
        self.stage.log.send(&format!("{row}: {what}"), request).await.json()
    }

    /// As the administrator, with a body that is no document of the route.
    async fn unreadable(&mut self, row: &str, path: &str) {
        for (what, content_type, body) in [
            ("a body that is no JSON", "application/json", "{"),
            ("another content type", "text/plain", "{}"),
            ("a member that does not exist", "application/json", "{\"unknown\":1}"),
        ] {
            let request = self
                .request(Method::POST, path, None)
                .header("content-type", content_type)
                .body(body)
                .bearer_auth(&self.olga);
            self.stage.log.send(&format!("{row}: {what}"), request).await;
        }
    }
}

/// Every operation of the document with a path that exists, and a body that would do something if it were
/// read.
fn operations() -> Vec<(&'static str, &'static str, Option<Value>)> {
    vec![
        ("POST /v1/apply", "/v1/apply", Some(json!({ "entries": {}, "prune": true }))),
        ("GET /v1/registry/{kind}", "/v1/registry/agent", None),
        ("GET /v1/registry/{kind}/{name}", "/v1/registry/agent/support-agent", None),
        ("POST /v1/join-tokens", "/v1/join-tokens", Some(json!({}))),
        ("GET /v1/nodes", "/v1/nodes", None),
        ("POST /v1/nodes/{name}/ban", "/v1/nodes/node/ban", None),
        (
            "POST /v1/agents/{name}/state",
            "/v1/agents/support-agent/state",
            Some(json!({ "state": "suspended" })),
        ),
        ("POST /v1/agents/{name}/release", "/v1/agents/support-agent/release", None),
        ("POST /v1/people/{name}/state", "/v1/people/riley/state", Some(json!({ "disabled": true }))),
        (
            "POST /v1/people/{name}/password",
            "/v1/people/riley/password",
            Some(json!({ "password": "another password" })),
        ),
        (
            "POST /v1/clients/{id}/secret",
            "/v1/clients/desk-app/secret",
            Some(json!({ "secret": "another secret of a client" })),
        ),
        (
            "POST /v1/revocations",
            "/v1/revocations",
            Some(json!({ "target": { "kind": "agent", "id": "support-agent" } })),
        ),
        ("POST /v1/keys/rotate", "/v1/keys/rotate", Some(json!({}))),
        ("GET /v1/status", "/v1/status", None),
        ("GET /v1/audit/records", "/v1/audit/records", None),
        ("GET /v1/audit/records/{id}", "/v1/audit/records/x", None),
        ("GET /v1/audit/verify", "/v1/audit/verify", None),
        ("GET /v1/audit/checkpoint", "/v1/audit/checkpoint", None),
        ("GET /v1/audit/export", "/v1/audit/export", None),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_may_not_administrate() {
    let mut desk = Desk::new("Administration: callers who may not").await;
    let riley = desk.stage.server.app.person_token("riley", None, None).await;
    let olga = desk.stage.server.app.person_token("olga", None, None).await;
    let at_the_crm = desk.stage.server.app.person_token("riley", Some(CRM), Some("read:cases")).await;
    let svid = desk.stage.svid("ops-agent").await;
    for (row, path, body) in operations() {
        let method: Method = row.split(' ').next().unwrap().parse().unwrap();
        let request = desk.request(method.clone(), path, body.as_ref());
        desk.stage.log.send(&format!("{row}: no credentials"), request).await;
        let request = desk.request(method, path, body.as_ref()).bearer_auth(&riley);
        desk.stage.log.send(&format!("{row}: a person's token without the scope"), request).await;
    }
    let row = "GET /v1/status";
    for (what, value) in [
        ("no token", "Bearer".to_owned()),
        ("another scheme", format!("DPoP {}", desk.olga)),
        ("a token that is none", "Bearer x".to_owned()),
        ("an identity", format!("Bearer {svid}")),
        ("a token for another resource", format!("Bearer {at_the_crm}")),
        ("an administrator's token without the scope", format!("Bearer {olga}")),
    ] {
        let request = desk.request(Method::GET, "/v1/status", None).header("authorization", value);
        desk.stage.log.send(&format!("{row}: {what}"), request).await;
    }
    let twice = desk.request(Method::GET, "/v1/status", None).bearer_auth(&desk.olga).bearer_auth(&desk.olga);
    desk.stage.log.send(&format!("{row}: two tokens"), twice).await;
    for (what, method, path) in [
        ("Another method of a route", Method::DELETE, "/v1/apply"),
        ("A path that does not exist", Method::GET, "/v1/secrets"),
        ("The root", Method::GET, "/"),
        ("The head of a route", Method::HEAD, "/v1/status"),
    ] {
        let request = desk.request(method.clone(), path, None);
        desk.stage.log.send(&format!("{what}, no credentials"), request).await;
        let request = desk.request(method, path, None).bearer_auth(&desk.olga);
        desk.stage.log.send(&format!("{what}, an administrator"), request).await;
    }
    let olga_is_cut = RevocationRequest { target: RevocationTarget::Person("olga".parse().unwrap()) };
    desk.stage.server.admin.revoke(&olga_is_cut).await.unwrap();
    desk.ask(row, "a token that is revoked", "/v1/status", None).await;
    desk.stage.end("admin_refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_administrators_read() {
    let mut desk = Desk::new("Administration: what is read").await;
    desk.ask("GET /v1/status", "what is running", "/v1/status", None).await;
    let row = "GET /v1/registry/{kind}";
    for kind in ["resource", "person", "agent", "client", "issuer", "grant", "policy"] {
        desk.ask(row, kind, &format!("/v1/registry/{kind}"), None).await;
    }
    desk.ask(row, "a kind that does not exist", "/v1/registry/wizard", None).await;
    desk.ask(row, "a page", "/v1/registry/person?limit=1", None).await;
    desk.ask(row, "what is no cursor", "/v1/registry/person?after=*", None).await;
    let row = "GET /v1/registry/{kind}/{name}";
    desk.ask(row, "one entry", "/v1/registry/agent/support-agent", None).await;
    desk.ask(row, "an entry that does not exist", "/v1/registry/agent/nobody", None).await;
    desk.ask(row, "a kind that does not exist", "/v1/registry/wizard/nobody", None).await;
    desk.ask(row, "a name that is no UTF-8", "/v1/registry/agent/%FF", None).await;
    desk.ask("GET /v1/nodes", "every node", "/v1/nodes", None).await;
    desk.ask("GET /v1/nodes", "a longer page than there is", "/v1/nodes?limit=501", None).await;

    let row = "GET /v1/audit/records";
    let found = desk
        .ask(
            row,
            "what was refused or done to riley",
            "/v1/audit/records?person=riley&kind=admin&limit=1",
            None,
        )
        .await;
    desk.ask(row, "another outcome", "/v1/audit/records?outcome=maybe", None).await;
    desk.ask(row, "another kind", "/v1/audit/records?kind=magic", None).await;
    desk.ask(row, "no time", "/v1/audit/records?since=yesterday", None).await;
    desk.ask(row, "a parameter that does not exist", "/v1/audit/records?who=riley", None).await;
    let row = "GET /v1/audit/records/{id}";
    let id = found[0]["id"].as_str().unwrap().to_owned();
    desk.ask(row, "one record", &format!("/v1/audit/records/{id}"), None).await;
    desk.ask(row, "a record that does not exist", "/v1/audit/records/nothing", None).await;
    desk.ask(row, "an id that is no UTF-8", "/v1/audit/records/%FF", None).await;
    let kept = desk.ask("GET /v1/audit/checkpoint", "the checkpoint", "/v1/audit/checkpoint", None).await;
    let note: String =
        url::form_urlencoded::byte_serialize(kept["checkpoint"].as_str().unwrap().as_bytes()).collect();
    desk.stage.log.names.fix(kept["checkpoint"].as_str().unwrap(), "<checkpoint>");
    let row = "GET /v1/audit/verify";
    desk.ask(row, "the whole log", "/v1/audit/verify", None).await;
    desk.ask(row, "the log continues a checkpoint", &format!("/v1/audit/verify?since={note}"), None).await;
    desk.ask(row, "what is no checkpoint", "/v1/audit/verify?since=x", None).await;
    desk.ask(row, "a parameter that does not exist", "/v1/audit/verify?until=x", None).await;
    desk.ask("GET /v1/audit/export", "the whole log", "/v1/audit/export", None).await;
    desk.stage.end("admin_reads").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_administrators_change_in_the_registry() {
    let mut desk = Desk::new("Administration: changes of the registry").await;
    let row = "POST /v1/apply";
    let casey = |may: Value| json!({ "person": [{ "name": "casey", "may": may }] });
    let crm = json!([{ "resource": "crm", "scopes": ["read:cases"] }]);
    desk.ask(
        row,
        "what would change",
        "/v1/apply",
        Some(json!({ "entries": casey(crm.clone()), "dry_run": true })),
    )
    .await;
    desk.ask(row, "an entry is created", "/v1/apply", Some(json!({ "entries": casey(crm) }))).await;
    desk.ask(
        row,
        "an entry is changed, and only loses",
        "/v1/apply",
        Some(json!({ "entries": casey(json!([])) })),
    )
    .await;
    desk.ask(row, "nothing changes", "/v1/apply", Some(json!({ "entries": casey(json!([])) }))).await;
    let wrong = json!({ "entries": {
        "agent": [{ "name": "x", "owner": "nobody", "purpose": "", "selectors": [] }],
        "client": [{ "id": "x", "authentication": "private_key_jwt" }],
        "resource": [{ "name": "mandate", "uri": "https://other.example" }],
        "policy": [{ "name": "x", "source": "nonsense" }],
    } });
    desk.ask(row, "everything that is wrong with a file", "/v1/apply", Some(wrong)).await;
    desk.unreadable(row, "/v1/apply").await;

    let (row, release) = ("POST /v1/agents/{name}/state", "POST /v1/agents/{name}/release");
    for (what, state) in
        [("contained", "contained"), ("suspended after that", "suspended"), ("active after that", "active")]
    {
        desk.ask(row, what, "/v1/agents/support-agent/state", Some(json!({ "state": state }))).await;
    }
    desk.ask(release, "a contained agent", "/v1/agents/support-agent/release", None).await;
    desk.ask(release, "one that is not contained", "/v1/agents/support-agent/release", None).await;
    desk.ask(release, "an agent that does not exist", "/v1/agents/nobody/release", None).await;
    desk.ask(release, "a name that is no UTF-8", "/v1/agents/%FF/release", None).await;
    desk.ask(row, "active again", "/v1/agents/support-agent/state", Some(json!({ "state": "active" }))).await;
    for (what, state) in [
        ("suspended", "suspended"),
        ("active again", "active"),
        ("retired", "retired"),
        ("active after that", "active"),
    ] {
        desk.ask(row, what, "/v1/agents/support-agent/state", Some(json!({ "state": state }))).await;
    }
    desk.ask(release, "a retired agent", "/v1/agents/support-agent/release", None).await;
    desk.ask(
        row,
        "an agent that does not exist",
        "/v1/agents/nobody/state",
        Some(json!({ "state": "suspended" })),
    )
    .await;
    desk.ask(
        row,
        "a state that does not exist",
        "/v1/agents/ops-agent/state",
        Some(json!({ "state": "asleep" })),
    )
    .await;
    desk.unreadable(row, "/v1/agents/ops-agent/state").await;
    let row = "POST /v1/people/{name}/state";
    for (what, disabled) in [("disabled", true), ("enabled", false)] {
        desk.ask(row, what, "/v1/people/riley/state", Some(json!({ "disabled": disabled }))).await;
    }
    desk.ask(
        row,
        "a person who does not exist",
        "/v1/people/nobody/state",
        Some(json!({ "disabled": true })),
    )
    .await;
    desk.unreadable(row, "/v1/people/riley/state").await;
    desk.stage.end("admin_registry").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_administrators_do_besides() {
    let mut desk = Desk::new("Administration: nodes, secrets, revocation and keys").await;
    desk.stage.apply("dana is of another issuer, and spa has no secret", "issuer = [{ url = \"https://login.example\", audience = \"x\" }]\nperson = [{ name = \"dana\", issuer = \"https://login.example\" }]").await;
    let row = "POST /v1/people/{name}/password";
    desk.ask(row, "a password", "/v1/people/riley/password", Some(json!({ "password": PASSWORD }))).await;
    desk.ask(row, "a short password", "/v1/people/riley/password", Some(json!({ "password": "short" })))
        .await;
    desk.ask(
        row,
        "a person of another issuer",
        "/v1/people/dana/password",
        Some(json!({ "password": PASSWORD })),
    )
    .await;
    desk.ask(
        row,
        "a person who does not exist",
        "/v1/people/nobody/password",
        Some(json!({ "password": PASSWORD })),
    )
    .await;
    desk.unreadable(row, "/v1/people/riley/password").await;
    let row = "POST /v1/clients/{id}/secret";
    desk.ask(row, "a secret", "/v1/clients/desk-app/secret", Some(json!({ "secret": CLIENT_SECRET }))).await;
    desk.ask(row, "a short secret", "/v1/clients/desk-app/secret", Some(json!({ "secret": "short" }))).await;
    desk.ask(
        row,
        "a client without a secret",
        "/v1/clients/support-app/secret",
        Some(json!({ "secret": CLIENT_SECRET })),
    )
    .await;
    desk.ask(
        row,
        "a client that does not exist",
        "/v1/clients/nobody/secret",
        Some(json!({ "secret": CLIENT_SECRET })),
    )
    .await;
    desk.unreadable(row, "/v1/clients/desk-app/secret").await;

    let row = "POST /v1/join-tokens";
    desk.ask(row, "a token for a node", "/v1/join-tokens", Some(json!({}))).await;
    desk.ask(row, "for ten minutes", "/v1/join-tokens", Some(json!({ "ttl": "10m" }))).await;
    desk.ask(row, "for too long", "/v1/join-tokens", Some(json!({ "ttl": "100d" }))).await;
    desk.unreadable(row, "/v1/join-tokens").await;
    let row = "POST /v1/nodes/{name}/ban";
    desk.ask(row, "a node that does not exist", "/v1/nodes/nobody/ban", None).await;
    desk.ask(row, "a name that is no UTF-8", "/v1/nodes/%FF/ban", None).await;
    let nodes = desk.stage.server.admin.nodes().await.unwrap();
    let name = nodes[0].name.clone();
    desk.ask(row, "a node", &format!("/v1/nodes/{name}/ban"), None).await;
    desk.ask(row, "the same node again", &format!("/v1/nodes/{name}/ban"), None).await;

    let row = "POST /v1/revocations";
    let secret = ClientSecretRequest { secret: CLIENT_SECRET.to_owned() };
    desk.stage.server.admin.set_client_secret("desk-app", &secret).await.unwrap();
    let grants = desk.stage.server.admin.list(mandate_core::registry::EntryKind::Grant).await.unwrap();
    let mandate_api::admin::RegistryItem::Grant(grant) = &grants[0].item else { panic!("a grant") };
    let grant = grant.id.clone().unwrap();
    for (kind, id) in [
        ("token", "01968f7e-3c5a-7b21-9f0e-5d8c2a417b36"),
        ("grant", grant.as_str()),
        ("agent", "support-agent"),
        ("person", "riley"),
        ("client", "desk-app"),
    ] {
        desk.ask(
            row,
            &format!("a {kind}"),
            "/v1/revocations",
            Some(json!({ "target": { "kind": kind, "id": id } })),
        )
        .await;
    }
    for kind in ["grant", "agent", "person", "client"] {
        let body = json!({ "target": { "kind": kind, "id": "nobody" } });
        desk.ask(row, &format!("a {kind} that does not exist"), "/v1/revocations", Some(body)).await;
    }
    desk.unreadable(row, "/v1/revocations").await;

    let row = "POST /v1/keys/rotate";
    desk.ask(row, "one key", "/v1/keys/rotate", Some(json!({ "purpose": "access-token" }))).await;
    desk.ask(
        row,
        "the same key again: too soon",
        "/v1/keys/rotate",
        Some(json!({ "purpose": "access-token" })),
    )
    .await;
    desk.ask(row, "a purpose that does not exist", "/v1/keys/rotate", Some(json!({ "purpose": "x509" })))
        .await;
    desk.unreadable(row, "/v1/keys/rotate").await;
    desk.stage.pass(301);
    desk.ask(row, "every key that signs", "/v1/keys/rotate", Some(json!({}))).await;
    desk.stage.end("admin_acts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_of_the_admin_api() {
    let mut desk = Desk::new("Administration: the OpenAPI document").await;
    let document = desk.request(Method::GET, "/openapi.json", None);
    desk.stage.log.send("GET /openapi.json: the document itself, for anybody", document).await;
    desk.stage.end("admin_document").await;
}
