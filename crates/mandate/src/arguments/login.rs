//! The arguments of `mandate login` and `mandate token`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use mandate_core::{ClientId, Issuer, ResourceUri};
use url::Url;

#[derive(Args, Debug)]
pub(crate) struct Login {
    /// Where to log in: the issuer, as `mandate serve` printed it
    #[arg(long, value_name = "URL", env = "MANDATE_ISSUER", hide_env_values = true)]
    pub(crate) issuer: Issuer,
    /// As which client: a `[[client]]` of the registry file
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: ClientId,
    /// The file with the client's secret, if it has one
    #[arg(long, value_name = "FILE")]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// Where the browser is sent back to, as the client declares it. Without a port, a free one is used
    #[arg(long, value_name = "URI", default_value = "http://127.0.0.1/callback", value_parser = redirect_uri)]
    pub(crate) redirect_uri: Url,
    /// For which resource the token is. Without it the token is for the issuer alone: it can only be
    /// exchanged
    #[arg(long, value_name = "URI")]
    pub(crate) resource: Option<ResourceUri>,
    /// Which scopes, separated by spaces. Without it, all scopes that the person has there
    #[arg(long, value_name = "SCOPES")]
    pub(crate) scope: Option<String>,
    /// A token for --admin-token-file: the resource is the issuer and the scope mandate:admin
    #[arg(long, conflicts_with_all = ["resource", "scope"])]
    pub(crate) admin: bool,
    /// Do not open a browser; the address is printed in any case
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// Write the token to this file, readable by you alone, instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Trust this certificate authority (PEM) for the issuer, and no other
    #[arg(long, value_name = "FILE", env = "MANDATE_CA_FILE", hide_env_values = true)]
    pub(crate) ca: Option<PathBuf>,
}

/// A redirect URI to which a code may be sent, because it is not sent over a network unencrypted (RFC 8252
/// §7.3, §8.3).
fn redirect_uri(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("not a URI: {error}"))?;
    if url.fragment().is_some() {
        return Err("a redirect URI has no fragment".to_owned());
    }
    match url.scheme() {
        "http" if mandate_core::uri::is_loopback(&url) => Ok(url),
        "http" => Err("http is for loopback addresses only, such as http://127.0.0.1/callback".to_owned()),
        _ => Ok(url),
    }
}

#[derive(Subcommand, Debug)]
pub(crate) enum Token {
    /// Show what a token says: header, claims, times and the chain of who acts for whom
    ///
    /// The signature is not verified unless --issuer is given: without it, anyone may have written the token.
    #[command(
        after_help = "Examples:\n  mandate token show tour/sam.token\n  mandate login --client-id notes-app | mandate token show\n  mandate token show access.token --issuer https://mandate.acme.example   (verifies it)"
    )]
    Show(TokenShow),
}

#[derive(Args, Debug)]
pub(crate) struct TokenShow {
    /// The file with the token, or with a token endpoint's JSON answer; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    pub(crate) file: PathBuf,
    /// Verify the token with the keys of this issuer
    #[arg(long, value_name = "URL", env = "MANDATE_ISSUER", hide_env_values = true)]
    pub(crate) issuer: Option<Issuer>,
    /// Trust this certificate authority (PEM) for the issuer, and no other
    #[arg(long, value_name = "FILE", env = "MANDATE_CA_FILE", hide_env_values = true, requires = "issuer")]
    pub(crate) ca: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::redirect_uri;

    #[test]
    fn a_code_is_sent_over_no_network_in_clear() {
        for good in [
            "http://127.0.0.1/callback",
            "http://[::1]:9200/cb",
            "http://localhost/cb",
            "https://app.example/cb",
            "com.example.app:/cb",
        ] {
            assert!(redirect_uri(good).is_ok(), "{good}");
        }
        for bad in ["http://app.example/cb", "callback", "", "https://app.example/cb#x"] {
            assert!(redirect_uri(bad).is_err(), "{bad}");
        }
    }
}
