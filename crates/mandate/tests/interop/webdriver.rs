//! A headless Chromium, driven over W3C's `WebDriver` by chromedriver.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::Process;

/// The member that contains an element's reference (`WebDriver` §12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// How long a page may take to come. A click need not wait for the page to which it leads.
const PATIENCE: Duration = Duration::from_secs(30);

/// One browser with a fresh profile.
pub(crate) struct Browser {
    http: reqwest::Client,
    session: String,
    // Dropped in this order: the profile is in use until the driver is gone.
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    /// Starts one, or says why the test is skipped.
    pub(crate) async fn start() -> Option<Self> {
        let mut command = Command::new("chromedriver");
        let Ok(mut driver) = Process::start(command.arg("--port=0").stdin(Stdio::null())) else {
            mandate_testkit::skipped("there is no chromedriver");
            return None;
        };
        let port = port(&mut driver);
        #[expect(clippy::disallowed_methods, reason = "proxies of the environment are turned off here")]
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        let sessions = format!("http://127.0.0.1:{port}/session");
        let profile = tempfile::tempdir().unwrap();
        let options = json!({ "args": arguments(profile.path()) });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "browserName": "chrome", "timeouts": { "implicit": PATIENCE.as_millis() }, "goog:chromeOptions": options } } });
        let session = match command_at(&http, &sessions, Some(wanted)).await {
            Ok(session) => format!("{sessions}/{}", text(&session["sessionId"])),
            Err(error)
                if error["message"]
                    .as_str()
                    .is_some_and(|said| said.contains("cannot find Chrome binary")) =>
            {
                mandate_testkit::skipped("there is no Chromium");
                return None;
            }
            Err(error) => panic!("no session: {error}"),
        };
        Some(Self { http, session, _driver: driver, _profile: profile })
    }

    async fn command(&self, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}{path}", self.session);
        command_at(&self.http, &url, body).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Lays pages out as on a screen of so many CSS pixels. A window of its own is never as narrow as a
    /// phone's.
    pub(crate) async fn resize(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.command(
            "/goog/cdp/execute",
            Some(json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": metrics })),
        )
        .await;
    }

    /// What the body of a function answers in the page. The page's own policy does not keep it from running.
    pub(crate) async fn ask(&self, body: &str) -> Value {
        self.command("/execute/sync", Some(json!({ "script": body, "args": [] }))).await
    }

    /// Goes to an address.
    pub(crate) async fn open(&self, url: &str) {
        self.command("/url", Some(json!({ "url": url }))).await;
    }

    /// The address that it shows.
    pub(crate) async fn address(&self) -> url::Url {
        text(&self.command("/url", None).await).parse().unwrap()
    }

    /// The address that it shows, once it begins with this text.
    pub(crate) async fn arrival(&self, start: &str) -> url::Url {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let address = self.address().await;
            if address.as_str().starts_with(start) {
                return address;
            }
            assert!(Instant::now() < deadline, "the browser is at {address}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn element(&self, selector: &str) -> String {
        let found =
            self.command("/element", Some(json!({ "using": "css selector", "value": selector }))).await;
        format!("/element/{}", text(&found[ELEMENT]))
    }

    /// Types into a field, after its present text.
    pub(crate) async fn fill(&self, selector: &str, typed: &str) {
        let element = self.element(selector).await;
        self.command(&format!("{element}/value"), Some(json!({ "text": typed }))).await;
    }

    pub(crate) async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.command(&format!("{element}/click"), Some(json!({}))).await;
    }

    /// The text that a person reads there.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let element = self.element(selector).await;
            let url = format!("{}{element}/text", self.session);
            match command_at(&self.http, &url, None).await {
                Ok(found) => return text(&found),
                // The page went away between the two questions.
                Err(error) if error["error"] == "stale element reference" && Instant::now() < deadline => {}
                Err(error) => panic!("{selector}: {error}"),
            }
        }
    }

    /// A property of an element, as text.
    pub(crate) async fn property(&self, selector: &str, name: &str) -> String {
        let element = self.element(selector).await;
        text(&self.command(&format!("{element}/property/{name}"), None).await)
    }

    /// A style as the browser computed it.
    pub(crate) async fn style(&self, selector: &str, property: &str) -> String {
        let element = self.element(selector).await;
        text(&self.command(&format!("{element}/css/{property}"), None).await)
    }
}

impl Drop for Browser {
    /// Ends the session: a browser outlives a driver that is killed.
    fn drop(&mut self) {
        let url: url::Url = self.session.parse().unwrap();
        let address = (url.host_str().unwrap(), url.port().unwrap());
        let end = format!(
            "DELETE {} HTTP/1.1\r\nhost: {}:{}\r\nconnection: close\r\n\r\n",
            url.path(),
            address.0,
            address.1
        );
        let ended = TcpStream::connect(address).and_then(|mut stream| {
            stream.write_all(end.as_bytes())?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            // The answer comes once the browser is gone; the driver may leave the connection open.
            stream.read(&mut [0; 512])
        });
        if let Err(error) = ended {
            println!("the browser may still be running: {error}");
        }
    }
}

fn arguments(profile: &Path) -> Vec<String> {
    // The sandbox needs rights that a container does not give.
    let fixed = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
                 --disable-component-update --disable-sync";
    fixed
        .split_whitespace()
        .map(str::to_owned)
        .chain([format!("--user-data-dir={}", profile.display())])
        .collect()
}

/// The port that chromedriver says that it took.
fn port(driver: &mut Process) -> u16 {
    loop {
        let line = driver.line();
        let port = line
            .split_once("successfully on port ")
            .map(|(_, rest)| rest.trim_end().trim_end_matches('.').parse());
        if let Some(Ok(port)) = port {
            return port;
        }
    }
}

/// One command (`WebDriver` §6.3): its value, or its error.
async fn command_at(http: &reqwest::Client, url: &str, body: Option<Value>) -> Result<Value, Value> {
    let request = match body {
        Some(body) => http.post(url).json(&body),
        None => http.get(url),
    };
    let response = request.send().await.unwrap();
    let fine = response.status().is_success();
    let mut answer: Value = response.json().await.unwrap();
    let value = answer["value"].take();
    if fine { Ok(value) } else { Err(value) }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not text: {value}")).to_owned()
}
