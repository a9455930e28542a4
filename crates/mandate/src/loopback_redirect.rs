//! The end of an authorization request on this machine: a listener on a loopback address (RFC 8252 §7.3), or
//! the address that a person pastes because their browser runs elsewhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use mandate_core::Issuer;
use mandate_core::names::ResponseParameter;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use url::{Host, Url, form_urlencoded};

use crate::issuer_client::OAuthError;

/// How long a browser may take to send its request.
const REQUEST: Duration = Duration::from_secs(10);

/// How long the last page may take to reach the browser.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the issuer sent back.
#[derive(Debug)]
pub(crate) enum AuthorizationResponse {
    Code(String),
    /// The request was refused, and why (RFC 6749 §4.1.2.1).
    Refused(OAuthError),
}

/// Why an address is not the expected answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotTheAnswer {
    #[error("it contains neither a code nor an error")]
    Incomplete,
    #[error("it belongs to another login: its state is not ours")]
    State,
    #[error("it comes from another issuer")]
    Issuer,
}

/// What an answer to our request must contain.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// The `state` of our request (RFC 6749 §10.12).
    pub(crate) state: String,
    /// The issuer that was asked.
    pub(crate) issuer: Issuer,
    /// Whether the issuer always names itself (RFC 9207 §2.4).
    pub(crate) issuer_is_named: bool,
}

impl Expected {
    /// Reads the query of a redirect.
    pub(crate) fn read(&self, query: &str) -> Result<AuthorizationResponse, NotTheAnswer> {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        // A parameter that appears twice has no single value (RFC 6749 §3.1).
        let one = |name: ResponseParameter| {
            let mut values = pairs
                .iter()
                .filter(|(key, _)| key == name.as_str())
                .map(|(_, value)| value.clone().into_owned());
            values.next().filter(|_| values.next().is_none())
        };
        if one(ResponseParameter::State).as_deref() != Some(self.state.as_str()) {
            return Err(if pairs.iter().any(|(key, _)| key == ResponseParameter::State.as_str()) {
                NotTheAnswer::State
            } else {
                NotTheAnswer::Incomplete
            });
        }
        match one(ResponseParameter::Iss) {
            Some(iss) if iss != self.issuer.as_str() => return Err(NotTheAnswer::Issuer),
            None if self.issuer_is_named => return Err(NotTheAnswer::Issuer),
            _ => {}
        }
        match (one(ResponseParameter::Code), one(ResponseParameter::Error)) {
            (_, Some(error)) => Ok(AuthorizationResponse::Refused(OAuthError {
                error,
                error_description: one(ResponseParameter::ErrorDescription),
            })),
            (Some(code), None) if !code.is_empty() => Ok(AuthorizationResponse::Code(code)),
            _ => Err(NotTheAnswer::Incomplete),
        }
    }

    /// Reads what a person pasted: the whole address, or its query alone.
    pub(crate) fn read_pasted(&self, text: &str) -> Result<AuthorizationResponse, NotTheAnswer> {
        let text = text.trim().trim_matches(['"', '\'']);
        let query = text.split_once('?').map_or(text, |(_, query)| query);
        self.read(query.split('#').next().unwrap_or_default())
    }
}

/// Waits for the browser.
pub(crate) struct Receiver {
    listener: TcpListener,
    redirect_uri: Url,
    connections: JoinSet<()>,
    /// What a connection found, and where it is read: a connection lives longer than one call that waits for
    /// it.
    found: mpsc::Sender<AuthorizationResponse>,
    answers: mpsc::Receiver<AuthorizationResponse>,
}

impl Receiver {
    /// Listens where the redirect URI points, on any free port if it names none. Nothing if it points
    /// elsewhere.
    pub(crate) async fn bind(redirect_uri: &Url) -> std::io::Result<Option<Self>> {
        let Some(address) = loopback_address(redirect_uri) else { return Ok(None) };
        let listener = TcpListener::bind(SocketAddr::new(address, redirect_uri.port().unwrap_or(0))).await?;
        let mut redirect_uri = redirect_uri.clone();
        let port = listener.local_addr()?.port();
        redirect_uri
            .set_port(Some(port))
            .map_err(|()| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
        let (found, answers) = mpsc::channel(1);
        Ok(Some(Self { listener, redirect_uri, connections: JoinSet::new(), found, answers }))
    }

    /// The redirect URI with the port that is listened on.
    pub(crate) fn redirect_uri(&self) -> &Url {
        &self.redirect_uri
    }

    /// The issuer's answer. Other requests are answered and ignored: any program on this machine can send
    /// some. A caller may stop waiting and wait again: no connection is lost by that.
    pub(crate) async fn answer(&mut self, expected: &Expected) -> std::io::Result<AuthorizationResponse> {
        loop {
            let stream = tokio::select! {
                biased;
                Some(answer) = self.answers.recv() => return Ok(answer),
                accepted = self.listener.accept() => accepted?.0,
                Some(_) = self.connections.join_next() => continue,
            };
            let (expected, path, found) =
                (expected.clone(), self.redirect_uri.path().to_owned(), self.found.clone());
            self.connections.spawn(async move {
                let service = service_fn(|request| {
                    let response = respond(&request, &path, &expected, &found);
                    async move { Ok::<_, std::convert::Infallible>(response) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(REQUEST)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                // If one connection fails, the next may bring the answer.
                let _ = tokio::time::timeout(REQUEST, connection).await;
            });
        }
    }

    /// Lets the browser read its page.
    pub(crate) async fn finish(mut self) {
        let _ =
            tokio::time::timeout(FAREWELL, async { while self.connections.join_next().await.is_some() {} })
                .await;
    }
}

fn loopback_address(url: &Url) -> Option<IpAddr> {
    if url.scheme() != "http" {
        return None;
    }
    match url.host()? {
        Host::Ipv4(ip) if ip.is_loopback() => Some(ip.into()),
        Host::Ipv6(ip) if ip.is_loopback() => Some(ip.into()),
        Host::Domain("localhost") => Some(Ipv4Addr::LOCALHOST.into()),
        _ => None,
    }
}

fn respond(
    request: &Request<Incoming>,
    path: &str,
    expected: &Expected,
    found: &mpsc::Sender<AuthorizationResponse>,
) -> Response<Full<Bytes>> {
    if request.uri().path() != path || request.method() != Method::GET {
        return page(StatusCode::NOT_FOUND, "There is nothing here.");
    }
    match expected.read(request.uri().query().unwrap_or_default()) {
        Ok(answer) => {
            let text = match &answer {
                AuthorizationResponse::Code(_) => {
                    "You are logged in. Close this window and go back to the terminal."
                }
                AuthorizationResponse::Refused(_) => "You are not logged in. The terminal says why.",
            };
            // A second answer finds the channel full; the first one counts.
            let _ = found.try_send(answer);
            page(StatusCode::OK, text)
        }
        Err(_) => page(
            StatusCode::BAD_REQUEST,
            "This is not the answer that the terminal is waiting for. Start again with the address that it printed.",
        ),
    }
}

/// A page that shows nothing of what was sent.
fn page(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Mandate</title><p>{text}</p></html>\n"
    );
    let mut response = Response::new(Full::new(Bytes::from(html)));
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        // The address holds the code: it is told to nobody else.
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONNECTION, "close"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpStream;

    use super::{AuthorizationResponse, Expected, NotTheAnswer, Receiver};

    fn expected() -> Expected {
        Expected {
            state: "s1".to_owned(),
            issuer: "https://m.example".parse().unwrap(),
            issuer_is_named: true,
        }
    }

    fn code(read: Result<AuthorizationResponse, NotTheAnswer>) -> Result<String, NotTheAnswer> {
        read.map(|answer| match answer {
            AuthorizationResponse::Code(code) => code,
            AuthorizationResponse::Refused(error) => format!("refused {}", error.error),
        })
    }

    const ISS: &str = "iss=https%3A%2F%2Fm.example";

    #[test]
    fn an_answer_to_another_request_or_by_another_issuer_is_none() {
        let expected = expected();
        let read = |query: &str| code(expected.read(query));
        assert_eq!(read(&format!("code=c&state=s1&{ISS}")).unwrap(), "c");
        assert_eq!(read(&format!("error=access_denied&state=s1&{ISS}")).unwrap(), "refused access_denied");
        for (query, why) in [
            ("", NotTheAnswer::Incomplete),
            ("code=c", NotTheAnswer::Incomplete),
            (&format!("state=s1&{ISS}"), NotTheAnswer::Incomplete),
            (&format!("code=&state=s1&{ISS}"), NotTheAnswer::Incomplete),
            (&format!("code=c&state=s2&{ISS}"), NotTheAnswer::State),
            (&format!("code=c&state=s1&state=s1&{ISS}"), NotTheAnswer::State),
            (&format!("code=a&code=b&state=s1&{ISS}"), NotTheAnswer::Incomplete),
            ("code=c&state=s1", NotTheAnswer::Issuer),
            ("code=c&state=s1&iss=https%3A%2F%2Fevil.example", NotTheAnswer::Issuer),
        ] {
            assert_eq!(read(query), Err(why), "{query}");
        }
        let unnamed = Expected { issuer_is_named: false, ..expected };
        assert_eq!(code(unnamed.read("code=c&state=s1")).unwrap(), "c", "RFC 9207 is not everybody's");
    }

    #[test]
    fn the_whole_address_may_be_pasted_or_its_query_alone() {
        for text in [
            format!("http://127.0.0.1:9200/callback?code=c&state=s1&{ISS}"),
            format!("  \"http://127.0.0.1:9200/callback?code=c&state=s1&{ISS}#\"\r\n"),
            format!("code=c&state=s1&{ISS}"),
        ] {
            assert_eq!(code(expected().read_pasted(&text)).unwrap(), "c", "{text}");
        }
        assert!(expected().read_pasted("yes").is_err());
    }

    #[tokio::test]
    async fn a_person_who_presses_enter_keeps_the_browsers_answer() {
        let mut receiver = Receiver::bind(&"http://127.0.0.1/cb".parse().unwrap()).await.unwrap().unwrap();
        let port = receiver.redirect_uri().port().unwrap();
        let mut browser = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        while receiver.connections.is_empty() {
            // A line of standard input ends the wait, and it begins again.
            let _ = tokio::time::timeout(Duration::from_millis(20), receiver.answer(&expected())).await;
        }
        let request = format!("GET /cb?code=c&state=s1&{ISS} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
        browser.write_all(request.as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(20), receiver.answer(&expected())).await;
        let answer = answer.expect("the answer is lost").unwrap();
        assert!(matches!(&answer, AuthorizationResponse::Code(code) if code == "c"), "{answer:?}");
    }

    #[tokio::test]
    async fn a_redirect_elsewhere_is_not_listened_for_and_a_port_is_kept() {
        assert!(Receiver::bind(&"https://app.example/cb".parse().unwrap()).await.unwrap().is_none());
        let any = Receiver::bind(&"http://127.0.0.1/cb".parse().unwrap()).await.unwrap().unwrap();
        assert_ne!(any.redirect_uri().port(), None);
        assert_eq!(any.redirect_uri().path(), "/cb");
        assert!(Receiver::bind(any.redirect_uri()).await.is_err(), "the named port is in use");
    }
}
