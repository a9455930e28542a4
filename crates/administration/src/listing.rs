//! Reading the registry.

use mandate_api::admin::{RegistryEntry, RegistryItem};
use mandate_core::MeterId;
use mandate_core::registry::{Entry, EntryKind};
use mandate_planning::is_administration;

use crate::administration::Administration;
use crate::authorization::{Permit, act};
use crate::error::AdministrationError;
use crate::pages::{Listed, Page};

impl Administration {
    /// Entries of a kind, by key.
    pub fn list(&self, _: &Permit<act::ReadRegistry>, kind: EntryKind, page: &Page) -> Listed<RegistryEntry> {
        let found = self.snapshot().registry.page(kind, page.after(), page.one_more());
        page.listed(found, Entry::key).map(|entry| self.described(&entry))
    }

    /// The entry with this kind and key.
    pub fn entry(
        &self,
        _: &Permit<act::ReadRegistry>,
        kind: EntryKind,
        name: &str,
    ) -> Result<RegistryEntry, AdministrationError> {
        let found = self.snapshot().registry.get(kind, name);
        let found = found.ok_or_else(|| AdministrationError::NotFound { kind, name: name.to_owned() })?;
        Ok(self.described(&found))
    }

    fn described(&self, entry: &Entry) -> RegistryEntry {
        let uses = match entry {
            Entry::Grant(grant) => Some(self.live.used(&MeterId::GrantUses(grant.id.clone()))),
            Entry::Resource(_)
            | Entry::Person(_)
            | Entry::Agent(_)
            | Entry::Client(_)
            | Entry::Issuer(_)
            | Entry::Group(_)
            | Entry::TrustDomain(_)
            | Entry::Policy(_) => None,
        };
        let built_in = is_administration(entry, self.live.issuer());
        RegistryEntry { item: RegistryItem::of(entry, self.live.issuer()), uses, built_in }
    }
}
