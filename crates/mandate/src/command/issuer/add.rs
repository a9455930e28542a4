//! `mandate issuer add`: the entry of an issuer, from what it publishes.

use mandate_api::registry_file::{ClaimsItem, IntrospectionItem, IssuerItem};
use mandate_core::names::ClientMethod;
use mandate_core::registry::TokenProfile;
use mandate_token::discovery::likely_product;
use serde::Serialize;

use super::entry::{self, RegistryText};
use super::{Declared, VERSION, settings};
use crate::arguments::IssuerAdd;
use crate::connection::runtime;
use crate::failure::Failure;
use crate::issuer_documents::IssuerDocuments;
use crate::screen::Screen;

/// The JSON that is printed.
#[derive(Serialize)]
struct Added {
    version: u8,
    issuer: String,
    metadata_url: String,
    jwks_uri: String,
    usable_keys: usize,
    profile: &'static str,
    /// How the profile is known: `argument`, `issuer` (its address or metadata shows it), or `unknown`.
    profile_from: &'static str,
    /// The entry as JSON, as the admin API takes it; `ca` is a path.
    entry: IssuerItem,
    /// The same as a part of a registry file.
    toml: String,
    /// The file to which it was appended.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// What to set on the provider's side. Whether it is set already cannot be seen from outside.
    steps: Vec<String>,
    /// What to type next.
    next: Vec<String>,
}

pub(crate) fn run(arguments: &IssuerAdd, screen: &Screen) -> Result<(), Failure> {
    let url = &arguments.url;
    if gives_tokens(arguments) {
        suitable(url.as_str())?;
    }
    let file = arguments.file.as_deref().map(|file| RegistryText::open(file, url)).transpose()?;
    let declared = Declared::new(url, None, &arguments.entry);
    let client = declared.client(&arguments.entry)?;
    let documents = runtime()?.block_on(IssuerDocuments::fetch(&client, url, declared.profile))?;
    if arguments.login {
        can_log_in(&documents, arguments.client_secret_file.is_some())?;
    }
    if !arguments.opaque_from.is_empty() {
        can_be_asked(&documents)?;
    }
    let likely = likely_product(url, Some(&documents.jwks_uri));
    let (profile, profile_from) = match (declared.profile, likely) {
        (Some(profile), _) => (profile, "argument"),
        (None, Some(profile)) => (profile, "issuer"),
        (None, None) => (TokenProfile::default(), "unknown"),
    };
    let usable = documents.keys(profile)?.len();
    if usable == 0 {
        return Err(Failure::failed(format!(
            "none of the keys at {} can verify a token here: the issuer must sign with RSA of 2048 bits or more, or with an elliptic curve",
            documents.jwks_uri
        )));
    }
    let item = item(arguments, &declared, profile)?;
    let toml = entry::toml(&item)?;
    let mut steps = Vec::new();
    if item.login {
        let ours = arguments.server.own_issuer()?;
        steps.extend(settings::login_steps(&item, ours.as_deref()));
    }
    if gives_tokens(arguments) {
        steps.extend(settings::steps(profile, &item.audience));
    }
    if !item.id_tokens.is_empty() {
        steps.extend(settings::id_token_steps(&item));
    }
    if let Some(asks) = &item.introspection {
        steps.extend(settings::introspection_steps(&item, asks));
    }
    if let Some(file) = file {
        file.append(&toml)?;
    }
    let added = Added {
        version: VERSION,
        issuer: url.to_string(),
        metadata_url: documents.metadata_url,
        jwks_uri: documents.jwks_uri.to_string(),
        usable_keys: usable,
        profile: profile.as_str(),
        profile_from,
        entry: item,
        toml,
        file: arguments.file.as_ref().map(|file| file.display().to_string()),
        steps,
        next: next(arguments),
    };
    screen.show(&added, || text(&added))
}

/// Whether the server can be a client there: by what the issuer publishes.
fn can_log_in(documents: &IssuerDocuments, with_secret: bool) -> Result<(), Failure> {
    let methods = documents.provider()?.client_methods;
    let known = [ClientMethod::ClientSecretBasic, ClientMethod::ClientSecretPost];
    if with_secret && !methods.iter().any(|method| known.contains(method)) {
        return Err(Failure::failed(format!(
            "by {}, the provider takes no client secret: this server can send one by {} or {}",
            documents.metadata_url,
            ClientMethod::ClientSecretBasic,
            ClientMethod::ClientSecretPost
        )));
    }
    Ok(())
}

/// Whether the server can ask the issuer about opaque tokens: by what the issuer publishes.
fn can_be_asked(documents: &IssuerDocuments) -> Result<(), Failure> {
    let (provider, place) = (documents.provider()?, &documents.metadata_url);
    if provider.introspection_endpoint.is_none() {
        return Err(Failure::failed(format!(
            "by {place}, the issuer has no introspection_endpoint with https: it cannot be asked about opaque tokens"
        )));
    }
    let known = [ClientMethod::ClientSecretBasic, ClientMethod::ClientSecretPost];
    if !provider.introspection_methods.iter().any(|method| known.contains(method)) {
        let [basic, post] = known;
        return Err(Failure::failed(format!(
            "by {place}, the issuer takes no client secret at its introspection_endpoint: this server can send one by {basic} or {post}"
        )));
    }
    Ok(())
}

fn introspection(arguments: &IssuerAdd) -> Option<IntrospectionItem> {
    Some(IntrospectionItem {
        client_id: arguments.introspection_client_id.clone()?,
        client_secret_file: arguments.introspection_secret_file.clone()?,
        clients: arguments.opaque_from.clone(),
    })
}

/// Whether its access tokens are to be subject tokens.
fn gives_tokens(arguments: &IssuerAdd) -> bool {
    (!arguments.login && arguments.id_token.is_empty()) || arguments.entry.audience.is_some()
}

/// Issuers of which it is known that no token of theirs can be a subject.
fn suitable(url: &str) -> Result<(), Failure> {
    if url.trim_end_matches('/') == "https://accounts.google.com" {
        return Err(Failure::usage(
            "Google's access tokens are opaque, and for Google's own services alone: give --login, or --id-token AUDIENCE=CLIENT for its ID tokens",
        ));
    }
    let host = url.strip_prefix("https://").unwrap_or_default().trim_end_matches('/');
    if host.ends_with(".okta.com") && !host.contains('/') {
        return Err(Failure::usage(format!(
            "{url} is an organization's own server: its access tokens are for Okta alone. Give the issuer of a custom authorization server, such as https://{host}/oauth2/default"
        )));
    }
    Ok(())
}

fn item(arguments: &IssuerAdd, declared: &Declared, profile: TokenProfile) -> Result<IssuerItem, Failure> {
    if gives_tokens(arguments) && profile.needs_a_claim_of_people() && declared.required_claims.is_empty() {
        return Err(Failure::usage(format!(
            "tokens of {} do not show whether their subject is a person: name a claim that only people's tokens have, as in --require sub_type=user",
            profile.as_str()
        )));
    }
    let ca = arguments.entry.ca.as_deref().map(|ca| entry::authority(ca, arguments.file.as_deref()));
    Ok(IssuerItem {
        url: declared.url.clone(),
        audience: if gives_tokens(arguments) { audience(arguments, profile)? } else { String::new() },
        subject_scope: declared.subject_scope,
        other_audiences: Vec::new(),
        ca: ca.transpose()?,
        proxy: None,
        profile,
        claims: ClaimsItem {
            require: declared.required_claims.clone(),
            groups: declared.groups_claim.clone(),
            tenant: declared.tenant_claim.clone(),
            oldest_actor_first: false,
        },
        login: arguments.login,
        client_id: arguments.client_id.clone(),
        client_secret_file: arguments.client_secret_file.clone(),
        security_events: false,
        events_audience: None,
        tenant: None,
        id_tokens: arguments.id_token.clone(),
        introspection: introspection(arguments),
    })
}

/// Our own issuer, where the product can address tokens to it.
fn audience(arguments: &IssuerAdd, profile: TokenProfile) -> Result<String, Failure> {
    if let Some(audience) = &arguments.entry.audience {
        return Ok(audience.clone());
    }
    let what = match profile {
        TokenProfile::EntraV1 | TokenProfile::EntraV2 => {
            "the client id of the application that stands for this server in Entra"
        }
        TokenProfile::Zitadel => {
            "the client id of the API application that stands for this server in ZITADEL"
        }
        _ => match arguments.server.own_issuer()? {
            Some(own) => return Ok(own),
            None => "what the tokens are addressed to: most often the issuer of this server",
        },
    };
    Err(Failure::usage(format!("--audience AUDIENCE is needed: {what}")))
}

fn next(arguments: &IssuerAdd) -> Vec<String> {
    let apply = match &arguments.file {
        Some(file) => format!("mandate apply -f {} --dry-run", file.display()),
        None => "mandate apply -f FILE --dry-run   (after you have added the entry to the file)".to_owned(),
    };
    let test =
        format!("mandate issuer test {} < FILE   (a file with an access token of a person)", arguments.url);
    let id_token = format!(
        "mandate issuer test {} --id-token < FILE   (a file with an ID token of a person)",
        arguments.url
    );
    std::iter::once(apply)
        .chain(gives_tokens(arguments).then_some(test))
        .chain((!arguments.id_token.is_empty()).then_some(id_token))
        .collect()
}

fn text(added: &Added) -> String {
    let known = match added.profile_from {
        "issuer" => "as its address shows; --profile names another",
        "argument" => "as you gave it",
        _ => "the product is not known; if it is one of them, give it as --profile",
    };
    let place = match &added.file {
        Some(file) => format!("The entry was appended to {file}:"),
        None => "The entry:".to_owned(),
    };
    let steps: Vec<String> = added.steps.iter().map(|step| format!("  - {step}")).collect();
    let next: Vec<String> = added.next.iter().map(|next| format!(" next: {next}")).collect();
    format!(
        "Metadata: {}\nKeys:     {} ({} usable)\nProfile:  {} ({known})\n\n{place}\n\n{}\nOn the provider's side (not checked here):\n{}\n\n{}",
        added.metadata_url,
        added.jwks_uri,
        added.usable_keys,
        added.profile,
        added.toml,
        steps.join("\n"),
        next.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::suitable;

    #[test]
    fn issuers_whose_tokens_are_for_others_are_refused_at_once() {
        for (bad, says) in [
            ("https://accounts.google.com", "Google"),
            ("https://example.okta.com", "/oauth2/default"),
            ("https://example.okta.com/", "/oauth2/default"),
        ] {
            assert!(suitable(bad).unwrap_err().text().contains(says), "{bad}");
        }
        for good in ["https://example.okta.com/oauth2/default", "https://sso.example.com"] {
            assert!(suitable(good).is_ok(), "{good}");
        }
    }
}
