//! `oidc-provider` as a company's identity provider, whose people our agents act for.

use mandate_testkit::app::{Answer, App, claims, exchange, form};
use serde_json::{Value, json};

use crate::node_program::NodeProgram;
use crate::registry::{CRM, NO_KEYS, SCOPE, apply, registry};
use crate::scripts::Scripts;
use crate::server::{Process, Server};

/// What the company's tokens for us are addressed to.
const AUDIENCE: &str = "https://mandate.acme.example";
/// What its tokens for another API are addressed to.
const ELSEWHERE: &str = "https://wiki.acme.example";

struct Company {
    node: Scripts,
    _provider: Process,
    issuer: String,
    _server: Server,
    app: App,
    svid: String,
    spiffe_id: String,
}

impl Company {
    /// The provider, and a server that trusts it if `trusted` says so. `dana` is `u-4711` there.
    fn start(trusted: bool) -> Option<Self> {
        let node = NodeProgram::find()?;
        let (provider, ready) = node
            .start("identity-provider.mjs", &json!({ "resources": { AUDIENCE: SCOPE, ELSEWHERE: SCOPE } }));
        let issuer = ready["issuer"].as_str().unwrap().to_owned();
        let declared = format!(
            r#"[[issuer]]
url = "{issuer}"
audience = "{AUDIENCE}"
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
        let mut server = Server::start();
        apply(&server, &registry(NO_KEYS, if trusted { &declared } else { "" }));
        let socket = server.start_node();
        let (svid, spiffe_id) = server.svid(&socket);
        Some(Self { node, _provider: provider, issuer, app: server.app(), _server: server, svid, spiffe_id })
    }

    /// The tokens of a person who logs in there.
    fn log_in(&self, login: &str, resource: &str) -> Value {
        let input = json!({ "issuer": self.issuer, "login": login, "resource": resource, "scope": SCOPE });
        self.node.json("person.mjs", &input)
    }

    /// The agent exchanges a token for a mandate on the CRM.
    async fn exchange(&self, token: &Value, token_type: &str) -> Answer {
        let mut parameters = exchange(&self.svid, token.as_str().unwrap(), CRM, SCOPE);
        parameters.retain(|(name, _)| name != "subject_token_type");
        parameters.extend(form(&[("subject_token_type", token_type)]));
        self.app.token(&parameters).await
    }
}

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

#[tokio::test]
async fn an_agent_acts_for_a_person_whom_the_companys_provider_names() {
    let Some(company) = Company::start(true) else { return };
    let tokens = company.log_in("u-4711", AUDIENCE);
    let answer = company.exchange(&tokens["access_token"], JWT).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let mandate = claims(&answer.member("access_token"));
    assert_eq!(mandate["iss"], company.app.issuer);
    assert_eq!(mandate["sub"], format!("{}#u-4711", company.issuer), "no person of ours can have this sub");
    assert_eq!(
        mandate["sub_id"],
        json!({"format": "iss_sub", "iss": company.issuer, "sub": "u-4711"}),
        "RFC 9493"
    );
    assert_eq!(mandate["act"]["sub"], company.spiffe_id);
    assert_eq!(mandate["aud"], CRM);
    assert_eq!(mandate["scope"], SCOPE);
}

#[tokio::test]
async fn a_trusted_providers_other_tokens_and_other_people_are_refused() {
    let Some(company) = Company::start(true) else { return };
    let tokens = company.log_in("u-4711", AUDIENCE);
    let id_token = company.exchange(&tokens["id_token"], JWT).await;
    assert_eq!(id_token.error(), "400 invalid_request", "an ID token is not an access token; {id_token:?}");
    let id_token_type = "urn:ietf:params:oauth:token-type:id_token";
    let as_id_token = company.exchange(&tokens["id_token"], id_token_type).await;
    assert_eq!(as_id_token.error(), "400 invalid_request", "{as_id_token:?}");
    let as_ours =
        company.exchange(&tokens["access_token"], "urn:ietf:params:oauth:token-type:access_token").await;
    assert_eq!(as_ours.error(), "400 invalid_request", "somebody else's token is not ours; {as_ours:?}");

    let elsewhere = company.log_in("u-4711", ELSEWHERE);
    let elsewhere = company.exchange(&elsewhere["access_token"], JWT).await;
    assert_eq!(elsewhere.error(), "400 invalid_request", "it is addressed to another API; {elsewhere:?}");
    let stranger = company.log_in("u-0815", AUDIENCE);
    let stranger = company.exchange(&stranger["access_token"], JWT).await;
    assert_eq!(stranger.error(), "400 invalid_request", "nobody has this sub; {stranger:?}");
    let namesake = company.log_in("riley", AUDIENCE);
    let namesake = company.exchange(&namesake["access_token"], JWT).await;
    assert_eq!(namesake.error(), "400 invalid_request", "their riley is not ours; {namesake:?}");
}

#[tokio::test]
async fn a_provider_that_is_not_registered_is_refused() {
    let Some(company) = Company::start(false) else { return };
    let tokens = company.log_in("u-4711", AUDIENCE);
    let answer = company.exchange(&tokens["access_token"], JWT).await;
    assert_eq!(answer.error(), "400 invalid_request", "{answer:?}");
}
