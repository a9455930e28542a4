//! What the table of grants says of each parameter is what the token endpoint does.

use mandate_core::names::{GrantType, Parameter};
use mandate_oauth::grants::{GrantHandler, TABLE};
use mandate_oauth::parameter::{Elsewhere, Presence};
use mandate_testkit::story::{self, CRM};
use mandate_testkit::world::{ACCESS_TOKEN, JWT, Pairs, World, pairs, refresh_token, with, without};

fn world() -> World {
    let apps = story::away_apps().into_iter().chain(story::device_apps());
    World::with_entries(apps.chain([story::watch_agent()]).collect())
}

/// A code of `desk-app` for `support-agent`.
async fn code_for_agent(world: &World) -> String {
    let agent = story::spiffe_id("support-agent");
    let form = with(world.authorization("desk-app", Some(CRM), None), "requested_actor", &agent);
    let uri = world.push(&form, Some(&world.desk_app())).await.unwrap();
    world.code(&pairs(&[("client_id", "desk-app"), ("request_uri", &uri)]), "riley").await
}

/// A request of this grant with each of its parameters, and the header of its client. It is answered with a
/// token.
async fn complete(world: &World, grant: &GrantHandler) -> (Pairs, Option<String>) {
    match grant.name() {
        GrantType::AuthorizationCode => {
            let code = code_for_agent(world).await;
            let form = without(world.redemption("desk-app", &code), "client_id");
            let form = with(form, "actor_token", &world.svid("support-agent").await);
            (with(with(form, "actor_token_type", JWT), "resource", CRM), Some(world.desk_app()))
        }
        GrantType::RefreshToken => {
            let asked = Some("read:cases offline_access");
            let code = world.code(&world.authorization("away-app", Some(CRM), asked), "riley").await;
            let first = world.token(&world.redemption("away-app", &code), None).await.unwrap();
            let form = with(world.refreshing("away-app", &refresh_token(&first)), "resource", CRM);
            (with(form, "scope", "read:cases"), None)
        }
        GrantType::DeviceCode => {
            let asked = pairs(&[("client_id", "tv-app"), ("resource", CRM)]);
            let begun = world.device_authorization(&asked, None).await.unwrap();
            let text = |name: &str| begun.get(name).unwrap().as_str().unwrap();
            world.allow_device(text("user_code"), "riley").await.unwrap();
            let form = world.polling("tv-app", text("device_code"));
            (with(form, "resource", CRM), None)
        }
        GrantType::ClientCredentials => {
            let form = world.own_behalf(&world.svid("watch-agent").await, CRM, "read:cases");
            (with(form, "audience", CRM), None)
        }
        GrantType::TokenExchange => {
            let (svid, subject) =
                (world.svid("support-agent").await, world.person_token("riley", None, None).await);
            let form = world.app_exchange(&svid, &subject, CRM, "read:cases");
            (with(with(form, "audience", CRM), "requested_token_type", ACCESS_TOKEN), Some(world.desk_app()))
        }
    }
}

/// What is said when the request comes without a parameter; nothing: a token was issued.
async fn said_without(world: &World, grant: &GrantHandler, parameter: Parameter) -> Option<String> {
    let (form, header) = complete(world, grant).await;
    let answer = world.token(&without(form, parameter.as_str()), header.as_deref()).await;
    answer.err().map(|error| error.description.split_once(": ").unwrap().1.to_owned())
}

fn missing(parameter: Parameter) -> String {
    format!("The parameter {parameter} is missing.")
}

fn misplaced(parameter: Parameter) -> String {
    format!("parameter_misplaced: The parameter {parameter} does not belong in this request.")
}

#[tokio::test]
async fn a_request_with_every_parameter_of_its_grant_is_answered_with_a_token() {
    let world = world();
    for grant in TABLE {
        let (form, header) = complete(&world, grant).await;
        for row in grant.parameters() {
            assert!(form.iter().any(|(name, _)| name == row.parameter.as_str()), "{row:?} of {grant:?}");
        }
        world.token(&form, header.as_deref()).await.unwrap();
    }
}

#[tokio::test]
async fn a_parameter_is_missed_if_its_row_says_so_and_only_then() {
    let world = world();
    for grant in TABLE {
        for row in grant.parameters() {
            let said = said_without(&world, grant, row.parameter).await;
            match row.presence {
                Presence::Required | Presence::With(_) => {
                    assert_eq!(said, Some(missing(row.parameter)), "{grant:?}");
                }
                Presence::Optional => assert_ne!(said, Some(missing(row.parameter)), "{grant:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_parameter_that_belongs_to_another_is_misplaced_without_it() {
    let world = world();
    for grant in TABLE {
        for row in grant.parameters() {
            if let Presence::With(other) = row.presence {
                let (form, header) = complete(&world, grant).await;
                let error = world.token(&without(form, other.as_str()), header.as_deref()).await.unwrap_err();
                assert_eq!(error.description, misplaced(row.parameter), "{grant:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_belongs_to_another_grant_is_ignored_or_refused_as_its_row_says() {
    let world = world();
    for grant in TABLE {
        for other in TABLE.into_iter().filter(|other| other.name() != grant.name()) {
            let (theirs, _) = complete(&world, other).await;
            for row in other.parameters().filter(|row| !grant.has(row.parameter)) {
                let (form, header) = complete(&world, grant).await;
                let (_, value) = theirs.iter().find(|(name, _)| name == row.parameter.as_str()).unwrap();
                let answer = world.token(&with(form, row.parameter.as_str(), value), header.as_deref()).await;
                match row.elsewhere {
                    Elsewhere::Ignored => assert!(answer.is_ok(), "{row:?} at {grant:?}: {answer:?}"),
                    Elsewhere::Refused => {
                        assert_eq!(answer.unwrap_err().description, misplaced(row.parameter), "{grant:?}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_offered_is_said_in_the_metadata_and_to_a_caller_who_asks_for_something_else() {
    let world = world();
    let names = TABLE.map(|grant| grant.name().as_str());
    assert_eq!(world.engine.metadata()["grant_types_supported"], serde_json::json!(names));
    let error = world.token(&pairs(&[("grant_type", "password")]), None).await.unwrap_err();
    let (last, others) = names.split_last().unwrap();
    let offered = format!("{} or {last}", others.join(", "));
    assert_eq!(error.description, format!("grant_type_unsupported: grant_type must be {offered}."));
}
