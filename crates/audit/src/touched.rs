//! What an operator's act changed or revoked, so that queries find the record by it.

use std::collections::HashSet;

use mandate_core::Subject;
use serde::{Deserialize, Serialize};

/// The most bytes of names that a record keeps: a registry file may change a hundred thousand entries.
pub const MAX_TOUCHED_LEN: usize = 24 * 1024;

/// The entries that an act touched: those that it changed or revoked, and those that these mention. Agents
/// and resources are listed by their name and by the identifier that tokens use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Touched {
    /// Names and SPIFFE IDs of agents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// People, by issuer and `sub`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<Subject>,
    /// Names and URIs of resources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// The `client_id` of clients (RFC 6749 §2.2).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<String>,
    /// Ids of grants: [`mandate_core::GrantId`] as text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<String>,
    /// The `jti` of tokens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<String>,
    /// Whether there was no room for all of them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut_off: bool,
}

/// One entry that an act touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Touch<'a> {
    /// The name or the SPIFFE ID of an agent.
    Agent(&'a str),
    /// A person, by issuer and `sub`.
    Person(&'a Subject),
    /// The name or the URI of a resource.
    Resource(&'a str),
    /// The id of a client.
    Client(&'a str),
    /// The id of a grant.
    Grant(&'a str),
    /// The `jti` of a token.
    Token(&'a str),
}

impl Touched {
    /// Lists each entry once, as long as there is room for it.
    pub fn of<'a>(all: impl IntoIterator<Item = Touch<'a>>) -> Self {
        let mut kept = Self::default();
        let mut seen = HashSet::new();
        let mut left = MAX_TOUCHED_LEN;
        for touch in all {
            if !seen.insert(touch) {
                continue;
            }
            let len = match touch {
                Touch::Person(person) => person.sub.len() + person.iss.as_str().len(),
                Touch::Agent(name)
                | Touch::Resource(name)
                | Touch::Client(name)
                | Touch::Grant(name)
                | Touch::Token(name) => name.len(),
            };
            // In JSON a name takes at most twice its length, with quotes, and has member names around it.
            let Some(rest) = left.checked_sub(2 * len + 24) else {
                kept.cut_off = true;
                continue;
            };
            left = rest;
            match touch {
                Touch::Person(person) => kept.people.push(person.clone()),
                Touch::Agent(name) => kept.agents.push(name.to_owned()),
                Touch::Resource(name) => kept.resources.push(name.to_owned()),
                Touch::Client(name) => kept.clients.push(name.to_owned()),
                Touch::Grant(name) => kept.grants.push(name.to_owned()),
                Touch::Token(name) => kept.tokens.push(name.to_owned()),
            }
        }
        kept
    }

    /// Whether nothing was touched.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_TOUCHED_LEN, Touch, Touched};

    #[test]
    fn a_name_is_kept_once_of_each_kind() {
        let touched = Touched::of([Touch::Agent("a"), Touch::Agent("a"), Touch::Client("a")]);
        assert_eq!(
            (touched.agents.as_slice(), touched.clients.as_slice()),
            (&["a".to_owned()][..], &["a".to_owned()][..])
        );
        assert!(!touched.is_empty() && !touched.cut_off && Touched::of([]).is_empty());
    }

    #[test]
    fn all_of_them_have_a_bound_in_bytes_as_json() {
        let names: Vec<String> = (0..100_000).map(|n| format!("\"grant\\{n}")).collect();
        let touched = Touched::of(names.iter().map(|name| Touch::Grant(name)));
        assert!(touched.cut_off && touched.grants.len() > 100);
        assert!(serde_json::to_vec(&touched).unwrap().len() <= MAX_TOUCHED_LEN);
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let person = mandate_core::Subject { iss: "https://m.example".parse().unwrap(), sub: "riley".into() };
        let touched = Touched::of([Touch::Person(&person), Touch::Token("j1")]);
        assert_eq!(
            serde_json::from_str::<Touched>(&serde_json::to_string(&touched).unwrap()).unwrap(),
            touched
        );
    }
}
