//! The pages people see. Rendered here, without script; every value is escaped by the template macro.

use std::time::Duration;

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_FRAME_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use mandate_core::names::Parameter;
use mandate_core::{Issuer, ScopeSet, SelfDescribed, Subject};
use mandate_oauth::LoginProvider;
use mandate_oauth::metadata::endpoint;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use url::Url;

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6676;--line:#d5dbe3;--paper:#fff;--ground:#f3f5f8;--accent:#0b5cad;--bad:#a4262c}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf2;--soft:#9aa6b6;--line:#38424f;--paper:#1b222c;--ground:#11161d;--accent:#6db3ff;--bad:#ff8f93}}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{width:calc(100% - 2rem);max-width:27rem;margin:8vh auto 2rem;padding:2rem;background:var(--paper);border:1px solid var(--line);border-radius:12px;overflow-wrap:anywhere}
h1{font-size:1.3rem;margin:0 0 .3rem}p{margin:.4rem 0}.soft{color:var(--soft);font-size:.9rem}.bad{margin:.8rem 0;color:var(--bad);border-left:3px solid var(--bad);padding-left:.7rem}
label{display:block;margin:1rem 0 .25rem;font-weight:600}input{width:100%;padding:.6rem .7rem;font:inherit;color:inherit;background:var(--ground);border:1px solid var(--line);border-radius:7px}
input:focus-visible,button:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.row{display:flex;flex-wrap:wrap;gap:.7rem;margin-top:1.4rem}button{flex:1 1 auto;padding:.65rem 1rem;white-space:nowrap;font:inherit;font-weight:600;border-radius:7px;border:1px solid var(--line);background:transparent;color:inherit;cursor:pointer}
button.main{background:var(--accent);border-color:var(--accent);color:var(--paper)}
dl{margin:1rem 0;padding:.8rem 1rem;background:var(--ground);border-radius:8px}dt{color:var(--soft);font-size:.8rem}dd{margin:0 0 .5rem}dd:last-child{margin:0}code{font-size:.9em}a{color:var(--accent)}
.code{margin:.8rem 0 0;font:600 1.6rem/1.2 ui-monospace,monospace;letter-spacing:.08em}
ul{margin:.2rem 0;padding-left:1.1rem}dd li{margin:.3rem 0}
.scope{display:inline-block;max-width:100%;margin:.15rem .15rem .15rem 0;padding:0 .4rem;background:var(--paper);border:1px solid var(--line);border-radius:5px}
@media(max-width:30rem){main{margin-top:1rem;padding:1.25rem}}
";

/// SHA-256 of [`STYLE`] for the content security policy, so that no other style, and no script at all, runs.
fn style_hash() -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(mandate_core::digest::sha256(STYLE.as_bytes()))
}

fn layout(title: &str, body: &Markup) -> Markup {
    layout_with(title, &Markup::default(), body)
}

/// A page with more in its head.
fn layout_with(title: &str, head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                (head)
                title { (title) " · Mandate" }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (body) } }
        }
    }
}

/// A page with headers, so that no other site can frame it, run scripts in it or learn its address.
fn respond(status: StatusCode, form_target: Option<&str>, page: Markup) -> Response {
    // Browsers also apply form-action to the redirect that answers a form.
    let origin = form_target.and_then(|uri| Url::parse(uri).ok()).map(|url| match url.origin() {
        url::Origin::Tuple(..) => url.origin().ascii_serialization(),
        url::Origin::Opaque(_) => format!("{}:", url.scheme()),
    });
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; form-action 'self' {}; frame-ancestors 'none'; base-uri 'none'",
        style_hash(),
        origin.unwrap_or_default()
    );
    let mut response = (status, Html(page.into_string())).into_response();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'")),
    );
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// How the answer to a login reaches the client.
#[derive(Clone, Copy)]
pub(super) enum Answer<'a> {
    /// The browser goes to this address afterwards.
    SentBack(&'a str),
    /// The device that shows this code asks for it.
    Device(&'a str),
}

/// What the login page shows of the request.
pub(super) struct Login<'a> {
    /// The issuer of this server.
    pub(super) issuer: &'a Issuer,
    /// The id of the client that asks.
    pub(super) client: &'a str,
    /// What the client says of itself, if it describes itself.
    pub(super) unattested: Option<&'a SelfDescribed>,
    /// The agent that will act, by name and SPIFFE ID, if the request is for one.
    pub(super) actor: Option<(&'a str, &'a str)>,
    /// How the answer reaches the client.
    pub(super) answer: Answer<'a>,
    /// The resource, or none for a token to be exchanged here.
    pub(super) resource: Option<&'a str>,
    /// The scopes asked for; none: all.
    pub(super) scopes: Option<Vec<&'a str>>,
    /// The most that this can be.
    pub(super) at_most: ScopeSet,
    /// For how long the client will be able to act without the person, if it asks for that.
    pub(super) offline_for: Option<Duration>,
    /// The identity providers at which people log in.
    pub(super) providers: Vec<LoginProvider>,
    /// Where the form goes: our own path with the request's query.
    pub(super) action: &'a str,
    /// The token against forged forms.
    pub(super) csrf: &'a str,
    /// The name that was typed before.
    pub(super) name: &'a str,
    /// Why the form is shown again.
    pub(super) error: Option<&'a str>,
}

/// How many scopes the login page lists, if the request names none.
const MOST_SCOPES: usize = 48;

/// Host and port: on loopback the port says which program gets the answer. The scheme too, unless it is
/// https: an answer to a custom scheme goes to a program on this machine, whatever the host says.
fn destination(redirect_uri: &str) -> String {
    let Some(url) = Url::parse(redirect_uri).ok().filter(Url::has_host) else {
        return redirect_uri.to_owned();
    };
    let scheme = if url.scheme() == "https" { String::new() } else { format!("{}://", url.scheme()) };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}{}{port}", url.host_str().unwrap_or_default())
}

fn may_do(page: &Login<'_>) -> Markup {
    html! {
        @if let Some(scopes) = &page.scopes {
            @for scope in scopes { code.scope { (scope) } " " }
        } @else {
            "everything that you may delegate, at most:"
            ul {
                li { @for scope in page.at_most.iter().take(MOST_SCOPES) { code.scope { (scope.as_str()) } " " } }
                @if page.at_most.len() > MOST_SCOPES { li { "and " (page.at_most.len() - MOST_SCOPES) " more" } }
            }
        }
    }
}

/// The login page: who asks, for what, where the answer goes.
pub(super) fn login(status: StatusCode, page: &Login<'_>) -> Response {
    let body = html! {
        h1 { "Log in to Mandate" }
        p.soft { "at " code { (page.issuer.as_str()) } }
        @if let Some(client) = page.unattested {
            @if let Some(url) = client.id.metadata_url() {
                p { "An application that describes itself at " strong { (destination(url.as_str())) } " asks for access on your behalf." }
            } @else {
                p { "An application that registered itself asks for access on your behalf." }
            }
            p.bad {
                "Nothing proves who runs it. "
                @if let Some(name) = &client.name { "It calls itself \u{201c}" bdi { (name) } "\u{201d}. " }
                "Allow it only if you have just started it yourself, and the address below is where you started it."
            }
            p.soft { code { (page.client) } }
        } @else if let Some((agent, _)) = page.actor {
            p { strong { (page.client) } " asks you to let the agent " strong { (agent) } " act for you." }
        } @else {
            p { strong { (page.client) } " asks for access on your behalf." }
        }
        @if let Answer::Device(code) = page.answer {
            p.bad {
                "This login is for another device: the one that shows the code below. "
                "Allow it only if you have just started that yourself and have the device in front of you. "
                "If somebody sent you this code or this address, deny it."
            }
            p.code { (code) }
            p.soft { "Check that your device shows this code." }
        }
        @if let Some(error) = page.error { p.bad role="alert" { (error) } }
        dl {
            @if let Some((agent, id)) = page.actor {
                dt { "Who acts" }
                dd { strong { (agent) } " " code { (id) } }
            }
            dt { "May do" }
            dd { (may_do(page)) }
            dt { "Where" }
            dd { @if let Some(resource) = page.resource { code { (resource) } } @else { "where you have granted an agent access, within the limits of your grants" } }
            @if let Some(span) = page.offline_for {
                dt { "While you are away" }
                dd {
                    strong { "It can go on acting for you when you are not there" }
                    ", for up to " (span.as_secs() / (24 * 60 * 60)) " days. An operator can end this at any time."
                }
            }
            @match page.answer {
                Answer::SentBack(uri) => {
                    dt { "You will be sent back to" }
                    dd { code { (destination(uri)) } }
                }
                Answer::Device(_) => {
                    dt { "The access goes to" }
                    dd { "the device that shows the code, not to this browser" }
                }
            }
        }
        form method="post" action=(page.action) {
            (hidden(page))
            label for="name" { "Name" }
            input id="name" name="name" value=(page.name) autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="64" autofocus[page.name.is_empty()];
            label for="password" { "Password" }
            input id="password" name="password" type="password" autocomplete="current-password" maxlength="1024" autofocus[!page.name.is_empty()];
            div.row {
                button.main type="submit" name="decision" value="allow" { "Log in and allow" }
                button type="submit" name="decision" value="deny" formnovalidate { "Deny" }
            }
        }
        @if !page.providers.is_empty() {
            // A form of its own, so that no password that was typed is sent with it.
            form method="post" action=(page.action) {
                (hidden(page))
                div.row {
                    @for provider in &page.providers {
                        button type="submit" name="provider" value=(provider.key) { "Log in at " (provider.name) " and allow" }
                    }
                }
            }
        }
    };
    let target = match page.answer {
        Answer::SentBack(uri) => Some(uri),
        Answer::Device(_) => None,
    };
    respond(status, target, layout("Log in", &body))
}

/// What both forms of the login page send with them.
fn hidden(page: &Login<'_>) -> Markup {
    html! {
        input type="hidden" name="csrf" value=(page.csrf);
        @if let Answer::Device(code) = page.answer {
            input type="hidden" name=(Parameter::UserCode) value=(code);
        }
    }
}

/// What the page that asks for the code of a device shows.
pub(super) struct DeviceEntry<'a> {
    /// The issuer of this server.
    pub(super) issuer: &'a Issuer,
    /// Where the form goes.
    pub(super) action: &'a str,
    /// The token against forged forms.
    pub(super) csrf: &'a str,
    /// The code that was typed before, or is in the address.
    pub(super) typed: &'a str,
    /// Why the form is shown again.
    pub(super) error: Option<&'a str>,
}

/// The page that asks for the code of a device. It is a step of its own also if the code is in the address: a link
/// alone must lead to no login.
pub(super) fn device_entry(status: StatusCode, page: &DeviceEntry<'_>) -> Response {
    let body = html! {
        h1 { "Log in on another device" }
        p.soft { "at " code { (page.issuer.as_str()) } }
        p { "A device or a program without a browser shows you a code. Enter it here, and go on only if you started that yourself." }
        @if let Some(error) = page.error { p.bad role="alert" { (error) } }
        form method="post" action=(page.action) {
            input type="hidden" name="csrf" value=(page.csrf);
            label for="code" { "Code" }
            input id="code" name=(Parameter::UserCode) value=(page.typed) autocomplete="off" autocapitalize="characters" spellcheck="false" maxlength="32" autofocus required;
            div.row { button.main type="submit" { "Continue" } }
        }
    };
    respond(status, None, layout("Another device", &body))
}

/// What became of a device.
#[derive(Clone, Copy)]
pub(super) enum DeviceAnswered {
    Allowed,
    Refused,
}

/// The last page of a login for a device.
pub(super) fn device_answered(answer: DeviceAnswered) -> Response {
    let body = match answer {
        DeviceAnswered::Allowed => html! {
            h1 { "Your device may go on" }
            p { "Go back to it: it gets its access within seconds. You can close this page." }
        },
        DeviceAnswered::Refused => html! {
            h1 { "Refused" }
            p { "The device gets no access. You can close this page." }
        },
    };
    respond(StatusCode::OK, None, layout("Another device", &body))
}

/// The page from which the browser goes to an identity provider at once, or by its link.
pub(super) fn leaving(location: &str) -> Response {
    let head = html! { meta http-equiv="refresh" content={ "0; url=" (location) }; };
    let body = html! {
        h1 { "To the identity provider" }
        p { "Your browser goes there now. If it does not, " a href=(location) { "go there yourself" } "." }
    };
    respond(StatusCode::OK, None, layout_with("Log in", &head, &body))
}

/// The page for a person whom an identity provider knows, and no entry here names.
pub(super) fn unknown_person(person: &Subject) -> Response {
    let body = html! {
        h1 { "You have no entry here" }
        p.bad { "The identity provider has logged you in, but this server does not know you. Nothing was allowed, and no account was made." }
        p { "An operator can add you to the registry, as a " code { "[[person]]" } " with:" }
        dl {
            dt { code { "issuer" } }
            dd { code { (person.iss.as_str()) } }
            dt { code { "sub" } }
            dd { code { (person.sub) } }
        }
        p.soft { "Then go back to the application and start again." }
    };
    respond(StatusCode::FORBIDDEN, None, layout("Not registered", &body))
}

/// A page that says what went wrong, without any redirect.
pub(super) fn error(status: StatusCode, title: &str, text: &str) -> Response {
    let body = html! {
        h1 { (title) }
        p.bad { (text) }
        p.soft { "Go back to the application and start again. If this happens again, tell its developer the text above." }
    };
    respond(status, None, layout(title, &body))
}

/// The page at the issuer's own address. It names no version, because strangers can read it.
pub(super) fn home(issuer: &Issuer) -> Response {
    let body = html! {
        h1 { "Mandate" }
        p { "This is the authorization server " code { (issuer.as_str()) } "." }
        p { "It gives agents identities, lets people delegate to them with narrow limits, and records who did what for whom." }
        dl {
            dt { "You want to log in" }
            dd { "Start in the application that you want to use. It sends you here." }
            dt { "You write a client" }
            dd { "Everything follows from the issuer's URL: " a href=(endpoint(issuer, "/.well-known/oauth-authorization-server")) { "the server's metadata" } "." }
            dt { "You protect an API" }
            dd { "Verify tokens with " a href=(endpoint(issuer, "/jwks.json")) { "the public keys" } " and follow " code { "/revocations" } "." }
            dt { "You operate it" }
            dd { "Run " code { "mandate status" } " on the server's machine. The admin API has an address of its own." }
        }
    };
    respond(StatusCode::OK, None, layout("Authorization server", &body))
}

/// The page for an address that does not exist.
pub(super) fn nothing_here() -> Response {
    let body = html! {
        h1 { "Nothing is here" }
        p { "The address is not one of this authorization server's. Its metadata lists all endpoints." }
    };
    respond(StatusCode::NOT_FOUND, None, layout("Not found", &body))
}
