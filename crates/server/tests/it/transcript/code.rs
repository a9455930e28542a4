//! The authorization code grant at the token endpoint (RFC 6749 §4.1.3).

use mandate_api::admin::{ApplyRequest, RevocationRequest, RevocationTarget};
use mandate_api::registry_file;
use mandate_testkit::app::{self, ACCESS_TOKEN, CLIENT_SECRET, CRM, FormPairs, JWT_SPIFFE, redemption};

use super::stage::{Stage, TOKEN, with, without};

#[tokio::test(flavor = "multi_thread")]
async fn the_redemption_of_a_code() {
    let mut stage = Stage::with_node("Token endpoint: authorization codes").await;
    let code = stage.code("riley", None, None).await;
    stage.token("A code for everything that the person may delegate", &redemption(&code)).await;
    let first = code;
    let code = stage.code("riley", Some(CRM), Some("read:cases")).await;
    stage.token("A code for one resource and one scope", &with(redemption(&code), "resource", CRM)).await;
    let code = stage.code("riley", None, Some("read:cases read:nothing")).await;
    stage.token("A code for a scope that exists and one that does not", &redemption(&code)).await;
    let code = stage.code("olga", Some(stage.server.issuer()), Some("mandate:admin")).await;
    stage.token("A code for the administration of the server", &redemption(&code)).await;

    let code = stage.code("riley", Some(CRM), None).await;
    let good = redemption(&code);
    let verifier = "a".repeat(43);
    let refused: [(&str, FormPairs); 13] = [
        ("No code", without(good.clone(), "code")),
        ("A code that was never issued", with(good.clone(), "code", "made-up")),
        ("No redirect_uri", without(good.clone(), "redirect_uri")),
        ("Another redirect_uri", with(good.clone(), "redirect_uri", "http://127.0.0.1:9200/other")),
        ("No code_verifier", without(good.clone(), "code_verifier")),
        ("A code_verifier that is too short", with(good.clone(), "code_verifier", "short")),
        ("Another code_verifier", with(good.clone(), "code_verifier", &verifier)),
        ("Another resource", with(good.clone(), "resource", "https://other.acme.example")),
        ("No resource is the issuer", with(good.clone(), "resource", stage.server.issuer())),
        ("A subject token", with(good.clone(), "subject_token", "x")),
        ("A subject token's type", with(good.clone(), "subject_token_type", ACCESS_TOKEN)),
        ("An actor token", with(good.clone(), "actor_token", "x")),
        ("An actor token's type", with(good.clone(), "actor_token_type", ACCESS_TOKEN)),
    ];
    for (what, form) in refused {
        stage.token(what, &form).await;
    }
    let request = stage.post_as(("desk-app", CLIENT_SECRET), TOKEN, &without(good.clone(), "client_id"));
    stage.log.send("Another client", request).await;
    let svid = stage.svid("support-agent").await;
    let agent = with(
        with(without(good.clone(), "client_id"), "client_assertion_type", JWT_SPIFFE),
        "client_assertion",
        &svid,
    );
    stage.token("An agent", &agent).await;
    stage.token("After all that, the right client still gets its token", &good).await;

    let late = stage.code("riley", None, None).await;
    stage.pass(61);
    stage.token("A code that is older than a minute", &redemption(&late)).await;

    let registry = |more: &str| format!("{}{more}", app::registry(CRM, rustix::process::getuid().as_raw()));
    stage
        .apply(
            "casey is registered",
            "person = [{ name = \"casey\", may = [{ resource = \"crm\", scopes = [\"read:cases\"] }] }]",
        )
        .await;
    let password = mandate_api::admin::PasswordRequest { password: app::PASSWORD.to_owned() };
    stage.server.admin.set_password("casey", &password).await.unwrap();

    let code = stage.code("casey", Some(CRM), None).await;
    let forbids =
        "policy = [{ name = \"nobody\", source = \"forbid (principal is Person, action, resource);\" }]";
    stage.apply("a policy forbids everything to people", forbids).await;
    stage.token("A policy came after the login", &redemption(&code)).await;
    let allows = "policy = [{ name = \"nobody\", source = \"forbid (principal is Person, action, resource) when { context.depth > 99 };\" }]";
    stage.apply("and is lifted", allows).await;

    let code = stage.code("casey", Some(CRM), None).await;
    let revoke = RevocationRequest { target: RevocationTarget::Person("casey".parse().unwrap()) };
    stage.server.admin.revoke(&revoke).await.unwrap();
    stage.token("The person's tokens were revoked after the login", &redemption(&code)).await;
    stage.pass(1);
    let code = stage.code("casey", Some(CRM), None).await;
    stage
        .apply(
            "casey is disabled",
            "person = [{ name = \"casey\", disabled = true, may = [{ resource = \"crm\", scopes = [\"read:cases\"] }] }]",
        )
        .await;
    stage.token("The person was disabled after the login", &redemption(&code)).await;
    stage
        .apply(
            "casey is enabled",
            "person = [{ name = \"casey\", disabled = false, may = [{ resource = \"crm\", scopes = [\"read:cases\"] }] }]",
        )
        .await;
    stage.pass(1);
    let code = stage.code("casey", Some(CRM), None).await;
    let entries = registry_file::parse(&registry("")).unwrap();
    stage.server.admin.apply(&ApplyRequest { entries, prune: true, dry_run: false }).await.unwrap();
    stage.log.note("casey is removed");
    stage.token("The person was removed after the login", &redemption(&code)).await;

    stage.token("The first code again: its token is revoked", &redemption(&first)).await;
    stage.end("token_code").await;
}
