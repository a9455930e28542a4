//! Keys are rotated while agents work: no request fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mandate_api::admin::{AuditQuery, KeyRotationRequest};
use mandate_api::client::ClientError;
use mandate_core::lifetimes::PUBLISH_BEFORE_USE;
use mandate_testkit::app::{CRM, exchange};
use mandate_verifier::{Route, Verifier};

use crate::world::{LONG, Server, soon};

fn kid(token: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let header: serde_json::Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_exchange_fails_while_keys_rotate_and_old_and_new_tokens_are_accepted() {
    let server = Server::story().await;
    let node = server.node().await;
    let verifier = Verifier::builder(server.ready.issuer.clone(), CRM.parse().unwrap())
        .clock(server.clock.clone())
        .build()
        .unwrap();
    tokio::time::timeout(LONG, verifier.ready()).await.unwrap();
    let route = Route::requires("read:cases").unwrap();
    // Signed by the first key, and used until the end.
    let riley = server.app.person_token("riley", None, None).await;
    let mut kids = vec![kid(&server.mandate(&node).await)];

    for _ in 0..2 {
        let svid = node.svid("support-agent").await.unwrap();
        let form = exchange(&svid, &riley, CRM, "read:cases");
        let over = Arc::new(AtomicBool::new(false));
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let (app, over, form) = (server.app.clone(), Arc::clone(&over), form.clone());
                tokio::spawn(async move {
                    let mut tokens = Vec::new();
                    while !over.load(Ordering::SeqCst) || tokens.len() < 5 {
                        let answer = app.token(&form).await;
                        assert_eq!(answer.status, 200, "{answer:?}");
                        tokens.push(answer.member("access_token"));
                    }
                    tokens
                })
            })
            .collect();
        let mut tokens = vec![server.mandate(&node).await];

        let rotated = server.admin.rotate_keys(&KeyRotationRequest::default()).await.unwrap();
        let active = rotated.keys.iter().find(|key| key.purpose == "access-token").unwrap().kid.clone();
        assert!(!kids.contains(&active), "another key signs");
        kids.push(active.clone());
        // Subject, actor and assertion are of the keys before.
        let answer = server.app.token(&form).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(kid(&answer.member("access_token")), active);
        assert!(node.svid("support-agent").await.is_ok());

        // Nobody has had the time to read the key that waits now.
        let too_soon = server.admin.rotate_keys(&KeyRotationRequest::default()).await.unwrap_err();
        assert!(matches!(&too_soon, ClientError::Refused(problem) if problem.status == 409), "{too_soon:?}");
        let acts = server
            .records(AuditQuery { kind: Some("admin".into()), limit: Some(3), ..AuditQuery::default() })
            .await;
        let told: Vec<_> = acts.iter().map(|act| (act.outcome.as_str(), act.reason.as_str())).collect();
        assert_eq!(
            told,
            [("refused", "key_published_too_recently"), ("permitted", "ok"), ("permitted", "ok")],
            "one for each key"
        );
        assert!(
            acts[0].by.is_some() && acts[0].detail.as_deref().unwrap().starts_with("rotate the "),
            "{:?}",
            acts[0]
        );

        over.store(true, Ordering::SeqCst);
        for worker in workers {
            tokens.extend(worker.await.unwrap());
        }
        // A verifier that meets a key it does not know asks for the keys, at most every few seconds.
        server.clock.advance(Duration::from_secs(6));
        // The clock leapt; the feed's next sign of life comes within five seconds of ours.
        let first = format!("Bearer {}", tokens[0]);
        soon(async || verifier.verify(Some(first.as_str()), &route).await.is_ok()).await;
        for token in &tokens {
            assert!(kids.contains(&kid(token)));
            let bearer = format!("Bearer {token}");
            let outcome = verifier.verify(Some(bearer.as_str()), &route).await;
            assert!(outcome.is_ok(), "{:?} signed by {}", outcome.err(), kid(token));
        }
        server.clock.advance(PUBLISH_BEFORE_USE);
    }
    node.stop().await;
    server.stop().await;
}
