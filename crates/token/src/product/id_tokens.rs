//! The ID tokens of each product (`OpenID` Connect Core §2): what tells one from an access token, which often
//! has the same `typ`, and what shows that its subject is a person.

use mandate_core::registry::TokenProfile;

use super::shapes::ENTRA_PERSON;
use super::{Rule, Shows, broken};
use crate::strict_json::Object;

/// The marks of a product's ID tokens.
#[derive(Debug)]
pub(crate) struct IdTokenShape {
    /// What shows that it is an ID token.
    pub(crate) id_token: &'static [Rule],
    /// What shows that its subject is a person.
    pub(crate) person: &'static [Rule],
}

impl IdTokenShape {
    pub(crate) fn of(profile: TokenProfile) -> &'static Self {
        match profile {
            TokenProfile::Rfc9068 => &USUAL,
            TokenProfile::Keycloak => &KEYCLOAK,
            TokenProfile::EntraV1 => &ENTRA_V1,
            TokenProfile::EntraV2 => &ENTRA_V2,
            TokenProfile::Okta => &OKTA,
            TokenProfile::Auth0 => &AUTH0,
            TokenProfile::Curity => &CURITY,
            TokenProfile::Pingam => &PINGAM,
            TokenProfile::Zitadel => &ZITADEL,
            TokenProfile::Cognito => &COGNITO,
            TokenProfile::Google => &GOOGLE,
        }
    }

    /// As [`super::Shape::outcomes`].
    pub(crate) fn outcomes(
        &self,
        claims: &Object<'_>,
        issuer: &str,
    ) -> impl Iterator<Item = (Shows, Rule, bool)> {
        let id_token = self.id_token.iter().map(|rule| (Shows::IdToken, *rule));
        let person = self.person.iter().map(|rule| (Shows::Person, *rule));
        id_token.chain(person).map(move |(shows, rule)| (shows, rule, rule.holds(claims, issuer)))
    }

    /// The claim by which the token is no ID token.
    pub(crate) fn not_id_token(&self, claims: &Object<'_>, issuer: &str) -> Option<&'static str> {
        broken(self.id_token, claims, issuer)
    }

    /// The claim by which the subject is not shown to be a person.
    pub(crate) fn not_a_person(&self, claims: &Object<'_>, issuer: &str) -> Option<&'static str> {
        broken(self.person, claims, issuer)
    }
}

/// No claim is in each ID token and in no access token. These are in access tokens alone; an access token of
/// RFC 9068 always has `client_id`. Some products call it `appid` or `cid`.
const USUAL: IdTokenShape = IdTokenShape {
    id_token: &[
        Rule::Lacks("client_id"),
        Rule::Lacks("scope"),
        Rule::Lacks("scp"),
        Rule::Lacks("appid"),
        Rule::Lacks("cid"),
        Rule::Lacks("token_type"),
        Rule::Lacks("authorization_details"),
    ],
    person: &[],
};

const KEYCLOAK: IdTokenShape = IdTokenShape {
    id_token: &[Rule::Is("typ", &["ID"]), Rule::Lacks("scope")],
    person: &[
        Rule::Has("sid"),
        Rule::Lacks("client_id"),
        Rule::Has("preferred_username"),
        Rule::DoesNotBegin("preferred_username", "service-account-"),
    ],
};

/// In an access token an agent that acted is its client, and an ID token does not say which one it was.
const NO_AGENT_ACTED: Rule = Rule::NoneOf("xms_act_fct", &["11"]);

/// The access token of an application has no `scp` either. Its client is in `azp`, and how that proved itself in
/// `azpacr`.
const ENTRA_V2: IdTokenShape = IdTokenShape {
    id_token: &[
        Rule::Is("ver", &["2.0"]),
        Rule::Lacks("scp"),
        Rule::Lacks("azp"),
        Rule::Lacks("azpacr"),
        NO_AGENT_ACTED,
        Rule::InIssuer("tid"),
    ],
    person: ENTRA_PERSON,
};

const ENTRA_V1: IdTokenShape = IdTokenShape {
    id_token: &[
        Rule::Is("ver", &["1.0"]),
        Rule::Lacks("scp"),
        Rule::Lacks("appid"),
        Rule::Lacks("appidacr"),
        NO_AGENT_ACTED,
        Rule::InIssuer("tid"),
    ],
    person: ENTRA_PERSON,
};

/// Here the user's id is in `sub`; in access tokens it is in `uid`.
const OKTA: IdTokenShape = IdTokenShape {
    id_token: &[
        Rule::IsNumber("ver", 1),
        Rule::Begins("jti", "ID."),
        Rule::Lacks("scp"),
        Rule::Lacks("cid"),
        Rule::Lacks("uid"),
    ],
    person: &[Rule::Begins("sub", "00u")],
};

const AUTH0: IdTokenShape = IdTokenShape {
    id_token: &[
        Rule::Lacks("scope"),
        Rule::Lacks("client_id"),
        Rule::Lacks("gty"),
        Rule::Lacks("permissions"),
    ],
    person: &[
        Rule::Contains("sub", "|"),
        Rule::DoesNotEnd("sub", "@clients"),
        Rule::IsOrAbsent("sub_profile", &["user"]),
    ],
};

const CURITY: IdTokenShape =
    IdTokenShape { id_token: &[Rule::Is("purpose", &["id"])], person: &[Rule::Differ("sub", "azp")] };

const PINGAM: IdTokenShape = IdTokenShape {
    id_token: &[Rule::Is("tokenName", &["id_token"]), Rule::Lacks("scope"), Rule::Lacks("token_type")],
    person: &[Rule::DoesNotBegin("sub", "(age!"), Rule::Differ("sub", "azp")],
};

/// Its access tokens never have `azp`. Who logs in is a person; `auth_time` is when.
const ZITADEL: IdTokenShape = IdTokenShape {
    id_token: &[Rule::Has("azp"), Rule::Lacks("scope")],
    person: &[Rule::Has("auth_time"), Rule::Has("amr"), Rule::Differ("sub", "azp")],
};

const COGNITO: IdTokenShape = IdTokenShape {
    id_token: &[Rule::Is("token_use", &["id"]), Rule::Lacks("client_id"), Rule::Lacks("scope")],
    person: &[Rule::Has("cognito:username"), Rule::Differ("sub", "aud")],
};

/// A service account can have an ID token for any audience; it is its own `azp`. An access token is never a JWT.
const GOOGLE: IdTokenShape = IdTokenShape {
    id_token: &[Rule::Has("azp"), Rule::Lacks("scope")],
    person: &[Rule::Differ("sub", "azp"), Rule::DoesNotEnd("email", ".gserviceaccount.com")],
};
