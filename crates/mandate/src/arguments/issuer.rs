//! The arguments of `mandate issuer`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use mandate_api::registry_file::IdTokenItem;
use mandate_core::registry::{ClaimPath, TokenProfile};
use mandate_core::{ClientId, Issuer};

use crate::connection::Reach;
use crate::name_completion;

#[derive(Subcommand, Debug)]
pub(crate) enum IssuerCommand {
    /// Say claim by claim whether an exchange takes a token of this issuer, and what to change if not
    ///
    /// The token is read from standard input. Its issuer's keys are found as the server finds them. The entry
    /// of the issuer comes from the running server; --profile and --audience take its place.
    #[command(
        after_help = "Examples:\n  mandate issuer test https://sso.acme.example/realms/staff < access.token\n  mandate issuer test https://acme.eu.auth0.com/ --profile auth0 --audience https://mandate.acme.example < access.token"
    )]
    Test(IssuerTest),
    /// Find an issuer by discovery, and print or append the entry that declares it
    ///
    /// The profile is guessed where the issuer's address or metadata shows the product. What has to be set on
    /// the provider's side is printed with it.
    #[command(
        after_help = "Examples:\n  mandate issuer add https://sso.acme.example/realms/staff --audience https://mandate.acme.example\n  mandate issuer add https://sso.acme.example/realms/staff --file registry.toml\n  mandate issuer add https://sso.acme.example/realms/staff --login --client-id mandate --client-secret-file staff.secret\n  mandate issuer add https://accounts.google.com --id-token 8f1c2d.apps.googleusercontent.com=desk"
    )]
    Add(IssuerAdd),
}

/// The server that is asked, if one runs.
#[derive(Args, Clone, Debug)]
pub(crate) struct OptionalServer {
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// Trust this certificate authority (PEM) for --admin-url, and no other
    #[arg(long, value_name = "FILE", env = "MANDATE_CA_FILE", hide_env_values = true)]
    pub(crate) admin_ca: Option<PathBuf>,
}

/// What an entry says of an issuer's tokens.
#[derive(Args, Clone, Debug)]
pub(crate) struct EntryArguments {
    /// The product whose access tokens it issues
    #[arg(long, value_name = "PROFILE", value_parser = profile())]
    pub(crate) profile: Option<TokenProfile>,
    /// What its tokens are addressed to: their `aud`
    #[arg(long, value_name = "AUDIENCE")]
    pub(crate) audience: Option<String>,
    /// A claim that each of its tokens must have, with its text. Repeatable
    #[arg(long, value_name = "CLAIM=TEXT", value_parser = required_claim)]
    pub(crate) require: Vec<(String, String)>,
    /// Where its tokens list the person's groups: a claim, or a JSON pointer such as `/realm_access/roles`
    #[arg(long, value_name = "CLAIM")]
    pub(crate) groups: Option<ClaimPath>,
    /// Its tokens prove only who the person is; their scopes limit nothing
    #[arg(long)]
    pub(crate) identity_only: bool,
    /// Trust this certificate authority (PEM) for the issuer, and no other
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct IssuerTest {
    /// The issuer: the `iss` of its tokens, byte for byte
    #[arg(value_name = "URL", add = name_completion::of_issuers())]
    pub(crate) url: Issuer,
    /// The token is an ID token: whether it can be a subject token, for --audience or by `id_tokens` of the entry
    #[arg(long)]
    pub(crate) id_token: bool,
    #[command(flatten)]
    pub(crate) entry: EntryArguments,
    #[command(flatten)]
    pub(crate) server: OptionalServer,
}

#[derive(Args, Debug)]
pub(crate) struct IssuerAdd {
    /// The issuer: the `iss` of its tokens, byte for byte
    #[arg(value_name = "URL")]
    pub(crate) url: Issuer,
    #[command(flatten)]
    pub(crate) entry: EntryArguments,
    /// People log in there; without --audience, its access tokens are no subject tokens
    #[arg(long, requires = "client_id")]
    pub(crate) login: bool,
    /// This server's client id there
    #[arg(long, value_name = "ID", requires = "login")]
    pub(crate) client_id: Option<String>,
    /// The name of the file with the client's secret, in the provider's folder of `login-secrets`
    #[arg(long, value_name = "NAME", requires = "login")]
    pub(crate) client_secret_file: Option<String>,
    /// ID tokens for this client there are subject tokens, if this client of ours presents them. Repeatable
    #[arg(long, value_name = "AUDIENCE=CLIENT", value_parser = id_token_use)]
    pub(crate) id_token: Vec<IdTokenItem>,
    /// Opaque access tokens that this client of ours presents are of this issuer, which is asked. Repeatable
    #[arg(long, value_name = "CLIENT", requires = "introspection_client_id")]
    pub(crate) opaque_from: Vec<ClientId>,
    /// This server's client id for questions about opaque tokens
    #[arg(long, value_name = "ID", requires = "introspection_secret_file")]
    pub(crate) introspection_client_id: Option<String>,
    /// The name of the file with that client's secret, in the issuer's folder of `login-secrets`
    #[arg(long, value_name = "NAME", requires = "opaque_from")]
    pub(crate) introspection_secret_file: Option<String>,
    /// Append the entry to this registry file, which is made if it is missing
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: OptionalServer,
}

fn profile() -> impl TypedValueParser<Value = TokenProfile> {
    PossibleValuesParser::new(TokenProfile::ALL.iter().map(|profile| profile.as_str())).try_map(|name| {
        let named = TokenProfile::ALL.iter().find(|profile| profile.as_str() == name);
        named.copied().ok_or("not a profile")
    })
}

fn id_token_use(text: &str) -> Result<IdTokenItem, String> {
    let wrong = || "write AUDIENCE=CLIENT, such as 8f1c2d=desk".to_owned();
    // A client id there may have a `=`; one of ours ends it.
    let (audience, client) =
        text.rsplit_once('=').filter(|(audience, _)| !audience.is_empty()).ok_or_else(wrong)?;
    Ok(IdTokenItem { audience: audience.to_owned(), client: client.parse().map_err(|_| wrong())? })
}

fn required_claim(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("write CLAIM=TEXT, such as sub_type=user".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{id_token_use, required_claim};

    #[test]
    fn the_audience_of_an_id_token_and_the_client_that_presents_it() {
        let read = |text| id_token_use(text).map(|item| (item.audience, item.client.to_string()));
        assert_eq!(read("a=b=desk"), Ok(("a=b".to_owned(), "desk".to_owned())));
        for bad in ["", "portal", "portal=", "=desk", "portal=two words"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_required_claim_has_a_name_and_a_text() {
        assert_eq!(required_claim("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        for bad in ["", "a", "a=", "=b"] {
            assert!(required_claim(bad).is_err(), "{bad}");
        }
    }
}
