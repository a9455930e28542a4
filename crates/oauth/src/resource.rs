//! Which resource a request names (RFC 8707 §2, RFC 8693 §2.1).

use mandate_core::names::Parameter;
use mandate_core::registry::{Registry, Resource};
use mandate_core::uri::same;
use mandate_core::{Issuer, ResourceUri};
use url::Url;

use crate::form::Form;
use crate::parameter::{Optional, ParameterRow};
use crate::refusal::RequestRefusal;

/// One of them must be there.
pub(crate) const PARAMETERS: &[ParameterRow] =
    &[Optional(Parameter::Resource).row(), Optional(Parameter::Audience).row()];

/// The most resources that are compared with a misspelt one.
const MAX_LOOKED_AT: usize = 10_000;
/// The longest text for which a likely resource is looked for, in bytes.
const MAX_COMPARED: usize = 256;

/// The one resource that a token is asked for: `resource`, or `audience` where that is the URI of a
/// registered resource; if both are sent, they must name the same.
pub(crate) fn the_one(form: &Form<'_>, registry: &Registry) -> Result<ResourceUri, RequestRefusal> {
    let mut resources = form.all(Parameter::Resource);
    let first = resources.next();
    if resources.next().is_some() {
        return Err(RequestRefusal::ResourceRepeated);
    }
    let named = match (first, form.all(Parameter::Audience).next()) {
        (Some(resource), _) => named(resource, registry)?,
        // RFC 8693 §2.1: an audience is a name that both sides know; here that is the registered URI.
        (None, Some(audience)) => registry
            .resource_uri(audience)
            .cloned()
            .ok_or_else(|| RequestRefusal::AudienceUnknown(probably_meant(audience, registry)))?,
        (None, None) => return Err(RequestRefusal::ResourceMissing),
    };
    if form.all(Parameter::Audience).any(|audience| !same(audience, named.as_str())) {
        return Err(RequestRefusal::AudienceDiffers);
    }
    Ok(named)
}

/// A request by a code or a refresh token names no other resource than the login did (RFC 8707 §2.2). A login
/// without a resource was for us.
pub(crate) fn as_authorized(
    form: &Form<'_>,
    authorized: Option<&ResourceUri>,
    issuer: &Issuer,
) -> Result<(), RequestRefusal> {
    let authorized = authorized.map_or(issuer.as_str(), ResourceUri::as_str);
    let other = form.all(Parameter::Resource).any(|resource| !same(resource, authorized));
    if other { Err(RequestRefusal::ResourceNotAuthorized) } else { Ok(()) }
}

/// The identifier of the registered resource that `text` names, as it is registered; otherwise `text` itself,
/// if it could be registered.
pub(crate) fn named(text: &str, registry: &Registry) -> Result<ResourceUri, RequestRefusal> {
    // What is registered has been parsed before.
    let registered = registry.resource_uri(text).cloned();
    registered.map_or_else(|| text.parse().map_err(RequestRefusal::ResourceMalformed), Ok)
}

/// The registered resource that the caller probably meant with an unknown one: the resource with the same
/// normal form, or else the one on the same host with the most of the path in common, or else one that
/// differs by one or two typing errors.
///
/// The registered resources are not public: only authenticated clients are told.
pub(crate) fn probably_meant(text: &str, registry: &Registry) -> Option<ResourceUri> {
    if text.len() > MAX_COMPARED {
        return None;
    }
    let url = Url::parse(text).ok().filter(Url::has_host);
    let all = || registry.resources().take(MAX_LOOKED_AT).map(|resource| &resource.uri);
    let near = |uri: &&ResourceUri| {
        let edits = strsim::osa_distance(text, uri.as_str());
        (edits <= 2).then_some(edits)
    };
    let on_host = url.as_ref().and_then(|url| {
        let common = |uri: &ResourceUri| {
            let other = Url::parse(uri.as_str()).ok()?;
            (other.host_str() == url.host_str()
                && other.port_or_known_default() == url.port_or_known_default())
            .then(|| other.path().bytes().zip(url.path().bytes()).take_while(|(a, b)| a == b).count())
        };
        // The shorter one and then the first by bytes where several fit: the answer must not depend on
        // hashing.
        let ranked =
            all().filter_map(|uri| Some((common(uri)?, std::cmp::Reverse((uri.as_str().len(), uri)))));
        ranked.max().map(|(_, std::cmp::Reverse((_, uri)))| uri)
    });
    let slip = || {
        all()
            .filter(|uri| uri.as_str().len().abs_diff(text.len()) <= 2)
            .filter_map(|uri| Some((near(&uri)?, uri)))
            .min()
            .map(|(_, uri)| uri)
    };
    on_host.or_else(slip).cloned()
}

/// Whether it is our own administration: its identifier is our issuer.
pub(crate) fn is_administration(resource: &Resource, issuer: &Issuer) -> bool {
    same(resource.uri.as_str(), issuer.as_str())
}

#[cfg(test)]
mod tests {
    use mandate_core::ScopeSet;
    use mandate_core::registry::{Entry, Registry, Resource};

    use super::{probably_meant, the_one};
    use crate::form::Form;
    use crate::refusal::RequestRefusal;

    fn registry(uris: &[&str]) -> Registry {
        Registry::from_entries(uris.iter().enumerate().map(|(at, uri)| {
            let (name, uri) = (format!("r{at}").parse().unwrap(), uri.parse().unwrap());
            Entry::Resource(Resource {
                name,
                uri,
                scopes: ScopeSet::new(),
                tools: Vec::new(),
                agent: None,
                client: None,
                unattested: ScopeSet::new(),
                tenant: None,
            })
        }))
    }

    fn of(targets: &str) -> Result<String, RequestRefusal> {
        let registry = registry(&["https://crm.example", "https://hr.example/", "https://desk.example/api"]);
        the_one(&Form::parse(targets.as_bytes()).unwrap(), &registry).map(|uri| uri.as_str().to_owned())
    }

    #[test]
    fn exactly_one_resource_and_no_other_audience() {
        let crm = || Ok("https://crm.example".to_owned());
        assert_eq!(of(""), Err(RequestRefusal::ResourceMissing));
        assert_eq!(
            of("resource=https://crm.example&resource=https://hr.example"),
            Err(RequestRefusal::ResourceRepeated)
        );
        assert_eq!(
            of("resource=https://crm.example&resource=https://crm.example"),
            Err(RequestRefusal::ResourceRepeated)
        );
        assert_eq!(
            of("resource=https://crm.example&audience=https://hr.example"),
            Err(RequestRefusal::AudienceDiffers)
        );
        assert_eq!(of("resource=https://crm.example&audience=crm"), Err(RequestRefusal::AudienceDiffers));
        assert_eq!(of("resource=https://crm.example&audience=https://crm.example"), crm());
        assert_eq!(of("resource=https://crm.example&audience=https://crm.example/"), crm());
        for trick in [
            "crm",
            "/crm",
            "urn:crm",
            "https://crm.example/%23",
            "https://u@crm.example",
            "https://CRM.example",
            "https://crm.example/a/../b",
        ] {
            assert!(
                matches!(of(&format!("resource={trick}")), Err(RequestRefusal::ResourceMalformed(_))),
                "{trick}"
            );
        }
    }

    #[test]
    fn an_empty_path_and_a_slash_name_the_same_resource_as_it_is_registered() {
        for (sent, registered) in [
            ("https://crm.example", "https://crm.example"),
            ("https://crm.example/", "https://crm.example"),
            ("https://hr.example", "https://hr.example/"),
            ("https://desk.example/api", "https://desk.example/api"),
            ("https://desk.example/api/", "https://desk.example/api/"),
        ] {
            assert_eq!(of(&format!("resource={sent}")).as_deref(), Ok(registered), "{sent}");
        }
    }

    #[test]
    fn an_audience_alone_is_the_uri_of_a_registered_resource() {
        assert_eq!(of("audience=https://crm.example").as_deref(), Ok("https://crm.example"));
        assert_eq!(of("audience=https://hr.example").as_deref(), Ok("https://hr.example/"));
        assert_eq!(
            of("audience=https://crm.example&audience=https://crm.example/").as_deref(),
            Ok("https://crm.example")
        );
        assert_eq!(
            of("audience=https://crm.example&audience=https://hr.example"),
            Err(RequestRefusal::AudienceDiffers)
        );
        for other in ["crm", "r0", "https://elsewhere.example", "https://desk.example/api/"] {
            assert!(
                matches!(of(&format!("audience={other}")), Err(RequestRefusal::AudienceUnknown(_))),
                "{other}"
            );
        }
    }

    #[test]
    fn what_was_probably_meant_is_on_the_same_host_or_a_slip_away() {
        let registry =
            registry(&["https://crm.example", "https://crm.example/api/v1", "https://desk.example/mcp"]);
        for (sent, meant) in [
            ("https://crm.example/api/v2", Some("https://crm.example/api/v1")),
            ("https://crm.example/mcp", Some("https://crm.example")),
            ("https://CRM.example:443", Some("https://crm.example")),
            ("https://desk.example/mcp/", Some("https://desk.example/mcp")),
            ("https://desk.exmaple/mcp", Some("https://desk.example/mcp")),
            ("https://elsewhere.example", None),
            ("crm", None),
            ("", None),
        ] {
            assert_eq!(
                probably_meant(sent, &registry).as_ref().map(mandate_core::ResourceUri::as_str),
                meant,
                "{sent}"
            );
        }
        assert_eq!(probably_meant(&format!("https://crm.example/{}", "x".repeat(300)), &registry), None);
    }
}
