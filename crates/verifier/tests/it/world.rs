//! One issuer, one clock that stands still, one verifier.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mandate_core::Clock as _;
use mandate_testkit::clock::SteppedClock;
use mandate_testkit::hostile_issuer::HostileIssuer;
use mandate_verifier::{Builder, Refusal, Route, Verified, Verifier};

pub(crate) const RESOURCE: &str = "http://127.0.0.1:9100";

pub(crate) struct World {
    pub(crate) issuer: HostileIssuer,
    pub(crate) clock: Arc<SteppedClock>,
    pub(crate) verifier: Verifier,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    pub(crate) async fn with(configure: impl FnOnce(Builder) -> Builder) -> Self {
        let issuer = HostileIssuer::start();
        let clock = Arc::new(SteppedClock::default());
        let verifier = configure(builder(&issuer, &clock)).build().unwrap();
        soon(verifier.ready()).await;
        Self { issuer, clock, verifier }
    }

    pub(crate) fn token(&self, scope: &str) -> String {
        self.issuer.token(RESOURCE, scope, self.clock.now())
    }

    pub(crate) async fn verify(&self, token: &str, scope: &str) -> Result<Verified, Refusal> {
        verify(&self.verifier, token, &Route::requires(scope).unwrap()).await
    }

    /// The machine token of the refusal, or `ok`.
    pub(crate) async fn outcome(&self, token: &str) -> &'static str {
        code(&self.verify(token, "read:cases").await)
    }
}

pub(crate) fn builder(issuer: &HostileIssuer, clock: &Arc<SteppedClock>) -> Builder {
    Verifier::builder(issuer.issuer(), RESOURCE.parse().unwrap()).clock(clock.clone())
}

pub(crate) async fn verify(verifier: &Verifier, token: &str, route: &Route) -> Result<Verified, Refusal> {
    verifier.verify(Some(format!("Bearer {token}").as_str()), route).await
}

pub(crate) fn code(outcome: &Result<Verified, Refusal>) -> &'static str {
    match outcome {
        Ok(_) => "ok",
        Err(refusal) => refusal.reason().code(),
    }
}

/// Fails the test instead of hanging it.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("within 30 s")
}

/// Asks again until the answer is the expected one.
pub(crate) async fn eventually<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    soon(async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
