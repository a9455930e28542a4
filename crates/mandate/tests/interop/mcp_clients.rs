//! The MCP SDKs for TypeScript and Python: an API refuses, its metadata (RFC 9728) names us, our metadata
//! (RFC 8414) names the endpoints, a person logs in, and the token opens the API. The client is registered
//! before, or has a document with its metadata, or registers itself; our issuer is a bare origin, or has a path.

use std::time::Duration;

use mandate_crm::Protection;
use mandate_testkit::app::{CALLBACK, CLIENT_SECRET, PASSWORD, claims};
use mandate_testkit::hostile_issuer::HostileIssuer;
use mandate_testkit::tls_front::PrivateCa;
use mandate_verifier::Verifier;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::node_program::NodeProgram;
use crate::python_program::PythonProgram;
use crate::registry::PLAIN_SECRET;
use crate::scripts::Scripts;
use crate::server::Server;

/// A server, and the CRM behind it at an address of its own: a resource that is a bare origin.
struct Behind {
    server: Server,
    crm: String,
    /// Where a client has its metadata.
    metadata_url: String,
    _host: HostileIssuer,
    _runtime: Runtime,
    _dir: TempDir,
}

impl Behind {
    /// With an issuer that has this path. It takes clients that describe themselves.
    fn start(path: &str) -> Self {
        Self::start_for(path, true)
    }

    /// The same for these clients: all, or only those that an operator registered with a secret.
    fn start_for(path: &str, all: bool) -> Self {
        let (runtime, dir) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
        // The document is behind TLS of an authority of its own: the SDKs accept nothing else.
        let (host, authority) = (HostileIssuer::start(), PrivateCa::generate());
        let front = runtime.block_on(authority.in_front_of(&host));
        let metadata_url = format!("{front}/client.json");
        let document = json!({
            "client_id": metadata_url,
            "client_name": "An MCP client",
            "redirect_uris": [CALLBACK],
            "token_endpoint_auth_method": "none",
        });
        host.serve_at("/client.json", "application/json", &document.to_string());
        let authorities = dir.path().join("authorities.pem");
        std::fs::write(&authorities, authority.pem()).unwrap();
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let (address, issuer) = (format!("127.0.0.1:{port}"), format!("http://127.0.0.1:{port}{path}"));
        let mut options = vec!["--listen", &address, "--issuer", &issuer];
        if all {
            options.extend(["--dynamic-registration", "--client-metadata-host", "127.0.0.1"]);
        }
        let server = Server::start_in(
            tempfile::tempdir().unwrap(),
            &options,
            &[("SSL_CERT_FILE", authorities.into_os_string())],
        );
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let crm = format!("http://{}", listener.local_addr().unwrap());
        server.run(&["apply", "-f", "-"], &registry(&crm, all));
        server.run(&["person", "set-password", "riley"], PASSWORD);
        server.run(&["client", "set-secret", "basic-app"], PLAIN_SECRET);
        server.run(&["client", "set-secret", "post-app"], CLIENT_SECRET);
        let (issuer, resource) = (server.issuer().parse().unwrap(), crm.parse().unwrap());
        let database = dir.path().join("crm.db");
        runtime.block_on(async {
            let verifier =
                Verifier::builder(issuer, resource).scopes_supported(mandate_crm::scopes()).build().unwrap();
            tokio::time::timeout(Duration::from_secs(30), verifier.ready()).await.unwrap();
            tokio::spawn(async move {
                mandate_crm::serve(listener, &database, Protection::Mandate(verifier)).await
            });
        });
        Self { server, crm, metadata_url, _host: host, _runtime: runtime, _dir: dir }
    }

    /// One client's way to the API, and what it ends with. Gives the claims of its token.
    fn reached_by(&self, program: &Scripts, script: &str, client: &Value) -> Value {
        let input = json!({
            "server_url": format!("{}/cases", self.crm),
            "redirect_uri": CALLBACK,
            "client": client,
            "person": { "name": "riley", "password": PASSWORD },
        });
        let answer = program.json(script, &input);
        assert_eq!(answer["status"], 200, "{client} {answer}");
        // Some versions write a bare origin with a slash; the token is addressed to the resource as it is
        // registered.
        let asked = answer["asked"]["resource"].as_str().unwrap();
        assert_eq!(asked.trim_end_matches('/'), self.crm, "{client} {answer}");
        let token = claims(answer["token"].as_str().unwrap());
        assert_eq!(
            (&token["aud"], &token["sub"], &token["iss"]),
            (&self.crm.as_str().into(), &"riley".into(), &self.server.issuer().into())
        );
        // The API's challenge names the scope that this route needs (RFC 6750 §3). They ask for only that,
        // although the metadata names all scopes.
        assert_eq!(answer["asked"]["scope"], "read:cases", "{client} {answer}");
        assert_eq!(
            (&answer["scope"], &token["scope"]),
            (&"read:cases".into(), &"read:cases".into()),
            "{client} {answer}"
        );
        token
    }

    fn reached_by_all(&self, program: &Scripts, script: &str) {
        for client in [
            json!({ "client_id": "mcp-app", "token_endpoint_auth_method": "none" }),
            json!({ "client_id": "basic-app", "client_secret": PLAIN_SECRET, "token_endpoint_auth_method": "client_secret_basic" }),
            json!({ "client_id": "post-app", "client_secret": CLIENT_SECRET, "token_endpoint_auth_method": "client_secret_post" }),
        ] {
            let token = self.reached_by(program, script, &client);
            assert_eq!((&token["client_id"], token.get("act")), (&client["client_id"], None), "{token}");
        }
        let by_document = json!({ "metadata_url": self.metadata_url });
        let token = self.reached_by(program, script, &by_document);
        assert_eq!(token["client_id"], self.metadata_url.as_str());
        self.is_unattested(&token);
        for method in ["none", "client_secret_basic", "client_secret_post"] {
            let token = self.reached_by(program, script, &json!({ "token_endpoint_auth_method": method }));
            assert!(token["client_id"].as_str().unwrap().starts_with("self-registered-"), "{token}");
            self.is_unattested(&token);
        }
    }

    /// The token shows that a client acts that nothing attests.
    fn is_unattested(&self, token: &Value) {
        let actor = json!({
            "sub": token["client_id"],
            "iss": self.server.issuer(),
            "sub_profile": "ai_agent",
        });
        assert_eq!(token["act"], actor, "{token}");
    }
}

fn registry(crm: &str, all: bool) -> String {
    let public = format!("{{ id = \"mcp-app\", redirect_uris = [\"{CALLBACK}\"] }},");
    let public = if all { public } else { String::new() };
    let scopes = r#"["read:cases", "write:case_comments", "write:opportunities", "send:mail"]"#;
    format!(
        r#"resource = [
  {{ name = "crm", uri = "{crm}", scopes = {scopes}, unattested = ["read:cases"] }},
  {{ name = "wiki", uri = "https://wiki.acme.example", scopes = ["read:pages"] }},
]
client = [
  {public}
  {{ id = "basic-app", redirect_uris = ["{CALLBACK}"], authentication = "client_secret_basic" }},
  {{ id = "post-app", redirect_uris = ["{CALLBACK}"], authentication = "client_secret_post" }},
]
[[person]]
name = "riley"
may = [{{ resource = "crm", scopes = ["read:cases", "write:case_comments"] }}]
"#
    )
}

#[test]
fn the_typescript_sdk_finds_its_way_from_a_refusal_to_the_api() {
    let Some(node) = NodeProgram::find() else { return };
    Behind::start("").reached_by_all(&node, "mcp-client.mjs");
    Behind::start("/acme/mandate").reached_by_all(&node, "mcp-client.mjs");
}

#[test]
fn the_python_sdk_finds_its_way_from_a_refusal_to_the_api() {
    let Some(python) = PythonProgram::find() else { return };
    Behind::start("").reached_by_all(&python, "mcp_client.py");
    Behind::start("/acme/mandate").reached_by_all(&python, "mcp_client.py");
}

/// What the tool checks is the shape of the answers; a server that checks nothing passes, too. It sends no secret
/// where the metadata list `none`, so the clients with one have a server without public clients.
#[test]
fn the_mcp_conformance_tool_passes_for_clients_with_and_without_a_secret() {
    let Some(node) = NodeProgram::find() else { return };
    for path in ["", "/acme/mandate"] {
        let (with_public, without) = (Behind::start(path), Behind::start_for(path, false));
        for (world, client) in [
            (&with_public, json!({ "client_id": "mcp-app" })),
            (&without, json!({ "client_id": "post-app", "client_secret": CLIENT_SECRET })),
        ] {
            let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
            let mut input = json!({
                "issuer": world.server.issuer(),
                "resource": world.crm,
                "port": port,
                "person": { "name": "riley", "password": PASSWORD },
            });
            input.as_object_mut().unwrap().extend(client.as_object().unwrap().clone());
            let answer = node.json("conformance.mjs", &input);
            let said = answer["said"].as_str().unwrap();
            assert_eq!(answer["code"], 0, "{client} {said}");
            assert!(said.contains("authorization-code-grant: 1 passed, 0 failed"), "{client} {said}");
        }
    }
}
