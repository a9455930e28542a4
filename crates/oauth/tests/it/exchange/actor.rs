//! Who acts: the actor is proven by its own token, and is never left out, ignored or somebody else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_testkit::story::{self, CRM, ISSUER};
use mandate_testkit::world::{ACCESS_TOKEN, JWT, World, payload, with, without};

use crate::{refused, shown};

#[tokio::test]
async fn leaving_out_the_actor_never_yields_a_token_without_one() {
    let world = World::story();
    let app = world.desk_app();
    let bare = world.person_token("riley", None, None).await;
    let delegated = world.mandate().await;
    for subject in [bare, delegated] {
        let form = world.app_exchange("x", &subject, CRM, "read:cases");
        let form = without(without(form, "actor_token"), "actor_token_type");
        assert_eq!(refused(world.token(&form, Some(&app)).await), "400 invalid_request actor_required");
    }
}

#[tokio::test]
async fn actor_parameters_stand_together_or_not_at_all() {
    let world = World::story();
    let subject = world.person_token("riley", None, None).await;
    let (app, svid) = (world.desk_app(), world.svid("support-agent").await);
    let form = world.app_exchange(&svid, &subject, CRM, "read:cases");
    let token = async |form| refused(world.token(&form, Some(&app)).await);
    assert_eq!(
        token(without(form.clone(), "actor_token_type")).await,
        "400 invalid_request parameter_missing"
    );
    assert_eq!(token(without(form.clone(), "actor_token")).await, "400 invalid_request parameter_misplaced");
    assert_eq!(
        token(with(form, "actor_token_type", ACCESS_TOKEN)).await,
        "400 invalid_request parameter_unacceptable"
    );
}

#[tokio::test]
async fn an_actor_token_that_carries_act_is_refused() {
    let world = World::story();
    let subject = world.person_token("riley", None, None).await;
    let app = world.desk_app();
    let with_act = world.mandate().await;
    let form = world.app_exchange(&with_act, &subject, CRM, "read:cases");
    assert_eq!(refused(world.token(&form, Some(&app)).await), "400 invalid_request actor_token_refused");

    // A JWT-SVID with an `act` of the caller's making cannot be signed by anybody but the authority.
    let svid = world.svid("support-agent").await;
    let mut claims = payload(&svid);
    claims["act"] = serde_json::json!({"sub": story::spiffe_id("research-agent"), "iss": ISSUER});
    let parts: Vec<&str> = svid.split('.').collect();
    let edited = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims.to_string()), parts[2]);
    let form = world.app_exchange(&edited, &subject, CRM, "read:cases");
    assert_eq!(refused(world.token(&form, Some(&app)).await), "400 invalid_request actor_token_refused");
}

#[tokio::test]
async fn no_other_kind_of_token_passes_for_a_subject_or_an_actor() {
    let world = World::story();
    let (svid, subject) = (world.svid("support-agent").await, world.person_token("riley", None, None).await);
    let assertion = world.assertion(&world.assertion_claims());
    let refuse = async |form| refused(world.token(&form, None).await);
    for token in [svid.as_str(), &assertion, "not.a.jwt", "opaque"] {
        let form = world.agent_exchange(&svid, token, CRM, "read:cases");
        assert_eq!(refuse(form).await, "400 invalid_request subject_token_refused", "{token}");
    }
    let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
    for token in [svid.as_str(), &assertion, "not.a.jwt", "opaque"] {
        let form = with(with(form.clone(), "subject_token_type", JWT), "subject_token", token);
        assert_eq!(refuse(form).await, "400 invalid_request subject_token_refused", "{token}");
    }
    let as_id_token = with(form.clone(), "subject_token_type", "urn:ietf:params:oauth:token-type:id_token");
    assert_eq!(refuse(as_id_token).await, "400 invalid_request id_token_not_taken");
    for kind in ["refresh_token", "saml2", "bogus"] {
        let form =
            with(form.clone(), "subject_token_type", &format!("urn:ietf:params:oauth:token-type:{kind}"));
        assert_eq!(refuse(form).await, "400 invalid_request parameter_unacceptable");
    }
    let app = world.desk_app();
    for actor in [subject.as_str(), &assertion] {
        let form = world.app_exchange(actor, &subject, CRM, "read:cases");
        assert_eq!(refused(world.token(&form, Some(&app)).await), "400 invalid_request actor_token_refused");
    }
}

#[tokio::test]
async fn who_sends_another_kind_of_token_is_told_what_it_is_and_what_is_expected() {
    let world = World::story();
    let svid = world.svid("support-agent").await;
    let opaque = "malformed: not three parts. A subject token is a signed JWT, or an opaque token of a client that introspection of an issuer's entry names.";
    let svid_type = "typ: the header says JWT. An access token says typ at+jwt (RFC 9068).";
    for (token, says) in [("opaque", opaque), (svid.as_str(), svid_type)] {
        let form = world.agent_exchange(&svid, token, CRM, "read:cases");
        for form in [form.clone(), with(form, "subject_token_type", JWT)] {
            let error = world.token(&form, None).await.unwrap_err();
            assert_eq!(
                error.description,
                format!("subject_token_refused: The subject token is refused: {says}")
            );
        }
    }
}

#[tokio::test]
async fn who_sends_another_kind_of_token_as_actor_is_told_what_an_actor_token_is() {
    let world = World::story();
    let subject = world.person_token("riley", None, None).await;
    let form = world.app_exchange(&subject, &subject, CRM, "read:cases");
    let error = world.token(&form, Some(&world.desk_app())).await.unwrap_err();
    assert_eq!(
        error.description,
        "actor_token_refused: The actor token is refused: typ: the header says at+jwt. An actor token is a JWT-SVID of this trust domain, or the token of a platform that an agent's entry names."
    );
}

#[tokio::test]
async fn an_actor_token_is_never_ignored_no_matter_who_the_client_is() {
    let world = World::story();
    let subject = world.person_token("riley", None, None).await;
    let (svid, other) = (world.svid("support-agent").await, world.svid("research-agent").await);
    let form = with(world.agent_exchange(&svid, &subject, CRM, "read:cases"), "actor_token_type", JWT);
    for garbage in ["not.a.jwt", "x", &subject] {
        let answer = world.token(&with(form.clone(), "actor_token", garbage), None).await;
        assert_eq!(refused(answer), "400 invalid_request actor_token_refused");
    }
    assert_eq!(
        refused(world.token(&with(form.clone(), "actor_token", &other), None).await),
        "400 invalid_request actor_not_client"
    );
    assert!(world.token(&with(form.clone(), "actor_token", &svid), None).await.is_ok());
    let fresh = world.svid("support-agent").await;
    assert!(
        world.token(&with(form, "actor_token", &fresh), None).await.is_ok(),
        "another JWT-SVID of the same agent"
    );
}

#[tokio::test]
async fn an_svid_for_anybody_else_as_well_is_refused() {
    let world = World::story();
    let subject = world.person_token("riley", None, None).await;
    let id = story::spiffe_id("support-agent");
    let slash = format!("{ISSUER}/");
    let endpoint = format!("{ISSUER}/token");
    for audiences in [&[ISSUER, CRM][..], &[CRM], &[&slash], &[&endpoint], &["https://mandate.acme.exampl"]] {
        let svid = world.svid_for(&id, audiences).await;
        let form = world.agent_exchange(&svid, &subject, CRM, "read:cases");
        assert_eq!(
            refused(world.token(&form, None).await),
            "401 invalid_client client_assertion_refused",
            "{audiences:?}"
        );
        let form = world.app_exchange(&svid, &subject, CRM, "read:cases");
        let error = world.token(&form, Some(&world.desk_app())).await.unwrap_err();
        assert_eq!(shown(&error), "400 invalid_request actor_token_refused");
        let says = "refused: audience. Its aud must be https://mandate.acme.example and nothing else.";
        assert!(error.description.ends_with(says), "{audiences:?}: {error}");
    }
}
