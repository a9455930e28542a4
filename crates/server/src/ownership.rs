//! Whose data a directory and its database have: issuer, trust domain and ports.

use std::net::SocketAddr;

use mandate_core::Entropy;
use mandate_store::{Store, installation};

use crate::config::{ConfigError, Remembered, ServeConfig};
use crate::error::ServerError;

/// Compares the values of this start with those that the directory remembers, and stores them.
pub(crate) fn remember(
    config: &ServeConfig,
    before: Option<&Remembered>,
    public_at: SocketAddr,
    node_at: SocketAddr,
    admin_at: SocketAddr,
    entropy: &dyn Entropy,
) -> Result<Remembered, ServerError> {
    let issuer = config.issuer_after(before, public_at)?;
    let trust_domain = match (&config.trust_domain, before) {
        (Some(given), _) => given.clone(),
        (None, Some(before)) => before.trust_domain.clone(),
        (None, None) => config.trust_domain_or_default()?,
    };
    let [port, node_port, admin_port] = [public_at, node_at, admin_at].map(|at| at.port());
    let now = Remembered { issuer, trust_domain, store: config.store.kind(), port, node_port, admin_port };
    config.reconcile(before, &now)?;
    // What is known may be known from the database alone.
    if Remembered::load(&config.dir)?.as_ref() != Some(&now) {
        now.save(&config.dir, entropy)?;
    }
    Ok(now)
}

/// The installation of the directory, from `serve.json` and from the database.
pub(crate) async fn whose(
    store: &Store,
    file: Option<Remembered>,
    config: &ServeConfig,
) -> Result<Option<Remembered>, ServerError> {
    let said = store.read("read whose data it is", |tx| {
        Ok((installation::load(tx)?, installation::trust_domain_of_the_log(tx)?))
    });
    let (database, of_the_log) = said.await?;
    let known = Remembered::known(file, database, config)?;
    // Of a database of an older version, the name of its log says the trust domain.
    let Some(found) = of_the_log else { return Ok(known) };
    match &known {
        Some(Remembered { trust_domain, .. }) if *trust_domain != found => Err(ConfigError::OtherDatabase {
            dir: config.dir.clone(),
            database: config.store.name(),
            what: "trust domain",
            remembered: trust_domain.to_string(),
            found: found.to_string(),
        }
        .into()),
        Some(_) => Ok(known),
        None => match config.trust_domain_or_default()? {
            given if given == found => Ok(None),
            given => {
                Err(config.changed("trust domain", "trust-domain", found.as_str(), given.as_str()).into())
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use mandate_core::{Secret, SystemEntropy, Timestamp};
    use mandate_store::Store;
    use mandate_store::keys::{self, KeyState, StoredKey};

    use super::whose;
    use crate::config::{ConfigError, Remembered, ServeConfig, StoreAddress, StoreKind, Transport};
    use crate::error::ServerError;

    #[tokio::test]
    async fn a_database_that_does_not_say_whose_it_is_is_known_by_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_blocking(dir.path(), Arc::new(SystemEntropy)).unwrap();
        let of_the_log = StoredKey {
            purpose: "checkpoint".to_owned(),
            kid: "acme.example/audit/00c0ffee".to_owned(),
            state: KeyState::Active,
            created: Timestamp::from_secs(1),
            until: None,
            public: Vec::new(),
            private: Secret::new("key"),
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let config = |trust_domain: Option<&str>| ServeConfig {
            dir: dir.path().to_owned(),
            store: StoreAddress::Embedded,
            listen: any,
            node_listen: any,
            admin_listen: any,
            transport: Transport::LoopbackHttp,
            issuer: None,
            trust_domain: trust_domain.map(|name| name.parse().unwrap()),
            node_rejoin_grace: Duration::ZERO,
            accept_log_that_went_back: false,
            allowed_hosts: Vec::new(),
        };
        assert_eq!(whose(&store, None, &config(None)).await.unwrap(), None, "a new directory");
        store.transact_blocking("key", |tx| keys::put(tx, &of_the_log)).unwrap();
        assert_eq!(whose(&store, None, &config(Some("acme.example"))).await.unwrap(), None);
        for other in [None, Some("other.example")] {
            let refused = whose(&store, None, &config(other)).await.unwrap_err();
            assert!(refused.to_string().contains("--trust-domain acme.example"), "{refused}");
        }
        let file = |trust_domain: &str| Remembered {
            issuer: "http://127.0.0.1:1".parse().unwrap(),
            trust_domain: trust_domain.parse().unwrap(),
            store: StoreKind::Embedded,
            port: 1,
            node_port: 2,
            admin_port: 3,
        };
        assert!(whose(&store, Some(file("acme.example")), &config(None)).await.unwrap().is_some());
        let refused = whose(&store, Some(file("other.example")), &config(None)).await.unwrap_err();
        assert!(
            matches!(refused, ServerError::Config(ConfigError::OtherDatabase { what: "trust domain", .. })),
            "{refused}"
        );
    }
}
