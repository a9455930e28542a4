//! Which scopes an authorization request may ask for, and which the person and the client are given.

use mandate_audit::Outcome;
use mandate_core::registry::{Client, ClientAuthentication, Entry, EntryKind};
use mandate_core::{RequestSource, Secret};
use mandate_oauth::{AuthorizeRefusal, LoginRefusal};
use mandate_testkit::story::{self, CRM, ISSUER, RESEARCH};
use mandate_testkit::world::{World, encode, exposed, parameter, payload};

use crate::shown;

use super::{logs_in, sent_back};

#[tokio::test]
async fn that_no_scope_exists_is_said_of_all_that_were_asked_for() {
    let world = World::story();
    let query = world.authorization("support-app", Some(CRM), Some("openid profile"));
    let refused = world.engine.authorize(encode(&query).as_bytes(), RequestSource::Other).await;
    let Err(AuthorizeRefusal::Redirect { location, error }) = refused else {
        panic!("not a redirect: {refused:?}")
    };
    let said = "scope_unknown: None of the scopes asked for exists here.";
    assert_eq!(
        (error.description.as_str(), parameter(&location, "error_description").as_deref()),
        (said, Some(said))
    );
}

#[tokio::test]
async fn our_own_administration_is_given_only_by_name_and_alone() {
    let mut riley = story::person(
        "riley",
        vec![story::permission("crm", "read:cases"), story::permission("mandate", "mandate:admin")],
    );
    let admin = Entry::Resource(story::resource("mandate", ISSUER, "mandate:admin"));
    let listed = Entry::Client(administrative("read:cases mandate:admin"));
    let world = World::with_entries(vec![admin.clone(), Entry::Person(riley.clone()), listed.clone()]);
    for (resource, scope, given) in [
        (Some(ISSUER), Some("mandate:admin"), "mandate:admin"),
        (Some("https://mandate.acme.example/"), Some("mandate:admin"), "mandate:admin"),
        // Not together with anything else.
        (Some(ISSUER), Some("mandate:admin read:cases"), "read:cases"),
        (None, Some("mandate:admin read:cases"), "read:cases"),
        (Some(ISSUER), Some("read:cases"), "read:cases"),
        (Some(ISSUER), None, "read:cases"),
        (None, None, "read:cases"),
    ] {
        let claims = payload(&world.person_token("riley", resource, scope).await);
        assert_eq!(
            (&claims["aud"], &claims["scope"]),
            (&ISSUER.into(), &given.into()),
            "{resource:?} {scope:?}"
        );
    }
    riley.may.pop();
    let world = World::with_entries(vec![admin, Entry::Person(riley), listed]);
    assert!(!logs_in(&world, "mandate:admin").await, "not without the right");
}

/// `support-app` with a list of scopes.
fn administrative(listed: &str) -> Client {
    Client {
        scopes: Some(listed.parse().unwrap()),
        ..story::client("support-app", ClientAuthentication::None, &[])
    }
}

#[tokio::test]
async fn our_own_administration_is_for_clients_whose_entry_lists_it() {
    let admin = Entry::Resource(story::resource("mandate", ISSUER, "mandate:admin"));
    let riley = Entry::Person(story::person("riley", vec![story::permission("mandate", "mandate:admin")]));
    for client in
        [story::client("support-app", ClientAuthentication::None, &[]), administrative("read:cases")]
    {
        let world = World::with_entries(vec![admin.clone(), riley.clone(), Entry::Client(client)]);
        let query = world.authorization("support-app", Some(ISSUER), Some("mandate:admin"));
        assert_eq!(
            sent_back(&world, &query).await,
            "400 invalid_scope scope_beyond_client",
            "before anybody types a password"
        );
    }
}

#[tokio::test]
async fn everything_that_the_metadata_names_can_be_asked_for_at_once() {
    let admin = Entry::Resource(story::resource("mandate", ISSUER, "mandate:admin"));
    let world = World::with_entries(vec![admin]);
    let metadata = world.engine.metadata();
    let named: Vec<&str> = metadata["scopes_supported"]
        .as_array()
        .unwrap()
        .iter()
        .map(|scope| scope.as_str().unwrap())
        .collect();
    assert!(named.contains(&"send:mail") && !named.contains(&"mandate:admin"), "{named:?}");
    let all = named.join(" ");
    let granted = [
        (None, ISSUER, "read:cases write:case_comments write:opportunities"),
        (Some(CRM), CRM, "read:cases write:case_comments write:opportunities"),
        (Some(RESEARCH), RESEARCH, "read:cases"),
    ];
    for (resource, aud, scope) in granted {
        let claims = payload(&world.person_token("riley", resource, Some(&all)).await);
        assert_eq!((&claims["aud"], &claims["scope"]), (&aud.into(), &scope.into()), "{resource:?}");
    }
    // As OpenID clients ask.
    let claims =
        payload(&world.person_token("riley", Some(CRM), Some("openid offline_access read:cases")).await);
    assert_eq!(claims["scope"], "read:cases");
}

#[tokio::test]
async fn more_scopes_than_one_resource_can_have_can_be_asked_for() {
    let many = |of: &str| (0..60).map(|n| format!("{of}:{n}")).collect::<Vec<_>>().join(" ");
    let resources = ["a", "b", "c"].map(|name| {
        Entry::Resource(story::resource(name, &format!("https://{name}.acme.example"), &many(name)))
    });
    let riley = Entry::Person(story::person("riley", vec![story::permission("b", &many("b"))]));
    let world = World::with_entries(resources.into_iter().chain([riley]).collect());
    let all = [many("a"), many("b"), many("c")].join(" ");
    let claims = payload(&world.person_token("riley", Some("https://b.acme.example"), Some(&all)).await);
    assert_eq!(claims["scope"].as_str().unwrap().split(' ').count(), 60);
    assert!(world.speaks_for(&world.person_token("riley", None, Some(&all)).await).is_some());
}

#[tokio::test]
async fn scopes_that_are_too_many_for_one_request_are_not_named_in_the_metadata() {
    let long = "x".repeat(100);
    for (resources, each, prefix) in [(9, 64, ""), (2, 64, long.as_str())] {
        let of = |at: usize| (0..each).map(|n| format!("{prefix}{at}:{n}")).collect::<Vec<_>>().join(" ");
        let entry = |at: usize| {
            Entry::Resource(story::resource(
                &format!("r{at}"),
                &format!("https://r{at}.acme.example"),
                &of(at),
            ))
        };
        let riley = Entry::Person(story::person("riley", vec![story::permission("r1", &of(1))]));
        let world = World::with_entries((0..resources).map(entry).chain([riley]).collect());
        assert_eq!(world.engine.metadata().get("scopes_supported"), None, "{resources} with {each}");
        // So clients ask without a scope, and are given what they may have.
        let claims = payload(&world.person_token("riley", None, None).await);
        assert_eq!(claims["scope"].as_str().unwrap().split(' ').count(), each);
    }
}

#[tokio::test]
async fn a_person_with_more_scopes_than_a_token_can_carry_is_told_at_the_login_and_no_code_is_issued() {
    let of = |name: &str| (0..100).map(|n| format!("{name}:{n}")).collect::<Vec<_>>().join(" ");
    let names = ["a", "b", "c", "d", "e", "f"];
    let resources = names.map(|name| {
        Entry::Resource(story::resource(name, &format!("https://{name}.acme.example"), &of(name)))
    });
    let riley =
        Entry::Person(story::person("riley", names.map(|name| story::permission(name, &of(name))).to_vec()));
    let world = World::with_entries(resources.into_iter().chain([riley]).collect());
    let request = world
        .engine
        .authorize(encode(&world.authorization("support-app", None, None)).as_bytes(), RequestSource::Other)
        .await;
    let answer = world.engine.log_in(&request.unwrap(), "riley", Secret::new(story::PASSWORD)).await;
    let Err(LoginRefusal::Redirect { error, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(shown(&error), "400 invalid_scope too_much_for_one_token");
    assert!(error.description.contains("Name a resource, or the scopes"), "{}", error.description);
    let record = world.last_record();
    assert_eq!((record.reason.as_str(), record.outcome), ("too_much_for_one_token", Outcome::Refused));
    let claims = payload(&world.person_token("riley", Some("https://f.acme.example"), None).await);
    assert_eq!(claims["scope"].as_str().unwrap().split(' ').count(), 100);
}

#[tokio::test]
async fn a_client_is_given_no_more_than_its_entry_lists() {
    let world = World::with_entries(vec![Entry::Client(administrative("read:cases write:opportunities"))]);
    for (resource, scope, given) in [
        (Some(CRM), None, "read:cases write:opportunities"),
        (Some(CRM), Some("read:cases write:case_comments"), "read:cases"),
        (Some(RESEARCH), None, "read:cases"),
        (None, None, "read:cases write:opportunities"),
    ] {
        let query = world.authorization("support-app", resource, scope);
        let request = world.engine.authorize(encode(&query).as_bytes(), RequestSource::Other).await.unwrap();
        assert_eq!(
            request.scopes().map(ToString::to_string).as_deref(),
            Some(given),
            "the person is shown what it is for"
        );
        let claims = payload(&world.person_token("riley", resource, scope).await);
        assert_eq!(claims["scope"], given, "{resource:?} {scope:?}");
    }
    let query = world.authorization("support-app", Some(CRM), Some("write:case_comments"));
    assert_eq!(sent_back(&world, &query).await, "400 invalid_scope scope_beyond_client");
}

#[tokio::test]
async fn a_client_that_loses_a_scope_while_a_code_is_out_is_not_given_it() {
    let world = World::with_entries(vec![Entry::Client(administrative("read:cases write:opportunities"))]);
    let code = world.code(&world.authorization("support-app", Some(CRM), None), "riley").await;
    world.change_without_cuts(EntryKind::Client, "support-app", |entry| {
        if let Entry::Client(client) = entry {
            client.scopes = Some("read:cases".parse().unwrap());
        }
    });
    let token = exposed(&world.token(&world.redemption("support-app", &code), None).await.unwrap());
    assert_eq!(payload(&token)["scope"], "read:cases");
}

#[tokio::test]
async fn a_resource_that_declares_our_administration_scope_gives_none_of_ours() {
    let riley = story::person("riley", vec![story::permission("tickets", "read:tickets mandate:admin")]);
    let world = World::with_entries(vec![
        Entry::Resource(story::resource("mandate", ISSUER, "mandate:admin")),
        Entry::Resource(story::resource(
            "tickets",
            "https://tickets.acme.example",
            "read:tickets mandate:admin",
        )),
        Entry::Person(riley),
    ]);
    for resource in [None, Some(ISSUER)] {
        let claims = payload(&world.person_token("riley", resource, None).await);
        assert_eq!(
            (&claims["aud"], &claims["scope"]),
            (&ISSUER.into(), &"read:tickets".into()),
            "{resource:?}"
        );
    }
    let query = world.authorization("support-app", Some(ISSUER), Some("mandate:admin"));
    assert_eq!(sent_back(&world, &query).await, "400 invalid_scope scope_beyond_client");
    let theirs = payload(&world.person_token("riley", Some("https://tickets.acme.example"), None).await);
    assert_eq!(theirs["scope"], "mandate:admin read:tickets", "there it is a scope like any other");
}

#[tokio::test]
async fn a_client_that_needs_more_asks_for_the_union_and_is_given_it() {
    let world = World::story();
    let first = payload(&world.person_token("riley", Some(CRM), Some("read:cases")).await);
    assert_eq!(first["scope"], "read:cases");
    // An API's challenge names what is missing. An MCP client then asks for that and for what it had, in one
    // request, and may write the bare origin of the resource with a slash.
    let union = "read:cases write:case_comments";
    for resource in [CRM.to_owned(), format!("{CRM}/")] {
        let claims = payload(&world.person_token("riley", Some(&resource), Some(union)).await);
        assert_eq!((&claims["scope"], &claims["aud"]), (&union.into(), &CRM.into()), "{resource}");
    }
}
