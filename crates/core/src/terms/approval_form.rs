//! What an approval is bound to.

use super::Terms;

/// What the bytes begin with: no other hash of ours is over such bytes. A change of the form changes this
/// text.
const DOMAIN: &str = "mandate approval request v1";

impl Terms {
    /// What an approval of these terms is bound to, as the bytes that are hashed
    /// (`vectors/approval-request.json`).
    ///
    /// Each text is its length in bytes (64 bits, big-endian) and its bytes in UTF-8; each list is its length
    /// (64 bits, big-endian) and its items. So different requests have different bytes. What differs each
    /// time the same thing is asked is left out: ids and times of tokens, their keys, how and when the person
    /// logged in, and in which groups they were then. So is the tenant, which follows from the parties.
    /// Details are the text of each object, its members sorted.
    pub fn approval_form(&self) -> Vec<u8> {
        let Self {
            issuer,
            subject,
            chain,
            audience,
            scopes,
            details,
            client,
            lineage,
            issued: _,
            expires: _,
            jti: _,
            cnf: _,
            auth_time: _,
            acr: _,
            amr: _,
            groups: _,
            tenant: _,
        } = self;
        let mut bytes = Bytes(Vec::with_capacity(512));
        bytes.text(DOMAIN);
        bytes.text(issuer.as_str());
        // Both are empty if there is no person. No issuer is.
        bytes.text(subject.as_ref().map_or("", |person| person.iss.as_str()));
        bytes.text(subject.as_ref().map_or("", |person| &person.sub));
        bytes.list(chain.depth());
        for actor in chain.iter() {
            bytes.text(actor.iss.as_str());
            bytes.text(&actor.sub);
        }
        // A decision has exactly one resource.
        bytes.text(audience.sole().unwrap_or_default());
        bytes.list(scopes.len());
        scopes.iter().for_each(|scope| bytes.text(scope.as_str()));
        bytes.text(client.as_str());
        bytes.list(lineage.clients.len());
        lineage.clients.iter().for_each(|client| bytes.text(client.as_str()));
        bytes.list(lineage.grants.len());
        lineage.grants.iter().for_each(|grant| bytes.text(grant.as_str()));
        // Last, and only if there are details. Everything before has a length, so no two requests have the
        // same bytes.
        if !details.is_empty() {
            let texts = details.texts();
            bytes.list(texts.len());
            texts.for_each(|text| bytes.text(&text));
        }
        bytes.0
    }
}

struct Bytes(Vec<u8>);

impl Bytes {
    fn list(&mut self, length: usize) {
        self.0.extend_from_slice(&u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.list(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }
}
