//! A server at a whole second, its node, and the recorder of what is said to it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mandate_core::{Clock as _, SystemClock, Timestamp};
use mandate_testkit::app::{Answer, FormPairs, PASSWORD, authorization, fetch_svid};
use reqwest::RequestBuilder;

use super::compare;
use super::recorder::Recorder;
use crate::world::{Node, Server, soon, spiffe_id};

/// The address of the endpoint at which everything here ends.
pub(crate) const TOKEN: &str = "/token";

/// A server, and what was said to it.
pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) log: Recorder,
    node: Option<Node>,
}

impl Stage {
    /// The server of the story. A whole second, so that times in seconds are as far apart in every run.
    pub(crate) async fn new(title: &str) -> Self {
        let start = Timestamp::from_secs(SystemClock.now().secs());
        Self::of(title, start, Server::story_at(start).await)
    }

    /// A server that was started at the whole second `start`.
    pub(crate) fn of(title: &str, start: Timestamp, server: Server) -> Self {
        let mut log = Recorder::new(title, start, server.app.http.clone());
        let issuer = server.issuer().to_owned();
        let encoded: String = url::form_urlencoded::byte_serialize(issuer.as_bytes()).collect();
        let uid = rustix::process::getuid().as_raw();
        for (value, placeholder) in [
            (issuer.as_str(), "<issuer>"),
            (encoded.as_str(), "<issuer>"),
            (&server.ready.public.to_string(), "<issuer's address>"),
            (&server.ready.admin_url, "<admin>"),
            (&server.ready.node_server.to_string(), "<node server>"),
            (&format!("uid:{uid}"), "uid:<uid>"),
        ] {
            log.names.fix(value, placeholder);
        }
        Self { server, log, node: None }
    }

    /// The same with a node.
    pub(crate) async fn with_node(title: &str) -> Self {
        let mut stage = Self::new(title).await;
        let node = stage.server.node().await;
        let name = node.spiffe_id.rsplit('/').next().unwrap().to_owned();
        stage.log.names.fix(&name, "<node>");
        stage.node = Some(node);
        stage
    }

    /// The JWT-SVID of an agent for `audience`, as soon as the node knows the agent.
    pub(crate) async fn svid_for(&self, id: &str, audience: &str) -> String {
        let socket = self.server.node_dir("node").join("run/api.sock");
        let mut found = String::new();
        soon(async || match fetch_svid(&socket, id, audience).await {
            Ok(svid) => {
                found = svid;
                true
            }
            Err(_) => false,
        })
        .await;
        found
    }

    /// The JWT-SVID of an agent for our issuer.
    pub(crate) async fn svid(&self, agent: &str) -> String {
        self.svid_for(&spiffe_id(agent), self.server.issuer()).await
    }

    /// A form to an endpoint.
    pub(crate) fn post(&self, path: &str, form: &FormPairs) -> RequestBuilder {
        self.server.app.http.post(self.server.url(path)).form(form)
    }

    /// A form with a client's secret in the header.
    pub(crate) fn post_as(&self, (id, secret): (&str, &str), path: &str, form: &FormPairs) -> RequestBuilder {
        self.post(path, form).header("authorization", basic(id, secret))
    }

    /// Asks for a token and records it.
    pub(crate) async fn token(&mut self, what: &str, form: &FormPairs) -> Answer {
        let request = self.post(TOKEN, form);
        self.log.send(what, request).await
    }

    /// A code from a login as it should be, which is not recorded.
    pub(crate) async fn code(&self, person: &str, resource: Option<&str>, scope: Option<&str>) -> String {
        let page = self.server.app.open(&authorization(resource, scope)).await;
        let answer = self.server.app.log_in(&page, person, PASSWORD).await;
        let back = url::Url::parse(answer.header("location")).unwrap();
        back.query_pairs().find(|(key, _)| key == "code").expect("a code").1.into_owned()
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, seconds: u64) {
        self.server.clock.advance(Duration::from_secs(seconds));
        self.log.note(&format!("{seconds} s later"));
    }

    /// Applies a registry file, which is not recorded.
    pub(crate) async fn apply(&mut self, what: &str, text: &str) {
        self.server.apply(text).await;
        self.log.note(what);
    }

    /// Ends the server and compares what was recorded.
    pub(crate) async fn end(self, name: &str) {
        let Self { server, log, node } = self;
        if let Some(node) = node {
            node.stop().await;
        }
        server.stop().await;
        compare(name, &log.into_text());
    }
}

/// The header of a client's secret (RFC 6749 §2.3.1: both halves are form-encoded).
pub(crate) fn basic(id: &str, secret: &str) -> String {
    let encoded = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret))))
}

/// A form with a parameter replaced, or added.
pub(crate) fn with(mut form: FormPairs, name: &str, value: &str) -> FormPairs {
    match form.iter_mut().find(|(n, _)| n == name) {
        Some(pair) => value.clone_into(&mut pair.1),
        None => form.push((name.to_owned(), value.to_owned())),
    }
    form
}

/// A form without a parameter.
pub(crate) fn without(mut form: FormPairs, name: &str) -> FormPairs {
    form.retain(|(n, _)| n != name);
    form
}
