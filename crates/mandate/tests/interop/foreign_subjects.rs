//! `oidc-provider` as a company's identity provider whose ID tokens and opaque access tokens are subject tokens.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use mandate_core::registry::login_key;
use mandate_testkit::app::{Answer, App, claims, exchange, form};
use serde_json::{Value, json};

use crate::node_program::NodeProgram;
use crate::registry::{CRM, NO_KEYS, SCOPE, apply, registry};
use crate::scripts::Scripts;
use crate::server::{Process, Server};

/// What the company's opaque tokens for us are addressed to.
const AUDIENCE: &str = "https://mandate.acme.example";
/// What its opaque tokens for another API are addressed to.
const ELSEWHERE: &str = "https://wiki.acme.example";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const SECRET: &str = "introspector-secret-0123456789";

struct Company {
    node: Scripts,
    _provider: Process,
    issuer: String,
    _server: Server,
    app: App,
    svid: String,
}

impl Company {
    /// The provider, and a server that takes its tokens from the agent, which is its own client.
    fn start() -> Option<Self> {
        let node = NodeProgram::find()?;
        let asks = json!({ "client_id": "mandate", "client_secret": SECRET });
        let opaque = json!({ AUDIENCE: SCOPE, ELSEWHERE: SCOPE });
        let wishes = json!({ "resources": {}, "opaque": opaque, "introspector": asks });
        let (provider, ready) = node.start("identity-provider.mjs", &wishes);
        let issuer = ready["issuer"].as_str().unwrap().to_owned();
        let mut server = Server::start();
        write_secret(&server, &issuer);
        apply(&server, &registry(NO_KEYS, ""));
        let socket = server.start_node();
        let (svid, spiffe_id) = server.svid(&socket);
        let declared = format!(
            r#"[[issuer]]
url = "{issuer}"
audience = "{AUDIENCE}"
id_tokens = [{{ audience = "intranet", client = "{spiffe_id}" }}]
introspection = {{ client_id = "mandate", client_secret_file = "company.secret", clients = ["{spiffe_id}"] }}
[[person]]
name = "dana"
issuer = "{issuer}"
sub = "u-4711"
may = [{{ resource = "crm", scopes = ["read:cases"] }}]
[[grant]]
person = "dana"
agent = "support-agent"
resource = "crm"
scopes = ["read:cases"]
"#
        );
        server.run(&["apply", "-f", "-"], &registry(NO_KEYS, &declared));
        Some(Self { node, _provider: provider, issuer, app: server.app(), _server: server, svid })
    }

    /// The tokens of a person who logs in there.
    fn log_in(&self, login: &str, resource: &str) -> Value {
        let input = json!({ "issuer": self.issuer, "login": login, "resource": resource, "scope": SCOPE });
        self.node.json("person.mjs", &input)
    }

    async fn exchange(&self, token: &Value, token_type: &str) -> Answer {
        let mut parameters = exchange(&self.svid, token.as_str().unwrap(), CRM, SCOPE);
        parameters.retain(|(name, _)| name != "subject_token_type");
        parameters.extend(form(&[("subject_token_type", token_type)]));
        self.app.token(&parameters).await
    }
}

fn write_secret(server: &Server, issuer: &str) {
    let folder = server.dir().join("login-secrets").join(login_key(&issuer.parse().unwrap()));
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    let file = folder.join("company.secret");
    fs::write(&file, SECRET).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn an_opaque_token_and_an_id_token_of_the_companys_provider_are_subjects_each_as_what_it_is() {
    let Some(company) = Company::start() else { return };
    let tokens = company.log_in("u-4711", AUDIENCE);
    let opaque = &tokens["access_token"];
    assert!(!opaque.as_str().unwrap().contains('.'), "it is opaque");
    for (token, kind) in [(opaque, ACCESS_TOKEN), (&tokens["id_token"], ID_TOKEN)] {
        let answer = company.exchange(token, kind).await;
        assert_eq!(answer.status, 200, "{kind}: {answer:?}");
        let mandate = claims(&answer.member("access_token"));
        assert_eq!(mandate["sub"], format!("{}#u-4711", company.issuer), "{kind}");
        assert_eq!(mandate["scope"], SCOPE, "{kind}");
    }
    for (token, kind) in [
        (opaque, JWT),
        (opaque, ID_TOKEN),
        (&tokens["id_token"], JWT),
        (&tokens["id_token"], ACCESS_TOKEN),
        (&json!("2YotnFZFEjr1zCsicMWpAA"), ACCESS_TOKEN),
    ] {
        let answer = company.exchange(token, kind).await;
        assert_eq!(answer.error(), "400 invalid_request", "{kind}: {answer:?}");
    }
    let elsewhere = company.log_in("u-4711", ELSEWHERE);
    let elsewhere = company.exchange(&elsewhere["access_token"], ACCESS_TOKEN).await;
    assert_eq!(elsewhere.error(), "400 invalid_request", "it is addressed to another API; {elsewhere:?}");
    let stranger = company.log_in("u-0815", AUDIENCE);
    for (name, kind) in [("access_token", ACCESS_TOKEN), ("id_token", ID_TOKEN)] {
        let answer = company.exchange(&stranger[name], kind).await;
        assert_eq!(answer.error(), "400 invalid_request", "nobody has this sub; {answer:?}");
    }
}
