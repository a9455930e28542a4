//! Requests that would cross tenants.

use mandate_testkit::app::{CRM, JWT_SPIFFE, exchange, form, redemption};

use super::registry::agent;
use super::stage::{Stage, with, without};

/// The CRM, of this tenant.
fn crm(tenant: &str) -> String {
    format!(
        "resource = [{{ name = \"crm\", uri = \"{CRM}\", scopes = [\"read:cases\", \"write:case_comments\", \"send:mail\"], tenant = \"{tenant}\" }}]\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_cross_tenants() {
    let mut stage = Stage::with_node("Token endpoint: tenants").await;
    let rights = "[{ resource = \"crm\", scopes = [\"read:cases\"] }]";
    let watch = agent(
        rustix::process::getuid().as_raw(),
        "watch-agent",
        &format!("may = {rights}\nceiling = {rights}\ntenant = \"acme\""),
    );
    let riley = format!("person = [{{ name = \"riley\", may = {rights}, tenant = \"acme\" }}]\n");
    stage.apply("riley, watch-agent and the CRM are of acme", &[crm("acme"), riley, watch].concat()).await;
    stage.server.clock.advance(std::time::Duration::from_secs(1));
    let code = stage.code("riley", None, None).await;
    let subject =
        stage.token("A person's token says the tenant", &redemption(&code)).await.member("access_token");
    let svid = stage.svid("support-agent").await;
    let by_agent = exchange(&svid, &subject, CRM, "read:cases");
    stage.token("An agent that is shared by all tenants acts for riley", &by_agent).await;
    let watch = stage.svid("watch-agent").await;
    let alone = form(&[
        ("grant_type", "client_credentials"),
        ("client_assertion_type", JWT_SPIFFE),
        ("client_assertion", &watch),
        ("resource", CRM),
    ]);
    stage.token("An agent of the tenant on its own behalf", &alone).await;
    stage
        .token(
            "An agent that names a person and has no token of theirs",
            &without(by_agent.clone(), "subject_token"),
        )
        .await;
    let named = with(without(by_agent.clone(), "subject_token"), "username", "riley");
    stage.token("The same with a name", &named).await;
    let at_the_crm = stage.code("riley", Some(CRM), None).await;

    stage.apply("The CRM is of umbrella now", &crm("umbrella")).await;
    stage.token("The token of one tenant for a resource of another", &by_agent).await;
    stage.token("An agent of one tenant for a resource of another", &alone).await;
    let late = with(redemption(&at_the_crm), "resource", CRM);
    stage.token("A code that was given before", &late).await;
    stage.end("token_tenants").await;
}
