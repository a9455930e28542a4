//! Name resolution in which a name has the addresses that a test gives it, at each resolution other ones.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "an address that cannot be read is a failed test"
)]

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The answers for names. A name that is not listed does not exist.
#[derive(Debug, Default)]
pub struct ListedNames(Mutex<HashMap<String, Vec<Vec<IpAddr>>>>);

impl ListedNames {
    /// A name with these answers, one for each resolution. The last one stays.
    pub fn list(&self, name: &str, answers: &[&[&str]]) {
        let read = |answer: &&[&str]| answer.iter().map(|text| text.parse().expect("an address")).collect();
        self.0.lock().insert(name.to_owned(), answers.iter().map(read).collect());
    }

    /// How many answers of a name are left.
    pub fn left(&self, name: &str) -> usize {
        self.0.lock().get(name).map_or(0, Vec::len)
    }
}

impl Resolve for ListedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let mut names = self.0.lock();
        let answers = names.get_mut(name.as_str());
        let answer = answers.and_then(|answers| match answers.len() {
            0 | 1 => answers.first().cloned(),
            _ => Some(answers.remove(0)),
        });
        Box::pin(std::future::ready(match answer {
            Some(found) => {
                let found: Vec<_> = found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
                Ok(Box::new(found.into_iter()) as Addrs)
            }
            None => Err("there is no such name".into()),
        }))
    }
}
