//! The caller: identified by the peer's uid on the unix socket, and by an access token of ours over TCP. Nothing else counts.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use mandate_api::admin::ADMIN_SCOPE;
use mandate_core::registry::Person;
use mandate_core::{Clock as _, RequestSource, Timestamp};
use mandate_delegation::Live;
use mandate_token::access_token::{self, AccessToken, Expect, Profile};

use super::authorization::{Need, need};
use super::problem::{self, Unauthorized};
use crate::control::{ADMINISTRATION, Control};
use crate::operator::Operator;
use crate::peer::Peer;
use crate::places::Guest;

/// The gate in front of every route.
pub(crate) async fn authorize(State(control): State<Arc<Control>>, mut request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str).to_owned();
    let what = format!("{} {route}", request.method());
    match need(request.method(), &route) {
        None => return problem::unauthorized(Unauthorized::NoRow),
        Some(Need::Anybody) => return next.run(request).await,
        Some(Need::Operator) => {}
    }
    let peer = request.extensions().get::<Peer>().copied();
    match operator(&control, peer, request.headers()) {
        Ok(operator) => {
            if let (Operator::Person { token }, Some(guest)) = (&operator, request.extensions().get::<Arc<Guest>>()) {
                guest.is_known(&token.subject.to_string().into());
            }
            request.extensions_mut().insert(operator);
            next.run(request).await
        }
        Err((refused, who)) => match control.record_refused(who, Some(source(refused, peer)), refused.code(), what).await {
            Ok(()) => problem::unauthorized(refused),
            Err(error) => problem::response(&error),
        },
    }
}

type Refused = (Unauthorized, Option<String>);

/// Whose quota of records a refused request counts in. People who are known and lack the right have one of their own, so that
/// strangers cannot hide what they tried.
fn source(refused: Unauthorized, peer: Option<Peer>) -> RequestSource {
    match refused {
        Unauthorized::NoAdminScope => RequestSource::Known,
        Unauthorized::NoCredentials | Unauthorized::BadToken | Unauthorized::Elsewhere | Unauthorized::Uid | Unauthorized::NoRow => {
            peer.map_or(RequestSource::Other, Peer::source)
        }
    }
}

fn operator(control: &Control, peer: Option<Peer>, headers: &HeaderMap) -> Result<Operator, Refused> {
    match peer {
        Some(Peer::Unix { uid }) => local(uid),
        Some(Peer::Tcp { .. }) => person(control, headers),
        None => Err((Unauthorized::NoCredentials, None)),
    }
}

/// Root and the user that the server runs as could read the database anyway. No other user can administer by uid.
fn local(uid: u32) -> Result<Operator, Refused> {
    let is_own = uid == 0 || mandate_files::own_user() == Some(uid);
    if is_own { Ok(Operator::Local { uid }) } else { Err((Unauthorized::Uid, Some(format!("uid:{uid}")))) }
}

fn person(control: &Control, headers: &HeaderMap) -> Result<Operator, Refused> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or((Unauthorized::NoCredentials, None))?;
    if values.next().is_some() {
        return Err((Unauthorized::BadToken, None));
    }
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or((Unauthorized::NoCredentials, None))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err((Unauthorized::NoCredentials, None));
    }
    let now = control.clock.now();
    let keys = control.authority.access_token_jwks();
    let expect = Expect { issuer: control.live.issuer(), keys: &keys, now, profile: Profile::Own, memo: None };
    let token = access_token::verify(token.trim(), &expect).map_err(|_| (Unauthorized::BadToken, None))?;
    match permits(&token, &control.live, now) {
        Ok(()) => Ok(Operator::Person { token: Arc::new(token) }),
        Err(why) => Err((why, Some(token.subject.to_string()))),
    }
}

/// Whether a verified token permits administration with the present state.
fn permits(token: &AccessToken, live: &Live, now: Timestamp) -> Result<(), Unauthorized> {
    token.require_audience(live.issuer().as_str()).map_err(|_| Unauthorized::BadToken)?;
    let snapshot = live.snapshot();
    let alive = now < token.exp && snapshot.revocations.find(&token.facts(live.issuer())).is_none();
    let person = snapshot.registry.person_by_id(&token.subject).filter(|person| !person.disabled);
    let Some(person) = person.filter(|_| alive && token.cnf.is_none()) else { return Err(Unauthorized::BadToken) };
    // The scope in the token is a name that any resource may declare: the right must be one on our administration.
    let named = token.scope.iter().any(|scope| scope.as_str() == ADMIN_SCOPE);
    // An agent never administrates, no matter which scopes its token names.
    if !named || !may_administrate(person) || !token.chain.is_empty() {
        return Err(Unauthorized::NoAdminScope);
    }
    Ok(())
}

/// Whether the caller is still an operator: the body may have arrived slowly, and other acts may have taken time.
pub(crate) fn still_permitted(operator: &Operator, live: &Live, now: Timestamp) -> Result<(), Unauthorized> {
    match operator {
        Operator::Local { .. } => Ok(()),
        Operator::Person { token } => permits(token, live, now),
    }
}

/// Whether the person has, now, the admin scope on the resource of our own administration.
fn may_administrate(person: &Person) -> bool {
    let own = person.may.iter().filter(|permission| permission.resource.as_str() == ADMINISTRATION);
    own.flat_map(|permission| permission.scopes.iter()).any(|scope| scope.as_str() == ADMIN_SCOPE)
}

#[cfg(test)]
mod tests {
    use mandate_core::constraint::Constraints;
    use mandate_core::registry::{Permission, Person};

    use super::may_administrate;

    fn with(resource: &str, scopes: &str) -> Person {
        let id = mandate_core::Person { iss: "https://m.example".parse().unwrap(), sub: "olga".into() };
        let permission =
            Permission { resource: resource.parse().unwrap(), scopes: scopes.parse().unwrap(), constraints: Constraints::default() };
        Person { name: "olga".parse().unwrap(), id, may: vec![permission], disabled: false }
    }

    #[test]
    fn a_scope_of_that_name_on_another_resource_is_no_right_to_administrate() {
        assert!(may_administrate(&with("mandate", "mandate:admin")));
        assert!(!may_administrate(&with("tickets", "mandate:admin")));
        assert!(!may_administrate(&with("mandate", "other")));
        assert!(!may_administrate(&Person { may: Vec::new(), ..with("mandate", "other") }));
    }
}
