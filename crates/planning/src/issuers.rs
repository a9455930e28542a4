//! Entries of identity providers: everything that can be checked about one entry alone.

use mandate_api::registry_file::{Finding, IssuerItem};
use mandate_core::registry::{
    Entry, IdTokenUse, IntrospectionClient, TokenProfile, TrustedIssuer, UpstreamClient,
};
use mandate_core::{ClientId, Issuer};

use crate::key_material::certificates;

/// The most audiences of an issuer's tokens besides ours: a token may have 16 in all.
const MAX_OTHER_AUDIENCES: usize = 15;

/// The entry of an identity provider; `ours` is the issuer of this server.
pub(crate) fn issuer(item: &IssuerItem, ours: &Issuer) -> Result<Entry, Finding> {
    if item.url == *ours {
        return Err(Finding::new(
            "/url",
            format!("`{}` is this server itself; its own tokens are trusted already", item.url),
        ));
    }
    let login = upstream_client(item)?;
    let id_tokens = id_tokens(item)?;
    if login.is_none() && id_tokens.is_empty() && item.audience.is_empty() {
        let detail = "`audience` is missing: what its access tokens are addressed to. Only an issuer with `login = true` or `id_tokens` can do without it";
        return Err(Finding::new("/audience", detail));
    }
    if !item.audience.is_empty() && !item.profile.has_jwt_access_tokens() {
        let detail = format!(
            "access tokens of {} are opaque, and for itself alone: leave `audience` out, and name its ID tokens in `id_tokens`",
            item.profile.as_str()
        );
        return Err(Finding::new("/audience", detail));
    }
    let audience = Some(&item.audience).filter(|audience| !audience.is_empty());
    let audiences = audience.map(|audience| ("/audience".to_owned(), audience)).into_iter();
    let others = item
        .other_audiences
        .iter()
        .enumerate()
        .map(|(at, audience)| (format!("/other_audiences/{at}"), audience));
    for (pointer, audience) in audiences.chain(others) {
        if !is_audience(audience) {
            return Err(Finding::new(pointer, AUDIENCE_FORM));
        }
    }
    if item.other_audiences.len() > MAX_OTHER_AUDIENCES {
        return Err(Finding::new("/other_audiences", format!("more than {MAX_OTHER_AUDIENCES} audiences")));
    }
    let ca = certificates(item.ca.as_deref())?;
    required_claims(item)?;
    let mut other_audiences = item.other_audiences.clone();
    other_audiences.sort();
    other_audiences.dedup();
    let (url, audience, ca, proxy) = (item.url.clone(), item.audience.clone(), ca, item.proxy.clone());
    Ok(Entry::Issuer(TrustedIssuer {
        url,
        audience,
        subject_scope: item.subject_scope,
        other_audiences,
        ca,
        proxy,
        profile: item.profile,
        required_claims: item.claims.require.clone(),
        groups_claim: item.claims.groups.clone(),
        tenant_claim: item.claims.tenant.clone(),
        tenant: item.tenant.clone(),
        oldest_actor_first: item.claims.oldest_actor_first,
        events_audience: events_audience(item, login.as_ref())?,
        login,
        id_tokens,
        introspection: introspection(item)?,
    }))
}

/// How this server asks about opaque tokens. `references` checks that no other issuer names the same client.
fn introspection(item: &IssuerItem) -> Result<Option<IntrospectionClient>, Finding> {
    let Some(asks) = &item.introspection else { return Ok(None) };
    if item.audience.is_empty() {
        let detail = "opaque access tokens need `audience` too: what they are addressed to";
        return Err(Finding::new("/introspection", detail));
    }
    // The audience of its access tokens is their client, which is what `aud` of an answer is not.
    if item.profile == TokenProfile::Cognito {
        let detail = "Cognito issues no opaque access tokens";
        return Err(Finding::new("/introspection", detail));
    }
    check_upstream(&asks.client_id, Some(&asks.client_secret_file), "/introspection")?;
    if asks.clients.is_empty() || asks.clients.len() > MAX_ID_TOKEN_USES {
        let detail = format!(
            "expected the 1 to {MAX_ID_TOKEN_USES} clients here whose opaque tokens are of this issuer"
        );
        return Err(Finding::new("/introspection/clients", detail));
    }
    let mut clients = asks.clients.clone();
    clients.sort();
    clients.dedup();
    let (client_id, client_secret_file) = (asks.client_id.clone(), asks.client_secret_file.clone());
    Ok(Some(IntrospectionClient { client_id, client_secret_file, clients }))
}

/// The most entries of `id_tokens`.
const MAX_ID_TOKEN_USES: usize = 64;

/// Which ID tokens may be subject tokens. This server's own login is none of those uses: an ID token that it
/// received is the answer to a login, and nobody presents it.
fn id_tokens(item: &IssuerItem) -> Result<Vec<IdTokenUse>, Finding> {
    if item.id_tokens.len() > MAX_ID_TOKEN_USES {
        return Err(Finding::new("/id_tokens", format!("more than {MAX_ID_TOKEN_USES} entries")));
    }
    let mut uses = Vec::with_capacity(item.id_tokens.len());
    for (at, known) in item.id_tokens.iter().enumerate() {
        let place = format!("/id_tokens/{at}/audience");
        if known.audience.parse::<ClientId>().is_err() {
            let detail =
                "expected the client id at the issuer: 1 to 2048 printable ASCII characters, without spaces";
            return Err(Finding::new(place, detail));
        }
        if item.client_id.as_ref() == Some(&known.audience) {
            let detail = "this is `client_id`, this server's own client there: its ID tokens answer logins here, and are no subject tokens";
            return Err(Finding::new(place, detail));
        }
        uses.push(IdTokenUse { audience: known.audience.clone(), client: known.client.clone() });
    }
    uses.sort();
    uses.dedup();
    Ok(uses)
}

/// What its security events must be addressed to, if they are taken.
fn events_audience(item: &IssuerItem, login: Option<&UpstreamClient>) -> Result<Option<String>, Finding> {
    let place = "/events_audience";
    match (item.security_events, &item.events_audience) {
        (false, None) => Ok(None),
        (false, Some(_)) => {
            Err(Finding::new(place, "it is for an issuer with `security_events = true` alone"))
        }
        (true, Some(audience)) if is_audience(audience) => Ok(Some(audience.clone())),
        (true, Some(_)) => Err(Finding::new(place, AUDIENCE_FORM)),
        (true, None) => {
            let detail = "`security_events = true` needs `events_audience`: what the provider writes into `aud`. Only an issuer with `login = true` can do without it";
            let audience = login.map(|login| Some(login.client_id.clone()));
            audience.ok_or_else(|| Finding::new("/security_events", detail))
        }
    }
}

const AUDIENCE_FORM: &str = "an audience has 1 to 2048 bytes and no control characters";

fn is_audience(audience: &str) -> bool {
    (1..=2048).contains(&audience.len()) && !audience.chars().any(char::is_control)
}

/// This server as a client of the issuer, if people log in there.
fn upstream_client(item: &IssuerItem) -> Result<Option<UpstreamClient>, Finding> {
    let IssuerItem { login, client_id, client_secret_file, .. } = item;
    if !login {
        let needless = [("/client_id", client_id), ("/client_secret_file", client_secret_file)];
        return match needless.into_iter().find(|(_, value)| value.is_some()) {
            Some((place, _)) => Err(Finding::new(place, "it is for an issuer with `login = true` alone")),
            None => Ok(None),
        };
    }
    let Some(client_id) = client_id else {
        let detail = "`login = true` needs `client_id`: the id that the provider gave to this server";
        return Err(Finding::new("/login", detail));
    };
    check_upstream(client_id, client_secret_file.as_ref(), "")?;
    Ok(Some(UpstreamClient { client_id: client_id.clone(), client_secret_file: client_secret_file.clone() }))
}

/// What this server is at an issuer: its client id, and the name of the file with its secret.
fn check_upstream(client_id: &str, secret_file: Option<&String>, at: &str) -> Result<(), Finding> {
    if !(1..=256).contains(&client_id.len()) || !client_id.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        let detail = "a client id has 1 to 256 printable ASCII characters";
        return Err(Finding::new(format!("{at}/client_id"), detail));
    }
    // With a path, a person who may change the registry could send any file of the server to their own issuer.
    let is_plain = |name: &String| {
        (1..=64).contains(&name.len())
            && !name.starts_with('.')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    if secret_file.is_some_and(|name| !is_plain(name)) {
        let detail = "expected the name of a file in the provider's folder of `login-secrets`: up to 64 of a-z, A-Z, 0-9, `-`, `_` and `.`, without a path, and not the secret itself";
        return Err(Finding::new(format!("{at}/client_secret_file"), detail));
    }
    Ok(())
}

/// The most claims that an issuer's tokens may be required to have.
const MAX_REQUIRED_CLAIMS: usize = 16;

fn required_claims(item: &IssuerItem) -> Result<(), Finding> {
    let required = &item.claims.require;
    if required.len() > MAX_REQUIRED_CLAIMS {
        return Err(Finding::new("/claims/require", format!("more than {MAX_REQUIRED_CLAIMS} claims")));
    }
    if item.claims.oldest_actor_first && matches!(item.profile, TokenProfile::EntraV1 | TokenProfile::EntraV2)
    {
        let detail = "tokens of Entra name the newest actor in their client: they have no such order";
        return Err(Finding::new("/claims/oldest_actor_first", detail));
    }
    let usable = |text: &str| (1..=256).contains(&text.len()) && !text.chars().any(char::is_control);
    if let Some((name, _)) = required.iter().find(|(name, value)| !usable(name) || !usable(value)) {
        let detail = format!(
            "the claim `{}` and its value have 1 to 256 bytes each and no control characters",
            name.escape_debug()
        );
        return Err(Finding::new("/claims/require", detail));
    }
    // An ID token is a person's.
    if required.is_empty() && !item.audience.is_empty() && item.profile.needs_a_claim_of_people() {
        let detail = format!(
            "tokens of {} do not show whether their subject is a person: name a claim that only people's tokens have, as in claims = {{ require = {{ sub_type = \"user\" }} }}",
            item.profile.as_str()
        );
        return Err(Finding::new("/claims/require", detail));
    }
    Ok(())
}
