//! The SPIFFE Workload API, JWT profile. Every answer depends on what the kernel says about the caller at
//! that moment.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use futures_util::stream::Stream;
use mandate_api::proto::workload::spiffe_workload_api_server::SpiffeWorkloadApi;
use mandate_api::proto::workload::{
    JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse, ValidateJwtsvidRequest,
    ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse, X509svidRequest, X509svidResponse,
};
use mandate_api::proto::{WORKLOAD_METADATA_KEY, WORKLOAD_METADATA_VALUE};
use mandate_core::{Clock, SpiffeId};
use mandate_token::{TokenError, jwt_svid};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::attestors::Attestors;
use crate::caller::{AttestedProcess, Caller};
use crate::claims;
use crate::listener::Peer;
use crate::mismatch::Mismatches;
use crate::refusal::{CallRefusal, Waiting};
use crate::svid_cache::WantedSvid;
use crate::svids::Svids;
use crate::throttle::Throttle;
use crate::view::{Link, PushedState, View, settled};

/// How many identities one answer holds. Clients accept no more.
const MOST_IDENTITIES: usize = 100;

/// How many audiences one SVID may have, and how long each may be: what the server issues at most.
const AUDIENCES: (usize, usize) = (8, 512);

const NO_X509: &str = "this node serves the JWT profile only; X.509-SVIDs are not available";

/// Refuses a call without the security header: exactly one `workload.spiffe.io: true` (Workload Endpoint §3).
/// A browser or proxy that is tricked into speaking to the socket does not send it.
pub(crate) fn require_header(request: Request<()>) -> Result<Request<()>, Status> {
    let mut values = request.metadata().get_all(WORKLOAD_METADATA_KEY).iter();
    let only = values.next().is_some_and(|value| value == WORKLOAD_METADATA_VALUE) && values.next().is_none();
    if only { Ok(request) } else { Err(CallRefusal::Header.into()) }
}

/// The Workload API of this node.
#[derive(Clone)]
pub(crate) struct WorkloadApi {
    views: watch::Receiver<View>,
    svids: Arc<Svids>,
    attestors: Attestors,
    clock: Arc<dyn Clock>,
    mismatches: Arc<Mismatches>,
    refused: Arc<Throttle<u32, (&'static str, String)>>,
    served: Arc<Throttle<u32, (SpiffeId, String)>>,
}

/// A caller, what it has shown, and to which of the asked identities it is entitled.
struct Entitled {
    attested: AttestedProcess,
    ids: Vec<SpiffeId>,
}

impl WorkloadApi {
    /// Serves from `views` and `svids`.
    pub(crate) fn new(views: watch::Receiver<View>, svids: Arc<Svids>, clock: Arc<dyn Clock>) -> Self {
        Self {
            views,
            svids,
            attestors: Attestors::of_this_build(),
            clock,
            mismatches: Arc::default(),
            refused: Arc::default(),
            served: Arc::default(),
        }
    }

    async fn look(
        &self,
        caller: &Caller,
        state: &PushedState,
        asked: Option<&SpiffeId>,
    ) -> Result<Entitled, CallRefusal> {
        let attested = self.attestors.attest(caller, &state.entitlements).await?;
        let ids = state
            .entitlements
            .of(attested.selectors())
            .into_iter()
            .filter(|id| asked.is_none_or(|asked| asked == *id))
            .cloned()
            .collect();
        Ok(Entitled { attested, ids })
    }

    /// Attests the caller and finds its identities: at least one.
    ///
    /// Only a node that knows the current state answers "no". A node that does not know it waits briefly,
    /// then answers "not now".
    async fn entitled(&self, caller: &Caller, asked: Option<&SpiffeId>) -> Result<Entitled, CallRefusal> {
        let view = settled(&self.views, |view| view.state.is_some()).await;
        let found = self.look(caller, view.last_known()?, asked).await?;
        if !found.ids.is_empty() {
            return Ok(found);
        }
        let current = match view.current() {
            Some(_) => view,
            None => settled(&self.views, |view| view.current().is_some()).await,
        };
        let state = current.current().ok_or_else(|| CallRefusal::NotReady(current.waiting()))?;
        let found = self.look(caller, state, asked).await?;
        if found.ids.is_empty() {
            self.mismatches.tell(caller, &found.attested, &state.entitlements, asked).await;
            return Err(CallRefusal::NoIdentity);
        }
        Ok(found)
    }

    fn refused(&self, caller: &Caller, call: &'static str, refusal: CallRefusal) -> Status {
        // For a process without identity, the log already has more.
        if refusal != CallRefusal::NoIdentity
            && let Some(left_out) =
                self.refused.admits(caller.uid(), (call, format!("{refusal:?}")), Instant::now())
        {
            tracing::info!(pid = caller.pid(), uid = caller.uid(), call, ?refusal, left_out, "refused");
        }
        refusal.into()
    }

    async fn fetch(&self, caller: &Caller, request: JwtsvidRequest) -> Result<JwtsvidResponse, CallRefusal> {
        check_audiences(&request.audience)?;
        let asked = match request.spiffe_id.as_str() {
            "" => None,
            text => Some(
                text.parse::<SpiffeId>()
                    .map_err(|_| CallRefusal::Argument("spiffe_id is not a SPIFFE ID"))?,
            ),
        };
        let Entitled { attested, ids } = self.entitled(caller, asked.as_ref()).await?;
        if ids.len() > MOST_IDENTITIES {
            return Err(CallRefusal::TooMany);
        }
        let asked_for =
            ids.into_iter().map(|id| self.svids.get(WantedSvid::new(id, &request.audience), &attested));
        let mut svids = Vec::new();
        for issued in join_all(asked_for).await {
            match issued {
                Ok(svid) => svids.push(svid),
                // The identity was withdrawn after the pushed state. The other identities are still answered.
                Err(CallRefusal::NoIdentity) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        // Only the process that was attested gets the answer, and only the identities to which it is still
        // entitled.
        caller.check().await?;
        let view = self.views.borrow().clone();
        let entitlements = &view.last_known()?.entitlements;
        let still = entitlements.of(attested.selectors());
        svids.retain(|svid| still.contains(&&svid.spiffe_id));
        if svids.is_empty() {
            return Err(CallRefusal::NoIdentity);
        }
        for svid in &svids {
            let (audience, now) = (request.audience.join(" "), Instant::now());
            if let Some(left_out) =
                self.served.admits(caller.uid(), (svid.spiffe_id.clone(), audience.clone()), now)
            {
                tracing::info!(pid = caller.pid(), uid = caller.uid(), spiffe_id = %svid.spiffe_id, audience, left_out, "JWT-SVID");
            }
        }
        let answer = |svid: &Arc<crate::svid_cache::Svid>| Jwtsvid {
            spiffe_id: svid.spiffe_id.to_string(),
            svid: svid.expose_token().to_owned(),
            // Distinguishes several identities (Workload API §6.2.1, §8).
            hint: entitlements.name_of(&svid.spiffe_id).to_owned(),
        };
        Ok(JwtsvidResponse { svids: svids.iter().map(answer).collect() })
    }

    /// Sends the bundle whenever it differs from the previous one, until the caller disconnects or is no
    /// longer allowed to have it.
    async fn send_bundles(
        &self,
        caller: &Caller,
        to: &mpsc::Sender<Result<JwtBundlesResponse, Status>>,
    ) -> Result<(), CallRefusal> {
        let mut views = self.views.clone();
        let mut sent: Option<Arc<[u8]>> = None;
        loop {
            views.mark_unchanged();
            self.entitled(caller, None).await?;
            let state = Arc::clone(self.views.borrow().last_known()?);
            if sent.as_ref() != Some(&state.bundle) {
                let bundles = HashMap::from([(state.trust_domain.id().to_string(), state.bundle.to_vec())]);
                sent = Some(Arc::clone(&state.bundle));
                if to.send(Ok(JwtBundlesResponse { bundles })).await.is_err() {
                    return Ok(());
                }
            }
            tokio::select! {
                changed = views.changed() => changed.map_err(|_| CallRefusal::NotReady(Waiting::Stopping))?,
                () = to.closed() => return Ok(()),
            }
            if matches!(views.borrow().link, Link::Down(Waiting::Stopping)) {
                return Err(CallRefusal::NotReady(Waiting::Stopping));
            }
        }
    }

    async fn validate(
        &self,
        request: &ValidateJwtsvidRequest,
    ) -> Result<ValidateJwtsvidResponse, CallRefusal> {
        if request.audience.is_empty() || request.svid.is_empty() {
            return Err(CallRefusal::Argument("audience and svid are required"));
        }
        let invalid = |error: &TokenError| CallRefusal::InvalidSvid(error.public_code());
        // Workload API §6.3: the bundle is that of the trust domain in `sub`, no matter which key the token
        // names.
        let claimed = jwt_svid::peek_trust_domain(&request.svid).map_err(|error| invalid(&error))?;
        let view = settled(&self.views, |view| view.state.is_some()).await;
        let state = view.last_known()?;
        if claimed != state.trust_domain {
            return Err(CallRefusal::UnknownTrustDomain);
        }
        let check = |state: &PushedState| {
            let (keys, trust_domain) = (&state.keys, &state.trust_domain);
            jwt_svid::verify_containing(
                &request.svid,
                keys,
                trust_domain,
                &request.audience,
                self.clock.now(),
                None,
            )
        };
        let mut checked = check(state);
        if checked.as_ref().is_err_and(TokenError::may_be_stale_keys) {
            // As for entitlements: only a node that knows the current keys answers "no".
            let view = settled(&self.views, |view| view.current().is_some()).await;
            checked = check(view.current().ok_or_else(|| CallRefusal::NotReady(view.waiting()))?);
        }
        let (svid, claims) = checked.map_err(|error| invalid(&error))?;
        Ok(ValidateJwtsvidResponse {
            spiffe_id: svid.spiffe_id.to_string(),
            claims: Some(claims::to_struct(claims)),
        })
    }
}

fn check_audiences(audiences: &[String]) -> Result<(), CallRefusal> {
    let (most, longest) = AUDIENCES;
    if audiences.is_empty() {
        return Err(CallRefusal::Argument("audience is required: name at least one"));
    }
    if audiences.len() > most {
        return Err(CallRefusal::Argument("more than 8 audiences"));
    }
    let printable = |audience: &String| audience.bytes().all(|byte| byte.is_ascii_graphic());
    if !audiences.iter().all(|audience| (1..=longest).contains(&audience.len()) && printable(audience)) {
        return Err(CallRefusal::Argument(
            "an audience is 1 to 512 characters of printable ASCII without spaces",
        ));
    }
    Ok(())
}

fn caller<T>(request: &Request<T>) -> Result<Arc<Caller>, Status> {
    let caller = request.extensions().get::<Peer>().map(|peer| Arc::clone(&peer.caller));
    caller.ok_or_else(|| Status::internal("the connection's peer is not known"))
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SpiffeWorkloadApi for WorkloadApi {
    type FetchX509SVIDStream = Answers<X509svidResponse>;
    type FetchX509BundlesStream = Answers<X509BundlesResponse>;
    type FetchJWTBundlesStream = Answers<JwtBundlesResponse>;

    async fn fetch_x509svid(
        &self,
        _request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        Err(CallRefusal::Profile(NO_X509).into())
    }

    async fn fetch_x509_bundles(
        &self,
        _request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        Err(CallRefusal::Profile(NO_X509).into())
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        let caller = caller(&request)?;
        let answer = self.fetch(&caller, request.into_inner()).await;
        answer.map(Response::new).map_err(|refusal| self.refused(&caller, "FetchJWTSVID", refusal))
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        let caller = caller(&request)?;
        let (to, answers) = mpsc::channel(1);
        let this = self.clone();
        tokio::spawn(async move {
            if let Err(refusal) = this.send_bundles(&caller, &to).await {
                // If the caller has disconnected meanwhile, nobody receives this.
                let _ = to.send(Err(this.refused(&caller, "FetchJWTBundles", refusal))).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        let caller = caller(&request)?;
        let answer = self.validate(&request.into_inner()).await;
        answer.map(Response::new).map_err(|refusal| self.refused(&caller, "ValidateJWTSVID", refusal))
    }
}
