//! How the access tokens of identity providers differ from RFC 9068.
//!
//! For each product a [`Shape`]: under which names its tokens say what RFC 9068 §2.2 requires, what shows
//! that one is an access token, and what shows that its subject is a person. The header's `typ` shows
//! neither: most products write `JWT` into access tokens and ID tokens alike. A token that does not show both
//! is refused.

mod id_tokens;
mod shapes;

use mandate_core::registry::TokenProfile;

use crate::strict_json::{Json, Object};

pub(crate) use id_tokens::IdTokenShape;

/// The shape of a product's access tokens.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The values of `typ` in the header, in lower case; an empty one means that it may be absent.
    pub(crate) types: &'static [&'static str],
    /// Members of the header with which a token is meant for somebody else.
    pub(crate) not_in_header: &'static [&'static str],
    /// Whether the header may say `"zip":"NONE"`, which is not a registered use of `zip` and changes nothing.
    pub(crate) zip_none: bool,
    /// The claims that may name the client. All that a token has must agree.
    pub(crate) client: &'static [&'static str],
    pub(crate) scope: ScopeClaim,
    /// The claim with the id of the token, and whether a token may lack it.
    pub(crate) id: (&'static str, Lacking),
    /// The claim that names the person for as long as the person has an account.
    pub(crate) subject: &'static str,
    pub(crate) audience: AudienceClaim,
    pub(crate) actors: ActorClaims,
    /// Claims that say of the parties what kind they are. They are recorded, and decide nothing.
    pub(crate) of_parties: &'static [&'static str],
    /// What shows that it is an access token.
    pub(crate) access_token: &'static [Rule],
    /// What shows that its subject is a person.
    pub(crate) person: &'static [Rule],
}

/// How a token names its scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScopeClaim {
    /// One text, with spaces between the scopes (RFC 9068 §2.2.3).
    Text(&'static str),
    /// A list of texts.
    List(&'static str),
    /// Either of them.
    Either(&'static str),
}

impl ScopeClaim {
    /// The name of the claim.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Text(name) | Self::List(name) | Self::Either(name) => name,
        }
    }
}

/// What happens to a token without an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lacking {
    Refused,
    /// What is signed is its id.
    Digest,
}

/// Whether a token must have `aud`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AudienceClaim {
    Required,
    /// Without it, the token is addressed to every API that trusts the client: the client counts as its
    /// audience.
    OrClient,
}

/// How a token names an agent that acts for the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActorClaims {
    /// `act` (RFC 8693 §4.1).
    Act,
    /// The same, where an actor without `iss` is one of the issuer's own.
    ActOfIssuer,
    /// The client is an agent if one of the numbers in `xms_act_fct` is 11.
    EntraFacets,
}

/// What a rule of a product shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shows {
    AccessToken,
    IdToken,
    Person,
}

/// Something about the claims of a token.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// The claim is one of these texts.
    Is(&'static str, &'static [&'static str]),
    /// The claim is one of these texts, or absent.
    IsOrAbsent(&'static str, &'static [&'static str]),
    /// The claim is this number.
    IsNumber(&'static str, u64),
    Has(&'static str),
    Lacks(&'static str),
    /// The claim is a text that begins with this.
    Begins(&'static str, &'static str),
    /// The claim is not a text that begins with this.
    DoesNotBegin(&'static str, &'static str),
    /// The claim is not a text that ends with this.
    DoesNotEnd(&'static str, &'static str),
    /// The claim is a text with this in it.
    Contains(&'static str, &'static str),
    /// The first claim is a text, or `aud` and a list of texts, and none of them is the text of the second.
    Differ(&'static str, &'static str),
    /// None of these is among the numbers of the claim, a text with spaces between them.
    NoneOf(&'static str, &'static [&'static str]),
    /// The claim is one of the path segments of the issuer.
    InIssuer(&'static str),
    /// No token is so.
    Never(&'static str),
}

impl Rule {
    /// Whether the claims of a token of `issuer` are so.
    fn holds(self, claims: &Object<'_>, issuer: &str) -> bool {
        let text = |claim| claims.get(claim).and_then(Json::as_text);
        let absent = |claim| matches!(claims.get(claim), None | Some(Json::Null));
        match self {
            Self::Is(claim, values) => text(claim).is_some_and(|text| values.contains(&text)),
            Self::IsOrAbsent(claim, values) => {
                absent(claim) || text(claim).is_some_and(|text| values.contains(&text))
            }
            Self::IsNumber(claim, number) => {
                matches!(claims.get(claim), Some(Json::Number(found)) if found.as_u64() == Some(number))
            }
            Self::Has(claim) => !absent(claim),
            Self::Lacks(claim) => absent(claim),
            Self::Begins(claim, start) => text(claim).is_some_and(|text| text.starts_with(start)),
            Self::DoesNotBegin(claim, start) => !text(claim).is_some_and(|text| text.starts_with(start)),
            Self::DoesNotEnd(claim, end) => !text(claim).is_some_and(|text| text.ends_with(end)),
            Self::Contains(claim, part) => text(claim).is_some_and(|text| text.contains(part)),
            Self::Differ(one, other) => {
                let other = text(other);
                let differs = |value: &Json<'_>| value.as_text().is_some_and(|text| Some(text) != other);
                match claims.get(one) {
                    Some(Json::List(values)) if one == "aud" => values.iter().all(differs),
                    Some(value) => differs(value),
                    None => false,
                }
            }
            Self::Never(_) => false,
            Self::NoneOf(claim, values) => {
                absent(claim)
                    || text(claim).is_some_and(|text| !text.split(' ').any(|part| values.contains(&part)))
            }
            Self::InIssuer(claim) => text(claim)
                .is_some_and(|text| !text.is_empty() && issuer.split('/').any(|segment| segment == text)),
        }
    }

    /// What the claim must be, to follow its name in a sentence.
    pub(crate) fn expected(self) -> String {
        match self {
            Self::Is(_, values) => format!("must be {}", one_of(values)),
            Self::IsOrAbsent(_, values) => format!("must be {} or absent", one_of(values)),
            Self::IsNumber(_, number) => format!("must be the number {number}"),
            Self::Has(_) => "must be there".to_owned(),
            Self::Lacks(_) => "must be absent".to_owned(),
            Self::Begins(_, start) => format!("must begin with `{start}`"),
            Self::DoesNotBegin(_, start) => format!("must not begin with `{start}`"),
            Self::DoesNotEnd(_, end) => format!("must not end with `{end}`"),
            Self::Contains(_, part) => format!("must contain `{part}`"),
            Self::Differ(_, other) => format!("must differ from `{other}`"),
            Self::NoneOf(_, values) => {
                format!("must be numbers with spaces between them, without {}", one_of(values))
            }
            Self::Never(_) => "cannot be in a JWT: these access tokens are opaque".to_owned(),
            Self::InIssuer(_) => "must be one of the segments of the issuer's path".to_owned(),
        }
    }

    /// The claim that it is about.
    pub(crate) fn claim(self) -> &'static str {
        match self {
            Self::Is(claim, _)
            | Self::IsOrAbsent(claim, _)
            | Self::IsNumber(claim, _)
            | Self::Has(claim)
            | Self::Lacks(claim)
            | Self::Begins(claim, _)
            | Self::DoesNotBegin(claim, _)
            | Self::DoesNotEnd(claim, _)
            | Self::Contains(claim, _)
            | Self::Differ(claim, _)
            | Self::NoneOf(claim, _)
            | Self::InIssuer(claim)
            | Self::Never(claim) => claim,
        }
    }
}

impl Shape {
    pub(crate) fn of(profile: TokenProfile) -> &'static Self {
        match profile {
            TokenProfile::Rfc9068 => &shapes::RFC9068,
            TokenProfile::Keycloak => &shapes::KEYCLOAK,
            TokenProfile::EntraV1 => &shapes::ENTRA_V1,
            TokenProfile::EntraV2 => &shapes::ENTRA_V2,
            TokenProfile::Okta => &shapes::OKTA,
            TokenProfile::Auth0 => &shapes::AUTH0,
            TokenProfile::Curity => &shapes::CURITY,
            TokenProfile::Pingam => &shapes::PINGAM,
            TokenProfile::Zitadel => &shapes::ZITADEL,
            TokenProfile::Cognito => &shapes::COGNITO,
            TokenProfile::Google => &shapes::GOOGLE,
        }
    }

    /// Each rule of the product, in the order in which they are checked, and whether the claims keep it.
    pub(crate) fn outcomes(
        &self,
        claims: &Object<'_>,
        issuer: &str,
    ) -> impl Iterator<Item = (Shows, Rule, bool)> {
        let access_token = self.access_token.iter().map(|rule| (Shows::AccessToken, *rule));
        let person = self.person.iter().map(|rule| (Shows::Person, *rule));
        access_token.chain(person).map(move |(shows, rule)| (shows, rule, rule.holds(claims, issuer)))
    }

    /// The claim by which the token is no access token.
    pub(crate) fn not_access_token(&self, claims: &Object<'_>, issuer: &str) -> Option<&'static str> {
        broken(self.access_token, claims, issuer)
    }

    /// The claim by which the subject is not shown to be a person.
    pub(crate) fn not_a_person(&self, claims: &Object<'_>, issuer: &str) -> Option<&'static str> {
        broken(self.person, claims, issuer)
    }
}

/// `a`, or `a` or `b`.
fn one_of(values: &[&str]) -> String {
    values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" or ")
}

fn broken(rules: &[Rule], claims: &Object<'_>, issuer: &str) -> Option<&'static str> {
    rules.iter().find(|rule| !rule.holds(claims, issuer)).map(|rule| rule.claim())
}
