//! Sends requests and writes down what was sent and what was answered.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mandate_core::Timestamp;
use mandate_testkit::app::Answer;
use reqwest::header::HeaderMap;
use reqwest::{Request, RequestBuilder};

use super::names::Names;

/// Headers of answers that say nothing about their meaning.
const LEFT_OUT: [&str; 3] = ["date", "content-length", "transfer-encoding"];

/// A transcript that is being written.
pub(crate) struct Recorder {
    text: String,
    pub(crate) names: Names,
    http: reqwest::Client,
}

impl Recorder {
    /// An empty one, below a title.
    pub(crate) fn new(title: &str, start: Timestamp, http: reqwest::Client) -> Self {
        Self { text: format!("# {title}\n"), names: Names::new(start), http }
    }

    /// What was recorded.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// Sends a request and records it with its answer, below `what` it is.
    pub(crate) async fn send(&mut self, what: &str, request: RequestBuilder) -> Answer {
        self.send_while(what, request, async {}).await
    }

    /// The same, while something else happens.
    pub(crate) async fn send_while(
        &mut self,
        what: &str,
        request: RequestBuilder,
        meanwhile: impl Future<Output = ()>,
    ) -> Answer {
        let request = request.build().unwrap();
        self.asked(what, &request);
        let (response, ()) = tokio::join!(self.http.execute(request), meanwhile);
        let answer = Answer::of(response.unwrap()).await;
        self.answered(&answer);
        answer
    }

    /// Writes lines between two exchanges: what is done out of sight.
    pub(crate) fn note(&mut self, text: &str) {
        self.line(&format!("\n({text})"));
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn asked(&mut self, what: &str, request: &Request) {
        let url = request.url();
        let place = self.names.text(&format!("{}{}", url.origin().ascii_serialization(), url.path()));
        self.line(&format!("\n## {what}\n\n{} {place}", request.method()));
        for (name, value) in url.query_pairs() {
            let line = self.parameter(&name, &value);
            self.line(&format!("  ? {line}"));
        }
        self.headers(request.headers());
        let Some(body) = request.body().and_then(reqwest::Body::as_bytes).filter(|body| !body.is_empty())
        else {
            return self.decoded();
        };
        self.text.push('\n');
        let content_type =
            request.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let readable = std::str::from_utf8(body).ok().filter(|body| body.len() <= 16 * 1024);
        match (content_type, readable) {
            (_, None) => self.line(&format!("({} bytes)", body.len())),
            ("application/x-www-form-urlencoded", Some(text)) if is_plain_form(text) => {
                for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
                    let line = self.parameter(&name, &value);
                    self.line(&line);
                }
            }
            (_, Some(text)) => self.body(content_type, text),
        }
        self.decoded();
    }

    fn answered(&mut self, answer: &Answer) {
        self.line(&format!("\n=> {}", answer.status));
        let form =
            answer.text.split_once("name=\"csrf\" value=\"").and_then(|(_, rest)| rest.split_once('"'));
        if let Some((csrf, _)) = form {
            self.names.name("csrf token", csrf);
        }
        self.headers(&answer.headers);
        if !answer.text.is_empty() {
            self.text.push('\n');
            self.body(answer.header("content-type"), &answer.text);
        }
        self.decoded();
    }

    fn parameter(&mut self, name: &str, value: &str) -> String {
        // Codes are 32 random bytes; whatever else is sent as one is shown.
        let shown = if name == "code" && value.len() == 43 {
            self.names.name("code", value)
        } else {
            self.names.text(value)
        };
        if value.len() > 256 && shown == value {
            format!("{name}=({} bytes)", value.len())
        } else {
            format!("{name}={shown}")
        }
    }

    fn headers(&mut self, headers: &HeaderMap) {
        let mut all: Vec<(&str, String)> = headers
            .iter()
            .filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        // Stable: repeated headers stay in their order.
        all.sort_by_key(|(name, _)| *name);
        for (name, value) in all {
            match name {
                "location" => self.location(&value),
                "set-cookie" | "cookie" => self.cookies(name, &value),
                "authorization" => {
                    let shown = decoded_basic(&value).unwrap_or(value);
                    let shown = self.names.text(&shown);
                    self.line(&format!("{name}: {shown}"));
                }
                _ => {
                    let shown = self.names.text(&value);
                    self.line(&format!("{name}: {shown}"));
                }
            }
        }
    }

    /// A URL with its parameters in lines of their own.
    fn location(&mut self, value: &str) {
        let (place, query) = value.split_once('?').unwrap_or((value, ""));
        let place = self.names.text(place);
        self.line(&format!("location: {place}"));
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let line = self.parameter(&name, &value);
            self.line(&format!("  ? {line}"));
        }
    }

    fn cookies(&mut self, header: &str, value: &str) {
        for pair in value.split("; ") {
            if let Some((name, value)) = pair.split_once('=')
                && name.starts_with("mandate-")
                && !value.is_empty()
            {
                let kind = match name {
                    "mandate-login" => "login cookie",
                    "mandate-provider" => "provider cookie",
                    _ => "browser cookie",
                };
                self.names.name(kind, value);
            }
        }
        let shown = self.names.text(value);
        self.line(&format!("{header}: {shown}"));
    }

    fn body(&mut self, content_type: &str, text: &str) {
        let shown = if content_type == "application/x-ndjson" {
            self.lines(text)
        } else if content_type.starts_with("text/html") {
            self.page(text)
        } else if let (true, Ok(value)) = (content_type.ends_with("json"), serde_json::from_str(text)) {
            self.names.json(&value)
        } else {
            self.names.text(text.trim_end_matches('\n'))
        };
        self.line(&shown);
    }

    /// JSON lines: the first of each shape.
    fn lines(&mut self, text: &str) -> String {
        let mut shapes: Vec<Vec<String>> = Vec::new();
        let mut shown = Vec::new();
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let mut shape: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
            shape.sort();
            if !shapes.contains(&shape) {
                shown.push(self.names.json(&value));
                shapes.push(shape);
            }
        }
        format!("{}\n(and more lines like the last)", shown.join("\n"))
    }

    /// The content of a page, without the style.
    fn page(&mut self, text: &str) -> String {
        let main = text
            .split_once("<main>")
            .and_then(|(_, rest)| rest.split_once("</main>"))
            .map_or(text, |(main, _)| main);
        // The address of the form is in HTML, where an ampersand is written in another way.
        self.names.text(&main.replace("><", ">\n<").replace("&amp;", "\n  & "))
    }

    fn decoded(&mut self) {
        for token in self.names.take_decoded() {
            self.line(&format!("\n{token}"));
        }
    }
}

/// Whether a form is what a form encoder writes, so that it can be shown decoded.
fn is_plain_form(text: &str) -> bool {
    let written: String = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(url::form_urlencoded::parse(text.as_bytes()))
        .finish();
    written == text
}

/// The credentials of `Basic` in clear: they are the story's.
fn decoded_basic(value: &str) -> Option<String> {
    let encoded = value.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    Some(format!("Basic base64({text})"))
}
