use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use mandate_api::proto::node::node_server::{Node, NodeServer};
use mandate_api::proto::node::{
    Entitlement, IssueJwtSvidRequest, IssueJwtSvidResponse, JoinRequest, JoinResponse, RenewRequest,
    RenewResponse, ServedState, WatchRequest,
};
use mandate_core::Clock;
use mandate_testkit::clock::SteppedClock;
use tokio::sync::{Semaphore, watch};
use tokio_stream::Stream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

use super::Svids;
use crate::caller::AttestedProcess;
use crate::refusal::{CallRefusal, Waiting};
use crate::svid_cache::WantedSvid;
use crate::view::{Link, PushedState, Remote, View};

/// The server's issuing, and nothing else of it: numbered tokens that live for 300 s.
struct Issuer {
    clock: Arc<SteppedClock>,
    issued: AtomicUsize,
    /// How many answers may leave.
    answers: Semaphore,
    life: Duration,
}

#[tonic::async_trait]
impl Node for Issuer {
    async fn join(&self, _: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        Err(Status::unimplemented("only issuing"))
    }

    async fn renew(&self, _: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        Err(Status::unimplemented("only issuing"))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<ServedState, Status>> + Send>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("only issuing"))
    }

    async fn issue_jwt_svid(
        &self,
        _: Request<IssueJwtSvidRequest>,
    ) -> Result<Response<IssueJwtSvidResponse>, Status> {
        let number = self.issued.fetch_add(1, Ordering::SeqCst) + 1;
        self.answers.acquire().await.unwrap().forget();
        let expires_at = i64::try_from(self.clock.now().plus(self.life).secs()).unwrap();
        Ok(Response::new(IssueJwtSvidResponse { svid: format!("token-{number}"), expires_at }))
    }
}

struct World {
    clock: Arc<SteppedClock>,
    issuer: Arc<Issuer>,
    views: watch::Sender<View>,
    svids: Arc<Svids>,
    wanted: WantedSvid,
}

fn pushed(names: &[&str]) -> PushedState {
    let entries = names
        .iter()
        .map(|name| Entitlement {
            spiffe_id: format!("spiffe://acme.example/agent/{name}"),
            selectors: vec!["unix:uid:1000".into()],
            name: (*name).into(),
        })
        .collect();
    let state = ServedState { generation: 1, entries, jwt_bundle: br#"{"keys":[]}"#.to_vec(), ca: vec![] };
    PushedState::new(state, "acme.example".parse().unwrap()).unwrap()
}

impl World {
    async fn new(life: Duration, answers: usize) -> Self {
        let clock = Arc::new(SteppedClock::default());
        let issuer = Arc::new(Issuer {
            clock: clock.clone(),
            issued: AtomicUsize::new(0),
            answers: Semaphore::new(answers),
            life,
        });
        let (near, far) = tokio::io::duplex(64 << 10);
        let service = NodeServer::from_arc(issuer.clone());
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(tokio_stream::iter([Ok::<
            _,
            std::io::Error,
        >(
            far
        )])));
        let mut near = Some(TokioIo::new(near));
        let connect = tower::service_fn(move |_| {
            std::future::ready(
                near.take().ok_or(std::io::ErrorKind::ConnectionReset).map_err(std::io::Error::from),
            )
        });
        let remote = Remote::new(
            Endpoint::from_static("http://server").connect_with_connector(connect).await.unwrap(),
        );
        let (views, seen) =
            watch::channel(View { link: Link::Up(remote), state: Some(Arc::new(pushed(&["a"]))) });
        let svids = Arc::new(Svids::new(seen, clock.clone()));
        let wanted = WantedSvid::new("spiffe://acme.example/agent/a".parse().unwrap(), &["x".to_owned()]);
        Self { clock, issuer, views, svids, wanted }
    }

    async fn get(&self) -> Result<String, CallRefusal> {
        self.svids
            .get(self.wanted.clone(), &AttestedProcess::of_this_process(1000))
            .await
            .map(|svid| svid.expose_token().to_owned())
    }

    fn issued(&self) -> usize {
        self.issuer.issued.load(Ordering::SeqCst)
    }
}

const LIFE: Duration = Duration::from_mins(5);

#[tokio::test]
async fn an_svid_in_use_is_renewed_in_the_background() {
    let world = World::new(LIFE, 9).await;
    assert_eq!(world.get().await.unwrap(), "token-1");
    assert_eq!(world.get().await.unwrap(), "token-1");
    world.clock.advance(LIFE / 2);
    world.svids.renew_due().await;
    assert_eq!(world.issued(), 2, "before anybody asked");
    assert_eq!(world.get().await.unwrap(), "token-2");
}

#[tokio::test]
async fn an_svid_that_nobody_uses_is_not_renewed() {
    let world = World::new(LIFE, 9).await;
    world.get().await.unwrap();
    world.clock.advance(LIFE / 2);
    world.svids.renew_due().await;
    assert_eq!(world.issued(), 1);
}

#[tokio::test]
async fn nothing_is_renewed_for_a_process_that_is_gone() {
    let world = World::new(LIFE, 9).await;
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let holder = AttestedProcess::of(child.id(), 1000);
    for _ in 0..2 {
        world.svids.get(world.wanted.clone(), &holder).await.unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    world.clock.advance(LIFE / 2);
    world.svids.renew_due().await;
    assert_eq!(world.issued(), 1);
}

#[tokio::test]
async fn many_that_ask_at_once_make_one_request_and_the_first_may_give_up() {
    let world = World::new(LIFE, 0).await;
    let first = tokio::spawn({
        let (svids, wanted) = (world.svids.clone(), world.wanted.clone());
        async move { svids.get(wanted, &AttestedProcess::of_this_process(1000)).await.map(drop) }
    });
    while world.issued() == 0 {
        tokio::task::yield_now().await;
    }
    let others = futures_util::future::join_all((0..10).map(|_| world.get()));
    first.abort();
    world.issuer.answers.add_permits(9);
    assert!(others.await.into_iter().all(|token| token.unwrap() == "token-1"));
    assert_eq!(world.issued(), 1);
}

#[tokio::test]
async fn what_is_withdrawn_while_it_is_issued_is_not_kept() {
    let world = World::new(LIFE, 0).await;
    let (answer, ()) = tokio::join!(world.get(), async {
        while world.issued() == 0 {
            tokio::task::yield_now().await;
        }
        let without = Arc::new(pushed(&["b"]));
        world.views.send_modify(|view| view.state = Some(without.clone()));
        world.svids.purge(&without);
        world.issuer.answers.add_permits(9);
    });
    // The caller's entitlement is looked at once more before it gets this; the cache has forgotten it.
    assert_eq!(answer.unwrap(), "token-1");
    assert_eq!(world.get().await.unwrap(), "token-2");
}

#[tokio::test]
async fn an_svid_that_is_dead_on_arrival_is_not_handed_out() {
    let world = World::new(Duration::ZERO, 9).await;
    assert_eq!(world.get().await, Err(CallRefusal::NotIssued));
}

#[tokio::test]
async fn without_a_server_the_old_one_serves_until_it_expires() {
    let world = World::new(LIFE, 9).await;
    world.get().await.unwrap();
    world.views.send_modify(|view| view.link = Link::Down(Waiting::Lost));
    world.clock.advance(Duration::from_secs(299));
    assert_eq!(world.get().await.unwrap(), "token-1");
    world.svids.renew_due().await;
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.get().await, Err(CallRefusal::NotReady(Waiting::Lost)));
}

#[tokio::test]
async fn processes_that_show_different_things_do_not_share_a_request() {
    let world = World::new(LIFE, 0).await;
    let other = AttestedProcess::of_this_process(1001);
    let both = async {
        let first = AttestedProcess::of_this_process(1000);
        tokio::join!(
            world.svids.get(world.wanted.clone(), &first),
            world.svids.get(world.wanted.clone(), &other)
        )
    };
    let answers = async {
        while world.issued() < 2 {
            tokio::task::yield_now().await;
        }
        world.issuer.answers.add_permits(2);
    };
    let ((first, second), ()) = tokio::join!(both, answers);
    assert!(first.is_ok() && second.is_ok());
}
