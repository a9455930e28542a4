//! Groups of identity providers, as a file declares them.

use mandate_api::registry_file::{Finding, GroupItem};
use mandate_core::Issuer;
use mandate_core::registry::{Entry, Group, MAX_GROUP_ID_LEN, is_group_id};

use crate::entries::permissions;

/// `own`: the issuer of the embedded directory, which has no groups.
pub(crate) fn group(item: &GroupItem, own: &Issuer) -> Result<Entry, Finding> {
    if item.issuer == *own {
        let detail = format!(
            "the embedded directory has no groups; group `{}` needs the issuer whose tokens name its members",
            item.name
        );
        return Err(Finding::new("/issuer", detail));
    }
    let id = item.id.clone().unwrap_or_else(|| item.name.as_str().to_owned());
    if !is_group_id(&id) {
        let detail = format!("the id of a group has 1 to {MAX_GROUP_ID_LEN} bytes and no control characters");
        return Err(Finding::new("/id", detail));
    }
    let (name, issuer, may) = (item.name.clone(), item.issuer.clone(), permissions(&item.may, "/may")?);
    Ok(Entry::Group(Group { name, issuer, id, may }))
}
