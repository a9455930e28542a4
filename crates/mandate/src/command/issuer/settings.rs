//! What an operator sets on the side of each product, and what to change after a refusal. The page
//! `identity-providers.md` says the same at length.

use mandate_api::registry_file::{IntrospectionItem, IssuerItem};
use mandate_core::names::{Parameter, TokenType};
use mandate_core::registry::{LOGIN_CALLBACK_PATH, LOGOUT_PATH, TokenProfile, login_callback, login_key};
use mandate_token::access_token::{Explanation, Part, PartVerdict, Verdict};

/// What a login needs. `ours` is the issuer of the running server, if one runs.
pub(super) fn login_steps(item: &IssuerItem, ours: Option<&str>) -> Vec<String> {
    let redirect_uri = match ours.and_then(|ours| ours.parse().ok()) {
        Some(ours) => login_callback(&ours, &item.url),
        None => {
            format!("ISSUER{LOGIN_CALLBACK_PATH}/{}, with the issuer of this server", login_key(&item.url))
        }
    };
    let logout = format!("{}{LOGOUT_PATH}", ours.unwrap_or("ISSUER").trim_end_matches('/'));
    let client_id = item.client_id.as_deref().unwrap_or_default();
    let mut steps = vec![format!(
        "register this server as the web application `{client_id}` (authorization code, PKCE) with the redirect URI {redirect_uri}"
    )];
    steps.push(format!("set the back-channel logout URI {logout}, if the provider has such logouts"));
    steps.push(match &item.client_secret_file {
        Some(name) => format!(
            "write its client secret into `login-secrets/{}/{name}` of this server's directory, mode 0600",
            login_key(&item.url)
        ),
        None => "let it be a public client: the entry names no `client_secret_file`".to_owned(),
    });
    steps
}

/// What ID tokens as subject tokens need.
pub(super) fn id_token_steps(item: &IssuerItem) -> Vec<String> {
    let named = item.id_tokens.iter().map(|known| {
        format!(
            "`{}` sends ID tokens that were issued to `{}`, with {} {}",
            known.client,
            known.audience,
            Parameter::SubjectTokenType,
            TokenType::IdToken
        )
    });
    let refresh = "an ID token counts for an hour at most: have the application ask for a new one with its refresh token, or log in again";
    named.chain([refresh.to_owned()]).collect()
}

/// What questions about opaque tokens need.
pub(super) fn introspection_steps(item: &IssuerItem, asks: &IntrospectionItem) -> Vec<String> {
    vec![
        format!(
            "register this server as the client `{}`, which may introspect the tokens of the application",
            asks.client_id
        ),
        format!(
            "write its client secret into `login-secrets/{}/{}` of this server's directory, mode 0600",
            login_key(&item.url),
            asks.client_secret_file
        ),
    ]
}

/// What the product needs before its tokens are taken. `audience` is that of the entry.
pub(super) fn steps(profile: TokenProfile, audience: &str) -> Vec<String> {
    let mut steps = vec![address(profile, audience)];
    let more: &[&str] = match profile {
        TokenProfile::Rfc9068 => &[
            "its access tokens must say `typ` `at+jwt` in the header, and have `client_id`, `jti` and `scope` (RFC 9068)",
        ],
        TokenProfile::Keycloak => {
            &["keep the client scope `basic`, which gives `sub`, and use no lightweight access tokens"]
        }
        TokenProfile::EntraV2 => &[
            "set `accessTokenAcceptedVersion` to 2 in the manifest of that application",
            "add the optional claim `idtyp` with `include_user_token`, and `xms_sub_fct` and `xms_act_fct`, which show agents",
        ],
        TokenProfile::EntraV1 => &[
            "prefer tokens of version 2.0: set `accessTokenAcceptedVersion` to 2 in the manifest, and add the issuer of version 2.0 instead",
            "add the optional claims `aud` with `use_guid`, so that `aud` has one spelling, and `idtyp` with `include_user_token`",
        ],
        TokenProfile::Okta => &[
            "use a custom authorization server: the tokens of the organization's own server are for Okta alone",
        ],
        TokenProfile::Auth0 => &[
            "sign the API's access tokens with RS256, preferably in the RFC 9068 dialect",
            "shorten the life of its access tokens: a day is the default, and tokens older than an hour are refused",
        ],
        TokenProfile::Curity => &[
            "issue access tokens as JWT",
            "map the client to the claim `client_id`, and a claim to people's tokens alone, which `claims.require` names",
        ],
        TokenProfile::Pingam => &[
            "issue client-based tokens, signed with RS256 or ES256 and a key of your own, not encrypted",
            "use one spelling of the realm: `iss` follows the request",
        ],
        TokenProfile::Zitadel => &[
            "issue access tokens as JWT for the clients",
            "add a claim to people's tokens alone by an Action, which `claims.require` names",
            "no scope is in its tokens: use `subject_scope = \"identity_only\"`",
        ],
        TokenProfile::Cognito => &[
            "let people log in by managed login: tokens of the API have only the scope `aws.cognito.signin.user.admin`",
        ],
        TokenProfile::Google => {
            &["name its ID tokens in `id_tokens` of the entry, or let people log in there"]
        }
    };
    steps.extend(more.iter().map(|step| (*step).to_owned()));
    steps
}

/// How the product's tokens are addressed to us.
fn address(profile: TokenProfile, audience: &str) -> String {
    match profile {
        TokenProfile::Rfc9068 => format!("address its access tokens to `{audience}`"),
        TokenProfile::Keycloak => format!(
            "give the clients a client scope with an Audience mapper whose custom audience is `{audience}`"
        ),
        TokenProfile::EntraV2 | TokenProfile::EntraV1 => {
            "register an application for this server, expose a scope of it, and have the clients ask for that scope; `audience` in the entry is what `aud` then is"
                .to_owned()
        }
        TokenProfile::Okta => {
            format!("set the audience of the custom authorization server to `{audience}`")
        }
        TokenProfile::Auth0 => {
            format!("create an API with the identifier `{audience}`, and have the clients ask for it")
        }
        TokenProfile::Curity => format!(
            "configure the audience `{audience}` for the clients or a scope: by default `aud` is the client's id, which is refused"
        ),
        TokenProfile::Pingam => format!(
            "set `aud` to `{audience}` by an access token modification script: by default it is the client's id, which is refused"
        ),
        TokenProfile::Zitadel => {
            "add this server as an API application of the same project; `audience` in the entry is its client id, and `other_audiences` has the other ids of `aud`"
                .to_owned()
        }
        TokenProfile::Google => {
            "its access tokens are opaque: leave `audience` out".to_owned()
        }
        TokenProfile::Cognito => format!(
            "have the clients send `resource={audience}`, which then is `aud` (Essentials or Plus, managed login); without it the client id is the audience"
        ),
    }
}

/// What to change after these refusals, each once.
pub(super) fn changes(
    explanation: &Explanation,
    profile: TokenProfile,
    audience: Option<&str>,
) -> Vec<String> {
    let mut changes: Vec<String> = Vec::new();
    for finding in explanation.refusals() {
        let change = change(finding, profile, audience);
        if let Some(change) = change.filter(|change| !changes.contains(change)) {
            changes.push(change);
        }
    }
    changes
}

/// The same for an ID token.
pub(super) fn id_token_changes(explanation: &Explanation, profile: TokenProfile) -> Vec<String> {
    let mut changes: Vec<String> = Vec::new();
    for finding in explanation.refusals() {
        let change = match (&finding.verdict, finding.name.as_str()) {
            (Verdict::Refused { .. }, "aud" | "azp") => Some(
                "name the client there to which the token was issued in `id_tokens` of the entry, with the client of yours that presents it"
                    .to_owned(),
            ),
            _ => change(finding, profile, None),
        };
        changes.extend(change.filter(|change| !changes.contains(change)));
    }
    changes
}

fn change(finding: &PartVerdict, profile: TokenProfile, audience: Option<&str>) -> Option<String> {
    let Verdict::Refused { code, .. } = &finding.verdict else { return None };
    let audience = audience.unwrap_or("AUDIENCE");
    let text = match (finding.part, profile, finding.name.as_str(), *code) {
        (Part::Header, TokenProfile::Okta, "typ", _) => {
            "use a custom authorization server of Okta: the tokens of the organization's own server are for Okta alone"
        }
        (Part::Header, TokenProfile::Rfc9068, "typ", _) => {
            "name the product in `profile` of the entry, or have the provider write `at+jwt`"
        }
        (Part::Header, _, "typ", _) => "send the access token; this is another kind of token",
        (Part::Header, TokenProfile::EntraV1 | TokenProfile::EntraV2, "nonce", _) => {
            "the token is for Microsoft Graph: have the client ask for a scope of your own application"
        }
        (Part::Header, _, "alg", _) => {
            "have the provider sign with a key pair, such as RS256 or ES256, and not with a shared secret"
        }
        (Part::Signature, _, _, "unknown_key") => {
            "check that this issuer made the token: it does not publish the key"
        }
        (Part::Claim, _, "iss", _) => {
            "name the issuer in `url` as the token's `iss` does, byte for byte, also the slash at the end"
        }
        (Part::Claim, _, _, "expired" | "subject_expired") => "test a token that was just issued",
        (Part::Claim, _, "aud", "subject_not_for_presenter" | "claim_missing")
        | (Part::Claim, TokenProfile::Curity | TokenProfile::Pingam, "aud", _) => {
            return Some(audience_change(finding, profile, audience));
        }
        (Part::Claim, TokenProfile::Keycloak, "sub", "claim_missing") => {
            "give the client the client scope `basic`, whose mapper writes `sub`"
        }
        (Part::Claim, TokenProfile::Keycloak, "sid", _) => {
            "log a person in, without lightweight access tokens: neither those nor the tokens of service accounts have `sid`"
        }
        (Part::Claim, TokenProfile::Keycloak, "preferred_username", _) if finding.value.is_none() => {
            "give the client the client scope `profile`, whose mapper writes `preferred_username`: it shows a service account"
        }
        (Part::Claim, TokenProfile::EntraV1, "ver", _) => {
            "for tokens of version 2.0, add their issuer with the profile entra-v2"
        }
        (Part::Claim, TokenProfile::EntraV2, "ver", _) => {
            "set `accessTokenAcceptedVersion` to 2 in the manifest of the application that the token is for"
        }
        (Part::Claim, TokenProfile::Curity, "client_id", "claim_missing") => {
            "map the client to the claim `client_id`: by default it is in no claim"
        }
        (Part::Claim, _, name, "required_claim") => {
            return Some(format!(
                "have the provider write the claim `{name}` into people's tokens, or change `claims.require`"
            ));
        }
        (Part::Claim, _, _, "nothing_in_common") => {
            "have the client ask for scopes, or set `subject_scope = \"identity_only\"` in the entry"
        }
        (Part::Claim, _, "cnf", _) => "have the client ask for a token that is not bound to a key",
        (Part::Claim, _, _, "not_id_token") => {
            "send the ID token of a login: this reads like an access token, or like a token of another product"
        }
        (Part::Claim, TokenProfile::Google, _, "not_access_token") => {
            "test it as an ID token, with --id-token: Google's access tokens are no JWTs"
        }
        (Part::Claim, _, _, "not_access_token") => {
            "send an access token of this product: this reads like an ID token, or like a token of another product"
        }
        (Part::Claim, _, _, "not_a_person") => "log a person in: this reads like the token of a machine",
        _ => return None,
    };
    Some(text.to_owned())
}

/// What to change if the token is addressed to others, or to nobody.
fn audience_change(finding: &PartVerdict, profile: TokenProfile, audience: &str) -> String {
    let also = match &finding.value {
        Some(serde_json::Value::Array(all)) => all.iter().any(|aud| aud.as_str() == Some(audience)),
        _ => false,
    };
    if also {
        return "list the other audiences in `other_audiences` of the entry, if the services there may use the token here; else have the provider leave them out".to_owned();
    }
    address(profile, audience)
}

#[cfg(test)]
mod tests {
    use mandate_core::registry::TokenProfile;

    use super::steps;

    #[test]
    fn each_product_has_steps_that_begin_with_the_audience() {
        for profile in TokenProfile::ALL {
            let steps = steps(*profile, "https://m.example");
            assert!(steps.len() >= 2, "{profile:?}");
            assert!(steps[0].contains("https://m.example") || steps[0].contains("`audience`"), "{steps:?}");
        }
    }
}
