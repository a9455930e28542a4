//! `mandate token show`: what a token says, and whether its issuer signed it.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mandate_core::names::AccessTokenType;
use mandate_core::registry::TokenProfile;
use mandate_core::{Clock as _, Issuer, Lifetime, SystemClock, Timestamp};
use mandate_token::access_token::{self, Expect, Profile};
use mandate_token::{KeySet, TokenError, jwt_svid};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::arguments::TokenShow;
use crate::connection::runtime;
use crate::failure::{Failure, Fault};
use crate::issuer_client::{IssuerClient, Metadata};
use crate::screen::Screen;
use crate::secret_input;
use crate::table::list;

/// The claims that are times (RFC 7519 §4.1, `OpenID` Connect Core §2, §5.1): seconds since the epoch.
pub(super) const TIMES: [&str; 5] = ["iat", "nbf", "exp", "auth_time", "updated_at"];

/// The order in which claims are shown; the others follow in the order of the token.
const FIRST: [&str; 11] =
    ["iss", "sub", "sub_iss", "act", "client_id", "aud", "scope", "jti", "iat", "nbf", "exp"];

/// A token whose parts were decoded and nothing more.
pub(super) struct Decoded {
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

#[derive(Serialize)]
struct Shown<'a> {
    /// Whether the signature and the times were verified with the keys of the issuer that was given.
    verified: bool,
    /// Why they were not verified, if verification was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    expired: Option<bool>,
    header: &'a Map<String, Value>,
    claims: &'a Map<String, Value>,
    /// The times of the claims in RFC 3339.
    times: Map<String, Value>,
    /// For whom, and who acts: the person first, the current actor last.
    chain: Vec<String>,
}

pub(crate) fn run(arguments: &TokenShow, screen: &Screen) -> Result<(), Failure> {
    let text = secret_input::from_file(&arguments.file, "token")?;
    let token = token_of(text.expose_secret_str().unwrap_or_default()).to_owned();
    let decoded =
        decode(&token).map_err(|why| Failure::usage(format!("this is no token that can be read: {why}")))?;
    let verified = match &arguments.issuer {
        None => None,
        Some(issuer) => {
            let client = IssuerClient::new(issuer, arguments.ca.as_deref())?;
            Some(runtime()?.block_on(verify(&client, issuer, &token, &decoded))?)
        }
    };
    let now = SystemClock.now();
    let reason = verified.as_ref().and_then(|verified| verified.as_ref().err()).map(ToString::to_string);
    let expires = time(decoded.claims.get("exp"));
    let times = TIMES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), time(decoded.claims.get(*name))?.to_string().into())));
    let shown = Shown {
        verified: matches!(verified, Some(Ok(()))),
        reason: reason.clone(),
        expired: expires.map(|at| at <= now),
        header: &decoded.header,
        claims: &decoded.claims,
        times: times.collect(),
        chain: chain(&decoded.claims),
    };
    // Whether it verifies counts, also if nobody reads what it says.
    let printed = screen.show(&shown, || describe(screen, &shown, arguments, now));
    match (reason, &arguments.issuer) {
        (Some(reason), Some(issuer)) => Err(Failure::new(
            Fault::Failed,
            format!("the token does not verify as one of {issuer}: {reason}"),
        )),
        _ => printed,
    }
}

/// The token in a file that holds it alone, as a header's value, or as a token endpoint's answer.
pub(super) fn token_of(text: &str) -> &str {
    let text = text.trim();
    let text = text
        .strip_prefix(AccessTokenType::Bearer.as_str())
        .and_then(|rest| rest.strip_prefix(' '))
        .unwrap_or(text);
    if text.starts_with('{')
        && let Ok(answer) = serde_json::from_str::<BorrowedAnswer<'_>>(text)
    {
        return answer.access_token;
    }
    text
}

#[derive(serde::Deserialize)]
struct BorrowedAnswer<'a> {
    access_token: &'a str,
}

pub(super) fn decode(token: &str) -> Result<Decoded, &'static str> {
    let parts: Vec<&str> = token.split('.').collect();
    let (header, payload) = match parts.as_slice() {
        [header, payload, _signature] => (header, payload),
        [_, _, _, _, _] => return Err("it is encrypted (JWE); only its recipient can read it"),
        _ => {
            return Err(
                "it is not a JWT of three parts; it may be an opaque token, which only its issuer understands",
            );
        }
    };
    let object = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| "a part of it is not base64url")?;
        serde_json::from_slice::<Map<String, Value>>(&bytes).map_err(|_| "a part of it is not a JSON object")
    };
    Ok(Decoded { header: object(header)?, claims: object(payload)? })
}

/// Verifies signature, issuer and times. The audience is not checked here.
async fn verify(
    client: &IssuerClient,
    issuer: &Issuer,
    token: &str,
    decoded: &Decoded,
) -> Result<Result<(), TokenError>, Failure> {
    let subject = decoded.claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    let is_svid = subject.starts_with("spiffe://")
        && decoded.header.get("typ").and_then(Value::as_str) != Some("at+jwt");
    let place = |metadata: &Metadata| {
        if is_svid { metadata.spiffe_bundle_endpoint.clone() } else { metadata.jwks_uri.clone() }
    };
    let metadata = client.metadata(|metadata| place(metadata).is_some()).await?;
    let now = SystemClock.now();
    let keys_at = place(&metadata)
        .ok_or_else(|| Failure::failed(format!("the issuer {issuer} does not say where its keys are")))?;
    let keys = client.json::<Value>(&keys_at).await?;
    let keys = KeySet::from_json(keys.to_string().as_bytes());
    let keys = keys.map_err(|error| {
        Failure::caused(Fault::Failed, &format!("the keys of {issuer} cannot be used"), &error)
    })?;
    if is_svid {
        let verified = jwt_svid::peek_trust_domain(token).and_then(|domain| {
            let audiences = decoded.claims.get("aud");
            let first =
                audiences.and_then(|aud| aud.as_str().or_else(|| aud.get(0)?.as_str())).unwrap_or_default();
            jwt_svid::verify_containing(token, &keys, &domain, first, now, None).map(drop)
        });
        return Ok(verified);
    }
    // Our own form is the strictest one. Which product another issuer uses is not known here.
    let expect = Expect { issuer, keys: &keys, now, profile: Profile::Own, memo: None };
    let own = access_token::verify(token, &expect);
    let as_product = |product: &TokenProfile| {
        access_token::verify(token, &Expect { profile: Profile::Foreign(*product), ..expect })
    };
    let Some((rfc9068, products)) = TokenProfile::ALL.split_first() else { return Ok(own.map(drop)) };
    let foreign = own.or_else(|_| as_product(rfc9068));
    // If it is of no product, the answer is why it is not what RFC 9068 says.
    Ok(foreign
        .or_else(|error| products.iter().find_map(|product| as_product(product).ok()).ok_or(error))
        .map(drop))
}

pub(super) fn time(claim: Option<&Value>) -> Option<Timestamp> {
    // Some issuers write fractions (RFC 7519 §2 allows them).
    let seconds =
        claim?.as_u64().or_else(|| claim?.as_f64().filter(|s| (0.0..1e12).contains(s)).map(whole))?;
    Some(Timestamp::from_secs(seconds))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "its caller has checked the range"
)]
fn whole(seconds: f64) -> u64 {
    seconds as u64
}

/// The person and the actors (RFC 8693 §4.1), the current actor last.
fn chain(claims: &Map<String, Value>) -> Vec<String> {
    const MOST: usize = 32;
    let mut actors = Vec::new();
    let mut act = claims.get("act");
    while let Some(actor) = act.filter(|_| actors.len() < MOST) {
        actors.push(actor.get("sub").and_then(Value::as_str).unwrap_or("(no sub)").to_owned());
        act = actor.get("act");
    }
    actors.extend(claims.get("sub").and_then(Value::as_str).map(str::to_owned));
    actors.reverse();
    actors
}

/// The chain as a tree, one name a line.
fn tree(chain: &[String]) -> String {
    let mut text = String::new();
    for (depth, name) in chain.iter().enumerate() {
        let branch = if depth == 0 { String::new() } else { format!("{}└─ ", "   ".repeat(depth - 1)) };
        let role = match (depth, depth + 1 == chain.len()) {
            (0, true) => "   (acts alone)",
            (0, false) => "   (the person for whom everything is done)",
            (_, true) => "   (acts now)",
            _ => "   (has passed it on)",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{branch}{name}{role}");
    }
    text.truncate(text.trim_end().len());
    text
}

/// `2026-11-27T10:00:00.000Z (in 4m 48s)`
fn moment(at: Timestamp, now: Timestamp) -> String {
    let seconds = |span: Duration| Lifetime(Duration::from_secs(span.as_secs()));
    if at > now {
        format!("{at} (in {})", seconds(at.since(now)))
    } else {
        format!("{at} ({} ago)", seconds(now.since(at)))
    }
}

fn describe(screen: &Screen, shown: &Shown<'_>, arguments: &TokenShow, now: Timestamp) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let header = shown.header.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
    let claim = |name: &str, value: &Value| match time(Some(value)).filter(|_| TIMES.contains(&name)) {
        Some(at) => moment(at, now),
        None if name == "act" => tree(&shown.chain),
        None => text(value),
    };
    let first = FIRST.iter().filter_map(|name| shown.claims.get_key_value(*name));
    let rest = shown.claims.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()));
    let claims = first.chain(rest).map(|(name, value)| (name.as_str(), claim(name, value))).collect();
    let life = match (shown.expired, &shown.reason) {
        (Some(true), _) => "It has expired. ",
        _ => "",
    };
    let verdict = match (&arguments.issuer, &shown.reason) {
        (Some(issuer), None) => format!("The signature verifies: {issuer} issued it."),
        (Some(_), Some(_)) => String::new(),
        (None, _) => format!(
            "{life}NOT VERIFIED: the signature was not checked, so anyone may have written this.\nnext: mandate token show {} --issuer URL   (an issuer that you trust)",
            arguments.file.display()
        ),
    };
    format!("Header\n{}\n\nClaims\n{}\n\n{verdict}", list(screen, header), list(screen, claims))
}

#[cfg(test)]
mod tests {
    use super::{chain, decode, moment, token_of, tree};
    use mandate_core::Timestamp;
    use serde_json::json;

    fn claims(value: &serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn the_chain_goes_from_the_person_to_the_current_actor() {
        let claims =
            claims(&json!({"sub": "riley", "act": {"sub": "spiffe://a/b", "act": {"sub": "spiffe://a/a"}}}));
        let chain = chain(&claims);
        assert_eq!(chain, ["riley", "spiffe://a/a", "spiffe://a/b"]);
        let expected = "riley   (the person for whom everything is done)\n└─ spiffe://a/a   (has passed it on)\n   └─ spiffe://a/b   (acts now)";
        assert_eq!(tree(&chain), expected);
    }

    #[test]
    fn a_chain_without_end_is_cut() {
        let mut act = json!({"sub": "x"});
        for _ in 0..100 {
            act = json!({"sub": "x", "act": act});
        }
        assert!(chain(&claims(&json!({"act": act}))).len() <= 33);
    }

    #[test]
    fn a_token_is_found_in_what_people_keep() {
        for text in ["a.b.c", " a.b.c\n", "Bearer a.b.c", r#"{"access_token":"a.b.c","expires_in":300}"#] {
            assert_eq!(token_of(text), "a.b.c", "{text}");
        }
        assert_eq!(token_of("{}"), "{}");
    }

    #[test]
    fn what_is_no_jwt_is_told_apart() {
        assert!(decode("e30.e30.").is_ok());
        for (bad, why) in [
            ("opaque", "opaque"),
            ("a.b.c.d.e", "encrypted"),
            ("!.e30.x", "base64url"),
            ("W10.e30.x", "JSON object"),
            ("", "opaque"),
        ] {
            assert!(decode(bad).err().unwrap().contains(why), "{bad}");
        }
    }

    #[test]
    fn times_are_told_from_now() {
        let now = Timestamp::from_secs(1_000);
        assert_eq!(moment(Timestamp::from_secs(1_288), now), "1970-01-01T00:21:28.000Z (in 4m 48s)");
        assert_eq!(moment(Timestamp::from_secs(940), now), "1970-01-01T00:15:40.000Z (1m ago)");
    }
}
