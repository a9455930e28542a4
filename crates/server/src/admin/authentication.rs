//! The caller: identified by the peer's uid on the unix socket, and by an access token of ours over TCP.
//! Nothing else counts.

use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use mandate_administration::authorization::IsAct;
use mandate_administration::{AccessDenied, Operator, OperatorAct, Permit};
use mandate_core::RequestSource;

use super::authorization::{Need, need};
use super::parts::Admin;
use super::problem::{self, Failed, Unauthorized};
use crate::peer::Peer;
use crate::places::Guest;

/// The gate in front of every route.
pub(crate) async fn authorize(State(admin): State<Arc<Admin>>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    let what = format!("{} {route}", request.method());
    let acts = match need(request.method(), &route) {
        None => return problem::unauthorized(Unauthorized::NoRow),
        Some(Need::Anybody) => return next.run(request).await,
        Some(Need::Act(acts)) => acts,
    };
    let peer = request.extensions().get::<Peer>().copied();
    match caller(&admin, peer, request.headers(), acts) {
        Ok(caller) => {
            if let (Some(person), Some(guest)) =
                (caller.operator.person(), request.extensions().get::<Arc<Guest>>())
            {
                guest.is_known(&person.to_string().into());
            }
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err((refused, who)) => {
            let recorded = admin
                .administration
                .record_refused(who, Some(source(refused, peer)), refused.code(), what)
                .await;
            recorded.map_or_else(|error| Failed(error).into_response(), |()| problem::unauthorized(refused))
        }
    }
}

type Refused = (Unauthorized, Option<String>);

/// Whose quota of records a refused request counts in. People who are known and lack the right have one of
/// their own, so that strangers cannot hide what they tried.
fn source(refused: Unauthorized, peer: Option<Peer>) -> RequestSource {
    match refused {
        Unauthorized::Denied(AccessDenied::Role(_)) => RequestSource::Known,
        Unauthorized::NoCredentials
        | Unauthorized::Denied(AccessDenied::Token | AccessDenied::Uid)
        | Unauthorized::Elsewhere
        | Unauthorized::NoRow => peer.map_or(RequestSource::Other, Peer::source),
    }
}

/// Who calls a route, and for which acts the route is. Only the gate makes it.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    operator: Operator,
    acts: &'static [OperatorAct],
}

impl Caller {
    /// The permit for one of the acts that the route is for.
    pub(super) async fn permit<A: IsAct>(&self, admin: &Admin) -> Result<Permit<A>, Response> {
        if !self.acts.contains(&A::ACT) {
            return Err(problem::unauthorized(Unauthorized::NoRow));
        }
        admin.administration.permit(&self.operator).await.map_err(|error| Failed(error).into_response())
    }
}

impl FromRequestParts<Arc<Admin>> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Admin>) -> Result<Self, Response> {
        parts.extensions.get().cloned().ok_or_else(|| problem::unauthorized(Unauthorized::NoRow))
    }
}

/// The permit for the act of a route.
pub(super) struct Permitted<A>(pub(super) Permit<A>);

impl<A: IsAct> FromRequestParts<Arc<Admin>> for Permitted<A> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, Response> {
        Caller::from_request_parts(parts, admin).await?.permit(admin).await.map(Self)
    }
}

fn caller(
    admin: &Admin,
    peer: Option<Peer>,
    headers: &HeaderMap,
    acts: &'static [OperatorAct],
) -> Result<Caller, Refused> {
    let operator = match peer {
        Some(Peer::Unix { uid }) => {
            Operator::of_user(uid).map_err(|denied| (denied.into(), Some(format!("uid:{uid}"))))
        }
        Some(Peer::Tcp { .. }) => person(admin, headers).map_err(|refused| (refused, None)),
        None => Err((Unauthorized::NoCredentials, None)),
    }?;
    let who = || operator.person().map(ToString::to_string);
    admin.administration.may_any(&operator, acts).map_err(|denied| (denied.into(), who()))?;
    Ok(Caller { operator, acts })
}

fn person(admin: &Admin, headers: &HeaderMap) -> Result<Operator, Unauthorized> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Unauthorized::NoCredentials)?;
    if values.next().is_some() {
        return Err(AccessDenied::Token.into());
    }
    let (scheme, token) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Unauthorized::NoCredentials)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Unauthorized::NoCredentials);
    }
    Ok(admin.administration.operator(token.trim())?)
}
