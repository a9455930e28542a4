//! Which installation a database belongs to: the issuer and the trust domain that its tokens and identities
//! name, and the ports at which they are served.

use mandate_core::{Issuer, TrustDomain};

use crate::error::StoreError;
use crate::meta;
use crate::tx::{Tx, parsed};

const ISSUER: &str = "issuer";
const TRUST_DOMAIN: &str = "trust-domain";
const PORTS: &str = "ports";

/// Which installation a database belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The issuer of its tokens.
    pub issuer: Issuer,
    /// The trust domain of its identities.
    pub trust_domain: TrustDomain,
    /// The ports of the public, the nodes' and the admin listener at the last start.
    pub ports: [u16; 3],
}

/// The installation of the database. None in a database of an older version, which does not contain it.
pub fn load(tx: &Tx<'_>) -> Result<Option<Installation>, StoreError> {
    let (Some(issuer), Some(trust_domain)) = (meta::get(tx, ISSUER)?, meta::get(tx, TRUST_DOMAIN)?) else {
        return Ok(None);
    };
    let mut ports = [0; 3];
    // Not essential: without them, the next start chooses ports again.
    for (port, text) in ports.iter_mut().zip(meta::get(tx, PORTS)?.unwrap_or_default().split(' ')) {
        *port = text.parse().unwrap_or(0);
    }
    Ok(Some(Installation {
        issuer: parsed("the issuer", &issuer)?,
        trust_domain: parsed("the trust domain", &trust_domain)?,
        ports,
    }))
}

/// Stores the installation, in place of what was there.
pub fn put(tx: &Tx<'_>, installation: &Installation) -> Result<(), StoreError> {
    meta::put(tx, ISSUER, installation.issuer.as_str())?;
    meta::put(tx, TRUST_DOMAIN, installation.trust_domain.as_str())?;
    meta::put(tx, PORTS, &installation.ports.map(|port| port.to_string()).join(" "))
}

/// The trust domain in the name of the audit log, which every database has once its keys are made.
pub fn trust_domain_of_the_log(tx: &Tx<'_>) -> Result<Option<TrustDomain>, StoreError> {
    let origin: Option<String> =
        tx.first("SELECT kid FROM keys WHERE purpose = 'checkpoint'", &[], |row| row.get(0))?;
    Ok(origin
        .as_deref()
        .and_then(|origin| origin.split_once("/audit/"))
        .and_then(|(name, _)| name.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::{Installation, load, put, trust_domain_of_the_log};
    use crate::search_rows::tests::open;

    #[test]
    fn what_was_said_is_read_back_and_an_older_database_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        assert_eq!(store.read_blocking("load", load).unwrap(), None);
        assert_eq!(store.read_blocking("load", trust_domain_of_the_log).unwrap(), None);
        let said = Installation {
            issuer: "https://mandate.acme.example".parse().unwrap(),
            trust_domain: "acme.example".parse().unwrap(),
            ports: [8420, 8421, 8422],
        };
        store.transact_blocking("put", |tx| put(tx, &said)).unwrap();
        assert_eq!(store.read_blocking("load", load).unwrap(), Some(said.clone()));
        store.transact_blocking("spoil", |tx| crate::meta::put(tx, "ports", "x 1")).unwrap();
        assert_eq!(
            store.read_blocking("load", load).unwrap(),
            Some(Installation { ports: [0, 1, 0], ..said })
        );
    }
}
