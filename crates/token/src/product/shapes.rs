//! The shape of each product's access tokens, with the claims that real ones have.

use mandate_core::names::{AccessTokenType, GrantType};

use super::{ActorClaims, AudienceClaim, Lacking, Rule, ScopeClaim, Shape};

/// Types under which access tokens are sent (RFC 9068 §2.1, §4).
const AT_JWT: &str = "at+jwt";
const APPLICATION_AT_JWT: &str = "application/at+jwt";

const BEARER: &str = AccessTokenType::Bearer.as_str();

/// RFC 9068 §2.2. That `act` and `scope` mean what they say, and that the subject is a person, is for the
/// operator to know: the profile says nothing about it.
pub(super) const RFC9068: Shape = Shape {
    types: &[AT_JWT, APPLICATION_AT_JWT],
    not_in_header: &[],
    zip_none: false,
    client: &["client_id"],
    scope: ScopeClaim::Text("scope"),
    id: ("jti", Lacking::Refused),
    subject: "sub",
    audience: AudienceClaim::Required,
    actors: ActorClaims::Act,
    of_parties: &[],
    access_token: &[],
    person: &[],
};

/// The client is in `azp`; `client_id` is only in tokens of service accounts, which have no session. The
/// switch "lower case token type in responses" also changes the claim `typ`.
pub(super) const KEYCLOAK: Shape = Shape {
    types: &["jwt", AT_JWT],
    client: &["azp"],
    access_token: &[
        Rule::Is("typ", &[BEARER, "bearer", "DPoP", "dpop"]),
        Rule::Lacks("nonce"),
        Rule::Lacks("at_hash"),
    ],
    person: &[
        Rule::Has("sid"),
        Rule::Lacks("client_id"),
        // Without it, a service account with a session would not be seen.
        Rule::Has("preferred_username"),
        Rule::DoesNotBegin("preferred_username", "service-account-"),
    ],
    ..RFC9068
};

/// `sub` is another one for each application; `oid` is the account of a tenant. An ID token has `uti` and
/// `oid` too, but neither `scp` nor a client. In tokens of applications `sub` equals `oid`. The user account
/// of an agent is shown by 13 in `xms_sub_fct` alone, an agent's own identity by 11. A token for Microsoft
/// Graph has `nonce` in its header, and nobody else can verify it.
pub(super) const ENTRA_V2: Shape = Shape {
    types: &["jwt"],
    not_in_header: &["nonce"],
    client: &["azp"],
    scope: ScopeClaim::Text("scp"),
    id: ("uti", Lacking::Refused),
    subject: "oid",
    actors: ActorClaims::EntraFacets,
    of_parties: &["xms_act_fct", "xms_sub_fct", "xms_tnt_fct", "xms_par_app_azp", "xms_idrel"],
    access_token: &[
        Rule::Is("ver", &["2.0"]),
        Rule::Has("scp"),
        Rule::Has("azp"),
        Rule::Lacks("nonce"),
        Rule::Lacks("at_hash"),
        Rule::Lacks("c_hash"),
        Rule::InIssuer("tid"),
    ],
    person: ENTRA_PERSON,
    ..RFC9068
};

pub(super) const ENTRA_V1: Shape = Shape {
    client: &["appid"],
    access_token: &[
        Rule::Is("ver", &["1.0"]),
        Rule::Has("scp"),
        Rule::Has("appid"),
        Rule::Lacks("nonce"),
        Rule::Lacks("at_hash"),
        Rule::Lacks("c_hash"),
        Rule::InIssuer("tid"),
    ],
    ..ENTRA_V2
};

pub(super) const ENTRA_PERSON: &[Rule] = &[
    Rule::IsOrAbsent("idtyp", &["user"]),
    Rule::Differ("sub", "oid"),
    Rule::NoneOf("xms_sub_fct", &["11", "13"]),
];

/// By default `sub` is the name with which a person logs in, which changes; `uid` does not, and tokens of
/// machines lack it. The tokens of an organization's own server are for Okta only: they have another `typ`,
/// and nobody else has their keys.
pub(super) const OKTA: Shape = Shape {
    types: &["", "jwt", AT_JWT, APPLICATION_AT_JWT],
    client: &["cid"],
    scope: ScopeClaim::List("scp"),
    subject: "uid",
    access_token: &[
        Rule::IsNumber("ver", 1),
        Rule::Begins("jti", "AT."),
        Rule::Lacks("nonce"),
        Rule::Lacks("at_hash"),
        Rule::Lacks("idp"),
    ],
    person: &[Rule::Begins("uid", "00u"), Rule::Differ("sub", "cid")],
    ..RFC9068
};

/// Two dialects: without `jti` and with `azp`, or as RFC 9068. The `sub` of a person begins with the name of
/// the connection and `|`; that of an agent is what an administrator chose.
pub(super) const AUTH0: Shape = Shape {
    types: &["jwt", AT_JWT],
    client: &["azp", "client_id"],
    id: ("jti", Lacking::Digest),
    actors: ActorClaims::ActOfIssuer,
    of_parties: &["sub_profile", "client_profile"],
    access_token: &[Rule::Has("scope"), Rule::Lacks("nonce"), Rule::Lacks("at_hash")],
    person: &[
        Rule::Contains("sub", "|"),
        Rule::DoesNotEnd("sub", "@clients"),
        Rule::IsOrAbsent("gty", &["password", GrantType::RefreshToken.as_str()]),
        Rule::IsOrAbsent("sub_profile", &["user"]),
    ],
    ..RFC9068
};

/// The client is in no claim unless an operator of Curity maps it to `client_id`. Without a configured
/// audience the client is also the audience.
pub(super) const CURITY: Shape = Shape {
    types: &["", "jwt", AT_JWT],
    scope: ScopeClaim::Either("scope"),
    access_token: &[Rule::Is("purpose", &["access_token"]), Rule::Differ("aud", "client_id")],
    person: &[Rule::Differ("sub", "client_id")],
    ..RFC9068
};

/// The type of the grant is the firm mark of a machine: the names of people and of clients are of the same
/// form unless the server writes them as `(usr!…)` and `(age!…)`.
pub(super) const PINGAM: Shape = Shape {
    types: &["jwt", AT_JWT],
    zip_none: true,
    scope: ScopeClaim::List("scope"),
    access_token: &[
        Rule::Is("tokenName", &["access_token"]),
        Rule::Is("token_type", &[BEARER]),
        Rule::Differ("aud", "client_id"),
    ],
    person: &[
        Rule::Is(
            "grant_type",
            &[
                GrantType::AuthorizationCode.as_str(),
                GrantType::RefreshToken.as_str(),
                "urn:ietf:params:oauth:grant-type:device_code",
                "urn:openid:params:grant-type:ciba",
            ],
        ),
        Rule::DoesNotBegin("sub", "(age!"),
        Rule::Differ("sub", "client_id"),
    ],
    ..RFC9068
};

/// ID tokens have the same `aud` and `typ`; they lack `jti`. No scope is in the token.
pub(super) const ZITADEL: Shape = Shape {
    types: &["jwt", AT_JWT],
    access_token: &[
        Rule::Has("nbf"),
        Rule::Has("jti"),
        Rule::Lacks("azp"),
        Rule::Lacks("at_hash"),
        Rule::Lacks("amr"),
        Rule::Lacks("nonce"),
    ],
    person: &[Rule::Differ("sub", "client_id")],
    ..RFC9068
};

/// `aud` is there only if the client asked for a resource. The `sub` of a machine is its client.
pub(super) const COGNITO: Shape = Shape {
    types: &["", "jwt", AT_JWT],
    audience: AudienceClaim::OrClient,
    access_token: &[Rule::Is("token_use", &["access"]), Rule::Lacks("nonce"), Rule::Lacks("at_hash")],
    person: &[Rule::Has("username"), Rule::Differ("sub", "client_id")],
    ..RFC9068
};

/// Its access tokens are opaque: every JWT of this issuer is an ID token, of a person or of a service account.
pub(super) const GOOGLE: Shape = Shape {
    types: &["jwt"],
    client: &["azp"],
    access_token: &[Rule::Never("aud")],
    person: &[Rule::Differ("sub", "azp"), Rule::DoesNotEnd("email", ".gserviceaccount.com")],
    ..RFC9068
};
