//! `mandate login`: a person's token by authorization code with PKCE (RFC 6749 §4.1, RFC 7636), in the same
//! way as any app.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::digest::sha256;
use mandate_core::names::{ChallengeMethod, GrantType, Parameter, ResponseType};
use mandate_core::{Clock as _, Entropy as _, Role, SystemClock, SystemEntropy, Timestamp};
use serde::Serialize;
use tokio::sync::mpsc;
use url::Url;

use crate::arguments::Login;
use crate::connection::runtime;
use crate::failure::{Failure, Fault};
use crate::issuer_client::{IssuerClient, Metadata, TokenAnswer};
use crate::loopback_redirect::{AuthorizationResponse, Expected, Receiver};
use crate::output;
use crate::screen::{Screen, one_line};
use crate::secret_input;

/// How long the login may take.
const PATIENCE: Duration = Duration::from_mins(15);

#[derive(Serialize)]
struct LoggedIn<'a> {
    /// Absent if it was written to a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<&'a Path>,
    token_type: &'a str,
    expires_at: Option<Timestamp>,
    scope: Option<&'a str>,
}

pub(crate) fn run(arguments: &Login, screen: &Screen) -> Result<(), Failure> {
    if let Some(path) = file(arguments.out.as_deref()) {
        // Nobody should log in for a token that cannot be kept.
        drop(output::begin(path, true, "mandate login")?);
    }
    let secret = arguments
        .client_secret_file
        .as_deref()
        .map(|file| secret_input::from_file(file, "client secret"))
        .transpose()?;
    let client = IssuerClient::new(&arguments.issuer, arguments.ca.as_deref())?;
    let (answer, at) = runtime()?.block_on(async {
        let has_endpoints = |metadata: &Metadata| {
            metadata.token_endpoint.is_some() && metadata.authorization_endpoint.is_some()
        };
        let metadata = client.metadata(has_endpoints).await?;
        let missing = |what: &str| {
            Failure::failed(format!(
                "the issuer {} has no {what}, so nobody can log in there",
                arguments.issuer
            ))
        };
        let token_endpoint = metadata.token_endpoint.clone().ok_or_else(|| missing("token endpoint"))?;
        let endpoint =
            metadata.authorization_endpoint.clone().ok_or_else(|| missing("authorization endpoint"))?;
        // A person would type a password there.
        client.check(&endpoint)?;
        let request = Request::new(arguments, &metadata, endpoint).await?;
        let redirect_uri = request.redirect_uri.clone();
        let verifier = request.verifier.clone();
        let code = request.code(arguments, screen).await?;
        let form = [
            (Parameter::GrantType.as_str(), GrantType::AuthorizationCode.as_str()),
            (Parameter::ClientId.as_str(), arguments.client_id.as_str()),
            (Parameter::RedirectUri.as_str(), redirect_uri.as_str()),
            (Parameter::Code.as_str(), &code),
            (Parameter::CodeVerifier.as_str(), &verifier),
        ];
        let answer =
            client.token(&token_endpoint, &form, arguments.client_id.as_str(), secret.as_ref()).await?;
        Ok::<_, Failure>((answer, SystemClock.now()))
    })?;
    show(&answer, at, arguments.out.as_deref(), screen)
}

/// A fresh request: what is sent, and what is kept to recognize and redeem the answer.
struct Request {
    url: Url,
    redirect_uri: Url,
    verifier: String,
    expected: Expected,
    receiver: Option<Receiver>,
}

impl Request {
    /// For the authorization endpoint `url`.
    async fn new(arguments: &Login, metadata: &Metadata, mut url: Url) -> Result<Self, Failure> {
        let receiver = Receiver::bind(&arguments.redirect_uri).await.map_err(|error| {
            Failure::caused(Fault::Failed, &format!("cannot listen at {}", arguments.redirect_uri), &error)
                .next("the same command with --redirect-uri http://127.0.0.1/callback   (without a port any free one is used)")
        })?;
        let redirect_uri = receiver
            .as_ref()
            .map_or_else(|| arguments.redirect_uri.clone(), |receiver| receiver.redirect_uri().clone());
        // RFC 7636 §4.1 and §4.2: 32 random bytes, and their SHA-256 as the challenge.
        let (verifier, state) = (random(), random());
        let challenge = URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()));
        let (resource, scope) = if arguments.admin {
            (Some(arguments.issuer.as_str()), Some(Role::Admin.scope()))
        } else {
            (arguments.resource.as_ref().map(mandate_core::ResourceUri::as_str), arguments.scope.as_deref())
        };
        url.query_pairs_mut()
            .append_pair(Parameter::ResponseType.as_str(), ResponseType::Code.as_str())
            .append_pair(Parameter::ClientId.as_str(), arguments.client_id.as_str())
            .append_pair(Parameter::RedirectUri.as_str(), redirect_uri.as_str())
            .append_pair(Parameter::State.as_str(), &state)
            .append_pair(Parameter::CodeChallenge.as_str(), &challenge)
            .append_pair(Parameter::CodeChallengeMethod.as_str(), ChallengeMethod::S256.as_str());
        for (name, value) in [(Parameter::Resource, resource), (Parameter::Scope, scope)] {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name.as_str(), value);
            }
        }
        let issuer_is_named = metadata.authorization_response_iss_parameter_supported;
        let expected = Expected { state, issuer: arguments.issuer.clone(), issuer_is_named };
        Ok(Self { url, redirect_uri, verifier, expected, receiver })
    }

    /// Sends the person there and waits for the code.
    async fn code(mut self, arguments: &Login, screen: &Screen) -> Result<String, Failure> {
        screen.remark(&format!("Log in at this address in a browser:\n\n  {}\n", self.url));
        if !arguments.no_browser && may_open_a_browser() && webbrowser::open(self.url.as_str()).is_err() {
            screen.remark("No browser could be opened here.");
        }
        let elsewhere =
            "If the browser runs on another machine, paste the address that it is sent to at the end";
        screen.remark(&match &self.receiver {
            Some(_) => {
                format!("Waiting for the browser. {elsewhere} (it begins with {}).", self.redirect_uri)
            }
            None => format!(
                "Then paste the address that the browser is sent to (it begins with {}).",
                self.redirect_uri
            ),
        });
        let mut lines = lines_of_stdin();
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let answer = match &mut self.receiver {
                    Some(receiver) => tokio::select! {
                        answer = receiver.answer(&self.expected) => answer.map(Some).map_err(|error| Failure::caused(Fault::Failed, "cannot listen", &error))?,
                        Some(line) = lines.recv() => pasted(&self.expected, &line, screen),
                    },
                    None => match lines.recv().await {
                        Some(line) => pasted(&self.expected, &line, screen),
                        None => {
                            return Err(Failure::usage("standard input ended before the address was pasted"));
                        }
                    },
                };
                if let Some(answer) = answer {
                    return Ok(answer);
                }
            }
        });
        let answer = waited.await.map_err(|_| {
            Failure::failed("nobody logged in within 15 minutes").next("the same command again")
        })?;
        if let Some(receiver) = self.receiver {
            receiver.finish().await;
        }
        match answer? {
            AuthorizationResponse::Code(code) => Ok(code),
            AuthorizationResponse::Refused(error) => Err(error.into_failure()),
        }
    }
}

fn random() -> String {
    let mut bytes = [0; 32];
    SystemEntropy.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// If a pasted line is not an answer, this is reported, and another line is read.
fn pasted(expected: &Expected, line: &str, screen: &Screen) -> Option<AuthorizationResponse> {
    if line.trim().is_empty() {
        return None;
    }
    match expected.read_pasted(line) {
        Ok(answer) => Some(answer),
        Err(why) => {
            screen.remark(&format!("That is not the address: {why}. Paste the whole address."));
            None
        }
    }
}

/// A browser is opened if the user has a display, or has named a browser.
fn may_open_a_browser() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let has_screen = cfg!(target_os = "macos") || set("DISPLAY") || set("WAYLAND_DISPLAY");
    set("BROWSER") || (has_screen && std::io::stderr().is_terminal())
}

/// The lines of standard input as they arrive. The thread that reads them ends with the process.
fn lines_of_stdin() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    let read = move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    };
    // Without the thread nothing can be pasted; the browser's way is still open.
    let _ = std::thread::Builder::new().name("stdin".to_owned()).spawn(read);
    lines
}

fn show(answer: &TokenAnswer, at: Timestamp, out: Option<&Path>, screen: &Screen) -> Result<(), Failure> {
    let token = answer.access_token.as_str();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Failure::failed(
            "the issuer's token has characters that are not allowed in an HTTP header",
        ));
    }
    let out = file(out);
    if let Some(path) = out {
        write(path, token)?;
    }
    let expires_at = answer.expires_in.map(|seconds| at.plus(Duration::from_secs(seconds)));
    if !screen.wants_json() {
        let until = expires_at.map(|at| format!(", until {at}")).unwrap_or_default();
        let scope = answer
            .scope
            .as_deref()
            .filter(|scope| !scope.is_empty())
            .map(|scope| format!(", for {}", one_line(scope)));
        screen.remark(&format!("Logged in{}{until}.", scope.unwrap_or_default()));
    }
    let done = LoggedIn {
        access_token: out.is_none().then_some(token),
        out,
        token_type: &answer.token_type,
        expires_at,
        scope: answer.scope.as_deref(),
    };
    screen.show(&done, || match out {
        Some(path) => {
            format!("The token is in {}.\nnext: mandate token show {}", path.display(), path.display())
        }
        None => token.to_owned(),
    })
}

/// The file that is meant, if it is not standard output.
fn file(out: Option<&Path>) -> Option<&Path> {
    out.filter(|path| *path != Path::new("-"))
}

/// Replaces an earlier token; only the owner can read the file. A link there is replaced, not followed.
fn write(path: &Path, token: &str) -> Result<(), Failure> {
    let mut new = output::begin(path, true, "mandate login")?;
    new.file().write_all(token.as_bytes()).map_err(|error| {
        Failure::caused(Fault::Failed, &format!("cannot write the token to {}", path.display()), &error)
    })?;
    output::finish(new, true)
}
