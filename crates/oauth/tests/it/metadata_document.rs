//! Clients whose id is the URL of their metadata, at a server that is on no loopback host.

use std::sync::Arc;

use mandate_core::RequestSource;
use mandate_core::registry::{Client, ClientAuthentication, Entry, Resource};
use mandate_oauth::{AuthorizeRefusal, SelfDescription};
use mandate_testkit::listed_names::ListedNames;
use mandate_testkit::story::{self, CALLBACK, CRM};
use mandate_testkit::world::{World, encode};

use crate::shown;

const URL: &str = "https://client.example/client.json";

fn world(names: &Arc<ListedNames>, hosts: &[&str], more: Vec<Entry>) -> World {
    let crm = story::resource("crm", CRM, "read:cases write:case_comments");
    let unattested = "read:cases".parse().unwrap();
    let mut entries = vec![Entry::Resource(Resource { unattested, ..crm })];
    entries.extend(more);
    let metadata_hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    let names = Arc::clone(names) as _;
    World::with_clients(entries, SelfDescription { metadata_hosts, names, ..SelfDescription::default() })
}

async fn authorize(world: &World, client: &str) -> String {
    let query = world.authorization(client, Some(CRM), None);
    match world.engine.authorize(encode(&query).as_bytes(), RequestSource::Other).await {
        Err(AuthorizeRefusal::Page(error)) => shown(&error),
        Err(AuthorizeRefusal::Redirect { error, .. }) => format!("redirect {}", shown(&error)),
        Ok(_) => "a login".to_owned(),
    }
}

#[tokio::test]
async fn a_host_that_is_not_listed_is_not_even_looked_up() {
    let names = Arc::new(ListedNames::default());
    for host in ["client.example", "sub.client.example", "evilclient.example", "localhost.evil.example"] {
        names.list(host, &[&["10.0.0.1"], &["10.0.0.2"]]);
    }
    let nothing_listed = world(&names, &[], Vec::new());
    assert_eq!(authorize(&nothing_listed, URL).await, "400 invalid_request parameter_unacceptable");
    let world = world(&names, &["*.client.example", "localhost"], Vec::new());
    for client in [
        URL,
        "https://evilclient.example/client.json",
        "https://localhost.evil.example/client.json",
        // These are no URLs of metadata.
        "http://sub.client.example/client.json",
        "https://sub.client.example",
        "https://sub.client.example/",
        "https://sub.client.example/a/../client.json",
        "https://sub.client.example/client.json#x",
        "https://u@sub.client.example/client.json",
        "https://SUB.client.example/client.json",
        "https://sub.client.example:443/client.json",
        "HTTPS://sub.client.example/client.json",
    ] {
        assert_eq!(authorize(&world, client).await, "400 invalid_request parameter_unacceptable", "{client}");
    }
    for host in ["client.example", "sub.client.example", "evilclient.example", "localhost.evil.example"] {
        assert_eq!(names.left(host), 2, "{host}");
    }
}

#[tokio::test]
async fn an_address_that_is_not_public_is_told_to_the_log_alone() {
    let names = Arc::new(ListedNames::default());
    let world = world(&names, &["client.example", "localhost", "127.0.0.1"], Vec::new());
    names.list("client.example", &[&["169.254.169.254"]]);
    names.list("localhost", &[&["127.0.0.1"]]);
    for (client, address) in [
        (URL, "169.254.169.254"),
        // Our own issuer is on no loopback host.
        ("http://localhost/client.json", "127.0.0.1"),
        ("http://127.0.0.1/client.json", "127.0.0.1"),
        ("https://127.0.0.1/client.json", "127.0.0.1"),
    ] {
        let answer = authorize(&world, client).await;
        assert_eq!(answer, "503 temporarily_unavailable client_document_unavailable", "{client}");
        let detail = world.last_record().detail.unwrap();
        assert!(detail.contains(&format!("{address} is not a public address")), "{detail}");
    }
}

#[tokio::test]
async fn an_entry_of_the_registry_comes_before_the_document() {
    let names = Arc::new(ListedNames::default());
    names.list("client.example", &[&["10.0.0.1"], &["10.0.0.2"]]);
    let registered = story::client(URL, ClientAuthentication::None, &[]);
    let registered = Client { redirect_uris: vec![CALLBACK.to_owned()], ..registered };
    let world = world(&names, &["client.example"], vec![Entry::Client(registered)]);
    assert_eq!(authorize(&world, URL).await, "a login");
    assert_eq!(names.left("client.example"), 2);
}
