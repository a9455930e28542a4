//! The token exchange with tokens of other issuers.

use std::time::Duration;

use mandate_api::admin::ClientSecretRequest;
use mandate_core::{Actor, ActorChain, Clock as _, Lineage, Terms};
use mandate_testkit::app::{ACCESS_TOKEN, CLIENT_SECRET, CRM, EXCHANGE, FormPairs, exchange, form};
use mandate_testkit::hostile_issuer::HostileIssuer;
use mandate_token::Signer as _;
use serde_json::{Value, json};

use super::registry::{SECRET, granted};
use super::stage::{Stage, TOKEN, with};
use crate::world::spiffe_id;

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Another issuer, and what a proper token of it says.
struct Abroad {
    idp: HostileIssuer,
    audience: String,
}

impl Abroad {
    /// An issuer that is trusted, with Dana, and Erin who is disabled.
    async fn trusted(stage: &mut Stage, name: &str) -> Self {
        let idp = HostileIssuer::start();
        let url = idp.issuer();
        stage.log.names.fix(url.as_str(), &format!("<{name}>"));
        let encoded: String = url::form_urlencoded::byte_serialize(url.as_str().as_bytes()).collect();
        stage.log.names.fix(&encoded, &format!("<{name}>"));
        let audience = stage.server.issuer().to_owned();
        let person = |who: &str, sub: &str, more: &str| {
            format!(
                "{{ name = \"{who}-of-{name}\", issuer = \"{url}\", sub = \"{sub}\", may = [{{ resource = \"crm\", scopes = [\"read:cases\"] }}]{more} }}"
            )
        };
        let registry = format!(
            "issuer = [{{ url = \"{url}\", audience = \"{audience}\" }}]\nperson = [{}, {}]\n{}",
            person("dana", "user-7", ""),
            person("erin", "user-8", ", disabled = true"),
            granted(&format!("dana-of-{name}"), "support-agent", "crm", "read:cases", ""),
        );
        stage
            .apply(&format!("<{name}> is trusted, and names dana and erin, who is disabled"), &registry)
            .await;
        Self { idp, audience }
    }

    fn terms(&self, stage: &Stage) -> Terms {
        let mut terms = self.idp.terms(&self.audience, "read:cases", stage.server.clock.now());
        "user-7".clone_into(&mut terms.subject.as_mut().unwrap().sub);
        terms.client = "portal".parse().unwrap();
        terms.chain = ActorChain::empty();
        terms.lineage = Lineage::default();
        terms
    }

    fn token(&self, stage: &Stage) -> String {
        self.idp.sign(&self.terms(stage))
    }

    /// A proper token with other claims.
    fn changed(&self, stage: &Stage, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = mandate_testkit::app::claims(&self.token(stage));
        change(&mut claims);
        let key = self.idp.key();
        key.sign_raw(
            &json!({ "alg": "ES256", "typ": "at+jwt", "kid": key.key_id() }).to_string(),
            &claims.to_string(),
        )
    }
}

fn at_the_crm(svid: &str, subject: &str) -> FormPairs {
    with(exchange(svid, subject, CRM, "read:cases"), "subject_token_type", JWT)
}

fn actor(sub: String, iss: &mandate_core::Issuer) -> ActorChain {
    ActorChain::new(vec![Actor { sub, iss: iss.clone(), sub_profile: None }]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_another_issuer() {
    let mut stage = Stage::with_node("Token endpoint: exchanges of tokens of another issuer").await;
    let abroad = Abroad::trusted(&mut stage, "idp").await;
    let svid = stage.svid("support-agent").await;
    stage.token("A person of another issuer", &at_the_crm(&svid, &abroad.token(&stage))).await;
    let acted =
        Terms { chain: actor("their-agent".to_owned(), &abroad.idp.issuer()), ..abroad.terms(&stage) };
    stage.token("Somebody else's agent has acted before", &at_the_crm(&svid, &abroad.idp.sign(&acted))).await;
    let ours = stage.server.issuer().to_owned();
    let naming = |name: &str| {
        let named = json!({ "sub": spiffe_id(name), "iss": ours });
        abroad.changed(&stage, |claims| claims["may_act"] = named)
    };
    let (named, another_named) = (naming("support-agent"), naming("ops-agent"));
    stage.token("may_act names the agent", &at_the_crm(&svid, &named)).await;

    let now = stage.server.clock.now().secs();
    let refused = [
        ("A person who is not registered", abroad.changed(&stage, |claims| claims["sub"] = "user-9".into())),
        ("A person who is disabled", abroad.changed(&stage, |claims| claims["sub"] = "user-8".into())),
        ("Another audience", abroad.changed(&stage, |claims| claims["aud"] = "https://other.example".into())),
        (
            "A token that has just expired",
            abroad.changed(&stage, |claims| {
                claims["iat"] = (now - 300).into();
                claims["exp"] = (now - 1).into();
            }),
        ),
        (
            "A token that has expired",
            abroad.changed(&stage, |claims| {
                claims["iat"] = (now - 600).into();
                claims["exp"] = (now - 300).into();
            }),
        ),
        (
            "A token that is bound to a key",
            abroad.changed(&stage, |claims| {
                claims["cnf"] = json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" });
            }),
        ),
        (
            "A token without an id",
            abroad.changed(&stage, |claims| drop(claims.as_object_mut().unwrap().remove("jti"))),
        ),
        ("Its own agent by a name of ours", {
            let chain = actor(spiffe_id("ops-agent"), &abroad.idp.issuer());
            abroad.idp.sign(&Terms { chain, ..abroad.terms(&stage) })
        }),
        ("An agent of ours", {
            let chain = actor(spiffe_id("ops-agent"), &stage.server.issuer().parse().unwrap());
            abroad.idp.sign(&Terms { chain, ..abroad.terms(&stage) })
        }),
        ("may_act names another agent", another_named),
    ];
    for (what, token) in refused {
        stage.token(what, &at_the_crm(&svid, &token)).await;
    }
    let key = abroad.idp.key();
    let claims = mandate_testkit::app::claims(&abroad.token(&stage)).to_string();
    let typed =
        key.sign_raw(&json!({ "alg": "ES256", "typ": "JWT", "kid": key.key_id() }).to_string(), &claims);
    stage.token("An ID token", &at_the_crm(&svid, &typed)).await;
    stage
        .token(
            "Sent as a token of ours",
            &with(at_the_crm(&svid, &abroad.token(&stage)), "subject_token_type", ACCESS_TOKEN),
        )
        .await;
    let stranger = HostileIssuer::start();
    stage.log.names.fix(stranger.issuer().as_str(), "<stranger>");
    let token = stranger.token(stage.server.issuer(), "read:cases", stage.server.clock.now());
    stage.token("An issuer that is not trusted", &at_the_crm(&svid, &token)).await;
    abroad.idp.rotate();
    stage
        .token(
            "A key that is newer than the keys that were fetched",
            &at_the_crm(&svid, &abroad.token(&stage)),
        )
        .await;
    stage.end("exchange_foreign").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_another_issuer_names() {
    let mut stage = Stage::with_node("Token endpoint: tokens of another issuer that name groups").await;
    let abroad = Abroad::trusted(&mut stage, "idp").await;
    let (url, audience) = (abroad.idp.issuer(), abroad.audience.clone());
    let issuer =
        |claims: &str| format!("issuer = [{{ url = \"{url}\", audience = \"{audience}\"{claims} }}]\n");
    let group = |may: &str| {
        format!(
            "group = [{{ name = \"support\", issuer = \"{url}\", id = \"4f1b-support\", may = [{may}] }}]\n"
        )
    };
    let reads = "{ resource = \"crm\", scopes = [\"read:cases\"] }";
    let nothing = format!("person = [{{ name = \"dana-of-idp\", issuer = \"{url}\", sub = \"user-7\" }}]\n");
    let named = issuer(", claims = { groups = \"groups\" }");
    stage
        .apply(
            "Dana may do nothing alone; the group support may read cases",
            &[nothing, named, group(reads)].concat(),
        )
        .await;
    stage.server.clock.advance(Duration::from_mins(2));
    let svid = stage.svid("support-agent").await;
    let naming = |stage: &Stage, groups: Value| abroad.changed(stage, |claims| claims["groups"] = groups);
    for (what, groups) in [
        ("A member of the group", json!(["all-staff", "4f1b-support"])),
        ("Nobody's group", json!(["all-staff"])),
        ("The name here is not the id there", json!(["support"])),
        ("A list of other things", json!(["4f1b-support", 7])),
        ("A text", json!("4f1b-support")),
    ] {
        let token = naming(&stage, groups);
        stage.token(what, &at_the_crm(&svid, &token)).await;
    }
    stage.token("A token without the claim", &at_the_crm(&svid, &abroad.token(&stage))).await;
    let overage = abroad.changed(&stage, |claims| claims["_claim_names"] = json!({ "groups": "src1" }));
    stage.token("More groups than the token lists", &at_the_crm(&svid, &overage)).await;
    stage.apply("The group may do nothing", &group("")).await;
    let token = naming(&stage, json!(["4f1b-support"]));
    stage.token("A member of a group without rights", &at_the_crm(&svid, &token)).await;
    stage.end("exchange_foreign_groups").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_another_issuer_that_do_not_come() {
    let mut stage = Stage::with_node("Token endpoint: exchanges that wait for another issuer's keys").await;
    let mut down = Abroad::trusted(&mut stage, "idp-that-is-down").await;
    let slow = Abroad::trusted(&mut stage, "idp-that-is-slow").await;
    let svid = stage.svid("support-agent").await;
    let token = down.token(&stage);
    down.idp.go_down();
    stage.token("The issuer does not answer", &at_the_crm(&svid, &token)).await;
    stage.server.clock.advance(Duration::from_secs(4));
    stage.token("The same 4 s later", &at_the_crm(&svid, &token)).await;

    slow.idp.hold();
    let by_app = form(&[
        ("grant_type", EXCHANGE),
        ("subject_token", &slow.token(&stage)),
        ("subject_token_type", JWT),
        ("actor_token", &svid),
        ("actor_token_type", JWT),
        ("resource", CRM),
    ]);
    let request = stage.post_as(("desk-app", CLIENT_SECRET), TOKEN, &by_app);
    let admin = &stage.server.admin;
    let replaced = async {
        slow.idp.asked_for_keys(1).await;
        admin
            .set_client_secret("desk-app", &ClientSecretRequest { secret: SECRET.to_owned() })
            .await
            .unwrap();
        slow.idp.let_go();
    };
    stage.log.send_while("The client's secret is replaced meanwhile", request, replaced).await;
    stage.end("exchange_foreign_keys").await;
}
