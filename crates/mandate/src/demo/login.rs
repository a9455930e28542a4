//! Riley logs in, as a browser and an app would do it together: authorization code with PKCE (RFC 7636).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::digest::sha256;
use mandate_core::names::{ChallengeMethod, GrantType, Parameter, ResponseParameter, ResponseType};
use mandate_core::{Entropy, Secret};
use url::Url;

use super::error::DemoError;
use super::http::Http;

fn random(entropy: &dyn Entropy) -> String {
    let mut bytes = [0u8; 32];
    entropy.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The value of the hidden field `csrf`.
fn csrf_in(page: &str) -> Option<&str> {
    let after = page.split_once("name=\"csrf\" value=\"")?.1;
    after.split_once('"').map(|(value, _)| value)
}

#[expect(clippy::needless_pass_by_value, reason = "it takes errors as `map_err` hands them over")]
fn unexpected(what: &'static str, got: impl ToString) -> DemoError {
    DemoError::Unexpected { what, got: got.to_string() }
}

/// Opens the login page, types name and password, and redeems the code. Returns the person's access token.
pub(super) async fn log_in(
    issuer: &str,
    client: &str,
    redirect_uri: &str,
    name: &str,
    password: &Secret,
    entropy: &dyn Entropy,
) -> Result<Secret, DemoError> {
    let http = Http::new()?;
    let verifier = random(entropy);
    let state = random(entropy);
    let challenge = URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()));
    let mut url =
        Url::parse(&format!("{issuer}/authorize")).map_err(|error| unexpected("the issuer", error))?;
    url.query_pairs_mut()
        .append_pair(Parameter::ResponseType.as_str(), ResponseType::Code.as_str())
        .append_pair(Parameter::ClientId.as_str(), client)
        .append_pair(Parameter::RedirectUri.as_str(), redirect_uri)
        .append_pair(Parameter::State.as_str(), &state)
        .append_pair(Parameter::CodeChallenge.as_str(), &challenge)
        .append_pair(Parameter::CodeChallengeMethod.as_str(), ChallengeMethod::S256.as_str());
    let page = http.get(url.as_str(), None).await?;
    let cookie =
        page.header("set-cookie").and_then(|value| value.split(';').next()).unwrap_or_default().to_owned();
    let text = page.text();
    let csrf = csrf_in(&text).ok_or_else(|| unexpected("the login page", page.status))?.to_owned();
    let form = [
        ("csrf", csrf),
        ("name", name.to_owned()),
        ("password", password.expose_secret_str().unwrap_or_default().to_owned()),
        ("decision", "allow".to_owned()),
    ];
    let answer = http.post_form_with_cookie(url.as_str(), &form, &cookie).await?;
    let location = answer.header("location").ok_or_else(|| DemoError::unexpected("the login", &answer))?;
    let back = Url::parse(location).map_err(|error| unexpected("the redirect", error))?;
    let parameter = |wanted: ResponseParameter| {
        back.query_pairs().find(|(key, _)| key == wanted.as_str()).map(|(_, value)| value.into_owned())
    };
    // RFC 9207 §2.4 and RFC 6749 §10.12: an answer of somebody else, or to another request, is not used.
    if parameter(ResponseParameter::Iss).as_deref() != Some(issuer)
        || parameter(ResponseParameter::State).as_deref() != Some(state.as_str())
    {
        return Err(unexpected("the redirect", "another issuer or state"));
    }
    let code = parameter(ResponseParameter::Code)
        .ok_or_else(|| unexpected("the redirect", parameter(ResponseParameter::Error).unwrap_or_default()))?;
    let form = [
        (Parameter::GrantType.as_str(), GrantType::AuthorizationCode.to_string()),
        (Parameter::ClientId.as_str(), client.to_owned()),
        (Parameter::Code.as_str(), code),
        (Parameter::RedirectUri.as_str(), redirect_uri.to_owned()),
        (Parameter::CodeVerifier.as_str(), verifier),
    ];
    let reply = http.post_form(&format!("{issuer}/token"), &form).await?;
    let token = reply
        .text_member(ResponseParameter::AccessToken)
        .ok_or_else(|| DemoError::unexpected("the code", &reply))?;
    Ok(Secret::new(token))
}
