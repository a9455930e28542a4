//! Entries of identity providers of other organizations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::claim_path::ClaimPath;
use crate::digest::sha256;
use crate::id::{ClientId, TenantName};
use crate::terms::Audience;
use crate::uri::Issuer;

/// Whether the scopes of another issuer's token limit what may be delegated from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectScope {
    /// The result never exceeds the token's own `scope` claim.
    Token,
    /// The token proves only who the person is; `may` in the registry alone says what they may do. Never
    /// wider than the person's rights, the ceiling and the grant.
    IdentityOnly,
}

/// The product whose access tokens an issuer issues: how they differ from RFC 9068, and how a token of a
/// person is told apart from one of a machine and from an ID token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenProfile {
    /// As RFC 9068 says. Whether a person is the subject is for the issuer's entry to say.
    #[default]
    Rfc9068,
    /// Keycloak, as of version 26: access tokens of its default client scopes.
    Keycloak,
    /// Microsoft Entra ID, access tokens of version 1.0.
    EntraV1,
    /// Microsoft Entra ID, access tokens of version 2.0.
    EntraV2,
    /// Okta, a custom authorization server.
    Okta,
    /// Auth0, both of its access token profiles.
    Auth0,
    /// Curity Identity Server, with access tokens as JWT.
    Curity,
    /// `PingAM` and `PingOne` Advanced Identity Cloud, client-based tokens.
    Pingam,
    /// ZITADEL, with access tokens as JWT.
    Zitadel,
    /// Amazon Cognito user pools.
    Cognito,
    /// Google: its access tokens are opaque, and no JWT is one.
    Google,
}

impl TokenProfile {
    /// All of them, in the order of the documentation.
    pub const ALL: &[Self] = &[
        Self::Rfc9068,
        Self::Keycloak,
        Self::EntraV1,
        Self::EntraV2,
        Self::Okta,
        Self::Auth0,
        Self::Curity,
        Self::Pingam,
        Self::Zitadel,
        Self::Cognito,
        Self::Google,
    ];

    /// Its name in a registry file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rfc9068 => "rfc9068",
            Self::Keycloak => "keycloak",
            Self::EntraV1 => "entra-v1",
            Self::EntraV2 => "entra-v2",
            Self::Okta => "okta",
            Self::Auth0 => "auth0",
            Self::Curity => "curity",
            Self::Pingam => "pingam",
            Self::Zitadel => "zitadel",
            Self::Cognito => "cognito",
            Self::Google => "google",
        }
    }

    /// Whether nothing in a token of this product says that its subject is a person: the entry must then name
    /// a claim that only people's tokens have.
    pub const fn needs_a_claim_of_people(self) -> bool {
        matches!(self, Self::Curity | Self::Zitadel)
    }

    /// Whether the product issues access tokens as JWT that others than itself can verify.
    pub const fn has_jwt_access_tokens(self) -> bool {
        !matches!(self, Self::Google)
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    const fn is_rfc9068(&self) -> bool {
        matches!(self, Self::Rfc9068)
    }
}

/// This server as a client of an identity provider, for people who log in there (`OpenID` Connect Core
/// §3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamClient {
    /// Its client id there: the `aud` of ID tokens.
    pub client_id: String,
    /// The name of the file with its secret, in the folder of login secrets of the server's directory. Absent:
    /// a public client, which PKCE alone protects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<String>,
}

/// The path of the address to which identity providers answer, below our issuer; then [`login_key`].
pub const LOGIN_CALLBACK_PATH: &str = "/login/callback";

/// The path of the address to which identity providers report logouts, below our issuer.
pub const LOGOUT_PATH: &str = "/login/backchannel-logout";

/// The path of the addresses to which identity providers push security events, below our issuer; then
/// [`login_key`].
pub const EVENTS_PATH: &str = "/login/security-events";

/// The key of a provider in the address to which it answers: each provider has an address of its own, so that
/// no provider can pass off its answer as another's (RFC 9700 §4.4.2.2).
pub fn login_key(provider: &Issuer) -> String {
    let digest = sha256(provider.as_str().as_bytes());
    base16ct::lower::encode_string(digest.get(..8).unwrap_or_default())
}

/// The address to which `provider` answers: the `redirect_uri` that is registered there for the server with
/// the issuer `ours`.
pub fn login_callback(ours: &Issuer, provider: &Issuer) -> String {
    format!("{}{LOGIN_CALLBACK_PATH}/{}", ours.as_str().trim_end_matches('/'), login_key(provider))
}

/// The address to which `provider` pushes security events for the server with the issuer `ours` (RFC 8935 §2.1):
/// each provider has its own (`OpenID` Shared Signals Framework §6.1.1).
pub fn events_address(ours: &Issuer, provider: &Issuer) -> String {
    format!("{}{EVENTS_PATH}/{}", ours.as_str().trim_end_matches('/'), login_key(provider))
}

/// ID tokens of an issuer that may be subject tokens (RFC 8693 §3): those for one client there, from one client
/// of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IdTokenUse {
    /// The client id at the issuer to which the ID tokens are addressed: their `aud`, compared bytewise.
    pub audience: String,
    /// The only client of ours that may present them: a registered client, or an agent by its SPIFFE ID.
    pub client: ClientId,
}

/// This server as a client of an issuer that it asks about opaque access tokens (RFC 7662 §2.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntrospectionClient {
    /// Its client id there.
    pub client_id: String,
    /// The name of the file with its secret, in the folder of login secrets of the server's directory: an
    /// issuer answers no stranger.
    pub client_secret_file: String,
    /// The clients of ours whose opaque tokens are of this issuer: a registered client by its id, an agent by
    /// its SPIFFE ID. A token of any other client is never sent there.
    pub clients: Vec<ClientId>,
}

/// An identity provider of another organization: its tokens are accepted as subject tokens, or people log in
/// there, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedIssuer {
    /// Its issuer identifier, compared bytewise with `iss`.
    pub url: Issuer,
    /// The `aud` that its access tokens must have. Empty: its access tokens are no subject tokens, because no
    /// token has an empty `aud`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub audience: String,
    /// Whether the scopes of its tokens limit the delegation.
    pub subject_scope: SubjectScope,
    /// What its tokens may be addressed to besides `audience`. A service that receives a token as one of
    /// these audiences can use it here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_audiences: Vec<String>,
    /// The only certificate authorities that are trusted for its servers, as PEM; absent: those of the
    /// system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The proxy through which it is reached; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// The product whose access tokens it issues.
    #[serde(default, skip_serializing_if = "TokenProfile::is_rfc9068")]
    pub profile: TokenProfile,
    /// Claims that its tokens must have, with these texts as values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub required_claims: BTreeMap<String, String>,
    /// Where its tokens name the groups of the person, each by the text that is `id` of an entry. Absent:
    /// they prove no group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups_claim: Option<ClaimPath>,
    /// Where its tokens name the tenant of the person, which must be that of the person's entry. Absent: it
    /// is not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_claim: Option<ClaimPath>,
    /// The tenant to which all its people belong; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantName>,
    /// Whether `act` in its tokens nests the other way round: the oldest actor is outermost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub oldest_actor_first: bool,
    /// Absent: nobody logs in there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<UpstreamClient>,
    /// The `aud` that its security events must have. Absent: none of its events are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_audience: Option<String>,
    /// Which of its ID tokens may be subject tokens. Empty: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub id_tokens: Vec<IdTokenUse>,
    /// Absent: its opaque access tokens are no subject tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection: Option<IntrospectionClient>,
}

impl TrustedIssuer {
    /// Whether its access tokens can be subject tokens.
    pub const fn has_subject_tokens(&self) -> bool {
        !self.audience.is_empty()
    }

    /// Whether a token with this `aud` is for us: it is addressed to `audience`, and to nothing that the
    /// entry does not name. Every other audience of the token can bring it here too, so an operator has to
    /// know it.
    pub fn takes(&self, audience: &Audience) -> bool {
        self.has_subject_tokens()
            && audience.iter().any(|aud| aud == self.audience)
            && self.unnamed(audience).next().is_none()
    }

    /// As what this server asks about the opaque tokens that `client` presents, if they are of this issuer.
    pub fn introspection_for(&self, client: &str) -> Option<&IntrospectionClient> {
        let names = |known: &&IntrospectionClient| known.clients.iter().any(|id| id.as_str() == client);
        self.introspection.as_ref().filter(names)
    }

    /// Whether `client` may present ID tokens of this issuer at all.
    pub fn has_id_tokens_for(&self, client: &str) -> bool {
        self.id_tokens.iter().any(|known| known.client.as_str() == client)
    }

    /// Whether `client` may present an ID token that was issued to `party` there and has this `aud`: the entry
    /// names both, and every other audience is one that it trusts (`OpenID` Connect Core §3.1.3.7, item 3).
    pub fn takes_id_token(&self, audience: &Audience, party: &str, client: &str) -> bool {
        let trusted = |aud: &str| aud == party || self.other_audiences.iter().any(|other| other == aud);
        self.id_tokens.iter().any(|known| known.audience == party && known.client.as_str() == client)
            && audience.iter().any(|aud| aud == party)
            && audience.iter().all(trusted)
    }

    /// The audiences in `audience` that the entry does not name.
    pub fn unnamed<'a>(&self, audience: &'a Audience) -> impl Iterator<Item = &'a str> {
        let named = |aud: &str| aud == self.audience || self.other_audiences.iter().any(|other| other == aud);
        audience.iter().filter(move |aud| !named(aud))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        IdTokenUse, SubjectScope, TokenProfile, TrustedIssuer, events_address, login_callback, login_key,
    };
    use crate::terms::Audience;

    #[test]
    fn an_id_token_is_for_one_client_there_and_from_one_client_of_ours() {
        let used = |audience: &str, client: &str| IdTokenUse {
            audience: audience.to_owned(),
            client: client.parse().unwrap(),
        };
        let issuer = TrustedIssuer {
            url: "https://sso.example.com".parse().unwrap(),
            audience: "https://mandate.example.com".to_owned(),
            subject_scope: SubjectScope::Token,
            other_audiences: vec!["project".to_owned()],
            ca: None,
            proxy: None,
            profile: TokenProfile::Rfc9068,
            required_claims: std::collections::BTreeMap::new(),
            login: None,
            events_audience: None,
            introspection: None,
            oldest_actor_first: false,
            groups_claim: None,
            tenant_claim: None,
            tenant: None,
            id_tokens: vec![used("portal", "desk"), used("mobile", "phone")],
        };
        let takes = |audiences: &[&str], party: &str, client: &str| {
            let mut all = audiences.iter().map(|aud| (*aud).to_owned());
            issuer.takes_id_token(&Audience::several(all.next().unwrap(), all.collect()), party, client)
        };
        assert!(takes(&["portal"], "portal", "desk") && takes(&["project", "mobile"], "mobile", "phone"));
        for (audiences, party, client, why) in [
            (&["portal"][..], "portal", "phone", "another client of ours"),
            (&["mobile"], "mobile", "desk", "another client there"),
            (&["portal", "mobile"], "portal", "desk", "also for another client there"),
            (&["portal", "unknown"], "portal", "desk", "also for somebody unknown"),
            (&["project"], "portal", "desk", "not for the party that it was issued to"),
            (&["project"], "project", "desk", "for what is trusted beside others alone"),
            (&["https://mandate.example.com"], "https://mandate.example.com", "desk", "for us"),
        ] {
            assert!(!takes(audiences, party, client), "{why}");
        }
        assert!(issuer.has_id_tokens_for("desk") && !issuer.has_id_tokens_for("portal"));
    }

    #[test]
    fn each_provider_answers_at_an_address_of_its_own() {
        let provider = "https://sso.example.com/realms/staff".parse().unwrap();
        // printf %s https://sso.example.com/realms/staff | sha256sum | cut -c -16
        assert_eq!(login_key(&provider), "a71b268ea08077e8");
        for ours in ["https://mandate.example.com", "https://mandate.example.com/"] {
            let expected = format!("https://mandate.example.com/login/callback/{}", login_key(&provider));
            assert_eq!(login_callback(&ours.parse().unwrap(), &provider), expected);
            let expected = "https://mandate.example.com/login/security-events/a71b268ea08077e8";
            assert_eq!(events_address(&ours.parse().unwrap(), &provider), expected);
        }
        assert_ne!(
            login_key(&provider),
            login_key(&"https://sso.example.com/realms/staff/".parse().unwrap())
        );
    }
}
