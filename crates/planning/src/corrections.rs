//! Every finding about an entry, not only the first: each mistake is corrected in a copy, which is checked
//! again.
//!
//! The copy is never applied, because there are findings. It also replaces the entry where others mention it,
//! so that one mistake is not reported again for everything that refers to it.

use mandate_api::registry_file::{
    AgentItem, AuthenticationItem, ClientItem, Finding, GrantItem, GroupItem, IssuerItem, PermissionItem,
    PersonItem, ResourceItem, TrustDomainItem,
};
use mandate_core::Scope;
use mandate_core::registry::{Entry, TokenProfile};
use mandate_core::scope::OFFLINE_ACCESS;

use crate::selectors;

/// The most findings about one entry.
const MOST: usize = 64;

/// An item as an entry, if one can be made from it, and everything that is wrong with it.
pub(crate) struct Made {
    pub(crate) entry: Option<Entry>,
    pub(crate) findings: Vec<Finding>,
}

impl From<Result<Entry, Finding>> for Made {
    fn from(made: Result<Entry, Finding>) -> Self {
        match made {
            Ok(entry) => Self { entry: Some(entry), findings: Vec::new() },
            Err(finding) => Self { entry: None, findings: vec![finding] },
        }
    }
}

/// Makes an entry. `correct` corrects, in a copy, the value at a finding's pointer; false if it cannot.
pub(crate) fn every_finding<T: Clone>(
    item: &T,
    make: impl Fn(&T) -> Result<Entry, Finding>,
    correct: impl Fn(&mut T, &str) -> bool,
) -> Made {
    let mut findings: Vec<Finding> = Vec::new();
    let mut copy: Option<T> = None;
    while findings.len() < MOST {
        match make(copy.as_ref().unwrap_or(item)) {
            Ok(entry) => return Made { entry: Some(entry), findings },
            // The same finding again: the value at its pointer is not its only cause.
            Err(finding) if findings.contains(&finding) => break,
            Err(finding) => {
                let corrected = correct(copy.get_or_insert_with(|| item.clone()), &finding.pointer);
                findings.push(finding);
                if !corrected {
                    break;
                }
            }
        }
    }
    Made { entry: None, findings }
}

/// The parts of a pointer: `/selectors/3` is `selectors` and 3.
fn parts(pointer: &str) -> (&str, Option<usize>, &str) {
    let mut steps = pointer.trim_start_matches('/').splitn(3, '/');
    let member = steps.next().unwrap_or_default();
    (member, steps.next().and_then(|at| at.parse().ok()), steps.next().unwrap_or_default())
}

fn permission(list: &mut [PermissionItem], at: Option<usize>, member: &str) -> bool {
    let Some(item) = at.and_then(|at| list.get_mut(at)) else { return false };
    match member {
        "lifetime" => item.lifetime = None,
        "scopes" => item.scopes.truncate(1),
        _ => return false,
    }
    true
}

pub(crate) fn agent(item: &mut AgentItem, pointer: &str) -> bool {
    // A selector that is always accepted.
    const SELECTOR: &str = "unix:uid:0";
    match parts(pointer) {
        ("selectors", Some(at), _) => {
            // A selector of the list that is accepted: another one of the same kind would contradict it.
            let mut others = item
                .selectors
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != at)
                .map(|(_, selector)| selector);
            let right =
                others.find(|selector| selectors::check(std::slice::from_ref(*selector)).is_ok()).cloned();
            let Some(selector) = item.selectors.get_mut(at) else { return false };
            *selector = right.unwrap_or_else(|| SELECTOR.to_owned());
        }
        ("selectors", None, _) => item.selectors.push(SELECTOR.to_owned()),
        // Of two ways to be identified, none is wrong by itself.
        ("proof", ..) => item.proof.clear(),
        ("purpose", ..) => "-".clone_into(&mut item.purpose),
        ("spiffe_id", ..) => item.spiffe_id = None,
        ("chain_depth", ..) => item.chain_depth = None,
        ("state", ..) => item.state = None,
        ("ceiling", at, member) => return permission(&mut item.ceiling, at, member),
        ("may", at, member) => return permission(&mut item.may, at, member),
        _ => return false,
    }
    true
}

pub(crate) fn person(item: &mut PersonItem, pointer: &str) -> bool {
    match parts(pointer) {
        ("sub", ..) => item.sub = None,
        ("tenant", ..) => item.tenant = None,
        ("may", at, member) => return permission(&mut item.may, at, member),
        _ => return false,
    }
    true
}

pub(crate) fn resource(item: &mut ResourceItem, pointer: &str) -> bool {
    let first = item.scopes.first().cloned();
    match parts(pointer) {
        ("tools", Some(at), member) => match (item.tools.get_mut(at), member, first) {
            (Some(tool), "scope", Some(scope)) => tool.scope = scope,
            // No tool of the file has such a name, because it begins with a space.
            (Some(tool), "name" | "", _) => tool.name = format!(" {at}"),
            _ => return false,
        },
        ("scopes", ..) => {
            item.scopes.retain(|scope| scope.as_str() != OFFLINE_ACCESS);
            item.scopes.truncate(1);
        }
        _ => return false,
    }
    true
}

pub(crate) fn client(item: &mut ClientItem, pointer: &str) -> bool {
    match parts(pointer) {
        ("redirect_uris", Some(at), _) => match item.redirect_uris.get_mut(at) {
            Some(uri) => *uri = format!("http://127.0.0.1/{at}"),
            None => return false,
        },
        ("authentication" | "jwks", ..) => {
            (item.authentication, item.jwks, item.assertion_audience) =
                (AuthenticationItem::None, None, None);
        }
        ("assertion_audience", ..) => item.assertion_audience = None,
        ("scopes", ..) => item.scopes = None,
        _ => return false,
    }
    true
}

pub(crate) fn issuer(item: &mut IssuerItem, pointer: &str) -> bool {
    // An audience that is always accepted.
    const AUDIENCE: &str = "-";
    match parts(pointer) {
        ("audience", ..) => {
            if !item.profile.has_jwt_access_tokens() {
                item.profile = TokenProfile::default();
            }
            AUDIENCE.clone_into(&mut item.audience);
        }
        ("other_audiences", Some(at), _) => match item.other_audiences.get_mut(at) {
            Some(audience) => AUDIENCE.clone_into(audience),
            None => return false,
        },
        ("other_audiences", None, _) => item.other_audiences.clear(),
        ("ca", ..) => item.ca = None,
        ("login" | "client_id" | "client_secret_file", ..) => {
            (item.login, item.client_id, item.client_secret_file) = (false, None, None);
            if item.audience.is_empty() {
                AUDIENCE.clone_into(&mut item.audience);
            }
        }
        ("security_events" | "events_audience", ..) => {
            (item.security_events, item.events_audience) = (false, None);
        }
        ("introspection", ..) => item.introspection = None,
        ("id_tokens", ..) => {
            item.id_tokens.clear();
            if item.audience.is_empty() && !item.login {
                item.profile = TokenProfile::default();
                AUDIENCE.clone_into(&mut item.audience);
            }
        }
        ("claims", ..) => {
            item.claims.oldest_actor_first = false;
            item.claims.require = [("-".to_owned(), "-".to_owned())].into();
        }
        _ => return false,
    }
    true
}

pub(crate) fn group(item: &mut GroupItem, pointer: &str) -> bool {
    match parts(pointer) {
        ("id", ..) => item.id = None,
        ("may", at, member) => return permission(&mut item.may, at, member),
        _ => return false,
    }
    true
}

pub(crate) fn trust_domain(item: &mut TrustDomainItem, pointer: &str) -> bool {
    match parts(pointer).0 {
        // Of two places of one bundle, none is wrong by itself.
        "endpoint" => item.bundle = None,
        "bundle" => item.bundle = Some("/-".to_owned()),
        "profile" => item.profile = None,
        "ca" => item.ca = None,
        "proxy" => item.proxy = None,
        _ => return false,
    }
    true
}

/// `known` is a scope of the resource that is granted on, if there is one.
pub(crate) fn grant(item: &mut GrantItem, pointer: &str, known: Option<&Scope>) -> bool {
    match (parts(pointer).0, known) {
        ("scopes", Some(scope)) => item.scopes = vec![scope.clone()],
        ("max_uses", _) => item.max_uses = None,
        ("lifetime", _) => item.lifetime = None,
        ("expires", _) => item.expires = None,
        ("revoked", _) => item.revoked = None,
        _ => return false,
    }
    true
}
