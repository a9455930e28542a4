//! A node joins the server that its token pins, once, and later starts again from its own directory.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use mandate_core::Clock as _;
use mandate_node::{NodeError, NodeFault, NodeReady};
use mandate_testkit::clock::SteppedClock;
use std::sync::Arc;

use crate::server::{NODE_LIFE, Server};
use crate::world::{Place, Running, clock, soon};

fn world() -> (Arc<SteppedClock>, Server, Place) {
    let clock = clock();
    let server = Server::started(clock.clone());
    (clock, server, Place::new())
}

async fn refused(
    place: &Place,
    server: &Server,
    token: Option<String>,
    clock: Arc<SteppedClock>,
) -> NodeError {
    Running::start(place.config(server, token), clock).failure().await
}

#[tokio::test]
async fn a_node_joins_and_restarts_without_a_token() {
    let (clock, server, place) = world();
    let mut node = Running::start(place.config(&server, Some(server.join_token())), clock.clone());
    let ready = node.ready().await;
    assert_eq!(
        ready,
        NodeReady {
            spiffe_id: "spiffe://acme.example/node/1".parse().unwrap(),
            trust_domain: "acme.example".parse().unwrap()
        }
    );
    let key = place.dir().join("node.pem");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(place.dir()).unwrap().permissions().mode() & 0o777, 0o711);
    node.stop().await;
    assert!(!place.socket().exists(), "a stopped node leaves no socket behind");
    let mut node = Running::start(place.config(&server, None), clock);
    assert_eq!(node.ready().await, ready);
    node.stop().await;
    assert_eq!(server.book().joins, 1);
}

#[tokio::test]
async fn the_command_that_joined_also_restarts() {
    let (clock, server, place) = world();
    let token = server.join_token();
    for _ in 0..2 {
        let mut node = Running::start(place.config(&server, Some(token.clone())), clock.clone());
        node.ready().await;
        node.stop().await;
    }
    assert_eq!(server.book().joins, 1, "the spent token was not shown again");
}

#[tokio::test]
async fn a_server_of_another_ca_is_refused_and_never_sees_the_token() {
    let (clock, theirs, place) = world();
    let ours = Server::new(clock.clone());
    let error = refused(&place, &theirs, Some(ours.join_token()), clock).await;
    assert!(
        matches!(&error, NodeError::ServerNotTrusted { reason, .. } if reason.contains("that the join token names")),
        "{error}"
    );
    assert_eq!(error.fault(), NodeFault::Refused);
    assert_eq!(theirs.book().joins, 0);
    assert!(!place.dir().join("node.pem").exists());
}

#[tokio::test]
async fn a_join_token_works_once() {
    let (clock, server, place) = world();
    let token = server.join_token();
    let mut node = Running::start(place.config(&server, Some(token.clone())), clock.clone());
    node.ready().await;
    let elsewhere = Place::new();
    let error = refused(&elsewhere, &server, Some(token.clone()), clock).await;
    assert!(matches!(error, NodeError::JoinRefused { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("mandate node join-token") && text.contains(&format!("--server {}", server.address)),
        "{text}"
    );
    assert!(!text.contains(token.split('.').next().unwrap()), "{text}");
    node.stop().await;
}

#[tokio::test]
async fn without_credentials_or_token_it_says_how_to_join() {
    let (clock, server, place) = world();
    let error = refused(&place, &server, None, clock.clone()).await;
    assert!(matches!(error, NodeError::NotJoined { .. }), "{error}");
    assert_eq!(error.fault(), NodeFault::Usage);
    let error = refused(&place, &server, Some("nonsense".to_owned()), clock).await;
    assert!(matches!(error, NodeError::JoinToken(_)), "{error}");
    assert_eq!(server.book().joins, 0);
}

#[tokio::test]
async fn a_server_that_names_another_trust_domain_than_its_certificate_is_refused() {
    let (clock, server, place) = world();
    server.book().says_trust_domain = Some("evil.example".to_owned());
    let error = refused(&place, &server, Some(server.join_token()), clock).await;
    assert!(matches!(error, NodeError::ServerNotTrusted { .. }), "{error}");
    assert!(!place.dir().join("node.pem").exists());
}

#[tokio::test]
async fn an_expired_certificate_says_exactly_how_to_join_again() {
    let (clock, server, place) = world();
    let mut node = Running::start(place.config(&server, Some(server.join_token())), clock.clone());
    node.ready().await;
    node.stop().await;
    // The moment of `notAfter` is still within (RFC 5280 §4.1.2.5).
    clock.advance(NODE_LIFE + Duration::from_secs(1));
    let error = refused(&place, &server, None, clock.clone()).await;
    assert!(matches!(error, NodeError::CertificateExpired { .. }), "{error}");
    let command = format!(
        "mandate node run --dir {} --server {} --join-token-file FILE --socket {}",
        place.dir().display(),
        server.address,
        place.socket().display()
    );
    assert!(error.to_string().contains(&command), "{error}");
    // And that works.
    let mut node = Running::start(place.config(&server, Some(server.join_token())), clock);
    node.ready().await;
    node.stop().await;
    assert_eq!(server.book().joins, 2);
}

#[tokio::test]
async fn a_node_whose_server_allows_it_comes_back_with_its_expired_certificate() {
    let (clock, mut server, place) = world();
    server.stop();
    server.accept_expired(NODE_LIFE * 4);
    server.start();
    let token = server.join_token();
    let mut node = Running::start(place.config(&server, Some(token.clone())), clock.clone());
    node.ready().await;
    // While it runs, and when it is started again, with the spent token or without.
    for (stop, given) in [(false, None), (true, Some(token)), (true, None)] {
        let renewals = server.book().renewals;
        if stop {
            node.stop().await;
            clock.advance(NODE_LIFE * 2);
            node = Running::start(place.config(&server, given), clock.clone());
            node.ready().await;
        } else {
            server.stop();
            clock.advance(NODE_LIFE * 2);
            server.start();
        }
        soon(async || if server.book().renewals > renewals { Ok(()) } else { Err(()) }).await;
    }
    node.stop().await;
    assert_eq!(server.book().joins, 1, "no token was needed");
}

#[tokio::test]
async fn an_expired_node_with_a_token_joins_again_where_coming_back_is_not_allowed() {
    let (clock, server, place) = world();
    let mut node = Running::start(place.config(&server, Some(server.join_token())), clock.clone());
    node.ready().await;
    node.stop().await;
    clock.advance(NODE_LIFE * 2);
    let mut node = Running::start(place.config(&server, Some(server.join_token())), clock);
    node.ready().await;
    node.stop().await;
    let book = server.book();
    assert_eq!((book.joins, book.renewals), (2, 0));
}

/// A node whose certificate has expired, and a server that would renew it but closes every connection of a
/// node.
async fn hung_up_on() -> (Arc<SteppedClock>, Server, Place) {
    let (clock, mut server, place) = world();
    server.stop();
    server.accept_expired(NODE_LIFE * 4);
    server.start();
    let mut node = Running::start(place.config(&server, Some(server.join_token())), clock.clone());
    node.ready().await;
    node.stop().await;
    clock.advance(NODE_LIFE * 2);
    server.book().hangs_up = true;
    (clock, server, place)
}

async fn closed(server: &Server, times: usize) {
    soon(async || if server.book().hang_ups >= times { Ok(()) } else { Err(()) }).await;
}

const MINUTES: Duration = Duration::from_mins(6);

#[tokio::test]
async fn a_server_that_closes_connections_without_a_word_has_refused_no_expired_node() {
    let (clock, server, place) = hung_up_on().await;
    let mut node = Running::start(place.config(&server, None), clock.clone());
    closed(&server, 4).await;
    clock.advance(MINUTES);
    let before = server.book().hang_ups;
    closed(&server, before + 1).await;
    server.book().hangs_up = false;
    node.ready().await;
    node.stop().await;
    let book = server.book();
    assert_eq!((book.joins, book.renewals), (1, 1));
}

#[tokio::test]
async fn an_expired_node_joins_with_its_token_where_the_server_has_closed_every_connection_for_minutes() {
    let (clock, server, place) = hung_up_on().await;
    let mut node = Running::start(place.config(&server, Some(server.join_token())), clock.clone());
    closed(&server, 4).await;
    assert_eq!(server.book().joins, 1, "not at once");
    clock.advance(MINUTES);
    soon(async || if server.book().joins == 2 { Ok(()) } else { Err(()) }).await;
    server.book().hangs_up = false;
    node.ready().await;
    node.stop().await;
    assert_eq!(server.book().renewals, 0);
}

#[tokio::test]
async fn past_half_of_its_life_the_certificate_is_renewed_with_a_new_key() {
    let (clock, server, place) = world();
    let mut node = Running::start(place.config(&server, Some(server.join_token())), clock.clone());
    node.ready().await;
    node.stop().await;
    let before = fs::read_to_string(place.dir().join("node.pem")).unwrap();
    clock.advance(NODE_LIFE * 2 / 3);
    let mut node = Running::start(place.config(&server, None), clock.clone());
    node.ready().await;
    let after = soon(async || {
        let now = fs::read_to_string(place.dir().join("node.pem")).unwrap();
        if now == before { Err(()) } else { Ok(now) }
    })
    .await;
    assert_ne!(before.lines().nth(1), after.lines().nth(1), "the key is new");
    node.stop().await;
    // The old certificate would have expired by now; the new one carries on.
    clock.advance(NODE_LIFE / 2);
    let mut node = Running::start(place.config(&server, None), clock);
    node.ready().await;
    node.stop().await;
    assert!(server.book().renewals >= 1);
    assert_eq!(server.book().joins, 1);
}

#[tokio::test]
async fn a_node_that_the_server_does_not_know_any_more_joins_again_with_a_new_token_only() {
    let (clock, server, place) = world();
    let token = server.join_token();
    let mut node = Running::start(place.config(&server, Some(token.clone())), clock.clone());
    node.ready().await;
    node.stop().await;
    server.book().banned = true;
    // The spent token of the command that first started it does not help, and does not stop it either.
    let node = Running::start(place.config(&server, Some(token)), clock.clone());
    soon(async || if server.book().joins == 2 { Ok(()) } else { Err(()) }).await;
    node.stop().await;
    assert!(server.book().banned);
    let mut node = Running::start(place.config(&server, Some(server.join_token())), clock);
    node.ready().await;
    node.stop().await;
    assert_eq!(server.book().joins, 3);
}

#[tokio::test]
async fn a_server_that_comes_up_later_is_waited_for() {
    let clock = clock();
    let (mut server, place) = (Server::new(clock.clone()), Place::new());
    let mut node = Running::start(place.config(&server, Some(server.join_token())), clock);
    // The socket is there before the server is.
    let client =
        soon(
            async || {
                if place.socket().exists() {
                    Ok(crate::world::client(&place.socket()).await)
                } else {
                    Err(())
                }
            },
        )
        .await;
    let error = client.fetch_jwt_svid(["x"], None).await.unwrap_err();
    assert!(error.to_string().contains("has not joined"), "{error}");
    server.start();
    node.ready().await;
    node.stop().await;
}

#[tokio::test]
async fn two_nodes_never_share_a_directory_or_a_socket() {
    let (clock, server, place) = world();
    let mut node = Running::start(place.config(&server, Some(server.join_token())), clock.clone());
    node.ready().await;
    let error = refused(&place, &server, Some(server.join_token()), clock.clone()).await;
    assert!(matches!(error, NodeError::InUse { .. }), "{error}");
    let elsewhere = Place::new();
    let mut other = elsewhere.config(&server, Some(server.join_token()));
    other.socket = place.socket();
    let error = Running::start(other, clock).failure().await;
    assert!(matches!(&error, NodeError::InUse { path } if *path == place.socket()), "{error}");
    node.stop().await;
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_before_anything_is_made() {
    let (clock, server, place) = world();
    let mut config = place.config(&server, Some(server.join_token()));
    config.server = "https://mandate.acme.example".to_owned();
    let error =
        tokio::time::timeout(Duration::from_secs(5), Running::start(config, clock).failure()).await.unwrap();
    assert!(matches!(error, NodeError::Address { .. }), "{error}");
    assert!(!place.dir().exists());
}

#[tokio::test]
async fn an_answer_that_is_lost_after_the_token_is_spent_is_asked_for_again_with_the_same_key() {
    let (clock, server, place) = world();
    server.book().lose_joins = 2;
    let mut node = Running::start(place.config(&server, Some(server.join_token())), clock);
    node.ready().await;
    node.stop().await;
    assert_eq!(server.book().joins, 3);
}

#[tokio::test]
async fn a_server_whose_certificate_is_not_valid_yet_is_tried_again() {
    let (clock, server, place) = world();
    let late = Arc::new(SteppedClock::at(clock.now().minus(Duration::from_mins(2))));
    let mut node = Running::start(place.config(&server, Some(server.join_token())), late.clone());
    assert!(
        tokio::time::timeout(Duration::from_millis(500), node.ready()).await.is_err(),
        "the machine's clock is late"
    );
    assert_eq!(server.book().joins, 0);
    late.advance(Duration::from_mins(2));
    node.ready().await;
    node.stop().await;
}

#[tokio::test]
async fn an_address_that_speaks_http_is_called_that_and_is_not_tried_again() {
    let (clock, server, place) = world();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = place.config(&server, Some(server.join_token()));
    config.server = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").unwrap();
        let _ = stream.read(&mut [0; 1024]);
    });
    let error = Running::start(config, clock).failure().await;
    assert!(matches!(error, NodeError::NotForNodes { .. }), "{error}");
    assert_eq!(error.fault(), NodeFault::Usage);
    assert!(error.to_string().contains("`mandate serve` prints as `nodes`"), "{error}");
}
